"""Speed of our components as ratios to the stock ones, in one run.

    python -m benchmarks.speed.components --data DIR

DIR holds train.conll. Training: seconds of CPU for one epoch of updates. Prediction: of
nlp.pipe over all texts. The two of a pair take turns, and each figure is the median of its
ratios over the rounds.
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

import spacy_dice
from corpora import columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sentences = list(columns.read(args.data / "train.conll"))[: args.sentences]
    stock = pipeline("ner", sentences)
    with_ce = spacy_dice.use_loss(pipeline("ner", sentences), {"ner": spacy_dice.CrossEntropy()})
    with_dice = spacy_dice.use_loss(pipeline("ner", sentences), {"ner": spacy_dice.DiceCE()})
    token = pipeline("dice_ner", sentences)
    tagger = pipeline("tagger", sentences)
    dice_tagger = spacy_dice.use_loss(
        pipeline("tagger", sentences), {"tagger": spacy_dice.DiceCE()}
    )
    spancat, textcat = pipeline("spancat", sentences), pipeline("textcat", sentences)
    dice_spancat = spacy_dice.use_loss(
        pipeline("spancat", sentences), {"spancat": spacy_dice.DiceCE()}
    )
    dice_textcat = spacy_dice.use_loss(
        pipeline("textcat", sentences), {"textcat": spacy_dice.DiceCE()}
    )
    everything = [stock, with_ce, with_dice, token, tagger, dice_tagger]
    for nlp in everything:  # also learns enough for realistic decoding
        for _ in range(3):
            update(nlp, sentences)
    train: Callable[[Any], float] = lambda nlp: update(nlp, sentences)  # noqa: E731
    compare("train: ner + CrossEntropy / stock ner", with_ce, stock, train, args.rounds)
    compare("train: ner + DiceCE / stock ner", with_dice, stock, train, args.rounds)
    compare("train: dice_ner + DiceCE / stock ner", token, stock, train, args.rounds)
    compare("train: tagger + DiceCE / stock tagger", dice_tagger, tagger, train, args.rounds)
    compare("train: spancat + DiceCE / stock spancat", dice_spancat, spancat, train, args.rounds)
    compare("train: textcat + DiceCE / stock textcat", dice_textcat, textcat, train, args.rounds)
    predict: Callable[[Any], float] = lambda nlp: pipe(nlp, sentences)  # noqa: E731
    compare("predict: dice_ner / stock ner", token, stock, predict, args.rounds)
    scored = pipeline("dice_ner", sentences)
    scored.from_bytes(token.to_bytes())
    scored.get_pipe("dice_ner").cfg["spans_key"] = "scored"
    compare("predict: dice_ner + spans_key / dice_ner", scored, token, predict, args.rounds)
    compare("predict: ner + DiceCE / stock ner", with_dice, stock, predict, args.rounds)
    compare("predict: tagger + DiceCE / stock tagger", dice_tagger, tagger, predict, args.rounds)


def pipeline(name: str, sentences: List[columns.Sentence]) -> Any:
    from thinc.api import fix_random_seed

    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(name)
    nlp.initialize(lambda: examples(nlp, sentences))
    return nlp


def examples(nlp: Any, sentences: List[columns.Sentence]) -> List[Example]:
    made = []
    for words, tags in sentences:
        gold = Doc(nlp.vocab, words=words, ents=tags, tags=tags)
        gold.spans["sc"] = list(gold.ents)
        gold.cats = {"some": float(bool(gold.ents)), "none": float(not gold.ents)}
        made.append(Example(Doc(nlp.vocab, words=words), gold))
    return made


def update(nlp: Any, sentences: List[columns.Sentence]) -> float:
    data = examples(nlp, sentences)
    start = time.process_time()
    for batch in minibatch(data, 64):
        nlp.update(batch)
    return time.process_time() - start


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
