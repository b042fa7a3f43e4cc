"""What counts of a component: micro F1, precision and recall; macro F1; F1 of each type.

All of them are from 0 to 1.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

Scores = Dict[str, Any]
SPANS = ("spancat", "span_finder")


def of_pipeline(nlp: Any, name: str, examples: Any) -> Scores:
    """Scores of a component of spaCy. examples: of docs without annotation and of gold ones; what
    the pipeline predicts is put into the former."""
    for eg, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples)):
        eg.predicted = doc
    return of_examples(nlp, name, examples)


def of_examples(nlp: Any, name: str, examples: Any) -> Scores:
    """The same of docs that hold the predictions, by spaCy's own Scorer but for tokens' labels."""
    if name in ("tagger", "morphologizer"):
        found = of_tokens(examples, name)
        if name == "morphologizer":  # hundreds of labels
            found["per_type"] = {}
        return found
    scores = nlp.get_pipe(name).score(examples)
    if name.startswith("textcat"):
        micro = {key: scores[f"cats_micro_{key}"] for key in "fpr"}
        return _scores(micro, {k: v["f"] for k, v in scores["cats_f_per_type"].items()})
    prefix = "spans_sc" if name in SPANS else "ents"
    per_type = {k: v["f"] for k, v in (scores.get(f"{prefix}_per_type") or {}).items()}
    found = _scores({key: scores[f"{prefix}_{key}"] or 0.0 for key in "fpr"}, per_type)
    if name == "span_finder":  # its spans have no label
        found["macro_f"] = found["f"]
    if name in SPANS:  # spans may overlap, which tags cannot say
        return found
    gold = [_tags(eg.reference) for eg in examples]
    return {**found, "seqeval_f": strict(gold, [_tags(eg.predicted) for eg in examples])["f"]}


def of_columns(path: Path) -> Scores:
    """Strict scores of a file with lines of token, gold and predicted BIO tag, as Flair writes."""
    gold: List[List[str]] = [[]]
    predicted: List[List[str]] = [[]]
    for line in path.read_text(encoding="utf8").splitlines():
        if line.strip():
            _, of_gold, of_predicted = line.rsplit(" ", 2)
            gold[-1].append(of_gold)
            predicted[-1].append(of_predicted)
        elif gold[-1]:
            gold.append([])
            predicted.append([])
    return strict(gold, predicted)


def of_texts(path: Path) -> Scores:
    """Scores of a file of texts, each with a line of its gold and one of its predicted labels, as
    Flair writes it of texts with any number of labels."""
    found: Dict[str, Set[Tuple]] = {"Gold": set(), "Pred": set()}
    number = 0
    for line in path.read_text(encoding="utf8").split("\n"):
        which, colon, labels = line[3:].partition(": ")
        if line[:3] == " - " and colon and which in found:
            number += which == "Gold"
            found[which] |= {(number, label) for label in labels.split(", ") if label}
    return of_sets(found["Gold"], found["Pred"])


def strict(gold: List[List[str]], predicted: List[List[str]]) -> Scores:
    """seqeval's strict scores of BIO tags."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    rows = classification_report(
        gold, predicted, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    of = lambda row: {"f": row["f1-score"], "p": row["precision"], "r": row["recall"]}  # noqa: E731
    types = {name: row for name, row in rows.items() if not name.endswith(" avg")}
    return _scores(
        {key: float(value) for key, value in of(rows["micro avg"]).items()},
        {name: float(row["f1-score"]) for name, row in types.items()},
    )


def of_tokens(examples: Any, name: str = "tagger") -> Scores:
    """Scores of tokens' tags, or of their part of speech with its morphology: macro F1 is the mean
    over all that are in the truth or predicted."""
    truth, guess = set(), set()
    for i, eg in enumerate(examples):
        if name == "tagger":
            gold = eg.get_aligned("TAG", as_string=True)
            found = [token.tag_ for token in eg.predicted]
        else:
            pairs = zip(*(eg.get_aligned(key, as_string=True) for key in ("POS", "MORPH")))
            gold = [f"{pos} {morph or '_'}" if pos else None for pos, morph in pairs]
            found = [f"{token.pos_} {str(token.morph) or '_'}" for token in eg.predicted]
        for j, (one, other) in enumerate(zip(gold, found)):
            if one:
                truth.add((i, j, one))
                guess.add((i, j, other))
    return of_sets(truth, guess)


def of_sets(truth: Set[Tuple], guess: Set[Tuple]) -> Scores:
    """Scores of what was found against what is there, sets of ``(..., type)``."""
    from spacy.scorer import PRFScore

    micro = PRFScore()
    micro.score_set(guess, truth)
    per_type: Dict[str, PRFScore] = {}
    for one in truth | guess:
        of_type = per_type.setdefault(one[-1], PRFScore())
        of_type.score_set({one} & guess, {one} & truth)
    of_all = {"f": micro.fscore, "p": micro.precision, "r": micro.recall}
    return _scores(of_all, {name: prf.fscore for name, prf in per_type.items()})


def spans(tags: Sequence[str], lengths: Sequence[int]) -> List[Tuple[int, int, str]]:
    """``(start, end, type)`` of the entities of BIO tags of sentences of these lengths, one after
    the other; an I that continues nothing begins one."""
    found: List[Tuple[int, int, str]] = []
    row = 0
    for length in lengths:
        begun: Any = None
        for i in range(row, row + length):
            if begun is not None and tags[i] != f"I-{begun[1]}":
                found.append((begun[0], i, begun[1]))
                begun = None
            if tags[i] != "O" and begun is None:
                begun = (i, tags[i][2:])
        row += length
        if begun is not None:
            found.append((begun[0], row, begun[1]))
    return found


def train_counts(name: str, docs: Any) -> Dict[str, int]:
    """How often each type is in docs."""
    counts: Counter = Counter()
    for doc in docs:
        if name == "tagger":
            counts.update(token.tag_ for token in doc if token.tag_)
        elif name == "morphologizer":
            counts.update(f"{token.pos_} {token.morph}" for token in doc if token.pos_)
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


def _tags(doc: Any) -> List[str]:
    return [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc]
