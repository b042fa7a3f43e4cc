"""Texts with any number of labels each, as in GoEmotions: text TAB comma-joined ids of labels.

labels.txt beside the files names the labels, one a line, the first of id 0.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Tuple

if TYPE_CHECKING:
    from spacy.tokens import Doc

LABELS = "labels.txt"


def read(path: Path) -> Iterator[Tuple[str, List[str]]]:
    """Each text with its labels.

    Raises ValueError, with the line's number, for a line without ids or with one that has no name.
    """
    labels = names(path)
    for number, line in enumerate(path.read_text(encoding="utf8").split("\n"), 1):
        if line.strip():
            text, *columns = line.strip("\r").split("\t")
            ids = columns[0].split(",") if columns else []
            if not (text and ids and all(i.isdigit() and int(i) < len(labels) for i in ids)):
                raise ValueError(
                    f"{path}, line {number}: expected text TAB comma-joined ids from 0 to "
                    f"{len(labels) - 1}, got {line!r}."
                )
            yield text, [labels[int(i)] for i in ids]


def docs(path: Path) -> Iterator["Doc"]:
    """A doc for each text, with every label in doc.cats at 1 or 0. Raises as `read` does."""
    import spacy  # Flair's side does without

    labels, nlp = names(path), spacy.blank("en")
    for text, given in read(path):
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label in given) for label in labels}
        yield doc


def names(path: Path) -> List[str]:
    """The labels that there are, by the file beside this one."""
    return (path.parent / LABELS).read_text(encoding="utf8").split()
