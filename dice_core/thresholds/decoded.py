"""Labels that a decoder finds, and counts of the spans that it does."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy
from numpy.typing import ArrayLike

from .calibrate import Confidence
from .decisions import LIMIT, SHRINKAGE, Rule, ScoredLabels, Task, label_rules, smooth
from .objectives import FN, Array, Objective

# How much macro F1 counts combined with micro F1, fewer than without a decoder, which is run for
# each.
DECODED_MIXTURES = {"micro": (0.5,), "macro": (1.0, 0.5)}
# A decoder is run for each of these shifts: of all labels, and of one label.
COMMON_GRID = tuple(numpy.arange(-3.0, 3.01, 0.5).tolist())
LABEL_GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)
# About how many decodings there is time for.
MAX_DECODINGS = 150

# Start, end and label.
Span = tuple[int, int, str]
Progress = Callable[[], object] | None
# From a shift, of all labels but the fixed ones and the common one, and a mask of documents (D,)
# to the counts (D, C, 3) of each document; those of other documents do not matter.
Decode = Callable[[Array, Array], Array]
# From a shift and documents to a document, start, end and label of each span that is found.
Find = Callable[[Array, list[int]], Iterable[tuple[int, int, int, str]]]
# From a span of predicted tokens to one of gold tokens; None leaves it out.
Align = Callable[[int, int], tuple[int, int] | None]


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
        confidence: Callable[[], Confidence] | None = None,
        common: bool = True,
        n_fixed: int = 0,
    ):
        """Read what decodes.

        Args:
            names: The labels.
            decode: What decodes.
            n_docs: How many documents there are.
            n_examples: Ints ``(C,)``, gold examples of each label.
            progress: Called after each decoding.
            confidence: How sure it is of what it finds without a shift.
            common: Whether there is a common shift.
            n_fixed: How many of the last labels have no threshold to choose.
        """
        self.names, self.size, self.n_docs = list(names), len(names) + 1, n_docs
        self.n_examples = numpy.asarray(n_examples)
        self.fixed = numpy.arange(len(names)) >= len(names) - n_fixed
        self._decode, self._progress, self._confidence = decode, progress, confidence
        self._has_common = common
        self._decoded: dict[bytes, Array] = {}
        self._base: Array | None = None

    def rules(self, objective: Objective) -> list[Rule]:
        single = label_rules(DECODED_MIXTURES[objective.average], SHRINKAGE[1:])
        if not self._has_common:
            return single
        return [Rule("common"), *(single if (~self.fixed).sum() > 1 else [])]

    def per_doc(self, shift: Array, docs: Array | None = None) -> Array:
        """``(D, C, 3)``. Decoded once for each shift, where it is of all documents (None)."""
        shift = numpy.delete(shift, numpy.flatnonzero(self.fixed))
        key = numpy.round(shift, 6).tobytes()
        if key in self._decoded:
            return self._decoded[key]
        mask = numpy.ones(self.n_docs, dtype=bool) if docs is None else docs
        counts = self._decode(shift, mask)
        if self._progress is not None:
            self._progress()
        if mask.all():
            self._decoded[key] = counts
        return counts

    def counts(self, shift: Array, groups: Array, n_groups: int) -> Array:
        inside, shape = groups >= 0, (n_groups, len(self.names), 3)
        is_in = groups[inside] == numpy.arange(n_groups)[:, None]
        counts = self.per_doc(shift, inside)[inside].reshape(-1, 3 * len(self.names))
        return numpy.asarray(is_in.astype("float64") @ counts).reshape(shape)

    def common(self, docs: Array, task: Task) -> Array:
        best = numpy.zeros(self.size)
        if self._has_common:
            grid, values = _search(
                lambda shift: float(self.values(self._shifted(docs, best, -1, shift), task))
            )
            best[-1] = grid[int(smooth(values, task.objective).argmax())]
        return best

    def single(self, docs: Array, mixture: float, common: Array, task: Task) -> Array:
        # Effects of labels on each other are small compared with their own: each is looked at with
        # all others as they are at the common shift of all documents.
        if self._base is None:
            self._base = self.common(numpy.ones(self.n_docs, dtype=bool), task)
        # The most frequent labels, as many as there is time for.
        free = numpy.flatnonzero(task.free)
        n = max((MAX_DECODINGS - 2 * len(COMMON_GRID)) // (len(LABEL_GRID) - 1), 1)
        shift = numpy.zeros(len(self.names))
        for c in sorted(free[numpy.argsort(-self.n_examples[free], kind="stable")][:n].tolist()):
            counts = [self._shifted(docs, self._base, c, delta) for delta in LABEL_GRID]
            best = int(self.smoothed(numpy.stack(counts), task, mixture).argmax())
            shift[c] = LABEL_GRID[best]
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
        return numpy.asarray(self.per_doc(shift)[docs].sum(axis=0))

    def confidence(self, center: float = 0.0) -> Confidence:
        assert self._confidence is not None
        return self._confidence()


def _search(value: Callable[[float], float]) -> tuple[list[float], Array]:
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
    """Counts ``(D, C, 3)`` of spans that are found, against those that are gold.

    Attributes:
        names: The labels: the model's, and those of other spans.
        n_labels: How many of them are the model's.
        n_examples: Ints ``(C,)``, gold examples of each label.
        missed: The counts where nothing is found.
    """

    def __init__(
        self,
        labels: Sequence[str],
        gold: Sequence[Iterable[Span]],
        unknown: Sequence[frozenset[int]] = (),
        align: Sequence[Align | None] = (),
        once: bool = False,
        others: Iterable[str] = (),
    ):
        """Read gold annotation.

        Args:
            labels: The model's labels. Those of other spans come after them.
            gold: Spans of each document's gold tokens.
            unknown: Of each document the gold tokens without annotation, about which nothing is
                wrong.
            align: Of each document a function from predicted tokens to gold ones; None where they
                are the same.
            once: Whether spans that become the same gold tokens are one span.
            others: Labels that are not the model's and may be found.
        """
        more = {*others, *(label for spans in gold for *_, label in spans)} - set(labels)
        self.names, self.n_labels = [*labels, *sorted(more)], len(labels)
        self._column = {label: c for c, label in enumerate(self.names)}
        self._gold = {(d, *span) for d, spans in enumerate(gold) for span in spans}
        self._unknown, self._align, self._once = unknown, align, once
        self._aligned: dict[tuple[int, int, int], tuple[int, int] | None] = {}
        self.missed = numpy.zeros((len(gold), len(self.names), 3))
        for d, _, _, label in self._gold:
            self.missed[d, self._column[label], FN] += 1
        self.n_examples = self.missed[:, :, FN].sum(axis=0).astype("int64")

    def __call__(self, found: Iterable[tuple[int, int, int, str]]) -> Array:
        """found: each span's document, start, end and label."""
        right: list[int] = []
        wrong: list[int] = []
        seen = set()
        for d, start, end, label in found:
            place = self._to_gold(d, start, end)
            if place is None:
                continue
            span, cell = (d, *place, label), d * len(self._column) + self._column[label]
            if span in self._gold and span not in seen:
                right.append(cell)
            elif not (self._once and span in seen) and not self._is_unknown(d, *place):
                wrong.append(cell)
            seen.add(span)
        shape = self.missed.shape[:2]
        n_right, n_wrong = (
            numpy.bincount(numpy.asarray(cells, "int64"), minlength=math.prod(shape)).reshape(shape)
            for cells in (right, wrong)
        )
        return numpy.asarray(self.missed + numpy.stack([n_right, n_wrong, -n_right], axis=2))

    def is_right(self, found: Iterable[tuple[int, int, int, str]]) -> Array:
        """``(S,)``: whether each span is gold."""
        spans = [(d, self._to_gold(d, start, end), label) for d, start, end, label in found]
        gold = [place is not None and (d, *place, label) in self._gold for d, place, label in spans]
        return numpy.asarray(gold, dtype=bool)

    def _to_gold(self, d: int, start: int, end: int) -> tuple[int, int] | None:
        """The gold tokens of predicted ones; None where there are none."""
        align = self._align[d] if self._align else None
        if align is None:
            return start, end
        key = (d, start, end)
        if key not in self._aligned:
            self._aligned[key] = align(start, end)
        return self._aligned[key]

    def _is_unknown(self, d: int, start: int, end: int) -> bool:
        return bool(self._unknown) and not self._unknown[d].isdisjoint(range(start, end))


def span_labels(
    count: SpanCounts,
    find: Find,
    confidence: Callable[[], Confidence] | None = None,
    common: bool = True,
    progress: Progress = None,
) -> DecodedLabels:
    """The labels of spans that ``find`` decodes; other arguments are those of `DecodedLabels`."""

    def decode(shift: Array, docs: Array) -> Array:
        return count(find(shift, numpy.flatnonzero(docs).tolist()))

    n_docs, n_fixed = len(count.missed), len(count.names) - count.n_labels
    options = (progress, confidence, common, n_fixed)
    return DecodedLabels(count.names, decode, n_docs, count.n_examples, *options)
