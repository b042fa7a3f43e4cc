"""What the tests of the command line share."""

import re


def paths(folder):
    """The arguments that name a folder's corpus."""
    return ("--paths.train", folder / "train.spacy", "--paths.dev", folder / "dev.spacy")


def scores(output):
    """The main score of each evaluation, from what `spacy train` prints."""
    rows = [line.split() for line in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", line)]
    return [float(row[-1]) for row in rows]
