"""Columns of tokens and BIO tags, as in CoNLL 2003 and its successors."""

from pathlib import Path
from typing import Iterator, List, Tuple

Sentence = Tuple[List[str], List[str]]


def read(path: Path) -> Iterator[Sentence]:
    """Sentences of token TAB tag lines, between lines that are blank.

    Of comma-joined tags the first counts. A tag I-X that continues nothing becomes B-X, as
    scorers read it. Raises ValueError, with the line's number, for a line without a tag.
    """
    words: List[str] = []
    tags: List[str] = []
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        if line.strip():
            word, _, tag = line.strip("\n").partition("\t")
            tag = tag.split("\t")[-1].strip().split(",")[0]
            if not word or not (tag == "O" or tag[:2] in ("B-", "I-")):
                raise ValueError(f"{path}, line {number}: expected token TAB tag, got {line!r}.")
            if tag[:2] == "I-" and (not tags or tags[-1][2:] != tag[2:]):
                tag = "B-" + tag[2:]
            words.append(word)
            tags.append(tag)
        elif words:
            yield words, tags
            words, tags = [], []
    if words:
        yield words, tags
