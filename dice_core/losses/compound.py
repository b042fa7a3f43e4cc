"""Weighted sums of losses."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Dict, Iterator, Optional, Tuple

from .. import options
from ..labels import LabelSpec
from ..options import AUTO, Average, Background, ClassWeights, Level
from ..schedules import Numbers, Ramp, Weight, weight, weight_at
from .base import Loss, make_loss
from .log_losses import CrossEntropy
from .overlap import Dice

Term = Tuple[str, Weight, Loss]


class _Sum(Loss):
    """A weighted sum of terms, which `BoundLoss` computes one by one."""

    # Name, weight and loss of each term.
    _terms: Tuple[Term, ...]

    @property
    def trains_alone(self) -> bool:  # type: ignore[override]
        return any(loss.trains_alone for _, _, loss in self._terms)

    @property
    def counts_over_batch(self) -> bool:
        return any(loss.counts_over_batch for _, _, loss in self._terms)

    def check(self, spec: LabelSpec) -> None:
        self.smoothed(spec)
        for _, _, loss in self._terms:
            loss.check(spec if hasattr(loss, "label_smoothing") else spec.unsmoothed())

    def check_shape(self, n_classes: int, activation: str, spec: LabelSpec) -> None:
        for _, _, loss in self._terms:
            loss.check_shape(n_classes, activation, spec)

    def smoothed(self, spec: LabelSpec) -> Loss:
        if not spec.label_smoothing:
            return self
        terms = {}
        for name, _, loss in self._terms:
            able = isinstance(loss, _Sum) or hasattr(loss, "label_smoothing")
            terms[name] = loss.smoothed(spec) if able else loss
        if all(terms[name] is loss for name, _, loss in self._terms):
            return super().smoothed(spec)
        return Compound(terms, {name: number for name, number, _ in self._terms})

    def terms(self) -> Iterator[Tuple[str, float, Loss]]:
        for name, weight_, loss in self._terms:
            number = weight_at(weight_, 0, 0.0, name)
            for inner, inner_number, leaf in loss.terms():
                path = name if leaf is loss else f"{name}.{inner}"
                yield path, number * inner_number, leaf

    @property
    def is_scheduled(self) -> bool:
        return any(
            isinstance(weight_, (Ramp, Numbers)) or loss.is_scheduled
            for _, weight_, loss in self._terms
        )


@dataclass(frozen=True)
class Compound(_Sum):
    """The weighted sum of other losses.

    Args:
        losses: The terms, as a block or dict of name = loss, or a list. Each is a loss, the name
            of one, or a dict of its name and options.
        weights: For each term, by name or as a list, a number from 0 on or a schedule of them:
            any iterator of numbers, such as thinc's schedules, of which each update takes the
            next and the last is kept, or in Flair a `Ramp` over epochs. Without weights all are
            1. Like the optimizer's, schedules begin anew when a training does.

    Raises:
        ValueError: For terms that are no losses, and weights that name no term.

    Example:
        >>> loss = Compound({"ce": "CrossEntropy", "dice": {"name": "Dice", "level": "batch"}})
        >>> ", ".join(name for name, _, _ in loss.terms())
        'ce, dice'
    """

    losses: Any
    weights: Any = None

    def check_options(self) -> None:
        given = options.named(self.name(), self.losses)
        losses = {n: make_loss(loss, f"{self.name()}: losses: {n!r}") for n, loss in given.items()}
        if not losses:
            self.refuse("losses is empty; give it at least one loss.")
        weights = {} if self.weights is None else options.named(self.name(), self.weights)
        unknown = [name for name in weights if name not in losses]
        is_list = isinstance(self.weights, (list, tuple))
        if unknown or (is_list and len(weights) != len(losses)):
            self.refuse(
                f"weights must name terms of losses ({', '.join(losses)}), got "
                f"{', '.join(weights)}."
            )
        read = {name: weight(self.name(), name, weights.get(name, 1.0)) for name in losses}
        self.set_option("losses", losses)
        self.set_option("weights", read)
        parts = tuple((name, read[name], loss) for name, loss in losses.items())
        self.set_option("_terms", parts)

    def at(self, step: int, epoch: Optional[float]) -> Loss:
        if not self.is_scheduled:
            return self
        return Compound(
            {name: loss.at(step, epoch) for name, loss in self.losses.items()},
            {name: weight_at(w, step, epoch, name) for name, w in self.weights.items()},
        )

    def __repr__(self) -> str:
        return f"Compound({' + '.join(f'{w!r} * {loss!r}' for _, w, loss in self._terms)})"


@dataclass(frozen=True, kw_only=True)
class DiceCE(_Sum):
    """The default recipe: cross-entropy + weight x Dice over the batch.

    In a model with a CRF the cross-entropy is the CRF's likelihood and the Dice is over the
    tokens' marginals. Keep batches large enough to hold some rows of most classes.

    Args:
        weight: Of the Dice term, a number from 0 on or a schedule (see Compound).
        class_weights: Of the cross-entropy: a factor for each label, by name or a list by class
            id, or "balanced", the weights of WeightedCrossEntropy.
        level: Of the Dice term: "batch", one soft count over the batch, times its number of
            rows; or "element", each cell on its own.
        average: Of the Dice term: "macro", the mean over the classes that are gold in the batch;
            "micro", the counts of all classes pooled; or "auto", micro where there is a
            background and macro where there is none.
        smooth: Added above and below in the Dice term, from 0 on.
        squared: Whether the Dice term has the published denominator, p^2 + y^2, in place of p + y.
        log: -log of the Dice coefficient instead of 1 minus it; needs smooth above 0.
        background: Classes left out of the Dice term: "auto", those that the component or the
            model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: the terms of Li et al. 2020; their sum as in nnU-Net (Isensee et al. 2021).
    """

    weight: Any = 1.0
    class_weights: ClassWeights = None
    level: Level = "batch"
    average: Average = AUTO
    smooth: float = 1.0
    squared: bool = False
    log: bool = False
    background: Background = AUTO

    _DICE: ClassVar[Tuple[str, ...]] = ("level", "smooth", "squared", "log", "background")

    def check_options(self) -> None:
        dice_options: Dict[str, Any] = {name: getattr(self, name) for name in self._DICE}
        if self.level != "element" or self.average != AUTO:
            dice_options["average"] = self.average
        try:  # the options are this loss's: so is the mistake
            cross_entropy = CrossEntropy(class_weights=self.class_weights)
            dice = Dice(**dice_options)
        except ValueError as error:
            self.refuse(str(error).partition(": ")[2])
        for name in ("smooth", "background"):
            self.set_option(name, getattr(dice, name))
        self.set_option("class_weights", cross_entropy.class_weights)
        self.set_option("weight", weight(self.name(), "dice", self.weight))
        self.set_option(
            "_terms", (("cross_entropy", 1.0, cross_entropy), ("dice", self.weight, dice))
        )

    def at(self, step: int, epoch: Optional[float]) -> Loss:
        if not self.is_scheduled:
            return self
        return replace(self, weight=weight_at(self.weight, step, epoch, "dice"))


def all_losses(loss: Loss) -> Iterator[Loss]:
    """A loss, and all that are in it."""
    yield loss
    if isinstance(loss, _Sum):
        for _, _, inner in loss._terms:
            yield from all_losses(inner)
