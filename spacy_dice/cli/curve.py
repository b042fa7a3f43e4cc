"""`spacy dice curve`: learning curves of finished trainings."""

from pathlib import Path
from typing import List

from . import dice_cli
from .common import Arg, Opt, notes, one_line_errors


@dice_cli.command("curve")
def curve_cli(
    # fmt: off
    logs: List[Path] = Arg(
        ...,
        metavar="LOG... OUT",
        help="Logs as JSON Lines (output_file of a console logger), and last the picture to write (.png, .svg, .pdf)",
    ),
    scores: List[str] = Opt(
        [],
        "--score",
        "-s",
        help="Score to draw, e.g. ents_f or ents_f_PER; may be repeated. Default: the final score",
    ),
    # fmt: on
) -> None:
    """
    Draw learning curves of trainings.

    Scores on dev and losses by updates, of one training or of several.

    \b
    Example:
      python -m spacy dice curve stock.jsonl dice.jsonl curves.png --score ents_f
    """
    with one_line_errors():
        from ..commands.curves import plot_logs

        *read, out = logs
        if not read:
            raise ValueError(f"Name at least one log, and then the picture to write, got {out}.")
        if out.suffix.lower() in (".jsonl", ".json", ""):
            raise ValueError(f"Name the picture to write last, e.g. curves.png, got {out}.")
        plot_logs(read, out, scores)
        notes().good(f"Saved {out}")
