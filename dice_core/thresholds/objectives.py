"""What thresholds are chosen for: F-beta, or precision or recall at a floor of the other.

An objective is an object with two functions: `rank`, which is to be highest, and `shown`, which is
what reports print. A new one is a subclass here, and a line in `as_objective`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy
from numpy.typing import ArrayLike

Array = numpy.ndarray
# From counts (..., 3) to values (...).
Measure = Callable[[Array], Array]
AVERAGES = ("micro", "macro")
MEASURES = ("precision", "recall")
# The columns of counts: true positives, false positives, false negatives.
TP, FP, FN = range(3)
# What users write, without spaces and underscores.
WRITTEN = re.compile(r"(micro|macro)?(?:f(\d*\.?\d+)|(precision|recall)>=(\d*\.?\d+))?")


@dataclass(frozen=True)
class Objective:
    """What thresholds are chosen for. All functions take counts ``(..., 3)`` and give ``(...)``.

    Attributes:
        average: "micro", all decisions pooled, or "macro", each label for itself.
    """

    average: str = "micro"

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ValueError(f"average must be 'micro' or 'macro', got {self.average!r}.")

    @property
    def name(self) -> str:
        """What `shown` is called."""
        raise NotImplementedError

    @property
    def constraint(self) -> str:
        """What has to be reached, such as "precision >= 0.9"; empty without a constraint."""
        return ""

    @property
    def has_floor(self) -> bool:
        """Whether there is a constraint, which is reached or not."""
        return bool(self.constraint)

    def rank(self, counts: ArrayLike) -> Array:
        """What is to be highest: any number, which is not printed."""
        raise NotImplementedError

    def shown(self, counts: ArrayLike) -> Array:
        """What is printed, from 0 to 1."""
        raise NotImplementedError

    def shortfall(self, counts: ArrayLike) -> Array:
        """By how much the constraint is missed; at most 0 where it is reached, or there is none."""
        return numpy.zeros(numpy.shape(counts)[:-1])

    def describe(self, counts: Array) -> str:
        """What reports say of counts ``(3,)`` that miss the constraint."""
        return f"{100 * float(self.shown(counts)):.1f}"

    def raised(self, margin: float) -> "Objective":
        """The same with a floor that is higher by a margin."""
        return self

    def __str__(self) -> str:
        return f"{self.average} {self.name}"


@dataclass(frozen=True)
class FScore(Objective):
    """F-beta.

    Attributes:
        beta: Above 1 recall counts more, below 1 precision.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (numpy.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"beta must be above 0, got {self.beta!r}.")

    @property
    def name(self) -> str:
        return f"F{self.beta:g}"

    def shown(self, counts: ArrayLike) -> Array:
        tp, fp, fn = _split(counts)
        weight = self.beta**2
        return ratio((1 + weight) * tp, (1 + weight) * tp + weight * fn + fp)

    rank = shown


@dataclass(frozen=True)
class AtFloor(Objective):
    """One of precision and recall, as high as it can be where the other is at least ``floor``. With
    average "macro", each label has to reach it.

    Attributes:
        measure: The one that has the floor, "precision" or "recall".
        floor: Between 0 and 1.
    """

    measure: str = "precision"
    floor: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.measure not in MEASURES:
            raise ValueError(f"measure must be 'precision' or 'recall', got {self.measure!r}.")
        if not 0 < self.floor < 1:
            raise ValueError(f"the floor must be between 0 and 1, got {self.floor!r}.")

    @property
    def name(self) -> str:
        return f"{MEASURES[self.measure == 'precision']} at {self.constraint}"

    @property
    def constraint(self) -> str:
        return f"{self.measure} >= {self.floor:g}"

    def _measures(self, counts: ArrayLike) -> tuple[Array, Array]:
        """The measure with the floor, and the other."""
        precision, recall, _ = precision_recall(counts)
        return (precision, recall) if self.measure == "precision" else (recall, precision)

    def rank(self, counts: ArrayLike) -> Array:
        with_floor, other = self._measures(counts)
        # Where nothing is predicted, precision is 0: it reaches no floor.
        return numpy.where(with_floor >= self.floor, 1 + other, with_floor)

    def shown(self, counts: ArrayLike) -> Array:
        return self._measures(counts)[1]

    def shortfall(self, counts: ArrayLike) -> Array:
        return self.floor - self._measures(counts)[0]

    def describe(self, counts: Array) -> str:
        with_floor, other = (100 * float(value) for value in self._measures(counts))
        name = MEASURES[self.measure == "precision"]
        return f"{with_floor:.1f} at the nearest, with {name} {other:.1f}"

    def raised(self, margin: float) -> "AtFloor":
        return replace(self, floor=min(self.floor + margin, 0.999))


