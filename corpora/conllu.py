"""Universal Dependencies treebanks, in CoNLL-U, by spaCy's reader."""

from pathlib import Path
from typing import Iterator

from spacy.tokens import Doc
from spacy.training.converters import conllu_to_docs


def docs(path: Path) -> Iterator[Doc]:
    """Sentences, one a doc, with universal parts of speech as tags too, for they are those of
    all treebanks; and morphology, lemmas and heads."""
    for doc in conllu_to_docs(path.read_text(encoding="utf8"), n_sents=1, no_print=True):
        for token in doc:
            token.tag_ = token.pos_
        yield doc
