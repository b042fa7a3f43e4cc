"""The losses on arrays of every library: NumPy, torch, and array-api-strict on a device that is
not the host's, where an implicit copy to the host or a mix of devices raises. Where there is a
GPU, CuPy and CUDA, too."""

import copy
import json
import pickle
import tracemalloc
from dataclasses import replace

import array_api_strict
import numpy
import pytest
import torch
from numpy.testing import assert_allclose

import dice_core.losses as core
from dice_core import arrays, formulas
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss, Compound, DiceCE
from dice_core.probabilities import Probabilities, from_logits
from dice_core.schedules import Ramp
from dice_core.tags import tags_of
from dice_core.targets import Targets, checked_rows, from_ids, from_labels, from_rows

pytestmark = pytest.mark.fast
OVERLAPS = [
    (core.Dice, {}),
    (core.Dice, {"squared": False, "log": True, "smooth": 0.5}),
    (core.SelfAdjustingDice, {"alpha": 0.1}),
    (core.SelfAdjustingDice, {"alpha": 0.5, "detach_weight": True, "smooth": 0.0}),
    (core.SelfAdjustingDice, {"squared": True}),
    (core.SemimetricDice, {}),
    (core.Tversky, {"alpha": 0.3, "beta": 0.7}),
]
SETS = [{}, {"level": "batch"}, {"level": "batch", "average": "micro", "background": [0]}]
LOSSES = [
    core.CrossEntropy(),
    core.CrossEntropy(label_smoothing=0.1, class_weights=[0.0, 200.0, 2.0]),
    core.WeightedCrossEntropy(),
    core.WeightedCrossEntropy(counts=[5, 3, 1]),
    core.LogitAdjustedCE(),
    core.LogitAdjustedCE(tau=0.5, priors=[0.7, 0.2, 0.05]),
    core.Focal(),
    core.Focal(gamma=0.5, class_weights=[1.0, 2.0, 0.5]),
    DiceCE(weight=0.3),
    Compound([core.SelfAdjustingDice(alpha=0.1), core.Focal(), DiceCE()], [2.0, 1.0, 0.5]),
    Compound([DiceCE(class_weights="balanced"), core.WeightedCrossEntropy(), core.Focal()]),
    *(cls(**options, **where) for cls, options in OVERLAPS for where in SETS),
]
SIGMOIDS = [
    core.CrossEntropy(pos_weight=[1.0, 3.0, 0.5]),
    core.Focal(alpha=0.25),
    core.AsymmetricLoss(),
    core.AsymmetricLoss(gamma_negative=0.0, clip=0.0),
    core.AsymmetricLoss(gamma_negative=0.0, clip=0.3),
]
PAIRS = [(loss, a) for loss in LOSSES for a in ("softmax", "sigmoid")]
PAIRS += [(loss, "sigmoid") for loss in SIGMOIDS]
PAIR_IDS = [f"{loss!r}-{activation}" for loss, activation in PAIRS]
SPEC = LabelSpec("test")
Z = numpy.random.default_rng(0).normal(size=(7, 3)) * 2
GOLD = [0, 1, -1, 2, 1, 0, 0]


def strict(array):
    return array_api_strict.asarray(array, device=array_api_strict.Device("device1"))


def to_host(array):
    if hasattr(array, "to_device"):
        array = array.to_device(array_api_strict.Device("CPU_DEVICE"))
    return numpy.asarray(array.cpu() if hasattr(array, "cpu") else arrays.to_numpy(array))


LIBRARIES = {"torch": torch.from_numpy, "array-api-strict": strict}
if torch.cuda.is_available():
    LIBRARIES["cuda"] = lambda array: torch.from_numpy(array).cuda()
try:
    import cupy

    cupy.zeros(1)
    LIBRARIES["cupy"] = cupy.asarray
except Exception:  # no CuPy, or no GPU
    pass


def compute(loss, probabilities, targets, wrt="logits"):
    """Value and gradient of one batch. loss: or a bound one."""
    bound = loss if isinstance(loss, BoundLoss) else BoundLoss(loss)
    value, gradient = bound.compute(probabilities, targets, wrt)
    return arrays.total(value), gradient


