"""Dice losses for spaCy.

Losses are registered with thinc, components with spaCy; see README.md for the config block that
switches them on.
"""

__version__ = "1.0.0rc1"

TYPE_CHECKING = False
if TYPE_CHECKING:  # What editors and type checkers see. `typing` itself takes time to import.
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
        make_loss,
    )
    from .switch import restore, resume_training, to_stock, use_loss
    from .thresholds.api import calibrate, get_tuning, score_entities, set_tuning, tune, untune

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
    "SelfAdjustingDice",
    "SemimetricDice",
    "Tversky",
    "WeightedCrossEntropy",
    "calibrate",
    "get_tuning",
    "make_loss",
    "restore",
    "resume_training",
    "score_entities",
    "set_tuning",
    "to_stock",
    "tune",
    "untune",
    "use_loss",
]
_HOMES = {
    "switch": ("restore", "resume_training", "to_stock", "use_loss"),
    "thresholds.api": ("calibrate", "get_tuning", "score_entities", "set_tuning", "tune", "untune"),
}


def __getattr__(name: str) -> object:
    # Loaded when first used: importing the package costs next to nothing.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "losses")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> "list[str]":
    return sorted([*globals(), *__all__])
