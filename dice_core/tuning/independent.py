"""Labels that are predicted where their score is above 0, each by itself."""

from typing import Optional, Sequence

import numpy
from numpy.typing import ArrayLike

from . import calibration
from .objectives import FN, FP, TP, Objective, precision_recall
from .scored_labels import LIMIT, Array, ScoredLabels, Task, checked, documents, smooth

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
    ):
        """scores: floats ``(N, C)``, log-odds beyond the threshold; -inf is never predicted.
        gold: bools ``(N, C)``. doc: ints ``(N,)``, each row's document; rows are documents if it
        is None. known: bools ``(N, C)``, where there is annotation; None is everywhere.
        """
        self.names, self.size = list(names), len(names)
        self.scores = checked(scores, self.size)
        shape = self.scores.shape
        self.known = numpy.ones(shape, dtype=bool) if known is None else numpy.asarray(known, bool)
        self.gold = numpy.asarray(gold, dtype=bool).reshape(shape) & self.known
        self.doc, self.n_docs = documents(doc, shape[0])
        self.n_examples = self.gold.sum(axis=0)
        # Sorted once: the highest first.
        self._order = numpy.argsort(-self.scores, axis=0, kind="stable")
        self._sorted = numpy.maximum(numpy.take_along_axis(self.scores, self._order, axis=0), NEVER)
        # Cut k is below the k highest. Between two equal scores there is none, and below -inf.
        self._is_cut = numpy.ones((shape[0] + 1, self.size), dtype=bool)
        self._is_cut[1:-1] = self._sorted[1:] < self._sorted[:-1] - CLOSE
        self._is_cut[1:] &= self._sorted > NEVER

    def counts(self, shift: Array, docs: Array) -> Array:
        rows = docs[self.doc]
        found, gold = (self.scores[rows] + shift >= 0) & self.known[rows], self.gold[rows]
        tp = (found & gold).sum(axis=0)
        return numpy.stack([tp, found.sum(axis=0) - tp, gold.sum(axis=0) - tp], axis=1)

    def look_at(self, docs: Array) -> Array:
        """``(N + 1, C, 3)``: the counts of each label at each of its cuts."""
        rows = docs[self.doc][self._order]
        gold = rows & numpy.take_along_axis(self.gold, self._order, axis=0)
        known = rows & numpy.take_along_axis(self.known, self._order, axis=0)
        counts = numpy.zeros((len(rows) + 1, self.size, 3))
        counts[1:, :, TP] = gold.cumsum(axis=0)
        counts[1:, :, FP] = (known & ~gold).cumsum(axis=0)
        counts[:, :, FN] = gold.sum(axis=0) - counts[:, :, TP]
        return counts

    def common(self, seen: Array, task: Task) -> Array:
        # Cuts at quantiles of the gold examples' scores.
        is_gold = numpy.diff(seen[:, :, TP], axis=0) > 0
        pool = self._sorted[is_gold & task.free & (self._sorted > NEVER)]
        if not len(pool):
            return numpy.zeros(self.size)
        quantiles = numpy.quantile(pool, numpy.linspace(0.005, 0.995, 199))
        cuts = numpy.unique(numpy.clip(quantiles, -LIMIT, LIMIT))
        counts = numpy.zeros((len(cuts), self.size, 3))
        for c in numpy.flatnonzero(task.free):
            counts[:, c] = seen[numpy.searchsorted(-self._sorted[:, c], -cuts, side="right"), c]
        values = smooth(task.objective.value(counts), task.objective)
        return numpy.where(task.free, -cuts[values.argmax()], 0.0)

    def of_labels(self, seen: Array, mixture: float, common: Array, task: Task) -> Array:
        values = self._values(seen, mixture, task)
        return -numpy.asarray([self._best_cut(values[:, c], c) for c in range(self.size)])

    def of_label(
        self, seen: Array, c: int, objective: Objective, shift: Array, task: Task
    ) -> float:
        return -self._best_cut(objective.of_labels(seen[:, c]), c)

    def _values(self, seen: Array, mixture: float, task: Task) -> Array:
        """``(N + 1, C)``: what is to be highest at each label's cut."""
        objective = task.objective
        own = objective.of_labels(seen)
        if mixture == 1.0 or self.size == 1:
            return own
        # For pooled counts, each label's best cut has the highest tp - price * predicted, and
        # only the price is to be searched for.
        found = seen[:, :, TP] + seen[:, :, FP]
        free, columns = numpy.flatnonzero(task.free), numpy.arange(self.size)
        totals, prices = [], numpy.linspace(0.02, 0.98, 49)
        for price in prices:
            profit = numpy.where(self._is_cut, seen[:, :, TP] - price * found, NEVER)
            totals.append(seen[profit.argmax(axis=0), columns][free].sum(axis=0))
        best = int(smooth(objective.of_labels(numpy.asarray(totals)), objective).argmax())
        pooled = seen[:, :, TP] - prices[best] * found
        if mixture == 0.0 or not objective.is_f:
            return pooled
        size = max(totals[best] @ (2, 1, 1), 1.0)  # TP counts twice in F1
        macro = own / max(len(free), 1)
        return mixture * macro + (1 - mixture) * 2 * pooled / size

    def _best_cut(self, values: Array, c: int) -> float:
        """The middle of the first cuts of the highest value, of ``(N + 1,)``."""
        cuts = numpy.flatnonzero(self._is_cut[:, c])
        first = int(values[cuts].argmax())
        # The same value goes on while nothing that counts is passed.
        other = numpy.flatnonzero(values[cuts[first:]] != values[cuts[first]])
        last = cuts[first + other[0]] - 1 if len(other) else len(values) - 1
        of_label = self._sorted[:, c]
        padded = numpy.concatenate([of_label[:1] + 1.0, of_label, of_label[-1:] - 1.0])
        above, below = padded[cuts[first]], padded[last + 1]
        if below <= NEVER:  # below all that can be predicted
            below = above - 1.0
        return float(numpy.clip((above + below) / 2, -LIMIT, LIMIT))

    def curve(self, c: int) -> Array:
        if not self.n_examples[c]:
            return super().curve(c)
        counts = self.look_at(numpy.ones(self.n_docs, dtype=bool))[1:, c]
        counts = counts[self._is_cut[1:, c]]
        at = numpy.linspace(0, len(counts) - 1, min(200, len(counts))).astype(int)
        precision, recall, _ = precision_recall(counts[numpy.unique(at)])
        return numpy.stack([recall, precision], axis=1)

    def confidence(self, what: str, center: float) -> calibration.Confidence:
        """How sure each decision is. center: the log-odds of the threshold."""
        return calibration.of_cells(what, self.names, self.scores, self.gold, self.known, center)
