"""Texts with any number of labels: spaCy's own loss, and the one that is recommended.

    python -m examples.textcat_multilabel --data FOLDER

Prints the mean F1 over labels, at a threshold of 0.5 and with thresholds that are tuned. One seed
each: a point or two is noise.
"""

import spacy_dice
from examples.in_spacy import NETWORK, blank, examples, load, parse, update

MODEL = {
    "@architectures": "spacy.TextCatReduce.v1",
    "exclusive_classes": False,
    "use_reduce_first": False,
    "use_reduce_last": False,
    "use_reduce_max": True,
    "use_reduce_mean": True,
    "tok2vec": NETWORK,
}


def main(argv=None) -> None:
    args = parse(__doc__, argv)
    docs = load(args)
    for loss in (None, "auto"):
        nlp = blank()
        nlp.add_pipe("textcat_multilabel", config={"model": MODEL})
        train, test = examples(nlp, docs["train"]), examples(nlp, docs["test"])
        optimizer = nlp.initialize(lambda train=train: train)
        if loss is not None:
            spacy_dice.use_loss(nlp, {"textcat_multilabel": loss})  # all that it takes
        update(nlp, optimizer, train, args)
        scores = nlp.evaluate(test)
        spacy_dice.tune(nlp, examples(nlp, docs["dev"]))
        tuned = nlp.evaluate(examples(nlp, docs["test"]))
        print(
            f"{loss or 'stock':8} macro F1 {100 * scores['cats_macro_f']:5.1f}, "
            f"tuned {100 * tuned['cats_macro_f']:5.1f}"
        )


if __name__ == "__main__":
    main()
