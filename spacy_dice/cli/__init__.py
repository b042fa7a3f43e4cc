"""`python -m spacy dice ...`.

spaCy imports this module whenever its command line starts: only what spaCy's command line has
imported already is imported here. Each command imports what it runs when it runs.
"""

import typer
from spacy.cli import app

HELP = """Train for F1: how imbalanced a corpus is, which of two pipelines is better, thresholds and
calibrated probabilities.
"""

dice_cli = typer.Typer(name="dice", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dice_cli)

from . import compare, imbalance, tune  # noqa: E402

__all__ = ["compare", "dice_cli", "imbalance", "tune"]
