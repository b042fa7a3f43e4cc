"""Where to cut: shifts of a model's scores that decide for F1, on plain arrays.

A model's scores become decisions in one of three ways, each with a class here:
`IndependentLabels` (a label is predicted where its score is above 0), `CompetingLabels` (the
label with the highest score is) and `DecodedLabels` (a decoder finds the best structure). Each
knows what a shift of its scores would predict, and finds shifts that serve an `Objective`.

`choose` does so without fooling itself. Documents are cut into folds. Every rule, from one shift
that all labels share to a shift for each label, is fitted on all folds but one and applied to that
one, in turn. The rule with the best score over all folds wins if it beats the scores as they are
and does not cost the other average (micro or macro) more than a little. What is kept is the mean
of the shifts of the folds, and what is reported is the cross-fitted score.
"""

from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy
from numpy.typing import ArrayLike

from . import calibration
from .objectives import AVERAGES, FN, FP, TP, Objective, precision_recall

# Beyond these log-odds a label is predicted never, or always.
LIMIT = 8.0
# Scores that are closer are the same: models' are float32.
CLOSE = 1e-5
# A score that is never reached, where -inf cannot be calculated with.
NEVER = -1e30
# How many examples of a label its own cut needs to weigh as much as the common one.
SHRINKAGE = (10.0, 50.0)
# How much macro F1 counts beside micro F1 where cuts of single labels are chosen.
MIXTURES = {"micro": (0.25, 0.5), "macro": (1.0, 0.75, 0.5, 0.25)}
# The same for a decoder, which is run for each.
DECODED_MIXTURES = {"micro": (0.5,), "macro": (1.0, 0.5)}
# How much the average that is not the objective counts where rules are compared: rules that are
# alike on dev in one average often differ in the other, and then do so on test, too.
OTHER_WEIGHT = 0.25
# How many standard errors a gain must have, not to be taken for luck.
MIN_ERRORS = 0.5
# By how much floors of precision or recall are raised in choosing, to be kept elsewhere.
MARGINS = (0.0, 0.01, 0.02, 0.04)
# A decoder is run for each of these shifts: of all labels, and of a label by itself.
COMMON_GRID = tuple(numpy.arange(-3.0, 3.01, 0.5).tolist())
LABEL_GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)

Array = numpy.ndarray
Span = Tuple[int, int, str]
Progress = Optional[Callable[[int, int], None]]
Decode = Callable[[Array, Array], Array]


class Rule(NamedTuple):
    """A way to choose shifts. kind: "as it is", "common" (one shift) or "labels" (one for each
    label). mixture: how much macro counts beside micro. shrinkage: as SHRINKAGE. margin: by how
    much a floor is raised in choosing, so that it is kept on other examples.
    """

    kind: str
    mixture: float = 0.0
    shrinkage: float = 0.0
    margin: float = 0.0

    def __str__(self) -> str:
        if self.kind == "labels":
            how = f"macro weight {self.mixture:g}, shrinkage {self.shrinkage:g}"
            return f"a cut for each label ({how})"
        return "one cut for all labels" if self.kind == "common" else self.kind


class Task(NamedTuple):
    """objective: of all labels. own: of single labels, by index. free: bools ``(C,)``, the
    labels that have enough examples for a cut of their own.
    """

    objective: Objective
    own: Mapping[int, Objective]
    free: Array


# -- scores, and what shifts of them predict -----------------------------------------------


