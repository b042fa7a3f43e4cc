"""The losses, as thinc losses: `loss(guesses, truths) -> (gradient, value)`.

Every loss here is registered as ``spacy_dice.<Name>.v1``. Conventions they share:

- guesses are probabilities ``(N, C)``, float, or a list of such arrays, one a document;
  truths are class ids, one-hot (or soft) rows, or label strings. See `targets.read_truths`.
- ``value`` is the loss itself, summed over rows as spaCy's own gradients are. Set-level
  losses, one number for a batch, are multiplied by the number of its rows, so that they
  weigh as much beside a cross-entropy as a mean of either would, and so that ``grad_clip``
  and a shared tok2vec see the magnitudes that they see with stock losses.
- the gradient has the guesses' shape and type, and is computed in float32 at least.
- masked (missing) cells add nothing and get no gradient.

How the guesses are read is the component's business inside a pipeline. Outside of one, it
is given in Python: ``names`` (label of each column), ``missing_value``, ``neg_prefix``,
``activation`` ("softmax" or "sigmoid", what made the guesses) and ``wrt`` ("logits" or
"probabilities", by what the gradient is wanted; thinc's Softmax wants "logits").
"""

from .base import Loss
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
]
