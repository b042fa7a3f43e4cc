"""Where to cut, on plain arrays: hand-computed, and against trying everything."""

import json
import subprocess
import sys
from itertools import product

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dice_core.tuning import calibration, report
from dice_core.tuning.choose import choose
from dice_core.tuning.competing import CompetingLabels
from dice_core.tuning.decoded import DecodedLabels, SpanCounts
from dice_core.tuning.independent import IndependentLabels
from dice_core.tuning.objectives import Objective, as_objective
from dice_core.tuning.scored_labels import LIMIT, Rule, Task

ALL = numpy.ones(6, dtype=bool)


def task(objective, n, own=None):
    return Task(objective, own or {}, numpy.ones(n, dtype=bool))


def one_label(scores, gold):
    return IndependentLabels(["x"], numpy.reshape(scores, (-1, 1)), numpy.reshape(gold, (-1, 1)))


# -- objectives ----------------------------------------------------------------------------


def test_objectives_by_hand():
    # Two labels: (tp, fp, fn) 3 1 1 and 1 3 0.
    counts = numpy.array([[3, 1, 1], [1, 3, 0]])
    assert Objective("micro").value(counts) == pytest.approx(2 * 4 / (2 * 4 + 4 + 1))
    assert Objective("macro").value(counts) == pytest.approx((6 / 8 + 2 / 5) / 2)
    # F2 of the first: 5 * 3 / (5 * 3 + 4 * 1 + 1).
    assert Objective("micro", 2.0).of_labels(counts[0]) == pytest.approx(15 / 20)
    floor = Objective("micro", min_precision=0.5)
    assert floor.value(counts) == pytest.approx(1 + 4 / 5)  # precision 4/8 is kept
    assert Objective("micro", min_precision=0.6).value(counts) == pytest.approx(0.5)
    assert Objective("micro", min_recall=0.8).value(counts) == pytest.approx(1 + 0.5)
    # A label without examples counts in micro alone.
    with_none = numpy.array([[3, 1, 1], [0, 4, 0]])
    assert Objective("macro").value(with_none) == pytest.approx(6 / 8)
    assert Objective("micro").value(with_none) == pytest.approx(6 / 12)
    assert Objective("macro").value(numpy.zeros((2, 3))) == 0


def test_what_users_write():
    parse = as_objective
    assert parse(None, "macro") == Objective("macro")
    assert parse("f1") == parse("micro") == parse("micro_f1") == Objective("micro")
    assert parse("macro_f2") == Objective("macro", 2.0) and parse("F0.5").beta == 0.5
    assert parse("precision >= 0.9") == Objective("micro", min_precision=0.9)
    assert parse("macro recall>=0.8") == Objective("macro", min_recall=0.8)
    assert parse({"beta": 2.0}, "macro") == Objective("macro", 2.0)
    assert str(parse("precision>=0.9")) == "micro recall at precision >= 0.9"
    for wrong in (
        "accuracy",
        "f",
        "fx",
        3,
        "precision>0.9",
        "f-1",
        "f0",
        "recall>=2",
        "precision>=x",
    ):
        with pytest.raises(ValueError, match="objective must|beta|between 0 and 1"):
            parse(wrong)
    with pytest.raises(ValueError, match="no option 'alpha'"):
        parse({"alpha": 1})
    with pytest.raises(ValueError, match="not both"):
        Objective(min_precision=0.5, min_recall=0.5)
    with pytest.raises(ValueError, match="average"):
        Objective("weighted")


# -- independent labels --------------------------------------------------------------------


