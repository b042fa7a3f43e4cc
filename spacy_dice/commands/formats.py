"""Annotated texts in the usual file formats, as spaCy's docs.

- ``.spacy``, or a folder of them: spaCy's own.
- ``.conllu``: Universal Dependencies, by spaCy's reader.
- ``.conll``, ``.iob``, ``.bio``, ``.txt``, and a ``.tsv`` with blank lines: columns of tokens and
  tags, a sentence between blank lines; the first column is the token, the last the BIO, BIOES or
  BILUO tag. With tags that are none of these, the last column is ``token.tag``.
- ``.tsv``, ``.csv``: a text and its label a line; with a header, the columns called text and label
  (or labels: several with commas between them), else the column with fewer values is the label.
- ``.jsonl``: a text a line, with "spans" or "entities" (lists of start, end, label, in characters),
  "cats" (label: 0 or 1), or "label"/"labels".
- ``.json``: SQuAD 1.1 and 2.0; the answers are in ``doc.spans["answers"]``.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.converters import conllu_to_docs
from spacy.vocab import Vocab

from dice_core import columns

from ..errors import config_error
from ..reading.corpus import SquadFile

COLUMNS = (".conll", ".iob", ".iob2", ".bio", ".bioes", ".txt")
TABLES = (".tsv", ".csv")
TEXT_NAMES = ("text", "sentence", "comment", "comment_text", "message", "tweet", "document")
LABEL_NAMES = ("label", "category", "class", "target", "labels", "categories")
ANSWERS = "answers"
KNOWN = ".spacy, .conllu, .conll/.iob/.txt (columns), .tsv/.csv, .jsonl, .json (SQuAD)"
# Labels without white space, with commas between them.
_SEVERAL = re.compile(r"[^,\s]+(,[^,\s]+)+")


def read_docs(path: Path, nlp: Optional[Language] = None) -> List[Doc]:
    """All documents of a file or a folder.

    Args:
        path: A file in one of the formats above, or a folder of ``.spacy`` files.
        nlp: Whose vocabulary and tokenizer are used; None is a blank English one.

    Returns:
        Docs with their gold annotation.

    Raises:
        ConfigValidationError: For a format that it does not know, or a line that does not fit,
            with its number.
        OSError: If there is no such file.

    Example:
        >>> docs = read_docs(Path("train.conll"))
    """
    nlp = spacy.blank("en") if nlp is None else nlp
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("**/*.spacy"))
        if not files:
            raise config_error(f"{path} is a folder without .spacy files. Give one file.")
        return [doc for file in files for doc in read_docs(file, nlp)]
    suffix = path.suffix.lower()
    if suffix == ".spacy":
        try:
            return list(DocBin().from_disk(path).get_docs(nlp.vocab))
        except OSError:
            raise
        except Exception as error:
            raise config_error(f"{path} cannot be read as spaCy's binary format: {error}") from None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise config_error(f"{path} is not UTF-8: {error}. Convert it.") from None
    if suffix == ".conllu":
        return list(conllu_to_docs(text, n_sents=1, no_print=True))
    if suffix in COLUMNS or (suffix in TABLES and _has_sentences(text)):
        return list(_columns(text, str(path), nlp.vocab))
    if suffix in TABLES:
        return _table(text, path, nlp)
    if suffix == ".jsonl":
        return list(_json_lines(text, str(path), nlp))
    if suffix == ".json":
        return list(_squad(path, nlp))
    raise config_error(
        f"{path}: the format {suffix or 'without a suffix'!r} is not known: {KNOWN}."
    )


def read_examples(path: Path, nlp: Language) -> List[Example]:
    """What `read_docs` reads, to predict and to compare with.

    Args:
        path: As there.
        nlp: The pipeline that will predict; it tokenizes the texts, as in `spacy evaluate`. Where
            there are tokens without a text (columns), their tokens are taken.

    Returns:
        An Example for each document; its ``predicted`` has nothing but tokens.
    """
    examples = []
    for doc in read_docs(path, nlp):
        if doc.has_unknown_spaces:
            predicted = Doc(
                nlp.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc]
            )
        else:
            predicted = nlp.make_doc(doc.text)
        examples.append(Example(predicted, doc))
    return examples


# -- columns --------------------------------------------------------------------------------


def _has_sentences(text: str) -> bool:
    """Whether a table is one of tokens: blank lines between groups of lines with tags."""
    head = text[:20000].strip("\n")
    lines = [line for line in head.split("\n") if line.strip()][:50]
    tags = [line.split()[-1] for line in lines if line.split()]
    return "\n\n" in head and bool(tags) and all(columns.TAG.match(tag) for tag in tags)


def _columns(text: str, path: str, vocab: Vocab) -> Iterator[Doc]:
    sentences = list(columns.parse(text, path, error=config_error))
    entities = all(columns.of_entities(tags) for _, tags in sentences)
    for words, tags in sentences:
        if entities:
            yield Doc(vocab, words=words, ents=columns.as_bio(tags))
        else:
            yield Doc(vocab, words=words, tags=tags)


# -- texts ----------------------------------------------------------------------------------


def _table(text: str, path: Path, nlp: Language) -> List[Doc]:
    if path.suffix.lower() == ".csv":
        rows = list(csv.reader(text.splitlines(keepends=True)))
    else:
        rows = [line.rstrip("\r").split("\t") for line in text.split("\n")]
    numbered = [(number, row) for number, row in enumerate(rows, 1) if any(c.strip() for c in row)]
    if not numbered:
        raise config_error(f"{path} is empty.")
    header = [cell.strip().lower() for cell in numbered[0][1]]
    text_at = next((header.index(name) for name in TEXT_NAMES if name in header), None)
    label_at = next((header.index(name) for name in LABEL_NAMES if name in header), None)
    several = False
    if text_at is not None and label_at is not None:
        several = header[label_at] in ("labels", "categories")
        numbered = numbered[1:]
    else:
        text_at, label_at, first = _guess(numbered, path)
        numbered = numbered[first:]
        cells = [row[label_at].strip() for _, row in numbered if label_at < len(row)]
        several = any(_SEVERAL.fullmatch(cell) for cell in cells)
    pairs = []
    for number, row in numbered:
        if len(row) <= max(text_at, label_at) or not row[text_at].strip():
            raise config_error(
                f"{path}, line {number}: expected a text and its label, got {row!r}."
            )
        cell = row[label_at].strip()
        labels = [part.strip() for part in cell.split(",")] if several else [cell]
        pairs.append((row[text_at].strip(), [label for label in labels if label]))
    return _with_cats(pairs, nlp)


def _guess(rows: Sequence[Tuple[int, List[str]]], path: Path) -> Tuple[int, int, int]:
    """Which columns are the text and the label, without names for them; and whether the first
    line is a header: its label is one that no other line has.
    """
    width = len(rows[0][1])
    if width < 2:
        raise config_error(
            f"{path}, line {rows[0][0]}: expected at least two columns, a text and its label. "
            f"Tokens with tags are read from {'/'.join(COLUMNS)}."
        )
    columns = [[row[i] if i < len(row) else "" for _, row in rows] for i in range(width)]
    mean_length = [sum(map(len, column)) / len(column) for column in columns]
    text_at = max(range(width), key=lambda i: mean_length[i])
    others = [i for i in range(width) if i != text_at]
    label_at = min(others, key=lambda i: len(set(columns[i])))
    labels = columns[label_at]
    if len(set(labels)) > max(20, len(labels) // 2):
        raise config_error(
            f"{path}: no column looks like labels: the one with the fewest values has "
            f"{len(set(labels))} in {len(labels)} lines. Give the file a header with the columns "
            "text and label."
        )
    has_header = (
        len(rows) > 3 and labels[0] not in labels[1:] and len(set(labels)) < len(labels) / 2
    )
    return text_at, label_at, int(has_header)


def _with_cats(pairs: Iterable[Tuple[str, List[str]]], nlp: Language) -> List[Doc]:
    pairs = list(pairs)
    labels = sorted({label for _, of_text in pairs for label in of_text})
    docs = []
    for text, of_text in pairs:
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label in of_text) for label in labels}
        docs.append(doc)
    return docs


def _json_lines(text: str, path: str, nlp: Language) -> Iterator[Doc]:
    read: List[Tuple[int, Dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise config_error(f"{path}, line {number} is no JSON: {error}.") from None
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise config_error(f'{path}, line {number}: expected an object with a "text".')
            read.append((number, row))
    labels = sorted({label for _, row in read for label in _labels(row) or ()})
    for number, row in read:
        doc = nlp.make_doc(row["text"])
        of_row = _labels(row)
        if "cats" in row:
            doc.cats = {label: float(value) for label, value in row["cats"].items()}
        elif of_row is not None:
            doc.cats = {label: float(label in of_row) for label in labels}
        for key in ("entities", "spans"):
            if key in row:
                spans = [_span(doc, span, f"{path}, line {number}") for span in row[key]]
                found = [span for span in spans if span is not None]
                doc.spans["sc"] = found
                if key == "entities":
                    doc.ents = spacy.util.filter_spans(found)
        yield doc


def _labels(row: Dict[str, Any]) -> Optional[List[str]]:
    for key in ("labels", "label"):
        value = row.get(key)
        if isinstance(value, (str, int)):
            return [str(value)]
        if isinstance(value, list):
            return [str(label) for label in value]
    return None


def _span(doc: Doc, span: Any, where: str) -> Any:
    """A span by characters; None if it does not begin and end with tokens."""
    if isinstance(span, dict):
        start, end, label = span.get("start"), span.get("end"), span.get("label", "span")
    elif isinstance(span, (list, tuple)) and len(span) in (2, 3):
        start, end, label = (*span, "span")[:3]
    else:
        start = end = label = None
    if (
        not isinstance(start, int)
        or not isinstance(end, int)
        or not 0 <= start < end <= len(doc.text)
    ):
        raise config_error(f"{where}: {span!r} is no span (start, end, label) of the text.")
    return doc.char_span(start, end, label=str(label), alignment_mode="expand")


def _squad(path: Path, nlp: Language) -> Iterator[Doc]:
    """Docs of paragraphs, by the reader of dice_qa; of each question the first answer counts."""
    for doc in SquadFile(path).docs(nlp, spans_key=ANSWERS):
        first = {span.id_: span for span in reversed(doc.spans[ANSWERS])}
        doc.spans[ANSWERS] = [first[key] for key in reversed(first)]
        yield doc
