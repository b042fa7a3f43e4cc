"""What the short spaCy scripts have in common: their options, a corpus, and a loop of updates."""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Optimizer, fix_random_seed

from corpora import folders, generated, in_spacy

# Small, for a CPU and a few hundred examples.
NETWORK = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 64,
    "depth": 2,
    "embed_size": 2000,
    "window_size": 1,
    "maxout_pieces": 3,
    "subword_features": True,
}


def parse(description: Any, argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The options of a script."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add = parser.add_argument
    add(
        "--data", type=Path, help="a folder with train, dev and test; else a small generated corpus"
    )
    add("--size", type=int, default=300, help="training examples, drawn by the seed")
    add("--steps", type=int, default=200, help="updates, of batches of 32")
    add("--learning-rate", type=float, default=0.003)
    add("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    fix_random_seed(args.seed)
    return args


def load(args: argparse.Namespace) -> Dict[str, List[Doc]]:
    """The docs of train and test, with what their file says of them. The generated ones have
    entities, a category for each kind of entity, and tags of how a word looks."""
    folder = args.data or generated.write(Path(tempfile.mkdtemp()))
    docs = {split: list(found) for split, found in in_spacy.splits(folder).items()}
    docs["train"] = folders.sample(docs["train"], args.size, args.seed)
    if args.data is None:
        kinds = {ent.label_ for doc in docs["train"] for ent in doc.ents}
        for doc in (doc for split in docs.values() for doc in split):
            doc.cats = {k: float(any(e.label_ == k for e in doc.ents)) for k in sorted(kinds)}
            for token in doc:
                number, name = token.is_digit, token.is_title
                token.tag_ = "NUM" if number else "NAME" if name else "WORD"
    return docs


def examples(nlp: Language, docs: List[Doc]) -> List[Example]:
    """Gold docs, each combined with one without annotation."""
    return [Example(Doc(nlp.vocab, words=[t.text for t in doc]), doc) for doc in docs]


def update(nlp: Language, optimizer: Optimizer, train: List[Example], args: Any) -> None:
    """So many updates, on batches drawn by the seed."""
    rng, done = random.Random(args.seed), 0
    optimizer.learn_rate = args.learning_rate
    while done < args.steps:
        for batch in minibatch(rng.sample(train, len(train)), 32):
            nlp.update(batch, sgd=optimizer, drop=0.2)
            done += 1
            if done == args.steps:
                break


def blank() -> Language:
    return spacy.blank("en")