def make_targets(kind, like):
    """The same targets, as ids, as rows of which some cells are masked, or soft."""
    if kind == "ids":
        return from_ids(GOLD, 3, SPEC, like)
    if kind == "negatives":
        return from_ids(GOLD, 3, SPEC, like, negatives=[(2, 1)])
    if kind == "counted":  # as ambiguous rows are left out of counts
        return replace(make_targets("ids", like), counted=numpy.asarray([1, 0, 1, 1, 0, 1, 1]))
    y = numpy.random.default_rng(1).dirichlet([1.0] * 3, size=7)
    mask = (numpy.random.default_rng(2).random((7, 3)) < 0.7) * 1.0
    return from_rows(arrays.like(y, like), arrays.like(mask, like), SPEC)


@pytest.mark.parametrize("kind", ["ids", "negatives", "soft", "counted"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_gradients_are_the_differences_of_values(loss, activation, kind):
    if getattr(loss, "detach_weight", False):
        return  # whose gradient is none of its value
    targets = make_targets(kind, Z)
    _, gradient = compute(loss, from_logits(Z, activation), targets)
    known = numpy.ones(Z.shape) if targets.mask is None else targets.mask  # others get none
    assert not gradient[known == 0].any()
    for cell in numpy.argwhere(known):
        cell = tuple(cell)
        step = numpy.zeros(Z.shape)
        step[cell] = 1e-5
        ends = [from_logits(z, activation) for z in (Z + step, Z - step)]
        above, below = (float(compute(loss, end, targets)[0]) for end in ends)
        assert_allclose(gradient[cell], (above - below) / 2e-5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ids", "negatives", "soft"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_a_weight_is_so_many_rows(loss, activation, kind):
    targets, weights = make_targets(kind, Z), numpy.asarray([2, 1, 0, 1, 3, 1, 1])
    known = 1.0 if targets.weights is None else targets.weights
    weighted = replace(targets, weights=weights * known)
    value, gradient = compute(loss, from_logits(Z, activation), weighted)
    rows, summed = numpy.repeat(numpy.arange(7), weights), numpy.zeros(Z.shape)
    names = ("ids", "y", "mask", "weights")
    arrays_ = {name: getattr(targets, name) for name in names}
    repeated = {name: array[rows] for name, array in arrays_.items() if array is not None}
    logits = from_logits(Z[rows], activation)
    expected, gradients = compute(loss, logits, replace(targets, **repeated))
    numpy.add.at(summed, rows, gradients)
    assert_allclose(value, expected)
    assert_allclose(gradient, summed, atol=1e-12)


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "negatives", "soft"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_every_library_gives_what_numpy_gives(loss, activation, kind, wrt):
    expected = compute(loss, from_logits(Z, activation), make_targets(kind, Z), wrt)
    for make in LIBRARIES.values():
        logits = make(Z)
        found = compute(loss, from_logits(logits, activation), make_targets(kind, logits), wrt)
        assert type(found[1]) is type(logits)
        assert_allclose(to_host(found[0]), expected[0], rtol=1e-10)
        assert_allclose(to_host(found[1]), expected[1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("options", [{}, {"beta": 2.0, "log": True}])
def test_entities_of_every_library(library, options):
    spec = LabelSpec("test", tags_of(["X"]))
    docs = [["B-X", "L-X", "O"], [], ["U-X", None, "U-X"]]
    z = numpy.random.default_rng(0).normal(size=(6, 5))
    found = []
    for make in (numpy.asarray, LIBRARIES[library]):
        logits = make(z)
        read = from_labels(docs, spec, logits)
        found.append(compute(core.EntityDice(**options), from_logits(logits, "softmax"), read))
    assert_allclose(to_host(found[1][0]), found[0][0], rtol=1e-10)
    assert_allclose(to_host(found[1][1]), found[0][1], rtol=1e-8, atol=1e-12)


def test_blocks_are_of_whole_documents(monkeypatch):
    """Where a loss of the sum needs them."""
    spec = LabelSpec("test", tags_of(["X"]))
    z = numpy.random.default_rng(0).normal(size=(8, 5))
    loss = Compound([core.EntityDice(), core.CrossEntropy(label_smoothing=0.1)])
    found = []
    for cells in (100, 10):
        monkeypatch.setattr(arrays, "CELLS_ON_HOST", cells)
        docs = [["B-X", "L-X", "O"], ["U-X", "O"], ["B-X", "I-X", "L-X"]]
        found.append(compute(loss, from_logits(z, "softmax"), from_labels(docs, spec, z)))
    assert_allclose(found[0][0], found[1][0])
    assert_allclose(found[0][1], found[1][1], atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_rows(library):
    logits = LIBRARIES[library](numpy.zeros((0, 5)))
    spec = LabelSpec("test", tags_of(["X"]))
    for loss in [DiceCE(), core.EntityDice(), core.Dice(), core.WeightedCrossEntropy()]:
        value, gradient = compute(
            loss, from_logits(logits, "softmax"), from_ids([], 5, spec, logits)
        )
        assert to_host(value) == 0 and gradient.shape == (0, 5)


def test_ids_and_rows_are_the_same_targets():
    """The short way over class ids, and the long one over cells."""
    for loss in LOSSES:
        read = make_targets("counted", Z)
        dense = read.dense()
        mask = numpy.repeat(read.weights[:, None], 3, axis=1)
        rows = replace(from_rows(dense.y, mask, SPEC), counted=read.counted)
        found = [compute(loss, from_logits(Z, "softmax"), t) for t in (read, rows)]
        assert_allclose(found[0][0], found[1][0], rtol=1e-10)
        assert_allclose(found[0][1], found[1][1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "negatives", "soft"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_blocks_are_the_batch(loss, activation, kind, wrt, monkeypatch):
    """Of two batches, one after another, for running counts."""
    found = []
    for cells in (100, 6):
        monkeypatch.setattr(arrays, "CELLS_ON_HOST", cells)
        bound, read = BoundLoss(loss), make_targets(kind, Z)
        found += [compute(bound, from_logits(z, activation), read, wrt) for z in (Z, -Z)]
    for (value, gradient), (other_value, other_gradient) in zip(found[:2], found[2:]):
        assert_allclose(other_value, value, rtol=1e-10)
        assert_allclose(other_gradient, gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_parts_of_a_batch_add_up_to_it(loss, activation):
    """Chunks and ranks: the totals of the parts are added, and each part gets the sum and the
    scale of the batch."""
    read = make_targets("negatives", Z)
    value, gradient = compute(loss, from_logits(Z, activation), read)
    bound, rows = BoundLoss(loss), (slice(0, 3), slice(3, 7))
    totals = sum(bound.totals(from_logits(Z[r], activation), read.rows(r)) for r in rows)
    totals = bound.accumulate(totals, 3)
    parts = [
        bound.value_and_gradient(
            from_logits(Z[r], activation), read.rows(r), totals, scale=numpy.float64(0.5)
        )
        for r in rows
    ]
    assert sum(part.sum() for part, _ in parts) == pytest.approx(0.5 * value)
    found = numpy.concatenate([part for _, part in parts])
    assert_allclose(found, 0.5 * gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_unknown_cells_do_not_count(loss, activation):
    """Whatever stands in them, and also not in the totals; a row of them is no row."""
    y, mask = numpy.eye(3)[[0, 1, 2, 0, 1, 2, 0]], numpy.ones((7, 3))
    mask[[2, 5]] = 0.0
    known = mask[:, 0] > 0
    expected = compute(loss, from_logits(Z[known], activation), from_rows(y[known], None, SPEC))
    other = numpy.where(known[:, None], Z, 7.0)
    for scores in (Z, other):
        value, gradient = compute(
            loss, from_logits(scores, activation), from_rows(y * mask, mask, SPEC)
        )
        assert_allclose(value, expected[0], rtol=1e-10)
        assert_allclose(gradient[known], expected[1], rtol=1e-8, atol=1e-12)
        assert not gradient[~known].any()


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "rows"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_three_arrays_besides_the_scores_are_enough(loss, activation, kind, wrt, monkeypatch):
    if "[" in repr(loss):
        pytest.skip("its numbers are for three classes")
    monkeypatch.setattr(arrays, "CELLS_ON_HOST", 500)
    logits = numpy.random.default_rng(0).normal(size=(500, 50))
    read = from_ids(numpy.arange(500) % 50, 50, SPEC, logits)
    read = read.dense() if kind == "rows" else read
    compute(loss, from_logits(logits[:2], activation), read.rows(slice(0, 2)), wrt)
    tracemalloc.start()
    compute(loss, from_logits(logits, activation), read, wrt)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * logits.nbytes  # with blocks and numbers of rows


def test_class_ids_take_little_besides_the_gradient():
    """Not even numbers of rows, which weigh much where there are few columns."""
    p = numpy.full((20_000, 20), 0.05, dtype="float32")
    read, loss = from_ids(numpy.arange(20_000) % 20, 20, SPEC, p), DiceCE()
    compute(loss, Probabilities("softmax", p[:2].copy(), reusable=True), read.rows(slice(0, 2)))
    tracemalloc.start()
    bound, probabilities = BoundLoss(loss), Probabilities("softmax", p, reusable=True)
    totals = bound.totals(probabilities, read)
    _, gradient = bound.value_and_gradient(probabilities, read, totals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert gradient is p
    assert peak < 0.5 * p.nbytes


# -- losses are values ------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*LOSSES, *SIGMOIDS, core.EntityDice()], ids=repr)
def test_a_loss_is_a_value(loss):
    """It equals what its plain values make, its copies and its pickle, and cannot be changed."""
    plain = json.loads(json.dumps(loss.to_dict()))
    again = core.make_loss(plain)
    assert again == loss and type(again) is type(loss) and repr(again) == repr(loss)
    assert copy.deepcopy(loss) == loss == pickle.loads(pickle.dumps(loss))
    with pytest.raises(AttributeError):
        loss.smooth = 3.0
    assert loss != core.Tversky(alpha=0.123)


def test_one_value_trains_two_models_apart():
    """Running counts and schedules are each model's own."""
    loss = Compound([core.WeightedCrossEntropy(), core.Dice(level="batch")], [1.0, iter([1, 0])])
    first, second = BoundLoss(loss), BoundLoss(loss)
    read = from_ids([0] * 6 + [1], 3, SPEC, Z)
    one = compute(first, from_logits(Z, "softmax"), from_ids([2] * 7, 3, SPEC, Z))
    first.step()
    expected = compute(BoundLoss(loss), from_logits(Z, "softmax"), read)
    found = compute(second, from_logits(Z, "softmax"), read)
    assert_allclose(found[1], expected[1])
    later = compute(first, from_logits(Z, "softmax"), read)
    assert not numpy.allclose(later[1], expected[1]) and one[0] != later[0]
    assert first.current.weights["1"] == 0.0 and second.current.weights["1"] == 1.0


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_one_value_reads_other_targets_of_the_same_probabilities(loss):
    p = numpy.random.default_rng(0).dirichlet(numpy.ones(3), size=7).astype("f")
    ids = from_ids([0, 2, 1, 0, 0, 2, 1], 3, SPEC, p)
    shared = Probabilities("softmax", p)
    for targets in (ids, from_ids([1, 1, 0, 2, 0, 0, 2], 3, SPEC, p), ids.dense(), ids):
        alone = BoundLoss(loss).compute(Probabilities("softmax", p), targets)
        for found, wanted in zip(BoundLoss(loss).compute(shared, targets), alone, strict=True):
            assert_allclose(found, wanted)


def test_schedules():
    assert Ramp(0, 1, begin=2, end=2).at(2.0) == 1.0
    with pytest.raises(ValueError, match="end must not be before begin"):
        Ramp(0, 1, begin=2, end=1)
    loss = DiceCE(weight=Ramp(0, 1, begin=2, end=4))
    bound = BoundLoss(loss)
    assert bound.current.weight == 0.0 and not bound.is_stepped
    for epoch, weight in ((0.0, 0.0), (3.0, 0.5), (5.0, 1.0)):
        bound.step(epoch)
        assert bound.current.weight == weight
    with pytest.raises(ValueError, match="the weight of 'dice' is a Ramp over epochs"):
        bound.step()
    numbers = BoundLoss(Compound([DiceCE(weight=iter([2.0, 3.0, 4.0]))]))
    numbers.step(0.0)  # before the first update, which the first number is for
    assert numbers.current.losses["0"].weight == 2.0
    for weight in (3.0, 4.0, 4.0):
        numbers.step(0.5)
        assert numbers.current.losses["0"].weight == weight


# -- kinds of targets, and by hand ------------------------------------------------------


def test_rows_of_users():
    y = numpy.asarray([[1.0, -100, 0.5], [numpy.nan, 0.0, 1.0]])
    rows, mask = checked_rows(y, None, SPEC)
    assert rows.tolist() == [[1, 0, 0.5], [0, 0, 1]] and mask.tolist() == [[1, 0, 1], [0, 1, 1]]
    for wrong in (-1.0, 1.5, -99.0, 2.0):
        with pytest.raises(ValueError, match="targets must be from 0 to 1"):
            checked_rows(numpy.asarray([[wrong, 0.0]]), None, SPEC)
        rows, mask = checked_rows(numpy.asarray([[wrong, 1.0]]), numpy.asarray([[0, 1.0]]), SPEC)
        assert rows.tolist() == [[0, 1]] and mask.tolist() == [[0, 1]]


def test_counts_of_classes_are_exact_beyond_float32():
    bound = BoundLoss(core.WeightedCrossEntropy())
    bound.accumulate(numpy.asarray([2.0**24, 0.0, 2.0**24], dtype="float32"), 2)
    for _ in range(4):  # float32 would stay where it is
        bound.accumulate(numpy.asarray([1.0, 1.0, 2.0], dtype="float32"), 2)
    bound.accumulate(numpy.asarray([1.0, 1.0, 2.0], dtype="float32"), 2, learn=False)
    assert bound._accumulated.tolist() == [2.0**24 + 4, 4.0, 2.0**24 + 8]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_sum_is_the_sum_of_its_terms(activation):
    """Each term gets its own totals."""
    terms = [core.WeightedCrossEntropy(), core.Dice(level="batch"), core.LogitAdjustedCE()]
    terms += [core.Tversky(level="batch", alpha=0.2, beta=0.8), core.Focal()]
    weights = [1.0, 2.0, 0.5, 3.0, 1.5]
    read = make_targets("soft", Z)
    found = compute(Compound(terms, weights), from_logits(Z, activation), read)
    alone = [compute(loss, from_logits(Z, activation), read) for loss in terms]
    assert_allclose(found[0], sum(w * value for w, (value, _) in zip(weights, alone)))
    assert_allclose(found[1], sum(w * gradient for w, (_, gradient) in zip(weights, alone)))
    outer = Compound([Compound(terms, weights), core.Focal()], [0.5, 2.0])
    found_outer = compute(outer, from_logits(Z, activation), read)
    for outer_part, inner, focal in zip(found_outer, found, alone[-1], strict=True):
        assert_allclose(outer_part, 0.5 * inner + 2.0 * focal)


def test_a_row_of_no_class_teaches_a_softmax_nothing():
    """But one of which only some cells are known says "not these classes"."""
    y = numpy.zeros((2, 3))
    mask = numpy.asarray([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    _, gradient = compute(
        core.CrossEntropy(), from_logits(Z[:2], "softmax"), from_rows(y, mask, SPEC)
    )
    assert not gradient[0].any() and gradient[1, 0] > 0
    y, mask = numpy.asarray([[0.0, 1.0, 0.0]]), numpy.asarray([[1.0, 1.0, 0.0]])
    one = from_logits(Z[:1], "softmax")
    expected = -numpy.log(one.p[0, 1])  # it has a class, as is known
    value, _ = compute(core.CrossEntropy(), one, from_rows(y, mask, SPEC))
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("log, smooth", [(False, 0.0), (False, 1.0), (True, 0.5)])
def test_cells_that_are_not_gold_by_the_one_formula(log, smooth):
    p = numpy.asarray([1e-6, 0.2, 0.9, 1.0])
    expected = formulas.overlap(0 * p, p, 0 * p, 0.3, 0.7, smooth, log)
    value, slope = formulas.overlap_without_gold(p[:, None], 0.3, smooth, log)
    assert_allclose(value, expected[0], rtol=1e-9)
    assert_allclose(slope[:, 0], expected[2], rtol=1e-12)


def test_counts_of_positions_are_pooled():
    read = from_ids([0, 2, 1, 1, 0, 0, 2], 3, LabelSpec("test", positions=True), Z)
    found, expected = (
        compute(DiceCE(average=average), from_logits(Z, "softmax"), read)
        for average in ("auto", "micro")
    )
    assert found[0] == expected[0] and (found[1] == expected[1]).all()


def test_semimetric_dice_by_hand():
    """Dice on hard targets; and where Dice is least at p = 1 for y = 0.4, it is least at y."""
    y = numpy.eye(3)[[0, 2, 1]]
    for options in ({}, {"level": "batch"}):
        pair = core.SemimetricDice(**options), core.Dice(squared=False, **options)
        read = from_rows(y, None, SPEC)
        found = [compute(loss, from_logits(Z[:3], "sigmoid"), read) for loss in pair]
        assert_allclose(found[0][0], found[1][0])
        assert_allclose(found[0][1], found[1][1])
    p = numpy.linspace(0.01, 0.99, 99)
    least = []
    for loss in (core.SemimetricDice(smooth=0.0), core.Dice(smooth=0.0, squared=False)):
        values = [
            compute(
                loss,
                Probabilities("sigmoid", numpy.asarray([[x]])),
                from_rows(numpy.asarray([[0.4]]), None, SPEC),
            )[0]
            for x in p
        ]
        least.append(p[int(numpy.argmin(values))])
    assert least == pytest.approx([0.4, 0.99])


def test_overlap_by_hand():
    """TP 3, FP 2, FN 1: Dice 6/9; Tversky .25/.75 3/4.25; smoothed by 1."""
    counts = [numpy.asarray(x) for x in (3.0, 5.0, 4.0)]
    value, by_hits, by_predicted = formulas.overlap(*counts, 0.5, 0.5, 0.0, False)
    assert value == pytest.approx(1 - 6 / 9)
    assert by_hits == pytest.approx(-2 / 9) and by_predicted == pytest.approx(6 / 81)
    assert formulas.overlap(*counts, 0.25, 0.75, 1.0, False)[0] == pytest.approx(1 - 4 / 5.25)
    assert formulas.overlap(*counts, 0.5, 0.5, 1.0, True)[0] == pytest.approx(-numpy.log(4 / 5.5))
    nothing = [numpy.asarray(0.0)] * 3
    for log, smooth in ((False, 0.0), (True, 1e-70)):
        assert formulas.overlap(*nothing, 0.5, 0.5, smooth, log) == (0.0, 0.0, 0.0)


@pytest.mark.filterwarnings("ignore:overflow encountered in divide")  # before it is clipped
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss, activation", PAIRS, ids=PAIR_IDS)
def test_finite_scores_have_finite_gradients(loss, activation, dtype):
    """Whatever the smoothing is, at the ends and where sums are next to 0."""
    losses = [loss]
    if hasattr(loss, "smooth") and not loss.log:
        losses += [replace(loss, smooth=0.0), replace(loss, smooth=1e-30)]
    z = numpy.asarray([[a, b, 0.0] for a in (-800, -46, 46, 800) for b in (-800, -40, 3)], dtype)
    for each in losses:
        for scores in (z, z - 60, z * 0 - 46):
            for ids in ([0] * 12, [1] * 12, [2] * 12):
                for wrt in ("logits", "probabilities"):
                    read = from_ids(ids, 3, SPEC, scores)
                    value, gradient = compute(each, from_logits(scores, activation), read, wrt)
                    assert numpy.isfinite(value) and numpy.isfinite(gradient).all()


@pytest.mark.parametrize("level", ["element", "batch"])
@pytest.mark.parametrize("alpha", [0.01, 0.5])
@pytest.mark.parametrize("is_sum", [False, True])
def test_a_steep_slope_is_exact_next_to_a_certain_class(alpha, level, is_sum):
    """(1-p)^alpha falls ever faster as p goes to 1. There the gradient is p (1-p) dL/dp, which is
    known from 1-p and cannot be had as the difference of two terms that are nearly equal."""
    z = numpy.asarray([[40.0, 0.0, -3.0], [700.0, 0.0, 1.0], [0.5, 0.2, 0.0]])
    read = from_ids([0, 0, 1], 3, SPEC, z)
    loss = core.SelfAdjustingDice(alpha=alpha, level=level)
    if is_sum:
        loss = Compound([loss, core.CrossEntropy()])
    _, found = compute(loss, from_logits(z, "softmax"), read)
    exact = torch.tensor(z, requires_grad=True)
    log_p = exact.log_softmax(dim=1)
    log_q = torch.stack(
        [log_p[:, [c for c in range(3) if c != k]].logsumexp(dim=1) for k in range(3)], dim=1
    )
    s = (alpha * log_q + log_p).exp()
    y = torch.nn.functional.one_hot(torch.tensor([0, 0, 1]), 3).double()
    if level == "batch":
        hits, predicted, gold = (s * y).sum(0), s.sum(0), y.sum(0)
        f = (2 * hits + 1) / (predicted + gold + 1)
        value = 3 * (1 - f[gold > 0]).mean()
    else:
        value = (1 - (2 * s * y + 1) / (s + y + 1)).sum()
    if is_sum:
        value = value - torch.log1p(-log_q[[0, 1, 2], [0, 0, 1]].exp()).sum()
    value.backward()
    assert_allclose(found, exact.grad.numpy(), rtol=1e-9, atol=0)


def test_not_a_certain_class():
    """-log(1-p) goes on to grow by 1 with each logit, also where p rounds to 1."""
    z = numpy.asarray([[40.0, 0.0, -3.0]])
    read = from_ids([-1], 3, SPEC, z, negatives=[(0, 0)])
    _, found = compute(core.CrossEntropy(), from_logits(z, "softmax"), read)
    assert_allclose(found, [[1.0, 0.0, 0.0]], rtol=1e-9)


def test_probabilities_are_those_of_logits():
    given = from_logits(Z, "softmax")
    for name in ("log_p", "log_q", "q"):
        from_p = getattr(Probabilities("softmax", given.p), name)()
        assert_allclose(from_p, getattr(given, name)())
    ruled_out = numpy.asarray([[-numpy.inf, 0.0, 0.0], [-numpy.inf] * 3])
    assert_allclose(from_logits(ruled_out, "softmax").p, [[0.0, 0.5, 0.5], [1 / 3] * 3])


@pytest.mark.parametrize("loss", [*LOSSES, core.AsymmetricLoss()], ids=repr)
def test_a_softmax_of_one_column_is_refused(loss):
    if "[" in repr(loss) and not isinstance(loss, Compound):
        return
    read = from_ids([0, 0], 1, SPEC, Z[:2, :1])
    with pytest.raises(ValueError, match="a softmax of one column is always 1|is for sigmoids"):
        compute(loss, from_logits(Z[:2, :1], "softmax"), read)


def test_targets_of_documents_keep_their_lengths():
    read = Targets(SPEC, 3, Z, ids=numpy.zeros(7, dtype=int), lengths=[2, 0, 3, 2])
    assert read.documents(4) == [slice(0, 2), slice(2, 5), slice(5, 7)]
    assert read.documents(5) == [slice(0, 5), slice(5, 7)]
    assert list(read.rows(slice(2, 7)).lengths)[-2:] == [3, 2]


def test_a_row_counts_where_any_of_its_cells_is_known():
    read = from_ids([0, -1, -1], 3, SPEC, Z, negatives=[(1, 2)])
    assert read.known_rows().tolist() == [1, 1, 0] and read.n_rows() == 2
    read = from_ids([0, 2, -1], 3, SPEC, Z)
    for targets in (read, read.dense()):
        assert targets.best_ids().tolist() == [0, 2, -1]
    assert from_ids([0, 2], 3, SPEC, Z).best_ids().tolist() == [0, 2]


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("gap", [60.0, 84.0, 86.0])
def test_steep_slopes_next_to_1(alpha, gap):
    """In float32, where 1-p is below what p can tell, as in float64, by the logit of that class."""
    found = []
    for dtype in ("float32", "float64"):
        logits = numpy.asarray([[gap, 0.0], [-gap, 0.0]], dtype=dtype)
        targets = from_ids([0, 1], 2, LabelSpec("t"), logits)
        loss = BoundLoss(core.SelfAdjustingDice(alpha=alpha))
        gradient = loss.compute(from_logits(logits, "softmax"), targets)[1]
        found.append(gradient.diagonal())
    assert_allclose(*found, rtol=1e-4)
