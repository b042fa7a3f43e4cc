"""The losses, as thinc losses: `loss(guesses, truths) -> (gradient, value)`.

Every loss of `dice_core.losses` is here under its name, and registered as
``spacy_dice.<Name>.v1``. Its options, formula and source are documented there; ``loss.core`` is
the loss itself, an immutable value. How guesses and truths are read is the component's business
inside a pipeline. Outside of one it is given in Python, to the constructor; see `Loss`.

Example:
    >>> import numpy
    >>> loss = DiceCE(names=["O", "PER"])
    >>> gradient, value = loss(numpy.asarray([[0.9, 0.1], [0.4, 0.6]]), ["O", "PER"])
    >>> round(value, 3)
    0.987
"""

import re
from inspect import Parameter, Signature, signature
from types import SimpleNamespace
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    Optional,
    Sequence,
    Type,
    Union,
)

import numpy
from thinc.api import get_array_module
from thinc.loss import Loss as ThincLoss

from dice_core import losses as core
from dice_core import options
from dice_core.arrays import limits, total
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.options import ACTIVATIONS, WRTS, Activation, Wrt
from dice_core.probabilities import Probabilities, from_logits
from dice_core.tags import OUTSIDE
from dice_core.targets import MISSING, Targets, checked_rows, from_ids, from_labels, from_rows

from .errors import as_config_errors, diverged_error, label_spec
from .heads import Head

# How guesses are read outside of a pipeline: what a loss is made with besides its options.
READING = {
    "names": None,
    "missing_value": None,
    "neg_prefix": None,
    "activation": "softmax",
    "wrt": "logits",
}
# Probabilities of float32 softmaxes may add up to a little more than 1.
TOLERANCE = 1e-4


