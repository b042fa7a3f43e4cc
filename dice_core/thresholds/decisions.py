"""What choosing thresholds needs to know of a model's scores: three kinds of decision share it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy

from ..options import listed
from .calibrate import Confidence
from .objectives import Array, Measure, Objective, overall

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
    """What shifts are fitted for.

    Attributes:
        objective: Of all labels.
        free: Bools ``(C,)``, the labels that can have a threshold of their own.
        counted: Bools ``(C,)``, the labels that the objective is of.
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
    """

    names: list[str]
    n_docs: int
    n_examples: Array
    size: int
    background: int | None = None
    fixed: Array
    over = "gold"

    @property
    def shift_names(self) -> list[str]:
        """What each number of a shift is of."""
        return [*self.names, ALL][: self.size]

    @property
    def counted(self) -> Array:
        """Bools ``(C,)``: all labels but the background."""
        background = -1 if self.background is None else self.background
        return numpy.asarray(numpy.arange(len(self.names)) != background)

    def overall(
        self, measure: Measure, counts: Array, average: str, counted: Array | None = None
    ) -> Array:
        """A measure of all labels, as the toolkit averages: counts ``(..., C, 3)`` to ``(...)``."""
        counted = self.counted if counted is None else counted & self.counted
        return overall(measure, counts, average, self.over, counted)

    def rules(self, objective: Objective) -> list[Rule]:
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

    def fit(self, rules: Sequence[Rule], docs: Array, task: Task) -> list[Array]:
        """The shift that each rule chooses on these documents, a mask ``(D,)``."""
        seen = self.look_at(docs)
        common: dict[float, Array] = {}
        single: dict[tuple[float, float], Array] = {}
        shifts = []
        for rule in rules:
            key, n = (rule.margin, rule.mixture), len(self.names)
            raised = task._replace(objective=task.objective.raised(rule.margin))
            if rule.margin not in common:
                common[rule.margin] = self.common(seen, raised)
            shift = common[rule.margin].copy()
            if rule.kind == "labels":
                if key not in single:
                    single[key] = self.single(seen, rule.mixture, shift, raised)
                # Thresholds of labels with few examples are drawn towards the common one.
                weight = self.n_examples / (self.n_examples + rule.shrinkage)
                drawn = weight * single[key] + (1 - weight) * shift[:n]
                shift[:n] = numpy.where(task.free, drawn, shift[:n])
            shifts.append(shift)
        return shifts

    def look_at(self, docs: Array) -> Array:
        """What the two that follow need of these documents, a mask ``(D,)``."""
        return docs

    def common(self, seen: Array, task: Task) -> Array:
        """``(size,)``: a shift that has one number to choose."""
        raise NotImplementedError

    def single(self, seen: Array, mixture: float, common: Array, task: Task) -> Array:
        """``(C,)``: the best shift of each label."""
        raise NotImplementedError

    def fit_label(self, docs: Array, c: int, objective: Objective, shift: Array) -> float:
        """The shift of one label that is best for an objective of its own on these documents, all
        other numbers as in ``shift``.
        """
        raise NotImplementedError

    def gold_share(self, c: int) -> float | None:
        """Of all that a label can be predicted for, the share that it is right for: its precision
        if it were always predicted; None where that cannot be.
        """
        return None

    def confidence(self, center: float) -> Confidence:
        """How sure each decision is. center: of independent labels, the threshold's log-odds."""
        raise NotImplementedError

    def values(self, counts: Array, task: Task, mixture: float | None = None) -> Array:
        """What is to be highest, of counts ``(..., C, 3)``: ``mixture`` of the mean over labels,
        and the rest of all pooled; None is what the objective says. Floors do not mix.
        """
        objective = task.objective
        if mixture is None or objective.has_floor:
            return self.overall(objective.rank, counts, objective.average, task.counted)
        macro, micro = (
            self.overall(objective.rank, counts, average, task.counted) if share else 0.0
            for average, share in (("macro", mixture), ("micro", 1 - mixture))
        )
        return numpy.asarray(mixture * macro + (1 - mixture) * micro)

    def smoothed(self, counts: Array, task: Task, mixture: float | None = None) -> Array:
        """The same of candidates ``(n, C, 3)``, each averaged with its neighbours."""
        return smooth(self.values(counts, task, mixture), task.objective)


def label_rules(mixtures: Iterable[float], shrinkages: Sequence[float]) -> list[Rule]:
    """A threshold for each label, by each of these mixtures and shrinkages."""
    return [Rule("labels", mixture, shrinkage) for mixture in mixtures for shrinkage in shrinkages]


def smooth(values: Array, objective: Objective) -> Array:
    """Each value averaged with its neighbours, so that a lucky threshold does not win. A floor is
    reached or is not: there is nothing to average.
    """
    if len(values) < 5 or objective.has_floor:
        return values
    padded = numpy.concatenate([values[:1], values, values[-1:]])
    return numpy.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def check_scores(*scores: Array) -> None:
    """Raise a ValueError for scores that are NaN or infinite; -inf is a label that never is."""
    for values in scores:
        if numpy.isnan(values).any() or (values == numpy.inf).any():
            raise ValueError("the model gives scores that are NaN or infinite: it has diverged.")


def check_known(names: Iterable[str], known: Sequence[str], problem: str) -> None:
    """Raise a ValueError with the first of the names that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(f"{problem} {name!r}. There are: {listed(known)}.")
