"""What several test files share."""

import re

import numpy
import spacy.cli  # noqa: F401 (adds the commands)
from spacy.cli._util import app
from spacy.tokens import Doc
from spacy.training import Example
from typer.testing import CliRunner

# Sentences with BILUO tags; "-" would be a missing one.
NER_SENTENCES = [
    ("I like New York City and Bob .", "O O B-LOC I-LOC L-LOC O U-PER O"),
    ("Ann Lee met Bob in Rome", "B-PER L-PER O U-PER O U-LOC"),
    ("nothing happened here today", "O O O O"),
    ("", ""),
    ("Rome", "U-LOC"),
]

# A small one, for models that are written out.
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}


def ner_examples(nlp, sentences=NER_SENTENCES):
    return [
        Example.from_dict(Doc(nlp.vocab, words=words.split()), {"entities": tags.split()})
        for words, tags in sentences
    ]


def params(pipe):
    """All parameters of a component's model, in their order."""
    return [node.get_param(name) for node in pipe.model.walk() for name in node.param_names]


def numeric_gradient(f, x, h=1e-6):
    """Central differences of f, a function of an array, at x."""
    gradient = numpy.zeros_like(x)
    for index in numpy.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        gradient[index] = (f(up) - f(down)) / (2 * h)
    return gradient


def paths(folder):
    """The arguments that name a folder's corpus."""
    return ("--paths.train", folder / "train.spacy", "--paths.dev", folder / "dev.spacy")


def scores(output):
    """The main score of each evaluation, from what `spacy train` prints."""
    rows = [line.split() for line in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", line)]
    return [float(row[-1]) for row in rows]


def invoke(*args):
    """Run `spacy ...` in this process: its imports take longer than what short tests train.
    RETURNS (exit status, what it printed), without the lines of evaluations, which spaCy writes to
    the standard output that there was when it was imported."""
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return done.exit_code, done.output
