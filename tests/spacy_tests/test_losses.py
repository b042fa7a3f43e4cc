"""Each loss by hand, against finite differences, and against torch's autograd."""

import math
from functools import partial

import numpy
import pytest
import torch
from numpy.testing import assert_allclose

from spacy_dice.losses import (
    AsymmetricLoss,
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    EntityDice,
    Focal,
    LogitAdjustedCE,
    SelfAdjustingDice,
    Tversky,
    WeightedCrossEntropy,
    as_thinc,
)
from spacy_tests import reference
from spacy_tests.helpers import numeric_gradient

pytestmark = pytest.mark.fast

P = numpy.asarray([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])
GOLD = [0, 2]


# -- by hand ----------------------------------------------------------------------------


CE = -math.log(0.7) - math.log(0.3)
SMOOTH = [0.9 * math.log(0.7), 0.05 * math.log(0.2), 0.05 * math.log(0.1)]
SMOOTH += [0.05 * math.log(0.2), 0.05 * math.log(0.5), 0.9 * math.log(0.3)]


@pytest.mark.parametrize(
    "loss, expected",
    [
        (CrossEntropy(), CE),
        (CrossEntropy(label_smoothing=0.1), -sum(SMOOTH)),
        (CrossEntropy(class_weights=[0.5, 1, 2]), -0.5 * math.log(0.7) - 2 * math.log(0.3)),
        (
            WeightedCrossEntropy(counts=[10, 60, 30]),
            -math.log10(9 + 3) * math.log(0.7) - math.log10(7 / 3 + 3) * math.log(0.3),
        ),
        (  # a count below 1 is taken as 1
            WeightedCrossEntropy(counts=[0, 60, 40]),
            -math.log10(99 + 3) * math.log(0.7) - math.log10(1.5 + 3) * math.log(0.3),
        ),
        # p times the share, as a part of its row's sum.
        (
            LogitAdjustedCE(priors=[0.5, 0.25, 0.25]),
            -math.log(0.35 / (0.35 + 0.05 + 0.025)) - math.log(0.075 / (0.1 + 0.125 + 0.075)),
        ),
        (
            LogitAdjustedCE(tau=0.5, priors=[0.64, 0.25, 0.01]),
            -math.log(0.56 / (0.56 + 0.1 + 0.01)) - math.log(0.03 / (0.16 + 0.25 + 0.03)),
        ),
        (Focal(), -(0.3**2) * math.log(0.7) - 0.7**2 * math.log(0.3)),
        # 2 p y + 1 over p^2 + y^2 + 1, of each cell
        (Dice(), 6 - 2.4 / 2.49 - 1 / 1.04 - 1 / 1.01 - 1 / 1.04 - 1 / 1.25 - 1.6 / 2.09),
        (Dice(squared=False), 6 - 2.4 / 2.7 - 1 / 1.2 - 1 / 1.1 - 1 / 1.2 - 1 / 1.5 - 1.6 / 2.3),
        # Focal with classes weighed; the released code's DSC, with squares below.
        (
            Focal(gamma=1.0, class_weights=[2, 1, 0.5]),
            -2 * 0.3 * math.log(0.7) - 0.5 * 0.7 * math.log(0.3),
        ),
        (
            SelfAdjustingDice(squared=True),
            6
            - 1.42 / (0.21**2 + 2)
            - 1 / (0.16**2 + 1)
            - 1 / (0.09**2 + 1)
            - 1 / (0.16**2 + 1)
            - 1 / (0.25**2 + 1)
            - 1.42 / (0.21**2 + 2),
        ),
        # (1-p) p is 0.21, 0.16, 0.09 and 0.16, 0.25, 0.21
        (
            SelfAdjustingDice(),
            6 - 1.42 / 2.21 - 1 / 1.16 - 1 / 1.09 - 1 / 1.16 - 1 / 1.25 - 1.42 / 2.21,
        ),
        (
            Tversky(alpha=0.3, beta=0.7),
            6 - 1.7 / (1.7 + 0.21) - 1 / 1.06 - 1 / 1.03 - 1 / 1.06 - 1 / 1.15 - 1.3 / (1.3 + 0.49),
        ),
        # Sums of p: 0.9 and 0.4; each of the classes 0 and 2 has one gold row, 1 has none.
        (Dice(level="batch", squared=False), 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
        # Pooled: 0.9, 0.7 and 0.4, whether the class is gold in the batch or not.
        (Dice(level="batch", squared=False, average="micro"), 2 * (1 - 3 / 5)),
        (Dice(level="batch", squared=False, average="micro", log=True), -2 * math.log(3 / 5)),
        (Dice(level="batch", squared=False, background=[0]), 2 * (1 - 1.6 / 2.4)),
        # Sums of p^2: 0.53 and 0.1
        (Dice(level="batch"), 2 * (2 - 2.4 / 2.53 - 1.6 / 2.1) / 2),
        # Sums of (1-p) p: 0.37 and 0.3
        (SelfAdjustingDice(level="batch"), 2 * (2 - 1.42 / 2.37 - 1.42 / 2.3) / 2),
        # TP 0.7, FP 0.2, FN 0.3; TP 0.3, FP 0.1, FN 0.7
        (Tversky(level="batch"), 2 * (2 - 1.7 / 1.95 - 1.3 / 1.7) / 2),
        # Pooled where there is a background, else the mean over the classes with a gold row.
        (DiceCE(), CE + 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
        (DiceCE(background=[1]), CE + 2 * (1 - 3 / 4.3)),
        (DiceCE(average="micro"), CE + 2 * (1 - 3 / 5)),
        (DiceCE(average="micro", weight=3), CE + 3 * 2 * (1 - 3 / 5)),
        # Each class but 1 has been seen once in 2 rows.
        (CrossEntropy(class_weights="balanced"), math.log10(1 + 3) * CE),
        (DiceCE(class_weights=[2, 1, 2]), CE + 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2 + CE),
        (DiceCE(average="macro"), CE + 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
    ],
)
def test_value_by_hand(loss, expected):
    assert loss.get_loss(P, GOLD) == pytest.approx(expected, rel=1e-12)


def test_sigmoid_value_by_hand():
    p, y = numpy.asarray([[0.7], [0.4]]), numpy.asarray([[1.0], [0.0]])
    expected = -math.log(0.7) - math.log(0.6)
    assert CrossEntropy(activation="sigmoid").get_loss(p, y) == pytest.approx(expected)
    expected = -(0.3**2) * math.log(0.7) - 0.4**2 * math.log(0.6)
    assert Focal(activation="sigmoid").get_loss(p, y) == pytest.approx(expected)
    focal = Focal(gamma=1.0, alpha=0.25, activation="sigmoid")
    expected = -0.25 * 0.3 * math.log(0.7) - 0.75 * 0.4 * math.log(0.6)
    assert focal.get_loss(p, y) == pytest.approx(expected)
    focal = Focal(gamma=1.0, alpha=0.25, class_weights=[2.0], activation="sigmoid")
    assert focal.get_loss(p, y) == pytest.approx(2 * expected)
    soft = numpy.asarray([[0.5], [0.0]])
    expected = 2 - (2 * 0.7 * 0.5 + 1) / (0.7**2 + 0.5**2 + 1) - 1 / (0.4**2 + 1)
    assert Dice(activation="sigmoid").get_loss(p, soft) == pytest.approx(expected)
    weighted = CrossEntropy(pos_weight=[3.0], activation="sigmoid")
    assert weighted.get_loss(p, y) == pytest.approx(-3 * math.log(0.7) - math.log(0.6))
    weighted = CrossEntropy(pos_weight=[3.0], class_weights=[2.0], activation="sigmoid")
    assert weighted.get_loss(p, y) == pytest.approx(-6 * math.log(0.7) - 2 * math.log(0.6))
    # Each is "is" or "is not", of which each gets half of what is spread.
    smoothed = CrossEntropy(label_smoothing=0.2, activation="sigmoid")
    expected = (
        -0.9 * math.log(0.7) - 0.1 * math.log(0.3) - 0.9 * math.log(0.6) - 0.1 * math.log(0.4)
    )
    assert smoothed.get_loss(p, y) == pytest.approx(expected)
    # p_m = 0.35 of the negative.
    asl = AsymmetricLoss(gamma_positive=1.0, gamma_negative=2.0, clip=0.05, activation="sigmoid")
    expected = -0.3 * math.log(0.7) - 0.35**2 * math.log(0.65)
    assert asl.get_loss(p, y) == pytest.approx(expected)
    # Odds of 1 to 4: 0.7 is then 0.175 to 0.3, 0.4 is 0.1 to 0.6.
    adjusted = LogitAdjustedCE(activation="sigmoid", priors=[0.2])
    expected = -math.log(0.175 / 0.475) - math.log(0.6 / 0.7)
    assert adjusted.get_loss(p, y) == pytest.approx(expected)
    # Of 5 rows, 1 is x and 4 are y: as binary views, x at 4:1 and not-y at 4:1.
    loss = WeightedCrossEntropy(activation="sigmoid", counts={"x": 1, "y": 4}, names=["x", "y"])
    expected = -math.log10(4 + 3) * (math.log(0.7) + math.log(0.8))
    assert loss.get_loss(numpy.asarray([[0.7, 0.2]]), ["x"]) == pytest.approx(expected)


TAGS = ["O", "B-X", "I-X", "L-X", "U-X"]


def test_entity_dice_by_hand():
    p = numpy.full((4, 5), 0.1)
    p[0, 1], p[1, 3], p[2, 0], p[3, 4] = 0.6, 0.6, 0.6, 0.6
    loss = EntityDice(names=TAGS)
    # P = 0.36 and 0.6. Expected: B 0.6 + 0.1 + 0.1 + 0.1, U 0.1 + 0.1 + 0.1 + 0.6.
    f = (2 * 0.96 + 1) / (1.8 + 2 + 1)
    assert loss.get_loss(p, ["B-X", "L-X", "O", "U-X"]) == pytest.approx(4 * (1 - f))
    recall = EntityDice(names=TAGS, beta=2)
    f = (5 * 0.96 + 1) / (1.8 + 4 * 2 + 1)
    assert recall.get_loss(p, ["B-X", "L-X", "O", "U-X"]) == pytest.approx(4 * (1 - f))
    # An entity that is not whole without a missing token is taken out, and so is the row.
    f = (2 * 0.6 + 1) / (0.7 + 0.2 + 0.7 + 1 + 1)
    assert loss.get_loss(p, ["B-X", None, "O", "U-X"]) == pytest.approx(3 * (1 - f))
    # Where tags have no end, the next one must not go on: P = 0.6 * 0.7 * (1 - 0.3).
    p = numpy.asarray([[0.2, 0.6, 0.2], [0.1, 0.2, 0.7], [0.5, 0.2, 0.3]])
    value = EntityDice(names=TAGS[:3]).get_loss(p, ["B-X", "I-X", "O"])
    assert value == pytest.approx(3 * (1 - (2 * 0.294 + 1) / (1.0 + 1 + 1)))


def test_published_self_adjusting_dice_is_not_monotonic():
    """The literals of the docstring: least at p = 1/(1+alpha), unless the weight is held."""
    one = numpy.ones((1, 1))
    for alpha, least in [(1, 0.5), (0.1, 0.909), (0.01, 0.990)]:
        p = numpy.linspace(0.0005, 0.9995, 1000)[:, None]
        values = [
            SelfAdjustingDice(alpha=alpha, activation="sigmoid").get_loss(
                row[None], numpy.ones((1, 1))
            )
            for row in p
        ]
        assert p[int(numpy.argmin(values)), 0] == pytest.approx(least, abs=1e-3)
        above = numpy.asarray([[0.995]])
        for hold, sign in [(False, 1), (True, -1)]:
            loss = SelfAdjustingDice(alpha=alpha, detach_weight=hold, activation="sigmoid")
            assert numpy.sign(loss.get_grad(above, one)[0, 0]) == sign


# -- gradients --------------------------------------------------------------------------

OVERLAPS = [
    ("dice", Dice, {"squared": True, "log": False, "smooth": 1.0}),
    ("dice", Dice, {"squared": False, "log": True, "smooth": 0.5}),
    ("dice", Dice, {"squared": False, "log": False, "smooth": 0.0}),
    ("dsc", SelfAdjustingDice, {"alpha": 1.0, "detach_weight": False, "smooth": 1.0}),
    ("dsc", SelfAdjustingDice, {"alpha": 0.01, "detach_weight": False, "smooth": 1.0}),
    ("dsc", SelfAdjustingDice, {"alpha": 0.5, "detach_weight": True, "smooth": 0.3}),
    ("dsc", SelfAdjustingDice, {"alpha": 1.0, "detach_weight": True, "smooth": 1.0}),
    ("dsc", SelfAdjustingDice, {"alpha": 0.0, "detach_weight": False, "smooth": 1.0}),
    (
        "dsc",
        SelfAdjustingDice,
        {"alpha": 0.5, "detach_weight": False, "smooth": 1.0, "squared": True},
    ),
    ("tversky", Tversky, {"alpha": 0.3, "beta": 0.7, "smooth": 1.0}),
    ("tversky", Tversky, {"alpha": 0.0, "beta": 2.0, "smooth": 0.1}),
]


def cases():
    """(id, loss, reference forward by logits), for softmax and sigmoid, level and average."""
    for activation in ("softmax", "sigmoid"):
        reading = {"activation": activation}
        ce = partial(reference.cross_entropy, activation=activation)
        yield f"ce-{activation}", CrossEntropy(**reading), ce
        yield (
            f"ce-weights-{activation}",
            CrossEntropy(class_weights=[0.5, 1, 2, 0], **reading),
            partial(ce, weights=[0.5, 1, 2, 0]),
        )
        yield (
            f"ce-smoothing-{activation}",
            CrossEntropy(label_smoothing=0.2, **reading),
            partial(ce, smoothing=0.2),
        )
        counts = [60, 25, 10, 5]
        yield (
            f"wce-{activation}",
            WeightedCrossEntropy(counts=counts, K=2, **reading),
            partial(
                ce,
                weights=[math.log10((100 - n) / n + 2) for n in counts],
                negative_weights=[math.log10(n / (100 - n) + 2) for n in counts],
            ),
        )
        for gamma in (0.0, 0.5, 2.0):
            yield (
                f"focal-{gamma}-{activation}",
                Focal(gamma=gamma, **reading),
                partial(ce, gamma=gamma),
            )
        for level, average in [("element", "macro"), ("batch", "macro"), ("batch", "micro")]:
            for background in ([], [0]):
                if level == "element" and background:
                    continue
                shared = {"level": level, "average": average, "background": background}
                for kind, cls, options in OVERLAPS:
                    ours = dict(options)
                    given = dict(shared)
                    if level == "element":  # where nothing is averaged and nothing left out
                        given = {"level": level}
                    name = f"{kind}-{options}-{shared}-{activation}"
                    theirs = partial(
                        reference.overlap, activation=activation, kind=kind, **shared, **options
                    )
                    yield name, cls(**ours, **given, **reading), theirs
        dice = partial(
            reference.overlap,
            activation=activation,
            kind="dice",
            level="batch",
            smooth=1.0,
            squared=False,
        )
        micro, dice = partial(dice, average="micro"), partial(dice, average="macro")
        yield (
            f"dice-ce-{activation}",
            DiceCE(weight=0.3, average="micro", **reading),
            lambda z, y, ce=ce, dice=micro: ce(z, y) + 0.3 * dice(z, y),
        )
        focal = partial(ce, gamma=1.0)
        yield (
            f"compound-{activation}",
            Compound([Focal(gamma=1.0), Dice(level="batch", squared=False)], [2.0, 0.5], **reading),
            lambda z, y, focal=focal, dice=dice: 2 * focal(z, y) + 0.5 * dice(z, y),
        )


CASES = list(cases())


def random_batch(seed, n=9, c=4, spread=1.5):
    rng = numpy.random.default_rng(seed)
    z = rng.normal(size=(n, c)) * spread
    # Class 3 never occurs: an absent class.
    y = numpy.eye(c)[rng.integers(0, c - 1, size=n)]
    return z, y


def probabilities(z, activation):
    if activation == "sigmoid":
        return 1 / (1 + numpy.exp(-numpy.maximum(z, -709)))
    e = numpy.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def autograd(forward, z, y):
    z = torch.tensor(z, requires_grad=True)
    value = forward(z, torch.tensor(y))
    value.backward()
    return value.item(), z.grad.numpy()


@pytest.mark.parametrize("loss, forward", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_gradient_equals_finite_differences_and_autograd(loss, forward):
    activation = loss.activation
    for seed in range(3):
        z, y = random_batch(seed, spread=1.5 * (seed + 1))
        gradient, value = loss(probabilities(z, activation), y)
        torch_value, torch_gradient = autograd(forward, z, y)
        assert value == pytest.approx(torch_value, rel=1e-9)
        assert_allclose(gradient, torch_gradient, rtol=1e-6, atol=1e-9)
        if getattr(loss.core, "detach_weight", False):
            continue  # The gradient is not the value's; autograd, with a detached weight, is.
        numeric = numeric_gradient(lambda z: loss.get_loss(probabilities(z, activation), y), z)
        assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5 * abs(numeric).max())


@pytest.mark.parametrize("loss, forward", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_gradient_at_the_ends(loss, forward):
    """p in {0, 1e-30, 0.5, 1 - 1e-7, 1}, for gold and for other classes: equal to autograd."""
    activation = loss.activation
    ends = [-800.0, math.log(1e-30), 0.0, math.log(1e7), 800.0]
    if activation == "sigmoid":
        z = numpy.asarray([[a, b, 0.0, 0.0] for a in ends for b in ends])
    else:
        z = numpy.asarray([[a, 0.0, b, -1.0] for a in ends for b in (0.0, a)])
    for gold in range(3):
        y = numpy.zeros_like(z)
        y[:, gold] = 1
        gradient, value = loss(probabilities(z, activation), y)
        assert math.isfinite(value) and numpy.isfinite(gradient).all()
        if not getattr(loss.core, "smooth", True):
            continue  # 0/0: finite is all that can be asked.
        _, expected = autograd(forward, z, y)
        assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("loss, forward", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_gradient_has_the_guesses_type_and_is_finite_at_exact_ends(loss, forward, dtype):
    rows = numpy.asarray([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1e-30, 1]], dtype)
    for gold in range(4):
        gradient, value = loss(rows, [gold] * 4)
        assert gradient.dtype == dtype and gradient.shape == rows.shape
        assert numpy.isfinite(gradient).all() and math.isfinite(value)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("options", [{}, {"beta": 2.0}, {"log": True}, {"smooth": 0.0}], ids=str)
def test_entity_dice_gradient(options, activation):
    rng = numpy.random.default_rng(0)
    names = ["O", "B-X", "I-X", "L-X", "U-X", "B-Y", "I-Y", "L-Y", "U-Y"]
    docs = [["B-X", "I-X", "L-X", "O"], ["U-Y"], [], ["O", "B-Y", "L-Y", "U-X", "O"]]
    tags = [tag for doc in docs for tag in doc]
    lengths = [len(doc) for doc in docs]
    loss = EntityDice(names=names, activation=activation, **options)
    settings = {"smooth": 1.0, "beta": 1.0, "log": False, **options}

    def split(z):
        p = probabilities(z, activation)
        return [p[i - n : i] for i, n in zip(numpy.cumsum(lengths), lengths)]

    def forward(z, _):
        return reference.entity_dice(z, activation, tags, lengths, names, **settings)

    for spread in (0.5, 2.0):
        z = rng.normal(size=(len(tags), len(names))) * spread
        gradient, value = loss(split(z), docs)
        gradient = numpy.concatenate(gradient)
        torch_value, expected = autograd(forward, z, numpy.zeros_like(z))
        assert value == pytest.approx(torch_value, rel=1e-9)
        assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)
        numeric = numeric_gradient(lambda z: loss.get_loss(split(z), docs), z)
        assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5 * abs(numeric).max())
    z = numpy.where(rng.normal(size=z.shape) > 0, 800.0, -800.0)
    gradient, value = loss(split(z), docs)
    assert math.isfinite(value) and numpy.isfinite(numpy.concatenate(gradient)).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_gradient_by_probabilities(activation):
    """Times the activation's derivative it is the gradient by logits."""
    z, y = random_batch(1)
    p = probabilities(z, activation)
    for make in (CrossEntropy, Dice, DiceCE, Focal):
        by_logits = make(activation=activation).get_grad(p, y)
        by_p = make(activation=activation, wrt="probabilities").get_grad(p, y)
        if activation == "sigmoid":
            chained = by_p * p * (1 - p)
        else:
            chained = p * (by_p - (by_p * p).sum(axis=1, keepdims=True))
        assert_allclose(chained, by_logits, rtol=1e-9, atol=1e-12)


# -- scale, sets, missing values --------------------------------------------------------


def test_cross_entropy_gradient_is_thincs():
    from thinc.api import CategoricalCrossentropy

    z, y = random_batch(0)
    p = probabilities(z, "softmax").astype("f")
    stock = CategoricalCrossentropy(normalize=False)
    assert_allclose(
        CrossEntropy().get_grad(p, y.astype("f")), stock.get_grad(p, y.astype("f")), atol=1e-7
    )
    ids = y.argmax(axis=1).tolist()
    stock = CategoricalCrossentropy(normalize=False, label_smoothing=0.1)
    ours = CrossEntropy(label_smoothing=0.1)
    assert_allclose(ours.get_grad(p, ids), stock.get_grad(p, ids), atol=1e-6)


def test_set_level_gradient_grows_with_the_batch_as_a_sum_does():
    z, y = random_batch(0)
    p = probabilities(z, "softmax")
    for loss in (Dice(level="batch", smooth=0.0), DiceCE(smooth=0.0)):
        once, value = loss(p, y)
        twice, double = loss(numpy.concatenate([p, p]), numpy.concatenate([y, y]))
        assert double == pytest.approx(2 * value)
        assert_allclose(twice[: len(p)], once, rtol=1e-9)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_absent_classes_and_background(average):
    """The background never counts. A class without a gold row has false positives, which count
    where counts are pooled, as in micro F1, and no mean over classes with gold has it.
    """
    z, y = random_batch(0)
    p = probabilities(z, "sigmoid")
    loss = Dice(level="batch", average=average, background=[0], activation="sigmoid")
    gradient = loss.get_grad(p, y)
    assert (gradient[:, 0] == 0).all() and (gradient[:, [1, 2]] != 0).any()
    absent = gradient[:, 3]
    assert (absent > 0).all() if average == "micro" else (absent == 0).all()
    empty, value = loss(p, numpy.zeros_like(y))
    assert (value > 0 and (empty[:, 1:] > 0).all()) if average == "micro" else value == 0


@pytest.mark.parametrize("smooth", [0.0, 1e-9])
def test_pooled_counts_of_certain_predictions_are_micro_f1(smooth):
    rng = numpy.random.default_rng(0)
    for n_classes in (3, 6):
        gold, predicted = rng.integers(0, 3, size=40), rng.integers(0, n_classes, size=40)
        loss = Dice(level="batch", average="micro", squared=False, smooth=smooth, background=[0])
        tp = ((gold == predicted) & (gold > 0)).sum()
        f1 = 2 * tp / ((gold > 0).sum() + (predicted > 0).sum())
        value = loss.get_loss(numpy.eye(n_classes)[predicted], gold)
        assert 1 - value / 40 == pytest.approx(f1)


def test_missing_rows_add_nothing():
    z, y = random_batch(0)
    p = probabilities(z, "softmax")
    ids = y.argmax(axis=1).tolist()
    some = [None if i % 3 == 0 else gold for i, gold in enumerate(ids)]
    keep = [i for i in range(len(ids)) if i % 3]
    for loss in (CrossEntropy(), Dice(), Dice(level="batch"), DiceCE(), WeightedCrossEntropy()):
        fresh = as_thinc(loss.core)
        expected, value = fresh(p[keep], [ids[i] for i in keep])
        gradient, masked_value = loss(p, some)
        assert masked_value == pytest.approx(value)
        assert_allclose(gradient[keep], expected)
        assert (gradient[::3] == 0).all()
        nan = y.copy()
        nan[::3] = numpy.nan
        assert_allclose(as_thinc(loss.core).get_grad(p, nan), gradient)
        ruined = p.copy()
        ruined[::3] = numpy.nan  # what a model gives where nothing is known does not matter
        found, value = as_thinc(loss.core)(ruined, some)
        assert_allclose(found, gradient)
        assert value == pytest.approx(masked_value)
    by_value = CrossEntropy(missing_value=1)
    assert (by_value.get_grad(p, ids)[numpy.asarray(ids) == 1] == 0).all()


def test_negative_labels_are_thincs():
    from thinc.api import CategoricalCrossentropy

    names = ["a", "b", "c"]
    truths = ["a", "!b", None]
    p = numpy.vstack([P, P[:1]]).astype("f")
    stock = CategoricalCrossentropy(normalize=False, names=names, neg_prefix="!").get_grad(
        p, truths
    )
    gradient, value = CrossEntropy(names=names, neg_prefix="!")(p, truths)
    assert_allclose(gradient, stock, atol=1e-7)
    assert value == pytest.approx(-math.log(0.7) - math.log(0.5), rel=1e-6)


def test_running_counts():
    loss = WeightedCrossEntropy(names=["O", "X"], K=2.0)
    p = numpy.asarray([[0.5, 0.5]] * 4)
    log2 = math.log(2)
    expected = 3 * log2 * math.log10(1 / 3 + 2) + log2 * math.log10(3 / 1 + 2)
    assert loss.get_loss(p, ["O", "O", "O", "X"]) == pytest.approx(expected)
    expected = 4 * log2 * math.log10(1 / 7 + 2)
    assert loss.get_loss(p, ["O"] * 4) == pytest.approx(expected)


def test_running_priors():
    """With one more row of the class and one of the others."""
    loss = LogitAdjustedCE(names=["O", "X"])
    p = numpy.asarray([[0.5, 0.5]] * 4)
    expected = -3 * math.log(4 / 6) - math.log(2 / 6)
    assert loss.get_loss(p, ["O", "O", "O", "X"]) == pytest.approx(expected)
    assert loss.get_loss(p, ["O"] * 4) == pytest.approx(-4 * math.log(8 / 10))
    loss = LogitAdjustedCE(activation="sigmoid")
    p, y = numpy.asarray([[0.5]] * 8), numpy.asarray([[1.0]] + [[0.0]] * 7)
    assert loss.get_loss(p, y) == pytest.approx(-math.log(2 / 10) - 7 * math.log(8 / 10))


# -- truths, shapes, mistakes -----------------------------------------------------------


def test_truths_in_every_form_agree():
    names = ["a", "b", "c"]
    expected = DiceCE().get_grad(P, [0, 2])
    one_hot = numpy.eye(3)[[0, 2]]
    for truths in ([0, 2], numpy.asarray([0, 2]), one_hot, ["a", "c"]):
        assert_allclose(DiceCE(names=names).get_grad(P, truths), expected)
    for truths in ([[0], [2]], [one_hot[:1], one_hot[1:]], [["a"], ["c"]]):
        gradient = DiceCE(names=names).get_grad([P[:1], P[1:]], truths)
        assert isinstance(gradient, list)
        assert_allclose(numpy.concatenate(gradient), expected)
    # Not only the first value decides whether they are strings.
    loss = CrossEntropy(names=names)
    assert (loss.get_grad(P, [None, "c"])[0] == 0).all()


def test_empty_batches():
    for loss in [case[1] for case in CASES] + [EntityDice(names=TAGS)]:
        assert loss([], []) == ([], 0.0)
        c = 5 if isinstance(loss, EntityDice) else 4
        empty = numpy.zeros((0, c), dtype="float32")
        gradient, value = loss(empty, [])
        assert gradient.shape == (0, c) and value == 0
        gradients, value = loss([empty, empty], [[], []])
        assert [g.shape for g in gradients] == [(0, c), (0, c)] and value == 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DiceCE(smooth=-1), "spacy_dice.DiceCE: smooth must be a finite number"),
        (lambda: Dice(smooth=-1), "spacy_dice.Dice: smooth must be a finite number from 0 on"),
        (lambda: Dice(smooth="much"), "smooth must be a number"),
        (lambda: Dice(level="token"), "level must be one of element, batch, got 'token'"),
        (lambda: Dice(average="weighted"), "average must be one of auto, micro, macro"),
        (lambda: Dice(log=1), "log must be true or false"),
        (lambda: SelfAdjustingDice(alpha=-0.1), "alpha must be"),
        (lambda: SelfAdjustingDice(smooth=float("nan")), "smooth must be"),
        (lambda: Focal(gamma=-1), "gamma must be"),
        (lambda: WeightedCrossEntropy(K=0), "K must be a finite number from 1 on"),
        (lambda: LogitAdjustedCE(tau=-1), "tau must be a finite number from 0 on"),
        (lambda: LogitAdjustedCE(priors=[0.5, 1.0]), "priors must be above 0 and below 1"),
        (
            lambda: LogitAdjustedCE(priors={"a": 0.1}, names=["a", "b", "c"])(P, [0, 1]),
            "priors lacks the labels b, c",
        ),
        (lambda: CrossEntropy(label_smoothing=1), "label_smoothing must be below 1"),
        (lambda: CrossEntropy(class_weights={"O": -1}), "class_weights"),
        (lambda: Compound([]), "losses is empty"),
        (lambda: Compound({"a": 3}), "Compound: losses: 'a': loss must be a loss, the name of one"),
        (lambda: Compound({"a": Dice()}, {"b": 1}), "weights must name terms of losses"),
        (lambda: Compound([Dice()], [1, 2]), "weights must name terms"),
        (lambda: DiceCE(weight=-1), "the weight of 'dice'"),
        (lambda: DiceCE(weight="1"), "the weight of 'dice' must be a number"),
        (lambda: Dice(activation="tanh"), "activation must be one of"),
        (lambda: Dice()(P, [0, 3]), "class id 3 is not one of 0 to 2"),
        (lambda: Dice()(P, [0, -1]), "-1 is no class id"),
        (lambda: Dice()(P, [[1.0, 0, 0], [0, 1, 0]]), "[1.0, 0, 0] is no class id"),
        (lambda: Dice()(P, ["a", "b"]), "without names"),
        (lambda: Dice(names=["a", "b", "c"])(P, ["a", "x"]), "the label 'x', which is none of"),
        (lambda: Dice(level="batch", background="O")(P, [0, 1]), "given no label names"),
        (
            lambda: Dice(level="batch", background="O", names=["a", "b", "c"])(P, [0, 1]),
            "none of its labels",
        ),
        (
            lambda: Dice(level="batch", background=7, names=["a", "b", "c"])(P, [0, 1]),
            "class id 7, but there are 3",
        ),
        (
            lambda: Dice(level="batch", background=["a", "b"], names=["a", "b"])(P[:, :2], [0, 1]),
            "nothing is left",
        ),
        (lambda: Dice(names=["a", "b"])(P, ["a", "b"]), "2 names for 3 columns of guesses"),
        (lambda: Dice()(P[0], [0]), "guesses must have rows and columns, got shape (3,)"),
        (lambda: Dice()(P, [0]), "2 rows of guesses, but 1 truths"),
        (lambda: Dice()([P], [[0, 1], [2]]), "1 guesses, but 2 truths"),
        (lambda: Dice()(P, numpy.eye(2)), "3 columns of guesses, but 2 of truths"),
        (lambda: Dice()(P * 5, [0, 1]), "guesses must be probabilities"),
        (lambda: Dice()(P * numpy.nan, [0, 1]), "the model gives NaN"),
        (lambda: CrossEntropy(class_weights=[1, 2])(P, [0, 1]), "2 numbers for 3 classes"),
        (lambda: CrossEntropy(class_weights={"x": 1}, names=["a", "b", "c"])(P, [0, 1]), "'x'"),
        (
            lambda: WeightedCrossEntropy(counts={"a": 1}, names=["a", "b", "c"])(P, [0, 1]),
            "counts lacks the labels b, c",
        ),
        (lambda: Dice(log=True, smooth=0.0), "log=True needs smooth above 0"),
        (lambda: EntityDice(log=True, smooth=0.0), "log=True needs smooth above 0"),
        (lambda: Dice(background=["O"]), "background says how the counts of a batch are read"),
        (lambda: DiceCE(level="element", average="micro"), "average says how the counts of a"),
        (lambda: Focal(alpha=2.0), "alpha must be a finite number from 0 to 1"),
        (lambda: Focal(alpha=0.5)(P, [0, 1]), "is for sigmoids. Use class_weights"),
        (lambda: CrossEntropy(pos_weight=[1, 2, 3])(P, [0, 1]), "pos_weight is for sigmoids"),
        (lambda: AsymmetricLoss()(P, [0, 1]), "AsymmetricLoss is for sigmoids"),
        (lambda: DiceCE()(P[:, :1], [0, 0]), "a softmax of one column is always 1"),
        (lambda: DiceCE(activation="sigmoid")(P[:, :1], [0, 0]), "class ids of one column"),
        (lambda: CrossEntropy()(P, numpy.eye(3)[[0, 2]] * 2), "targets must be from 0 to 1"),
        (lambda: EntityDice()(P, [0, 1]), "needs the tag of each column"),
        (lambda: EntityDice(names=["a", "b", "c"])(P, [0, 1]), "needs a head of tags of entities"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


# -- schedules --------------------------------------------------------------------------


def test_weights_follow_schedules_and_pickle():
    import pickle

    from thinc.api import constant_then, decaying

    loss = Compound(
        {"ce": CrossEntropy(), "dice": Dice(level="batch")},
        {"dice": constant_then(0.0, 2, decaying(1.0, 1.0))},
    )
    seen = []
    for _ in range(4):
        seen.append(loss._bound.current.weights["dice"])
        loss.step()
    assert seen == [0.0, 0.0, 1.0, 0.5]
    assert loss._bound.current.weights["ce"] == 1.0
    now = loss._bound.current.weights["dice"]
    copy = pickle.loads(pickle.dumps(loss))
    assert copy._bound.current.weights["dice"] == now == pytest.approx(1 / 3)
    copy.step()  # no iterator can be pickled: its latest number goes on
    assert copy._bound.current.weights["dice"] == now
