"""Pairs of texts as a corpus of Flair."""

from pathlib import Path
from typing import Iterable, List, Optional

from flair.data import Corpus, Sentence, TextPair
from flair.datasets import FlairDatapointDataset

from spacy_dice import pairs

LABEL_TYPE = "paraphrase"


def corpus(train: Path, dev: Path, test: Path, train_limit: Optional[int] = None) -> Corpus:
    """Files in any format of `spacy_dice.pairs.read`; train_limit: pairs of train, None is all."""
    splits = {"train": pairs.read(train)[:train_limit]}
    splits.update(dev=pairs.read(dev), test=pairs.read(test))
    made = {name: FlairDatapointDataset(text_pairs(found)) for name, found in splits.items()}
    return Corpus(**made)


def text_pairs(found: Iterable[pairs.TextPair]) -> List[TextPair]:
    """Pairs labelled "1" or "0"."""
    made = []
    for first, second, label in found:
        pair = TextPair(Sentence(first), Sentence(second))
        pair.add_label(LABEL_TYPE, label)
        made.append(pair)
    return made
