"""Labels that are decided row by row: each on its own, or the one with the highest score."""

from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import ArrayLike

from . import calibrate
from .decisions import (
    LIMIT,
    Rule,
    ScoredLabels,
    Task,
    checked,
    documents,
    smooth,
    tally,
    to_counts,
)
from .objectives import FN, FP, TP, Array, Objective, precision_recall

# Scores that are closer are the same: models' are float32.
CLOSE = 1e-5
# A score that is never reached, where -inf cannot be calculated with.
NEVER = -1e30


class IndependentLabels(ScoredLabels):
    """A label is predicted where its score plus its shift is at least 0."""

    def __init__(
        self,
        names: Sequence[str],
        scores: ArrayLike,
        gold: ArrayLike,
        doc: Optional[ArrayLike] = None,
        known: Optional[ArrayLike] = None,
        *,
        n_docs: Optional[int] = None,
        missed: ArrayLike = (),
        n_fixed: int = 0,
        n_rows: Optional[int] = None,
    ):
        """Read scores and gold annotation.

        Args:
            names: The labels.
            scores: Floats ``(N, C)``, log-odds beyond the threshold; -inf is never predicted.
            gold: Bools ``(N, C)``.
            doc: Ints ``(N,)``, the document of each row; rows are documents if it is None.
            known: Bools ``(N, C)``, where there is annotation; None is everywhere.
            n_docs: How many documents there are; None: up to the last that has a row.
            missed: Ints ``(M, 2)``, document and label of gold that has no row.
            n_fixed: How many of the last labels have no threshold to choose.
            n_rows: How many rows there are with those that were left out as no threshold could
                matter to them; None is N.
        """
        self._prepare(names, missed, n_fixed)
        self.size = len(self.names)
        self.scores = checked(scores, self.size)
        shape = self.scores.shape
        self.known = numpy.ones(shape, dtype=bool) if known is None else numpy.asarray(known, bool)
        self.known = self.known.reshape(shape)
        self.gold = numpy.asarray(gold, dtype=bool).reshape(shape) & self.known
        self.doc, self.n_docs = documents(doc, shape[0], n_docs)
        n_missed = numpy.bincount(self.missed[:, 1], minlength=self.size)
        self.n_examples = self.gold.sum(axis=0) + n_missed
        self._n_left_out = 0 if n_rows is None else n_rows - shape[0]
        # Sorted once: the highest first.
        self._order = numpy.argsort(-self.scores, axis=0, kind="stable")
        self._sorted = numpy.maximum(numpy.take_along_axis(self.scores, self._order, axis=0), NEVER)
        # Threshold k is below the k highest. Between two equal scores there is none, and below
        # -inf.
        self._is_threshold = numpy.ones((shape[0] + 1, self.size), dtype=bool)
        self._is_threshold[1:-1] = self._sorted[1:] < self._sorted[:-1] - CLOSE
        self._is_threshold[1:] &= self._sorted > NEVER

    def counts(self, shift: Array, groups: Array, n_groups: int) -> Array:
        found = (self.scores + shift >= 0) & self.known

        def count(cells: Array) -> Array:
            rows, columns = numpy.nonzero(cells)
            return tally(groups[self.doc[rows]], columns, n_groups, self.size)

        n_gold = count(self.gold) + self._missed_counts(groups, n_groups)
        return to_counts(count(found & self.gold), count(found), n_gold)

    def look_at(self, docs: Array) -> Array:
        """``(N + 1, C, 3)``: the counts of each label at each of its thresholds."""
        return numpy.stack([self._look_at(docs, c) for c in range(self.size)], axis=1)

    def _look_at(self, docs: Array, c: int) -> Array:
        """``(N + 1, 3)``."""
        order = self._order[:, c]
        rows = docs[self.doc[order]] & self.known[order, c]
        gold = rows & self.gold[order, c]
        counts = numpy.zeros((len(order) + 1, 3))
        counts[1:, TP], counts[1:, FP] = gold.cumsum(), (rows & ~gold).cumsum()
        missed = self.missed[self.missed[:, 1] == c, 0]
        counts[:, FN] = gold.sum() + docs[missed].sum() - counts[:, TP]
        return counts

    def common(self, seen: Array, task: Task) -> Array:
        # Thresholds at quantiles of the gold examples' scores.
        is_gold = numpy.diff(seen[:, :, TP], axis=0) > 0
        pool = self._sorted[is_gold & task.free & (self._sorted > NEVER)]
        if not len(pool):
            return numpy.zeros(self.size)
        quantiles = numpy.quantile(pool, numpy.linspace(0.005, 0.995, 199))
        thresholds = numpy.unique(numpy.clip(quantiles, -LIMIT, LIMIT))
        counts = numpy.zeros((len(thresholds), self.size, 3))
        for c in numpy.flatnonzero(task.free):
            at = numpy.searchsorted(-self._sorted[:, c], -thresholds, side="right")
            counts[:, c] = seen[at, c]
        objective = task.objective
        values = self.values(objective, counts, task, float(objective.average == "macro"))
        best = thresholds[smooth(values, objective).argmax()]
        return numpy.where(task.free, -best, 0.0)

    def single(self, seen: Array, mixture: float, common: Array, task: Task) -> Array:
        values = self._single_values(seen, mixture, task)
        return -numpy.asarray([self._best_threshold(values[:, c], c) for c in range(self.size)])

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        return -self._best_threshold(objective.rank(self._look_at(docs, c)), c)

    def _single_values(self, seen: Array, mixture: float, task: Task) -> Array:
        """``(N + 1, C)``: what is to be highest at each label's threshold."""
        objective = task.objective
        alone = objective.rank(seen)
        if mixture == 1.0 or self.size == 1:
            return alone
        # For pooled counts, each label's best threshold has the highest tp - price * predicted,
        # and only the price is to be searched for.
        found = seen[:, :, TP] + seen[:, :, FP]
        free, columns = numpy.flatnonzero(task.free & task.counted), numpy.arange(self.size)
        totals, prices = [], numpy.linspace(0.02, 0.98, 49)
        for price in prices:
            profit = numpy.where(self._is_threshold, seen[:, :, TP] - price * found, NEVER)
            totals.append(seen[profit.argmax(axis=0), columns][free].sum(axis=0))
        best = int(smooth(objective.rank(numpy.asarray(totals)), objective).argmax())
        pooled: numpy.ndarray = seen[:, :, TP] - prices[best] * found
        if mixture == 0.0 or objective.has_floor:
            return pooled
        size = max(totals[best] @ (2, 1, 1), 1.0)  # TP counts twice in F1
        macro = alone / max(len(free), 1)
        made: numpy.ndarray = mixture * macro + (1 - mixture) * 2 * pooled / size
        return made

    def _best_threshold(self, values: Array, c: int) -> float:
        """The middle of the first thresholds of the highest value, of ``(N + 1,)``."""
        thresholds = numpy.flatnonzero(self._is_threshold[:, c])
        first = int(values[thresholds].argmax())
        # The same value goes on while nothing that counts is passed.
        other = numpy.flatnonzero(values[thresholds[first:]] != values[thresholds[first]])
        last = thresholds[first + other[0]] - 1 if len(other) else len(values) - 1
        column = self._sorted[:, c]
        padded = numpy.concatenate([column[:1] + 1.0, column, column[-1:] - 1.0])
        above, below = padded[thresholds[first]], padded[last + 1]
        if below <= NEVER:  # below all that can be predicted
            below = above - 1.0
        return float(numpy.clip((above + below) / 2, -LIMIT, LIMIT))

    def gold_share(self, c: int) -> Optional[float]:
        n_all = self.known[:, c].sum() + self._n_left_out
        return float(self.gold[:, c].sum() / max(n_all, 1))

    def curve(self, c: int) -> Array:
        if not self.gold[:, c].any():
            return super().curve(c)
        counts = self._look_at(numpy.ones(self.n_docs, dtype=bool), c)[1:]
        counts = counts[self._is_threshold[1:, c]]
        at = numpy.linspace(0, len(counts) - 1, min(200, len(counts))).astype(int)
        precision, recall, _ = precision_recall(counts[numpy.unique(at)])
        return numpy.stack([recall, precision], axis=1)

    def confidence(self, what: str, center: float) -> calibrate.Confidence:
        """How sure each decision is. center: the log-odds of the threshold."""
        return calibrate.cell_confidence(
            what, self.names, self.scores, self.gold, self.known, center
        )


