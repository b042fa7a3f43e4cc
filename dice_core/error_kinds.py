"""What kinds of error a model makes, by nervaluate (the four schemes of SemEval 2013, task 9.1)."""

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

# Where (first and last character, exclusive; 0 and 0 for the whole text), and which label.
Item = Tuple[int, int, str]
REMEDY = (
    "kinds of error need nervaluate (Python 3.11 or later): pip install 'spacy-flair-dice[compare]'"
)
LABEL, BOUNDARIES, BOTH = "other label", "other boundaries", "both are other"
MISSED, SPURIOUS, WRONG = "missed", "spurious", "wrong"
SCHEMES = ("strict", "exact", "ent_type", "partial")
# The schemes that ask for less than both label and boundaries, in words.
ENOUGH = {
    "exact": "boundaries alone",
    "ent_type": "label, and an overlap",
    "partial": "an overlap, for half",
}


@dataclass
class Errors:
    """Errors of one model.

    Attributes:
        kinds: How many of each kind. Of spans, "other label" (with the gold boundaries), "other
            boundaries" (with the gold label), "both are other" (but an overlap), "missed" and
            "spurious" (without an overlap); of categories "missed" and "spurious"; of tags "wrong".
        f: Of spans, F1 from 0 to 1 by nervaluate's schemes, "strict" (what is F1 elsewhere),
            "exact", "ent_type" and "partial".
    """

    kinds: Dict[str, int]
    f: Dict[str, float] = field(default_factory=dict)


def count_errors(key: str, pairs: Iterable[Tuple[Set[Item], Set[Item]]]) -> Optional[Errors]:
    """Errors by kind.

    Args:
        key: "tags", "cats", or of spans anything else.
        pairs: Of each text, what is right and what a model says.

    Returns:
        None for spans if nervaluate is not installed. Where spans overlap one another, as those of
        a spancat may, nervaluate's pairs of gold and found spans depend on their order.
    """
    pairs = list(pairs)
    if key == "tags":
        return Errors({WRONG: sum(len(gold - found) for gold, found in pairs)})
    if key == "cats":
        missed = sum(len(gold - found) for gold, found in pairs)
        return Errors({MISSED: missed, SPURIOUS: sum(len(found - gold) for gold, found in pairs)})
    return _of_spans(pairs)


def _of_spans(pairs: Sequence[Tuple[Set[Item], Set[Item]]]) -> Optional[Errors]:
    try:
        from nervaluate import Evaluator
    except ImportError:
        return None
    labels = sorted({item[2] for pair in pairs for items in pair for item in items})
    gold, found = ([_as_dicts(pair[i]) for pair in pairs] for i in (0, 1))
    evaluator = Evaluator(gold, found, tags=labels, loader="dict")
    results = evaluator.evaluate()
    by_scheme: Any = results["overall"]
    at: Any = results["overall_indices"]
    right = set(at["strict"].correct_indices)
    same_place = set(at["exact"].correct_indices) - right
    same_label = set(at["ent_type"].correct_indices) - right - same_place
    n_spurious = by_scheme["strict"].spurious
    n_found = sum(map(len, found))
    kinds = {
        LABEL: len(same_place),
        BOUNDARIES: len(same_label),
        BOTH: n_found - len(right) - len(same_place) - len(same_label) - n_spurious,
        MISSED: by_scheme["strict"].missed,
        SPURIOUS: n_spurious,
    }
    return Errors(kinds, {name: float(by_scheme[name].f1) for name in SCHEMES})


def _as_dicts(items: Set[Item]) -> List[Dict[str, Any]]:
    """As nervaluate has them: the end is of the span."""
    return [{"label": label, "start": s, "end": e - 1} for s, e, label in sorted(items)]
