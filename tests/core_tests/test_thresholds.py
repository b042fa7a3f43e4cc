"""Thresholds, on plain arrays: hand-computed, and against trying everything."""

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import product

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dice_core.thresholds import calibrate as calibration
from dice_core.thresholds import report
from dice_core.thresholds.choose import choose
from dice_core.thresholds.decisions import LIMIT, Rule, Task
from dice_core.thresholds.decoded import DecodedLabels, SpanCounts
from dice_core.thresholds.estimate import estimate_gain
from dice_core.thresholds.objectives import AtFloor, FScore, Objective, as_objective, overall
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels
from dice_core.thresholds.scores import calibrate_scores, tune_scores

ALL = numpy.ones(6, dtype=bool)


def task(objective, n):
    return Task(objective, numpy.ones(n, dtype=bool), numpy.ones(n, dtype=bool))


def fit(labels, rule, docs, task):
    """The shift of one rule."""
    return labels.fit([rule], docs, task)[0]


def counts(labels, shift, docs=None):
    docs = numpy.ones(labels.n_docs, dtype=bool) if docs is None else docs
    return labels.counts(shift, numpy.where(docs, 0, -1), 1)[0]


def value(objective, counts):
    return float(overall(objective.shown, counts, objective.average))


def one_label(scores, gold):
    return IndependentLabels(["x"], numpy.reshape(scores, (-1, 1)), numpy.reshape(gold, (-1, 1)))


# -- objectives ----------------------------------------------------------------------------


def test_objectives_by_hand():
    # Two labels: (tp, fp, fn) 3 1 1 and 1 3 0.
    counts = numpy.array([[3, 1, 1], [1, 3, 0]])
    assert value(FScore("micro"), counts) == pytest.approx(2 * 4 / (2 * 4 + 4 + 1))
    assert value(FScore("macro"), counts) == pytest.approx((6 / 8 + 2 / 5) / 2)
    # F2 of the first: 5 * 3 / (5 * 3 + 4 * 1 + 1).
    assert FScore("micro", 2.0).shown(counts[0]) == pytest.approx(15 / 20)
    reached = AtFloor("micro", "precision", 0.5)  # precision 4/8
    pooled = counts.sum(axis=0)
    assert reached.rank(pooled) == pytest.approx(1 + 4 / 5) and reached.shortfall(pooled) <= 0
    missed = AtFloor("micro", "precision", 0.6)
    assert missed.rank(pooled) == pytest.approx(0.5)
    assert missed.shortfall(pooled) == pytest.approx(0.1)
    assert missed.shown(pooled) == pytest.approx(4 / 5)  # never the rank
    assert AtFloor("micro", "recall", 0.8).rank(pooled) == pytest.approx(1 + 0.5)
    # Labels without examples, and what each toolkit's macro average makes of them.
    with_none = numpy.array([[3, 1, 1], [0, 4, 0], [0, 0, 0]])
    for over, n in (("gold", 1), ("seen", 2), ("all", 3)):
        found = overall(FScore().shown, with_none, "macro", over)
        assert found == pytest.approx(6 / 8 / n)
    assert overall(FScore().shown, with_none, "micro") == pytest.approx(6 / 12)
    assert value(FScore("macro"), numpy.zeros((2, 3))) == 0


def test_nothing_predicted_reaches_no_floor():
    """Whatever the floor: its rank is the lowest there is."""
    for measure in ("precision", "recall"):
        objective = AtFloor("micro", measure, 0.01)
        nothing, little = numpy.array([0, 0, 9]), numpy.array([1, 500, 500])
        assert objective.shortfall(nothing) > 0
        assert objective.rank(nothing) < objective.rank(little)


def test_what_users_write():
    parse = as_objective
    assert parse(None, "macro") == FScore("macro")
    assert parse("f1") == parse("micro") == parse("micro_f1") == FScore("micro")
    assert parse("macro_f2") == FScore("macro", 2.0) and parse("F0.5").beta == 0.5
    assert parse("precision >= 0.9") == AtFloor("micro", "precision", 0.9)
    assert parse("macro recall>=0.8") == AtFloor("macro", "recall", 0.8)
    assert str(parse("precision>=0.9")) == "micro recall at precision >= 0.9"
    for wrong in (
        "accuracy",
        "f",
        "fx",
        3,
        {"beta": 2.0},
        "precision>0.9",
        "f-1",
        "f0",
        "recall>=2",
        "precision>=x",
    ):
        with pytest.raises(ValueError, match="objective must|beta|between 0 and 1"):
            parse(wrong)
    with pytest.raises(ValueError, match="average"):
        FScore("weighted")
    with pytest.raises(ValueError, match="measure must be 'precision' or 'recall'"):
        AtFloor("micro", "f1", 0.5)


