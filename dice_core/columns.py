"""Columns of tokens and tags, as in CoNLL 2003 and its successors.

A token a line, a sentence between blank lines; the first column is the token, the last its tag.
Columns are parted by tabs, or else by white space. Lines of "-DOCSTART-" and comments (a "#" and
a space, without a tag at the end) are none of the text.
"""

import re
from pathlib import Path
from typing import Callable, Iterator, List, Sequence, Tuple, Union

Sentence = Tuple[List[str], List[str]]
# O (also "-"), or the part of an entity and its label, of any scheme.
TAG = re.compile(r"O$|-$|[BIOELUS]-.")


def read(path: Union[str, Path]) -> Iterator[Sentence]:
    """Sentences with BIO tags of entities.

    Args:
        path: Of a file in UTF-8.

    Yields:
        Tokens and their tags, as `as_bio` makes them.

    Raises:
        ValueError: For a line without a token or a tag of an entity, with its number.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    for words, tags in parse(text, str(path), entities=True):
        yield words, as_bio(tags)


def parse(
    text: str,
    name: str,
    entities: bool = False,
    error: Callable[[str], Exception] = ValueError,
) -> Iterator[Sentence]:
    """Sentences of a text in columns.

    Args:
        text: All of it.
        name: What errors call it.
        entities: Whether all tags must be those of entities.
        error: What makes an error of its message.

    Yields:
        Tokens and their tags, as they are; of comma-joined tags of entities the first.

    Raises:
        ValueError: Or what ``error`` makes, for a line that does not fit, with its number.
    """
    words: List[str] = []
    tags: List[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        cells = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield words, tags
                words, tags = [], []
            continue
        word, tag = cells[0].strip(), cells[-1].strip()
        if line.startswith("# ") and not (len(cells) > 1 and TAG.match(tag)):
            continue
        if len(cells) < 2 or not word or (entities and not TAG.match(tag)):
            kind = "its tag, O or as B-LABEL" if entities else "its tag"
            raise error(f"{name}, line {number}: expected a token and {kind}, got {line!r}.")
        words.append(word)
        tags.append(tag.partition(",")[0] if TAG.match(tag) else tag)
    if words:
        yield words, tags


def of_entities(tags: Sequence[str]) -> bool:
    """Whether all of these may be tags of entities.

    Example:
        >>> of_entities(["O", "S-LOC"]), of_entities(["NOUN", "O"])
        (True, False)
    """
    return all(TAG.match(tag) for tag in tags)


def as_bio(tags: Sequence[str]) -> List[str]:
    """BIO of BIO, IOB1, BIOES or BILUO. A tag that continues nothing begins, as scorers have it.

    Example:
        >>> as_bio(["I-PER", "I-PER", "O", "S-LOC", "E-LOC"])
        ['B-PER', 'I-PER', 'O', 'B-LOC', 'I-LOC']
    """
    made: List[str] = []
    for tag in tags:
        prefix, label = tag[:1], tag[2:]
        if prefix in "IEL" and label:
            goes_on = made and made[-1][2:] == label
            made.append(f"{'I' if goes_on else 'B'}-{label}")
        elif label:
            made.append(f"B-{label}")
        else:
            made.append("O")
    return made
