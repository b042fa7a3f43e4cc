"""Labels that are decided row by row: each on its own, or the one with the highest score."""

from collections.abc import Iterable, Sequence

import numpy
from numpy.typing import ArrayLike

from .calibrate import Confidence, fit_sigmoid, fit_softmax, sigmoid, softmax
from .decisions import LIMIT, Rule, ScoredLabels, Task, check_scores, smooth
from .objectives import FN, FP, TP, Array, Measure, Objective

# Scores that are closer are the same: models' are float32.
CLOSE = 1e-5
# A score that is never reached, where -inf cannot be calculated with.
NEVER = -1e30
# Rows and columns, ints (M,).
Cells = tuple[Array, Array]


def read_gold(
    columns: Sequence[str], rows: Sequence[Iterable[str]], missed: Iterable[tuple[int, str]] = ()
) -> tuple[list[str], Array, Array]:
    """Gold labels as columns.

    Args:
        columns: The model's labels.
        rows: The gold labels of each row.
        missed: Gold that has no row: its document, and its label.

    Returns:
        The labels, those that the model does not have after its own; bools ``(N, C)``; and ints
        ``(M, 2)``, documents and columns of what is missed.
    """
    missed, known = list(missed), set(columns)
    more = {label for row in rows for label in row} | {label for _, label in missed}
    names = [*columns, *sorted(more - known)]
    column = {name: c for c, name in enumerate(names)}
    is_gold = numpy.zeros((len(rows), len(names)), dtype=bool)
    for row, labels in zip(is_gold, rows):
        row[[column[label] for label in labels]] = True
    places = [(d, column[label]) for d, label in missed]
    return names, is_gold, numpy.asarray(places, dtype="int64").reshape(-1, 2)


class RowLabels(ScoredLabels):
    """Labels that have a score in each row."""

    def __init__(
        self,
        names: Sequence[str],
        scores: ArrayLike,
        doc: ArrayLike | None,
        n_docs: int | None,
        missed: ArrayLike,
        background: int | None,
    ):
        """Read scores; the arguments are those of the two kinds of labels."""
        self.names, self.size, self.background = list(names), len(names), background
        scores = numpy.asarray(scores, dtype="float64")
        check_scores(scores)
        n, n_more = len(scores), self.size - scores.shape[1]
        self.scores = numpy.pad(scores, ((0, 0), (0, n_more)), constant_values=-numpy.inf)
        self.fixed = numpy.arange(self.size) >= self.size - n_more
        self.doc = numpy.arange(n) if doc is None else numpy.asarray(doc, dtype="int64")
        self.n_docs = int(self.doc.max(initial=-1)) + 1 if n_docs is None else n_docs
        self.missed = numpy.asarray(missed, dtype="int64").reshape(-1, 2)
        self._n_missed = numpy.bincount(self.missed[:, 1], minlength=self.size)

    def _count(self, cells: Sequence[Cells], groups: Array, n: int) -> Array:
        """``(G, C, 3)``, of what is right, found and gold."""

        def tally(groups: Array, columns: Array) -> Array:
            inside = groups >= 0  # the others are left out
            cells = groups[inside] * self.size + columns[inside]
            return numpy.bincount(cells, minlength=n * self.size).reshape(n, self.size)

        tp, n_found, n_gold = (tally(groups[self.doc[rows]], columns) for rows, columns in cells)
        n_gold = n_gold + tally(groups[self.missed[:, 0]], self.missed[:, 1])
        return self._to_counts(tp, n_found, n_gold)

    def _to_counts(self, tp: Array, n_found: Array, n_gold: Array) -> Array:
        """``(..., C, 3)``, from true positives and how many are found and gold."""
        counts = numpy.stack([tp, n_found - tp, n_gold - tp], axis=-1).astype("float64")
        if self.background is not None:
            counts[..., self.background, :] = 0
        return counts


