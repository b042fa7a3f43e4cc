"""`spacy dice losses`: which losses there are."""

import inspect
import textwrap
from typing import Any, Dict, List, Optional

from . import dice_cli
from .common import Arg, fail, one_line_errors, printer

# In the order in which one would try them.
WHEN = {
    "DiceCE": "First, for rare labels. In a ner, or any model with a background.",
    "CrossEntropy": "For spancat and span_finder, which spaCy trains on a squared error; "
    'class_weights="balanced" for many or rare labels. As the baseline.',
    "Compound": "To build your own: cross-entropy first and Dice later, by scheduled weights.",
    "EntityDice": "Beside CrossEntropy in a Compound, for dice_ner.",
    "Tversky": "Beside CrossEntropy in a Compound, when precision and recall do not matter alike.",
    "SemimetricDice": "Where truths are not 0 or 1.",
    "Focal": "The paper's baseline: to compare.",
    "WeightedCrossEntropy": "The paper's baseline: to compare.",
    "Dice": 'The paper\'s, exactly; level="batch" for set-level counts. To reproduce the paper: '
    "alone it was no better than cross-entropy.",
    "SelfAdjustingDice": "The paper's, exactly. To reproduce the paper: alone it stays at 0.",
}
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


def describe_losses() -> Dict[str, Dict[str, Any]]:
    """All registered losses that our components can train with, those of other packages too.

    Returns:
        For each, by its short name: "registered", its name in a config; "what" and "when", one
        line each; "options", with their defaults; "doc", its docstring.
    """
    from spacy.util import registry

    from .. import losses as ours

    found: Dict[str, Dict[str, Any]] = {}
    functions: Dict[str, Any] = registry.losses.get_all()  # type: ignore[attr-defined]
    for registered in sorted(functions):
        function = functions[registered]
        module = (getattr(function, "__module__", None) or "").partition(".")[0]
        if module in ("thinc", "spacy", "spacy_legacy"):
            continue  # of other components: they are no losses of a pipeline's component
        own = registered.startswith("spacy_dice.")
        name = registered.split(".")[1] if own else registered
        doc = (getattr(ours, name).__doc__ if own else function.__doc__) or ""
        found[name] = {
            "registered": registered,
            "what": first_sentence(doc),
            "when": WHEN.get(name, ""),
            "options": {
                key: parameter.default
                for key, parameter in inspect.signature(function).parameters.items()
            },
            "doc": doc,
        }
    order = [*WHEN, *sorted(set(found) - set(WHEN))]
    return {name: found[name] for name in order if name in found}


def first_sentence(doc: str) -> str:
    """The first paragraph of a docstring, up to its first full stop."""
    paragraph = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    head, stop, _ = paragraph.partition(". ")
    return head + "." if stop else paragraph


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
