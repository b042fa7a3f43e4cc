"""What is to be highest: F-beta, or one of precision and recall at a floor of the other."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Mapping, Optional, Tuple, Union

import numpy
from numpy.typing import ArrayLike

Array = numpy.ndarray
AVERAGES = ("micro", "macro")
FLOORS = ("min_precision", "min_recall")
# The columns of counts: true positives, false positives, false negatives.
TP, FP, FN = range(3)
# What users write, without spaces and underscores.
WRITTEN = re.compile(r"(micro|macro)?(?:f(\d*\.?\d+)|(precision|recall)>=(\d*\.?\d+))?")


@dataclass(frozen=True)
class Objective:
    """What is to be highest.

    average: "micro" (all decisions pooled) or "macro" (the mean over labels). beta: of F-beta;
    above 1 recall counts more. min_precision, min_recall: at most one of them, from 0 to 1; the
    other of the two is then to be as high as it can be at this one.
    """

    average: str = "micro"
    beta: float = 1.0
    min_precision: Optional[float] = None
    min_recall: Optional[float] = None

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ValueError(f"average must be 'micro' or 'macro', got {self.average!r}.")
        if not (numpy.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"beta must be above 0, got {self.beta!r}.")
        if len(self._floors) > 1:
            raise ValueError("Give either min_precision or min_recall, not both.")
        for name, value in self._floors.items():
            if not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")

    @property
    def _floors(self) -> Mapping[str, float]:
        return {name: value for name in FLOORS if (value := getattr(self, name)) is not None}

    @property
    def is_f(self) -> bool:
        """Whether it is an F score alone, without a floor for precision or recall."""
        return not self._floors

    def raised(self, margin: float) -> "Objective":
        """The same with a floor that is higher by a margin, as far as it can be."""
        raised: Any = {name: min(value + margin, 0.999) for name, value in self._floors.items()}
        return replace(self, **raised)

    def __str__(self) -> str:
        if self.min_precision is not None:
            return f"{self.average} recall at precision >= {self.min_precision:g}"
        if self.min_recall is not None:
            return f"{self.average} precision at recall >= {self.min_recall:g}"
        return f"{self.average} F{self.beta:g}"

    def of_labels(self, counts: Array) -> Array:
        """The value of each label by itself: counts ``(..., C, 3)`` to floats ``(..., C)``.

        F-beta is from 0 to 1. With a floor, the value is 1 + the other measure where the floor is
        kept, and the measure that should keep it where it is not.
        """
        tp, fp, fn = numpy.moveaxis(numpy.asarray(counts, dtype="float64"), -1, 0)
        if self.is_f:
            weight = self.beta**2
            return ratio((1 + weight) * tp, (1 + weight) * tp + weight * fn + fp)
        precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
        if self.min_recall is not None:
            return numpy.where(recall >= self.min_recall, 1 + precision, recall)
        # Nothing predicted is nothing wrong.
        precision = numpy.where(tp + fp > 0, precision, 1.0)
        return numpy.where(precision >= self.min_precision, 1 + recall, precision)

    def value(self, counts: Array, average: Optional[str] = None) -> Array:
        """The value of all labels: counts ``(..., C, 3)`` to floats ``(...)``. Labels without
        examples count in micro only.
        """
        counts = numpy.asarray(counts, dtype="float64")
        if (average or self.average) == "micro":
            return self.of_labels(counts.sum(axis=-2, keepdims=True))[..., 0]
        present = counts[..., TP] + counts[..., FN] > 0
        return ratio((self.of_labels(counts) * present).sum(axis=-1), present.sum(axis=-1))

    def mixed(self, counts: Array, macro: float) -> Array:
        """``macro`` of the mean over labels, and the rest of what is pooled; floors do not mix."""
        if not self.is_f:
            return self.value(counts)
        return macro * self.value(counts, "macro") + (1 - macro) * self.value(counts, "micro")


# What a user may give as an objective.
Spec = Union[None, str, Mapping[str, Any], Objective]


def as_objective(spec: Spec, average: str = "micro") -> Objective:
    """An objective from what a user writes.

    Args:
        spec: None (F1), an `Objective`, a dict of its fields, or a string: "micro", "macro", "f1",
            "macro_f2", "f0.5", "precision>=0.9" (the highest recall at that precision) or
            "recall>=0.8", with "micro " or "macro " before it.
        average: Where the spec names none.

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
    if isinstance(spec, Mapping):
        unknown = set(spec) - {field.name for field in fields(Objective)}
        if unknown:
            raise ValueError(f"objective: there is no option {sorted(unknown)[0]!r}.")
        return Objective(**{"average": average, **spec})
    text = "" if spec is None else re.sub(r"[ _]", "", str(spec).lower())
    found = WRITTEN.fullmatch(text)
    if not found or not isinstance(spec, (str, type(None))):
        raise ValueError(
            f"objective must be such as 'micro', 'macro', 'f1', 'macro_f2', 'f0.5', "
            f"'precision>=0.9' or 'recall>=0.8', got {spec!r}."
        )
    named, beta, measure, floor = found.groups()
    floors = {f"min_{measure}": float(floor)} if measure else {}
    return Objective(named or average, float(beta or 1), **floors)


def precision_recall(counts: Array) -> Tuple[Array, Array, Array]:
    """Precision, recall and F1 of counts ``(..., 3)``."""
    tp, fp, fn = numpy.moveaxis(numpy.asarray(counts, dtype="float64"), -1, 0)
    return ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)


def ratio(a: ArrayLike, b: ArrayLike) -> Array:
    """a / b, and 0 where b is 0."""
    return numpy.divide(a, b, out=numpy.zeros(numpy.broadcast(a, b).shape), where=(b != 0))
