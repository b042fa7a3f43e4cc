"""What was tried beside cross-entropy and is not in the library; the probe runs these too.

Importing this makes their losses known to `flair_dice.make_loss`.
"""

from typing import Any, Dict

import torch
from torch import Tensor

from dice_core.formulas import overlap
from dice_core.options import AUTO, Background
from flair_dice import Dice

from .recipes import CE, DICE_CE, DICE_CE_MACRO, ENTITIES, MACRO, Recipe, compound


class CarriedDice(Dice):
    """Dice over this batch and those before it.

    momentum: what the counts of earlier batches shrink by at each batch, in [0, 1); their
    gradient is gone, and that of this batch is scaled up to what it would be with theirs.
    balance: pooled counts of a class weigh its gold count to the power of minus this: 0 is micro,
    1 gives each class the same weight, as in generalised Dice (Sudre et al. 2017).
    """

    def __init__(
        self,
        *,
        momentum: float = 0.9,
        balance: float = 0.0,
        average: str = "macro",
        background: Background = AUTO,
        **reading: Any,
    ):
        overlap = {"average": average, "background": background}
        super().__init__(level="batch", squared=False, **overlap, **reading)
        self.momentum = self.read_number("momentum", momentum)
        self.balance = self.read_number("balance", balance)
        self._seen: Any = 0.0
        self._batches = 0.0

    def of_head(self, head: Any, targets: Any) -> Tensor:
        targets = targets.dense()
        p = head.logits.softmax(dim=1)
        now = torch.stack([p * targets.y, p, targets.y])
        seen = self.momentum * self._seen + (now * targets.known()).sum(dim=1)
        self._seen, self._batches = seen.detach(), 1.0 + self.momentum * self._batches
        kept = seen[2].detach() > 0
        kept[self._background_columns(targets.spec)] = False
        counts = seen[:, kept]
        if self.average == "micro":
            weights = (counts[2] / counts[2].mean()).detach() ** -self.balance
            counts = (weights * counts).sum(dim=1, keepdim=True)
        loss = overlap(*counts, 0.5, 0.5, self.smooth * self._batches / 2, log=False)[0]
        value = loss.mean() if kept.any() else seen.sum() * 0.0
        scaled = value.detach() + self._batches * (value - value.detach())
        return targets.n_rows() * scaled


def ramp(first: float, last: float) -> Recipe:
    """A weight that goes from one value to the other in epochs 5 to 10."""
    return {"name": "Ramp", "first": first, "last": last, "begin": 5, "end": 10}


TRIED: Dict[str, Recipe] = {
    # Counts over about 10 batches, and classes weighed by them.
    "carried_dice_ce": compound(CE, {"name": "CarriedDice", "average": "micro"}),
    "carried_dice_ce_macro": compound(CE, {"name": "CarriedDice"}),
    "carried_dice_ce_balanced": compound(
        CE, {"name": "CarriedDice", "average": "micro", "balance": 1.0}
    ),
    "balanced_dice_ce": compound(
        CE, {"name": "CarriedDice", "average": "micro", "balance": 1.0, "momentum": 0.0}
    ),
    # Smoothing; a batch has about 30 rows of entities.
    "dice_ce_smooth_0": {**DICE_CE, "smooth": 0.0},
    "dice_ce_smooth_100": {**DICE_CE, "smooth": 100.0},
    "dice_ce_macro_smooth_0": {**DICE_CE_MACRO, "smooth": 0.0},
    "dice_ce_macro_smooth_100": {**DICE_CE_MACRO, "smooth": 100.0},
    # The other weights of pooled Dice, its logarithm and its square.
    "dice_ce_0.3": {**DICE_CE, "weight": 0.3},
    "dice_ce_3": {**DICE_CE, "weight": 3.0},
    "dice_ce_log": {**DICE_CE, "log": True},
    "dice_ce_squared": {**DICE_CE, "squared": True},
    # Warm-up: Dice later, Dice at first only, and cross-entropy at first only.
    "dice_ce_later": {**DICE_CE, "weight": ramp(0, 1)},
    "dice_ce_first": {**DICE_CE, "weight": ramp(1, 0)},
    "ce_then_dice": {
        **compound(CE, {**MACRO, "average": "micro"}),
        "weights": [ramp(1, 0), ramp(0, 1)],
    },
    "entity_dice_ce_0.3": {**compound(CE, ENTITIES), "weights": [1.0, 0.3]},
    "entity_dice_ce_later": {**compound(CE, ENTITIES), "weights": [1.0, ramp(0, 1)]},
}
