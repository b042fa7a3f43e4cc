"""The torch losses and the thinc losses are the same functions: values and gradients by logits."""

import itertools
import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import flair_dice
import spacy_dice

OVERLAPS = [
    ("Dice", {"squared": True}),
    ("Dice", {"squared": False, "log": True, "smooth": 0.5}),
    ("Dice", {"squared": False, "smooth": 0.0}),
    ("SelfAdjustingDice", {"alpha": 1.0}),
    ("SelfAdjustingDice", {"alpha": 0.01}),
    ("SelfAdjustingDice", {"alpha": 0.5, "detach_weight": True, "smooth": 0.3}),
    ("SelfAdjustingDice", {"alpha": 0.0, "smooth": 0.0}),
    ("Tversky", {"alpha": 0.3, "beta": 0.7}),
    ("Tversky", {"alpha": 0.0, "beta": 2.0, "smooth": 0.1}),
]
SETS = [
    {"level": "element"},
    *(
        {"level": "batch", "average": average, "background": background}
        for average, background in itertools.product(["macro", "micro"], [None, [0]])
    ),
]
LOSSES = [
    ("CrossEntropy", {}),
    ("CrossEntropy", {"label_smoothing": 0.2}),
    ("CrossEntropy", {"class_weights": [0.5, 1.0, 2.0, 0.0]}),
    ("WeightedCrossEntropy", {"K": 2.0, "counts": [60, 25, 10, 5]}),
    ("WeightedCrossEntropy", {}),
    ("LogitAdjustedCE", {}),
    ("LogitAdjustedCE", {"tau": 0.5, "priors": [0.8, 0.1, 0.05, 0.3]}),
    ("Focal", {"gamma": 0.0}),
    ("Focal", {"gamma": 0.5}),
    ("Focal", {"gamma": 2.0}),
    ("DiceCE", {}),
    ("DiceCE", {"average": "micro", "class_weights": "balanced"}),
    ("DiceCE", {"weight": 0.3, "average": "macro", "log": True, "background": 0}),
    *((name, {**options, **how}) for name, options in OVERLAPS for how in SETS),
]
N_CLASSES = 4
# Of sigmoids alone.
SIGMOIDS = [
    ("CrossEntropy", {"pos_weight": [1.0, 3.0, 0.5, 2.0]}),
    ("Focal", {"alpha": 0.25}),
    ("AsymmetricLoss", {}),
    ("AsymmetricLoss", {"gamma_negative": 0.0, "clip": 0.0}),
]
CASES = [(*loss, activation) for loss in LOSSES for activation in ("softmax", "sigmoid")]
CASES += [(*loss, "sigmoid") for loss in SIGMOIDS]
IDS = ["-".join(map(str, case)) for case in CASES]


def ours(name, options, activation, dtype=torch.float64):
    """A function of (logits, rows, mask) to value and gradient, by torch."""

    def run(z, y, mask=None):
        loss = getattr(flair_dice, name)(**options, activation=activation, reduction="sum")
        z = torch.tensor(z, dtype=dtype, requires_grad=True)
        mask = None if mask is None else torch.tensor(mask)
        value = loss(z, torch.tensor(y), mask)
        value.backward()
        return value.item(), z.grad.double().numpy()

    return run


def theirs(name, options, activation):
    """The same by thinc, from probabilities; what is masked is NaN there."""

    def run(z, y, mask=None):
        loss = getattr(spacy_dice, name)(**options, activation=activation)
        if mask is not None:
            mask = mask[:, None] if mask.ndim == 1 else mask
            y = numpy.where(mask, y, numpy.nan)
        gradient, value = loss(probabilities(z, activation), y)
        return value, gradient

    return run


def probabilities(z, activation):
    z = torch.tensor(z, dtype=torch.float64)
    return (z.sigmoid() if activation == "sigmoid" else z.softmax(dim=1)).numpy()


def agree(name, options, activation, *batch):
    value, gradient = ours(name, options, activation)(*batch)
    their_value, their_gradient = theirs(name, options, activation)(*batch)
    assert value == pytest.approx(their_value, rel=1e-6, abs=1e-9)
    assert_allclose(gradient, their_gradient, rtol=1e-6, atol=1e-9)


@st.composite
def batches(draw):
    """Logits, rows of one-hot, multi-hot or soft targets, and no mask, of rows or of cells."""
    n = draw(st.integers(1, 6))
    rng = numpy.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Beyond that a float64 probability next to 1 has lost what makes (1-p)^alpha exact to 1e-6.
    z = rng.uniform(-1, 1, size=(n, N_CLASSES)) * draw(st.sampled_from([0.1, 2.0, 8.0, 12.0]))
    kind = draw(st.sampled_from(["one-hot", "multi-hot", "soft"]))
    if kind == "one-hot":
        y = numpy.eye(N_CLASSES)[rng.integers(0, N_CLASSES - draw(st.integers(0, 3)), size=n)]
    elif kind == "multi-hot":
        y = (rng.random((n, N_CLASSES)) < 0.4).astype(float)
    else:
        y = rng.dirichlet(numpy.ones(N_CLASSES), size=n)
    shape = draw(st.sampled_from([None, (n,), (n, N_CLASSES)]))
    return z, y, None if shape is None else rng.random(shape) < 0.7


@pytest.mark.parametrize("name, options, activation", CASES, ids=IDS)
@settings(max_examples=20, deadline=None)
@given(batch=batches())
def test_random_batches(name, options, activation, batch):
    agree(name, options, activation, *batch)


