"""SQuAD 1.1 and 2.0: its files as a corpus (`spacy_dice.squad.v1`), and its metric
(`spacy_dice.qa_scorer.v1`).
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import config_error
from .questions import fixed_answers, install_extension, read

if TYPE_CHECKING:
    from spacy.language import Language

OWNER = "spacy_dice.squad.v1"
# A question, with its answers.
Record = dict[str, Any]
logger = logging.getLogger("spacy.dice_qa")


def squad_reader(
    path: Optional[Union[str, Path]], per_question: bool = False, limit: int = 0
) -> Callable[["Language"], Iterator[Example]]:
    """Read questions, and their answers, as a corpus: `spacy_dice.squad.v1`.

    Answers that are not at their offset are counted and logged. Those that are elsewhere in the
    text are read from the nearest place; those that are nowhere in it are scored by, but not
    learned from.

    Args:
        path: A JSON file of SQuAD 1.1 or 2.0.
        per_question: Whether each question has a doc of its own. Training then shuffles questions
            as one does with SQuAD; without it each paragraph is a doc with all its questions.
        limit: So many docs at most; 0 is all.

    Returns:
        A function from a pipeline to its examples: the predicted doc has the questions in
        ``doc._.questions``, the reference also their answers.

    Raises:
        ConfigValidationError: On reading, for what is no SQuAD file, an empty context, question
            or answer, two questions of one id.
    """

    def examples(nlp: "Language") -> Iterator[Example]:
        if path is None:
            raise config_error(f"{OWNER}: path is null. Set it, e.g. --paths.train train.json.")
        install_extension()
        n_docs = 0
        for context, questions in _paragraphs(Path(path)):
            doc = nlp.make_doc(context)
            doc._.questions = questions
            read(doc, f"{OWNER}: {path}")  # which checks them
            for group in [[one] for one in questions] if per_question else [questions]:
                n_docs += 1
                if limit and n_docs > limit:
                    return
                predicted, reference = doc.copy(), doc.copy()
                predicted._.questions = [{"id": q["id"], "text": q["text"]} for q in group]
                reference._.questions = group
                yield Example(predicted, reference)

    return examples


def _paragraphs(path: Path) -> list[tuple[str, list[Record]]]:
    """The contexts of a file with their questions, as `doc._.questions` has them."""
    try:
        paragraphs = [
            (paragraph["context"], [_question(qa) for qa in paragraph["qas"]])
            for article in json.loads(path.read_text(encoding="utf8"))["data"]
            for paragraph in article["paragraphs"]
        ]
    except FileNotFoundError:
        raise config_error(f"{OWNER}: there is no file {path}.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise config_error(
            f"{OWNER}: {path} is no file of SQuAD: JSON with 'data', a list of articles with "
            "'paragraphs', each with 'context' and 'qas', each with 'id', 'question' and "
            f"'answers' ({type(error).__name__}: {error})."
        ) from None
    n_answers = 0
    moved: list[str] = []
    absent: list[str] = []
    for number, (context, questions) in enumerate(paragraphs, 1):
        if not context.strip():
            raise config_error(
                f"{OWNER}: {path}, paragraph {number}: the context is empty. Leave the paragraph "
                "out."
            )
        for question in questions:
            for answer in question["answers"]:
                text, start = answer["text"], answer["answer_start"]
                n_answers += 1
                if not text or (start >= 0 and context.startswith(text, start)):
                    continue
                places = [i for i in range(len(context)) if context.startswith(text, i)]
                (moved if places else absent).append(question["id"])
                nearest = min(places, key=lambda place: abs(place - start), default=None)
                answer["answer_start"] = nearest
    if moved or absent:
        logger.warning(
            "%s: %d of %d answers are not at their offset (questions %s ...): %d are elsewhere in "
            "the text, and read from there; %d are nowhere in it, and not learned from.",
            *(path, len(moved) + len(absent), n_answers, ", ".join([*moved, *absent][:3])),
            *(len(moved), len(absent)),
        )
    return [paragraph for paragraph in paragraphs if paragraph[1]]


def _question(qa: Record) -> Record:
    # Questions without an answer have "plausible_answers", which are none.
    answers = [] if qa.get("is_impossible") else qa["answers"]
    kept = [{"text": a["text"], "answer_start": int(a["answer_start"])} for a in answers]
    return {"id": str(qa["id"]), "text": qa["question"], "answers": kept}


# -- the metric -------------------------------------------------------------------------


def make_qa_scorer(spans_key: str = "answers") -> Callable:
    """Make a scorer of answers: `spacy_dice.qa_scorer.v1`.

    Args:
        spans_key: Where in ``doc.spans`` answers are; as in the component.

    Returns:
        A function from examples to scores from 0 to 1. Of questions of docs, by their answers as
        SQuAD has them: ``qa_exact`` and ``qa_f1``, and both for those that have an answer
        (``qa_has_answer_exact``, ...) and those that have none (``qa_no_answer_exact``, ...). Of
        fixed questions: ``qa_spans_p``, ``qa_spans_r``, ``qa_spans_f`` and
        ``qa_spans_per_type``, as spaCy scores spans; docs that have neither
        ``doc.spans[spans_key]`` nor entities are left out. A score is None where there is nothing
        to score.
    """
    return partial(_score, spans_key=spans_key)  # which pickles, for processes


def _score(examples: Iterable[Example], *, spans_key: str, **kwargs: object) -> dict[str, object]:
    examples = list(examples)
    spans = Scorer.score_spans(
        examples,
        "qa_spans",
        getter=lambda doc, _: fixed_answers(doc, spans_key) or [],
        has_annotation=lambda doc: fixed_answers(doc, spans_key) is not None,
        allow_overlap=True,
    )
    scored: dict[str, list[tuple[float, float]]] = {
        prefix: [] for prefix in ("qa_", "qa_has_answer_", "qa_no_answer_")
    }
    for example in examples:
        predicted = answers(example.predicted, spans_key)
        for question in read(example.reference, "spacy_dice.qa_scorer.v1"):
            if question.texts is not None:
                pair = score_answer(question.texts, predicted.get(question.id, ""))
                scored["qa_"].append(pair)
                scored["qa_has_answer_" if question.texts else "qa_no_answer_"].append(pair)
    means: dict[str, object] = {}
    for prefix, pairs in scored.items():
        for name, values in zip(("exact", "f1"), zip(*pairs) if pairs else (None, None)):
            means[prefix + name] = None if values is None else sum(values) / len(values)
    return {**means, **spans}


def answers(doc: Doc, spans_key: str = "answers") -> dict[str, str]:
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


def score_answer(gold: Sequence[str], predicted: str) -> tuple[float, float]:
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
