"""The losses: options, checks, values and slopes. One class each, an immutable value.

Conventions they share:

- Scores are ``(N, C)``, one row a token (or text, or candidate) and one column a class.
- The value is the loss itself, summed over rows as spaCy's and Flair's own gradients are.
  Set-level losses, one number for a batch, are multiplied by the number of its rows, so that
  they weigh as much as a cross-entropy with which they are combined as a mean of either would,
  and so that gradient clipping and shared layers see the magnitudes that they see with stock
  losses.
- The gradient has the scores' shape, and is computed in float32 at least.
- Masked (missing) cells add nothing and get no gradient. No rows at all give 0.

`spacy_dice` makes thinc losses of them, `flair_dice` torch modules.
"""

from .base import Loss, check_known, make_loss, option_names
from .bound import BoundLoss
from .compound import Compound, DiceCE, all_losses
from .entity import EntityDice
from .log_losses import AsymmetricLoss, CrossEntropy, Focal, LogitAdjustedCE, WeightedCrossEntropy
from .overlap import Dice, SelfAdjustingDice, SemimetricDice, Tversky

# The one list of losses: both packages, and the registry, have those that are here.
LOSSES = (
    AsymmetricLoss,
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    EntityDice,
    Focal,
    LogitAdjustedCE,
    SelfAdjustingDice,
    SemimetricDice,
    Tversky,
    WeightedCrossEntropy,
)
__all__ = [
    "LOSSES",
    "BoundLoss",
    "Loss",
    "all_losses",
    "check_known",
    "make_loss",
    "option_names",
    *(cls.__name__ for cls in LOSSES),
]
