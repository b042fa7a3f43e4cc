"""Weighted sums of losses."""

from typing import Any, Dict, Iterator, Optional, Tuple

from thinc.api import get_array_module

from ..errors import mistake
from ..heads import Head
from ..targets import Labels, Targets
from .base import Array, Loss
from .overlap import AUTO, Background, Dice
from .per_row import CrossEntropy


class Compound(Loss):
    """The weighted sum of other losses.

    losses: the terms, as a block of name = loss or a list. weights: for each term, by name or
    as a list, a number from 0 on or a thinc schedule of them, which goes on by one at every
    update of the component; without weights all are 1. Other schedules than thinc's will do:
    any iterator of numbers; one that ends keeps its last value. Like the optimizer's, they begin
    anew when `spacy train` does, and a saved pipeline holds none.
    """

    def __init__(
        self,
        losses: Any,
        weights: Any = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        terms = _as_dict(losses)
        if not terms:
            raise self._mistake("losses is empty; give it at least one loss.")
        for name, loss in terms.items():
            if not isinstance(loss, Loss):
                raise self._mistake(f"losses: {name!r} must be a spacy_dice loss, got {loss!r}.")
        given = _as_dict(weights) if weights is not None else {}
        unknown = [str(name) for name in given if name not in terms]
        if unknown or (isinstance(weights, (list, tuple)) and len(given) != len(terms)):
            raise self._mistake(
                f"weights must name terms of losses ({', '.join(map(str, terms))}), "
                f"got {', '.join(map(str, given))}."
            )
        self.losses = terms
        self.smooths = any(loss.smooths for loss in terms.values())
        self.weights = {name: _Weight(self, name, given.get(name, 1.0)) for name in terms}

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        value: Any = 0.0
        slope = get_array_module(p).zeros_like(p)
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            if weight:
                term, term_slope = loss.slope(p, targets, head)
                value = value + weight * term
                slope += weight * term_slope
        return value, slope

    def check(self, labels: Labels) -> None:
        super().check(labels)
        for loss in self.losses.values():
            loss.check(labels if loss.smooths else labels._replace(label_smoothing=0.0))

    def step_schedules(self) -> None:
        for weight in self.weights.values():
            weight.step()
        for loss in self.losses.values():
            loss.step_schedules()


class DiceCE(Compound):
    """The default recipe: cross-entropy + weight x micro Dice over the batch.

    weight: of the Dice term, a number or a schedule (see Compound). The other parameters are
    Dice's, with the defaults that train: one count over the batch, not squared.
    """

    def __init__(
        self,
        *,
        weight: Any = 1.0,
        level: str = "batch",
        average: str = "micro",
        smooth: float = 1.0,
        squared: bool = False,
        log: bool = False,
        background: Background = AUTO,
        **reading: Any,
    ):
        dice = Dice(
            level=level,
            average=average,
            smooth=smooth,
            squared=squared,
            log=log,
            background=background,
        )
        super().__init__(
            {"cross_entropy": CrossEntropy(), "dice": dice},
            {"dice": weight},
            **reading,
        )


class _Weight:
    """A number, or the current value of a schedule. Pickles as its current value."""

    def __init__(self, owner: Loss, name: Any, value: Any):
        self._owner, self._name = owner, name
        self._schedule: Optional[Iterator[Any]] = None
        if isinstance(value, (str, bytes)):
            raise owner._mistake(f"the weight of {name!r} must be a number, got {value!r}.")
        if hasattr(value, "__iter__"):
            self._schedule = iter(value)
            value = next(self._schedule)
        self.current = owner._number(f"the weight of {name!r}", _scalar(value))

    def step(self) -> None:
        if self._schedule is not None:
            value = next(self._schedule, self.current)
            self.current = self._owner._number(f"the weight of {self._name!r}", _scalar(value))

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_schedule": None}


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _as_dict(values: Any) -> Dict[Any, Any]:
    if isinstance(values, dict):
        return dict(values)
    if isinstance(values, (list, tuple)):
        return dict(enumerate(values))
    raise mistake(f"spacy_dice: expected a block of names or a list, got {values!r}.")
