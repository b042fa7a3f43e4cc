"""`spacy_dice.qa_scorer.v1`: SQuAD's metric for questions of docs, F1 of spans for fixed ones."""

from functools import partial
from typing import Any, Callable, Dict, Iterable, List

from spacy.scorer import PRFScore, get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example

from . import squad
from .questions import read


def make_qa_scorer(spans_key: str = "answers", ents: bool = False) -> Callable:
    """A scorer of answers.

    Args:
        spans_key: Where in ``doc.spans`` answers are; as in the component.
        ents: Whether to score doc.ents, too, as ner does.

    Returns:
        A function from examples to scores from 0 to 1. Of questions of docs, by their answers as
        SQuAD has them: ``qa_exact`` and ``qa_f1``, and both for those that have an answer
        (``qa_has_answer_exact``, ...) and those that have none (``qa_no_answer_exact``, ...). Of
        fixed questions: ``qa_spans_p``, ``qa_spans_r``, ``qa_spans_f`` and
        ``qa_spans_per_type``; docs that have neither ``doc.spans[spans_key]`` nor entities are
        left out. A score is None where there is nothing to score.
    """
    return partial(score, spans_key=spans_key, ents=ents)  # which pickles, for processes


def score(
    examples: Iterable[Example], *, spans_key: str, ents: bool, **kwargs: Any
) -> Dict[str, Any]:
    """See `make_qa_scorer`."""
    examples = list(examples)
    scores = {**_of_questions(examples, spans_key), **_of_spans(examples, spans_key)}
    return {**scores, **get_ner_prf(examples)} if ents else scores


def answers(doc: Doc, spans_key: str = "answers") -> Dict[str, str]:
    """The best answer to each question of a doc, by its id; "" for "no answer": what a file of
    predictions for SQuAD's scripts has.
    """
    found = {question.id: "" for question in read(doc, "spacy_dice.answers")}
    for span in doc.spans.get(spans_key, ()):
        if span.id_ in found and not found[span.id_]:
            found[span.id_] = span.text
    return found


def _of_questions(examples: List[Example], spans_key: str) -> Dict[str, Any]:
    scored: Dict[str, List[squad.Score]] = {"qa_": [], "qa_has_answer_": [], "qa_no_answer_": []}
    for example in examples:
        guesses = answers(example.predicted, spans_key)
        for question in read(example.reference, "spacy_dice.qa_scorer.v1", spans_key):
            if question.texts is not None:
                score = squad.of_question(question.texts, guesses.get(question.id, ""))
                scored["qa_"].append(score)
                scored["qa_has_answer_" if question.texts else "qa_no_answer_"].append(score)
    found: Dict[str, Any] = {}
    for prefix, of_kind in scored.items():
        mean = squad.mean(of_kind) if of_kind else None
        found[f"{prefix}exact"] = None if mean is None else mean.exact
        found[f"{prefix}f1"] = None if mean is None else mean.f1
    return found


def _of_spans(examples: List[Example], spans_key: str) -> Dict[str, Any]:
    micro = PRFScore()
    per_type: Dict[str, PRFScore] = {}
    is_any = False
    for example in examples:
        gold_doc = example.reference
        if spans_key in gold_doc.spans:
            gold = list(gold_doc.spans[spans_key])
        elif gold_doc.has_annotation("ENT_IOB"):
            gold = list(gold_doc.ents)
        else:
            continue
        truth = {(s.start_char, s.end_char, s.label_) for s in gold if not s.id}
        predicted = example.predicted.spans.get(spans_key, ())
        guess = {(s.start_char, s.end_char, s.label_) for s in predicted if not s.id}
        is_any = is_any or bool(truth or guess)
        micro.score_set(guess, truth)
        for label in {of for *_, of in truth | guess}:
            of_label = lambda found: {one for one in found if one[2] == label}  # noqa: E731
            per_type.setdefault(label, PRFScore()).score_set(of_label(guess), of_label(truth))
    if not is_any:
        return {f"qa_spans_{key}": None for key in ("p", "r", "f", "per_type")}
    return {
        "qa_spans_p": micro.precision,
        "qa_spans_r": micro.recall,
        "qa_spans_f": micro.fscore,
        "qa_spans_per_type": {label: prf.to_dict() for label, prf in sorted(per_type.items())},
    }
