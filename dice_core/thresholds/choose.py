"""Choosing shifts of scores that serve an objective on documents that they were not chosen on."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy

from .decisions import Rule, ScoredLabels, Task, check_known
from .estimate import Gain, estimate_gain, jackknife_error
from .objectives import AVERAGES, Array, FScore, Measure, Objective

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

Folds = frozenset[int]


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
    gain: Gain | None
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
    left: dict[str, str]
    has_rule: bool = False


def choose(
    labels: ScoredLabels,
    objective: Objective,
    by_label: Mapping[str, Objective] | None = None,
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
        >>> labels = IndependentLabels(["x"], numpy.where(gold, -1.0, -3.0)[:, None], gold)
        >>> choose(labels, FScore()).shift
        array([1.])
    """
    check_options(n_folds, min_examples)
    by_label = dict(by_label or {})
    check_known(by_label, labels.names, "there is no label")
    if objective.has_floor and objective.average == "macro":
        names = [name for name, counts in zip(labels.names, labels.counted) if counts]
        by_label = {**dict.fromkeys(names, objective), **by_label}
    nothing, everything = numpy.zeros(labels.size), numpy.zeros(labels.n_docs, dtype="int64")
    before = labels.counts(nothing, everything, 1)[0]
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
        chosen = search.select(search.folds)
        # For each fold the shift that is chosen, rule and all, without it.
        nested = {f: search.select(search.folds - {f}).shift for f in sorted(search.folds)}
        groups = search.each(nested)
        estimate = groups.sum(axis=0)
        if chosen.reason or not search.drop_what_fails(chosen, before, estimate):
            break
    if chosen.reason:
        return unchanged(chosen.reason, chosen.left)
    gain = None
    if chosen.has_rule:
        choices = [search.table(shift, search.folds) for shift in nested.values()]
        gain = estimate_gain(search.shown, search.table(nothing, search.folds), groups, choices)
    seen = labels.counts(chosen.shift, everything, 1)[0]
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
        self.counted = labels.counted & ~numpy.isin(labels.names, list(by_label))
        self.task = Task(objective, free & self.counted, self.counted)
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
        self.left: dict[str, str] = {}
        self.reason = ""
        self._fits: dict[Folds, list[Array]] = {}
        self._tables: dict[tuple[bytes, int], Array] = {}

    # -- what is known of folds ------------------------------------------------------------

    def docs(self, folds: Folds) -> Array:
        """A mask ``(D,)`` of the documents in these folds."""
        return numpy.isin(self.fold, list(folds))

    def fits(self, folds: Folds) -> list[Array]:
        """The shift of each rule, fitted on these folds."""
        if folds not in self._fits:
            self._fits[folds] = self.labels.fit(self.rules, self.docs(folds), self.task)
        return self._fits[folds]

    def table(self, shift: Array, folds: Folds) -> Array:
        """``(G, C, 3)``: counts of each group of documents; 0 outside of these folds."""
        return self.each(dict.fromkeys(folds, shift))

    def each(self, shifts: Mapping[int, Array]) -> Array:
        """The same with a shift of its own for each fold."""
        counts = numpy.zeros((self.n_groups, len(self.labels.names), 3))
        for f, shift in shifts.items():
            key, inside = (shift.tobytes(), f), self.fold_of_group == f
            if key not in self._tables:
                groups = numpy.where(self.fold == f, self.groups, -1)
                self._tables[key] = self.labels.counts(shift, groups, self.n_groups)[inside]
            counts[inside] = self._tables[key]
        return counts

    # -- choosing --------------------------------------------------------------------------

    def rank(self, counts: Array) -> Array:
        """What the objective ranks, of counts ``(..., C, 3)``."""
        objective = self.objective
        return self.labels.overall(objective.rank, counts, objective.average, self.counted)

    def shown(self, counts: Array) -> Array:
        """What the objective shows."""
        objective = self.objective
        return self.labels.overall(objective.shown, counts, objective.average, self.counted)

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

    def drop_what_fails(self, chosen: Selected, before: Array, estimate: Array) -> bool:
        """Choose no more what is no better, or misses its floor, on documents that played no part.

        Returns:
            Whether there was any of it.
        """
        failed = False
        for c, objective in list(self.by_label.items()):
            name, after = self.labels.names[c], estimate[c]
            reason = chosen.left.get(name) or _failure(
                objective, objective.rank, before[c], after, after
            )
            if reason:
                self.left[name], failed = reason, True
                del self.by_label[c]
        if self.rules:
            reason, pooled = NOTHING_BETTER, estimate[self.counted].sum(axis=0)
            if chosen.has_rule:
                reason = _failure(self.objective, self.rank, before, estimate, pooled)
            if reason:
                self.rules, self.reason, failed = [], reason, True
        return failed

    def _select_rule(self, folds: Folds) -> tuple[Selected, dict[int, Array]]:
        """The best rule for the objective, and its shift for each fold, from the others."""
        objective, in_folds = self.objective, numpy.isin(self.fold_of_group, list(folds))
        before = self.table(self.nothing, folds)[in_folds]
        other = AVERAGES[objective.average == "micro"]

        def other_f1(counts: Array) -> float:
            return float(self.labels.overall(FScore().shown, counts, other, self.counted))

        rank_before, floor = self.rank(before.sum(axis=0)), other_f1(before.sum(axis=0))
        best, reason, nearest = -numpy.inf, NOTHING_BETTER, numpy.inf
        shift, rule = self.nothing, AS_IT_IS
        shifts = {f: self.nothing for f in folds}
        for r, tried in enumerate(self.rules):
            fitted = {f: self.fits(folds - {f})[r] for f in folds}
            after = self.each(fitted)[in_folds]
            total = after.sum(axis=0)
            gain, cost = float(self.rank(total) - rank_before), floor - other_f1(total)
            score, least = gain, 1e-9
            if objective.has_floor:
                pooled = total[self.counted].sum(axis=0)
                shortfall = float(objective.shortfall(pooled))
                if shortfall > NEAR:
                    if shortfall < nearest:
                        nearest, reason = shortfall, _not_reached(objective, pooled)
                    continue
            else:
                if cost > self.max_loss:
                    continue
                least = max(MIN_ERRORS * jackknife_error(self.rank, before, after), least)
                score = gain - OTHER_WEIGHT * cost
            if gain <= least or score <= best:
                continue
            # Never worse than before on what was seen.
            mean = numpy.mean([fitted[f] for f in sorted(folds)], axis=0)
            if self.rank(self.table(mean, folds).sum(axis=0)) < rank_before:
                mean = self.fits(folds)[r]
                if self.rank(self.table(mean, folds).sum(axis=0)) < rank_before:
                    continue
            best, rule, shift, shifts = score, tried, mean, fitted
        return Selected(shift, rule, "" if numpy.isfinite(best) else reason, {}), shifts

    def _select_labels(
        self, folds: Folds, shift: Array, shifts: Mapping[int, Array]
    ) -> dict[str, str]:
        """Choose the shifts of labels that have objectives of their own, into ``shift``.

        Returns:
            The labels that are left alone, and why.
        """
        before = self.table(self.nothing, folds).sum(axis=0)
        best: dict[int, tuple[float, float]] = {}  # rank and shift
        nearest: dict[int, tuple[float, Array]] = {}
        for margin in MARGINS:
            fitted = {f: shifts[f].copy() for f in folds}
            for f in folds:
                docs = self.docs(folds - {f})
                for c, objective in self.by_label.items():
                    raised = objective.raised(margin)
                    fitted[f][c] = self.labels.fit_label(docs, c, raised, shifts[f])
            counts = self.each(fitted).sum(axis=0)
            for c, objective in self.by_label.items():
                rank, shortfall = float(objective.rank(counts[c])), objective.shortfall(counts[c])
                if c not in nearest or shortfall < nearest[c][0]:
                    nearest[c] = (float(shortfall), counts[c])
                at_least = max(float(objective.rank(before[c])), best.get(c, (-numpy.inf, 0.0))[0])
                if shortfall <= NEAR and rank > at_least:
                    best[c] = (rank, float(numpy.mean([fitted[f][c] for f in sorted(folds)])))
            if not any(objective.has_floor for objective in self.by_label.values()):
                break
        base, left = shift.copy(), {}
        for c, (_, value) in best.items():
            shift[c] = value
        seen = self.table(shift, folds).sum(axis=0)
        for c, objective in self.by_label.items():
            if c not in best or objective.rank(seen[c]) < objective.rank(before[c]):
                shift[c] = base[c]
                missed = nearest[c][0] > NEAR
                reason = _not_reached(objective, nearest[c][1]) if missed else NOTHING_BETTER
                left[self.labels.names[c]] = reason
        return left


def _failure(
    objective: Objective, rank: Measure, before: Array, after: Array, pooled: Array
) -> str:
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
