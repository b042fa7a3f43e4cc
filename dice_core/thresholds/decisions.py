"""What choosing thresholds needs to know of a model's scores: three kinds of decision share it."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from numpy.typing import ArrayLike

from .objectives import Array, Objective, overall

# Beyond these log-odds a label is predicted never, or always.
LIMIT = 8.0
# How many examples of a label its own threshold needs to weigh as much as the common one.
SHRINKAGE = (10.0, 50.0)
# How much macro F1 counts combined with micro F1 where thresholds of single labels are chosen.
MIXTURES = {"micro": (0.25, 0.5), "macro": (1.0, 0.75, 0.5, 0.25)}
# What the shift that all labels share against "none of them" is called.
ALL = "(all)"


class Rule(NamedTuple):
    """A way to choose shifts.

    Attributes:
        kind: "as it is", "common" (one shift) or "labels" (one for each label).
        mixture: How much macro counts combined with micro.
        shrinkage: As SHRINKAGE.
        margin: By how much a floor is raised in choosing, so that it is reached elsewhere.
    """

    kind: str
    mixture: float = 0.0
    shrinkage: float = 0.0
    margin: float = 0.0

    def __str__(self) -> str:
        if self.kind == "labels":
            how = f"macro weight {self.mixture:g}, shrinkage {self.shrinkage:g}"
            return f"a threshold for each label ({how})"
        return "one threshold for all labels" if self.kind == "common" else self.kind


class Task(NamedTuple):
    """objective: of all labels. free: bools ``(C,)``, the labels that can have a threshold of their
    own. counted: bools ``(C,)``, the labels that the objective is of.
    """

    objective: Objective
    free: Array
    counted: Array


class ScoredLabels:
    """What `choose` needs to know of a component.

    Attributes:
        names: The labels, C of them.
        n_docs: How many documents there are, D.
        n_examples: Ints ``(C,)``, gold examples of each label.
        size: How many numbers a shift has: C, or one more, the last, that all labels share
            against "none of them".
        background: The label that stands for "none of them", which is not counted.
        fixed: Bools ``(C,)``, labels whose threshold cannot be chosen.
        over: Which labels the toolkit's macro average is over, as for `overall`.
        n_decodings: How often a decoder was run over all documents.
    """

    names: List[str]
    n_docs: int
    n_examples: Array
    size: int
    background: Optional[int] = None
    fixed: Array
    over = "gold"
    n_decodings = 0.0
    # Ints ``(M, 2)``: document and label of gold that no threshold could find.
    missed: Array

    def _prepare(self, names: Sequence[str], missed: ArrayLike, n_fixed: int) -> None:
        self.names = list(names)
        self.missed = numpy.asarray(missed, dtype="int64").reshape(-1, 2)
        self.fixed = numpy.arange(len(self.names)) >= len(self.names) - n_fixed

    @property
    def shift_names(self) -> List[str]:
        """What each number of a shift is of."""
        return [*self.names, ALL][: self.size]

    @property
    def counted(self) -> Array:
        """Bools ``(C,)``: all labels but the background."""
        made: numpy.ndarray = numpy.arange(len(self.names)) != (
            -1 if self.background is None else self.background
        )
        return made

    def overall(
        self, measure: Any, counts: Array, average: str, counted: Optional[Array] = None
    ) -> Array:
        """A measure of all labels, as the toolkit averages: counts ``(..., C, 3)`` to ``(...)``."""
        counted = self.counted if counted is None else counted & self.counted
        return overall(measure, counts, average, self.over, counted)

    def rules(self, objective: Objective) -> List[Rule]:
        """The rules to try; the first of equally good ones wins."""
        if len(self.names) == 1:
            return [Rule("common"), Rule("labels")]
        return [Rule("common"), *label_rules(MIXTURES[objective.average], SHRINKAGE)]

    def counts(self, shift: Array, groups: Array, n_groups: int) -> Array:
        """True positives, false positives and false negatives with a shift.

        Args:
            shift: Floats ``(size,)``.
            groups: Ints ``(D,)``, the group of each document; -1 leaves it out.
            n_groups: How many groups there are, G.

        Returns:
            Floats ``(G, C, 3)``.
        """
        raise NotImplementedError

    def total(self, shift: Array) -> Array:
        """``(C, 3)``: the counts of all documents."""
        made: numpy.ndarray = self.counts(shift, numpy.zeros(self.n_docs, dtype="int64"), 1)[0]
        return made

    def fit(self, rules: Sequence[Rule], docs: Array, task: Task) -> List[Array]:
        """The shift that each rule chooses on these documents, a mask ``(D,)``."""
        seen = self.look_at(docs)
        common: Dict[float, Array] = {}
        single: Dict[Tuple[float, float], Array] = {}
        shifts = []
        for rule in rules:
            margin, n = rule.margin, len(self.names)
            raised = task._replace(objective=task.objective.raised(margin))
            if margin not in common:
                common[margin] = self.common(seen, raised)
            shift = common[margin].copy()
            if rule.kind == "labels":
                key = (margin, rule.mixture)
                if key not in single:
                    single[key] = self.single(seen, rule.mixture, shift, raised)
                # Thresholds of labels with few examples are drawn towards the common one.
                weight = self.n_examples / (self.n_examples + rule.shrinkage)
                drawn = weight * single[key] + (1 - weight) * shift[:n]
                shift[:n] = numpy.where(task.free, drawn, shift[:n])
            shifts.append(shift)
        return shifts

    def look_at(self, docs: Array) -> Any:
        """What the two that follow need of these documents."""
        return docs

    def common(self, seen: Any, task: Task) -> Array:
        """``(size,)``: a shift that has one number to choose."""
        raise NotImplementedError

    def single(self, seen: Any, mixture: float, common: Array, task: Task) -> Array:
        """``(C,)``: the best shift of each label."""
        raise NotImplementedError

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        """The shift of one label that is best for an objective of its own on these documents, all
        other numbers as in ``shift``.
        """
        raise NotImplementedError

    def gold_share(self, c: int) -> Optional[float]:
        """Of all that a label can be predicted for, the share that it is right for: its precision
        if it were always predicted; None where that cannot be.
        """
        return None

    def curve(self, c: int) -> Array:
        """``(n, 2)``: recall and precision of one label at its thresholds, where they are known."""
        return numpy.zeros((0, 2))

    def values(self, objective: Objective, counts: Array, task: Task, mixture: float) -> Array:
        """What is to be highest: ``mixture`` of the mean over labels, and the rest of all pooled.
        Floors do not mix.
        """
        if objective.has_floor:
            return self.overall(objective.rank, counts, objective.average, task.counted)
        macro, micro = (
            self.overall(objective.rank, counts, average, task.counted) if share else 0.0
            for average, share in (("macro", mixture), ("micro", 1 - mixture))
        )
        return numpy.asarray(mixture * macro + (1 - mixture) * micro)

    def _missed_counts(self, groups: Array, n_groups: int) -> Array:
        """``(G, C)``: gold that no threshold could find."""
        return tally(groups[self.missed[:, 0]], self.missed[:, 1], n_groups, len(self.names))


def tally(groups: Array, columns: Array, n_groups: int, n_columns: int) -> Array:
    """``(G, C)``: how often each pair occurs; groups below 0 are left out."""
    inside = groups >= 0
    cells = groups[inside] * n_columns + columns[inside]
    return numpy.bincount(cells, minlength=n_groups * n_columns).reshape(n_groups, n_columns)


def label_rules(mixtures: Iterable[float], shrinkages: Sequence[float]) -> List[Rule]:
    """A threshold for each label, by each of these mixtures and shrinkages."""
    return [Rule("labels", mixture, shrinkage) for mixture in mixtures for shrinkage in shrinkages]


def smooth(values: Array, objective: Objective) -> Array:
    """Each value averaged with its neighbours, so that a lucky threshold does not win. A floor is
    reached or is not: there is nothing to average.
    """
    if len(values) < 5 or objective.has_floor:
        return values
    padded = numpy.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def documents(doc: Optional[ArrayLike], n_rows: int, n_docs: Optional[int]) -> Tuple[Array, int]:
    """The document of each row, and how many there are."""
    doc = numpy.arange(n_rows) if doc is None else numpy.asarray(doc, dtype="int64")
    return doc, int(doc.max(initial=-1)) + 1 if n_docs is None else n_docs


def checked(scores: ArrayLike, n_labels: int) -> Array:
    """``(N, C)``, in float64; a ValueError for scores that have no threshold."""
    scores = numpy.asarray(scores, dtype="float64").reshape(-1, n_labels)
    check_scores(scores)
    return scores


def check_scores(*scores: Array) -> None:
    """Raise a ValueError for scores that are NaN or infinite; -inf is a label that never is."""
    for values in scores:
        if numpy.isnan(values).any() or (values == numpy.inf).any():
            raise ValueError("the model gives scores that are NaN or infinite: it has diverged.")


def to_counts(tp: Array, n_found: Array, n_gold: Array) -> Array:
    """``(..., 3)``, from true positives and how many are found and gold."""
    counts = numpy.stack([tp, n_found - tp, n_gold - tp], axis=-1)
    return counts.astype("float64")


def check_known(names: Iterable[str], known: Sequence[str], problem: str) -> None:
    """Raise a ValueError with the first of the names that is not known."""
    for name in names:
        if name not in known:
            more = f" and {len(known) - 10} more" if len(known) > 10 else ""
            raise ValueError(f"{problem} {name!r}. There are: {', '.join(known[:10])}{more}.")
