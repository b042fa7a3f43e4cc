"""Choosing a cut that holds on documents that it was not chosen on."""

from typing import Mapping, NamedTuple, Optional

import numpy

from .objectives import AVERAGES, Objective
from .scored_labels import Array, Rule, ScoredLabels, Task

# How much the average that is not the objective counts where rules are compared: rules that are
# alike on dev in one average often differ in the other, and then do so on test, too.
OTHER_WEIGHT = 0.25
# How many standard errors a gain must have, not to be taken for luck.
MIN_ERRORS = 0.5
# By how much floors of precision or recall are raised in choosing, to be kept elsewhere.
MARGINS = (0.0, 0.01, 0.02, 0.04)


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
    labels: ScoredLabels,
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

        >>> from dice_core.tuning.independent import IndependentLabels
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
