"""Universal Dependencies treebanks, in CoNLL-U."""

from pathlib import Path
from typing import Iterator

from spacy.tokens import Doc

from spacy_dice.commands.formats import read_docs


def docs(path: Path) -> Iterator[Doc]:
    """Sentences, one a doc, with universal parts of speech as tags too, for they are those of
    all treebanks; and morphology, lemmas and heads."""
    for doc in read_docs(path):
        for token in doc:
            token.tag_ = token.pos_
        yield doc
