"""Pairs of texts: `spacy_dice.pairs.v1`, a corpus of them for a text classifier. Reading a file
(`read`) needs no spaCy.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional, Union

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

LABELS = ("0", "1")


class TextPair(NamedTuple):
    """Two texts, and whether they are a match: "1" or "0"."""

    first: str
    second: str
    label: str


def read(path: Union[str, Path]) -> list[TextPair]:
    """Read pairs from a file, one a line.

    Args:
        path: Lines of text TAB text TAB 0 or 1, with a line of column names before them or
            without. Quotation marks are characters as any other.

    Returns:
        The pairs, in their order.

    Raises:
        ValueError: With the line's number, for one of other columns, an empty text or another
            label; for a file without pairs.
    """
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").split("\n"), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        is_header = number == 1 and len(cells) == 3 and cells[2].isidentifier()
        if cells == [""] or is_header:
            continue
        if len(cells) != 3 or not all(cells) or cells[2] not in LABELS:
            raise ValueError(
                f"{path}, line {number}: expected two texts and 0 or 1, with tabs between them, "
                f"got {line[:80]!r}."
            )
        pairs.append(TextPair(*cells))
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
        for first, second, label in pairs[: limit or None]:
            if separator in first or separator in second:
                raise config_error(
                    f"{owner}: {path} has a text with the separator {separator!r} in it: "
                    f"{first[:60]!r}. Set another one, here and in the model."
                )
            text = join(first, second, separator)
            reference = nlp.make_doc(text)
            reference.cats = {positive: float(label == "1"), negative: float(label == "0")}
            yield Example(nlp.make_doc(text), reference)

    return examples


def join(first: str, second: str, separator: str = "\t") -> str:
    """The text of a doc of two texts, to be classified by a pipeline that pairs trained."""
    return f"{first}{separator}{second}"
