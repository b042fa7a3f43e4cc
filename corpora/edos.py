"""Sexism in texts, as in SemEval-2023 task 10 (EDOS): text TAB label of task A TAB label of task C.

Task A: "sexist" or "not sexist". Task C: one of 11 kinds, of the sexist texts alone.
"""

from pathlib import Path
from typing import Iterator, List, Tuple

import spacy
from spacy.tokens import Doc

TASKS = ("A", "C")
SEXIST, NOT_SEXIST, NONE = "sexist", "not sexist", "none"


def read(path: Path) -> List[Tuple[str, str, str]]:
    """(text, label of A, label of C) of each line. Raises ValueError, with the line's number,
    for any other line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf8").split("\n"), 1):
        if line.strip():
            columns = line.strip("\r").split("\t")
            if len(columns) != 3 or columns[1] not in (SEXIST, NOT_SEXIST):
                raise ValueError(
                    f"{path}, line {number}: expected text TAB {SEXIST} or {NOT_SEXIST} TAB kind "
                    f"or {NONE}, got {line!r}."
                )
            rows.append((columns[0], columns[1], columns[2]))
    return rows


def docs(path: Path, task: str = "A") -> Iterator[Doc]:
    """A doc for each text of the task, with every label of this file in doc.cats at 1 or 0."""
    if task not in TASKS:
        raise ValueError(f"The task must be one of {', '.join(TASKS)}, got {task!r}.")
    rows = [
        (text, a if task == "A" else c) for text, a, c in read(path) if task == "A" or c != NONE
    ]
    labels = sorted({label for _, label in rows})
    nlp = spacy.blank("en")
    for text, gold in rows:
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label == gold) for label in labels}
        yield doc
