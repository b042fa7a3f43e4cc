"""Dice losses for Flair, and for torch.

The losses are torch modules; `SequenceTagger` and its siblings are Flair's models with a ``loss``
argument. See README.md.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see
    from dice_core.schedules import Ramp
    from dice_core.thresholds.scores import calibrate_scores, tune_scores

    from .huggingface import TrainerLoss
    from .losses import (
        AsymmetricLoss,
        Compound,
        CrossEntropy,
        Dice,
        DiceCE,
        EntityDice,
        Focal,
        LogitAdjustedCE,
        Loss,
        SelfAdjustingDice,
        SemimetricDice,
        Tversky,
        WeightedCrossEntropy,
        as_torch,
        make_loss,
    )
    from .models import (
        RelationClassifier,
        RelationExtractor,
        SequenceTagger,
        SpanClassifier,
        TARSClassifier,
        TARSTagger,
        TextClassifier,
        TextPairClassifier,
        TextTripleClassifier,
        TokenClassifier,
    )
    from .plugin import LossPlugin
    from .switch import restore, use_loss
    from .thresholds.api import calibrate, get_tuning, set_tuning, tune, untune

__all__ = [
    "AsymmetricLoss",
    "Compound",
    "CrossEntropy",
    "Dice",
    "DiceCE",
    "EntityDice",
    "Focal",
    "LogitAdjustedCE",
    "Loss",
    "LossPlugin",
    "Ramp",
    "RelationClassifier",
    "RelationExtractor",
    "SelfAdjustingDice",
    "SemimetricDice",
    "SequenceTagger",
    "SpanClassifier",
    "TARSClassifier",
    "TARSTagger",
    "TextClassifier",
    "TextPairClassifier",
    "TextTripleClassifier",
    "TokenClassifier",
    "TrainerLoss",
    "Tversky",
    "WeightedCrossEntropy",
    "as_torch",
    "calibrate",
    "calibrate_scores",
    "get_tuning",
    "make_loss",
    "restore",
    "set_tuning",
    "tune",
    "tune_scores",
    "untune",
    "use_loss",
]
# Where each is defined; all others are losses. The losses and TrainerLoss do not need Flair.
_HOMES = {
    "dice_core.schedules": ("Ramp",),
    "dice_core.thresholds.scores": ("calibrate_scores", "tune_scores"),
    "flair_dice.huggingface": ("TrainerLoss",),
    "flair_dice.models": tuple(
        name for name in __all__ if name.endswith(("Tagger", "Classifier", "Extractor"))
    ),
    "flair_dice.plugin": ("LossPlugin",),
    "flair_dice.switch": ("use_loss", "restore"),
    "flair_dice.thresholds.api": ("tune", "calibrate", "get_tuning", "set_tuning", "untune"),
}


def __getattr__(name: str) -> object:
    # Loaded when first used.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = (home for home, names in _HOMES.items() if name in names)
    return getattr(import_module(next(homes, "flair_dice.losses")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