@pytest.mark.fast
@pytest.mark.parametrize("name, options, activation", CASES, ids=IDS)
def test_ends(name, options, activation):
    """p in {0, 1e-30, 0.5, 1 - 1e-7, 1}, for gold and for other classes."""
    ends = [-800.0, math.log(1e-30), 0.0, math.log(1e7), 800.0]
    z = numpy.asarray([[a, b, 0.0, -1.0] for a in ends for b in (0.0, a, -a)])
    for gold in range(N_CLASSES):
        y = numpy.eye(N_CLASSES)[[gold] * len(z)]
        value, gradient = ours(name, options, activation)(z, y)
        their_value, their_gradient = theirs(name, options, activation)(z, y)
        assert_allclose(gradient, their_gradient, rtol=1e-6, atol=1e-6)
        if activation == "softmax" or name in ("Dice", "SelfAdjustingDice", "Tversky"):
            assert value == pytest.approx(their_value, rel=1e-6)
            continue
        # log(1-p) is known from logits, but not from a p that rounds to 1: thinc's value stops
        # at the log of the smallest float there. So values are compared where p does not.
        below = probabilities(z, activation).max(axis=1) < 1
        value, _ = ours(name, options, activation)(z[below], y[below])
        their_value, _ = theirs(name, options, activation)(z[below], y[below])
        assert value == pytest.approx(their_value, rel=1e-6)


@pytest.mark.parametrize("name, options, activation", CASES, ids=IDS)
def test_narrow_types(name, options, activation):
    """float16 and bfloat16 logits are read exactly; what comes back is rounded to their type."""
    rng = numpy.random.default_rng(0)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        z = torch.tensor(rng.normal(size=(20, N_CLASSES)) * 3).to(dtype).double().numpy()
        y = numpy.eye(N_CLASSES)[rng.integers(0, 3, size=20)]
        value, gradient = ours(name, options, activation, dtype)(z, y)
        their_value, their_gradient = theirs(name, options, activation)(z, y)
        assert value == pytest.approx(their_value, rel=1e-5)  # computed in float32
        # The rounding of the type, and of float32 sums for entries next to 0.
        assert_allclose(gradient, their_gradient, rtol=max(torch.finfo(dtype).eps, 2e-5), atol=2e-6)


TAGS = ["O", "B-X", "I-X", "L-X", "U-X", "B-Y", "I-Y", "L-Y", "U-Y"]
DOCS = [["B-X", "I-X", "L-X", "O"], ["U-Y"], [], ["O", "B-Y", "L-Y", "U-X", "O"]]


@pytest.mark.parametrize("missing", [(), (1,), (0, 7)])
@pytest.mark.parametrize("options", [{}, {"beta": 2.0}, {"log": True}, {"smooth": 0.0}])
def test_entity_dice(options, missing):
    rng = numpy.random.default_rng(0)
    tags = [tag for doc in DOCS for tag in doc]
    lengths = [len(doc) for doc in DOCS]
    for spread in (0.5, 2.0, 6.0):
        z = rng.normal(size=(len(tags), len(TAGS))) * spread
        logits = torch.tensor(z, requires_grad=True)
        loss = flair_dice.EntityDice(names=TAGS, reduction="sum", **options)
        mask = torch.tensor([row not in missing for row in range(len(tags))])
        value = loss(logits, torch.tensor([TAGS.index(t) for t in tags]), mask, lengths)
        value.backward()
        ends = numpy.cumsum(lengths)
        p = [probabilities(z, "softmax")[e - n : e] for e, n in zip(ends, lengths)]
        truths = [None if row in missing else tag for row, tag in enumerate(tags)]
        truths = [truths[e - n : e] for e, n in zip(ends, lengths)]
        gradient, their_value = spacy_dice.EntityDice(names=TAGS, **options)(p, truths)
        assert value.item() == pytest.approx(their_value, rel=1e-9)
        assert_allclose(logits.grad, numpy.concatenate(gradient), rtol=1e-6, atol=1e-9)


def test_running_counts():
    """Of three batches, one after another."""
    rng = numpy.random.default_rng(0)
    torch_loss = flair_dice.WeightedCrossEntropy(reduction="sum")
    thinc_loss = spacy_dice.WeightedCrossEntropy()
    for _ in range(3):
        z, gold = rng.normal(size=(9, 3)), rng.integers(0, 3, size=9)
        value = torch_loss(torch.tensor(z, requires_grad=True), torch.tensor(gold))
        expected = thinc_loss.get_loss(probabilities(z, "softmax"), gold)
        assert value.item() == pytest.approx(expected, rel=1e-9)


def test_compound_of_all():
    """Names, parameters and defaults are the same in both packages."""
    terms = ["CrossEntropy", "Focal", "Dice", "SelfAdjustingDice", "Tversky", "DiceCE"]
    terms += ["WeightedCrossEntropy"]
    rng = numpy.random.default_rng(0)
    z, gold = rng.normal(size=(9, 3)), rng.integers(0, 3, size=9)
    weights = {name: 0.5 + i for i, name in enumerate(terms)}
    compounds = [
        package.Compound({name: getattr(package, name)() for name in terms}, weights)
        for package in (flair_dice, spacy_dice)
    ]
    compounds[0].reduction = "sum"
    value = compounds[0](torch.tensor(z), torch.tensor(gold)).item()
    expected = compounds[1].get_loss(probabilities(z, "softmax"), gold)
    assert value == pytest.approx(expected, rel=1e-9)
