"""Dice losses for Flair, and for torch. The losses are torch modules; `SequenceTagger` and its
siblings are Flair's models with a ``loss`` argument. See README.md."""

from typing import Any, Dict, Tuple

_HOMES: Dict[str, Tuple[str, ...]] = {
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
        "make_loss",
    ),
    "schedules": ("Ramp",),
    "models": (
        "SequenceTagger",
        "TextClassifier",
        "TextPairClassifier",
        "TextTripleClassifier",
        "TokenClassifier",
        "SpanClassifier",
        "RelationClassifier",
        "RelationExtractor",
        "TARSTagger",
        "TARSClassifier",
    ),
    "switch": ("use_loss", "restore"),
    "plugin": ("LossPlugin",),
    "huggingface": ("TrainerLoss",),
}
__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> Any:
    # Loaded when first used: the losses do not need Flair.
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
