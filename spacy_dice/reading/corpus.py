"""`spacy_dice.squad.v1`: files of SQuAD 1.1 and 2.0, and `.spacy` files of docs with questions."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Optional, Union

from spacy.tokens import Doc, DocBin, Span, SpanGroup
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
    spans_key: str = "answers",
    strict: bool = False,
) -> Callable[["Language"], Iterator[Example]]:
    """Read questions, and their answers, as a corpus: `spacy_dice.squad.v1`.

    Args:
        path: A JSON file of SQuAD 1.1 or 2.0; or a `.spacy` file, or a folder of such files, that
            `SquadFile.to_disk` wrote (or any with ``doc._.questions`` and ``store_user_data``).
        per_question: Whether each question has a doc of its own. Training then shuffles questions
            as one does with SQuAD; without it each paragraph is a doc with all its questions.
        limit: So many docs at most; 0 is all.
        spans_key: Where in ``doc.spans`` of the reference the answers go, cut to tokens.
        strict: Whether an answer that is not at its offset is an error.

    Returns:
        A function from a pipeline to its examples: the predicted doc has the questions, the
        reference also the answers.

    Raises:
        ConfigValidationError: On reading, with the file and the question: what is no SQuAD file,
            an empty context or question, two questions of one id, with ``strict`` an answer that
            is not where it should be.
    """

    def examples(nlp: "Language") -> Iterator[Example]:
        if path is None:
            raise config_error(f"{OWNER}: path is null. Set it, e.g. --paths.train train.json.")
        docs = _docs(Path(path), nlp, per_question, spans_key, strict)
        for number, doc in enumerate(docs):
            if limit and number >= limit:
                break
            yield as_example(nlp, doc)

    return examples


def as_example(nlp: "Language", reference: Doc) -> Example:
    """An example whose predicted doc has the reference's questions, without their answers."""
    predicted = Doc(
        nlp.vocab,
        words=[token.text for token in reference],
        spaces=[bool(token.whitespace_) for token in reference],
    )
    questions = read(reference, OWNER)
    predicted._.questions = [{"id": q.id, "text": q.text} for q in questions]
    return Example(predicted, reference)


