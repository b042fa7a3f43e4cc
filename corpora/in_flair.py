"""Columns of tokens and BIO tags as a corpus of Flair."""

from pathlib import Path
from typing import Dict, Iterable, List, Optional

from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset

from . import columns, folders


def corpus(files: Dict[str, Path], train_limit: Optional[int] = None, seed: int = 0) -> Corpus:
    """files: those of "train", "dev" and "test"; train_limit: so many sentences of train, drawn at
    random from all of them, None is all; seed: of the draw."""
    splits = {split: sentences(columns.read(path)) for split, path in files.items()}
    splits["train"] = folders.sample(splits["train"], train_limit, seed)
    return Corpus(**{split: FlairDatapointDataset(found) for split, found in splits.items()})


def sentences(found: Iterable[columns.Sentence], label_type: str = "ner") -> List[Sentence]:
    """Sentences with a span for each entity."""
    made = []
    for words, tags in found:
        sentence = Sentence(words)
        starts = [i for i, tag in enumerate(tags) if tag[0] == "B"]
        for start in starts:
            end = start + 1
            while end < len(tags) and tags[end] == "I" + tags[start][1:]:
                end += 1
            sentence[start:end].add_label(label_type, tags[start][2:])
        made.append(sentence)
    return made
