"""`python -m spacy dice ...`.

spaCy imports this module whenever its command line starts: only what spaCy's command line has
imported already is imported here. Each command imports what it runs when it runs.
"""

import typer
from spacy.cli import app

HELP = """Train for F1: losses in a config, what they gain, and where to cut.

The functions behind the commands are in spacy_dice.commands; tune, calibrate and to_stock are in
spacy_dice itself.
"""

dice_cli = typer.Typer(name="dice", help=HELP, no_args_is_help=True, rich_markup_mode=None)
app.add_typer(dice_cli)

from . import apply, compare, curve, imbalance, losses, stock, tune  # noqa: E402

__all__ = ["apply", "compare", "curve", "dice_cli", "imbalance", "losses", "stock", "tune"]