class SquadFile:
    """A file of SQuAD 1.1 or 2.0, checked.

    Answers that are not at their offset are counted: ``moved``, of those that are elsewhere in the
    text and are taken from there (the nearest place), and ``absent``, of those that are nowhere in
    it: scored by, but not learned from. ``cut`` counts answers that do not begin and end with
    tokens of spaCy; their spans are widened to these, training has them as they are.

    Example:
        >>> SquadFile(path).to_disk("train.spacy", nlp)  # doctest: +SKIP
    """

    def __init__(self, path: Union[str, Path], strict: bool = False):
        """path, strict: as for `squad_reader`, whose errors this raises."""
        self.path, self.strict = Path(path), strict
        self.answers, self.moved, self.absent, self.cut = 0, 0, 0, 0
        self._examples: List[str] = []
        self.paragraphs = list(self._read())

    def docs(
        self, nlp: "Language", per_question: bool = False, spans_key: str = "answers"
    ) -> Iterator[Doc]:
        """Docs with their questions and answers, made by the pipeline's tokenizer.

        Logs the counts at the end.
        """
        install_extension()
        self.cut = 0
        for context, questions in self.paragraphs:
            doc = nlp.make_doc(context)
            groups = [[question] for question in questions] if per_question else [questions]
            for i, group in enumerate(groups):
                own = doc if i == 0 else doc.copy()
                own._.questions = group
                own.spans[spans_key] = SpanGroup(
                    own, name=spans_key, spans=list(self._spans(own, group))
                )
                yield own
        self._log()

    def to_disk(self, path: Union[str, Path], nlp: "Language", **options: Any) -> None:
        """Write docs in spaCy's binary format. options: those of `docs`."""
        DocBin(docs=self.docs(nlp, **options), store_user_data=True).to_disk(path)

    def _read(self) -> Iterator[Any]:
        try:
            articles = json.loads(self.path.read_text(encoding="utf8"))["data"]
            paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        except FileNotFoundError:
            raise config_error(f"{OWNER}: there is no file {self.path}.") from None
        except (KeyError, TypeError, ValueError) as error:
            raise config_error(
                f"{OWNER}: {self.path} is no file of SQuAD: JSON with 'data', a list of articles "
                f"with 'paragraphs' ({type(error).__name__}: {error})."
            ) from None
        for number, paragraph in enumerate(paragraphs, 1):
            try:
                context, qas = paragraph["context"], paragraph["qas"]
                questions = [self._question(qa, context) for qa in qas]
            except (KeyError, TypeError) as error:
                raise config_error(
                    f"{OWNER}: {self.path}, paragraph {number}: expected 'context' and 'qas' with "
                    f"'id', 'question' and 'answers' ({type(error).__name__}: {error})."
                ) from None
            if not context.strip():
                raise config_error(
                    f"{OWNER}: {self.path}, paragraph {number}: the context is empty. Leave the "
                    "paragraph out."
                )
            ids = [question["id"] for question in questions]
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise config_error(
                    f"{OWNER}: {self.path}, paragraph {number}: two questions have the id "
                    f"{twice[0]!r}. Give each its own."
                )
            if questions:
                yield context, questions

    def _question(self, qa: Dict[str, Any], context: str) -> Dict[str, Any]:
        number, text = str(qa["id"]), qa["question"]
        if not text.strip():
            raise config_error(f"{OWNER}: {self.path}: question {number!r} is empty.")
        answers: List[Dict[str, Any]] = []
        if not qa.get("is_impossible"):  # those have "plausible_answers", which are none
            for answer in qa["answers"]:
                answers.append(self._answer(answer, context, number))
        return {"id": number, "text": text, "answers": answers}

    def _answer(self, answer: Dict[str, Any], context: str, number: str) -> Dict[str, Any]:
        text, start = answer["text"], int(answer["answer_start"])
        if not text.strip():
            raise config_error(
                f"{OWNER}: {self.path}: an answer to question {number!r} is empty. For no answer "
                "give an empty list."
            )
        self.answers += 1
        if start >= 0 and context[start : start + len(text)] == text:
            return {"text": text, "answer_start": start}
        if self.strict:
            raise config_error(
                f"{OWNER}: {self.path}: the answer {text!r} to question {number!r} is not in the "
                f"context at character {start}. Correct it, or set strict = false to have such "
                "answers counted."
            )
        if len(self._examples) < 3:
            self._examples.append(number)
        places = _places(text, context)
        if not places:
            self.absent += 1
            return {"text": text, "answer_start": None}
        self.moved += 1
        nearest = min(places, key=lambda place: abs(place - start))
        return {"text": text, "answer_start": nearest}

    def _spans(self, doc: Doc, questions: Iterable[Dict[str, Any]]) -> Iterator[Span]:
        for question in questions:
            for answer in question["answers"]:
                start = answer["answer_start"]
                if start is None:
                    continue
                end = start + len(answer["text"])
                span: Any = doc.char_span(start, end, alignment_mode="expand")
                self.cut += (span.start_char, span.end_char) != (start, end)
                yield Span(doc, span.start, span.end, label="ANSWER", span_id=question["id"])

    def _log(self) -> None:
        if self.moved or self.absent:
            logger.warning(
                "%s: %d of %d answers are not at their offset (questions %s ...): %d are elsewhere "
                "in the text, and taken from there; %d are nowhere in it, and not learned from.",
                *(self.path, self.moved + self.absent, self.answers, ", ".join(self._examples)),
                *(self.moved, self.absent),
            )
        if self.cut:
            logger.info(
                "%s: %d of %d answers begin or end within a token; their spans are widened.",
                *(self.path, self.cut, self.answers),
            )


def _docs(
    path: Path, nlp: "Language", per_question: bool, spans_key: str, strict: bool
) -> Iterator[Doc]:
    if path.suffix not in (".spacy", "") or path.suffix == "" and not path.is_dir():
        yield from SquadFile(path, strict).docs(nlp, per_question, spans_key)
        return
    install_extension()
    files = sorted(path.rglob("*.spacy")) if path.is_dir() else [path]
    if not files or not all(file_.exists() for file_ in files):
        raise config_error(f"{OWNER}: there is no .spacy file at {path}.")
    for file_ in files:
        for doc in DocBin().from_disk(file_).get_docs(nlp.vocab):
            if doc._.questions is None:
                raise config_error(
                    f"{OWNER}: {file_} has a doc without doc._.questions. Write it with "
                    "DocBin(store_user_data=True); for fixed questions read it by spacy.Corpus.v1."
                )
            if not per_question:
                yield doc
                continue
            for question in doc._.questions:
                own = doc.copy()
                own._.questions = [question]
                kept = [s for s in doc.spans.get(spans_key, ()) if s.id_ == question["id"]]
                own.spans[spans_key] = [
                    Span(own, s.start, s.end, label=s.label, span_id=s.id) for s in kept
                ]
                yield own


def _places(text: str, context: str) -> List[int]:
    places, place = [], context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return places
