"""Speed of our components as ratios to the stock ones, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.components --data DIR              # training
    OMP_NUM_THREADS=1 python -m benchmarks.speed.components --data DIR --predict

DIR holds train.conll; what its sentences do not have (lemmas, heads, ...) is made of their words.
Training: processor time of each component that `use_loss` knows with DiceCE and with its stock
loss, over several epochs; the two take turns batch by batch. Prediction: that of nlp.pipe over all
texts, in turns. Each figure is the median of the ratios of the rounds, ours / theirs.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import fix_random_seed

import spacy_dice
from dice_core import columns

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=STOCK, help="components to train")
    parser.add_argument("--predict", action="store_true", help="speed of prediction instead")
    args = parser.parse_args()
    sentences = list(columns.read(args.data / "train.conll"))[: args.sentences]
    if args.predict:
        prediction(sentences, args.rounds)
    else:
        for name in args.only:
            training(name, name, sentences, args.rounds)
        if args.only == STOCK:
            training("dice_ner", "ner", sentences, args.rounds)


def training(name: str, stock: str, sentences: List[columns.Sentence], rounds: int) -> None:
    """One component with DiceCE against a stock one. The first round only warms up."""
    pair = [pipeline(name, sentences, "DiceCE"), pipeline(stock, sentences)]
    n_words = sum(len(words) for words, _ in sentences)
    seconds = []
    for turn in range(rounds + 1):
        seconds.append([0.0, 0.0])
        batches = [list(minibatch(examples(nlp, sentences), 64)) for nlp in pair]
        for number, batch in enumerate(zip(*batches)):
            for which in (0, 1) if (number + turn) % 2 else (1, 0):
                start = time.process_time()
                pair[which].update(batch[which])
                seconds[-1][which] += time.process_time() - start
    ratios = [ours / theirs for ours, theirs in seconds[1:]]
    ours, theirs = (n_words / statistics.median(of) for of in zip(*seconds[1:]))
    print(
        f"{name + ' + DiceCE / ' + stock:42} {statistics.median(ratios):5.3f}  (from "
        f"{min(ratios):.3f} to {max(ratios):.3f}; {ours:,.0f} / {theirs:,.0f} words/s)",
        flush=True,
    )


def prediction(sentences: List[columns.Sentence], rounds: int) -> None:
    tagger, dice_tagger = pipeline("tagger", sentences), pipeline("tagger", sentences, "DiceCE")
    stock, with_dice = pipeline("ner", sentences), pipeline("ner", sentences, "DiceCE")
    token = pipeline("dice_ner", sentences)
    for nlp in (stock, with_dice, token, tagger, dice_tagger):
        for _ in range(3):  # learns enough for realistic decoding
            for batch in minibatch(examples(nlp, sentences), 64):
                nlp.update(batch)
    scored = pipeline("dice_ner", sentences)
    scored.from_bytes(token.to_bytes())
    scored.get_pipe("dice_ner").cfg["spans_key"] = "scored"
    predict: Callable[[Any], float] = lambda nlp: pipe(nlp, sentences)  # noqa: E731
    compare("predict: dice_ner / stock ner", token, stock, predict, rounds)
    compare("predict: dice_ner + spans_key / dice_ner", scored, token, predict, rounds)
    compare("predict: ner + DiceCE / stock ner", with_dice, stock, predict, rounds)
    compare("predict: tagger + DiceCE / stock tagger", dice_tagger, tagger, predict, rounds)


def pipeline(name: str, sentences: List[columns.Sentence], loss: str = "") -> Any:
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(name)
    nlp.initialize(lambda: examples(nlp, sentences))
    return spacy_dice.use_loss(nlp, {name: loss}) if loss and name in STOCK else nlp


def examples(nlp: Any, sentences: List[columns.Sentence]) -> List[Example]:
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


def pipe(nlp: Any, sentences: List[columns.Sentence]) -> float:
    docs = [Doc(nlp.vocab, words=words) for words, _ in sentences]
    start = time.process_time()
    for _ in nlp.pipe(docs, batch_size=256):
        pass
    return time.process_time() - start


def compare(title: str, ours: Any, theirs: Any, measure: Callable, rounds: int) -> None:
    measured: Dict[str, List[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        measured["ours"].append(measure(ours))
        measured["theirs"].append(measure(theirs))
    ratios = [a / b for a, b in zip(measured["ours"], measured["theirs"])]
    middle = statistics.median
    print(
        f"{title:42} {middle(ratios):5.2f}  (from {min(ratios):.2f} to {max(ratios):.2f}; "
        f"{middle(measured['ours']):.2f} s / {middle(measured['theirs']):.2f} s)",
        flush=True,
    )


if __name__ == "__main__":
    main()
