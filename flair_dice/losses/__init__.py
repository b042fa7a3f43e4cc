"""The losses, as torch modules: ``loss(logits, targets, mask=None)``.

Conventions they share:

- logits ``(N, C)``, of any float type, one row a token (or text) and one column a class;
  targets are class ids ``(N,)`` or rows ``(N, C)``; mask is None, ``(N,)`` or ``(N, C)``. See
  `targets.read_targets`. The result is a scalar, float32 (float64 for float64 logits), also
  inside autocast.
- ``reduction="sum"`` is the loss summed over rows. Set-level losses, one number for a batch,
  are multiplied by the number of its rows, so that they weigh as much beside a cross-entropy as
  a mean of either would. ``"mean"`` is that over the number of rows with any known cell.
  Flair back-propagates sums, and Flair's models take the sum whatever ``reduction`` is.
- masked (missing) cells add nothing and get no gradient. No rows at all give 0.

How logits are read is the model's business inside Flair. Outside of it, ``names`` gives the
label of each column and ``activation`` ("softmax" or "sigmoid") says what they are logits of.
"""

from .base import Loss, make_loss
from .compound import Compound, DiceCE
from .overlap import Dice, EntityDice, SelfAdjustingDice, Tversky
from .per_row import CrossEntropy, Focal, WeightedCrossEntropy

__all__ = [
    "Compound",
    "CrossEntropy",
    "Dice",
    "DiceCE",
    "EntityDice",
    "Focal",
    "Loss",
    "SelfAdjustingDice",
    "Tversky",
    "WeightedCrossEntropy",
    "make_loss",
]
