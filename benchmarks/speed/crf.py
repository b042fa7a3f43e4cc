"""What a loss over a CRF's marginals costs, as ratios to Flair's ViterbiLoss, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.crf

Seconds of CPU of a SequenceTagger's loss and its backward pass from the emissions of its last
layer, CRF included: Flair's own tagger against one with `flair_dice.use_loss`. The two of a pair
take turns, and each figure is the median of its ratios.
"""

import argparse
import logging
from typing import Any, Callable, Dict, List

import flair
import torch
from flair.data import Dictionary, Sentence
from flair.embeddings import TokenEmbeddings
from flair.models import SequenceTagger

import flair_dice

from .timing import measure_pair, show

LOSSES: Dict[str, Any] = {
    "CrossEntropy": "CrossEntropy",
    "DiceCE": "DiceCE",
    "CrossEntropy + EntityDice": {"name": "Compound", "losses": ["CrossEntropy", "EntityDice"]},
}
WIDTH = 64


class RandomEmbeddings(TokenEmbeddings):
    """A random vector for each token, at no cost."""

    def __init__(self) -> None:
        self.name = "random"
        super().__init__()

    @property
    def embedding_length(self) -> int:
        return WIDTH

    @property
    def embedding_type(self) -> str:
        return "word-level"

    def _add_embeddings_internal(self, sentences: List[Sentence]) -> None:
        for token in (token for sentence in sentences for token in sentence):
            token.set_embedding(self.name, torch.randn(WIDTH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--types", type=int, default=6, help="entity types; tags are 4 each + 3")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    flair.device = torch.device("cpu")
    logging.getLogger("flair").setLevel(logging.WARNING)
    sentences = annotated(args.batch, args.length, args.types)
    stock = loss_of(tagger(args.types), sentences)
    print(f"B {args.batch}, L {args.length}, {4 * args.types + 3} tags, one thread")
    for name, loss in LOSSES.items():
        ours = loss_of(flair_dice.use_loss(tagger(args.types), loss), sentences)
        show(f"{name} / ViterbiLoss", measure_pair((ours, stock), args.rounds))


def annotated(n: int, length: int, n_types: int) -> List[Sentence]:
    """Sentences of half the length to all of it, in which each third token is an entity."""
    made = []
    for number in range(n):
        size = length - number * (length // 2) // n
        sentence = Sentence(["word"] * size)
        for i in range(0, size, 3):
            sentence[i : i + 1].add_label("ner", f"T{(number + i) % n_types}")
        made.append(sentence)
    return made


def tagger(n_types: int) -> SequenceTagger:
    """A tagger with a CRF on a linear layer."""
    flair.set_seed(0)
    types = Dictionary(add_unk=False)
    for i in range(n_types):
        types.add_item(f"T{i}")
    types.span_labels = True
    return SequenceTagger(
        RandomEmbeddings(), types, "ner", use_rnn=False, use_crf=True, tag_format="BIOES"
    )


def loss_of(model: SequenceTagger, sentences: List[Sentence]) -> Callable[[], Any]:
    """The loss, and its backward pass, from the vectors of sentences on."""
    model.train()
    model.embeddings.embed(sentences)

    def run() -> None:
        model.zero_grad()
        model.forward_loss(sentences)[0].backward()

    return run


if __name__ == "__main__":
    main()
