"""Questions of a document: the extension `doc._.questions`, and how it is read.

A question is a dict as in a file of SQuAD: ``text``; ``id``, by which its answers are found; and,
where the answers are known, ``answers``, a list of dicts of ``text`` and ``answer_start`` (in
characters of the document), empty for "no answer". A string is a question without answers, whose
id is its place in the list.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

from spacy.tokens import Doc

from ..errors import config_error

# First and last character (exclusive) of an answer in the text of its document.
Extent = Tuple[int, int]


class Question(NamedTuple):
    """A question of a document.

    answers: where the known answers are; None if they are not known. texts: the known answers as
    the file has them, which the metric compares with; None if they are not known.
    """

    id: str
    text: str
    answers: Optional[List[Extent]] = None
    texts: Optional[List[str]] = None


def install_extension() -> None:
    """Let docs have questions: `doc._.questions`, None by default."""
    if not Doc.has_extension("questions"):
        Doc.set_extension("questions", default=None)


def read(doc: Doc, owner: str, key: Optional[str] = None) -> List[Question]:
    """The questions of a document.

    Args:
        doc: The document.
        owner: How messages call who asks.
        key: Where in ``doc.spans`` answers are that questions do not have themselves, by the id
            of their question; None to look for none.

    Returns:
        The questions in their order; an empty list for a document without.

    Raises:
        ConfigValidationError: Questions of the wrong form, empty ones, two of one id, answers
            that are not in the text, spans with an id that no question has.
    """
    install_extension()
    found: List[Question] = []
    given = doc._.questions
    if given is None:
        given = ()
    if isinstance(given, (str, dict)) or not hasattr(given, "__iter__"):
        raise config_error(
            f"{owner}: doc._.questions must be a list of questions, got {given!r}. Write "
            '[{"id": "q1", "text": "Who came?"}].'
        )
    for place, item in enumerate(given):
        found.append(_read_one(item, place, doc, owner))
    ids = [question.id for question in found]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise config_error(
            f"{owner}: two questions of a doc have the id {twice[0]!r}. {_where(doc)}"
        )
    return found if key is None else _with_spans(found, doc, key, owner)


def _read_one(item: Any, place: int, doc: Doc, owner: str) -> Question:
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        raise config_error(
            f"{owner}: a question must be a string or a dict with 'text' (and 'id'), got {item!r}."
        )
    number = item.get("id", str(place))
    if not isinstance(number, str) or not number:
        raise config_error(f"{owner}: the id of a question must be a string, got {number!r}.")
    if not item["text"].strip():
        raise config_error(f"{owner}: question {number!r} of a doc is empty. {_where(doc)}")
    answers = item.get("answers")
    if answers is None:
        return Question(number, item["text"])
    extents, texts, text = [], [], doc.text
    for answer in answers:
        try:
            start, found = answer["answer_start"], answer["text"]
        except (TypeError, KeyError):
            raise config_error(
                f"{owner}: an answer of question {number!r} must be a dict of 'text' and "
                f"'answer_start', got {answer!r}."
            ) from None
        texts.append(found)
        if start is None:  # only the metric knows it: it is nowhere in the text
            continue
        if not found or text[start : start + len(found)] != found:
            raise config_error(
                f"{owner}: the answer {found!r} of question {number!r} is not in the text at "
                f"character {start}. Correct answer_start (spacy_dice.squad.v1 finds such "
                f"answers). {_where(doc)}"
            )
        extents.append((start, start + len(found)))
    known = None if texts and not extents else extents
    return Question(number, item["text"], known, texts)


def _with_spans(found: List[Question], doc: Doc, key: str, owner: str) -> List[Question]:
    by_id: Any = {}
    for span in doc.spans[key] if key in doc.spans else ():
        if span.id_:
            by_id.setdefault(span.id_, []).append(span)
    unknown = sorted(set(by_id) - {question.id for question in found})
    if unknown:
        raise config_error(
            f"{owner}: doc.spans[{key!r}] has an answer to the question {unknown[0]!r}, which is "
            f"none of doc._.questions. Add the question, or correct the span's id. {_where(doc)}"
        )
    complete = []
    for question in found:
        spans = by_id.get(question.id)
        if question.texts is None and spans:
            extents = [(span.start_char, span.end_char) for span in spans]
            texts = [span.text for span in spans]
            question = Question(question.id, question.text, extents, texts)
        complete.append(question)
    return complete


def _where(doc: Doc) -> str:
    return f"The text begins: {doc.text[:60]!r}."