class Loss(ThincLoss):
    """A loss of `dice_core` with the conventions of thinc.

    Args:
        losses: For a `Compound`, its terms (and weights), which may also be given by name.
        names: The label of each column. If "O" is one of them, it is the background: set-level
            counts leave it out, unless the loss says otherwise.
        missing_value: What stands for "unknown" in truths, besides None.
        neg_prefix: What before a label says "not this label".
        activation: "softmax" or "sigmoid", what made the guesses.
        wrt: "logits" or "probabilities", by what the gradient is wanted; thinc's Softmax wants
            "logits".
        options: Of the loss; see the class of this name in `dice_core.losses`.

    Attributes:
        core: The loss itself, an immutable value, which any number of components can train with.

    Raises:
        ConfigValidationError: For options that there are not, or that are out of range.
    """

    kind: ClassVar[Type[core.Loss]]

    def __init__(
        self,
        *losses: Any,
        names: Optional[Sequence[str]] = None,
        missing_value: Union[str, int, None] = None,
        neg_prefix: Optional[str] = None,
        activation: Activation = "softmax",
        wrt: Wrt = "logits",
        **options_: Any,
    ):
        title = f"spacy_dice.{type(self).__name__}.v1"
        with as_config_errors("spacy_dice."):
            core.check_known(self.kind, list(options_), title.partition(".")[2])
            given = [as_terms(value) for value in losses]
            named = {name: as_terms(value) for name, value in options_.items()}
            self.core = self.kind(*given, **named)
        with as_config_errors(""):
            self.activation: Activation = options.one_of(
                title, "activation", activation, ACTIVATIONS
            )
            self.wrt: Wrt = options.one_of(title, "wrt", wrt, WRTS)
        self.names = None if names is None else tuple(names)
        self.missing_value, self.neg_prefix = missing_value, neg_prefix
        background = (OUTSIDE,) if OUTSIDE in (self.names or ()) else ()
        self._spec = label_spec(type(self).__name__, self.names, background)
        self._is_checked = False
        self._bound = BoundLoss(self.core)

    def reading(self) -> Dict[str, object]:
        """What differs from the defaults in how guesses and truths are read."""
        given = {name: getattr(self, name) for name in READING}
        return {name: value for name, value in given.items() if value != READING[name]}

    def step(self) -> None:
        """Go on to the next update, in scheduled weights."""
        self._bound.step()

    def __repr__(self) -> str:
        reading = "".join(f", {name}={value!r}" for name, value in self.reading().items())
        return f"{repr(self.core)[:-1]}{reading})" if reading else repr(self.core)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and (self.core, self.reading()) == (
            other.core,
            other.reading(),
        )

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, guesses: Any, truths: Any) -> Any:
        """Gradient and value.

        Args:
            guesses: Floats ``(N, C)`` in [0, 1], or a list of such arrays, one a document.
            truths: Class ids ``(N,)``, rows ``(N, C)`` (one-hot, multi-hot or soft, from 0 to 1)
                or label strings; a list of these for a list of arrays. Unknown are None,
                ``missing_value`` and, in rows, NaN and -100.

        Returns:
            The gradient, shaped and typed as the guesses, and a float, summed over rows.

        Raises:
            ConfigValidationError: For guesses or truths out of range, unknown labels and shapes
                that do not match.
        """
        spec = self._spec
        lengths, like = None, guesses
        if isinstance(guesses, (list, tuple)):
            if not guesses and not len(truths):
                return [], 0.0
            lengths = [len(doc) for doc in guesses]
            like = stack(guesses)
        if like.ndim != 2:
            raise spec.config_error(f"guesses must have rows and columns, got shape {like.shape}.")
        if not self._is_checked:
            self.core.check(spec)
            self._is_checked = True
        if self.names is not None and len(self.names) != like.shape[1]:
            raise spec.config_error(
                f"{len(self.names)} names for {like.shape[1]} columns of guesses."
            )
        wide = at_least_float32(like)
        targets = read_targets(truths, wide, spec, lengths, self.missing_value, self.neg_prefix)
        if targets.ids is not None and like.shape[1] == 1 and self.activation == "sigmoid":
            raise spec.config_error(
                'class ids of one column say nothing: every id is 0, which would be "is of the '
                'class". Give rows (N, 1) of 0 and 1.'
            )
        return compute(self._bound, guesses, targets, Head(self.activation, self.wrt), like)

    def get_grad(self, guesses: Any, truths: Any) -> Any:
        """The gradient alone; see `__call__`."""
        return self(guesses, truths)[0]

    def get_loss(self, guesses: Any, truths: Any) -> Any:
        """The value alone; see `__call__`."""
        return self(guesses, truths)[1]


def compute(
    bound: BoundLoss, guesses: Any, targets: Targets, head: Head, stacked: Any = None
) -> Any:
    """Gradient and value of a batch.

    Args:
        bound: The loss and the state of its training.
        guesses: Floats ``(N, C)``, or a list of such arrays, one a document.
        targets: What is known of the batch.
        head: What the guesses are, and what gradient is wanted.
        stacked: All rows of the guesses, if they are known already.

    Returns:
        The gradient, shaped and typed as the guesses, and a float.
    """
    is_list = isinstance(guesses, (list, tuple))
    if stacked is None:
        stacked = stack(guesses) if is_list else guesses
    p = at_least_float32(stacked)
    # What was put together here, or widened, is nobody else's.
    probabilities = read_guesses(p, head, targets, is_list or p is not guesses)
    value, gradient = bound.compute(probabilities, targets, head.wrt)
    made: Any = gradient
    if stacked.dtype != gradient.dtype:
        most = float(limits(stacked).max)
        made = made.clip(-most, most).astype(stacked.dtype)
    if is_list:
        ends = numpy.cumsum([len(doc) for doc in guesses]).tolist()
        made = [made[i:j] for i, j in zip([0, *ends], ends)]
    return made, float(total(value))


