"""Questions of a document: the extension `doc._.questions`, and how it is read.

A question is a dict as in a file of SQuAD: ``text``; ``id``, by which its answers are found; and,
where the answers are known, ``answers``, a list of dicts of ``text`` and ``answer_start`` (in
characters of the document), empty for "no answer". A string is a question without answers, whose
id is its place in the list.
"""

from typing import NamedTuple, Optional

from spacy.tokens import Doc, Span

from ..errors import config_error

# First and last character (exclusive) of an answer in the text of its document.
Extent = tuple[int, int]


class Question(NamedTuple):
    """A question of a document.

    Attributes:
        id: Its name among the questions of the document.
        text: The question.
        answers: Where the known answers are; None if that is not known.
        texts: The known answers, which the metric compares with; None if they are not known.
    """

    id: str
    text: str
    answers: Optional[list[Extent]] = None
    texts: Optional[list[str]] = None


def install_extension() -> None:
    """Let docs have questions: `doc._.questions`, None by default."""
    if not Doc.has_extension("questions"):
        Doc.set_extension("questions", default=None)


def read(doc: Doc, owner: str) -> list[Question]:
    """Read the questions of a document.

    Args:
        doc: The document.
        owner: How messages call who reads.

    Returns:
        The questions in their order; an empty list for a document without.

    Raises:
        ConfigValidationError: For questions of the wrong form, empty ones, two of one id, answers
            that are not in the text.
    """
    install_extension()
    given = () if doc._.questions is None else doc._.questions
    if isinstance(given, (str, dict)) or not hasattr(given, "__iter__"):
        raise config_error(
            f"{owner}: doc._.questions must be a list of questions, got {given!r}. Write "
            '[{"id": "q1", "text": "Who came?"}].'
        )
    found = {}
    for place, item in enumerate(given):
        question = _read_question(item, place, doc, owner)
        if question.id in found:
            raise config_error(
                f"{owner}: two questions of a doc have the id {question.id!r}. {_where(doc)}"
            )
        found[question.id] = question
    return list(found.values())


def fixed_answers(doc: Doc, spans_key: str) -> Optional[list[Span]]:
    """The annotated answers of a doc to fixed questions: the spans without an id, or else doc.ents.
    None for a doc without either annotation.
    """
    if spans_key in doc.spans:
        return [span for span in doc.spans[spans_key] if not span.id]
    return list(doc.ents) if doc.has_annotation("ENT_IOB") else None


def _read_question(item: object, place: int, doc: Doc, owner: str) -> Question:
    item = {"text": item} if isinstance(item, str) else item
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise config_error(
            f"{owner}: a question must be a string or a dict with 'text' (and 'id'), got {item!r}."
        )
    name = item.get("id", str(place))
    if not isinstance(name, str) or not name:
        raise config_error(f"{owner}: the id of a question must be a string, got {name!r}.")
    if not item["text"].strip():
        raise config_error(f"{owner}: question {name!r} of a doc is empty. {_where(doc)}")
    if item.get("answers") is None:
        return Question(name, item["text"])
    extents, texts = [], []
    for answer in item["answers"]:
        try:
            start, text = answer["answer_start"], answer["text"]
        except (TypeError, KeyError):
            raise config_error(
                f"{owner}: an answer of question {name!r} must be a dict of 'text' and "
                f"'answer_start', got {answer!r}."
            ) from None
        if not text.strip():
            raise config_error(
                f"{owner}: an answer of question {name!r} is empty. For no answer give an empty "
                f"list. {_where(doc)}"
            )
        texts.append(text)
        if start is None:  # It is nowhere in the text: only the metric compares with it.
            continue
        if start < 0 or not doc.text.startswith(text, start):
            raise config_error(
                f"{owner}: the answer {text!r} of question {name!r} is not in the text at "
                f"character {start}. Correct answer_start. {_where(doc)}"
            )
        extents.append((start, start + len(text)))
    return Question(name, item["text"], None if texts and not extents else extents, texts)


def _where(doc: Doc) -> str:
    return f"The text begins: {doc.text[:60]!r}."
