"""Labelled texts, LABEL TAB TEXT a line under one header line, as in the SMS Spam Collection."""

import random
from pathlib import Path
from typing import Dict, List, Tuple

import spacy
from spacy.tokens import Doc

# Of files that come without a split: what is before each share.
SHARES = {"train": 0.7, "dev": 0.8, "test": 1.0}


def read(path: Path) -> List[Tuple[str, str]]:
    """(label, text) of each line. Raises ValueError, with the line's number, for one without."""
    rows = []
    lines = path.read_text(encoding="utf8").split("\n")[1:]
    for number, line in enumerate(lines, 2):
        label, tab, text = line.strip("\r").partition("\t")
        if tab and label and text.strip():
            rows.append((label, text.strip()))
        elif line.strip():
            raise ValueError(f"{path}, line {number}: expected label TAB text, got {line!r}.")
    return rows


def docs(path: Path, seed: int = 0) -> Dict[str, List[Doc]]:
    """Docs of each split, shuffled, with every label in doc.cats."""
    rows = read(path)
    labels = sorted({label for label, _ in rows})
    random.Random(seed).shuffle(rows)
    nlp = spacy.blank("en")
    made = []
    for label, text in rows:
        doc = nlp.make_doc(text)
        doc.cats = {name: float(name == label) for name in labels}
        made.append(doc)
    split, first = {}, 0
    for name, share in SHARES.items():
        last = round(len(made) * share)
        split[name], first = made[first:last], last
    return split
