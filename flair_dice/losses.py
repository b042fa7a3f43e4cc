"""The losses, as torch modules: ``loss(logits, targets, mask=None)``.

Every loss of `dice_core.losses` is here under its name. Its options, formula and source are
documented there; ``loss.core`` is the loss itself, an immutable value. As torch modules:

- logits ``(N, C)``, of any float type, one row a token (or text) and one column a class, or
  ``(sentences, tokens, C)``; targets are class ids ``(N,)``, -100 for unknown, or rows ``(N, C)``.
  The result is float32 (float64 for float64 logits), also inside autocast.
- ``reduction="mean"`` is the sum over rows by the number of rows with any known cell; it differs
  from torch's by a factor: several labels are summed over, where BCEWithLogitsLoss takes the mean
  over rows and labels (times C is ours), and a mean of weighted rows is over the rows, where
  ``CrossEntropyLoss(weight=...)`` divides by the sum of their weights. "sum" is the sum, which
  Flair's models back-propagate; "none" gives the loss of each row.
- Label smoothing of a softmax spreads a share over the *other* classes, e / (C - 1) each, where
  torch spreads e / C over all: torch's e is ours times C / (C - 1).
- Gradients are in closed form, and have no second derivative.

Example:
    >>> import torch
    >>> loss = DiceCE()
    >>> logits = torch.zeros(3, 2, requires_grad=True)
    >>> value = loss(logits, torch.tensor([0, 1, 1]))
    >>> value.backward()
    >>> round(value.item(), 3)
    1.074
"""

import warnings
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Dict,
    Literal,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    cast,
)

import torch
from torch import Tensor

from dice_core import losses as core
from dice_core import options
from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.options import ACTIVATIONS, Activation

from .heads import TokenHead, widen
from .targets import as_tensor, read_targets

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")
# How logits are read outside of a model: what a loss is made with besides its options.
READING: Dict[str, Any] = {"names": None, "activation": "softmax", "reduction": "mean"}
# What stands for "none of them" among names of tags.
OUTSIDE = "O"
# Batches after which a schedule that nothing steps is warned about.
MANY_BATCHES = 300


