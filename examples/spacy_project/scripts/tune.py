"""Moves the cut of each label on dev, and saves the pipeline: MODEL DEV OUT."""

import sys

import spacy
from spacy.training import Corpus

import spacy_dice


def main(model: str, dev: str, out: str) -> None:
    nlp = spacy.load(model)
    print(spacy_dice.tune(nlp, list(Corpus(dev)(nlp))))
    nlp.to_disk(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