# -- independent labels --------------------------------------------------------------------


def test_the_best_threshold_by_hand():
    labels = one_label([3.0, 2.0, 1.0, 0.0, -1.0, -2.0], [1, 1, 0, 1, 0, 0])
    # The four highest: tp 3, fp 1, fn 0, F1 6/7; the threshold is halfway to the fifth.
    shift = fit(labels, Rule("labels", 1.0), ALL, task(FScore("macro"), 1))
    assert shift == pytest.approx([0.5])
    assert counts(labels, shift, ALL).tolist() == [[3, 1, 0]]
    # Where the fourth and the fifth are not looked at, two are best, and the threshold is in the
    # middle of all that is between the second and the third.
    some = numpy.array([1, 1, 1, 0, 0, 0], dtype=bool)
    assert fit(labels, Rule("labels", 1.0), some, task(FScore("macro"), 1)) == pytest.approx([-1.5])
    # Precision of 1 is kept by the two highest.
    floor = task(AtFloor("macro", "precision", 0.99), 1)
    assert fit(labels, Rule("labels", 1.0), ALL, floor) == pytest.approx([-1.5])


def test_equal_scores_are_on_one_side_and_minus_infinity_is_never_predicted():
    labels = one_label([1.0, 1.0, 1.0, -numpy.inf, -numpy.inf], [1, 0, 1, 1, 0])
    everything = numpy.ones(5, dtype=bool)
    shift = fit(labels, Rule("labels", 1.0), everything, task(FScore("macro"), 1))
    assert counts(labels, shift, everything).tolist() == [[2, 1, 1]]
    assert abs(shift[0]) <= LIMIT
    never = one_label([-numpy.inf] * 3, [1, 1, 0])
    shift = fit(never, Rule("labels", 1.0), numpy.ones(3, bool), task(FScore("macro"), 1))
    assert numpy.isfinite(shift).all()
    with pytest.raises(ValueError, match="NaN"):
        one_label([numpy.nan, 1.0], [1, 0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.3, 1.0, 2.5]), st.booleans()),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from([FScore("macro"), FScore("macro", 2.0), AtFloor("macro", "precision", 0.7)]),
)
def test_the_best_threshold_is_as_good_as_any(rows, objective):
    scores, gold = numpy.array([s for s, _ in rows]), numpy.array([g for _, g in rows])
    assume(gold.any())  # labels without examples are left alone
    labels, everything = one_label(scores, gold), numpy.ones(len(rows), dtype=bool)
    shift = fit(labels, Rule("labels", 1.0), everything, task(objective, 1))
    found = objective.rank(counts(labels, shift, everything))[0]
    middles = numpy.unique(scores)
    tried = [-9.0, 9.0, *((middles[1:] + middles[:-1]) / 2)]
    values = [
        objective.rank(counts(labels, numpy.array([-threshold]), everything))[0]
        for threshold in tried
    ]
    assert found == pytest.approx(max(values))


def test_pooled_thresholds_are_as_good_as_any_pair():
    rng = numpy.random.default_rng(3)
    gold = rng.random((12, 2)) < (0.5, 0.2)
    scores = (rng.normal(size=(12, 2)) + 1.5 * gold).round(2)
    labels, everything = IndependentLabels(["a", "b"], scores, gold), numpy.ones(12, dtype=bool)
    objective = FScore("micro")
    shift = fit(labels, Rule("labels", 0.0), everything, task(objective, 2))
    edges = [numpy.concatenate([[-9], numpy.sort(scores[:, c]) + 1e-6, [9]]) for c in range(2)]
    best = max(
        value(objective, counts(labels, -numpy.array(pair), everything)) for pair in product(*edges)
    )
    # The price is searched on a grid, and a lucky one is not taken.
    assert value(objective, counts(labels, shift, everything)) > best - 0.05


