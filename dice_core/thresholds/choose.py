"""Choosing shifts of scores that serve an objective on documents that they were not chosen on."""

from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

import numpy

from .decisions import Rule, ScoredLabels, Task, check_known
from .estimate import Gain, estimate_gain, jackknife_error
from .objectives import AVERAGES, Array, FScore, Objective

# How much the average that is not the objective counts where rules are compared: rules that are
# alike on dev in one average often differ in the other, and then do so on test, too.
OTHER_WEIGHT = 0.25
# How many standard errors a gain must have, not to be taken for luck.
MIN_ERRORS = 0.5
# By how much floors of precision or recall are raised in choosing, to be reached elsewhere.
MARGINS = (0.0, 0.01, 0.02, 0.04)
# How far a floor may be missed on documents that played no part, if nothing reaches it.
NEAR = 0.02
# Groups of documents in each fold, for standard errors.
GROUPS = 10
AS_IT_IS = Rule("as it is")
NOTHING_BETTER = "no threshold is better on documents that it was not chosen on"

Folds = FrozenSet[int]


class Choice(NamedTuple):
    """What `choose` found.

    Attributes:
        shift: Floats ``(size,)``; 0 everywhere if nothing is better.
        rule: How it was chosen.
        before: Counts ``(C, 3)`` without a shift.
        estimate: Counts cross-fitted: each document with a shift that was chosen, rule and all,
            without it. Those of ``before`` if nothing is changed.
        seen: Counts with ``shift`` on the documents that it was chosen on.
        gain: Of the objective; None if it is of no label.
        free: Bools ``(C,)``, the labels that have enough examples.
        reason: Why nothing is changed, if so.
        left: Labels with objectives of their own that are left alone, and why.
    """

    shift: Array
    rule: Rule
    before: Array
    estimate: Array
    seen: Array
    gain: Optional[Gain]
    free: Array
    reason: str
    left: Mapping[str, str]


class Selected(NamedTuple):
    """A shift that was chosen on some of the folds, by which rule, or why it is 0; and labels that
    are left alone, and why.
    """

    shift: Array
    rule: Rule
    reason: str
    left: Dict[str, str]
    has_rule: bool = False


def choose(
    labels: ScoredLabels,
    objective: Objective,
    by_label: Optional[Mapping[str, Objective]] = None,
    *,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    seed: int = 0,
) -> Choice:
    """The shift that serves the objective best on documents that it was not chosen on.

    Documents are divided into folds. Every rule, from one shift that all labels share to a shift
    for each label, is fitted on all folds but one and applied to that one, in turn. The rule with
    the best score over all folds wins if it beats the scores as they are and does not cost the
    other average more than ``max_loss``; its shift is the mean of those of the folds, if that is
    not worse than nothing on all of them. The estimate is of all this, done once more without each
    fold and applied to it.

    Args:
        labels: Scores and gold annotation.
        objective: Of all labels; a floor with average "macro" is one for each label.
        by_label: Objectives of single labels. ``objective`` is then of the others.
        n_folds: At least 3; fewer where there are fewer documents.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average (macro for micro, and the reverse) may go down,
            from 0 to 1.
        seed: Of the folds; nothing else is random.

    Returns:
        The choice.

    Raises:
        ValueError: For options that do not fit.

    Example:
        A label that is missed, as its scores are below 0:

        >>> from dice_core.thresholds.rows import IndependentLabels
        >>> gold = numpy.arange(60) % 3 == 0
        >>> labels = IndependentLabels(["x"], numpy.where(gold, -1.0, -3.0), gold)
        >>> choose(labels, FScore()).shift
        array([1.])
    """
    check_options(n_folds, min_examples)
    by_label = dict(by_label or {})
    check_known(by_label, labels.names, "there is no label")
    if objective.has_floor and objective.average == "macro":
        names = [name for name, counts in zip(labels.names, labels.counted) if counts]
        by_label = {**dict.fromkeys(names, objective), **by_label}
    nothing = numpy.zeros(labels.size)
    before = labels.total(nothing)
    free = (labels.n_examples >= min_examples) & ~labels.fixed

    def unchanged(reason: str, left: Mapping[str, str] = {}) -> Choice:
        return Choice(nothing, AS_IT_IS, before, before, before, None, free, reason, left)

    if not labels.n_examples.sum():
        return unchanged("the examples have no gold annotation for it")
    if not free.any():
        return unchanged(f"no label has {min_examples} examples")
    if labels.n_docs < 3:
        return unchanged("there are not three documents to cross-fit on")
    if not labels.rules(objective):
        return unchanged("it has one label alone, which is always predicted")
    search = _Search(labels, objective, by_label, free, min(n_folds, labels.n_docs), max_loss, seed)
    while True:
        chosen, nested = search.select(search.folds), search.nested()
        after = search.each(nested)
        if chosen.reason or not search.drop_what_fails(chosen, after.sum(axis=0)):
            break
    if chosen.reason:
        return unchanged(chosen.reason, chosen.left)
    estimate, seen = after.sum(axis=0), labels.total(chosen.shift)
    gain = search.gain(nested) if chosen.has_rule else None
    return Choice(chosen.shift, chosen.rule, before, estimate, seen, gain, free, "", chosen.left)


