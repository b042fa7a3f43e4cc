"""Heads are read from models, and a gradient put through each head is the loss's own."""

import numpy
import pytest
from numpy.testing import assert_allclose
from spacy.ml.models.tagger import build_tagger_model
from thinc.api import (
    Linear,
    Logistic,
    Maxout,
    Sigmoid,
    Softmax,
    Softmax_v2,
    chain,
    glorot_uniform_init,
    sigmoid_activation,
    softmax_activation,
    with_array,
    with_cpu,
)

from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss, CrossEntropy, Dice, DiceCE
from dice_core.targets import from_ids
from spacy_dice.heads import Head, emits_logits, find_head
from spacy_dice.losses import compute
from spacy_tests.helpers import numeric_gradient

pytestmark = pytest.mark.fast

HEADS = {
    "softmax": (lambda: Softmax(3, 4, init_W=glorot_uniform_init), Head("softmax", "logits")),
    "softmax_v2": (
        lambda: Softmax_v2(3, 4, init_W=glorot_uniform_init, temperature=2.0),
        Head("softmax", "logits"),
    ),
    "sigmoid": (lambda: Sigmoid(3, 4), Head("sigmoid", "probabilities")),
    "logistic": (lambda: chain(Linear(3, 4), Logistic()), Head("sigmoid", "probabilities")),
    "sigmoid_activation": (
        lambda: chain(Linear(3, 4), sigmoid_activation()),
        Head("sigmoid", "probabilities"),
    ),
    "softmax_activation": (
        lambda: chain(Linear(3, 4), softmax_activation()),
        Head("softmax", "probabilities"),
    ),
    "wrapped": (
        lambda: chain(Linear(4, 4), with_array(with_cpu(Softmax(3, 4), None))),
        Head("softmax", "logits"),
    ),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "loss", [CrossEntropy(), Dice(level="batch"), DiceCE()], ids=lambda x: type(x).__name__
)
def test_gradient_through_each_head_is_numeric(name, loss):
    """d loss / d X, backpropagated by the model, against finite differences on its input."""
    make, expected = HEADS[name]
    model = make()
    assert find_head(model, "x") == expected
    X = numpy.random.default_rng(0).normal(size=(6, 4)).astype("f")
    model.initialize(X=X)
    targets = lambda Y: from_ids([0, 1, 2, 0, 1, 1], 3, LabelSpec("x"), Y)  # noqa: E731

    def value(X):
        Y = model.predict(X).astype("float64")
        return compute(BoundLoss(loss), Y, targets(Y), expected)[1]

    Y, backprop = model.begin_update(X)
    dX = backprop(compute(BoundLoss(loss), Y, targets(Y), expected)[0])
    numeric = numeric_gradient(value, X, h=1e-2)
    assert_allclose(dX, numeric, rtol=2e-2, atol=2e-3)


def test_taggers_emit_logits_unless_normalised():
    assert emits_logits(build_tagger_model(Linear(4, 4), 3), "x")
    assert not emits_logits(build_tagger_model(Linear(4, 4), 3, normalize=True), "x")


def test_a_head_without_probabilities_is_refused_by_name():
    with pytest.raises(ValueError, match="Component 'my_pipe'.*last layer is 'maxout'"):
        find_head(chain(Linear(4, 4), Maxout(3, 4)), "my_pipe")