def test_unknown_cells_do_not_count():
    known = numpy.array([[True], [False], [True]])
    labels = IndependentLabels(["x"], [[1.0], [1.0], [-1.0]], [[1], [0], [1]], known=known)
    assert labels.n_examples.tolist() == [2]
    assert counts(labels, numpy.zeros(1), numpy.ones(3, bool)).tolist() == [[1, 0, 1]]
    assert labels.look_at(numpy.ones(3, bool))[3, 0].tolist() == [2, 0, 0]


# -- labels that compete -------------------------------------------------------------------


def test_competing_labels_by_hand():
    # b is gold twice and one short of being predicted; lifting it by more than 1 costs one a.
    scores = numpy.array([[2.0, 1.0], [2.0, 1.0], [1.0, 0.0], [3.0, 0.0]])
    labels = CompetingLabels(["a", "b"], scores, [1, 1, 0, 0])
    everything = numpy.ones(4, dtype=bool)
    assert counts(labels, numpy.zeros(2), everything).tolist() == [[2, 2, 0], [0, 0, 2]]
    assert counts(labels, numpy.array([0.0, 1.1]), everything).tolist() == [[1, 0, 1], [2, 1, 0]]
    shift = fit(labels, Rule("labels", 1.0), everything, task(FScore("macro"), 2))
    assert 1 < shift[1] - shift[0] < 3
    # A background's own row is not counted.
    none = CompetingLabels(["none", "b"], scores, [1, 1, 0, 0], background=0)
    assert counts(none, numpy.zeros(2), everything).tolist() == [[0, 0, 0], [0, 0, 2]]
    assert none.n_examples.tolist() == [0, 2]
    assert [rule.kind for rule in none.rules(FScore("micro"))] == ["common"]
    assert CompetingLabels(["a"], [[1.0]], [0]).rules(FScore()) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["micro", "macro"]))
def test_a_line_search_is_as_good_as_any_shift_of_one_label(seed, average):
    rng = numpy.random.default_rng(seed)
    scores, gold = rng.normal(size=(9, 3)).round(1), rng.integers(0, 3, 9)
    scores[rng.random((9, 3)) < 0.1] = -numpy.inf
    scores[:, 0] = numpy.where(numpy.isinf(scores).all(axis=1), 0.0, scores[:, 0])
    labels, objective = CompetingLabels(list("abc"), scores, gold), FScore(average)
    everything = numpy.ones(9, dtype=bool)

    def at(shift_of_b):
        return objective.rank(counts(labels, numpy.array([0.0, shift_of_b, 0.0])))[1]

    found = labels.fit_label(everything, 1, objective, numpy.zeros(3))
    for tried in numpy.arange(-7.975, 8, 0.05):
        assert at(tried) <= at(found) + 1e-9


# -- decoded labels ------------------------------------------------------------------------


def decoded(scores, gold, **kwargs):
    """Two labels, each decided on its own, as if a decoder did it."""
    calls = []

    def decode(shift, docs):
        calls.append(shift.copy())
        found = scores + shift[:-1] + shift[-1] >= 0
        counts = numpy.stack([found & gold, found & ~gold, ~found & gold], axis=2)
        return counts.astype(float)

    return DecodedLabels(["a", "b"], decode, len(scores), gold.sum(axis=0), **kwargs), calls


def test_decoded_labels_are_tuned_with_few_decodings():
    rng = numpy.random.default_rng(0)
    gold = rng.random((300, 2)) < 0.3
    scores = rng.normal(size=(300, 2)) + 2.5 * gold - 3.0
    told = []
    labels, calls = decoded(scores, gold, progress=lambda: told.append(1))
    choice = choose(labels, FScore("micro"))
    assert not choice.reason and choice.gain.value > 0.2 and 1.0 < choice.shift[-1] < 2.5
    assert len(told) == len(calls) < 300
    labels, _ = decoded(scores, gold, common=False)
    choice = choose(labels, FScore("micro"))
    assert choice.shift[-1] == 0 and (choice.shift[:2] > 0).all()
    nothing = numpy.full((300, 2), -100.0)  # nothing is found, whatever the threshold
    labels, _ = decoded(nothing, gold)
    assert "no threshold is better" in choose(labels, FScore("micro")).reason


def test_a_search_ends_where_the_ends_of_the_grid_are_best():
    """Of a floor that nothing can keep, and of labels that are found by no shift."""
    gold = numpy.arange(80).reshape(40, 2) % 3 == 0
    for scores, objective in (
        (numpy.where(gold, -2.9, 2.0), AtFloor("micro", "precision", 0.9)),
        (numpy.full((40, 2), -50.0), FScore()),
        (numpy.where(gold, -2.9 - 0.5 * (numpy.arange(40) % 9)[:, None], -20.0), FScore()),
    ):
        labels, calls = decoded(scores, gold)
        choice = choose(labels, objective)
        assert len(calls) < 60 and numpy.abs(choice.shift).max() <= LIMIT
    assert choice.shift[-1] > 3.0  # beyond the grid, where it pays


