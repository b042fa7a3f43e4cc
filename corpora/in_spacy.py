"""Corpora in any of the formats here, as spaCy's docs and files."""

from pathlib import Path
from typing import Dict, Iterable, Iterator, Optional

import spacy
from spacy.tokens import Doc, DocBin

from . import columns, conllu, edos, emotions, folders, messages, offsets


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
    return save(docs(sentences), path)


def save(made: Iterable[Doc], path: Path) -> int:
    """Write docs in spaCy's binary format. RETURNS how many."""
    kept = DocBin(docs=made)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept.to_disk(path)
    return len(kept)


def write_folder(
    folder: Path, out: Path, limit: Optional[int] = None, seed: int = 0, task: str = "A"
) -> Dict[str, int]:
    """Write train.spacy, dev.spacy and test.spacy. RETURNS how many docs each has.

    folder, task: see `splits`. limit: so many docs of train, drawn at random from all of them;
    seed: of the draw. Raises FileNotFoundError for a folder that is in no format.
    """
    sizes = {}
    for split, of_split in splits(folder, task).items():
        made = folders.sample(list(of_split), limit if split == "train" else None, seed)
        sizes[split] = save(made, out / f"{split}.spacy")
    return sizes


def splits(folder: Path, task: str = "A") -> Dict[str, Iterable[Doc]]:
    """The docs of each split of a folder.

    folder: a file for each split, with its name in theirs, in one of these formats, found by
    what is there: *.conllu; *.jsonl of texts and spans; texts with ids of labels, beside a
    labels.txt; texts with the two labels of EDOS, of which task "A" or "C" is taken; or columns
    of tokens and tags. Or one *.tsv of labelled texts, which is split.
    """
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) == 1:
        return dict(messages.docs(tables[0]))
    return {split: _docs(path, task) for split, path in folders.files(folder).items()}


def _docs(path: Path, task: str) -> Iterable[Doc]:
    if path.suffix == ".conllu":
        return conllu.docs(path)
    if path.suffix == ".jsonl":
        return offsets.docs(path)
    if (path.parent / emotions.LABELS).exists():
        return emotions.docs(path)
    with path.open(encoding="utf8") as lines:
        first = next((line for line in lines if line.strip()), "").split("\t")
    if len(first) == 3 and first[1] in (edos.SEXIST, edos.NOT_SEXIST):
        return edos.docs(path, task)
    return docs(columns.read(path))