# What a user may give as an objective.
Spec = None | str | Objective


def as_objective(spec: Spec, average: str = "micro") -> Objective:
    """An objective from what a user writes.

    Args:
        spec: None (F1), an `Objective`, or a string: "micro", "macro", "f1", "macro_f2", "f0.5",
            "precision>=0.9" (the highest recall at that precision) or "recall>=0.8", with "micro "
            or "macro " before it.
        average: The average where the spec names none.

    Returns:
        The objective.

    Raises:
        ValueError: For anything else; it says what can be written.

    Example:
        >>> str(as_objective("macro_f2"))
        'macro F2'
        >>> str(as_objective("precision>=0.9"))
        'micro recall at precision >= 0.9'
    """
    if isinstance(spec, Objective):
        return spec
    text = "" if spec is None else re.sub(r"[ _]", "", str(spec).lower())
    found = WRITTEN.fullmatch(text)
    if not found or not isinstance(spec, (str, type(None))):
        raise ValueError(
            f"objective must be such as 'micro', 'macro', 'f1', 'macro_f2', 'f0.5', "
            f"'precision>=0.9' or 'recall>=0.8', got {spec!r}."
        )
    named, beta, measure, floor = found.groups()
    if measure:
        return AtFloor(named or average, measure, float(floor))
    return FScore(named or average, float(beta or 1))


def overall(
    measure: Measure, counts: Array, average: str, over: str = "gold", counted: Array | None = None
) -> Array:
    """A measure of all labels.

    Args:
        measure: From counts ``(..., 3)`` to values ``(...)``.
        counts: Floats ``(..., C, 3)``.
        average: "micro" or "macro".
        over: Which labels the macro mean is over: "gold", those with gold examples; "seen", those
            that are gold or predicted; "all".
        counted: Bools ``(C,)``, the labels that count at all; None is all.

    Returns:
        Floats ``(...)``.

    Example:
        >>> overall(FScore().shown, numpy.asarray([[1, 0, 0], [0, 0, 1.0]]), "macro").tolist()
        0.5
    """
    if counted is not None:
        counts = counts[..., counted, :]
    if average == "micro":
        return measure(counts.sum(axis=-2))
    n = counts.sum(axis=-1) if over == "seen" else counts[..., TP] + counts[..., FN]
    weight = numpy.ones(n.shape) if over == "all" else (n > 0).astype("float64")
    return ratio((measure(counts) * weight).sum(axis=-1), weight.sum(axis=-1))


def precision_recall(counts: ArrayLike) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of counts ``(..., 3)``."""
    tp, fp, fn = _split(counts)
    return ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)


def ratio(a: ArrayLike, b: ArrayLike) -> Array:
    """a / b, and 0 where b is 0."""
    b = numpy.asarray(b)
    shape = numpy.broadcast(a, b).shape
    return numpy.asarray(numpy.divide(a, b, out=numpy.zeros(shape), where=numpy.not_equal(b, 0)))


def _split(counts: ArrayLike) -> tuple[Array, Array, Array]:
    tp, fp, fn = numpy.moveaxis(numpy.asarray(counts, dtype="float64"), -1, 0)
    return tp, fp, fn