def test_spans_are_counted_by_hand():
    count = SpanCounts(
        ["A", "B"],
        gold=[[(0, 1, "A"), (2, 3, "B")], [(0, 2, "A")]],
        unknown=[frozenset([6]), frozenset()],
    )
    assert count.n_examples.tolist() == [2, 1]
    # One is right; one is not; one is where nothing is known.
    found = [(0, 0, 1, "A"), (0, 2, 4, "B"), (0, 6, 7, "B")]
    assert count(found).tolist() == [[[1, 0, 0], [0, 1, 1]], [[0, 0, 1], [0, 0, 0]]]
    assert count.is_right(found).tolist() == [True, False, False]
    assert count([]).sum(axis=0).tolist() == [[0, 0, 2], [0, 0, 1]]
    # Other tokens: 0 and 1 are gold's 0, 2 fits none. Two spans that become one are wrong once
    # more, or are one.
    align = [lambda start, end: None if start == 2 else (start // 2, (end + 1) // 2)]
    found = [(0, 0, 1, "A"), (0, 0, 2, "A"), (0, 2, 3, "A")]
    for once, expected in ((False, [1, 1, 0]), (True, [1, 0, 0])):
        count = SpanCounts(["A"], [[(0, 1, "A")]], align=align, once=once)
        assert count(found).tolist() == [[expected]]


# -- choosing ------------------------------------------------------------------------------


def rare_labels(seed=0, n=600):
    """Eight labels, from frequent to rare, with scores that are 2 too low."""
    rng = numpy.random.default_rng(seed)
    prior = numpy.geomspace(0.4, 0.005, 8)
    gold = rng.random((n, 8)) < prior
    scores = rng.normal(size=(n, 8)) + 2 * gold - 3
    return IndependentLabels([f"label{c}" for c in range(8)], scores, gold)


def test_what_is_reported_is_what_is_found_on_new_text():
    """The gain on other documents lies inside of the 95 % interval, of rules of all kinds."""
    inside, gaps = [], []
    for seed in range(40):
        dev, test = rare_labels(2 * seed, 300), rare_labels(2 * seed + 1, 300)
        objective = FScore(("micro", "macro")[seed % 2])
        choice = choose(dev, objective)
        gain = value(objective, counts(test, choice.shift)) - value(
            objective, counts(test, numpy.zeros(8))
        )
        assert gain > 0.05
        inside.append(choice.gain.low <= gain <= choice.gain.high)
        gaps.append(choice.gain.value - gain)
    assert abs(numpy.mean(gaps)) < 0.02 and numpy.mean(inside) >= 0.9


def test_luck_is_not_called_a_gain():
    """Scores that know nothing: what is promised is not more than what is found."""
    promised, found = [], []
    for seed in range(30):
        rng = numpy.random.default_rng(seed)
        gold, scores = rng.random((2, 80, 5)) < 0.3, rng.normal(size=(2, 80, 5))
        dev, test = (IndependentLabels(list("abcde"), z, y) for z, y in zip(scores, gold))
        before = value(FScore(), counts(test, numpy.zeros(5)))
        choice = choose(dev, FScore())
        seen = value(FScore(), choice.seen) - value(FScore(), choice.before)
        assert seen >= 0  # never worse on what it has seen
        promised.append(0.0 if choice.gain is None else choice.gain.value)
        found.append(value(FScore(), counts(test, choice.shift)) - before)
    assert numpy.mean(promised) < numpy.mean(found) + 0.02


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["micro", "macro", "precision>=0.8", "macro recall>=0.7", "f2"]),
    st.booleans(),
)
def test_what_is_chosen_is_never_worse_on_what_was_seen(seed, spec, compete):
    """Nor are labels that are left alone moved, whatever the objective and the kind of labels."""
    rng = numpy.random.default_rng(seed)
    objective, n = as_objective(spec), int(rng.integers(12, 60))
    scores = rng.normal(size=(n, 3)).round(1)
    if compete:
        labels = CompetingLabels(list("abc"), scores, rng.integers(-1, 3, n))
    else:
        labels = IndependentLabels(list("abc"), scores, rng.random((n, 3)) < 0.4)
    choice = choose(labels, objective, {"c": as_objective("recall>=0.6")} if seed % 2 else None)
    assert choice.reason or choice.shift.any()
    if not compete:
        for name in choice.left:
            assert choice.shift["abc".index(name)] == 0 or not objective.has_floor
    if seed % 2 or objective.average == "macro" and objective.has_floor:
        return
    rank = [overall(objective.rank, of, objective.average) for of in (choice.before, choice.seen)]
    assert rank[1] >= rank[0]


