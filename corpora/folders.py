"""Any corpus that is a folder, in one of the formats here, as spaCy's train, dev and test."""

from itertools import islice
from pathlib import Path
from typing import Dict, Iterable, Optional

from spacy.tokens import Doc, DocBin

from . import columns, conllu, messages

SPLITS = ("train", "dev", "test")


def write(folder: Path, out: Path, limit: Optional[int] = None) -> Dict[str, int]:
    """Write train.spacy, dev.spacy and test.spacy. RETURNS how many docs each has.

    folder: a file for each split, with its name in theirs, of *.conllu or of columns of tokens
    and tags; or one *.tsv of labelled texts, which is split. limit: the first so many docs of
    train. Raises FileNotFoundError if it is neither.
    """
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for split, docs in _splits(folder).items():
        docs = list(islice(docs, limit if split == "train" else None))
        DocBin(docs=docs).to_disk(out / f"{split}.spacy")
        sizes[split] = len(docs)
    return sizes


def _splits(folder: Path) -> Dict[str, Iterable[Doc]]:
    files = [path for path in sorted(folder.iterdir()) if path.suffix != ".md"]
    of_split = {s: [path for path in files if s in path.name.lower()] for s in SPLITS}
    if all(len(paths) == 1 for paths in of_split.values()):
        return {split: _docs(path) for split, (path,) in of_split.items()}
    if len(files) == 1 and files[0].suffix == ".tsv":
        return dict(messages.docs(files[0]))
    raise FileNotFoundError(
        f"{folder} must hold one file for each of {', '.join(SPLITS)} (*.conllu, or columns of "
        "token TAB tag), or one *.tsv of label TAB text."
    )


def _docs(path: Path) -> Iterable[Doc]:
    return conllu.docs(path) if path.suffix == ".conllu" else columns.docs(columns.read(path))
