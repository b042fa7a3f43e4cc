"""`tune` and `calibrate` of one component or model, whatever toolkit it is of."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypedDict, TypeVar

import numpy

from .calibrate import measure
from .choose import Choice, check_options, choose
from .decisions import ALL, ScoredLabels, check_known
from .objectives import Array, Spec, as_objective
from .report import CalibrationReport, ComponentReport, report_choice
from .rows import IndependentLabels

# Of the numbers that are written: what files of JSON keep.
DIGITS = 8
# What a toolkit's data consist of.
D = TypeVar("D")
Settings = dict[str, object]


class Tuning(TypedDict, total=False):
    """What was written: log-odds by label, and what logits were divided by."""

    shift: dict[str, float]
    temperature: float


class Record(Tuning, total=False):
    """The same, and what it takes to undo it: the settings before and after, the bias before, bit
    for bit (JSON rounds numbers), and the fingerprint of the weights after.
    """

    before: Settings
    written: Settings
    bias: str
    columns: int
    weights: str


class OutputLayer(Protocol):
    """The layer whose outputs are the columns of a component's scores."""

    def bias(self) -> Array:
        """Floats ``(C, ...)``: several numbers a column, if it has several pieces."""

    def set_bias(self, bias: Array) -> None:
        """Write another."""

    def scale(self, factor: Array) -> None:
        """Multiply what leads to each column but its bias: floats ``(C,)``."""

    def fingerprint(self, n: int) -> str:
        """Of the weights and the bias of the first ``n`` columns."""


class Tunable(Generic[D]):
    """What can be tuned: what it decides from which scores, and how a shift becomes part of it.

    Attributes:
        name: For reports; kind, too.
        kind: Its factory, or class.
        what: Which probabilities calibration is of.
        average: The average of the objective, where none is named.
        center: The score that a temperature leaves where it is.
        layer: The last layer, which a shift and a temperature are written into.
    """

    name: str
    kind: str
    what = ""
    average = "micro"
    center = 0.0
    layer: OutputLayer

    # -- what it decides -------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        """What each output of the last layer is of."""
        raise NotImplementedError

    @property
    def labels(self) -> list[str]:
        """What can have an objective of its own."""
        return self.columns

    @property
    def shift_names(self) -> list[str]:
        """What each number of a shift is of."""
        return self.columns

    @property
    def odds(self) -> float | Array | None:
        """The log-odds from which on all labels, or each, are predicted; None if there are none."""
        return None

    def to_columns(self, shift: Array) -> Array:
        """A shift, by `shift_names`, as one of the last layer's outputs."""
        return shift

    def read(self, data: Sequence[D], every_row: bool = False) -> ScoredLabels:
        """Scores and gold annotation. A ValueError for scores that are NaN.

        every_row: with the rows that no threshold can matter to, which calibration counts.
        """
        raise NotImplementedError

    # -- what is written -------------------------------------------------------------------

    def load(self) -> Record:
        """What was kept by `save`; empty if nothing was."""
        raise NotImplementedError

    def save(self, record: Record | None) -> None:
        """Keep a record where it is saved with the weights, or forget it."""
        raise NotImplementedError

    @property
    def settings(self) -> Settings:
        """Settings that a shift changes, such as thresholds."""
        return {}

    def set_settings(self, settings: Settings) -> None:
        """Write them."""

    def shifted(self, shift: Array, temperature: float) -> Settings:
        """The settings with a shift, by `shift_names`, and a temperature."""
        return {}

    @property
    def record(self) -> Tuning:
        """What was written; empty if nothing was, or if the weights or settings are no longer those
        that it was written into: loaded, set, initialized or trained since.
        """
        record = self.load()
        if not record or record["written"] != self.settings or not self._has_weights(record):
            return {}
        shift = {name: round(value, DIGITS) for name, value in record["shift"].items()}
        return {"shift": shift, "temperature": round(record["temperature"], DIGITS)}

    def _has_weights(self, record: Record) -> bool:
        return record["weights"] == self.layer.fingerprint(record["columns"])

    def undo(self) -> None:
        """Take back what was written, weights and settings each where they are still there, and
        forget it. The bias is what it was, bit for bit; weights that a temperature divided are the
        same to rounding.
        """
        record = self.load()
        if not record:
            return
        if record["written"] == self.settings:
            self.set_settings(record["before"])
        if self._has_weights(record):
            bias, n = self.layer.bias(), record["columns"]  # labels that were added come after
            before = numpy.frombuffer(bytes.fromhex(record["bias"]), bias.dtype)
            bias[:n] = before.reshape(bias[:n].shape)
            factor = numpy.ones(len(bias))
            factor[:n] = record["temperature"]
            self.layer.set_bias(bias)
            self.layer.scale(factor)
        self.save(None)

    def rewrite(self, tuning: Tuning) -> None:
        """Write a shift and a temperature in place of what was."""
        self.undo()
        by_name, temperature = tuning.get("shift") or {}, tuning.get("temperature", 1.0)
        temperature = round(float(temperature), DIGITS)
        shift = numpy.round([float(by_name.get(name, 0.0)) for name in self.shift_names], DIGITS)
        if not shift.any() and temperature == 1.0:
            return
        record: Record = {
            "shift": dict(zip(self.shift_names, shift.tolist())),
            "temperature": temperature,
            "before": copy.deepcopy(self.settings),
            "written": self.shifted(shift, temperature),
        }
        self.set_settings(copy.deepcopy(record["written"]))
        bias = self.layer.bias()
        columns = (self.to_columns(shift) - self.center).reshape(-1, *[1] * (bias.ndim - 1))
        self.layer.set_bias((bias + columns) / temperature + self.center)
        self.layer.scale(numpy.full(len(bias), 1.0 / temperature))
        record["bias"], record["columns"] = bias.tobytes().hex(), len(bias)
        record["weights"] = self.layer.fingerprint(len(bias))
        self.save(record)