def test_the_best_cut_by_hand():
    labels = one_label([3.0, 2.0, 1.0, 0.0, -1.0, -2.0], [1, 1, 0, 1, 0, 0])
    # The four highest: tp 3, fp 1, fn 0, F1 6/7; the cut is halfway to the fifth.
    shift = labels.fit(Rule("labels", 1.0), ALL, task(Objective("macro"), 1))
    assert shift == pytest.approx([0.5])
    assert labels.counts(shift, ALL).tolist() == [[3, 1, 0]]
    # Where the fourth and the fifth are not looked at, two are best, and the cut is in the middle
    # of all that is between the second and the third.
    some = numpy.array([1, 1, 1, 0, 0, 0], dtype=bool)
    assert labels.fit(Rule("labels", 1.0), some, task(Objective("macro"), 1)) == pytest.approx(
        [-1.5]
    )
    # Precision of 1 is kept by the two highest.
    floor = task(Objective("macro", min_precision=0.99), 1)
    assert labels.fit(Rule("labels", 1.0), ALL, floor) == pytest.approx([-1.5])


def test_equal_scores_are_never_cut_apart_and_minus_infinity_is_never_predicted():
    labels = one_label([1.0, 1.0, 1.0, -numpy.inf, -numpy.inf], [1, 0, 1, 1, 0])
    everything = numpy.ones(5, dtype=bool)
    shift = labels.fit(Rule("labels", 1.0), everything, task(Objective("macro"), 1))
    assert labels.counts(shift, everything).tolist() == [[2, 1, 1]]
    assert abs(shift[0]) <= LIMIT
    never = one_label([-numpy.inf] * 3, [1, 1, 0])
    shift = never.fit(Rule("labels", 1.0), numpy.ones(3, bool), task(Objective("macro"), 1))
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
    st.sampled_from(
        [Objective("macro"), Objective("macro", 2.0), Objective("macro", min_precision=0.7)]
    ),
)
def test_the_best_cut_is_as_good_as_any(rows, objective):
    scores, gold = numpy.array([s for s, _ in rows]), numpy.array([g for _, g in rows])
    assume(gold.any())  # labels without examples are left alone
    labels, everything = one_label(scores, gold), numpy.ones(len(rows), dtype=bool)
    shift = labels.fit(Rule("labels", 1.0), everything, task(objective, 1))
    found = objective.of_labels(labels.counts(shift, everything))[0]
    middles = numpy.unique(scores)
    tried = [-9.0, 9.0, *((middles[1:] + middles[:-1]) / 2)]
    values = [
        objective.of_labels(labels.counts(numpy.array([-cut]), everything))[0] for cut in tried
    ]
    assert found == pytest.approx(max(values))


def test_pooled_cuts_are_as_good_as_any_pair():
    rng = numpy.random.default_rng(3)
    gold = rng.random((12, 2)) < (0.5, 0.2)
    scores = (rng.normal(size=(12, 2)) + 1.5 * gold).round(2)
    labels, everything = IndependentLabels(["a", "b"], scores, gold), numpy.ones(12, dtype=bool)
    objective = Objective("micro")
    shift = labels.fit(Rule("labels", 0.0), everything, task(objective, 2))
    edges = [numpy.concatenate([[-9], numpy.sort(scores[:, c]) + 1e-6, [9]]) for c in range(2)]
    best = max(
        float(objective.value(labels.counts(-numpy.array(pair), everything)))
        for pair in product(*edges)
    )
    # The price is searched on a grid, and a lucky one is not taken.
    assert float(objective.value(labels.counts(shift, everything))) > best - 0.05


def test_unknown_cells_do_not_count():
    known = numpy.array([[True], [False], [True]])
    labels = IndependentLabels(["x"], [[1.0], [1.0], [-1.0]], [[1], [0], [1]], known=known)
    assert labels.n_examples.tolist() == [2]
    assert labels.counts(numpy.zeros(1), numpy.ones(3, bool)).tolist() == [[1, 0, 1]]
    assert labels.look_at(numpy.ones(3, bool))[3, 0].tolist() == [2, 0, 0]


# -- labels that compete -------------------------------------------------------------------


