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

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy

AVERAGES = ("micro", "macro")
# Beyond these log-odds a label is predicted never, or always.
LIMIT = 8.0
# Scores that are closer are the same: models' are float32.
CLOSE = 1e-5
# How many examples of a label its own cut needs to weigh as much as the common one.
SHRINKAGE = (10.0, 50.0)
# How much macro F1 counts beside micro F1 where cuts of single labels are chosen.
MIXTURES = {"micro": (0.25, 0.5), "macro": (1.0, 0.75, 0.5, 0.25)}
# How much the average that is not the objective counts where rules are compared: rules that are
# alike on dev in one average often differ in the other, and then do so on test, too.
OTHER_WEIGHT = 0.25
# How many standard errors a gain must have, not to be taken for luck.
MIN_ERRORS = 0.5
# By how much floors of precision or recall are raised in choosing, to be kept elsewhere.
MARGINS = (0.0, 0.01, 0.02, 0.04)
# A decoder is run for each of these shifts: of all labels, and of a label by itself.
COMMON_GRID = tuple(numpy.arange(-3.0, 3.01, 0.5).tolist())
LABEL_GRID = (-1.0, -0.5, 0.5, 1.0)
TP, FP, FN = range(3)


# -- objectives ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Objective:
    """What is to be highest.

    average: "micro" (all decisions pooled) or "macro" (the mean over labels). beta: of F-beta;
    above 1 recall counts more. min_precision, min_recall: at most one of them, from 0 to 1; the
    other of the two is then to be as high as it can be at this one.
    """

    average: str = "micro"
    beta: float = 1.0
    min_precision: Optional[float] = None
    min_recall: Optional[float] = None

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ValueError(f"average must be 'micro' or 'macro', got {self.average!r}.")
        if not (numpy.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"beta must be above 0, got {self.beta!r}.")
        if self.min_precision is not None and self.min_recall is not None:
            raise ValueError("Give either min_precision or min_recall, not both.")
        for name in ("min_precision", "min_recall"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")

    @property
    def is_f(self) -> bool:
        return self.min_precision is None and self.min_recall is None

    def raised(self, margin: float) -> "Objective":
        """The same with a floor that is higher by a margin, as far as it can be."""
        if self.min_precision is not None:
            return replace(self, min_precision=min(self.min_precision + margin, 0.999))
        if self.min_recall is not None:
            return replace(self, min_recall=min(self.min_recall + margin, 0.999))
        return self

    def __str__(self) -> str:
        if self.min_precision is not None:
            return f"{self.average} recall at precision >= {self.min_precision:g}"
        if self.min_recall is not None:
            return f"{self.average} precision at recall >= {self.min_recall:g}"
        return f"{self.average} F{self.beta:g}"

    def of_labels(self, counts: numpy.ndarray) -> numpy.ndarray:
        """The value of each label by itself: counts ``(..., C, 3)`` to floats ``(..., C)``.

        F-beta is from 0 to 1. With a floor, the value is 1 + the other measure where the floor is
        kept, and the measure that should keep it where it is not.
        """
        counts = numpy.asarray(counts, dtype="float64")
        tp, fp, fn = counts[..., TP], counts[..., FP], counts[..., FN]
        if self.is_f:
            weight = self.beta**2
            return _ratio((1 + weight) * tp, (1 + weight) * tp + weight * fn + fp)
        precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
        if self.min_precision is not None:
            # Nothing predicted is nothing wrong.
            precision = numpy.where(tp + fp > 0, precision, 1.0)
            return numpy.where(precision >= self.min_precision, 1 + recall, precision)
        return numpy.where(recall >= (self.min_recall or 0.0), 1 + precision, recall)

    def value(self, counts: numpy.ndarray, average: Optional[str] = None) -> numpy.ndarray:
        """The value of all labels: counts ``(..., C, 3)`` to floats ``(...)``. Labels without
        examples count in micro only."""
        counts = numpy.asarray(counts, dtype="float64")
        if (average or self.average) == "micro":
            return self.of_labels(counts.sum(axis=-2, keepdims=True))[..., 0]
        present = counts[..., TP] + counts[..., FN] > 0
        return _ratio((self.of_labels(counts) * present).sum(axis=-1), present.sum(axis=-1))


def as_objective(spec: Any, average: str = "micro") -> Objective:
    """An objective from what a user writes.

    spec: None (F1), an `Objective`, a dict of its fields, or a string: "micro", "macro", "f1",
    "macro_f2", "f0.5", "precision>=0.9" (the highest recall at that precision) or "recall>=0.8",
    with "micro " or "macro " before it. average: where the spec names none.
    Raises a ValueError that says what can be written.
    """
    if spec is None:
        return Objective(average)
    if isinstance(spec, Objective):
        return spec
    if isinstance(spec, Mapping):
        unknown = set(spec) - {"average", "beta", "min_precision", "min_recall"}
        if unknown:
            raise ValueError(f"objective: there is no option {sorted(unknown)[0]!r}.")
        return Objective(**{"average": average, **spec})
    if isinstance(spec, str):
        text = spec.lower().replace(" ", "").replace("_", "")
        for name in AVERAGES:
            if text.startswith(name):
                average, text = name, text[len(name) :]
        try:
            for measure in ("precision", "recall"):
                if text.startswith(f"{measure}>="):
                    floor = float(text.partition(">=")[2])
                    return Objective(average, **{f"min_{measure}": floor})
            if text == "" or (text[0] == "f" and text[1:]):
                return Objective(average, beta=float(text[1:] or 1))
        except ValueError as error:
            if "could not convert" not in str(error):
                raise
    raise ValueError(
        f"objective must be such as 'micro', 'macro', 'f1', 'macro_f2', 'f0.5', 'precision>=0.9' "
        f"or 'recall>=0.8', got {spec!r}."
    )


# -- scores, and what shifts of them predict -----------------------------------------------


class Rule(NamedTuple):
    """A way to choose shifts. kind: "as it is", "common" (one shift) or "labels" (one for each
    label). mixture: how much macro counts beside micro. shrinkage: as SHRINKAGE. margin: by how
    much a floor is raised in choosing, so that it is kept on other examples."""

    kind: str
    mixture: float = 0.0
    shrinkage: float = 0.0
    margin: float = 0.0

    def __str__(self) -> str:
        if self.kind != "labels":
            return {"common": "one cut for all labels"}.get(self.kind, self.kind)
        return f"a cut for each label (macro weight {self.mixture:g}, shrinkage {self.shrinkage:g})"


class Labels:
    """What `choose` needs to know of a component: common ground of the three kinds.

    names: of the labels, C of them. n_docs: D. n_examples: ints ``(C,)``, gold examples of each.
    size: how many numbers a shift has. background: whether a shift of its last number is one
    of "none of them".
    """

    names: Sequence[str]
    n_docs: int
    n_examples: numpy.ndarray
    size: int

    def rules(self, objective: Objective) -> List[Rule]:
        own = [
            Rule("labels", mixture, shrinkage)
            for mixture in MIXTURES[objective.average]
            for shrinkage in SHRINKAGE
        ]
        return [Rule("common"), *(own if len(self.names) > 1 else [Rule("labels", 0.0, 0.0)])]

    def counts(self, shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
        """``(C, 3)``: true positives, false positives and false negatives in these documents, a
        mask ``(D,)``, with this shift."""
        raise NotImplementedError

    def fit(self, rule: Rule, docs: numpy.ndarray, task: "Task") -> numpy.ndarray:
        """The shift that a rule chooses on these documents, a mask ``(D,)``."""
        raise NotImplementedError


class Task(NamedTuple):
    """objective: of all labels. own: of single labels, by index. free: bools ``(C,)``, the
    labels that have enough examples for a cut of their own."""

    objective: Objective
    own: Mapping[int, Objective]
    free: numpy.ndarray


class IndependentLabels(Labels):
    """A label is predicted where its score plus its shift is at least 0."""

    def __init__(
        self,
        names: Sequence[str],
        scores: Any,
        gold: Any,
        doc: Any = None,
        known: Any = None,
    ):
        """scores: floats ``(N, C)``, log-odds beyond the threshold; -inf is never predicted.
        gold: bools ``(N, C)``. doc: ints ``(N,)``, each row's document; rows are documents if it
        is None. known: bools ``(N, C)``, where there is annotation; None is everywhere.
        """
        self.names = list(names)
        self.scores = _checked(scores, len(self.names))
        shape = self.scores.shape
        self.gold = numpy.asarray(gold, dtype=bool).reshape(shape)
        known = numpy.ones(shape, dtype=bool) if known is None else numpy.asarray(known, bool)
        self.doc = numpy.arange(shape[0]) if doc is None else numpy.asarray(doc, dtype="int64")
        self.n_docs = int(self.doc.max()) + 1 if len(self.doc) else 0
        self.gold &= known
        self.known = known
        self.n_examples = self.gold.sum(axis=0)
        self.size = shape[1]
        self._swept: Dict[bytes, numpy.ndarray] = {}
        # Sorted once: the highest first.
        self._order = numpy.argsort(-self.scores, axis=0, kind="stable")
        ordered = numpy.take_along_axis(self.scores, self._order, axis=0)
        self._sorted = numpy.clip(ordered, -1e30, 1e30)
        self._sorted_gold = numpy.take_along_axis(self.gold, self._order, axis=0)
        self._sorted_known = numpy.take_along_axis(known, self._order, axis=0)
        # A cut between two equal scores is none, and one below -inf is none either.
        self._is_cut = numpy.ones((shape[0] + 1, shape[1]), dtype=bool)
        if shape[0]:
            self._is_cut[1:-1] = self._sorted[1:] < self._sorted[:-1] - CLOSE
            self._is_cut[1:] &= self._sorted > -1e30

    def counts(self, shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
        rows = docs[self.doc]
        with numpy.errstate(invalid="ignore"):
            found = (self.scores[rows] + shift >= 0) & self.known[rows]
        gold = self.gold[rows]
        tp = (found & gold).sum(axis=0)
        return numpy.stack([tp, found.sum(axis=0) - tp, gold.sum(axis=0) - tp], axis=1)

    def sweep(self, docs: numpy.ndarray) -> numpy.ndarray:
        """``(N + 1, C, 3)``: the counts of each label with its k highest scores predicted."""
        key = docs.tobytes()
        if key in self._swept:
            return self._swept[key]
        rows = docs[self.doc][self._order]
        counts = numpy.zeros((len(self._order) + 1, self.size, 3))
        gold = (rows & self._sorted_gold).astype("float64")
        counts[1:, :, TP] = gold.cumsum(axis=0)
        counts[1:, :, FP] = ((rows & self._sorted_known) - gold).cumsum(axis=0)
        counts[:, :, FN] = gold.sum(axis=0) - counts[:, :, TP]
        self._swept = {**self._swept, key: counts} if counts.size < 1e7 else {key: counts}
        return counts

    def best_cuts(self, values: numpy.ndarray) -> numpy.ndarray:
        """``(C,)``: the middle of the first cuts of the highest value, from ``(N + 1, C)``."""
        values = numpy.where(self._is_cut, values, -numpy.inf)
        columns = numpy.arange(self.size)
        first = values.argmax(axis=0)
        # The same value goes on while nothing that counts is passed.
        differs = (values != values[first, columns]) & self._is_cut
        differs &= numpy.arange(len(values))[:, None] > first
        last = numpy.where(differs.any(axis=0), differs.argmax(axis=0) - 1, len(values) - 1)
        padded = numpy.concatenate(
            [self._sorted[:1] + 1.0, self._sorted, self._sorted[-1:] - 1.0], axis=0
        )
        above = padded[first, columns]
        below = padded[last + 1, columns]
        # Below all that can be predicted.
        below = numpy.where(below <= -1e30, above - 1.0, below)
        return numpy.clip((above + below) / 2, -LIMIT, LIMIT)

    def fit(self, rule: Rule, docs: numpy.ndarray, task: Task) -> numpy.ndarray:
        common = self._common(docs, task)
        if rule.kind == "common":
            shift = numpy.where(task.free, common, 0.0)
        else:
            own = -self.best_cuts(self._criterion(rule, docs, task))
            weight = self.n_examples / numpy.maximum(self.n_examples + rule.shrinkage, 1e-9)
            shift = numpy.where(task.free, weight * own + (1 - weight) * common, 0.0)
        return self._with_own(shift, docs, task)

    def _common(self, docs: numpy.ndarray, task: Task) -> float:
        rows = docs[self.doc]
        usable = self.known[rows] & task.free & numpy.isfinite(self.scores[rows])
        scores, gold = self.scores[rows], self.gold[rows]
        pool = scores[usable & gold]
        if not len(pool):
            return 0.0
        cuts = numpy.unique(
            numpy.clip(numpy.quantile(pool, numpy.linspace(0.005, 0.995, 199)), -LIMIT, LIMIT)
        )
        counts = numpy.zeros((len(cuts), self.size, 3))
        for c in numpy.flatnonzero(task.free):
            of_label, is_gold = scores[usable[:, c], c], gold[usable[:, c], c]
            positive = numpy.sort(of_label[is_gold])
            every = numpy.sort(of_label)
            tp = len(positive) - numpy.searchsorted(positive, cuts, side="left")
            counts[:, c, TP] = tp
            counts[:, c, FP] = len(every) - numpy.searchsorted(every, cuts, side="left") - tp
            counts[:, c, FN] = gold[:, c].sum() - tp
        values = _smooth(task.objective.value(counts), task.objective)
        return -float(cuts[values.argmax()])

    def _criterion(self, rule: Rule, docs: numpy.ndarray, task: Task) -> numpy.ndarray:
        counts = self.sweep(docs)
        objective = task.objective
        own = objective.of_labels(counts)
        if rule.mixture == 1.0 or self.size == 1:
            return own
        # For pooled counts, each label's best cut has the highest tp - price * predicted, and
        # only the price is to be searched for.
        found = counts[:, :, TP] + counts[:, :, FP]
        columns = numpy.arange(self.size)
        free = numpy.flatnonzero(task.free)
        totals, prices = [], numpy.linspace(0.02, 0.98, 49)
        for price in prices:
            at = numpy.where(self._is_cut, counts[:, :, TP] - price * found, -1e30).argmax(axis=0)
            totals.append(counts[at, columns][free].sum(axis=0))
        values = objective.of_labels(numpy.asarray(totals))
        best = int(_smooth(values, objective).argmax())
        price, total = prices[best], totals[best]
        pooled = counts[:, :, TP] - price * found
        if rule.mixture == 0.0 or not objective.is_f:
            return pooled
        size = max(2 * total[TP] + total[FP] + total[FN], 1.0)
        macro = own / max(len(free), 1)
        return rule.mixture * macro + (1 - rule.mixture) * 2 * pooled / size

    def _with_own(self, shift: numpy.ndarray, docs: numpy.ndarray, task: Task) -> numpy.ndarray:
        """Labels with an objective of their own get the cut that is best for it."""
        if task.own:
            counts = self.sweep(docs)
            for c, objective in task.own.items():
                values = numpy.full(counts.shape[:2], -numpy.inf)
                values[:, c] = objective.of_labels(counts[:, c])
                values[0] = numpy.maximum(values[0], -1e9)
                shift[c] = -self.best_cuts(values)[c]
        return shift


class CompetingLabels(Labels):
    """The label with the highest score plus shift is predicted."""

    sweeps = 2
    n_candidates = 129

    def __init__(
        self,
        names: Sequence[str],
        scores: Any,
        gold: Any,
        doc: Any = None,
        background: Optional[int] = None,
    ):
        """scores: floats ``(N, C)``: logits or log-probabilities; -inf is never predicted. gold:
        ints ``(N,)``, the column of each row. doc: ints ``(N,)``, as for `IndependentLabels`.
        background: the column that stands for "none of them" and is not counted, if there is one.
        """
        self.names = list(names)
        self.scores = _checked(scores, len(self.names))
        self.gold = numpy.asarray(gold, dtype="int64")
        self.doc = numpy.arange(len(self.gold)) if doc is None else numpy.asarray(doc, "int64")
        self.n_docs = int(self.doc.max()) + 1 if len(self.doc) else 0
        self.size = self.scores.shape[1]
        self.background = background
        self.n_examples = numpy.bincount(self.gold, minlength=self.size)[: self.size]
        if background is not None:
            self.n_examples[background] = 0
        self._found: Dict[Any, numpy.ndarray] = {}

    def rules(self, objective: Objective) -> List[Rule]:
        if self.size == 1:
            return []
        if self.size == 2 and self.background is not None:
            return [Rule("common")]
        return super().rules(objective)

    def counts(self, shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
        rows = docs[self.doc]
        return self._counts((self.scores[rows] + shift).argmax(axis=1), self.gold[rows])

    def _counts(self, found: numpy.ndarray, gold: numpy.ndarray) -> numpy.ndarray:
        tp = numpy.bincount(found[found == gold], minlength=self.size)
        of_found = numpy.bincount(found, minlength=self.size)
        counts = numpy.stack([tp, of_found - tp, numpy.bincount(gold, minlength=self.size) - tp], 1)
        if self.background is not None:
            counts[self.background] = 0
        return counts

    def fit(self, rule: Rule, docs: numpy.ndarray, task: Task) -> numpy.ndarray:
        rows = docs[self.doc]
        scores, gold = self.scores[rows], self.gold[rows]
        common = self._common(scores, gold, task)
        shift = common.copy()
        if rule.kind != "common" and task.free.any():
            shift = self._of_labels(rule, docs, scores, gold, common, task)
            weight = self.n_examples / numpy.maximum(self.n_examples + rule.shrinkage, 1e-9)
            if self.background is not None:
                weight[self.background] = 0.0  # it is the common cut
            shift = numpy.where(task.free, weight * shift + (1 - weight) * common, common)
        for c, objective in task.own.items():
            own = Rule("labels", 1.0)
            alone = task._replace(objective=replace(objective, average="macro"))
            shift[c] = self._line_search(scores, gold, shift, c, own, alone, only=c)
        return shift

    def _of_labels(
        self,
        rule: Rule,
        docs: numpy.ndarray,
        scores: numpy.ndarray,
        gold: numpy.ndarray,
        common: numpy.ndarray,
        task: Task,
    ) -> numpy.ndarray:
        """Label by label, until nothing changes; the same for all shrinkages."""
        key = (rule.mixture, task.objective, docs.tobytes())
        if key not in self._found:
            shift = common.copy()
            for _ in range(self.sweeps):
                before = shift.copy()
                for c in numpy.flatnonzero(task.free):
                    shift[c] = self._line_search(scores, gold, shift, int(c), rule, task)
                if numpy.abs(shift - before).max() < 0.01:
                    break
            self._found[key] = shift
        return self._found[key].copy()

    def _common(self, scores: numpy.ndarray, gold: numpy.ndarray, task: Task) -> numpy.ndarray:
        """One number: the shift of the background, or how much rare labels are lifted."""
        shift = numpy.zeros(self.size)
        if self.background is not None:
            rule = Rule("common", float(task.objective.average == "macro"))
            shift[self.background] = self._line_search(
                scores, gold, shift, self.background, rule, task
            )
            return shift
        share = (self.n_examples + 1.0) / (self.n_examples.sum() + self.size)
        lift = numpy.where(task.free, -numpy.log(share), 0.0)
        if task.free.any():
            lift = numpy.where(task.free, lift - lift[task.free].min(), 0.0)
        strengths = numpy.linspace(-0.5, 1.0, 31)
        values = [
            task.objective.value(self._counts((scores + s * lift).argmax(axis=1), gold))
            for s in strengths
        ]
        return strengths[int(_smooth(numpy.asarray(values), task.objective).argmax())] * lift

    def _line_search(
        self,
        scores: numpy.ndarray,
        gold: numpy.ndarray,
        shift: numpy.ndarray,
        c: int,
        rule: Rule,
        task: Task,
        only: Optional[int] = None,
    ) -> float:
        """The best shift of one label, all others as they are."""
        if not len(scores):
            return float(shift[c])
        others = scores + shift
        others[:, c] = -numpy.inf
        other = others.argmax(axis=1)
        with numpy.errstate(invalid="ignore"):
            margin = others[numpy.arange(len(other)), other] - scores[:, c]
        margin = numpy.where(numpy.isnan(margin), numpy.inf, margin)
        edges = numpy.unique(numpy.round(margin[numpy.abs(margin) < LIMIT], 5))
        if len(edges) > self.n_candidates - 1:
            at = numpy.linspace(0, len(edges) - 1, self.n_candidates - 1).round().astype(int)
            edges = edges[at]
        ends = numpy.concatenate([[-LIMIT], edges, [LIMIT]])
        candidates = (ends[1:] + ends[:-1]) / 2
        # Row r is predicted as c by all candidates from its bucket on.
        bucket = numpy.searchsorted(candidates, margin, side="right")
        n = len(candidates)

        def up_to(columns: numpy.ndarray, rows: Any = slice(None)) -> numpy.ndarray:
            """``(n, C)``: rows of each column whose bucket is at most the candidate."""
            flat = columns[rows] * (n + 1) + bucket[rows]
            table = numpy.bincount(flat, minlength=self.size * (n + 1))
            return table.reshape(self.size, n + 1).cumsum(axis=1)[:, :n].T

        zero = numpy.zeros_like(other)
        right, here = other == gold, gold == c
        found = numpy.bincount(other, minlength=self.size) - up_to(other)
        found[:, c] = up_to(zero)[:, 0]
        tp = numpy.bincount(other[right], minlength=self.size) - up_to(other, right)
        tp[:, c] = up_to(zero, here)[:, 0]
        counts = numpy.stack(
            [tp, found - tp, numpy.bincount(gold, minlength=self.size) - tp], axis=2
        )
        if self.background is not None:
            counts[:, self.background] = 0
        if only is not None:
            values = task.objective.of_labels(counts[:, only])
        else:
            values = _mixed(task.objective, counts, rule.mixture)
        if only is None:
            values = _smooth(values, task.objective)
        best = numpy.flatnonzero(values >= values.max() - 1e-12)
        return float(candidates[best[numpy.abs(candidates[best] - shift[c]).argmin()]])


Decode = Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray]


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
        n_examples: Any,
        progress: Optional[Callable[[int, int], None]] = None,
        max_decodings: int = 150,
        common: bool = True,
    ):
        """decode: takes a shift ``(C + 1,)`` and a mask of documents ``(D,)``, and gives the
        counts ``(D, C, 3)`` of each; those of other documents do not matter. progress: told how
        many decodings are done, and how many there are at most. common: whether there is a
        common shift.
        """
        self.names = list(names)
        self.n_docs = n_docs
        self.n_examples = numpy.asarray(n_examples)
        self.size = len(self.names) + 1
        self.n_decodings = 0.0
        self._decode, self._progress, self._max = decode, progress, max_decodings
        self._has_common = common
        self._cache: Dict[bytes, numpy.ndarray] = {}
        self._common_shift: Optional[float] = None

    def rules(self, objective: Objective) -> List[Rule]:
        common = [Rule("common")] if self._has_common else []
        mixtures = {"micro": (0.5,), "macro": (1.0, 0.5)}[objective.average]
        own = [Rule("labels", mixture, SHRINKAGE[1]) for mixture in mixtures]
        return [*common, *(own if len(self.names) > 1 or not self._has_common else [])]

    def per_doc(self, shift: numpy.ndarray, docs: Optional[numpy.ndarray] = None) -> numpy.ndarray:
        """``(D, C, 3)``. Decoded once for each shift, where it is of all documents."""
        everything = docs is None or bool(docs.all())
        key = numpy.round(shift, 6).tobytes()
        if key in self._cache:
            return self._cache[key]
        mask = numpy.ones(self.n_docs, dtype=bool) if docs is None else docs
        counts = self._decode(shift, mask)
        self.n_decodings += float(mask.mean()) if len(mask) else 0.0
        if self._progress is not None:
            self._progress(int(self.n_decodings), self._max)
        if everything:
            self._cache[key] = counts
        return counts

    def counts(self, shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
        return self.per_doc(shift, docs)[docs].sum(axis=0)

    def fit(self, rule: Rule, docs: numpy.ndarray, task: Task) -> numpy.ndarray:
        shift = numpy.zeros(self.size)
        if self._has_common:
            shift[-1] = self._common(docs, task)
        if rule.kind == "labels":
            # Effects of labels on each other are small beside their own: each is looked at with
            # all others as they are at the common shift.
            base = numpy.zeros(self.size)
            base[-1] = self._base(task)
            weight = self.n_examples / (self.n_examples + rule.shrinkage)
            for c in self._affordable(task):
                values = [
                    _mixed(task.objective, self._at(base, c, delta)[docs].sum(axis=0), rule.mixture)
                    for delta in (0.0, *LABEL_GRID)
                ]
                deltas, values_ = _in_order((0.0, *LABEL_GRID), values)
                best = deltas[int(_smooth(values_, task.objective).argmax())]
                shift[c] = weight[c] * best
        for c, objective in task.own.items():
            base = numpy.zeros(self.size)
            base[-1] = self._base(task)
            own_values = [
                float(objective.of_labels(self._at(base, c, delta)[docs].sum(axis=0)[c]))
                for delta in COMMON_GRID
            ]
            # The common shift of all counts for this label, too.
            shift[c] = COMMON_GRID[int(numpy.argmax(own_values))] + base[-1] - shift[-1]
        return shift

    def _at(self, base: numpy.ndarray, c: int, delta: float) -> numpy.ndarray:
        shift = base.copy()
        shift[c] = delta
        return self.per_doc(shift)

    def _affordable(self, task: Task) -> List[int]:
        """The most frequent labels, as many as there is time for."""
        free = numpy.flatnonzero(task.free)
        n = max((self._max - 2 * len(COMMON_GRID)) // len(LABEL_GRID), 1)
        return sorted(free[numpy.argsort(-self.n_examples[free], kind="stable")][:n].tolist())

    def _common(self, docs: numpy.ndarray, task: Task) -> float:
        shift = numpy.zeros(self.size)
        grid = list(COMMON_GRID)
        values: List[float] = []
        for value in grid:
            shift[-1] = value
            values.append(float(task.objective.value(self.per_doc(shift)[docs].sum(axis=0))))
        # At an end of the grid there may be more beyond it.
        step = grid[1] - grid[0]
        while abs(grid[int(numpy.argmax(values))]) == max(map(abs, grid)) < LIMIT:
            at_top = int(numpy.argmax(values)) == len(grid) - 1
            shift[-1] = grid[-1] + step if at_top else grid[0] - step
            found = float(task.objective.value(self.per_doc(shift)[docs].sum(axis=0)))
            grid.insert(len(grid) if at_top else 0, float(shift[-1]))
            values.insert(len(values) if at_top else 0, found)
        return grid[int(_smooth(numpy.asarray(values), task.objective).argmax())]

    def _base(self, task: Task) -> float:
        if self._common_shift is None:
            everything = numpy.ones(self.n_docs, dtype=bool)
            self._common_shift = self._common(everything, task) if self._has_common else 0.0
        return self._common_shift


# -- choosing ------------------------------------------------------------------------------


class Choice(NamedTuple):
    """What `choose` found.

    shift: floats ``(size,)``; 0 everywhere if nothing is better. rule: how it was chosen.
    before, estimate, seen: counts ``(C, 3)``: without a shift; with one, cross-fitted; and with
    the chosen shift on the documents that it was chosen on. gain: of the objective, cross-fitted,
    and its standard error. reason: why nothing is changed, if so.
    """

    shift: numpy.ndarray
    rule: Rule
    before: numpy.ndarray
    estimate: numpy.ndarray
    seen: numpy.ndarray
    gain: float
    error: float
    free: numpy.ndarray
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

    own: objectives of single labels. n_folds: at least 2; fewer where there are fewer documents.
    min_examples: labels with fewer gold examples are left alone. max_loss: how much F1 of the
    other average (macro for micro, and the reverse) may go down, from 0 to 1. seed: of the folds.
    Nothing is random but the folds. Raises a ValueError for options that do not fit.
    """
    if n_folds < 2 or min_examples < 1:
        raise ValueError("n_folds must be at least 2 and min_examples at least 1.")
    own = own or {}
    unknown = [name for name in own if name not in labels.names]
    if unknown:
        raise ValueError(
            f"there is no label {unknown[0]!r}. The labels are {', '.join(map(str, labels.names))}."
        )
    everything = numpy.ones(labels.n_docs, dtype=bool)
    nothing = numpy.zeros(labels.size)
    free = labels.n_examples >= min_examples
    as_it_is = Rule("as it is")
    before = labels.counts(nothing, everything)
    alone = Choice(nothing, as_it_is, before, before, before, 0.0, 0.0, free)
    n_folds = min(n_folds, labels.n_docs)
    if not labels.n_docs or not labels.n_examples.sum():
        return alone._replace(reason="the examples have no gold annotation for it")
    if not free.any():
        return alone._replace(reason=f"no label has {min_examples} examples")
    if n_folds < 2:
        return alone._replace(reason="there are not two documents to cross-fit on")
    of_index = {list(labels.names).index(name): of_label for name, of_label in own.items()}
    rules = labels.rules(objective)
    if not objective.is_f:
        rules = [rule._replace(margin=margin) for rule in rules for margin in MARGINS]
    if not rules:
        return alone._replace(reason="it has one label alone, which is always predicted")
    folds = _folds(labels.n_docs, n_folds, seed)
    before_of = numpy.stack([labels.counts(nothing, folds == f) for f in range(n_folds)])
    f1 = Objective("micro")
    other = AVERAGES[objective.average == "micro"]
    floor = float(f1.value(before, other)) - max_loss
    value_before = float(objective.value(before))
    best, best_rank = alone, -numpy.inf
    for rule in rules:
        task = Task(objective.raised(rule.margin), of_index, free)
        shifts = [labels.fit(rule, folds != f, task) for f in range(n_folds)]
        of_fold = numpy.stack([labels.counts(s, folds == f) for f, s in enumerate(shifts)])
        estimate = of_fold.sum(axis=0)
        gain = float(objective.value(estimate)) - value_before
        gains = [
            float(objective.value(estimate - a) - objective.value(before - b))
            for a, b in zip(of_fold, before_of)
        ]
        error = float(numpy.sqrt(numpy.var(gains) * (n_folds - 1)))  # jackknife
        rank = gain
        if objective.is_f:
            of_other = float(f1.value(estimate, other))
            rank += OTHER_WEIGHT * of_other
            # Objectives of single labels were asked for, whatever they cost.
            if not own and (of_other < floor or gain <= max(MIN_ERRORS * error, 1e-9)):
                continue
        elif not own and gain <= 1e-9:
            continue
        if rank > best_rank:
            shift = numpy.mean(shifts, axis=0)
            best_rank = rank
            best = Choice(shift, rule, before, estimate, before, gain, error, free)
    if best is alone:
        return alone._replace(reason="no cut is better on examples that it was not chosen on")
    return best._replace(seen=labels.counts(best.shift, everything))


def precision_recall(counts: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Precision, recall and F1 of counts ``(..., 3)``."""
    counts = numpy.asarray(counts, dtype="float64")
    tp, fp, fn = counts[..., TP], counts[..., FP], counts[..., FN]
    return _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn)


def curve(labels: Labels, c: int, n: int = 200) -> numpy.ndarray:
    """``(n, 2)`` or fewer: recall and precision of one label at its cuts, if they are known."""
    if not isinstance(labels, IndependentLabels) or not labels.n_examples[c]:
        return numpy.zeros((0, 2))
    counts = labels.sweep(numpy.ones(labels.n_docs, dtype=bool))[1:, c]
    counts = counts[labels._is_cut[1:, c]]
    at = numpy.unique(numpy.linspace(0, len(counts) - 1, min(n, len(counts))).astype(int))
    precision, recall, _ = precision_recall(counts[at])
    return numpy.stack([recall, precision], axis=1)


def _mixed(objective: Objective, counts: numpy.ndarray, mixture: float) -> Any:
    if not objective.is_f:
        return objective.value(counts)
    micro = objective.value(counts, "micro") if mixture < 1 else 0.0
    macro = objective.value(counts, "macro") if mixture > 0 else 0.0
    return mixture * macro + (1 - mixture) * micro


def _in_order(keys: Sequence[float], values: Sequence[Any]) -> Tuple[numpy.ndarray, numpy.ndarray]:
    order = numpy.argsort(keys)
    return numpy.asarray(keys)[order], numpy.asarray(values, dtype="float64")[order]


def _folds(n: int, n_folds: int, seed: int) -> numpy.ndarray:
    """The fold of each document: as equal in size as can be."""
    return numpy.random.default_rng(seed).permutation(n) % n_folds


def _smooth(values: numpy.ndarray, objective: Objective) -> numpy.ndarray:
    """Each value averaged with its neighbours, so that a lucky cut does not win. A floor is kept
    or is not: there is nothing to average."""
    if len(values) < 5 or not objective.is_f:
        return values
    padded = numpy.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _checked(scores: Any, n_labels: int) -> numpy.ndarray:
    scores = numpy.asarray(scores, dtype="float64").reshape(-1, n_labels)
    if numpy.isnan(scores).any() or (scores == numpy.inf).any():
        raise ValueError("the model gives scores that are NaN or infinite: it has diverged.")
    return scores


def _ratio(a: Union[numpy.ndarray, float], b: Union[numpy.ndarray, float]) -> Any:
    """a / b, and 0 where b is 0."""
    return numpy.divide(a, b, out=numpy.zeros(numpy.broadcast(a, b).shape), where=(b != 0))
