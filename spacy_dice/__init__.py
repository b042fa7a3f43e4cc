"""Dice losses for spaCy. Losses are registered with thinc, components with spaCy; see
README.md for the config block that switches them on."""

__version__ = "0.1.0"

_HOMES = {
    "losses": (
        "Loss",
        "CrossEntropy",
        "WeightedCrossEntropy",
        "Focal",
        "Dice",
        "SelfAdjustingDice",
        "Tversky",
        "EntityDice",
        "Compound",
        "DiceCE",
    ),
    "switch": ("use_loss", "restore", "to_stock"),
    "tuning.run": (
        "tune",
        "calibrate",
        "get_tuning",
        "set_tuning",
        "untune",
        "score_entities",
    ),
}
__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str):  # type: ignore[no-untyped-def]
    # Loaded when first used: importing the package costs next to nothing.
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
