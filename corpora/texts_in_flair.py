"""Texts with any number of labels each as a corpus of Flair."""

from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset

from . import emotions, folders

LABEL_TYPE = "class"


def corpus(files: Dict[str, Path], train_limit: Optional[int] = None, seed: int = 0) -> Corpus:
    """files: those of "train", "dev" and "test", in the format of `corpora.emotions`; train_limit:
    so many texts of train, drawn at random from all of them, None is all; seed: of the draw."""
    splits = {split: list(emotions.read(path)) for split, path in files.items()}
    splits["train"] = folders.sample(splits["train"], train_limit, seed)
    return Corpus(**{split: FlairDatapointDataset(sentences(of)) for split, of in splits.items()})


def sentences(found: Iterable[Tuple[str, List[str]]]) -> List[Sentence]:
    """A sentence for each text, with its labels."""
    made = []
    for text, labels in found:
        sentence = Sentence(text)
        for label in labels:
            sentence.add_label(LABEL_TYPE, label)
        made.append(sentence)
    return made
