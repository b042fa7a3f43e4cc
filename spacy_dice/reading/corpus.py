"""`spacy_dice.squad.v1`: files of SQuAD 1.1 and 2.0 as a corpus."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

from spacy.training import Example

from ..errors import config_error
from .questions import install_extension, read

if TYPE_CHECKING:
    from spacy.language import Language

OWNER = "spacy_dice.squad.v1"
logger = logging.getLogger("spacy.dice_qa")


def squad_reader(
    path: Optional[Union[str, Path]],
    per_question: bool = False,
    limit: int = 0,
    strict: bool = False,
) -> Callable[["Language"], Iterator[Example]]:
    """Read questions, and their answers, as a corpus: `spacy_dice.squad.v1`.

    Answers that are not at their offset are counted and logged. Those that are elsewhere in the
    text are taken from the nearest place; those that are nowhere in it are scored by, but not
    learned from.

    Args:
        path: A JSON file of SQuAD 1.1 or 2.0.
        per_question: Whether each question has a doc of its own. Training then shuffles questions
            as one does with SQuAD; without it each paragraph is a doc with all its questions.
        limit: So many docs at most; 0 is all.
        strict: Whether an answer that is not at its offset is an error.

    Returns:
        A function from a pipeline to its examples: the predicted doc has the questions in
        ``doc._.questions``, the reference also their answers.

    Raises:
        ConfigValidationError: On reading, for what is no SQuAD file, an empty context, question
            or answer, two questions of one id, with ``strict`` an answer that is not where it
            should be.
    """

    def examples(nlp: "Language") -> Iterator[Example]:
        if path is None:
            raise config_error(f"{OWNER}: path is null. Set it, e.g. --paths.train train.json.")
        install_extension()
        n_docs = 0
        for context, questions in _paragraphs(Path(path), strict):
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


def _paragraphs(path: Path, strict: bool) -> List[Tuple[str, List[Dict[str, Any]]]]:
    """The contexts of a file with their questions, as `doc._.questions` has them."""
    try:
        articles = json.loads(path.read_text(encoding="utf8"))["data"]
        paragraphs = [
            (paragraph["context"], [_question(qa) for qa in paragraph["qas"]])
            for article in articles
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
    moved: List[str] = []
    absent: List[str] = []
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
                if strict or not text or (start >= 0 and context.startswith(text, start)):
                    continue
                places = [i for i in range(len(context)) if context.startswith(text, i)]
                (moved if places else absent).append(question["id"])
                nearest = min(places, key=lambda place: abs(place - start), default=None)
                answer["answer_start"] = nearest
    if moved or absent:
        logger.warning(
            "%s: %d of %d answers are not at their offset (questions %s ...): %d are elsewhere in "
            "the text, and taken from there; %d are nowhere in it, and not learned from.",
            *(path, len(moved) + len(absent), n_answers, ", ".join([*moved, *absent][:3])),
            *(len(moved), len(absent)),
        )
    return [paragraph for paragraph in paragraphs if paragraph[1]]


def _question(qa: Dict[str, Any]) -> Dict[str, Any]:
    # Questions without an answer have "plausible_answers", which are none.
    answers = [] if qa.get("is_impossible") else qa["answers"]
    kept = [{"text": a["text"], "answer_start": int(a["answer_start"])} for a in answers]
    return {"id": str(qa["id"]), "text": qa["question"], "answers": kept}