def test_competing_labels_by_hand():
    # b is gold twice and one short of being predicted; lifting it by more than 1 costs one a.
    scores = numpy.array([[2.0, 1.0], [2.0, 1.0], [1.0, 0.0], [3.0, 0.0]])
    labels = CompetingLabels(["a", "b"], scores, [1, 1, 0, 0])
    everything = numpy.ones(4, dtype=bool)
    assert labels.counts(numpy.zeros(2), everything).tolist() == [[2, 2, 0], [0, 0, 2]]
    assert labels.counts(numpy.array([0.0, 1.1]), everything).tolist() == [[1, 0, 1], [2, 1, 0]]
    shift = labels.fit(Rule("labels", 1.0), everything, task(Objective("macro"), 2))
    assert 1 < shift[1] - shift[0] < 3
    # A background's own row is not counted.
    none = CompetingLabels(["none", "b"], scores, [1, 1, 0, 0], background=0)
    assert none.counts(numpy.zeros(2), everything).tolist() == [[0, 0, 0], [0, 0, 2]]
    assert none.n_examples.tolist() == [0, 2]
    assert [rule.kind for rule in none.rules(Objective("micro"))] == ["common"]
    assert CompetingLabels(["a"], [[1.0]], [0]).rules(Objective()) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["micro", "macro"]))
def test_a_line_search_is_as_good_as_any_shift_of_one_label(seed, average):
    rng = numpy.random.default_rng(seed)
    scores, gold = rng.normal(size=(9, 3)).round(1), rng.integers(0, 3, 9)
    scores[rng.random((9, 3)) < 0.1] = -numpy.inf
    scores[:, 0] = numpy.where(numpy.isinf(scores).all(axis=1), 0.0, scores[:, 0])
    labels, objective = CompetingLabels(list("abc"), scores, gold), Objective(average)
    everything = numpy.ones(9, dtype=bool)

    def value(shift_of_b):
        counts = labels.counts(numpy.array([0.0, shift_of_b, 0.0]), everything)
        return objective.of_labels(counts)[1]

    found = labels.of_label(everything, 1, objective, numpy.zeros(3), task(objective, 3))
    for tried in numpy.arange(-7.975, 8, 0.05):
        assert value(tried) <= value(found) + 1e-9


# -- decoded labels ------------------------------------------------------------------------


def decoded(scores, gold, **kwargs):
    """Two labels, each decided by itself, as if a decoder did it."""
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
    labels, calls = decoded(scores, gold, progress=lambda done, at_most: told.append(done))
    choice = choose(labels, Objective("micro"))
    assert not choice.reason and choice.gain > 0.2 and 1.0 < choice.shift[-1] < 2.5
    assert labels.n_decodings <= 40 and len(told) == len(calls)
    labels, _ = decoded(scores, gold, common=False)
    choice = choose(labels, Objective("micro"))
    assert choice.shift[-1] == 0 and (choice.shift[:2] > 0).all()
    nothing = numpy.full((300, 2), -100.0)  # nothing is found, whatever the cut
    labels, _ = decoded(nothing, gold)
    assert "no cut is better" in choose(labels, Objective("micro")).reason


def test_a_search_ends_where_the_ends_of_the_grid_are_best():
    """Of a floor that nothing can keep, and of labels that are found by no shift."""
    gold = numpy.arange(80).reshape(40, 2) % 3 == 0
    for scores, objective in (
        (numpy.where(gold, -2.9, 2.0), Objective(min_precision=0.9)),
        (numpy.full((40, 2), -50.0), Objective()),
        (numpy.where(gold, -2.9 - 0.5 * (numpy.arange(40) % 9)[:, None], -20.0), Objective()),
    ):
        labels, calls = decoded(scores, gold)
        choice = choose(labels, objective)
        assert len(calls) < 60 and numpy.abs(choice.shift).max() <= LIMIT
    assert choice.shift[-1] > 3.0  # beyond the grid, where it pays