def read_guesses(p: Any, head: Head, targets: Targets, reusable: bool) -> Probabilities:
    """Guesses as probabilities, which are checked. What stands in unknown rows does not matter."""
    xp = get_array_module(p)
    low, high = (float(p.min()), float(p.max())) if p.size else (0.0, 0.0)
    if low != low or high != high:  # NaN
        rows = xp.isnan(p).any(axis=1)
        if (rows & (targets.known_rows() > 0)).any():
            raise diverged_error(targets.spec.owner)
        p, reusable = xp.where(rows[:, None], 1.0 / p.shape[1], p), True
        low, high = float(p.min()), float(p.max())
    if head.raw:
        return from_logits(p, head.activation)
    if low < 0 or high > 1 + TOLERANCE:
        raise targets.spec.config_error(
            f"guesses must be probabilities, from 0 to 1, but range from {low} to {high}."
        )
    return Probabilities(head.activation, p, reusable=reusable)


def read_targets(
    truths: Any,
    like: Any,
    spec: LabelSpec,
    lengths: Optional[Sequence[int]],
    missing_value: Union[str, int, None],
    neg_prefix: Optional[str],
) -> Targets:
    """Targets from whatever thinc's losses take, for guesses ``like`` of ``(N, C)``.

    Args:
        truths: For one array (``lengths`` None) class ids ``(N,)``, rows ``(N, C)`` or a list of
            label strings; for a list of arrays, a list of these. Unknown are None,
            ``missing_value`` and, in rows ``(N, C)``, NaN and -100.
        like: The guesses.
        spec: The classes.
        lengths: Rows of each document, or None.
        missing_value: See truths.
        neg_prefix: See `dice_core.targets.from_labels`.

    Raises:
        ConfigValidationError: If shapes, numbers or labels do not fit.
    """
    n_classes = like.shape[1]
    docs = [truths] if lengths is None else list(truths)
    sizes = [like.shape[0]] if lengths is None else list(lengths)
    if len(docs) != len(sizes):
        raise spec.config_error(f"{len(sizes)} guesses, but {len(docs)} truths.")
    for doc, size in zip(docs, sizes):
        if len(doc) != size:
            raise spec.config_error(f"{size} rows of guesses, but {len(doc)} truths.")
    first = next((doc for doc in docs if len(doc)), ())
    if getattr(first, "ndim", 1) == 2:
        xp = get_array_module(like)
        y = xp.concatenate([xp.asarray(doc) for doc in docs]).astype(like.dtype)
        if y.shape[1] != n_classes:
            raise spec.config_error(f"{n_classes} columns of guesses, but {y.shape[1]} of truths.")
        return from_rows(*checked_rows(y, None, spec), spec, lengths=sizes)
    if any(isinstance(value, str) for doc in docs for value in _items(doc)):
        if spec.names is None:
            raise spec.config_error(
                "cannot read label strings without names. Pass names=[...] when you create the "
                "loss."
            )
        return from_labels(list(map(_items, docs)), spec, like, (None, missing_value), neg_prefix)
    ids = [
        MISSING if value is None or value == missing_value else _class_id(value, spec)
        for doc in docs
        for value in _items(doc)
    ]
    return from_ids(ids, n_classes, spec, like, lengths=sizes)


def _class_id(value: object, spec: LabelSpec) -> int:
    if not isinstance(value, (int, float)) or int(value) != value or value < 0:
        raise spec.config_error(
            f"{value!r} is no class id. Rows (N, C) are arrays; for missing values use None or set "
            "missing_value."
        )
    return int(value)


def _items(doc: Any) -> List[Any]:
    """The items of a sequence or of a 1-d array, as Python objects."""
    if isinstance(doc, list):  # a copy would take as much as its class ids
        return doc
    return doc.tolist() if hasattr(doc, "tolist") else list(doc)


def stack(guesses: Sequence[Any]) -> Any:
    """One array of all documents' rows."""
    if not guesses:
        return numpy.zeros((0, 0), dtype="float32")
    return get_array_module(guesses[0]).concatenate(list(guesses))


