"""`tune` and `calibrate` of one component or model, whatever toolkit it is of."""

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

import numpy

from . import calibrate as calibration
from .choose import check_options, choose
from .decisions import ALL, ScoredLabels, check_known
from .objectives import Array, Objective, Spec, as_objective
from .report import CalibrationReport, ComponentReport, report_choice
from .rows import IndependentLabels

# Of the numbers that are written: what files of JSON keep.
DIGITS = 8


class Tunable:
    """What can be tuned: what it decides from which scores, and how a shift becomes part of it.

    Attributes:
        name, kind: For reports.
        average: The average of the objective, where none is named.
        per_label: Whether each label may have a temperature of its own.
        every_row: Whether `read` gives rows that no threshold can matter to, too: calibration
            counts them.
    """

    name: str
    kind: str
    average = "micro"
    per_label = False
    every_row = False

    @property
    def columns(self) -> List[str]:
        """What each output of the last layer is of."""
        raise NotImplementedError

    @property
    def labels(self) -> List[str]:
        """What can have an objective of its own."""
        return self.columns

    @property
    def shift_names(self) -> List[str]:
        """What each number of a shift is of."""
        return self.columns

    @property
    def odds(self) -> Union[None, float, Array]:
        """The log-odds from which on all labels, or each, are predicted; None if there are none."""
        return None

    def to_columns(self, shift: Array) -> Array:
        """A shift, by `shift_names`, as one of the last layer's outputs."""
        return shift

    def read(self, data: Any) -> ScoredLabels:
        """Scores and gold annotation. A ValueError for scores that are NaN."""
        raise NotImplementedError

    def confidence(self, labels: Any) -> calibration.Confidence:
        """How sure it is of what it decides, from what `read` gave."""
        raise NotImplementedError

    @property
    def record(self) -> Dict[str, Any]:
        """What was written, "shift", by name, and "temperature"; empty if nothing was, or if the
        weights are no longer those that it was written into.
        """
        raise NotImplementedError

    def undo(self) -> None:
        """Take back what was written, if it is still there, and forget it."""
        raise NotImplementedError

    def write(self, shift: Array, temperatures: Array, record: Dict[str, Any]) -> None:
        """Write a shift, by `shift_names`, and temperatures, by column, into the weights, and keep
        ``record``. Nothing is written before.
        """
        raise NotImplementedError

    def rewrite(
        self, shift: Optional[Mapping[str, float]], temperature: calibration.Temperature
    ) -> None:
        """Write a shift and a temperature, as `record` has them, in place of what was."""
        self.undo()
        names = self.shift_names
        values = numpy.round([float((shift or {}).get(name, 0.0)) for name in names], DIGITS)
        if isinstance(temperature, Mapping):
            temperature = {name: round(value, DIGITS) for name, value in temperature.items()}
            by_column = numpy.asarray([temperature.get(name, 1.0) for name in self.columns])
        else:
            temperature = round(temperature, DIGITS)
            by_column = numpy.full(len(self.columns), temperature)
        if values.any() or (by_column != 1.0).any():
            by_name = dict(zip(names, values.tolist()))
            self.write(values, by_column, {"shift": by_name, "temperature": temperature})


class TagTunable(Tunable):
    """Its columns are tags or actions of labels, such as B-PER, and what is outside, O. A label's
    shift is of those that begin with one of ``prefixes``; the common one is taken off O.
    """

    prefixes: Tuple[str, ...]

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, ALL]

    def to_columns(self, shift: Array) -> Array:
        by_tag = {f"{prefix}{x}": s for x, s in zip(self.labels, shift) for prefix in self.prefixes}
        by_tag["O"] = -shift[-1]
        return numpy.asarray([by_tag.get(name, 0.0) for name in self.columns])


def parse_objectives(
    tunables: Iterable[Tunable],
    labels: Optional[Mapping[str, Spec]],
    n_folds: int,
    min_examples: int,
) -> Dict[str, Objective]:
    """The objectives of single labels. Raises a ValueError for options that do not fit."""
    check_options(n_folds, min_examples)
    by_label = {label: as_objective(spec) for label, spec in (labels or {}).items()}
    known = {label for tunable in tunables for label in tunable.labels}
    check_known(by_label, sorted(known), "there is no label")
    return by_label


@contextmanager
def restored_on_error(tunables: Iterable[Tunable]) -> Iterator[None]:
    """If something fails, all are as they were."""
    before = [(tunable, tunable.record) for tunable in tunables]
    try:
        yield
    except BaseException:
        for tunable, record in before:
            tunable.rewrite(record.get("shift"), record.get("temperature", 1.0))
        raise


def tune(
    tunable: Tunable,
    data: Any,
    objective: Objective,
    by_label: Mapping[str, Objective],
    **options: Any,
) -> ComponentReport:
    """Choose the thresholds of one component, and write them into it.

    Args:
        tunable: The component; it is changed.
        data: What it reads.
        objective: Of all labels.
        by_label: Objectives of single labels; others than this component's are passed over.
        options: As for `choose`.

    Returns:
        The report.
    """
    start = time.perf_counter()
    temperature = tunable.record.get("temperature", 1.0)
    tunable.undo()  # the shift is of scores before the temperature
    labels = tunable.read(data)
    by_label = {label: by_label[label] for label in by_label if label in tunable.labels}
    choice = choose(labels, objective, by_label, **options)
    odds = tunable.odds if isinstance(labels, IndependentLabels) else None
    report = report_choice(tunable.name, tunable.kind, labels, objective, by_label, choice, odds)
    shift = dict(zip(labels.shift_names, choice.shift.tolist()))
    tunable.rewrite(None if choice.reason else shift, temperature)
    report.seconds = round(time.perf_counter() - start, 3)
    return report


def calibrate(tunable: Tunable, data: Any, per_label: bool, fit: bool) -> CalibrationReport:
    """Fit the temperature of one component, and write it into it; without ``fit`` only measure."""
    start, record = time.perf_counter(), tunable.record
    if fit:
        tunable.rewrite(record.get("shift"), 1.0)
    tunable.every_row = True
    confidence = tunable.confidence(tunable.read(data))
    before = after = calibration.measure(confidence.at(1.0), confidence.right)
    temperature: calibration.Temperature = 1.0
    reason = ""
    if not before.n:
        temperature = record.get("temperature", 1.0)
        reason = "the examples have no gold annotation for it, or it predicts nothing"
    elif fit:
        temperature = confidence.fit(per_label and tunable.per_label)
        after = calibration.measure(confidence.at(temperature), confidence.right)
    if fit:
        tunable.rewrite(record.get("shift"), temperature)
    seconds = round(time.perf_counter() - start, 3)
    return CalibrationReport(
        tunable.name, tunable.kind, confidence.what, temperature, before, after, reason, seconds
    )
