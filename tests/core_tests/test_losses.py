"""The losses on arrays of every library: NumPy, torch, and array-api-strict on a device that is
not the host's, where an implicit copy to the host or a mix of devices raises. Where there is a
GPU, CuPy and CUDA, too."""

import tracemalloc

import array_api_strict
import numpy
import pytest
import torch
from numpy.testing import assert_allclose

import dice_core.losses as core
from dice_core import arrays, formulas
from dice_core.labels import LabelSpec
from dice_core.tags import tags_of
from dice_core.targets import Targets, from_ids, from_labels, read_targets
from dice_core.views import View, view_of_logits


class DiceCE(core.DiceCE):
    term_classes = (core.CrossEntropy, core.Dice)


OVERLAPS = [
    (core.Dice, {}),
    (core.Dice, {"squared": False, "log": True, "smooth": 0.0}),
    (core.SelfAdjustingDice, {}),
    (core.SelfAdjustingDice, {"alpha": 0.1}),
    (core.SelfAdjustingDice, {"alpha": 0.5, "detach_weight": True, "smooth": 0.0}),
    (core.SemimetricDice, {}),
    (core.Tversky, {"alpha": 0.3, "beta": 0.7}),
]
SETS = [{}, {"level": "batch"}, {"level": "batch", "average": "micro", "background": [0]}]
LOSSES = [
    core.CrossEntropy(),
    core.CrossEntropy(label_smoothing=0.1, class_weights=[1.0, 0.0, 2.0]),
    core.WeightedCrossEntropy(),
    core.WeightedCrossEntropy(counts=[5, 3, 1]),
    core.LogitAdjustedCE(),
    core.LogitAdjustedCE(tau=0.5, priors=[0.7, 0.2, 0.05]),
    core.Focal(),
    core.Focal(gamma=0.5),
    DiceCE(weight=0.3),
    core.Compound([core.SelfAdjustingDice(alpha=0.1), core.Focal()], [2.0, 1.0]),
    *(cls(**options, **where) for cls, options in OVERLAPS for where in SETS),
]
SPEC = LabelSpec("test")
Z = numpy.random.default_rng(0).normal(size=(7, 3)) * 2
IDS = [0, 1, -1, 2, 1, 0, 0]


def strict(array):
    device = array_api_strict.Device("device1")
    return array_api_strict.asarray(array, device=device)


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


