"""Tagging millions of texts with a trained model: on all cores, on many machines, to the end.

Any spaCy pipeline or Flair model, by Ray Data or in one process. It imports a toolkit when it sees
what the model is, and nothing of `spacy_dice` or `flair_dice`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers see
    from .job import Summary, tag
    from .options import Options

__all__ = ["Options", "Summary", "tag"]


def __getattr__(name: str) -> object:
    # Loaded when first used: the command's help needs no pyarrow.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".options" if name == "Options" else ".job", __name__), name)
