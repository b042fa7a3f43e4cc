"""What all losses are: immutable values with one protocol, totals and then slopes."""

import inspect
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import ClassVar, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from .. import arrays, options
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..options import Plain, plain
from ..probabilities import Probabilities
from ..slopes import Slope
from ..targets import Targets


@dataclass(frozen=True)
class Loss:
    """The base of all losses.

    A loss is a frozen dataclass: its fields are the options that a config or a dict can set, and
    equality, repr, copies and pickles come from them. It has no state, so that one object can
    serve any number of components and models; what changes while training is `BoundLoss`'s.

    A loss of your own is a frozen dataclass that overrides `value_and_slope`, `check_options` if
    some options do not suit it, `check` if some labels do not, and, if it counts over more than
    single rows, `n_totals` and `totals`; see docs/extend.md. A sum of losses has `terms` instead.
    """

    # Whether it trains without a cross-entropy: its gradient does not vanish where the gold
    # class has a probability near 0.
    trains_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.check_options()

    def check_options(self) -> None:
        """Check the options, and bring them into one form (`set_number` and its siblings).

        Raises:
            ValueError: For an option out of range; it names the loss and the option.
        """

    # -- the protocol -------------------------------------------------------------------

    def n_totals(self, n_classes: int) -> int:
        """K, how many numbers `totals` gives for C classes; 0 for a loss of single rows."""
        return 0

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        """What this loss counts over rows: numbers that add up.

        Blocks of a large batch, chunks of a mini-batch and ranks of a process group are then all
        the same: the totals of the parts are added, and each part gets the sum.

        Args:
            probabilities: ``(N, C)``.
            targets: What is known of the rows.

        Returns:
            Floats ``(K,)``.
        """
        like = probabilities.like
        return namespace(like).zeros(0, dtype=like.dtype, device=arrays.device(like))

    def value_and_slope(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        """The loss and its slope.

        Args:
            probabilities: ``(N, C)``, N > 0.
            targets: What is known of the rows.
            totals: ``(K,)``, of the set of rows that these are a part of.

        Returns:
            The loss: of each row ``(N,)``, or, if it counts over a set, a scalar: the share of
            these rows, so that the values of the parts of a set add up to the value of the set.
            And the slope of the whole set's value by these rows.
        """
        raise NotImplementedError

    def blocks(self, probabilities: Probabilities, targets: Targets) -> Optional[List[slice]]:
        """Blocks of rows that can be computed one by one, given the totals of all; None where no
        array that is made is as large as the scores, so that blocks spare nothing.
        """
        return arrays.blocks(probabilities.like)

    # -- what it needs ------------------------------------------------------------------

    @property
    def counts_over_batch(self) -> bool:
        """Whether it matters to the value of a row what else is in its batch."""
        return False

    @property
    def counts_over_training(self) -> bool:
        """Whether its totals are those of all batches so far, and not of one batch."""
        return False

    def check(self, spec: LabelSpec) -> None:
        """Check that it suits these labels.

        Raises:
            ValueError: If it does not; it names the owner of the labels and the remedy.
        """
        self.smoothed(spec)

    def check_shape(self, n_classes: int, activation: str, spec: LabelSpec) -> None:
        """Check that it suits an output of so many columns.

        Raises:
            ValueError: For a softmax of one column, whose gradient is always 0.
        """
        if n_classes == 1 and activation == "softmax" and not spec.positions:
            raise spec.config_error(
                "a softmax of one column is always 1, so that nothing can be learned. It needs two "
                'labels; for one label that is there or not, use activation="sigmoid".'
            )

    def smoothed(self, spec: LabelSpec) -> "Loss":
        """The loss with the label smoothing that a component asks for.

        Raises:
            ValueError: If it asks for some, and this loss has none.
        """
        if not spec.label_smoothing:
            return self
        raise spec.config_error(
            f"its label_smoothing is for a cross-entropy, and {self.name()} has none. Set "
            "label_smoothing to 0."
        )

    def why_not_alone(self) -> str:
        """What is wrong with it on its own, and the remedy; "" if nothing is."""
        if self.trains_alone:
            return ""
        return (
            f"{self.name()} without a cross-entropy hardly trains: its gradient vanishes "
            "where the gold label has a probability near 0, and rare labels stay there. Use "
            "DiceCE, or a Compound of it and CrossEntropy (docs/losses/compound.md)."
        )

    # -- terms and schedules ------------------------------------------------------------

    def terms(self) -> Iterator[Tuple[str, float, "Loss"]]:
        """The name, weight and loss of each term, in the order of their totals; a loss that is
        no sum is its own term.
        """
        yield self.name(), 1.0, self

    @property
    def is_scheduled(self) -> bool:
        """Whether a weight in it changes from update to update."""
        return False

    def at(self, step: int, epoch: Optional[float]) -> "Loss":
        """The loss with the weights of one update.

        Args:
            step: Updates before it.
            epoch: Its epoch, counted from 0, where epochs are known.

        Raises:
            ValueError: For a weight that depends on epochs where they are not known.
        """
        return self

    # -- as plain values ----------------------------------------------------------------

    @classmethod
    def name(cls) -> str:
        """How messages call it."""
        return cls.__name__

    def to_dict(self) -> Dict[str, Plain]:
        """Plain values from which `make_loss` makes the loss again: ``{"name": ..., ...}``."""
        given = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        return {"name": loss_name(type(self)), **given}

    # -- for check_options --------------------------------------------------------------

    def set_option(self, name: str, value: object) -> None:
        """Give an option its final form; only `check_options` may."""
        object.__setattr__(self, name, value)

    def set_number(self, name: str, low: float = 0.0, high: float = float("inf")) -> float:
        """Read an option as a finite number in a range."""
        value = options.number(self.name(), name, getattr(self, name), low, high)
        self.set_option(name, value)
        return value

    def set_flag(self, name: str) -> None:
        """Read an option as true or false."""
        options.flag(self.name(), name, getattr(self, name))

    def set_choice(self, name: str, choices: Sequence[object]) -> None:
        """Read an option as one of some choices."""
        options.one_of(self.name(), name, getattr(self, name), choices)

    def set_per_label(self, name: str, high: float = float("inf")) -> None:
        """Read an option as numbers by label or class id, or None."""
        if getattr(self, name) is not None:
            self.set_option(name, options.per_label(self.name(), name, getattr(self, name), high))

    def refuse(self, message: str) -> None:
        """Raise the error of a mistake in the options."""
        raise ValueError(f"{self.name()}: {message}")


def option_names(cls: Type[Loss]) -> List[str]:
    """The names of all options of a loss."""
    return [field.name for field in fields(cls)]


def nearest(name: str, known: Sequence[str]) -> List[str]:
    """The known name that a name is most like, capitals aside; none if it is like none of them."""
    by_lower = {one.lower(): one for one in known}
    return [by_lower[one] for one in get_close_matches(name.lower(), list(by_lower), n=1)]


def did_you_mean(unknown: Sequence[str], known: Sequence[str]) -> str:
    """What the options are, and which of them may have been meant."""
    near = [close for name in unknown for close in nearest(name, known)]
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    return f"{hint}It has: {', '.join(sorted(known)) or 'none'}."


def make_loss(spec: object, owner: str = "make_loss") -> Loss:
    """A loss from what users write and files hold.

    Args:
        spec: A loss; the name of one; or a dict of its name and options, ``{"name": "DiceCE",
            "weight": 1.0}``, as `Loss.to_dict` gives. Losses of third parties are found by their
            names, or by ``module:name``, once they are imported.
        owner: How messages call what it is for.

    Raises:
        ValueError: For anything else; it names the owner.

    Example:
        >>> make_loss({"name": "Focal", "gamma": 1.0}).gamma
        1.0
    """
    if isinstance(spec, Loss):
        return spec
    given = {"name": spec} if isinstance(spec, str) else spec
    if not (isinstance(given, Mapping) and isinstance(given.get("name"), str)):
        raise ValueError(
            f"{owner}: loss must be a loss, the name of one, or a dict such as "
            f"{{'name': 'DiceCE', 'weight': 1.0}}, got {spec!r}. A loss of your own is a subclass "
            "of dice_core.losses.Loss."
        )
    name = given["name"]
    # The library's own come last, so that no other of the same name takes their place.
    known = {c.__name__: c for c in sorted(_subclasses(Loss), key=_is_own)}
    cls = {loss_name(c): c for c in _subclasses(Loss)}.get(name) or known.get(name)
    if cls is None:
        near = nearest(name, list(known))
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"{owner}: there is no loss {name!r}.{hint} There are: {', '.join(sorted(known))}. "
            "If a later version or another package has it, install or import that."
        )
    arguments = {key: value for key, value in given.items() if key != "name"}
    check_known(cls, list(arguments), f"{owner}: {name}")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def check_known(cls: Type[Loss], names: Sequence[str], owner: str) -> None:
    """Raise a ValueError if a loss does not have options of these names."""
    allowed = option_names(cls)
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise ValueError(
            f"{owner} has no option {', '.join(unknown)}. {did_you_mean(unknown, allowed)}"
        )


def loss_name(cls: type) -> str:
    """The name of a loss in plain values: that of its class, with the module if it is not ours."""
    return cls.__name__ if _is_own(cls) else f"{cls.__module__}:{cls.__qualname__}"


def _is_own(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "dice_core"


def _subclasses(cls: Type[Loss]) -> Iterator[Type[Loss]]:
    """All losses below a class that can be made; those with an underscore are bases."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_") and not inspect.isabstract(subclass):
            yield subclass
        yield from _subclasses(subclass)