def targets(kind, like):
    """The same truth, as ids, as rows of which some cells are masked, or soft."""
    if kind == "ids":
        return from_ids(IDS, 3, SPEC, like)
    if kind == "negatives":
        return from_ids(IDS, 3, SPEC, like, negatives=[(2, 1)])
    y = numpy.random.default_rng(1).dirichlet([1.0] * 3, size=7)
    mask = (numpy.random.default_rng(2).random((7, 3)) < 0.7) * 1.0
    return Targets(SPEC, 3, like, y=arrays.like(y, like), mask=arrays.like(mask, like))


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "negatives", "soft"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_gives_what_numpy_gives(library, loss, activation, kind, wrt):
    found = []
    for make in (numpy.asarray, LIBRARIES[library]):
        logits = make(Z)
        loss._seen = None  # running counts
        view = view_of_logits(logits, activation)
        found.append(loss.value_and_gradient(view, targets(kind, logits), wrt))
    (value, gradient), (other_value, other_gradient) = found
    assert type(other_gradient) is type(LIBRARIES[library](Z))
    assert_allclose(to_host(other_value), value, rtol=1e-10)
    assert_allclose(to_host(other_gradient), gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("options", [{}, {"beta": 2.0, "log": True}])
def test_entities_of_every_library(library, options):
    names = tags_of(["X"])
    spec = LabelSpec("test", names)
    docs = [["B-X", "L-X", "O"], [], ["U-X", None, "U-X"]]
    z = numpy.random.default_rng(0).normal(size=(6, 5))
    found = []
    for make in (numpy.asarray, LIBRARIES[library]):
        logits = make(z)
        view = view_of_logits(logits, "softmax")
        found.append(
            core.EntityDice(**options).value_and_gradient(view, from_labels(docs, spec, logits))
        )
    assert_allclose(to_host(found[1][0]), found[0][0], rtol=1e-10)
    assert_allclose(to_host(found[1][1]), found[0][1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_rows(library):
    logits = LIBRARIES[library](numpy.zeros((0, 5)))
    spec = LabelSpec("test", tags_of(["X"]))
    for loss in [DiceCE(), core.EntityDice(), core.Dice(), core.WeightedCrossEntropy()]:
        for reduce in (None, lambda part: part):  # with it, others wait for the sums of this part
            read = from_ids([], 5, spec, logits)
            read.reduce = reduce
            value, gradient = loss.value_and_gradient(view_of_logits(logits, "softmax"), read)
            assert to_host(value) == 0 and gradient.shape == (0, 5)


def test_ids_and_rows_are_the_same_truth():
    """The short way over class ids, and the long one over cells."""
    for loss in LOSSES:
        found = []
        for dense in (False, True):
            loss._seen = None
            read = from_ids(IDS, 3, SPEC, Z)
            if dense:
                weights, read = read.weights, read.dense()
                read.mask, read.weights = numpy.repeat(weights[:, None], 3, axis=1), None
            found.append(loss.value_and_gradient(view_of_logits(Z, "softmax"), read))
        assert_allclose(found[0][0], found[1][0], rtol=1e-10)
        assert_allclose(found[0][1], found[1][1], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "negatives", "soft"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_rows_in_blocks_are_the_batch(loss, activation, kind, wrt, monkeypatch):
    found = []
    for cells in (100, 6):
        monkeypatch.setattr(arrays, "CELLS_ON_HOST", cells)
        loss._seen = None
        read = targets(kind, Z)
        # Twice, for running counts; of a batch that is itself a part of something larger.
        read.reduce = lambda part: 2.0 * part
        views = [view_of_logits(Z, activation) for _ in range(2)]
        found.append([loss.value_and_gradient(view, read, wrt) for view in views])
    for (value, gradient), (other_value, other_gradient) in zip(*found):
        assert_allclose(other_value, value, rtol=1e-10)
        assert_allclose(other_gradient, gradient, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("wrt", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["ids", "rows"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if "[" not in repr(loss)], ids=repr)
def test_three_arrays_beside_the_scores_are_enough(loss, activation, kind, wrt, monkeypatch):
    monkeypatch.setattr(arrays, "CELLS_ON_HOST", 500)
    logits = numpy.random.default_rng(0).normal(size=(500, 50))
    read = from_ids(numpy.arange(500) % 50, 50, SPEC, logits)
    read = read.dense() if kind == "rows" else read
    loss._seen = None
    loss.value_and_gradient(view_of_logits(logits[:2], activation), read.rows(slice(0, 2)), wrt)
    tracemalloc.start()
    loss.value_and_gradient(view_of_logits(logits, activation), read, wrt)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * logits.nbytes  # with blocks and numbers of rows


def test_class_ids_take_little_beside_the_gradient():
    """Not even numbers of rows, which weigh much where there are few columns."""
    p = numpy.full((20_000, 20), 0.05, dtype="float32")
    read, loss = from_ids(numpy.arange(20_000) % 20, 20, SPEC, p), DiceCE()
    loss.value_and_gradient(View("softmax", p[:2].copy(), used_up=True), read.rows(slice(0, 2)))
    tracemalloc.start()
    _, gradient = loss.value_and_gradient(View("softmax", p, used_up=True), read)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert gradient is p
    assert peak < 0.4 * p.nbytes


def test_what_terms_contribute_is_counted_once_in_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "CELLS_ON_HOST", 6)
    loss = core.Compound([core.Dice(level="batch"), core.Compound([core.Focal()])])
    loss.watch_terms()
    value, _ = loss.value_and_gradient(view_of_logits(Z, "softmax"), targets("ids", Z))
    assert_allclose(sum(loss.take_watched().values()), value, rtol=1e-10)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_three_arrays_beside_the_scores_are_enough_for_entities(activation, monkeypatch):
    monkeypatch.setattr(arrays, "CELLS_ON_HOST", 500)
    names = tags_of([str(i) for i in range(12)])
    spec, n = LabelSpec("test", names), len(names)
    scores = numpy.full((500, n), 1 / n, dtype="float32")
    ids = numpy.random.default_rng(0).integers(0, n, size=500)
    loss = core.EntityDice()
    loss.value_and_gradient(View(activation, scores[:2]), from_ids(ids[:2], n, spec, scores))
    read = from_ids(ids, n, spec, scores)
    tracemalloc.start()
    loss.value_and_gradient(View(activation, scores), read)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * scores.nbytes


def test_a_loss_of_ones_own_sees_the_batch(monkeypatch):
    """It may compare rows: nothing cuts them apart unless it says that it can do with parts."""

    class Own(core.Focal):
        def compute_loss(self, view, targets):
            self.seen = view.p.shape
            return super().compute_loss(view, targets)

    monkeypatch.setattr(arrays, "CELLS_ON_HOST", 6)
    for loss in (Own(), core.Compound([Own()])):
        loss.value_and_gradient(view_of_logits(Z, "sigmoid"), targets("ids", Z))
        assert (loss if isinstance(loss, Own) else loss.losses["0"]).seen == Z.shape


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 0.5, 1.0])
def test_cells_that_are_not_gold_by_the_one_formula(log, smooth):
    p = numpy.asarray([1e-6, 0.2, 0.9, 1.0])
    expected = formulas.overlap(0 * p, p, 0 * p, 0.3, 0.7, smooth, log)
    value, slope = formulas.overlap_of_others(p[:, None], 0.3, smooth, log)
    assert_allclose(value, expected[0], rtol=1e-9)
    assert_allclose(slope[:, 0], expected[2], rtol=1e-12)


def test_semimetric_dice_by_hand():
    """Dice on hard truths; and where Dice is least at p = 1 for y = 0.4, it is least at y."""
    y = numpy.eye(3)[[0, 2, 1]]
    for options in ({}, {"level": "batch"}):
        pair = [cls(**options) for cls in (core.SemimetricDice, core.Dice)]
        pair[1].squared, pair[1].plain = False, True
        found = [
            loss.value_and_gradient(view_of_logits(Z[:3], "sigmoid"), Targets(SPEC, 3, Z, y=y))
            for loss in pair
        ]
        assert_allclose(found[0][0], found[1][0])
        assert_allclose(found[0][1], found[1][1])
    p = numpy.linspace(0.01, 0.99, 99)[:, None]
    least = []
    for loss in (core.SemimetricDice(smooth=0.0), core.Dice(smooth=0.0, squared=False)):
        values = [
            loss.compute_loss(
                View("sigmoid", row[None]), Targets(SPEC, 1, p, y=0 * row[None] + 0.4)
            )
            for row in p
        ]
        least.append(p[int(numpy.argmin([value for value, _ in values])), 0])
    assert least == pytest.approx([0.4, 0.99])
    view, read = View("sigmoid", numpy.asarray([[0.3]])), numpy.asarray([[0.4]])
    value, _ = core.SemimetricDice().compute_loss(view, Targets(SPEC, 1, read, y=read))
    assert value == pytest.approx(1 - (2 * 0.3 + 1) / (0.3 + 0.4 + 1))


def test_overlap_by_hand():
    """TP 3, FP 2, FN 1: Dice 6/9; Tversky .25/.75 3/4.25; smoothed by 1."""
    counts = [numpy.asarray(x) for x in (3.0, 5.0, 4.0)]
    value, by_hits, by_predicted = formulas.overlap(*counts, 0.5, 0.5, 0.0, False)
    assert value == pytest.approx(1 - 6 / 9)
    assert by_hits == pytest.approx(-2 / 9) and by_predicted == pytest.approx(6 / 81)
    assert formulas.overlap(*counts, 0.25, 0.75, 1.0, False)[0] == pytest.approx(1 - 4 / 5.25)
    assert formulas.overlap(*counts, 0.5, 0.5, 0.0, True)[0] == pytest.approx(numpy.log(1.5))


def test_parts_add_up_to_the_whole():
    """Of chunks that know the sums over all: value and gradient are those of one batch."""
    for loss in [DiceCE(), core.SelfAdjustingDice(level="batch"), core.Dice(level="batch")]:
        view, read = view_of_logits(Z, "softmax"), from_ids(IDS, 3, SPEC, Z)
        value, gradient = loss.value_and_gradient(view, read)
        sums = []

        def record(part, sums=sums):
            sums.append(part)
            return part

        parts = []
        for rows in (slice(0, 3), slice(3, 7)):
            part = from_ids(IDS[rows], 3, SPEC, Z)
            part.reduce = record
            loss.value_and_gradient(view_of_logits(Z[rows], "softmax"), part)
        n_calls = len(sums) // 2
        whole = [sums[i] + sums[n_calls + i] for i in range(n_calls)]
        for rows in (slice(0, 3), slice(3, 7)):
            part = from_ids(IDS[rows], 3, SPEC, Z)
            replay = iter(whole)
            part.reduce = lambda _, replay=replay: next(replay)
            parts.append(loss.value_and_gradient(view_of_logits(Z[rows], "softmax"), part))
        assert sum(value for value, _ in parts) == pytest.approx(value)
        assert_allclose(numpy.concatenate([g for _, g in parts]), gradient, rtol=1e-9, atol=1e-12)


def test_reading_keeps_the_library():
    like = strict(Z)
    read = read_targets(["a", None], like[:2, :], LabelSpec("x", ("a", "b", "c")), None, None, None)
    assert type(read.ids) is type(read.weights) is type(like)


def test_a_view_of_probabilities_is_that_of_logits():
    p = view_of_logits(Z, "softmax").p
    for name in ("log_p", "log_q", "q"):
        assert_allclose(
            getattr(View("softmax", p), name)(), getattr(view_of_logits(Z, "softmax"), name)()
        )
