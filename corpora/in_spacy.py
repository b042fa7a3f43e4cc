"""Corpora in any of the formats here, as spaCy's docs and files."""

from itertools import islice
from pathlib import Path
from typing import Dict, Iterable, Iterator, Optional

import spacy
from spacy.tokens import Doc, DocBin

from . import columns, conllu, folders, messages


def docs(sentences: Iterable[columns.Sentence]) -> Iterator[Doc]:
    """Sentences, one a doc, with their entities in doc.ents and, for spancat, in
    doc.spans["sc"]."""
    vocab = spacy.blank("en").vocab
    for words, tags in sentences:
        doc = Doc(vocab, words=words, ents=tags)
        doc.spans["sc"] = list(doc.ents)
        yield doc


def write(sentences: Iterable[columns.Sentence], path: Path) -> int:
    """Write sentences, one a doc, in spaCy's binary format. RETURNS how many."""
    made = DocBin(docs=docs(sentences))
    path.parent.mkdir(parents=True, exist_ok=True)
    made.to_disk(path)
    return len(made)


def write_folder(folder: Path, out: Path, limit: Optional[int] = None) -> Dict[str, int]:
    """Write train.spacy, dev.spacy and test.spacy. RETURNS how many docs each has.

    folder: a file for each split, with its name in theirs, of *.conllu or of columns of tokens
    and tags; or one *.tsv of labelled texts, which is split. limit: the first so many docs of
    train. Raises FileNotFoundError for a folder
    that is neither.
    """
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for split, of_split in splits(folder).items():
        made = list(islice(of_split, limit if split == "train" else None))
        DocBin(docs=made).to_disk(out / f"{split}.spacy")
        sizes[split] = len(made)
    return sizes


def splits(folder: Path) -> Dict[str, Iterable[Doc]]:
    """The docs of each split of a folder as `write_folder` takes it."""
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) == 1:
        return dict(messages.docs(tables[0]))
    return {split: _docs(path) for split, path in folders.files(folder).items()}


def _docs(path: Path) -> Iterable[Doc]:
    return conllu.docs(path) if path.suffix == ".conllu" else docs(columns.read(path))
