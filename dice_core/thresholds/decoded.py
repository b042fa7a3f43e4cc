"""Labels that a decoder finds, and counts of the spans that it does."""

import math
from typing import Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import ArrayLike

from .decisions import LIMIT, SHRINKAGE, Rule, ScoredLabels, Task, label_rules, smooth
from .objectives import FN, FP, TP, Array, Objective

# How much macro F1 counts combined with micro F1, fewer than without a decoder, which is run for
# each.
DECODED_MIXTURES = {"micro": (0.5,), "macro": (1.0, 0.5)}
# A decoder is run for each of these shifts: of all labels, and of one label.
COMMON_GRID = tuple(numpy.arange(-3.0, 3.01, 0.5).tolist())
LABEL_GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)

Span = Tuple[int, int, str]
Progress = Optional[Callable[[], object]]
Decode = Callable[[Array, Array], Array]
# From a span of predicted tokens to one of gold tokens; None leaves it out.
Align = Callable[[int, int], Optional[Tuple[int, int]]]


class DecodedLabels(ScoredLabels):
    """What is predicted is found by a decoder, which is run anew for each shift.

    A shift is of the labels, and last of all the common one, which is taken off the score of
    "none of them".
    """

    def __init__(
        self,
        names: Sequence[str],
        decode: Decode,
        n_docs: int,
        n_examples: ArrayLike,
        progress: Progress = None,
        max_decodings: int = 150,
        common: bool = True,
        n_fixed: int = 0,
    ):
        """Read what decodes.

        Args:
            names: The labels.
            decode: From a shift, of all labels but the fixed ones and the common one, and a mask
                of documents ``(D,)`` to the counts ``(D, C, 3)`` of each document; those of other
                documents do not matter.
            n_docs: How many documents there are.
            n_examples: Ints ``(C,)``, gold examples of each label.
            progress: Called after each decoding.
            max_decodings: About how many decodings there are time for.
            common: Whether there is a common shift.
            n_fixed: How many of the last labels have no threshold to choose.
        """
        self._prepare(names, (), n_fixed)
        self.size, self.n_docs = len(names) + 1, n_docs
        self.n_examples = numpy.asarray(n_examples)
        self._decode, self._progress, self._max = decode, progress, max_decodings
        self._has_common = common
        self._decoded: Dict[bytes, Array] = {}
        self._base: Optional[Array] = None

    def rules(self, objective: Objective) -> List[Rule]:
        single = label_rules(DECODED_MIXTURES[objective.average], SHRINKAGE[1:])
        if not self._has_common:
            return single
        return [Rule("common"), *(single if (~self.fixed).sum() > 1 else [])]

    def per_doc(self, shift: Array, docs: Optional[Array] = None) -> Array:
        """``(D, C, 3)``. Decoded once for each shift, where it is of all documents (None)."""
        shift = numpy.delete(shift, numpy.flatnonzero(self.fixed))
        key = numpy.round(shift, 6).tobytes()
        if key in self._decoded:
            return self._decoded[key]
        mask = numpy.ones(self.n_docs, dtype=bool) if docs is None else docs
        counts = self._decode(shift, mask)
        self.n_decodings += mask.sum() / max(self.n_docs, 1)
        if self._progress is not None:
            self._progress()
        if mask.all():
            self._decoded[key] = counts
        return counts

    def counts(self, shift: Array, groups: Array, n_groups: int) -> Array:
        inside = groups >= 0
        n_cells, is_in = 3 * len(self.names), groups[inside] == numpy.arange(n_groups)[:, None]
        counts = self.per_doc(shift, inside)[inside].reshape(-1, n_cells)
        made: numpy.ndarray = (is_in.astype("float64") @ counts).reshape(
            n_groups, len(self.names), 3
        )
        return made

    def common(self, docs: Array, task: Task) -> Array:
        best, objective = numpy.zeros(self.size), task.objective
        if not self._has_common:
            return best

        def value(shift: float) -> float:
            counts = self._shifted(docs, best, -1, shift)
            return float(self.overall(objective.rank, counts, objective.average, task.counted))

        grid, values = _search(value)
        best[-1] = grid[int(smooth(values, objective).argmax())]
        return best

    def single(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        # Effects of labels on each other are small compared with their own: each is looked at with
        # all others as they are at the common shift of all documents.
        base, objective = self._overall_common(task), task.objective
        shift = numpy.zeros(len(self.names))
        for c in self._affordable(task):
            values = numpy.asarray(
                [
                    self.values(objective, self._shifted(docs, base, c, delta), task, mixture)
                    for delta in LABEL_GRID
                ]
            )
            shift[c] = LABEL_GRID[int(smooth(values, objective).argmax())]
        return shift

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        base = numpy.zeros(self.size)
        grid, values = _search(lambda x: float(objective.rank(self._shifted(docs, base, c, x)[c])))
        # The common shift of all counts for this label, too.
        return grid[int(values.argmax())] - float(shift[-1])

    def _shifted(self, docs: Array, base: Array, at: int, value: float) -> Array:
        """``(C, 3)``: the counts in these documents with one number of a shift set."""
        shift = base.copy()
        shift[at] = value
        made: numpy.ndarray = self.per_doc(shift)[docs].sum(axis=0)
        return made

    def _overall_common(self, task: Task) -> Array:
        if self._base is None:
            self._base = self.common(numpy.ones(self.n_docs, dtype=bool), task)
        return self._base

    def _affordable(self, task: Task) -> List[int]:
        """The most frequent labels, as many as there is time for."""
        free = numpy.flatnonzero(task.free)
        n = max((self._max - 2 * len(COMMON_GRID)) // (len(LABEL_GRID) - 1), 1)
        return sorted(free[numpy.argsort(-self.n_examples[free], kind="stable")][:n].tolist())


def _search(value: Callable[[float], float]) -> Tuple[List[float], Array]:
    """Shifts, and their values."""
    grid = list(COMMON_GRID)
    values = [value(shift) for shift in grid]
    # At an end of the grid there may be more beyond it.
    step = grid[1] - grid[0]
    while abs(highest := grid[int(numpy.argmax(values))]) == max(map(abs, grid)) < LIMIT:
        place = 0 if highest < 0 else len(grid)
        grid.insert(place, highest + math.copysign(step, highest))
        values.insert(place, value(grid[place]))
    return grid, numpy.asarray(values)


class SpanCounts:
    """Counts ``(D, C, 3)`` of spans that are found, against those that are gold."""

    def __init__(
        self,
        labels: Sequence[str],
        gold: Sequence[Iterable[Span]],
        unknown: Sequence[FrozenSet[int]] = (),
        align: Sequence[Optional[Align]] = (),
        once: bool = False,
    ):
        """Read gold annotation.

        Args:
            labels: Those of all spans, gold and found.
            gold: Spans ``(start, end, label)`` of each document's gold tokens.
            unknown: Of each document the gold tokens without annotation, about which nothing is
                wrong.
            align: Of each document a function from predicted tokens to gold ones; None where they
                are the same.
            once: Whether spans that become the same gold tokens are one span.
        """
        self._column = {label: c for c, label in enumerate(labels)}
        self.gold, self._align, self._once = [frozenset(spans) for spans in gold], align, once
        rows = [
            (d, start, end, self._column[label])
            for d, spans in enumerate(self.gold)
            for start, end, label in spans
        ]
        doc, start, end, column = numpy.asarray(rows, dtype="int64").reshape(-1, 4).T
        self._missed = numpy.zeros((len(gold), len(labels), 3))
        numpy.add.at(self._missed[:, :, FN], (doc, column), 1)
        self.n_examples = self._missed[:, :, FN].sum(axis=0).astype("int64")
        self._beyond = int(end.max(initial=0)) + 1
        self._gold_keys = numpy.sort(self._keys(doc, start, end, column))
        self._n_tokens = 1 + max((max(tokens) for tokens in unknown if tokens), default=-1)
        at = [d * self._n_tokens + token for d, tokens in enumerate(unknown) for token in tokens]
        self._unknown_keys = numpy.sort(numpy.asarray(at, dtype="int64"))
        self._aligned: Dict[Tuple[int, int, int], Optional[Tuple[int, int]]] = {}

    def __call__(self, found: Iterable[Tuple[int, Iterable[Span]]]) -> Array:
        """found: places of documents, and their spans. Nothing is found in the others."""
        rows = [
            (d, start, end, self._column[label])
            for d, spans in found
            for start, end, label in spans
        ]
        return self.count_arrays(*numpy.asarray(rows, dtype="int64").reshape(-1, 4).T)

    def count_arrays(self, doc: Array, start: Array, end: Array, column: Array) -> Array:
        """The same of spans as ints ``(S,)``: their documents, ends and labels' columns."""
        is_right, is_wrong = self._judge(doc, start, end, column)
        counts = self._missed.copy()
        cells, cell = counts.reshape(-1, 3), doc * len(self._column) + column
        n_right, n_wrong = (
            numpy.bincount(cell[which], minlength=len(cells)) for which in (is_right, is_wrong)
        )
        cells[:, TP] += n_right
        cells[:, FN] -= n_right
        cells[:, FP] += n_wrong
        return counts

    def is_right(self, found: Iterable[Tuple[int, Iterable[Span]]]) -> Array:
        """``(S,)``: whether each span is gold."""
        gold = self.gold
        spans = [(d, *self._to_gold(d, start, end), x) for d, of in found for start, end, x in of]
        return numpy.asarray([span[1:] in gold[span[0]] for span in spans], dtype=bool)

    def _to_gold(self, d: int, start: int, end: int) -> Tuple[int, int]:
        """The gold tokens of predicted ones; (-1, -1) where there are none."""
        align = self._align[d] if self._align else None
        if align is None:
            return start, end
        key = (d, start, end)
        if key not in self._aligned:
            self._aligned[key] = align(start, end)
        return self._aligned[key] or (-1, -1)

    def _judge(self, doc: Array, start: Array, end: Array, column: Array) -> Tuple[Array, Array]:
        """Which spans are right, and which are wrong."""
        if any(self._align):
            pairs = [
                self._to_gold(*span) for span in zip(doc.tolist(), start.tolist(), end.tolist())
            ]
            start, end = numpy.asarray(pairs, dtype="int64").reshape(-1, 2).T
        counts = start >= 0
        inside = end < self._beyond
        keys = self._keys(doc, start, numpy.where(inside, end, 0), column)
        is_right = counts & inside & numpy.isin(keys, self._gold_keys)
        if any(self._align):  # two may have become one
            order = numpy.lexsort((column, end, start, doc))
            parts = numpy.stack([doc, start, end, column])[:, order]
            again = numpy.zeros(len(doc), dtype=bool)
            again[order[1:]] = (parts[:, 1:] == parts[:, :-1]).all(axis=0)
            counts = counts & ~(again & self._once)
            is_right &= ~again
        first, last = (
            numpy.searchsorted(
                self._unknown_keys, doc * self._n_tokens + numpy.minimum(at, self._n_tokens)
            )
            for at in (start, end)
        )
        return is_right, counts & ~is_right & (first == last)

    def _keys(self, doc: Array, start: Array, end: Array, column: Array) -> Array:
        """A number for each span that ends before all of those that are gold have ended."""
        made: numpy.ndarray = ((doc * self._beyond + start) * self._beyond + end) * len(
            self._column
        ) + column
        return made