def test_the_interval_by_hand():
    # Forty groups of one gold example each, of which every other one is found afterwards.
    before = numpy.zeros((40, 1, 3))
    before[:, 0, 2] = 1
    after = before.copy()
    after[::2, 0] = [1, 0, 0]
    recall = AtFloor("micro", "precision", 0.5).shown
    gain = estimate_gain(lambda counts: recall(counts[..., 0, :]), before, after)
    error = numpy.std([1.0, 0.0] * 20, ddof=1) / numpy.sqrt(40)
    half = 2.0227 * 2**0.5 * error  # Student's t, 39 degrees of freedom; the chance of two samples
    assert gain == pytest.approx((0.5, 0.5 - half, 0.5 + half), rel=0.001)


def test_rare_labels_are_left_alone_and_few_examples_shrink():
    labels = rare_labels()
    few = labels.n_examples < 20
    assert few.any() and not few.all()
    choice = choose(labels, FScore("macro"), min_examples=20)
    assert (choice.shift[few] == 0).all() and (choice.shift[~few] != 0).all()
    everything = numpy.ones(labels.n_docs, dtype=bool)
    of = task(FScore("macro"), 8)
    common, own, shrunk = (
        fit(labels, rule, everything, of)
        for rule in (Rule("common"), Rule("labels", 1.0, 0.0), Rule("labels", 1.0, 30.0))
    )
    weight = labels.n_examples / (labels.n_examples + 30.0)
    numpy.testing.assert_allclose(shrunk, weight * own + (1 - weight) * common)
    assert len(set(common.tolist())) == 1


def test_nothing_is_changed_where_nothing_is_better():
    rng = numpy.random.default_rng(1)
    gold = rng.random((300, 1)) < 0.5
    scores = numpy.where(gold, 5.0, -5.0)
    perfect = choose(IndependentLabels(["x"], scores, gold), FScore())
    assert "no threshold is better" in perfect.reason and not perfect.shift.any()
    empty = choose(IndependentLabels(["x"], numpy.zeros((0, 1)), []), FScore())
    assert "no gold" in empty.reason
    two = choose(one_label([1.0] * 6, [1] * 6), FScore(), min_examples=7)
    assert "7 examples" in two.reason
    with pytest.raises(ValueError, match="no label 'y'"):
        choose(one_label([1.0] * 6, [1] * 6), FScore(), {"y": FScore()})
    with pytest.raises(ValueError, match="n_folds"):
        choose(one_label([1.0], [1]), FScore(), n_folds=1)


@dataclass(frozen=True)
class Cost(Objective):
    """What a miss costs, and a false alarm: one class, and nothing else to touch."""

    name = "cost"

    def shown(self, counts):
        tp, fp, fn = (numpy.asarray(counts, dtype="float64")[..., i] for i in range(3))
        return tp / numpy.maximum(tp + fp + 10 * fn, 1)

    rank = shown


def test_an_objective_of_ones_own():
    dev = rare_labels()
    cost, f1 = (
        tune_scores(dev.scores, dev.gold, objective=objective).report
        for objective in (Cost("micro"), "micro")
    )
    assert "micro cost gains" in str(cost) and cost.gain.low > 0
    assert cost.seen.micro.r > f1.seen.micro.r + 0.05
    classes = numpy.where(dev.gold[:, 0], 1, 0)
    found = tune_scores(dev.scores[:, :2], classes, objective=Cost("macro"))
    assert found.report.objective == "macro cost"


# -- calibration ---------------------------------------------------------------------------


