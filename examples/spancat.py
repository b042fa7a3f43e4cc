"""Spans: spaCy's own loss, and the one that is recommended.

    python -m examples.spancat --data FOLDER

Prints F1 of spans, and of each label. Watch the rare ones. One seed each: a point or two is noise.
"""

import spacy_dice
from examples.in_spacy import NETWORK, blank, examples, load, parse, update


def main(argv=None) -> None:
    args = parse(__doc__, argv)
    docs = load(args)
    for loss in (None, "auto"):
        nlp = blank()
        suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2, 3]}
        model = {"tok2vec": NETWORK}
        nlp.add_pipe("spancat", config={"suggester": suggester, "model": model})
        train, test = examples(nlp, docs["train"]), examples(nlp, docs["test"])
        optimizer = nlp.initialize(lambda train=train: train)
        if loss is not None:
            spacy_dice.use_loss(nlp, {"spancat": loss})  # all that it takes
        update(nlp, optimizer, train, args)
        scores = nlp.evaluate(test)
        labels = scores["spans_sc_per_type"] or {}
        each = ", ".join(f"{name} {100 * labels[name]['f']:.1f}" for name in sorted(labels))
        print(f"{loss or 'stock':8} F1 {100 * (scores['spans_sc_f'] or 0):5.1f} ({each})")


if __name__ == "__main__":
    main()