class CompetingLabels(ScoredLabels):
    """The label with the highest score plus shift is predicted."""

    sweeps = 2
    n_candidates = 129

    def __init__(
        self,
        names: Sequence[str],
        scores: ArrayLike,
        gold: ArrayLike,
        doc: Optional[ArrayLike] = None,
        background: Optional[int] = None,
        *,
        n_docs: Optional[int] = None,
        missed: ArrayLike = (),
        n_fixed: int = 0,
        place: Optional[ArrayLike] = None,
    ):
        """Read scores and gold annotation.

        Args:
            names: The labels.
            scores: Floats ``(N, C)``: logits or log-probabilities; -inf is never predicted.
            gold: Ints ``(N,)``, the column of each row, -1 where no label is right; or bools
                ``(N, C)``, where several may be.
            doc: Ints ``(N,)``, as for `IndependentLabels`.
            background: The column that stands for "none of them" and is not counted.
            n_docs: As for `IndependentLabels`.
            missed: As for `IndependentLabels`.
            n_fixed: As for `IndependentLabels`.
            place: Ints ``(N,)``. The same label at the same place is predicted, and gold, once;
                None: each row is a place of its own.
        """
        self._prepare(names, missed, n_fixed)
        self.size, self.background = len(self.names), background
        self.scores = checked(scores, self.size)
        gold = numpy.asarray(gold)
        if gold.dtype != bool:
            ids = gold.astype("int64").reshape(-1)
            gold = numpy.zeros(self.scores.shape, dtype=bool)
            gold[ids >= 0, ids[ids >= 0]] = True
        self._is_gold = gold.reshape(self.scores.shape)
        self.doc, self.n_docs = documents(doc, len(self.scores), n_docs)
        self.gold = self._is_gold.argmax(axis=1)
        self.has_gold = self._is_gold.any(axis=1)
        self.place = None if place is None else numpy.asarray(place, dtype="int64")
        self._gold_cells = self._once(*numpy.nonzero(self._is_gold))
        n_missed = numpy.bincount(self.missed[:, 1], minlength=self.size)
        self.n_examples = numpy.bincount(self._gold_cells[1], minlength=self.size) + n_missed
        if background is not None:
            self.n_examples[background] = 0

    def _once(self, rows: Array, columns: Array) -> Tuple[Array, Array]:
        """The first of the same label at the same place."""
        if self.place is None:
            return rows, columns
        _, first = numpy.unique(self.place[rows] * self.size + columns, return_index=True)
        return rows[first], columns[first]

    def rules(self, objective: Objective) -> List[Rule]:
        if self.size == 1:
            return []
        if self.size == 2 and self.background is not None:
            return [Rule("common")]
        return super().rules(objective)

    def counts(self, shift: Array, groups: Array, n_groups: int) -> Array:
        rows, found = self._once(
            numpy.arange(len(self.scores)), (self.scores + shift).argmax(axis=1)
        )
        right = self._is_gold[rows, found]

        def count(rows: Array, columns: Array) -> Array:
            return tally(groups[self.doc[rows]], columns, n_groups, self.size)

        n_gold = count(*self._gold_cells) + self._missed_counts(groups, n_groups)
        counts = to_counts(count(rows[right], found[right]), count(rows, found), n_gold)
        if self.background is not None:
            counts[:, self.background] = 0
        return counts

    def _row_counts(self, scores: Array, gold: Array) -> Array:
        found = scores.argmax(axis=1)
        tp, n_found, n_gold = (
            numpy.bincount(of, minlength=self.size) for of in (found[found == gold], found, gold)
        )
        counts = to_counts(tp, n_found, n_gold)
        if self.background is not None:
            counts[self.background] = 0
        return counts

    def _rows(self, docs: Array) -> Tuple[Array, Array]:
        """Scores and gold labels of what has one: nothing can be learnt from the other rows."""
        rows = docs[self.doc] & self.has_gold
        return self.scores[rows], self.gold[rows]

    def common(self, docs: Array, task: Task) -> Array:
        """One number: the shift of the background, or how much rare labels are lifted."""
        (scores, gold), objective = self._rows(docs), task.objective

        def values(counts: Array) -> Array:
            share = float(objective.average == "macro")
            return smooth(self.values(objective, counts, task, share), objective)

        if self.background is not None:
            shift = numpy.zeros(self.size)
            best = self._line_search(scores, gold, shift, self.background, values)
            shift[self.background] = best
            return shift
        share = (self.n_examples + 1.0) / (self.n_examples.sum() + self.size)
        lift = -numpy.log(share)
        lift = numpy.where(task.free, lift - lift[task.free].min(), 0.0)
        strengths = numpy.linspace(-0.5, 1.0, 31)
        counts = numpy.stack([self._row_counts(scores + s * lift, gold) for s in strengths])
        made: numpy.ndarray = strengths[int(values(counts).argmax())] * lift
        return made

    def single(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        """Label by label, until nothing changes."""

        def values(counts: Array) -> Array:
            return smooth(self.values(task.objective, counts, task, mixture), task.objective)

        (scores, gold), shift = self._rows(docs), common.copy()
        leaders = _Leaders(scores, shift)
        for _ in range(self.sweeps):
            before = shift.copy()
            for c in numpy.flatnonzero(task.free).tolist():
                shift[c] = self._line_search(scores, gold, shift, c, values, leaders)
                leaders.move(c, shift[c])
            if numpy.abs(shift - before).max() < 0.01:
                break
        return shift

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        def values(counts: Array) -> Array:
            return objective.rank(counts[:, c])

        return self._line_search(*self._rows(docs), shift, c, values)

    def _line_search(
        self,
        scores: Array,
        gold: Array,
        shift: Array,
        c: int,
        values_of: Callable[[Array], Array],
        leaders: Optional["_Leaders"] = None,
    ) -> float:
        """The best shift of one label, all others as they are. values_of: from counts
        ``(candidates, C, 3)`` to what is to be highest. leaders: of scores with the shift, if they
        are there already.
        """
        if not len(scores):
            return float(shift[c])
        other, highest = (leaders or _Leaders(scores, shift)).all_but(c)
        with numpy.errstate(invalid="ignore"):
            margin = highest - scores[:, c]  # from which shift on a row is c's
        margin[numpy.isnan(margin)] = numpy.inf
        edges = _distinct(margin[numpy.abs(margin) < LIMIT])
        n_edges = min(len(edges), self.n_candidates - 1)
        edges = edges[numpy.linspace(0, len(edges) - 1, n_edges).round().astype(int)]
        ends = numpy.concatenate([[-LIMIT], edges, [LIMIT]])
        candidates = (ends[1:] + ends[:-1]) / 2
        n = len(candidates)
        # Row r is predicted as c by all candidates from its bucket on.
        bucket = numpy.searchsorted(candidates, margin, side="right")

        def moved(columns: Array, rows: Union[slice, Array] = slice(None)) -> Array:
            """``(n, C)``: how many rows of each column become c's, for each candidate."""
            cells = columns[rows] * (n + 1) + bucket[rows]
            table = numpy.bincount(cells, minlength=self.size * (n + 1))
            return table.reshape(self.size, n + 1).cumsum(axis=1)[:, :n].T

        right, from_others = other == gold, moved(other)
        found = numpy.bincount(other, minlength=self.size) - from_others
        found[:, c] = from_others.sum(axis=1)
        tp = numpy.bincount(other[right], minlength=self.size) - moved(other, right)
        tp[:, c] = moved(gold)[:, c]
        counts = to_counts(tp, found, numpy.bincount(gold, minlength=self.size))
        if self.background is not None:
            counts[:, self.background] = 0
        values = values_of(counts)
        best = candidates[values >= values.max() - 1e-12]
        return float(best[numpy.abs(best - shift[c]).argmin()])

    def gold_share(self, c: int) -> Optional[float]:
        return float(self._is_gold[:, c].mean()) if len(self.scores) else None

    def confidence(self, what: str) -> calibrate.Confidence:
        """How sure each decision is."""
        scores, gold = self.scores[self.has_gold], self.gold[self.has_gold]
        return calibrate.row_confidence(what, scores, gold)


class _Leaders:
    """The two labels with the highest scores in each row, kept while the shift of one label after
    another changes: only the rows that a label leads, or comes to lead, are looked at again.
    """

    def __init__(self, scores: Array, shift: Array):
        self._scores, self._shifted = scores, scores + shift
        self._first = self._shifted.argmax(axis=1)
        self._second = self._runner_up(self._first, slice(None))

    def all_but(self, c: int) -> Tuple[Array, Array]:
        """``(N,)`` each: the label with the highest score but for ``c``, and that score."""
        label = numpy.where(self._first == c, self._second, self._first)
        highest = numpy.take_along_axis(self._shifted, label[:, None], axis=1)[:, 0]
        highest[label == c] = -numpy.inf
        return label, highest

    def move(self, c: int, shift: float) -> None:
        """Give label ``c`` another shift."""
        of_c = self._scores[:, c] + shift
        second = numpy.take_along_axis(self._shifted, self._second[:, None], axis=1)[:, 0]
        changed = (self._first == c) | (self._second == c) | (of_c >= second)
        self._shifted[:, c] = of_c
        rows = numpy.flatnonzero(changed)
        self._first[rows] = self._shifted[rows].argmax(axis=1)
        self._second[rows] = self._runner_up(self._first[rows], rows)

    def _runner_up(self, first: Array, rows: Any) -> Array:
        others = self._shifted[rows].copy()
        numpy.put_along_axis(others, first[:, None], -numpy.inf, axis=1)
        made: numpy.ndarray = others.argmax(axis=1)
        return made


def _distinct(margins: Array) -> Array:
    """The distinct ones of numbers within LIMIT, to 5 digits, in order; without sorting them."""
    scale = 10**5
    n = int(LIMIT * scale) + 1
    is_there = numpy.zeros(2 * n + 1, dtype=bool)
    is_there[numpy.rint(margins * scale).astype("int64") + n] = True
    return (numpy.flatnonzero(is_there) - n) / scale
