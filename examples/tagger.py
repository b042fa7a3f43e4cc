"""Tags: stock, with class weights, and with DiceCE. Nothing is gained in accuracy.

    python -m examples.tagger --data FOLDER

Prints the share of tokens that is right, and the mean F1 over tags. "Balanced" weights rare tags
more: if you want those, take it; if you want accuracy, stay with stock.
"""

from collections import Counter

import spacy_dice
from examples.in_spacy import NETWORK, blank, examples, load, parse, update

LOSSES = {
    "stock": None,
    "balanced": {"name": "CrossEntropy", "class_weights": "balanced"},
    "DiceCE": "DiceCE",
}


def main(argv=None) -> None:
    args = parse(__doc__, argv)
    docs = load(args)
    for name, loss in LOSSES.items():
        nlp = blank()
        nlp.add_pipe("tagger", config={"model": {"tok2vec": NETWORK}})
        train, test = examples(nlp, docs["train"]), examples(nlp, docs["test"])
        optimizer = nlp.initialize(lambda train=train: train)
        if loss is not None:
            spacy_dice.use_loss(nlp, {"tagger": loss})
        update(nlp, optimizer, train, args)
        accuracy, f1 = nlp.evaluate(test)["tag_acc"], mean_f1(nlp, docs["test"])
        print(f"{name:10} accuracy {100 * accuracy:5.1f}, mean F1 {100 * f1:5.1f}")


def mean_f1(nlp, gold_docs) -> float:
    """Of all tags that are in the gold data."""
    hits, found, gold = Counter(), Counter(), Counter()
    for eg in examples(nlp, gold_docs):
        for token, truth in zip(nlp(eg.predicted), eg.reference):
            found[token.tag_] += 1
            gold[truth.tag_] += 1
            hits[truth.tag_] += token.tag_ == truth.tag_
    return sum(2 * hits[tag] / (found[tag] + gold[tag]) for tag in gold) / len(gold)


if __name__ == "__main__":
    main()
