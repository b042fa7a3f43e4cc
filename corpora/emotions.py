"""Texts with any number of labels each, as in GoEmotions: text TAB comma-joined ids of labels.

labels.txt beside the files names the labels, one a line, the first of id 0.
"""

from pathlib import Path
from typing import Iterator, List

import spacy
from spacy.tokens import Doc

LABELS = "labels.txt"


def docs(path: Path) -> Iterator[Doc]:
    """A doc for each text, with every label in doc.cats at 1 or 0.

    Raises ValueError, with the line's number, for a line without ids or with one that has no name.
    """
    labels = (path.parent / LABELS).read_text(encoding="utf8").split()
    nlp = spacy.blank("en")
    for number, line in enumerate(path.read_text(encoding="utf8").split("\n"), 1):
        if line.strip():
            text, *columns = line.strip("\r").split("\t")
            ids = columns[0].split(",") if columns else []
            if not (text and ids and all(i.isdigit() and int(i) < len(labels) for i in ids)):
                raise ValueError(
                    f"{path}, line {number}: expected text TAB comma-joined ids from 0 to "
                    f"{len(labels) - 1}, got {line!r}."
                )
            yield _doc(nlp, text, labels, [labels[int(i)] for i in ids])


def _doc(nlp: spacy.Language, text: str, labels: List[str], given: List[str]) -> Doc:
    doc = nlp.make_doc(text)
    doc.cats = {label: float(label in given) for label in labels}
    return doc