def test_calibration_by_hand():
    # Bins of 0.9 (three, two of them right) and 0.2 (two, none right).
    p, right = [0.92, 0.94, 0.96, 0.21, 0.23], [1, 1, 0, 0, 0]
    expected = (abs(2.82 - 2) + abs(0.44 - 0)) / 5
    assert calibration.expected_calibration_error(p, right) == pytest.approx(expected)
    squares = 0.08**2 + 0.06**2 + 0.96**2 + 0.21**2 + 0.23**2
    assert calibration.brier(p, right) == pytest.approx(squares / 5)
    assert calibration.measure([], []) == calibration.Calibration(0, 0.0, 0.0, 0.0)
    assert calibration.sigmoid([-800.0, 0.0, 800.0]).tolist() == [0.0, 0.5, 1.0]
    assert calibration.logit([0.0, 0.5, 1.0]).tolist() == [-40.0, 0.0, 40.0]
    with pytest.raises(ValueError, match="one axis"):
        calibration.brier([0.5], [1, 0])


def test_the_temperature_is_found():
    rng = numpy.random.default_rng(0)
    z = rng.normal(size=(20000, 4))
    p = calibration.softmax(z)
    gold = (rng.random((20000, 1)) < p.cumsum(axis=1)).argmax(axis=1)
    assert calibration.fit_softmax(3 * z, gold) == pytest.approx(3, rel=0.05)
    z[:, 3], p_inf = -numpy.inf, None
    assert p_inf is None and numpy.isfinite(calibration.fit_softmax(z[gold < 3], gold[gold < 3]))
    # About a threshold that stays where it is.
    y = rng.random(20000) < calibration.sigmoid(z[:, 0])
    assert calibration.fit_sigmoid(2 * z[:, 0], y) == pytest.approx(2, rel=0.06)
    y = rng.random(20000) < calibration.sigmoid(z[:, 0] - 1.5)
    moved = 2 * z[:, 0] - 1.5
    assert calibration.fit_sigmoid(moved, y, center=-1.5) == pytest.approx(2, rel=0.06)
    assert calibration.fit_softmax(numpy.zeros((0, 2)), []) == 1.0
    assert calibration.fit_sigmoid(numpy.zeros((0, 2)), numpy.zeros((0, 2))) == 1.0


# -- the report ----------------------------------------------------------------------------


def test_the_report_is_printed_and_kept(tmp_path):
    labels, objective = rare_labels(), FScore("macro")
    by_label = {"label0": as_objective("recall>=0.9")}
    choice = choose(labels, objective, by_label)
    part = report.report_choice("cats", "textcat", labels, objective, by_label, choice, 0.0)
    tuned = report.TuneReport([part])
    text = str(tuned)
    for words in (
        "macro F1",
        "before",
        "estimate",
        "label0",
        "precision at recall >= 0.9",
        "95 % interval",
    ):
        assert words in text
    assert part.labels[0].threshold == pytest.approx(calibration.sigmoid(-choice.shift[0]))
    assert tuned["cats"] is part and list(tuned) == [part] and len(tuned) == 1
    with pytest.raises(KeyError):
        tuned["nobody"]
    kept = json.loads(tuned.to_json(tmp_path / "report.json"))
    assert kept == json.loads((tmp_path / "report.json").read_text())
    row = kept["components"][0]["labels"][1]
    assert row["label"] == "label1" and row["n"] > 0
    assert row["estimate"] == part.labels[1].estimate._asdict()
    assert kept["components"][0]["before"]["macro"]["f"] == part.before.macro.f
    assert "nothing to look at" in str(report.TuneReport([]))