class Loss(torch.nn.Module):
    """A loss of `dice_core` with the conventions of torch.

    Args:
        losses: For a `Compound`, its terms (and weights), which may also be given by name.
        names: The label of each column. If "O" is one of them, it is the background: set-level
            counts leave it out unless the option ``background`` says otherwise.
        activation: "softmax" or "sigmoid", what the logits are of.
        reduction: "mean" over rows, their "sum", or "none": the loss of each row, for losses that
            do not count over the batch.
        options: Of the loss; see the class of this name in `dice_core.losses`. Numbers by class id
            may be a tensor.

    Attributes:
        core: The loss itself, an immutable value, which any number of models can train with.

    Raises:
        ValueError: For options that there are not, or that are out of range.
    """

    kind: ClassVar[Type[core.Loss]]

    def __init__(
        self,
        *losses: Any,
        names: Optional[Sequence[str]] = None,
        activation: Activation = "softmax",
        reduction: Reduction = "mean",
        **options_: Any,
    ):
        super().__init__()
        if not hasattr(type(self), "kind"):
            raise TypeError(
                f"flair_dice.{type(self).__name__}: a loss of your own is a subclass of "
                "dice_core.losses.Loss, of which flair_dice.as_torch makes a torch module."
            )
        title = f"flair_dice.{type(self).__name__}"
        allowed = core.option_names(self.kind)
        if "weight" in options_ and "weight" not in allowed and "class_weights" in allowed:
            raise ValueError(
                f"{title} has no option weight. Did you mean class_weights? It is torch's weight: "
                "a list of a factor for each class, or a dict by label."
            )
        core.check_known(self.kind, list(options_), title)
        try:
            given = [as_terms(value) for value in losses]
            self.core = self.kind(*given, **{k: as_terms(v) for k, v in options_.items()})
        except ValueError as error:
            raise ValueError(f"flair_dice.{error}") from None
        self.activation: Activation = options.one_of(title, "activation", activation, ACTIVATIONS)
        self.reduction: Reduction = options.one_of(title, "reduction", reduction, REDUCTIONS)
        self.names = None if names is None else tuple(names)
        background = (OUTSIDE,) if OUTSIDE in (self.names or ()) else ()
        self.spec = LabelSpec(title, self.names, background)
        self._checked: Optional[LabelSpec] = None
        self._bound = BoundLoss(self.core)
        self._n_unstepped = 0
        if reduction == "none" and self.core.counts_over_batch:
            raise ValueError(
                f'{title}: reduction="none" is for losses of single rows, and this one counts over '
                'the batch: it is one number. Use "mean" or "sum".'
            )

    def reading(self) -> Dict[str, Any]:
        """What differs from the defaults in how logits are read."""
        given = {name: getattr(self, name) for name in READING}
        return {name: value for name, value in given.items() if value != READING[name]}

    def to_dict(self) -> Dict[str, object]:
        """Plain values from which `make_loss` makes the loss again."""
        return {**self.core.to_dict(), **{k: options.plain(v) for k, v in self.reading().items()}}

    def step(self, epoch: Optional[float] = None) -> None:
        """Go on to the next update, in scheduled weights.

        Args:
            epoch: At which it happens, counted from 0, with fractions. Where epochs are known
                this is called before each update, else after it.

        Raises:
            ValueError: For a `Ramp` where the epoch is not given.
        """
        self._bound.step(epoch)

    @property
    def is_stepped(self) -> bool:
        """Whether its schedules, if it has any, have been stepped."""
        return self._bound.is_stepped

    def __repr__(self) -> str:
        reading = "".join(f", {name}={value!r}" for name, value in self.reading().items())
        return f"{repr(self.core)[:-1]}{reading})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return partial(as_torch, **self.reading()), (self.core,), self.__dict__

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        mask: Optional[Tensor] = None,
        lengths: Optional[Sequence[int]] = None,
        sample_weight: Optional[Tensor] = None,
    ) -> Tensor:
        """The loss.

        Args:
            logits: Floats ``(N, C)``; ``-inf`` rules a class out. Or ``(..., N, C)``, such as
                ``(sentences, tokens, classes)``, with the classes last; targets, mask and
                sample_weight then have these dimensions, too.
            targets: Class ids ``(N,)``, -100 where the class is unknown, or rows ``(N, C)`` from
                0 to 1, one-hot, soft or multi-hot, -100 or NaN where unknown.
            mask: None, ``(N,)`` or ``(N, C)``, 1 where the target is known. What stands
                elsewhere, in logits and in targets, does not matter.
            lengths: Rows of each sentence, which EntityDice reads. Without them logits of three
                dimensions are a sentence each, and of two one sentence.
            sample_weight: None, or floats ``(N,)`` from 0 on: how much each row counts. The mean
                is then by their sum.

        Returns:
            A scalar; for ``reduction="none"`` the loss of each row ``(N,)``, 0 where nothing of
            it is known.

        Raises:
            ValueError: For shapes that do not match, numbers out of range and options that do
                not fit the labels.
        """
        return self.compute(logits, targets, mask, lengths, sample_weight, self.reduction)[0]

    def compute(
        self,
        logits: Tensor,
        targets: Tensor,
        mask: Optional[Tensor] = None,
        lengths: Optional[Sequence[int]] = None,
        sample_weight: Optional[Tensor] = None,
        reduction: Reduction = "sum",
        positions: bool = False,
    ) -> Tuple[Tensor, Tensor]:
        """The loss, and how many rows are known, by weight.

        Args:
            logits: See `forward`, as for all up to sample_weight.
            targets: See `forward`.
            mask: See `forward`.
            lengths: See `forward`.
            sample_weight: See `forward`.
            reduction: See the class.
            positions: Whether the classes are positions in a text.
        """
        spec = self.spec._replace(positions=True) if positions else self.spec
        rows = logits.shape[:-1]
        given = {"targets": targets, "mask": mask, "sample_weight": sample_weight}
        read = {
            name: as_tensor(value, name, logits, spec)
            for name, value in given.items()
            if value is not None
        }
        if logits.ndim > 2:
            if logits.ndim == 3 and lengths is None:
                lengths = [logits.shape[1]] * logits.shape[0]
            read = {name: _as_rows(name, value, logits, spec) for name, value in read.items()}
            logits = logits.reshape(-1, logits.shape[-1])
        if logits.ndim != 2 or not logits.shape[1] or not logits.is_floating_point():
            raise spec.config_error(
                f"logits must be floats (rows, classes), got {tuple(logits.shape)} of "
                f"{logits.dtype}."
            )
        if self.names is not None and len(self.names) != logits.shape[1]:
            raise spec.config_error(
                f"{len(self.names)} names for {logits.shape[1]} columns of logits."
            )
        if self._checked != spec:
            self.core.check(spec)
            self._checked = spec
        with torch.autocast(logits.device.type, enabled=False):
            head = TokenHead(widen(logits), self.activation, read.pop("targets"), lengths)
            known = read_targets(
                head.gold,
                read.get("mask"),
                head.logits.detach(),
                spec,
                lengths,
                read.get("sample_weight"),
            )
            if known.ids is not None and logits.shape[1] == 1 and self.activation == "sigmoid":
                raise spec.config_error(
                    'class ids of one column say nothing: every id is 0, which would be "is of '
                    f'the class". Give rows ({len(logits)}, 1) of 0 and 1, targets[:, None].'
                )
            learn = self.training and torch.is_grad_enabled()
            if learn and not self.is_stepped:
                self._n_unstepped += 1
                if self._n_unstepped == MANY_BATCHES:
                    warnings.warn(
                        f"{spec.owner}: its schedule has its first value after {MANY_BATCHES} "
                        "batches, because nothing steps it. Call loss.step(epoch) before each "
                        "update or, for a schedule of numbers, loss.step() after it.",
                        stacklevel=2,
                    )
            own = cast(Array, head.totals(self._bound, known))
            totals = cast(Tensor, self._bound.accumulate(own, logits.shape[1], learn))
            n_rows = cast(Tensor, known.n_rows())
            scale: Union[None, float, Tensor] = None
            if reduction == "mean" and known.mask is None and known.weights is None:
                scale = 1.0 / max(1, known.size)  # nothing to ask the device for
            elif reduction == "mean":
                scale = 1.0 / torch.where(n_rows > 0, n_rows, 1.0)
            value = head.loss(self._bound, known, totals, scale, reduction == "none")
        return value.reshape(rows) if reduction == "none" else value, n_rows


