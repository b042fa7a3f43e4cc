"""What several test files share."""

import re
import subprocess
import sys

import numpy
import spacy
import spacy.cli  # adds the commands
from spacy.cli._util import app
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import fix_random_seed
from typer.testing import CliRunner

from spacy_dice import use_loss

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


def pipeline(factory, data, name=None, loss=None, seed=0, **config):
    """A pipeline of one component, initialized on the examples that ``data`` gives for it, which
    trains with a loss if there is one. RETURNS it, and the examples."""
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, name=name, config=config)
    examples = data(nlp)
    nlp.initialize(lambda: examples)
    if loss is not None:
        use_loss(nlp, {name or factory: loss})
    return nlp, examples


def params(pipe):
    """All parameters of a component's model, in their order."""
    return [node.get_param(name) for node in pipe.model.walk() for name in node.param_names]


def update_gradients(nlp, name, data, **options):
    """All gradients of one update of a component, which is not applied."""
    fix_random_seed(2)
    nlp.update(data, sgd=False, **options)
    nodes = nlp.get_pipe(name).model.walk()
    return [node.get_grad(key).copy() for node in nodes for key in node.grad_names]


def assert_same_gradients(found, expected):
    """Relative to the largest of them: how much rounding adds differs from processor to
    processor, and what training makes of it grows from update to update.
    """
    assert len(found) == len(expected) > 0
    scale = max(abs(gradient).max() for gradient in expected)
    assert scale > 0
    for ours, theirs in zip(found, expected):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * scale)


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


# Hides a package from Python, and its entry points from spaCy.
HIDDEN = """
import sys, importlib.metadata as metadata
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
everything = metadata.distributions
metadata.distributions = lambda **kwargs: (
    d for d in everything(**kwargs) if d.metadata["Name"] != {distribution!r}
)
import spacy
"""


def without(package, distribution, code):
    """Run code where a package is not installed. RETURNS what it printed."""
    code = HIDDEN.format(package=package, distribution=distribution) + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_us(code):
    """The same, where this one is not."""
    check = "assert not spacy.blank('en').has_factory('dice_ner')\n"
    return without("spacy_dice", "spacy-flair-dice", check + code)