class TagTunable(Tunable[D]):
    """Its columns are tags or actions of labels, such as B-PER, and what is outside, O. A label's
    shift is of those that begin with one of ``prefixes``; the common one is taken off O.
    """

    prefixes: tuple[str, ...]

    @property
    def shift_names(self) -> list[str]:
        return [*self.labels, ALL]

    def to_columns(self, shift: Array) -> Array:
        by_tag = {f"{prefix}{x}": s for x, s in zip(self.labels, shift) for prefix in self.prefixes}
        by_tag["O"] = -shift[-1]
        return numpy.asarray([by_tag.get(name, 0.0) for name in self.columns])


class Plan:
    """What thresholds are chosen for, and how. The arguments are those of the toolkits' `tune`.

    Raises:
        ValueError: For options that do not fit, or labels that are not among ``known``.
    """

    def __init__(
        self,
        objective: Spec,
        labels: Mapping[str, Spec] | None,
        known: Iterable[str],
        n_folds: int,
        min_examples: int,
        max_loss: float,
    ):
        check_options(n_folds, min_examples)
        as_objective(objective)
        self.objective = objective
        self.by_label = {label: as_objective(spec) for label, spec in (labels or {}).items()}
        check_known(self.by_label, sorted(set(known)), "there is no label")
        self.n_folds, self.min_examples, self.max_loss = n_folds, min_examples, max_loss

    def choose(
        self,
        labels: ScoredLabels,
        name: str,
        kind: str,
        own: Sequence[str],
        average: str = "micro",
        odds: float | Array | None = None,
    ) -> tuple[Choice, ComponentReport]:
        """Choose, and report on it. own: the labels that may have an objective of their own; the
        other arguments as of a `Tunable`.
        """
        objective = as_objective(self.objective, average)
        by_label = {label: of for label, of in self.by_label.items() if label in own}
        choice = choose(
            *(labels, objective, by_label),
            n_folds=self.n_folds,
            min_examples=self.min_examples,
            max_loss=self.max_loss,
        )
        odds = odds if isinstance(labels, IndependentLabels) else None
        return choice, report_choice(name, kind, labels, objective, by_label, choice, odds)

    def tune(self, tunable: Tunable[D], data: Sequence[D]) -> ComponentReport:
        """Choose the thresholds of one component, and write them into it."""
        temperature = tunable.record.get("temperature", 1.0)
        tunable.undo()  # the shift is of scores before the temperature
        labels = tunable.read(data)
        about = (tunable.name, tunable.kind, tunable.labels, tunable.average, tunable.odds)
        choice, report = self.choose(labels, *about)
        tuning: Tuning = {"temperature": temperature}
        if report.tuned:
            tuning["shift"] = dict(zip(labels.shift_names, choice.shift.tolist()))
        tunable.rewrite(tuning)
        return report


def calibrate(tunable: Tunable[D], data: Sequence[D], fit: bool) -> CalibrationReport:
    """Fit the temperature of one component, and write it into it; without ``fit`` only measure."""
    tuning = tunable.record
    if fit:
        tunable.rewrite({**tuning, "temperature": 1.0})
    confidence = tunable.read(data, every_row=True).confidence(tunable.center)
    before = after = measure(confidence.at(1.0), confidence.right)
    temperature, reason = 1.0, ""
    if not before.n:
        temperature = tuning.get("temperature", 1.0)
        reason = "the examples have no gold annotation for it, or it predicts nothing"
    elif fit:
        temperature = confidence.fit()
        after = measure(confidence.at(temperature), confidence.right)
    if fit:
        tunable.rewrite({**tuning, "temperature": temperature})
    return CalibrationReport(
        tunable.name, tunable.kind, tunable.what, temperature, before, after, reason
    )


@contextmanager
def restored_on_error(tunables: Iterable[Tunable[D]]) -> Iterator[None]:
    """If something fails, all are as they were."""
    before = [(tunable, tunable.record) for tunable in tunables]
    try:
        yield
    except BaseException:
        for tunable, tuning in before:
            tunable.rewrite(tuning)
        raise