class Labels:
    """What `choose` needs to know of a component: common ground of the three kinds.

    names: of the labels, C of them. n_docs: D. n_examples: ints ``(C,)``, gold examples of each.
    size: how many numbers a shift has: C, or one more, the last, that all labels share against
    "none of them". background: the label that stands for "none of them", which is not counted.
    n_decodings: how often a decoder was run over all documents.
    """

    names: List[str]
    n_docs: int
    n_examples: Array
    size: int
    background: Optional[int] = None
    n_decodings = 0.0

    def rules(self, objective: Objective) -> List[Rule]:
        """The rules to try; the first of equally good ones wins."""
        if len(self.names) == 1:
            return [Rule("common"), Rule("labels")]
        return [Rule("common"), *_rules(MIXTURES[objective.average], SHRINKAGE)]

    def counts(self, shift: Array, docs: Array) -> Array:
        """``(C, 3)``: true positives, false positives and false negatives in these documents, a
        mask ``(D,)``, with this shift.
        """
        raise NotImplementedError

    def fit(self, rule: Rule, docs: Array, task: Task) -> Array:
        """The shift that a rule chooses on these documents, a mask ``(D,)``."""
        seen = self.look_at(docs)
        shift = self.common(seen, task)
        if rule.kind == "labels":
            # Cuts of labels with few examples are drawn towards the common one.
            weight = self.n_examples / (self.n_examples + rule.shrinkage)
            common = shift[: len(self.names)]
            drawn = weight * self.of_labels(seen, rule.mixture, shift, task) + (1 - weight) * common
            shift[: len(self.names)] = numpy.where(task.free, drawn, common)
        for c, objective in task.own.items():
            shift[c] = self.of_label(seen, c, objective, shift, task)
        return shift

    def look_at(self, docs: Array) -> Any:
        """What the three that follow need of these documents."""
        return docs

    def common(self, seen: Any, task: Task) -> Array:
        """``(size,)``: a shift that has one number to choose."""
        raise NotImplementedError

    def of_labels(self, seen: Any, mixture: float, common: Array, task: Task) -> Array:
        """``(C,)``: the best shift of each label."""
        raise NotImplementedError

    def of_label(self, seen: Any, c: int, objective: Objective, shift: Array, task: Task) -> float:
        """The shift of one label that is best for an objective of its own."""
        raise NotImplementedError

    def curve(self, c: int) -> Array:
        """``(n, 2)``: recall and precision of one label at its cuts, where they are known."""
        return numpy.zeros((0, 2))


class IndependentLabels(Labels):
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
        self.scores = _checked(scores, self.size)
        shape = self.scores.shape
        self.known = numpy.ones(shape, dtype=bool) if known is None else numpy.asarray(known, bool)
        self.gold = numpy.asarray(gold, dtype=bool).reshape(shape) & self.known
        self.doc, self.n_docs = _documents(doc, shape[0])
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
        values = _smooth(task.objective.value(counts), task.objective)
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
        best = int(_smooth(objective.of_labels(numpy.asarray(totals)), objective).argmax())
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


class CompetingLabels(Labels):
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
        self.scores = _checked(scores, self.size)
        self.gold = numpy.asarray(gold, dtype="int64")
        self.doc, self.n_docs = _documents(doc, len(self.gold))
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
            return _smooth(objective.value(counts), objective)

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
            return _smooth(objective.mixed(counts, mixture), objective)

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


class DecodedLabels(Labels):
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
        own = _rules(DECODED_MIXTURES[objective.average], SHRINKAGE[1:])
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
        best[-1] = grid[int(_smooth(numpy.asarray(values), task.objective).argmax())]
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
            shift[c] = LABEL_GRID[int(_smooth(numpy.asarray(values), objective).argmax())]
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
        counts = self._missed.copy()
        cells = counts.reshape(-1, 3)
        n_right, n_wrong = (_count(of, len(cells)) for of in (right, wrong))
        cells[:, TP] += n_right
        cells[:, FN] -= n_right
        cells[:, FP] += n_wrong
        return counts


def _count(ids: Sequence[int], size: int) -> Array:
    return numpy.bincount(numpy.asarray(ids, dtype="int64"), minlength=size)


# -- choosing ------------------------------------------------------------------------------


class Choice(NamedTuple):
    """What `choose` found.

    shift: floats ``(size,)``; 0 everywhere if nothing is better. rule: how it was chosen.
    before, estimate, seen: counts ``(C, 3)``: without a shift; with one, cross-fitted; and with
    the chosen shift on the documents that it was chosen on. gain: of the objective, cross-fitted,
    and its standard error. free: as `Task`'s. reason: why nothing is changed, if so.
    """

    shift: Array
    rule: Rule
    before: Array
    estimate: Array
    seen: Array
    gain: float
    error: float
    free: Array
    reason: str = ""