class IndependentLabels(RowLabels):
    """A label is predicted where its score plus its shift is at least 0."""

    def __init__(
        self,
        names: Sequence[str],
        scores: ArrayLike,
        gold: ArrayLike,
        doc: ArrayLike | None = None,
        known: ArrayLike | None = None,
        background: int | None = None,
        *,
        n_docs: int | None = None,
        missed: ArrayLike = (),
        n_left_out: int = 0,
    ):
        """Read scores and gold annotation.

        Args:
            names: The labels; the last, for which there are no scores, are none of the model's.
            scores: Floats ``(N, C)``, log-odds beyond the threshold; -inf is never predicted.
            gold: Bools ``(N, C)``.
            doc: Ints ``(N,)``, the document of each row; rows are documents if it is None.
            known: Bools ``(N, C)``, where there is annotation; None is everywhere.
            background: The column that stands for "none of them" and is not counted.
            n_docs: How many documents there are; None: up to the last that has a row.
            missed: Ints ``(M, 2)``, document and label of gold that has no row.
            n_left_out: How many rows were left out, as no threshold could matter to them.
        """
        super().__init__(names, scores, doc, n_docs, missed, background)
        shape, self._n_left_out = self.scores.shape, n_left_out
        known = numpy.ones(shape, dtype=bool) if known is None else numpy.asarray(known, bool)
        self.known = known.reshape(shape) & self.counted
        self.gold = numpy.asarray(gold, dtype=bool).reshape(shape) & self.known
        self.n_examples = self.gold.sum(axis=0) + self._n_missed
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
        cells = [numpy.nonzero(where) for where in (found & self.gold, found, self.gold)]
        return self._count([(rows, columns) for rows, columns in cells], groups, n_groups)

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
        best = thresholds[self.smoothed(counts, task).argmax()]
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
        pooled = numpy.asarray(seen[:, :, TP] - prices[best] * found)
        if mixture == 0.0 or objective.has_floor:
            return pooled
        size = max(totals[best] @ (2, 1, 1), 1.0)  # TP counts twice in F1
        macro = alone / max(len(free), 1)
        return numpy.asarray(mixture * macro + (1 - mixture) * 2 * pooled / size)

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

    def gold_share(self, c: int) -> float | None:
        n_all = self.known[:, c].sum() + self._n_left_out
        return float(self.gold[:, c].sum() / max(n_all, 1))

    def confidence(self, center: float = 0.0) -> Confidence:
        usable = self.known & numpy.isfinite(self.scores)
        z, gold = self.scores[usable], self.gold[usable]
        return Confidence(
            gold,
            lambda temperature: sigmoid(z / temperature + center),
            lambda: fit_sigmoid(z + center, gold, center),
        )