def test_spans_are_counted_by_hand():
    count = SpanCounts(
        ["A", "B"],
        gold=[[(0, 1, "A"), (2, 3, "B"), (4, 5, "C")], [(0, 2, "A")]],
        lost=[["B"], []],
        unknown=[frozenset([6]), frozenset()],
    )
    assert count.n_examples.tolist() == [2, 2]
    # One is right; one is not; one is where nothing is known; C is no label.
    found = [(0, [(0, 1, "A"), (2, 4, "B"), (6, 7, "B"), (4, 5, "C")])]
    assert count(found).tolist() == [[[1, 0, 0], [0, 1, 2]], [[0, 0, 1], [0, 0, 0]]]
    assert count([]).sum(axis=0).tolist() == [[0, 0, 2], [0, 0, 2]]
    as_arrays = numpy.asarray([(0, 0, 1, 0), (0, 2, 4, 1), (0, 6, 7, 1)]).T
    assert count.of_arrays(*as_arrays).tolist() == count(found).tolist()
    assert count.of_arrays(*as_arrays[:, :0]).tolist() == count([]).tolist()


@pytest.mark.parametrize("share_unknown", [0.0, 0.1])
def test_spans_as_arrays_count_the_same(share_unknown):
    rng = numpy.random.default_rng(0)

    def draw(n_tokens):
        at = numpy.flatnonzero(rng.random(n_tokens) < 0.4).tolist()
        return [(i, i + int(rng.integers(1, 4)), "AB"[rng.integers(2)]) for i in at]

    lengths = [0, 9, 30, 7, 0, 12, 1]
    gold = [draw(n) for n in lengths]
    unknown = [
        frozenset(numpy.flatnonzero(rng.random(n) < share_unknown).tolist()) for n in lengths
    ]
    count = SpanCounts("AB", gold, unknown=unknown)
    # Some that are right, and some beyond all that is gold.
    found = [sorted({*draw(n + 5), *some[::2]}) for n, some in zip(lengths, gold)]
    rows = [(d, s, e, "AB".index(c)) for d, spans in enumerate(found) for s, e, c in spans]
    counts = count.of_arrays(*numpy.asarray(rows).T)
    assert counts[:, :, 0].sum() > 5 and counts[:, :, 1].sum() > 5
    assert counts.tolist() == count(enumerate(found)).tolist()


# -- choosing ------------------------------------------------------------------------------


def rare_labels(seed=0, n=600):
    """Eight labels, from frequent to rare, with scores that are 2 too low."""
    rng = numpy.random.default_rng(seed)
    prior = numpy.geomspace(0.4, 0.005, 8)
    gold = rng.random((n, 8)) < prior
    scores = rng.normal(size=(n, 8)) + 2 * gold - 3
    return IndependentLabels([f"label{c}" for c in range(8)], scores, gold)


def test_what_is_reported_is_what_is_found_on_new_text():
    gaps = []
    for seed in range(6):
        dev, test = rare_labels(2 * seed), rare_labels(2 * seed + 1, 4000)
        choice = choose(dev, Objective("macro"))
        everything = numpy.ones(test.n_docs, dtype=bool)
        on_test = float(Objective("macro").value(test.counts(choice.shift, everything)))
        before = float(Objective("macro").value(test.counts(numpy.zeros(8), everything)))
        assert on_test > before + 0.05
        gaps.append(float(Objective("macro").value(choice.estimate)) - on_test)
    assert abs(numpy.mean(gaps)) < 0.05


def test_rare_labels_are_left_alone_and_few_examples_shrink():
    labels = rare_labels()
    few = labels.n_examples < 20
    assert few.any() and not few.all()
    choice = choose(labels, Objective("macro"), min_examples=20)
    assert (choice.shift[few] == 0).all() and (choice.shift[~few] != 0).all()
    everything = numpy.ones(labels.n_docs, dtype=bool)
    of = task(Objective("macro"), 8)
    common, own, shrunk = (
        labels.fit(rule, everything, of)
        for rule in (Rule("common"), Rule("labels", 1.0, 0.0), Rule("labels", 1.0, 30.0))
    )
    weight = labels.n_examples / (labels.n_examples + 30.0)
    numpy.testing.assert_allclose(shrunk, weight * own + (1 - weight) * common)
    assert len(set(common.tolist())) == 1