def check_options(n_folds: int, min_examples: int) -> None:
    """Raise a ValueError for options that do not fit."""
    if n_folds < 3 or min_examples < 1:
        raise ValueError("n_folds must be at least 3, and min_examples at least 1.")


class _Search:
    """The rules, fitted on all pairs of folds, and counts of the documents in each fold."""

    def __init__(
        self,
        labels: ScoredLabels,
        objective: Objective,
        by_label: Mapping[str, Objective],
        free: Array,
        n_folds: int,
        max_loss: float,
        seed: int,
    ):
        self.labels, self.objective, self.max_loss = labels, objective, max_loss
        n_docs, places = labels.n_docs, {name: c for c, name in enumerate(labels.names)}
        self.by_label = {places[name]: of for name, of in by_label.items() if free[places[name]]}
        counted = labels.counted & ~numpy.isin(labels.names, list(by_label))
        self.task = Task(objective, free & counted, counted)
        self.rules = labels.rules(objective) if self.task.free.any() else []
        if objective.has_floor:
            self.rules = [rule._replace(margin=m) for rule in self.rules for m in MARGINS]
        self.folds: Folds = frozenset(range(n_folds))
        self.n_groups = n_folds * max(min(GROUPS, n_docs // n_folds), 1)
        self.groups = numpy.random.default_rng(seed).permutation(n_docs) % self.n_groups
        self.fold_of_group = numpy.arange(self.n_groups) % n_folds
        self.fold = self.fold_of_group[self.groups]
        self.nothing = numpy.zeros(labels.size)
        # What is no longer chosen, and why.
        self.left: Dict[str, str] = {}
        self.reason = ""
        self._fits: Dict[Folds, List[Array]] = {}
        self._tables: Dict[Tuple[bytes, int], Array] = {}

    # -- what is known of folds ------------------------------------------------------------

    def docs(self, folds: Folds) -> Array:
        """A mask ``(D,)`` of the documents in these folds."""
        return numpy.isin(self.fold, list(folds))

    def fits(self, folds: Folds) -> List[Array]:
        """The shift of each rule, fitted on these folds."""
        if folds not in self._fits:
            self._fits[folds] = self.labels.fit(self.rules, self.docs(folds), self.task)
        return self._fits[folds]

    def table(self, shift: Array, folds: Folds) -> Array:
        """``(G, C, 3)``: counts of each group of documents; 0 outside of these folds."""
        counts = numpy.zeros((self.n_groups, len(self.labels.names), 3))
        for f in folds:
            key, inside = (shift.tobytes(), f), self.fold_of_group == f
            if key not in self._tables:
                groups = numpy.where(self.fold == f, self.groups, -1)
                all_groups = self.labels.counts(shift, groups, self.n_groups)
                self._tables[key] = all_groups[inside]
            counts[inside] = self._tables[key]
        return counts

    def each(self, shifts: Mapping[int, Array]) -> Array:
        """``(G, C, 3)``: counts of each fold with a shift of its own."""
        made: numpy.ndarray = numpy.sum(
            [self.table(shift, frozenset([f])) for f, shift in shifts.items()], axis=0
        )
        return made

    # -- choosing --------------------------------------------------------------------------

    def rank(self, counts: Array) -> Array:
        objective, task = self.objective, self.task
        return self.labels.overall(objective.rank, counts, objective.average, task.counted)

    def shown(self, counts: Array) -> Array:
        objective, task = self.objective, self.task
        return self.labels.overall(objective.shown, counts, objective.average, task.counted)

    def select(self, folds: Folds) -> Selected:
        """The shift that is chosen on these folds, as if there were no others."""
        selected, shifts = self._select_rule(folds)
        shift, left = selected.shift.copy(), dict(self.left)
        if self.by_label:
            left.update(self._select_labels(folds, shift, shifts))
        rule, reason = selected.rule, ""
        if not shift.any():
            rule, reason = AS_IT_IS, self.reason or selected.reason
            if not self.task.free.any() and left:
                reason = "; ".join(f"{name}: {why}" for name, why in sorted(left.items())[:3])
        elif rule == AS_IT_IS:
            rule = Rule("thresholds of single labels")
        return Selected(shift, rule, reason, left, selected.rule != AS_IT_IS)

    def drop_what_fails(self, chosen: Selected, estimate: Array) -> bool:
        """Choose no more what is no better, or misses its floor, on documents that played no part.

        Returns:
            Whether there was any of it.
        """
        before, failed = self.table(self.nothing, self.folds).sum(axis=0), False
        for c, objective in list(self.by_label.items()):
            name = self.labels.names[c]
            reason = chosen.left.get(name) or _failure(
                objective, objective.rank, before[c], estimate[c], estimate[c]
            )
            if reason:
                self.left[name], failed = reason, True
                del self.by_label[c]
        if self.rules:
            reason, pooled = NOTHING_BETTER, estimate[self.task.counted].sum(axis=0)
            if chosen.has_rule:
                reason = _failure(self.objective, self.rank, before, estimate, pooled)
            if reason:
                self.rules, self.reason, failed = [], reason, True
        return failed

    def _select_rule(self, folds: Folds) -> Tuple[Selected, Dict[int, Array]]:
        """The best rule for the objective, and its shift for each fold, from the others."""
        objective, labels = self.objective, self.labels
        none = {f: self.nothing for f in folds}
        in_folds = numpy.isin(self.fold_of_group, list(folds))
        before = self.table(self.nothing, folds)[in_folds]
        other = AVERAGES[objective.average == "micro"]

        def other_f1(counts: Array) -> float:
            return float(labels.overall(FScore().shown, counts, other, self.task.counted))

        rank_before, floor = self.rank(before.sum(axis=0)), other_f1(before.sum(axis=0))
        best, reason, nearest = -numpy.inf, NOTHING_BETTER, numpy.inf
        selected, shifts_of_best = Selected(self.nothing, AS_IT_IS, reason, {}), none
        for r, rule in enumerate(self.rules):
            shifts = {f: self.fits(folds - {f})[r] for f in folds}
            after = self.each(shifts)[in_folds]
            total = after.sum(axis=0)
            gain, cost = float(self.rank(total) - rank_before), floor - other_f1(total)
            if objective.has_floor:
                pooled = total[self.task.counted].sum(axis=0)
                shortfall = float(objective.shortfall(pooled))
                if shortfall > NEAR:
                    if shortfall < nearest:
                        nearest, reason = shortfall, _not_reached(objective, pooled)
                    continue
                if gain <= 1e-9:
                    continue
                score = gain
            else:
                error = jackknife_error(self.rank, before, after)
                if gain <= max(MIN_ERRORS * error, 1e-9) or cost > self.max_loss:
                    continue
                score = gain - OTHER_WEIGHT * cost
            if score <= best:
                continue
            # Never worse than before on what was seen.
            shift = numpy.mean([shifts[f] for f in sorted(folds)], axis=0)
            if self.rank(self.table(shift, folds).sum(axis=0)) < rank_before:
                shift = self.fits(folds)[r]
                if self.rank(self.table(shift, folds).sum(axis=0)) < rank_before:
                    continue
            best, shifts_of_best = score, shifts
            selected = Selected(shift, rule, "", {})
        if not numpy.isfinite(best):
            selected = selected._replace(reason=reason)
        return selected, shifts_of_best

    def _select_labels(
        self, folds: Folds, shift: Array, shifts: Mapping[int, Array]
    ) -> Dict[str, str]:
        """Choose the shifts of labels that have objectives of their own, into ``shift``.

        Returns:
            The labels that are left alone, and why.
        """
        labels, left = self.labels, {}
        before = self.table(self.nothing, folds).sum(axis=0)
        best: Dict[int, Tuple[float, float]] = {}  # rank and shift
        nearest: Dict[int, Tuple[float, Array]] = {}
        for margin in MARGINS:
            fitted = {f: shifts[f].copy() for f in folds}
            for f in folds:
                docs = self.docs(folds - {f})
                for c, objective in self.by_label.items():
                    raised = objective.raised(margin)
                    fitted[f][c] = labels.fit_label(docs, c, raised, shifts[f])
            counts = self.each(fitted).sum(axis=0)
            for c, objective in self.by_label.items():
                rank, shortfall = float(objective.rank(counts[c])), objective.shortfall(counts[c])
                if c not in nearest or shortfall < nearest[c][0]:
                    nearest[c] = (float(shortfall), counts[c])
                if shortfall > NEAR or rank <= max(
                    float(objective.rank(before[c])), best.get(c, (-numpy.inf, 0.0))[0]
                ):
                    continue
                best[c] = (rank, float(numpy.mean([fitted[f][c] for f in sorted(folds)])))
            if not any(objective.has_floor for objective in self.by_label.values()):
                break
        base = shift.copy()
        for c, (_, value) in best.items():
            shift[c] = value
        seen = self.table(shift, folds).sum(axis=0)
        for c, objective in self.by_label.items():
            if c in best and objective.rank(seen[c]) >= objective.rank(before[c]):
                continue
            shift[c] = base[c]
            missed = nearest[c][0] > NEAR
            reason = _not_reached(objective, nearest[c][1]) if missed else NOTHING_BETTER
            left[labels.names[c]] = reason
        return left

    # -- estimating ------------------------------------------------------------------------

    def nested(self) -> Dict[int, Array]:
        """For each fold the shift that is chosen, rule and all, without it."""
        return {f: self.select(self.folds - {f}).shift for f in sorted(self.folds)}

    def gain(self, nested: Dict[int, Array]) -> Gain:
        """Of what the objective shows."""
        before = self.table(self.nothing, self.folds)
        choices = [self.table(shift, self.folds) for shift in nested.values()]
        return estimate_gain(self.shown, before, self.each(nested), choices)


def _failure(objective: Objective, rank: Any, before: Array, after: Array, pooled: Array) -> str:
    """Why counts are no reason to change anything; "" if they are one."""
    if objective.shortfall(pooled) > NEAR:
        return _not_reached(objective, pooled)
    return "" if rank(after) > rank(before) else NOTHING_BETTER


def _not_reached(objective: Objective, counts: Array) -> str:
    """What reports say of a floor that is not reached, with the nearest to it."""
    return (
        f"{objective.constraint} is not reached on documents that played no part: "
        f"{objective.describe(counts)}"
    )