def choose(
    labels: Labels,
    objective: Objective,
    own: Optional[Mapping[str, Objective]] = None,
    *,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    seed: int = 0,
) -> Choice:
    """The shift that serves the objective best on documents that it was not chosen on.

    Args:
        labels: Scores and gold annotation.
        objective: Of all labels.
        own: Objectives of single labels.
        n_folds: At least 2; fewer where there are fewer documents.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average (macro for micro, and the reverse) may go down,
            from 0 to 1.
        seed: Of the folds; nothing else is random.

    Raises:
        ValueError: For options that do not fit.

    Example:
        A label that is missed, as its scores are below 0:

        >>> gold = numpy.arange(60) % 3 == 0
        >>> labels = IndependentLabels(["x"], numpy.where(gold, -1.0, -3.0), gold)
        >>> choose(labels, Objective()).shift
        array([1.])
    """
    check_options(n_folds, min_examples)
    own = own or {}
    for name in own:
        if name not in labels.names:
            raise ValueError(
                f"there is no label {name!r}. The labels are {', '.join(labels.names)}."
            )
    everything, nothing = numpy.ones(labels.n_docs, dtype=bool), numpy.zeros(labels.size)
    n_folds = min(n_folds, labels.n_docs)
    before = labels.counts(nothing, everything)
    free = labels.n_examples >= min_examples
    best = Choice(nothing, Rule("as it is"), before, before, before, 0.0, 0.0, free)
    rules = labels.rules(objective)
    if not labels.n_examples.sum():
        return best._replace(reason="the examples have no gold annotation for it")
    if not free.any():
        return best._replace(reason=f"no label has {min_examples} examples")
    if n_folds < 2:
        return best._replace(reason="there are not two documents to cross-fit on")
    if not rules:
        return best._replace(reason="it has one label alone, which is always predicted")
    if not objective.is_f:
        rules = [rule._replace(margin=margin) for rule in rules for margin in MARGINS]
    fold = numpy.random.default_rng(seed).permutation(labels.n_docs) % n_folds
    before_of = [labels.counts(nothing, fold == f) for f in range(n_folds)]
    other = AVERAGES[objective.average == "micro"]
    floor = float(Objective(other).value(before)) - max_loss
    best_rank = -numpy.inf
    for rule in rules:
        task = Task(
            objective.raised(rule.margin), {labels.names.index(k): own[k] for k in own}, free
        )
        shifts = [labels.fit(rule, fold != f, task) for f in range(n_folds)]
        of_fold = [labels.counts(shift, fold == f) for f, shift in enumerate(shifts)]
        estimate = numpy.sum(of_fold, axis=0)
        gain = float(objective.value(estimate) - objective.value(before))
        gains = [
            float(objective.value(estimate - a) - objective.value(before - b))
            for a, b in zip(of_fold, before_of)
        ]
        error = float(numpy.sqrt(numpy.var(gains) * (n_folds - 1)))  # jackknife
        of_other = float(Objective(other).value(estimate)) if objective.is_f else 0.0
        # Objectives of single labels were asked for, whatever they cost.
        if not own:
            if gain <= (max(MIN_ERRORS * error, 1e-9) if objective.is_f else 1e-9):
                continue
            if objective.is_f and of_other < floor:
                continue
        rank = gain + OTHER_WEIGHT * of_other
        if rank > best_rank:
            best_rank, shift = rank, numpy.mean(shifts, axis=0)
            best = Choice(shift, rule, before, estimate, before, gain, error, free)
    if best.rule.kind == "as it is":
        return best._replace(reason="no cut is better on examples that it was not chosen on")
    return best._replace(seen=labels.counts(best.shift, everything))


def check_options(n_folds: int, min_examples: int) -> None:
    """Raise a ValueError for options that do not fit."""
    if n_folds < 2 or min_examples < 1:
        raise ValueError("n_folds must be at least 2, and min_examples at least 1.")


def _rules(mixtures: Iterable[float], shrinkages: Iterable[float]) -> List[Rule]:
    shrinkages = list(shrinkages)
    return [Rule("labels", mixture, shrinkage) for mixture in mixtures for shrinkage in shrinkages]


def _smooth(values: Array, objective: Objective) -> Array:
    """Each value averaged with its neighbours, so that a lucky cut does not win. A floor is kept
    or is not: there is nothing to average.
    """
    if len(values) < 5 or not objective.is_f:
        return values
    padded = numpy.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _documents(doc: Optional[ArrayLike], n_rows: int) -> Tuple[Array, int]:
    """The document of each row, and how many there are."""
    doc = numpy.arange(n_rows) if doc is None else numpy.asarray(doc, dtype="int64")
    return doc, int(doc.max(initial=-1)) + 1


def _checked(scores: ArrayLike, n_labels: int) -> Array:
    scores = numpy.asarray(scores, dtype="float64").reshape(-1, n_labels)
    if numpy.isnan(scores).any() or (scores == numpy.inf).any():
        raise ValueError("the model gives scores that are NaN or infinite: it has diverged.")
    return scores