def test_it_needs_numpy_alone():
    code = """
import sys
import dice_core.thresholds.component, dice_core.thresholds.scores
heavy = {"torch", "spacy", "thinc", "flair", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- scores alone --------------------------------------------------------------------------


def test_thresholds_of_scores_are_those_of_the_labels():
    dev, names = rare_labels(), [f"label{c}" for c in range(8)]
    expected = choose(dev, FScore("macro"))
    found = tune_scores(dev.scores, dev.gold, names=names, objective="macro")
    assert list(found.shifts.values()) == pytest.approx(expected.shift.tolist(), abs=1e-8)
    assert found.report.gain == expected.gain and "macro F1 gains" in str(found.report)
    for name, shift in found.shifts.items():
        assert found.thresholds[name] == pytest.approx(calibration.sigmoid(-shift), abs=1e-7)
    p = calibration.sigmoid(dev.scores)
    assert (found.predict(dev.scores) == (p >= list(found.thresholds.values()))).mean() > 0.9999
    assert json.loads(json.dumps([found.shifts, found.thresholds])) == [
        found.shifts,
        found.thresholds,
    ]
    single = tune_scores(dev.scores, dev.gold, names=names, labels={"label0": "recall>=0.9"})
    assert single.report.labels[0].estimate.r >= 0.88


def test_scores_of_classes_and_of_tokens():
    rng = numpy.random.default_rng(0)
    targets = rng.choice(3, p=[0.8, 0.15, 0.05], size=(60, 9))
    scores = rng.normal(size=(60, 9, 3)) + 1.5 * numpy.eye(3)[targets] + [2.0, 0.0, 0.0]
    targets[:, 7:] = -100  # padding
    found = tune_scores(scores, targets, names=["O", "A", "B"], background="O")
    assert found.thresholds is None and found.shifts["O"] < 0 and found.report.gain.low > 0
    assert found.report.n_docs == 60 and [row.label for row in found.report.labels] == ["A", "B"]
    known = targets >= 0
    before, after = scores.argmax(-1)[known], found.predict(scores)[known]

    def micro_f1(predicted, y=targets[known]):
        tp = ((predicted == y) & (y > 0)).sum()
        return 2 * tp / ((predicted > 0).sum() + (y > 0).sum())

    assert found.report.before.micro.f == pytest.approx(micro_f1(before))
    assert found.report.seen.micro.f == pytest.approx(micro_f1(after))


def test_rows_of_a_group_stay_together():
    """Ten copies of each row: without groups, what is seen is taken for what is new."""
    promised = {}
    for seed in range(6):
        rng = numpy.random.default_rng(seed)
        scores = numpy.repeat(rng.normal(size=(40, 4)), 10, axis=0)
        targets = numpy.repeat(rng.random((40, 4)) < 0.3, 10, axis=0)
        for name, groups in (("none", None), ("groups", numpy.repeat(numpy.arange(40), 10))):
            gain = tune_scores(scores, targets, groups=groups, max_loss=1.0).report.gain
            promised.setdefault(name, []).append(0.0 if gain is None else gain.value)
    assert numpy.mean(promised["none"]) > numpy.mean(promised["groups"]) + 0.02


def test_unknown_targets_do_not_count():
    dev = rare_labels()
    targets = dev.gold.astype("float64")
    expected = tune_scores(dev.scores[:500], targets[:500])
    for unknown in (-100, numpy.nan):
        targets[500:] = unknown
        found = tune_scores(dev.scores, targets)
        assert found.report.before == expected.report.before


def test_temperatures_of_scores():
    rng = numpy.random.default_rng(0)
    z = rng.normal(size=(4000, 3))
    y = rng.random((4000, 3)) < calibration.sigmoid(z)
    found = calibrate_scores(3 * z, y, names=list("abc"))
    assert found.temperature == pytest.approx(3, rel=0.1) and found.after.nll < found.before.nll


@pytest.mark.parametrize(
    "scores, targets, options, message",
    [
        (numpy.zeros((4, 3)), [0, 1], {}, r"got \(4, 3\) and \(2,\)"),
        (numpy.zeros((4, 1)), [0, 1, 0, 1], {}, r"one column.*\(4, 1\)"),
        (numpy.zeros(4), [0, 1, 0, 1], {}, "scores must be"),
        (numpy.zeros((4, 2)), [0, 1, 2, 0], {}, "columns, from 0 to 1.*got 2"),
        (numpy.zeros((2, 2)), [[0, 1], [0.5, 0]], {}, "0 or 1.*got 0.5"),
        (numpy.zeros((2, 2)), [0, 1], {"names": ["a"]}, "names must be 2"),
        (numpy.zeros((2, 2)), [0, 1], {"background": "O"}, "no label 'O'"),
        (numpy.zeros((2, 2)), [[0, 1], [1, 0]], {"background": 0}, "that compete"),
        (numpy.zeros((2, 2)), [0, 1], {"groups": [1, 2, 3]}, r"groups must be \(2,\)"),
        (numpy.zeros((2, 2)), [0, 1], {"labels": {"x": "f1"}}, "no label 'x'"),
        (numpy.zeros((2, 2)), [0, 1], {"objective": "accuracy"}, "accuracy"),
        (numpy.full((2, 2), numpy.nan), [0, 1], {}, "diverged"),
    ],
)
def test_scores_that_do_not_fit(scores, targets, options, message):
    with pytest.raises(ValueError, match=message):
        tune_scores(scores, targets, **options)
