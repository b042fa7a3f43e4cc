"""Speed of our components as ratios to the stock ones, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.components [--data DIR]
    OMP_NUM_THREADS=1 python -m benchmarks.speed.components [--data DIR] --predict

DIR is a corpus of entities in a format of `corpora.in_spacy`, without it sentences are generated;
what they do not have (lemmas, heads, ...) is made of their words. Training: processor time of each
component with `use_loss` and DiceCE and with its stock loss, over all batches. Prediction: that of
nlp.pipe over all texts. The two of a pair take turns; each figure is the median of the ratios of
the rounds, ours / theirs.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import NumpyOps, fix_random_seed, get_current_ops

import spacy_dice
from corpora import generated, in_spacy

from .timing import Clock, measure_pair, show

STOCK = (
    "tagger",
    "morphologizer",
    "senter",
    "trainable_lemmatizer",
    "ner",
    "parser",
    "textcat",
    "textcat_multilabel",
    "spancat",
    "spancat_singlelabel",
    "span_finder",
)
Sentence = Tuple[List[str], List[str]]  # words and BIO tags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=(*STOCK, "dice_ner"), help="components")
    parser.add_argument("--gpu-id", type=int, default=-1, help="-1 is the CPU")
    parser.add_argument("--predict", action="store_true", help="speed of prediction instead")
    args = parser.parse_args()
    clock = time.process_time
    if args.gpu_id >= 0:
        spacy.require_gpu(args.gpu_id)
        clock = time.perf_counter
    sentences = read(args.data)[: args.sentences]
    if args.predict:
        prediction(sentences, args.rounds)
    else:
        for name in args.only:
            training(name, sentences, args.rounds, clock)


def read(data: Optional[Path]) -> List[Sentence]:
    """The training sentences of a corpus, or generated ones."""
    with tempfile.TemporaryDirectory() as folder:
        docs = list(in_spacy.splits(data or generated.write(Path(folder)))["train"])
    return [
        (
            [token.text for token in doc],
            [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc],
        )
        for doc in docs
    ]


def training(name: str, sentences: List[Sentence], rounds: int, clock: Clock) -> None:
    """One component with DiceCE against the stock one; dice_ner against ner."""
    stock = "ner" if name == "dice_ner" else name
    pair = updates(name, sentences, "DiceCE"), updates(stock, sentences)
    show(f"{name} + DiceCE / {stock}", measure_pair(pair, rounds, clock=clock))


def updates(name: str, sentences: List[Sentence], loss: str = "") -> Callable[[], None]:
    """A pass over all sentences with a component that is trained by it."""
    nlp = pipeline(name, sentences, loss)

    def run() -> None:
        for batch in minibatch(examples(nlp, sentences), 64):
            nlp.update(batch)
        wait()

    return run


def wait() -> None:
    """Wait until the GPU, if there is one, is done."""
    ops = get_current_ops()
    if not isinstance(ops, NumpyOps):
        ops.xp.cuda.runtime.deviceSynchronize()


def prediction(sentences: List[Sentence], rounds: int) -> None:
    """dice_ner, and ner with DiceCE, against stock ner; all trained for a few updates."""
    runs = {}
    for name, loss in (("dice_ner", ""), ("ner", "DiceCE"), ("ner", "")):
        nlp = pipeline(name, sentences, loss)
        for _ in range(3):  # learns enough for realistic decoding
            for batch in minibatch(examples(nlp, sentences), 64):
                nlp.update(batch)
        runs[f"{name} + {loss}" if loss else name] = pipe(nlp, sentences)
    for ours in ("dice_ner", "ner + DiceCE"):
        show(f"predict: {ours} / stock ner", measure_pair((runs[ours], runs["ner"]), rounds))


def pipeline(name: str, sentences: List[Sentence], loss: str = "") -> Any:
    """An initialized pipeline of one component."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(name)
    nlp.initialize(lambda: examples(nlp, sentences))
    return spacy_dice.use_loss(nlp, {name: loss}) if loss and name in STOCK else nlp


def examples(nlp: Any, sentences: List[Sentence]) -> List[Example]:
    """Sentences with annotation for every component."""
    made = []
    for words, tags in sentences:
        # Three by three, words hang on the one in the middle, and that on the next of its kind.
        root = max((i for i in range(len(words)) if i % 3 == 1), default=0)
        heads = [min((i + 1, i + 3, i - 1)[i % 3], root) for i in range(len(words))]
        gold = Doc(
            nlp.vocab,
            words=words,
            ents=tags,
            tags=tags,
            pos=["NOUN" if word[:1].isupper() else "VERB" for word in words],
            morphs=["Number=Plur" if word.endswith("s") else "Number=Sing" for word in words],
            lemmas=[word.lower().rstrip("s") or word for word in words],
            heads=heads,
            deps=["ROOT" if i == h else "left" if i < h else "right" for i, h in enumerate(heads)],
        )
        gold.spans["sc"] = list(gold.ents)
        gold.cats = {"some": float(bool(gold.ents)), "none": float(not gold.ents)}
        made.append(Example(Doc(nlp.vocab, words=words), gold))
    return made


def pipe(nlp: Any, sentences: List[Sentence]) -> Callable[[], None]:
    """A pass of nlp.pipe over all sentences."""

    def run() -> None:
        docs = [Doc(nlp.vocab, words=words) for words, _ in sentences]
        for _ in nlp.pipe(docs, batch_size=256):
            pass

    return run


if __name__ == "__main__":
    main()