def _as_rows(name: str, values: Tensor, logits: Tensor, spec: LabelSpec) -> Tensor:
    """What belongs to logits ``(..., C)``, with one dimension of rows."""
    outer = logits.shape[:-1]
    if values.shape not in (outer, logits.shape):
        raise spec.config_error(
            f"{name} must have the shape {tuple(outer)} or {tuple(logits.shape)}, as the logits, "
            f"whose last dimension is the classes; got {tuple(values.shape)}."
        )
    return values.flatten() if values.shape == outer else values.reshape(-1, logits.shape[-1])


# What users write and model files hold for a loss; None is the model's stock loss.
LossLike = Union[Loss, core.Loss, str, Mapping[str, Any], None]


def as_terms(value: Any) -> Any:
    """An option, with the losses in it as values of `dice_core`, and tensors as lists.

    Raises:
        ValueError: For a loss that says how logits are read.
    """
    if isinstance(value, Loss):
        if value.reading():
            raise ValueError(
                f"{type(value).__name__}: how logits are read ({', '.join(value.reading())}) is "
                "for the model to say, or for the loss that it is a term of. Leave it out here."
            )
        return value.core
    if isinstance(value, Tensor) or type(value).__module__ == "numpy":
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: as_terms(item) for key, item in value.items()}
    return [as_terms(item) for item in value] if isinstance(value, (list, tuple)) else value


def core_loss(spec: LossLike, owner: str) -> core.Loss:
    """A loss as models keep it, from what users write.

    Args:
        spec: A loss of this module or of `dice_core.losses`; ``"DiceCE"``;
            ``{"name": "DiceCE", "weight": 1.0}``.
        owner: How messages call what it is for.

    Raises:
        ValueError: For anything else; it names the owner.
    """
    if spec == "auto":
        raise ValueError(
            f'{owner}: "auto" is what was measured for a kind of model, and none is known here. '
            'Use it for a model of Flair, use_loss(model, "auto"), or name a loss, e.g. "DiceCE".'
        )
    try:
        given = as_terms(spec)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None
    reading = [name for name in READING if isinstance(given, dict) and name in given]
    if reading:
        raise ValueError(
            f"{owner}: how logits are read ({', '.join(reading)}) is for the model to say. Leave "
            "it out."
        )
    return core.make_loss(given, owner)


def make_loss(spec: LossLike, owner: str = "flair_dice.make_loss") -> Loss:
    """A torch module of a loss, from what users write; a module of ours is returned as it is.

    Args:
        spec: ``"DiceCE"``; ``{"name": "DiceCE", "weight": 1.0}``, in which ``names``,
            ``activation`` and ``reduction`` may also be; a loss.
        owner: How messages call what it is for.

    Raises:
        ValueError: For anything else; it names the owner.

    Example:
        >>> make_loss({"name": "DiceCE", "weight": 2.0}).core.weight
        2.0
    """
    if isinstance(spec, Loss):
        return spec
    given = dict(spec) if isinstance(spec, Mapping) else {}
    reading = {name: given.pop(name) for name in READING if name in given}
    return as_torch(core_loss(given if isinstance(spec, Mapping) else spec, owner), **reading)


def as_torch(loss: core.Loss, **reading: Any) -> Loss:
    """A torch module of a loss of `dice_core`, yours or the library's.

    Args:
        loss: The loss.
        reading: ``names``, ``activation`` and ``reduction``: see `Loss`.
    """
    options_ = {name: getattr(loss, name) for name in core.option_names(type(loss))}
    made = globals().get(type(loss).__name__)
    if not (isinstance(made, type) and issubclass(made, Loss) and made.kind is type(loss)):
        made = _torch_class(type(loss))
    return made(**options_, **reading)


def _torch_class(kind: Type[core.Loss]) -> Type[Loss]:
    # Its examples are of the value.
    doc = (kind.__doc__ or "").partition("    Example:")[0].rstrip()
    attributes = {"kind": kind, "__doc__": doc, "__module__": __name__}
    return type(kind.__name__, (Loss,), attributes)


for _kind in core.LOSSES:
    globals()[_kind.__name__] = _torch_class(_kind)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Type[Loss]: ...
