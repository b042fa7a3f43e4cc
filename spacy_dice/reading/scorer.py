"""`spacy_dice.qa_scorer.v1`: SQuAD's metric for questions of docs, F1 of spans for fixed ones."""

from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc
from spacy.training import Example

from .questions import fixed_answers, read


def make_qa_scorer(spans_key: str = "answers", ents: bool = False) -> Callable:
    """Make a scorer of answers.

    Args:
        spans_key: Where in ``doc.spans`` answers are; as in the component.
        ents: Whether to score doc.ents, too, as ner does.

    Returns:
        A function from examples to scores from 0 to 1. Of questions of docs, by their answers as
        SQuAD has them: ``qa_exact`` and ``qa_f1``, and both for those that have an answer
        (``qa_has_answer_exact``, ...) and those that have none (``qa_no_answer_exact``, ...). Of
        fixed questions: ``qa_spans_p``, ``qa_spans_r``, ``qa_spans_f`` and
        ``qa_spans_per_type``, as spaCy scores spans; docs that have neither
        ``doc.spans[spans_key]`` nor entities are left out. A score is None where there is nothing
        to score.
    """
    return partial(score, spans_key=spans_key, ents=ents)  # which pickles, for processes


def score(
    examples: Iterable[Example], *, spans_key: str, ents: bool, **kwargs: Any
) -> Dict[str, Any]:
    """Score answers; see `make_qa_scorer`."""
    examples = list(examples)
    spans = Scorer.score_spans(
        examples,
        "qa_spans",
        getter=lambda doc, _: fixed_answers(doc, spans_key) or [],
        has_annotation=lambda doc: fixed_answers(doc, spans_key) is not None,
        allow_overlap=True,
    )
    ner = get_ner_prf(examples) if ents else {}
    return {**_score_questions(examples, spans_key), **spans, **ner}


def answers(doc: Doc, spans_key: str = "answers") -> Dict[str, str]:
    """The best answer to each question of a doc, by its id; "" for "no answer": what a file of
    predictions for SQuAD's scripts has.

    Args:
        doc: A doc that the component has annotated.
        spans_key: Where in ``doc.spans`` answers are.

    Returns:
        The text of one answer to each question.
    """
    found = {question.id: "" for question in read(doc, "spacy_dice.answers")}
    for span in doc.spans.get(spans_key, ()):
        if span.id_ in found and not found[span.id_]:
            found[span.id_] = span.text
    return found


def score_answer(gold: Sequence[str], predicted: str) -> Tuple[float, float]:
    """Exact match and F1 of an answer, as SQuAD 1.1 and 2.0 define them.

    Args:
        gold: The answers to the question. Without any, or with none but punctuation and articles,
            the right one is "".
        predicted: The predicted answer, "" for "no answer".

    Returns:
        The best exact match and the best F1 over the gold answers.

    Source: Rajpurkar et al. 2016 and 2018, by the functions of transformers.
    """
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer

    right = [answer for answer in gold if normalize_answer(answer)] or [""]
    exact = max(compute_exact(answer, predicted) for answer in right)
    return float(exact), float(max(compute_f1(answer, predicted) for answer in right))


def _score_questions(examples: Sequence[Example], spans_key: str) -> Dict[str, Any]:
    scored: Dict[str, List[Tuple[float, float]]] = {
        prefix: [] for prefix in ("qa_", "qa_has_answer_", "qa_no_answer_")
    }
    for example in examples:
        predicted = answers(example.predicted, spans_key)
        for question in read(example.reference, "spacy_dice.qa_scorer.v1"):
            if question.texts is not None:
                pair = score_answer(question.texts, predicted.get(question.id, ""))
                scored["qa_"].append(pair)
                scored["qa_has_answer_" if question.texts else "qa_no_answer_"].append(pair)
    means: Dict[str, Any] = {}
    for prefix, pairs in scored.items():
        for name, values in zip(("exact", "f1"), zip(*pairs) if pairs else (None, None)):
            means[prefix + name] = None if values is None else sum(values) / len(values)
    return means
