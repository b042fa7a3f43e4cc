"""Weighted sums of losses."""

from typing import Any, Dict, Iterator

import torch
from torch import Tensor

from ..heads import Head
from ..schedules import Weight
from ..targets import Labels, Targets
from .base import Loss, make_loss
from .overlap import AUTO, Background, Dice
from .per_row import CrossEntropy


class Compound(Loss):
    """The weighted sum of other losses.

    losses: the terms, by name or as a list; each a loss, a name or a dict (see `make_loss`).
    weights: for each term, by name or as a list, a number from 0 on, a `Ramp`, or an iterator of
    numbers of which each update takes the next and the last is kept; without weights all are 1.
    `LossPlugin` (or `step_schedules`, in a training loop of your own) makes them go on.
    """

    def __init__(self, losses: Any, weights: Any = None, **reading: Any):
        super().__init__(**reading)
        terms = {str(name): make_loss(spec) for name, spec in self._as_dict(losses).items()}
        if not terms:
            raise self._mistake("losses is empty; give it at least one loss.")
        given = {} if weights is None else self._as_dict(weights)
        given = {str(name): weight for name, weight in given.items()}
        unknown = [name for name in given if name not in terms]
        if unknown or (isinstance(weights, (list, tuple)) and len(given) != len(terms)):
            raise self._mistake(
                f"weights must name terms of losses ({', '.join(terms)}), got {', '.join(given)}."
            )
        self.losses: Any = torch.nn.ModuleDict(terms)
        owner = f"flair_dice.{type(self).__name__}: the weight of "
        self.weights = {n: Weight(given.get(n, 1.0), f"{owner}{n!r}") for n in terms}

    def total(self, head: Head, targets: Targets) -> Tensor:
        value = head.view.p.sum() * 0.0
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            if weight:
                value = value + weight * loss.total(head, targets)
        return value

    def check(self, labels: Labels) -> None:
        super().check(labels)
        for loss in self.losses.values():
            loss.check(labels)

    @property
    def set_level(self) -> bool:
        return any(loss.set_level for loss in self.losses.values())

    def weights_in_use(self) -> Iterator[Weight]:
        yield from self.weights.values()
        for loss in self.losses.values():
            yield from loss.weights_in_use()

    def to_dict(self) -> Dict[str, Any]:
        return {
            "name": type(self).__name__,
            "losses": {name: loss.to_dict() for name, loss in self.losses.items()},
            "weights": {name: weight.to_dict() for name, weight in self.weights.items()},
            **self._reading(),
        }

    def extra_repr(self) -> str:
        return f"weights={self.weights}"

    def _as_dict(self, values: Any) -> Dict[Any, Any]:
        if isinstance(values, dict):
            return dict(values)
        if isinstance(values, (list, tuple)):
            return dict(enumerate(values))
        raise self._mistake(f"expected names or a list, got {values!r}.")


class DiceCE(Compound):
    """The default recipe: cross-entropy + weight x micro Dice over the batch.

    weight: of the Dice term, a number or a schedule (see Compound). The other parameters are
    Dice's, with the defaults that train: one count over the batch, not squared. In a model with
    a CRF the cross-entropy is the CRF's likelihood and the Dice is over the tokens' marginals.
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
        terms = {"cross_entropy": CrossEntropy(), "dice": dice}
        super().__init__(terms, {"dice": weight}, **reading)

    def to_dict(self) -> Dict[str, Any]:
        values: Dict[str, Any] = {"name": type(self).__name__}
        values["weight"] = self.weights["dice"].to_dict()
        dice = self.losses["dice"].to_dict()
        values.update({key: value for key, value in dice.items() if key != "name"})
        return {**values, **self._reading()}
