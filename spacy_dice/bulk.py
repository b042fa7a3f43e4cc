"""`python -m spacy_dice.bulk MODEL IN OUT`: `spacy dice bulk` without spaCy's command line."""

import sys

from dice_bulk.command import main

if __name__ == "__main__":
    sys.exit(main("python -m spacy_dice.bulk"))
