"""Entities: stock ner, and dice_ner with cross-entropy and with DiceCE.

    python -m examples.ner --data FOLDER

Prints precision, recall and F1. One seed each: a point or two is noise.
"""

from examples.in_spacy import NETWORK, blank, examples, load, parse, update

COMPONENTS = {
    "ner": ("ner", {}),
    "dice_ner, CrossEntropy": ("dice_ner", {"loss": {"@losses": "spacy_dice.CrossEntropy.v1"}}),
    "dice_ner, DiceCE": ("dice_ner", {"loss": {"@losses": "spacy_dice.DiceCE.v1"}}),
}


def main(argv=None) -> None:
    args = parse(__doc__, argv)
    docs = load(args)
    for name, (factory, config) in COMPONENTS.items():
        nlp = blank()
        nlp.add_pipe(factory, config={**config, "model": {"tok2vec": NETWORK}})
        train, test = examples(nlp, docs["train"]), examples(nlp, docs["test"])
        optimizer = nlp.initialize(lambda train=train: train)
        update(nlp, optimizer, train, args)
        scores = nlp.evaluate(test)
        p, r, f = (100 * (scores[f"ents_{which}"] or 0) for which in "prf")
        print(f"{name:24} P {p:5.1f}  R {r:5.1f}  F1 {f:5.1f}")


if __name__ == "__main__":
    main()
