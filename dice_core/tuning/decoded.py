"""Labels that a decoder finds, and counts of the spans that it does."""

from typing import Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

import numpy
from numpy.typing import ArrayLike

from .objectives import FN, FP, TP, Objective
from .scored_labels import LIMIT, SHRINKAGE, Array, Rule, ScoredLabels, Task, rules_of, smooth

# How much macro F1 counts beside micro F1, fewer than without a decoder, which is run for each.
DECODED_MIXTURES = {"micro": (0.5,), "macro": (1.0, 0.5)}
# A decoder is run for each of these shifts: of all labels, and of a label by itself.
COMMON_GRID = tuple(numpy.arange(-3.0, 3.01, 0.5).tolist())
LABEL_GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)

Span = Tuple[int, int, str]
Progress = Optional[Callable[[int, int], None]]
Decode = Callable[[Array, Array], Array]


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
    ):
        """decode: takes a shift ``(C + 1,)`` and a mask of documents ``(D,)``, and gives the
        counts ``(D, C, 3)`` of each; those of other documents do not matter. progress: told how
        many decodings are done, and how many there are at most. common: whether there is a
        common shift.
        """
        self.names, self.size, self.n_docs = list(names), len(names) + 1, n_docs
        self.n_examples = numpy.asarray(n_examples)
        self._decode, self._progress, self._max = decode, progress, max_decodings
        self._has_common = common
        self._decoded: Dict[bytes, Array] = {}
        self._base: Optional[Array] = None

    def rules(self, objective: Objective) -> List[Rule]:
        own = rules_of(DECODED_MIXTURES[objective.average], SHRINKAGE[1:])
        if not self._has_common:
            return own
        return [Rule("common"), *(own if len(self.names) > 1 else [])]

    def per_doc(self, shift: Array, docs: Optional[Array] = None) -> Array:
        """``(D, C, 3)``. Decoded once for each shift, where it is of all documents (None)."""
        key = numpy.round(shift, 6).tobytes()
        if key in self._decoded:
            return self._decoded[key]
        mask = numpy.ones(self.n_docs, dtype=bool) if docs is None else docs
        counts = self._decode(shift, mask)
        self.n_decodings += mask.sum() / max(self.n_docs, 1)
        if self._progress is not None:
            self._progress(int(self.n_decodings), self._max)
        if mask.all():
            self._decoded[key] = counts
        return counts

    def counts(self, shift: Array, docs: Array) -> Array:
        return self.per_doc(shift, docs)[docs].sum(axis=0)

    def common(self, docs: Array, task: Task) -> Array:
        best = numpy.zeros(self.size)
        if not self._has_common:
            return best

        def value(of_all: float) -> float:
            return float(task.objective.value(self._shifted(docs, best, -1, of_all)))

        grid = list(COMMON_GRID)
        values = [value(of_all) for of_all in grid]
        # At an end of the grid there may be more beyond it.
        step = grid[1] - grid[0]
        while abs(highest := grid[int(numpy.argmax(values))]) == max(map(abs, grid)) < LIMIT:
            place = 0 if highest < 0 else len(grid)
            grid.insert(place, highest + numpy.copysign(step, highest))
            values.insert(place, value(grid[place]))
        best[-1] = grid[int(smooth(numpy.asarray(values), task.objective).argmax())]
        return best

    def of_labels(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        # Effects of labels on each other are small beside their own: each is looked at with
        # all others as they are at the common shift of all documents.
        base, objective = self._common_of_all(task), task.objective
        shift = numpy.zeros(len(self.names))
        for c in self._affordable(task):
            values = [
                objective.mixed(self._shifted(docs, base, c, delta), mixture)
                for delta in LABEL_GRID
            ]
            shift[c] = LABEL_GRID[int(smooth(numpy.asarray(values), objective).argmax())]
        return shift

    def of_label(
        self, docs: Array, c: int, objective: Objective, shift: Array, task: Task
    ) -> float:
        base = self._common_of_all(task)
        values = [objective.of_labels(self._shifted(docs, base, c, x)[c]) for x in COMMON_GRID]
        # The common shift of all counts for this label, too.
        return COMMON_GRID[int(numpy.argmax(values))] + base[-1] - shift[-1]

    def _shifted(self, docs: Array, base: Array, at: int, value: float) -> Array:
        """``(C, 3)``: the counts in these documents with one number of a shift set."""
        shift = base.copy()
        shift[at] = value
        return self.per_doc(shift)[docs].sum(axis=0)

    def _common_of_all(self, task: Task) -> Array:
        if self._base is None:
            self._base = self.common(numpy.ones(self.n_docs, dtype=bool), task)
        return self._base

    def _affordable(self, task: Task) -> List[int]:
        """The most frequent labels, as many as there is time for."""
        free = numpy.flatnonzero(task.free)
        n = max((self._max - 2 * len(COMMON_GRID)) // (len(LABEL_GRID) - 1), 1)
        return sorted(free[numpy.argsort(-self.n_examples[free], kind="stable")][:n].tolist())


class SpanCounts:
    """Counts ``(D, C, 3)`` of spans that are found, against those that are gold."""

    def __init__(
        self,
        labels: Sequence[str],
        gold: Sequence[Iterable[Span]],
        lost: Sequence[Iterable[str]] = (),
        unknown: Sequence[FrozenSet[int]] = (),
    ):
        """Of each document: gold, spans ``(start, end, label)``; lost, the labels of those that no
        tokens could match; unknown, the tokens without annotation, about which nothing is wrong.
        Spans of other labels do not count.
        """
        self._column = {label: c for c, label in enumerate(labels)}
        self.gold, self._unknown = [frozenset(spans) for spans in gold], unknown
        self._missed = numpy.zeros((len(gold), len(labels), 3))
        of_gold = [[label for _, _, label in spans] for spans in self.gold]
        for d, labels_ in [*enumerate(of_gold), *enumerate(lost)]:
            for label in labels_:
                if label in self._column:
                    self._missed[d, self._column[label], FN] += 1
        self.n_examples = self._missed[:, :, FN].sum(axis=0).astype("int64")
        # The same as numbers, in order, for spans that come as arrays.
        spans = [
            (d, start, end, self._column[label])
            for d, of_doc in enumerate(self.gold)
            for start, end, label in of_doc
            if label in self._column
        ]
        rows = numpy.asarray(spans, dtype="int64").reshape(-1, 4)
        self._beyond = int(rows[:, 2].max(initial=0)) + 1
        self._gold_keys = numpy.sort(self._keys(*rows.T))
        self._n_tokens = 1 + max((max(of_doc) for of_doc in unknown if of_doc), default=-1)
        at = [d * self._n_tokens + token for d, of_doc in enumerate(unknown) for token in of_doc]
        self._unknown_keys = numpy.sort(numpy.asarray(at, dtype="int64"))

    def __call__(self, found: Iterable[Tuple[int, Iterable[Span]]]) -> Array:
        """found: places of documents, and their spans. Nothing is found in the others."""
        right, wrong = [], []
        for d, spans in found:
            gold, first = self.gold[d], d * len(self._column)
            unknown = self._unknown[d] if self._unknown else ()
            for span in spans:
                if span[2] not in self._column:
                    continue
                if span in gold:
                    right.append(first + self._column[span[2]])
                elif not (unknown and unknown.intersection(range(*span[:2]))):
                    wrong.append(first + self._column[span[2]])
        return self._counts(*(numpy.asarray(of, dtype="int64") for of in (right, wrong)))

    def of_arrays(self, doc: Array, start: Array, end: Array, column: Array) -> Array:
        """The same of spans as ints ``(S,)``: their documents, ends and labels' columns."""
        is_right = numpy.isin(self._keys(doc, start, end, column), self._gold_keys)
        is_right &= end < self._beyond
        first, last = (
            numpy.searchsorted(
                self._unknown_keys, doc * self._n_tokens + numpy.minimum(at, self._n_tokens)
            )
            for at in (start, end)
        )
        cell = doc * len(self._column) + column
        return self._counts(cell[is_right], cell[~is_right & (first == last)])

    def _keys(self, doc: Array, start: Array, end: Array, column: Array) -> Array:
        """A number for each span that ends before all of those that are gold have ended."""
        return ((doc * self._beyond + start) * self._beyond + end) * len(self._column) + column

    def _counts(self, right: Array, wrong: Array) -> Array:
        """From the cells, of documents by labels, of the spans that are right, and wrong."""
        counts = self._missed.copy()
        cells = counts.reshape(-1, 3)
        n_right, n_wrong = (numpy.bincount(of, minlength=len(cells)) for of in (right, wrong))
        cells[:, TP] += n_right
        cells[:, FN] -= n_right
        cells[:, FP] += n_wrong
        return counts
