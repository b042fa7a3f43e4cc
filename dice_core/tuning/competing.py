"""Labels of which the one with the highest score is predicted."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy
from numpy.typing import ArrayLike

from . import calibration
from .objectives import Objective
from .scored_labels import LIMIT, Array, Rule, ScoredLabels, Task, checked, documents, smooth


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
    ):
        """scores: floats ``(N, C)``: logits or log-probabilities; -inf is never predicted. gold:
        ints ``(N,)``, the column of each row. doc: ints ``(N,)``, as for `IndependentLabels`.
        background: the column that stands for "none of them" and is not counted, if there is one.
        """
        self.names, self.size, self.background = list(names), len(names), background
        self.scores = checked(scores, self.size)
        self.gold = numpy.asarray(gold, dtype="int64")
        self.doc, self.n_docs = documents(doc, len(self.gold))
        self.n_examples = numpy.bincount(self.gold, minlength=self.size)
        if background is not None:
            self.n_examples[background] = 0
        self._fitted: Dict[Any, Array] = {}

    def rules(self, objective: Objective) -> List[Rule]:
        if self.size == 1:
            return []
        if self.size == 2 and self.background is not None:
            return [Rule("common")]
        return super().rules(objective)

    def counts(self, shift: Array, docs: Array) -> Array:
        scores, gold = self._rows(docs)
        return self._counts(scores + shift, gold)

    def _counts(self, scores: Array, gold: Array) -> Array:
        found = scores.argmax(axis=1)
        tp, n_found, n_gold = (
            numpy.bincount(of, minlength=self.size) for of in (found[found == gold], found, gold)
        )
        counts = numpy.stack([tp, n_found - tp, n_gold - tp], axis=1)
        if self.background is not None:
            counts[self.background] = 0
        return counts

    def _rows(self, docs: Array) -> Tuple[Array, Array]:
        rows = docs[self.doc]
        return self.scores[rows], self.gold[rows]

    def common(self, docs: Array, task: Task) -> Array:
        """One number: the shift of the background, or how much rare labels are lifted."""
        key = ("common", task.objective, task.free.tobytes(), docs.tobytes())
        if key not in self._fitted:  # all rules begin with it
            self._fitted[key] = self._common(docs, task)
        return self._fitted[key].copy()

    def _common(self, docs: Array, task: Task) -> Array:
        (scores, gold), objective = self._rows(docs), task.objective

        def values(counts: Array) -> Array:
            return smooth(objective.value(counts), objective)

        if self.background is not None:
            shift = numpy.zeros(self.size)
            best = self._line_search(scores, gold, shift, self.background, values)
            shift[self.background] = best
            return shift
        share = (self.n_examples + 1.0) / (self.n_examples.sum() + self.size)
        lift = -numpy.log(share)
        lift = numpy.where(task.free, lift - lift[task.free].min(), 0.0)
        strengths = numpy.linspace(-0.5, 1.0, 31)
        counts = numpy.stack([self._counts(scores + s * lift, gold) for s in strengths])
        return strengths[int(values(counts).argmax())] * lift

    def of_labels(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        """Label by label, until nothing changes."""
        objective = task.objective
        key = (mixture, objective, docs.tobytes())  # the same for all shrinkages, and slow
        if key in self._fitted:
            return self._fitted[key]

        def values(counts: Array) -> Array:
            return smooth(objective.mixed(counts, mixture), objective)

        (scores, gold), shift = self._rows(docs), common.copy()
        leaders = _Leaders(scores, shift)
        for _ in range(self.sweeps):
            before = shift.copy()
            for c in numpy.flatnonzero(task.free).tolist():
                shift[c] = self._line_search(scores, gold, shift, c, values, leaders)
                leaders.move(c, shift[c])
            if numpy.abs(shift - before).max() < 0.01:
                break
        self._fitted[key] = shift
        return shift

    def of_label(
        self, docs: Array, c: int, objective: Objective, shift: Array, task: Task
    ) -> float:
        def values(counts: Array) -> Array:
            return objective.of_labels(counts[:, c])

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
        other, highest = (leaders or _Leaders(scores, shift)).beside(c)
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

        def taken(columns: Array, rows: Union[slice, Array] = slice(None)) -> Array:
            """``(n, C)``: how many rows of each column are c's, for each candidate."""
            cells = columns[rows] * (n + 1) + bucket[rows]
            table = numpy.bincount(cells, minlength=self.size * (n + 1))
            return table.reshape(self.size, n + 1).cumsum(axis=1)[:, :n].T

        right, of_other = other == gold, taken(other)
        found = numpy.bincount(other, minlength=self.size) - of_other
        found[:, c] = of_other.sum(axis=1)
        tp = numpy.bincount(other[right], minlength=self.size) - taken(other, right)
        tp[:, c] = taken(gold)[:, c]
        of_gold = numpy.bincount(gold, minlength=self.size)
        counts = numpy.stack([tp, found - tp, of_gold - tp], axis=2)
        if self.background is not None:
            counts[:, self.background] = 0
        values = values_of(counts)
        best = candidates[values >= values.max() - 1e-12]
        return float(best[numpy.abs(best - shift[c]).argmin()])

    def confidence(self, what: str) -> calibration.Confidence:
        """How sure each decision is."""
        return calibration.of_rows(what, self.scores, self.gold)


class _Leaders:
    """The two labels with the highest scores in each row, kept while the shift of one label after
    another changes: only the rows that a label leads, or comes to lead, are looked at again.
    """

    def __init__(self, scores: Array, shift: Array):
        self._scores, self._shifted = scores, scores + shift
        self._first = self._shifted.argmax(axis=1)
        self._second = self._beside(self._first, slice(None))

    def beside(self, c: int) -> Tuple[Array, Array]:
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
        self._second[rows] = self._beside(self._first[rows], rows)

    def _beside(self, first: Array, rows: Any) -> Array:
        others = self._shifted[rows].copy()
        numpy.put_along_axis(others, first[:, None], -numpy.inf, axis=1)
        return others.argmax(axis=1)


def _distinct(margins: Array) -> Array:
    """The distinct ones of numbers within LIMIT, to 5 digits, in order; without sorting them."""
    scale = 10**5
    n = int(LIMIT * scale) + 1
    is_there = numpy.zeros(2 * n + 1, dtype=bool)
    is_there[numpy.rint(margins * scale).astype("int64") + n] = True
    return (numpy.flatnonzero(is_there) - n) / scale
