"""Texts with spans by code points, as in SemEval-2021 task 5 (toxic spans): JSON lines of
{"text": ..., "spans": [[start, end], ...]}, end not included."""

import json
import warnings
from pathlib import Path
from typing import List

import spacy
from spacy.tokens import Doc

LABEL = "toxic"


def docs(path: Path, label: str = LABEL) -> List[Doc]:
    """A doc for each text, with its spans in doc.spans["sc"], all of one label.

    A span that does not begin and end with spaCy's tokens cannot be said in a doc and is left
    out; a warning says how many were. Raises ValueError, with the line's number, for a span
    outside of its text.
    """
    nlp = spacy.blank("en")
    made, n_spans, n_misaligned = [], 0, 0
    for number, line in enumerate(path.read_text(encoding="utf8").split("\n"), 1):
        if line.strip():
            row = json.loads(line)
            doc = nlp.make_doc(row["text"])
            found = []
            for start, end in row["spans"]:
                if not 0 <= start < end <= len(doc.text):
                    raise ValueError(
                        f"{path}, line {number}: the span {start} to {end} is not one of a text of "
                        f"{len(doc.text)} characters."
                    )
                span = doc.char_span(start, end, label=label)
                n_spans, n_misaligned = n_spans + 1, n_misaligned + (span is None)
                found += [] if span is None else [span]
            doc.spans["sc"] = found
            made.append(doc)
    if n_misaligned:
        warnings.warn(
            f"{path.name}: {n_misaligned} of {n_spans} spans do not begin and end with tokens and "
            "are left out.",
            stacklevel=2,
        )
    return made
