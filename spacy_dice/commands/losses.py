"""Which losses there are, and when to take which."""

import inspect
from typing import Any, Dict

from spacy.util import registry

from .. import losses as ours

# In the order in which one would try them.
WHEN = {
    "DiceCE": "First, for rare labels. In a ner, or any model with a background.",
    "CrossEntropy": "For spancat and span_finder, which spaCy trains on a squared error; "
    'class_weights="balanced" for many or rare labels. As the baseline.',
    "Compound": "To build your own: cross-entropy first and Dice later, by scheduled weights.",
    "EntityDice": "Beside CrossEntropy in a Compound, for dice_ner.",
    "Tversky": "Beside CrossEntropy in a Compound, when precision and recall do not matter alike.",
    "SemimetricDice": "Where truths are not 0 or 1.",
    "LogitAdjustedCE": "Where recall of a rare label counts, and no cut is tuned.",
    "Focal": "The paper's baseline: to compare.",
    "WeightedCrossEntropy": "The paper's baseline: to compare.",
    "Dice": 'The paper\'s, exactly; level="batch" for set-level counts. To reproduce the paper: '
    "alone it was no better than cross-entropy.",
    "SelfAdjustingDice": "The paper's, exactly. To reproduce the paper: alone it stays at 0.",
}


def describe_losses() -> Dict[str, Dict[str, Any]]:
    """All registered losses that our components can train with, those of other packages too.

    Returns:
        For each, by its short name: "registered", its name in a config; "what" and "when", one
        line each; "options", with their defaults; "doc", its docstring.
    """
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