def test_nothing_is_changed_where_nothing_is_better():
    rng = numpy.random.default_rng(1)
    gold = rng.random((300, 1)) < 0.5
    scores = numpy.where(gold, 5.0, -5.0)
    perfect = choose(IndependentLabels(["x"], scores, gold), Objective())
    assert "no cut is better" in perfect.reason and not perfect.shift.any()
    empty = choose(IndependentLabels(["x"], numpy.zeros((0, 1)), []), Objective())
    assert "no gold" in empty.reason
    two = choose(one_label([1.0] * 6, [1] * 6), Objective(), min_examples=7)
    assert "7 examples" in two.reason
    with pytest.raises(ValueError, match="no label 'y'"):
        choose(one_label([1.0] * 6, [1] * 6), Objective(), {"y": Objective()})
    with pytest.raises(ValueError, match="n_folds"):
        choose(one_label([1.0], [1]), Objective(), n_folds=1)


def test_choosing_is_the_same_each_time():
    first, second = (choose(rare_labels(), Objective("macro")) for _ in range(2))
    assert (first.shift == second.shift).all() and first.rule == second.rule


# -- calibration ---------------------------------------------------------------------------


def test_calibration_by_hand():
    # Bins of 0.9 (three, two of them right) and 0.2 (two, none right).
    p, right = [0.92, 0.94, 0.96, 0.21, 0.23], [1, 1, 0, 0, 0]
    expected = (abs(2.82 - 2) + abs(0.44 - 0)) / 5
    assert calibration.expected_calibration_error(p, right) == pytest.approx(expected)
    squares = 0.08**2 + 0.06**2 + 0.96**2 + 0.21**2 + 0.23**2
    assert calibration.brier(p, right) == pytest.approx(squares / 5)
    # Sorted by p: wrong, right, right, wrong, wrong.
    risk = (1 / 1 + 1 / 2 + 1 / 3 + 2 / 4 + 3 / 5) / 5
    assert calibration.risk_coverage_area(p, right) == pytest.approx(risk)
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
    # About a cut that stays where it is.
    y = rng.random(20000) < calibration.sigmoid(z[:, 0])
    assert calibration.fit_sigmoid(2 * z[:, 0], y) == pytest.approx(2, rel=0.06)
    y = rng.random(20000) < calibration.sigmoid(z[:, 0] - 1.5)
    moved = 2 * z[:, 0] - 1.5
    assert calibration.fit_sigmoid(moved, y, center=-1.5) == pytest.approx(2, rel=0.06)
    assert calibration.fit_softmax(numpy.zeros((0, 2)), []) == 1.0
    assert calibration.fit_sigmoid(numpy.zeros((0, 2)), numpy.zeros((0, 2))) == 1.0


# -- the report ----------------------------------------------------------------------------


def test_the_report_is_printed_kept_and_drawn(tmp_path):
    labels, objective = rare_labels(), Objective("macro")
    choice = choose(labels, objective, {"label0": as_objective("recall>=0.9")})
    own = {"label0": as_objective("recall>=0.9")}
    part = report.of_choice("cats", "textcat", labels, objective, own, choice, center=0.0)
    tuned = report.TuneReport([part])
    text = str(tuned)
    for words in ("macro F1", "before", "estimate", "label0", "precision at recall >= 0.9"):
        assert words in text
    assert part.labels[0].cut == pytest.approx(calibration.sigmoid(-choice.shift[0]))
    assert tuned["cats"] is part and list(tuned) == [part] and len(tuned) == 1
    with pytest.raises(KeyError):
        tuned["nobody"]
    kept = json.loads(tuned.to_json(tmp_path / "report.json"))
    assert kept == json.loads((tmp_path / "report.json").read_text())
    row = kept["components"][0]["labels"][1]
    assert row["label"] == "label1" and len(row["curve"]) > 20 and row["n"] > 0
    tuned.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="no component"):
        tuned.plot(tmp_path / "report.png", "nobody")
    assert "nothing to look at" in str(report.TuneReport([]))


def test_it_needs_numpy_alone():
    code = """
import sys
import dice_core.tuning.part
heavy = {"torch", "spacy", "thinc", "flair", "matplotlib", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