class CompetingLabels(RowLabels):
    """The label with the highest score plus shift is predicted."""

    sweeps = 2
    n_candidates = 129

    def __init__(
        self,
        names: Sequence[str],
        scores: ArrayLike,
        gold: ArrayLike,
        doc: ArrayLike | None = None,
        background: int | None = None,
        *,
        n_docs: int | None = None,
        missed: ArrayLike = (),
        place: ArrayLike | None = None,
    ):
        """Read scores and gold annotation.

        Args:
            names: The labels; the last, for which there are no scores, are none of the model's.
            scores: Floats ``(N, C)``: logits or log-probabilities; -inf is never predicted.
            gold: Ints ``(N,)``, the column of each row, -1 where no label is right; or bools
                ``(N, C)``, where several may be.
            doc: Ints ``(N,)``, as for `IndependentLabels`.
            background: The column that stands for "none of them" and is not counted.
            n_docs: As for `IndependentLabels`.
            missed: As for `IndependentLabels`.
            place: Ints ``(N,)``. The same label at the same place is predicted, and gold, once;
                None: each row is a place of its own.
        """
        super().__init__(names, scores, doc, n_docs, missed, background)
        is_gold: Array = numpy.asarray(gold)
        if is_gold.dtype != bool:
            is_gold = is_gold.astype("int64").reshape(-1, 1) == numpy.arange(self.size)
        self._is_gold = is_gold.reshape(self.scores.shape)
        self.gold = self._is_gold.argmax(axis=1)
        self.has_gold = self._is_gold.any(axis=1)
        self.place = None if place is None else numpy.asarray(place, dtype="int64")
        self._gold_cells = self._once(*numpy.nonzero(self._is_gold))
        n_gold = numpy.bincount(self._gold_cells[1], minlength=self.size) + self._n_missed
        self.n_examples = numpy.where(self.counted, n_gold, 0)

    def _once(self, rows: Array, columns: Array) -> Cells:
        """The first of the same label at the same place."""
        if self.place is None:
            return rows, columns
        _, first = numpy.unique(self.place[rows] * self.size + columns, return_index=True)
        return rows[first], columns[first]

    def rules(self, objective: Objective) -> list[Rule]:
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
        cells = ((rows[right], found[right]), (rows, found), self._gold_cells)
        return self._count(cells, groups, n_groups)

    def _rows(self, docs: Array) -> tuple[Array, Array]:
        """Scores and gold labels of what has one: nothing can be learnt from the other rows."""
        rows = docs[self.doc] & self.has_gold
        return self.scores[rows], self.gold[rows]

    def common(self, docs: Array, task: Task) -> Array:
        """One number: the shift of the background, or how much rare labels are lifted."""
        scores, gold = self._rows(docs)
        if self.background is not None:
            c, shift = self.background, numpy.zeros(self.size)
            shift[c] = self._line_search(
                scores, gold, shift, c, lambda counts: self.smoothed(counts, task)
            )
            return shift
        share = (self.n_examples + 1.0) / (self.n_examples.sum() + self.size)
        lift = -numpy.log(share)
        lift = numpy.where(task.free, lift - lift[task.free].min(), 0.0)
        strengths, counts = numpy.linspace(-0.5, 1.0, 31), []
        for strength in strengths:
            found = (scores + strength * lift).argmax(axis=1)
            cells = (found[found == gold], found, gold)
            counts.append(self._to_counts(*(numpy.bincount(x, minlength=self.size) for x in cells)))
        best = int(self.smoothed(numpy.stack(counts), task).argmax())
        return numpy.asarray(strengths[best] * lift)

    def single(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        """Label by label, until nothing changes."""
        (scores, gold), shift = self._rows(docs), common.copy()

        def values_of(counts: Array) -> Array:
            return self.smoothed(counts, task, mixture)

        for _ in range(self.sweeps):
            before = shift.copy()
            for c in numpy.flatnonzero(task.free).tolist():
                shift[c] = self._line_search(scores, gold, shift, c, values_of)
            if numpy.abs(shift - before).max() < 0.01:
                break
        return shift

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        rank = objective.rank
        return self._line_search(*self._rows(docs), shift, c, lambda counts: rank(counts[:, c]))

    def _line_search(
        self, scores: Array, gold: Array, shift: Array, c: int, values_of: Measure
    ) -> float:
        """The best shift of one label, all others as they are. values_of: from counts
        ``(candidates, C, 3)`` to what is to be highest.
        """
        if not len(scores):
            return float(shift[c])
        others = scores + shift
        others[:, c] = -numpy.inf
        other = others.argmax(axis=1)
        highest = others[numpy.arange(len(others)), other]
        with numpy.errstate(invalid="ignore"):
            margin = highest - scores[:, c]  # from which shift on a row is c's
        margin[numpy.isnan(margin)] = numpy.inf
        edges = numpy.unique(numpy.rint(margin[numpy.abs(margin) < LIMIT] * 1e5)) / 1e5
        n_edges = min(len(edges), self.n_candidates - 1)
        edges = edges[numpy.linspace(0, len(edges) - 1, n_edges).round().astype(int)]
        ends = numpy.concatenate([[-LIMIT], edges, [LIMIT]])
        candidates = (ends[1:] + ends[:-1]) / 2
        n = len(candidates)
        # Row r is predicted as c by all candidates from its bucket on.
        bucket = numpy.searchsorted(candidates, margin, side="right")

        def moved(columns: Array, rows: slice | Array = slice(None)) -> Array:
            """``(n, C)``: how many rows of each column become c's, for each candidate."""
            cells = columns[rows] * (n + 1) + bucket[rows]
            table = numpy.bincount(cells, minlength=self.size * (n + 1))
            return table.reshape(self.size, n + 1).cumsum(axis=1)[:, :n].T

        right, from_others = other == gold, moved(other)
        found = numpy.bincount(other, minlength=self.size) - from_others
        found[:, c] = from_others.sum(axis=1)
        tp = numpy.bincount(other[right], minlength=self.size) - moved(other, right)
        tp[:, c] = moved(gold)[:, c]
        n_gold = numpy.bincount(gold, minlength=self.size)
        values = values_of(self._to_counts(tp, found, n_gold))
        best = candidates[values >= values.max() - 1e-12]
        return float(best[numpy.abs(best - shift[c]).argmin()])

    def gold_share(self, c: int) -> float | None:
        return float(self._is_gold[:, c].mean()) if len(self.scores) else None

    def confidence(self, center: float = 0.0) -> Confidence:
        scores, gold = self.scores[self.has_gold], self.gold[self.has_gold]
        usable = numpy.isfinite(scores[numpy.arange(len(gold)), gold])
        scores, gold = scores[usable], gold[usable]
        return Confidence(
            scores.argmax(axis=1) == gold,
            lambda temperature: softmax(scores / temperature).max(axis=1),
            lambda: fit_softmax(scores, gold),
        )
