"""`tune_scores` and `calibrate_scores`: for those who have scores and targets, and no toolkit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import ArrayLike

from .calibrate import measure
from .component import DIGITS, Plan
from .decisions import check_known
from .objectives import Array, Spec
from .report import CalibrationReport, ComponentReport
from .rows import CompetingLabels, IndependentLabels

# Targets that are not known, as torch's losses have them; NaN is another.
IGNORED = -100


@dataclass(frozen=True)
class ScoreThresholds:
    """What `tune_scores` found; ``print(found.report)``.

    Attributes:
        shifts: What is to be added to each label's logit, by name: it can be added to the bias of
            the last layer, after which the model decides so on its own.
        thresholds: The probability from which on each label is predicted, by name, in place of 0.5;
            None where labels compete.
        report: Scores before and after, cross-fitted, and the 95 % interval of the gain.
    """

    shifts: dict[str, float]
    thresholds: dict[str, float] | None
    report: ComponentReport

    def predict(self, scores: object) -> Array:
        """Decide.

        Args:
            scores: Logits ``(..., C)``, an array or a tensor.

        Returns:
            Bools ``(..., C)``; where labels compete, ints ``(...)``, their columns.
        """
        shifted = _as_array(scores) + numpy.asarray(list(self.shifts.values()))
        return numpy.asarray(shifted.argmax(axis=-1) if self.thresholds is None else shifted >= 0)


def tune_scores(
    scores: object,
    targets: object,
    *,
    names: Sequence[str] | None = None,
    background: int | str | None = None,
    groups: ArrayLike | None = None,
    objective: Spec = None,
    labels: Mapping[str, Spec] | None = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
) -> ScoreThresholds:
    """Choose thresholds for a model's logits on dev, by cross-fitting.

    Args:
        scores: Logits of dev data, on which the model was not trained: floats ``(..., C)``, an
            array or a tensor.
        targets: Of labels that compete, ints ``(...)``, -100 where unknown; of labels that are each
            present or not, zeros and ones ``(..., C)``, -100 or NaN where unknown.
        names: The labels' names; None is "0", "1", ...
        background: The label that stands for "none of them", such as "O", by name or column: it is
            not counted.
        groups: Of each row ``(...)``, or of each along the first axis, to which document it
            belongs: rows of a document are never in two folds. None: of scores with more than two
            axes, the first is documents; else each row is one.
        objective: None is micro F1. Or "macro", "macro_f2", "f0.5", "precision>=0.9",
            "recall>=0.8".
        labels: Objectives of single labels, by name; ``objective`` is then of the others.
        n_folds: Folds of the documents, at least 3.
        min_examples: Labels with fewer targets are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.

    Returns:
        Shifts, thresholds and the report. All shifts are 0 where nothing better is found.

    Raises:
        ValueError: For shapes, names or options that do not fit, or scores that are NaN.

    Example:
        >>> logits = numpy.asarray([[-1.0, -2.0], [-3.0, -1.0]] * 30)
        >>> found = tune_scores(logits, logits > -1.5, names=["good", "bad"])
        >>> found.thresholds
        {'good': 0.26894142, 'bad': 0.26894142}
        >>> found.predict([[-1.0, -2.0]])
        array([[ True, False]])
    """
    read = _read(scores, targets, names, background, groups)
    own = [name for c, name in enumerate(read.names) if c != read.background]
    plan = Plan(objective, labels, own, n_folds, min_examples, max_loss)
    compete = isinstance(read, CompetingLabels)
    kind = "labels that compete" if compete else "labels on their own"
    choice, report = plan.choose(read, "scores", kind, own, odds=0.0)
    shifts = dict(zip(read.names, numpy.round(choice.shift, DIGITS).tolist()))
    thresholds = {
        row.label: round(row.threshold, DIGITS)
        for row in report.labels
        if row.threshold is not None
    }
    return ScoreThresholds(shifts, None if compete else thresholds, report)


def calibrate_scores(
    scores: object, targets: object, *, names: Sequence[str] | None = None
) -> CalibrationReport:
    """Fit a temperature for a model's logits on dev.

    Args:
        scores: As for `tune_scores`; targets and names, too.
        targets: As for `tune_scores`.
        names: As for `tune_scores`.

    Returns:
        The report: ``temperature`` is what logits are to be divided by, ``before`` and ``after``
        the errors of the probabilities.

    Raises:
        ValueError: As for `tune_scores`.

    Example:
        >>> rng = numpy.random.default_rng(0)
        >>> logits = rng.normal(size=(5000, 3))
        >>> targets = (logits + rng.gumbel(size=(5000, 3))).argmax(axis=1)
        >>> round(calibrate_scores(5 * logits, targets).temperature, 1)
        5.0
    """
    read = _read(scores, targets, names, None, None)
    compete = isinstance(read, CompetingLabels)
    what = "the predicted label" if compete else "each label of each row"
    confidence = read.confidence()
    before = measure(confidence.at(1.0), confidence.right)
    if not before.n:
        raise ValueError("calibrate_scores: there are no targets to calibrate on.")
    temperature = confidence.fit()
    after = measure(confidence.at(temperature), confidence.right)
    return CalibrationReport("scores", "logits", what, temperature, before, after)


def _read(
    scores: object,
    targets: object,
    names: Sequence[str] | None,
    background: int | str | None,
    groups: ArrayLike | None,
) -> IndependentLabels | CompetingLabels:
    """Rows of scores and targets, checked."""
    z, y = _as_array(scores), _as_array(targets)
    if z.ndim < 2 or not z.shape[-1] or y.shape not in (z.shape, z.shape[:-1]):
        raise ValueError(
            f"scores must be (..., C), and targets (...) where labels compete or (..., C) where "
            f"each is present or not; got {z.shape} and {y.shape}."
        )
    n, compete = z.shape[-1], y.shape != z.shape
    if compete and n == 1:
        raise ValueError(
            "scores have one column, and one label alone cannot compete: give targets of the same "
            f"shape, {z.shape}."
        )
    columns = [str(i) for i in range(n)] if names is None else [str(name) for name in names]
    if len(columns) != n or len(set(columns)) != n:
        raise ValueError(f"names must be {n} different ones, of the columns; got {columns[:10]}.")
    if isinstance(background, str):
        check_known([background], columns, "background: there is no label")
        background = columns.index(background)
    if background is not None and not (compete and 0 <= background < n):
        raise ValueError(f"background must be one of {n} labels that compete, got {background!r}.")
    doc, n_docs = _documents(z.shape[:-1], groups)
    z, y = z.reshape(-1, n), y.reshape(-1) if compete else y.reshape(-1, n)
    known = ~numpy.isnan(y) & (y != IGNORED)
    allowed = range(n) if compete else (0, 1)
    wrong = known & ~numpy.isin(y, list(allowed))
    if wrong.any():
        what = f"columns, from 0 to {n - 1}" if compete else "0 or 1"
        raise ValueError(f"targets must be {what}, or -100 where unknown; got {y[wrong][0]:g}.")
    if compete:
        rows = (z[known], y[known].astype("int64"), doc[known])
        return CompetingLabels(columns, *rows, background, n_docs=n_docs)
    return IndependentLabels(columns, z, known & (y == 1), doc, known, n_docs=n_docs)


def _documents(shape: Sequence[int], groups: ArrayLike | None) -> tuple[Array, int]:
    """The document of each row, and how many there are."""
    groups = numpy.asarray(numpy.arange(shape[0]) if groups is None else groups)
    _, ids = numpy.unique(groups, return_inverse=True)
    ids = ids.reshape(groups.shape)
    if ids.shape == tuple(shape[:1]):
        ids = numpy.broadcast_to(ids.reshape(-1, *[1] * (len(shape) - 1)), shape)
    if ids.shape != tuple(shape):
        raise ValueError(f"groups must be {tuple(shape)} or {tuple(shape[:1])}, got {ids.shape}.")
    return ids.reshape(-1), int(ids.max(initial=-1)) + 1


def _as_array(values: Any) -> Array:
    if hasattr(values, "detach"):  # a tensor, of any type, on any device
        values = values.detach().cpu().double().numpy()
    return numpy.asarray(values, dtype="float64")
