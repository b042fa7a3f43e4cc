"""What all losses share: reading logits and targets, reduction, and what is saved of it."""

import inspect
import math
from typing import Any, Dict, Iterator, List, Optional, Sequence, Type

import torch
from torch import Tensor

from ..heads import ACTIVATIONS, Head, TokenHead, widen
from ..schedules import Weight
from ..targets import Labels, Targets, read_targets

REDUCTIONS = ("mean", "sum")


class Loss(torch.nn.Module):
    """What all losses share: reading logits and targets, reduction, and what is saved of it.

    A subclass overrides `total`, keeps every argument of its constructor in an attribute of the
    same name, and overrides `check` if some labels do not suit it.
    """

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        activation: str = "softmax",
        reduction: str = "mean",
    ):
        super().__init__()
        self.names = None if names is None else tuple(names)
        self.activation = self._one_of("activation", activation, tuple(ACTIVATIONS))
        self.reduction = self._one_of("reduction", reduction, REDUCTIONS)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        mask: Optional[Tensor] = None,
        lengths: Optional[Sequence[int]] = None,
    ) -> Tensor:
        """The loss, a scalar.

        logits: floats ``(N, C)``; ``-inf`` rules a class out. targets: class ids ``(N,)`` or rows
        ``(N, C)``. mask: None, ``(N,)`` or ``(N, C)``, 1 where the truth is known. lengths: rows
        of each sentence, which EntityDice reads. Raises a ValueError for shapes that do not
        match, class ids out of range and options that do not fit the labels.
        """
        labels = Labels(f"flair_dice.{type(self).__name__}", self.names)
        if logits.ndim != 2 or not logits.shape[1] or not logits.is_floating_point():
            raise ValueError(
                f"{labels.owner}: logits must be floats (rows, classes), got "
                f"{tuple(logits.shape)} of {logits.dtype}."
            )
        if self.names is not None and len(self.names) != logits.shape[1]:
            raise ValueError(
                f"{labels.owner}: {len(self.names)} names for {logits.shape[1]} columns of logits."
            )
        self.check(labels)
        with torch.autocast(logits.device.type, enabled=False):
            wide = widen(logits)
            read = read_targets(targets, mask, wide, labels, lengths)
            if read.mask is not None:
                # A softmax would spread the gradient of known cells over masked ones.
                wide = torch.where(read.mask > 0, wide, wide.detach())
            value = self.total(TokenHead(wide, self.activation), read)
            return value if self.reduction == "sum" else value / read.n_rows().clamp(min=1.0)

    def total(self, head: Head, targets: Targets) -> Tensor:
        """The loss summed over rows (see above): a scalar."""
        raise NotImplementedError

    def check(self, labels: Labels) -> None:
        """Raise a ValueError if this loss cannot be used with these labels."""
        if self.names is not None and labels.names is not None and self.names != labels.names:
            raise ValueError(
                f"{labels.owner}: the loss was made for the labels {', '.join(self.names)}, but "
                f"the labels here are {', '.join(labels.names)}. Leave names out: a model gives "
                "its own."
            )

    @property
    def set_level(self) -> bool:
        """Whether it has one count over a batch, so that it matters what is in the batch."""
        return False

    def weights_in_use(self) -> Iterator[Weight]:
        """The weights of terms, of this loss and all that are in it."""
        return iter(())

    def step_schedules(self, epoch: float) -> None:
        """Set scheduled weights to what they are at this epoch, counted from 0, before an
        update. `LossPlugin` does it in Flair's trainer."""
        for weight in self.weights_in_use():
            weight.step(epoch)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values from which `make_loss` makes the loss again: ``{"name": ..., ...}``."""
        values = {"name": type(self).__name__}
        values.update({key: getattr(self, key) for key in _own_parameters(type(self))})
        return {**values, **self._reading()}

    def _reading(self) -> Dict[str, Any]:
        """How logits are read, where it is not as by default."""
        values: Dict[str, Any] = {} if self.names is None else {"names": list(self.names)}
        if self.activation != "softmax":
            values["activation"] = self.activation
        if self.reduction != "mean":
            values["reduction"] = self.reduction
        return values

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in Loss.to_dict(self).items() if k != "name")

    # -- reading parameters -------------------------------------------------------------

    def _mistake(self, message: str) -> ValueError:
        return ValueError(f"flair_dice.{type(self).__name__}: {message}")

    def _number(self, name: str, value: Any, low: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._mistake(f"{name} must be a number, got {value!r}.")
        if not (value >= low and math.isfinite(value)):
            raise self._mistake(f"{name} must be a finite number from {low:g} on, got {value!r}.")
        return float(value)

    def _flag(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._mistake(f"{name} must be true or false, got {value!r}.")
        return value

    def _one_of(self, name: str, value: Any, options: Sequence[str]) -> str:
        if value not in options:
            raise self._mistake(f"{name} must be one of {', '.join(options)}, got {value!r}.")
        return value


def make_loss(spec: Any, owner: str = "flair_dice.make_loss") -> Loss:
    """A loss from what users write and files hold: a loss; the name of one; or a dict of its
    name and parameters, ``{"name": "DiceCE", "weight": 1.0}``, as `Loss.to_dict` gives.

    Subclasses of `Loss` by third parties are found by their names once they are imported.
    Raises a ValueError that names ``owner`` for anything else.
    """
    if isinstance(spec, Loss):
        return spec
    parameters = {"name": spec} if isinstance(spec, str) else spec
    if not (isinstance(parameters, dict) and isinstance(parameters.get("name"), str)):
        raise ValueError(
            f"{owner}: loss must be a loss of flair_dice, the name of one, or a dict such as "
            f"{{'name': 'DiceCE', 'weight': 1.0}}, got {spec!r}. For a loss of your own, make a "
            "subclass of flair_dice.Loss."
        )
    known = {cls.__name__: cls for cls in _subclasses(Loss)}
    name = parameters["name"]
    if name not in known:
        raise ValueError(
            f"{owner}: there is no loss {name!r}. There are: {', '.join(sorted(known))}. If a "
            "later version of flair_dice or a package of its own has it, install or import that."
        )
    arguments = {key: value for key, value in parameters.items() if key != "name"}
    allowed = {*_own_parameters(known[name]), *_own_parameters(Loss)}
    unknown = [key for key in arguments if key not in allowed]
    if unknown:
        raise ValueError(
            f"{owner}: {name} has no option {', '.join(unknown)}. It has: "
            f"{', '.join(sorted(allowed))}. If a later version of flair_dice has it, install that."
        )
    return known[name](**arguments)


def _subclasses(cls: Type[Loss]) -> Iterator[Type[Loss]]:
    """All losses below a class that can be made; those with an underscore are bases."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _subclasses(subclass)


def _own_parameters(cls: Type[Loss]) -> List[str]:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