def at_least_float32(array: Any) -> Any:
    """float64 as it is, all others as float32."""
    return array if array.dtype == "float64" else array.astype("float32", copy=False)


def as_terms(value: object) -> object:
    """An option, with the losses in it as values of `dice_core`."""
    if isinstance(value, Loss):
        if value.reading():
            raise ValueError(
                f"{value!r} says how guesses are read ({', '.join(value.reading())}), which is for "
                "the loss that it is a term of, or for the component, to say. Leave it out."
            )
        return value.core
    if isinstance(value, dict):
        return {key: as_terms(item) for key, item in value.items()}
    return [as_terms(item) for item in value] if isinstance(value, (list, tuple)) else value


def core_loss(spec: object, owner: str) -> core.Loss:
    """A loss as components keep it, from what users write.

    Args:
        spec: A loss of this module or of `dice_core.losses`; ``"DiceCE"`` or a registered name;
            ``{"name": "DiceCE", "weight": 1.0}``.
        owner: How messages call what it is for.

    Raises:
        ConfigValidationError: For anything else; it names the owner.
    """
    registered = re.fullmatch(r"spacy_dice\.(\w+)\.v1", spec) if isinstance(spec, str) else None
    with as_config_errors("" if not isinstance(spec, Loss) else f"{owner}: "):
        return core.make_loss(registered[1] if registered else as_terms(spec), owner)


def make_loss(spec: object, owner: str = "spacy_dice.make_loss") -> Loss:
    """A thinc loss from its name, or a dict of its name and options; a loss is returned as it is.

    Args:
        spec: ``"DiceCE"`` or its registered name; ``{"name": "DiceCE", "weight": 1.0}``; a loss.
        owner: How messages call what it is for.

    Raises:
        ConfigValidationError: For anything else.

    Example:
        >>> make_loss({"name": "DiceCE", "weight": 2.0}).core.weight
        2.0
    """
    return spec if isinstance(spec, Loss) else as_thinc(core_loss(spec, owner))


def as_thinc(loss: core.Loss, **reading: Any) -> Loss:
    """A thinc loss of a loss of `dice_core`, yours or the library's.

    Args:
        loss: The loss.
        reading: ``names``, ``activation`` and so on: see `Loss`.
    """
    options_ = {name: getattr(loss, name) for name in core.option_names(type(loss))}
    return _thinc_class(type(loss))(**options_, **reading)


def _thinc_class(kind: Type[core.Loss]) -> Type[Loss]:
    made = globals().get(kind.__name__)
    if isinstance(made, type) and issubclass(made, Loss) and made.kind is kind:
        return made
    # Examples there are of the losses themselves.
    doc = (kind.__doc__ or "").partition("    Example:")[0].rstrip()
    return type(kind.__name__, (Loss,), {"kind": kind, "__doc__": doc, "__module__": __name__})


def _factory(kind: Type[core.Loss]) -> Callable[..., Loss]:
    """What ``@losses = "spacy_dice.<Name>.v1"`` calls: its signature is what a config can set.

    The losses check their options on their own, with messages that say what to do, so that the
    types are wide.
    """

    def make(*losses: Any, **options_: Any) -> Loss:
        return _thinc_class(kind)(*losses, **options_)

    parameters = [
        parameter.replace(annotation=Any, kind=Parameter.KEYWORD_ONLY)
        for parameter in signature(kind).parameters.values()
    ]
    make.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    make.__name__, make.__doc__ = kind.__name__, f"`{kind.__name__}`, in a config."
    return make


for _kind in core.LOSSES:
    globals()[_kind.__name__] = _thinc_class(_kind)

# The factories, by name, for the entry points.
v1 = SimpleNamespace(**{kind.__name__: _factory(kind) for kind in core.LOSSES})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Type[Loss]: ...
