"""Scores of a component: micro F1, precision and recall; macro F1; F1 of each type.

All of them are from 0 to 1.
"""

from collections import Counter
from typing import Any, Dict, Iterable, List, Set, Tuple

from spacy.scorer import PRFScore

Scores = Dict[str, Any]
SPANS = ("spancat", "span_finder")


def score_pipeline(nlp: Any, name: str, examples: List[Any]) -> Scores:
    """Predict with a pipeline, and score one of its components.

    Args:
        nlp: A trained pipeline.
        name: The component: the name of its factory, too.
        examples: Examples with unannotated predicted docs, which are replaced.
    """
    for eg, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples)):
        eg.predicted = doc
    if name == "tagger":
        return score_tags(examples)
    scores = nlp.get_pipe(name).score(examples)
    if name.startswith("textcat"):
        micro = {key: scores[f"cats_micro_{key}"] for key in "fpr"}
        return _scores(micro, {k: v["f"] for k, v in scores["cats_f_per_type"].items()})
    prefix = "spans_sc" if name in SPANS else "ents"
    per_type = {k: v["f"] for k, v in (scores.get(f"{prefix}_per_type") or {}).items()}
    found = _scores({key: scores[f"{prefix}_{key}"] or 0.0 for key in "fpr"}, per_type)
    if name == "span_finder":  # its spans have no label
        found["macro_f"] = found["f"]
    return found


def score_tags(examples: List[Any]) -> Scores:
    """Scores of tokens' tags: macro F1 is the mean over all that are annotated or predicted."""
    gold: Set[Tuple] = set()
    predicted: Set[Tuple] = set()
    for i, eg in enumerate(examples):
        for j, tag in enumerate(eg.get_aligned("TAG", as_string=True)):
            if tag:
                gold.add((i, j, tag))
                predicted.add((i, j, eg.predicted[j].tag_))
    micro = PRFScore()
    micro.score_set(predicted, gold)
    per_type: Dict[str, PRFScore] = {}
    for one in gold | predicted:
        score = per_type.setdefault(one[-1], PRFScore())
        score.score_set({one} & predicted, {one} & gold)
    overall = {"f": micro.fscore, "p": micro.precision, "r": micro.recall}
    return _scores(overall, {label: score.fscore for label, score in per_type.items()})


def train_counts(name: str, docs: Iterable[Any]) -> Dict[str, int]:
    """How often each type is annotated in docs."""
    counts: Counter = Counter()
    for doc in docs:
        if name == "tagger":
            counts.update(token.tag_ for token in doc if token.tag_)
        elif name.startswith("textcat"):
            counts.update(label for label, value in doc.cats.items() if value)
        elif name in SPANS:
            counts.update(span.label_ for span in doc.spans["sc"])
        else:
            counts.update(ent.label_ for ent in doc.ents)
    return dict(sorted(counts.items()))


def _scores(micro: Dict[str, float], per_type: Dict[str, float]) -> Scores:
    macro = sum(per_type.values()) / len(per_type) if per_type else 0.0
    return {**micro, "macro_f": macro, "per_type": dict(sorted(per_type.items()))}
