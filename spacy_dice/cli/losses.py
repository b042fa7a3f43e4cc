"""`spacy dice losses`: which losses there are."""

import inspect
import textwrap
from typing import Any, Dict, List, Optional

from . import dice_cli
from .common import Arg, fail, one_line_errors, printer

WIDTH = 80


@dice_cli.command("losses")
def losses_cli(
    # fmt: off
    name: Optional[str] = Arg(
        None,
        metavar="NAME",
        help="Show all that is known of one loss: its formula, source, options and errors",
    ),
    # fmt: on
) -> None:
    """
    List all losses, and when to take which.

    \b
    Examples:
      python -m spacy dice losses
      python -m spacy dice losses DiceCE
    """
    with one_line_errors():
        from ..commands.losses import describe_losses

        described = describe_losses()
        if name is None:
            print(as_text(described))
            return
        one = described.get(name) or next(
            (d for d in described.values() if d["registered"] == name), None
        )
        if one is None:
            from difflib import get_close_matches

            near = get_close_matches(name, described, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            fail(f"There is no loss {name!r}.{hint} There are: {', '.join(described)}.")
        else:
            print(f'@losses = "{one["registered"]}"\n')
            print(inspect.cleandoc(one["doc"]))


def as_text(described: Dict[str, Dict[str, Any]]) -> str:
    """What `describe_losses` gives, to print on 80 columns."""
    from wasabi import color

    colored = printer().show_color
    lines: List[str] = []
    for name, one in described.items():
        lines.append(color(name, fg="blue", bold=True) if colored else name)
        options = ", ".join(
            key if default is inspect.Parameter.empty else f"{key}={default!r}"
            for key, default in one["options"].items()
        )
        for what, text in (("what", one["what"]), ("when", one["when"]), ("options", options)):
            if text:
                lead = f"  {what:8} "
                lines += textwrap.wrap(
                    text, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead)
                )
        lines.append("")
    return "\n".join(
        [
            'In a config: @losses = "spacy_dice.NAME.v1". Elsewhere the name will do.',
            "",
            *lines,
            "All of one: python -m spacy dice losses NAME",
        ]
    )
