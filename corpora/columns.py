"""Columns of tokens and tags, as in CoNLL 2003 and its successors: a token a line, a sentence
between blank lines; the first column is the token, the last its BIO tag. Columns are parted by
tabs, or else by white space. Lines of "-DOCSTART-" and comments (a "#" and a space, without a tag
at the end) are not part of the text.
"""

import re
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

Sentence = Tuple[List[str], List[str]]
TAG = re.compile(r"O$|-$|[BIOELUS]-.")


def read(path: Path) -> Iterator[Sentence]:
    """Sentences: tokens and their BIO tags; of comma-joined tags the first.

    Raises ValueError, with the line's number, for a line without a token or a tag of an entity.
    """
    words: List[str] = []
    tags: List[str] = []
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield words, as_bio(tags)
                words, tags = [], []
            continue
        cells = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        word, tag = cells[0].strip(), cells[-1].strip()
        is_tag = len(cells) > 1 and TAG.match(tag)
        if line.startswith("# ") and not is_tag:
            continue
        if not word or not is_tag:
            raise ValueError(
                f"{path}, line {number}: expected a token and its tag, O or as B-LABEL, got "
                f"{line!r}."
            )
        words.append(word)
        tags.append(tag.partition(",")[0])


def as_bio(tags: Sequence[str]) -> List[str]:
    """BIO of BIO, IOB1, BIOES or BILUO. A tag that continues nothing begins, as scorers have it."""
    made: List[str] = []
    for tag in tags:
        prefix, label = tag[:1], tag[2:]
        goes_on = prefix in "IEL" and made and made[-1][2:] == label
        made.append(f"{'I' if goes_on else 'B'}-{label}" if label else "O")
    return made
