"""The losses: parameters, checks, values and gradients, of scores and targets.

Conventions they share:

- Scores are ``(N, C)``, one row a token (or text, or candidate) and one column a class.
- The value is the loss itself, summed over rows as spaCy's and Flair's own gradients are.
  Set-level losses, one number for a batch, are multiplied by the number of its rows, so that
  they weigh as much beside a cross-entropy as a mean of either would, and so that gradient
  clipping and shared layers see the magnitudes that they see with stock losses.
- The gradient has the scores' shape, and is computed in float32 at least.
- Masked (missing) cells add nothing and get no gradient. No rows at all give 0.

Here they are bases without a toolkit. `spacy_dice` makes thinc losses of them, `flair_dice` torch
modules, each with `Loss` of its own.
"""

from .base import Loss, make_loss
from .compound import Compound, DiceCE
from .entity import EntityDice
from .overlap import Dice, SelfAdjustingDice, SemimetricDice, Tversky
from .per_row import CrossEntropy, Focal, LogitAdjustedCE, WeightedCrossEntropy

# The one list of losses: both packages and the registry are checked against it.
__all__ = [
    "Compound",
    "CrossEntropy",
    "Dice",
    "DiceCE",
    "EntityDice",
    "Focal",
    "LogitAdjustedCE",
    "Loss",
    "SelfAdjustingDice",
    "SemimetricDice",
    "Tversky",
    "WeightedCrossEntropy",
    "make_loss",
]
