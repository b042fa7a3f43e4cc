"""Pairs of texts: `spacy_dice.pairs.v1`, a corpus of them for a text classifier, and the files in
which they come. Reading a file (`read`) needs no spaCy.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, NamedTuple, Optional, Union

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

# Columns of the two texts and of the label, by the header line of a release.
RELEASES = {
    ("quality", "#1 id", "#2 id", "#1 string", "#2 string"): (3, 4, 0),  # MRPC
    ("id", "qid1", "qid2", "question1", "question2", "is_duplicate"): (3, 4, 5),  # QQP, GLUE
    ("index", "#1 id", "#2 id", "#1 string", "#2 string"): (3, 4, None),  # MRPC's test, GLUE
}
LABELS = ("0", "1")


class TextPair(NamedTuple):
    """Two texts, and whether they are a match: "1" or "0"."""

    first: str
    second: str
    label: str


def read(path: Union[str, Path]) -> List[TextPair]:
    """Pairs of a file, one a line, of columns between tabs.

    Args:
        path: Lines of text, text, 0 or 1, with a header line or without; or MRPC or QQP as
            released, which their header lines tell. Quotation marks are characters as any other.

    Returns:
        The pairs, in their order.

    Raises:
        ValueError: With the line's number, for one of other columns, an empty text or another
            label; for a file without pairs.
    """
    path = Path(path)
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    header = tuple(name.strip().lower() for name in lines[0].rstrip("\r").split("\t"))
    columns: Any = RELEASES.get(header, (0, 1, 2))
    width = len(header) if header in RELEASES else 3
    if None in columns:
        raise ValueError(f"{path} has no labels. Give a file that has them.")
    skip = header in RELEASES or (len(header) == 3 and header[2] not in LABELS)
    pairs = []
    for number, line in enumerate(lines[skip:], 1 + skip):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.rstrip("\r").split("\t")]
        if len(cells) != width:
            raise ValueError(
                f"{path}, line {number}: expected {width} columns between tabs, got {len(cells)}: "
                f"{line[:80]!r}."
            )
        pair = TextPair(*(cells[column] for column in columns))
        if not pair.first or not pair.second or pair.label not in LABELS:
            raise ValueError(
                f"{path}, line {number}: expected two texts and 0 or 1, got {line[:80]!r}."
            )
        pairs.append(pair)
    if not pairs:
        raise ValueError(f"{path} has no pairs.")
    return pairs


def pairs_reader(
    path: Optional[Union[str, Path]],
    separator: str = "\t",
    positive: str = "SAME",
    negative: str = "DIFFERENT",
    limit: int = 0,
) -> Callable[["Language"], Iterator["Example"]]:
    """Read pairs of texts as a corpus for a text classifier: `spacy_dice.pairs.v1`.

    Args:
        path: A file as for `read`.
        separator: What joins the two texts of a doc; the same as in the model
            `spacy_dice.TextPair.v1`.
        positive: The category of label 1.
        negative: The category of label 0.
        limit: So many pairs at most; 0 is all.

    Returns:
        A function from a pipeline to its examples, with both categories in ``doc.cats``.

    Raises:
        ConfigValidationError: On reading, for a file that `read` raises an error for, a text that
            has the separator in it.
    """

    def examples(nlp: "Language") -> Iterator["Example"]:
        from spacy.training import Example

        from .errors import config_error

        owner = "spacy_dice.pairs.v1"
        if path is None:
            raise config_error(f"{owner}: path is null. Set it, e.g. --paths.train train.tsv.")
        try:
            pairs = read(path)
        except (ValueError, OSError) as error:
            raise config_error(f"{owner}: {error}") from None
        for pair in pairs[: limit or None]:
            if separator in pair.first or separator in pair.second:
                raise config_error(
                    f"{owner}: {path} has a text with the separator {separator!r} in it: "
                    f"{pair.first[:60]!r}. Set another one, here and in the model."
                )
            text = join(pair.first, pair.second, separator)
            reference = nlp.make_doc(text)
            reference.cats = {
                positive: float(pair.label == "1"),
                negative: float(pair.label == "0"),
            }
            yield Example(nlp.make_doc(text), reference)

    return examples


def join(first: str, second: str, separator: str = "\t") -> str:
    """The text of a doc of two texts, to be classified by a pipeline that pairs trained."""
    return f"{first}{separator}{second}"
