"""Losses of others, to compare with; not in the library. Importing this registers them.

They read guesses as the library's losses do, so that they train the same components.
"""

from typing import Any, Dict, Tuple

import numpy
from thinc.api import registry

from dice_core.slopes import Slope
from dice_core.targets import Targets
from dice_core.views import View
from spacy_dice.losses import Loss

from .recipes import Recipe


class AsymmetricLoss(Loss):
    """ASL for sigmoids: -y (1-p)^gp log p - (1-y) m^gn log(1-m), m = max(p - margin, 0).

    gamma_negative, gamma_positive: the focusing of either; margin: negatives below it count as
    learnt. Source: Ridnik et al. 2021, equations 4 to 7; defaults are theirs.
    """

    def __init__(
        self,
        *,
        gamma_negative: float = 4.0,
        gamma_positive: float = 0.0,
        margin: float = 0.05,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.gamma_negative, self.gamma_positive = gamma_negative, gamma_positive
        self.margin = margin

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Any, Slope]:
        p, known = view.p, targets.known()
        gp, gn = self.gamma_positive, self.gamma_negative
        positive, negative = targets.y * known, (1.0 - targets.y) * known
        q, m = 1.0 - p, numpy.maximum(p - self.margin, 0.0)
        rest = 1.0 - m  # not below the margin
        log_p, log_rest = numpy.log(numpy.maximum(p, view.low)), numpy.log(rest)
        value = -positive * q**gp * log_p - negative * m**gn * log_rest
        slope = -positive * (q ** (gp + 1) - gp * p * q**gp * log_p)
        by_m = m**gn / rest - gn * m ** max(gn - 1.0, 0.0) * log_rest
        return value.sum(), Slope(cells=slope + negative * (m > 0) * p * q * by_m)


def configure_AsymmetricLoss(
    *, gamma_negative: float = 4.0, gamma_positive: float = 0.0, margin: float = 0.05
) -> AsymmetricLoss:
    return AsymmetricLoss(
        gamma_negative=gamma_negative, gamma_positive=gamma_positive, margin=margin
    )


registry.losses("benchmarks.AsymmetricLoss.v1", func=configure_AsymmetricLoss)

RIVALS: Dict[str, Recipe] = {
    "asl": {"name": "AsymmetricLoss", "of": "benchmarks"},
}
