"""`tune` and `calibrate` of one component or model, whatever toolkit it is of."""

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy

from . import calibration
from .choose import check_options, choose
from .independent import IndependentLabels
from .objectives import Objective, Spec, as_objective
from .report import CalibrationReport, ComponentReport, of_choice
from .scored_labels import ScoredLabels

# Of the numbers that are folded in: what files of JSON keep.
DIGITS = 8
# What the shift that all labels share against "none of them" is called.
ALL = "(all)"


class Part:
    """What can be tuned: what it decides from which scores, and how a cut becomes part of it.

    name, kind: for reports. average: of the objective, where none is named. per_label: whether
    each label may have a temperature of its own. every_row: whether `read` gives rows that no cut
    can matter to, too: calibration counts them.
    """

    name: str
    kind: str
    average = "micro"
    per_label = False
    every_row = False

    @property
    def columns(self) -> List[str]:
        """Of the last layer."""
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
    def odds(self) -> Union[None, float, numpy.ndarray]:
        """The log-odds from which on all labels, or each, are predicted; None if there are none."""
        return None

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        """A shift as one of columns."""
        return shift

    def read(self, data: Any) -> ScoredLabels:
        """Scores and gold annotation."""
        raise NotImplementedError

    def confidence(self, labels: Any) -> calibration.Confidence:
        """How sure it is of what it decides, from what `read` gave."""
        raise NotImplementedError

    @property
    def state(self) -> Dict[str, Any]:
        """What was folded in: "shift", by name, and "temperature"; empty if nothing was."""
        raise NotImplementedError

    def clear(self) -> None:
        """Take back what was folded in."""
        raise NotImplementedError

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        """Fold in a shift, by `shift_names`, and temperatures, by column, and keep ``state``.
        Nothing is folded in before.
        """
        raise NotImplementedError

    def set_state(
        self, shift: Optional[Mapping[str, float]], temperature: calibration.Temperature
    ) -> None:
        """Fold in a shift and a temperature, as `state` has them, in place of what was."""
        self.clear()
        names = self.shift_names
        values = numpy.round([float((shift or {}).get(name, 0.0)) for name in names], DIGITS)
        if isinstance(temperature, Mapping):
            temperature = {name: round(value, DIGITS) for name, value in temperature.items()}
            of_columns = numpy.asarray([temperature.get(name, 1.0) for name in self.columns])
        else:
            temperature = round(temperature, DIGITS)
            of_columns = numpy.full(len(self.columns), temperature)
        if values.any() or (of_columns != 1.0).any():
            shift = dict(zip(names, values.tolist()))
            self.fold(values, of_columns, {"shift": shift, "temperature": temperature})


class TagPart(Part):
    """A part whose columns are tags or actions of labels, such as B-PER, and what is outside, O. A
    label's shift is of those that begin with one of ``prefixes``; the common one is taken off O.
    """

    prefixes: Tuple[str, ...]

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, ALL]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        of = {f"{prefix}{x}": s for x, s in zip(self.labels, shift) for prefix in self.prefixes}
        of["O"] = -shift[-1]
        return numpy.asarray([of.get(name, 0.0) for name in self.columns])


def unfolded(
    now: numpy.ndarray, folded: numpy.ndarray, bias: numpy.ndarray, temperatures: numpy.ndarray
) -> numpy.ndarray:
    """The bias that was folded, bit for bit; if it was trained since, with what was learnt."""
    with numpy.errstate(invalid="ignore"):  # -inf
        return numpy.where(now == folded, bias, bias + (now - folded) * temperatures)


def parse_objectives(
    parts: Iterable[Part], labels: Optional[Mapping[str, Spec]], n_folds: int, min_examples: int
) -> Dict[str, Objective]:
    """The objectives of single labels. Raises a ValueError for options that do not fit."""
    check_options(n_folds, min_examples)
    own = {label: as_objective(spec) for label, spec in (labels or {}).items()}
    known = {label for part in parts for label in part.labels}
    check_known(own, sorted(known), "there is no label")
    return own


def check_known(names: Iterable[str], known: Sequence[str], problem: str) -> None:
    """Raise a ValueError with the first of the names that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(f"{problem} {name!r}. There are: {', '.join(known)}.")


@contextmanager
def restored_on_error(parts: Iterable[Part]) -> Iterator[None]:
    """If something fails, parts are as they were."""
    before = [(part, part.state) for part in parts]
    try:
        yield
    except BaseException:
        for part, state in before:
            part.set_state(state.get("shift"), state.get("temperature", 1.0))
        raise


def tune(
    part: Part, data: Any, objective: Objective, own: Mapping[str, Objective], **options: Any
) -> ComponentReport:
    """Choose the cuts of one part, and fold them in. own: objectives of single labels, of which
    others than this part's are passed over. options: as for `choose`.
    """
    start = time.perf_counter()
    temperature = part.state.get("temperature", 1.0)
    part.clear()  # the shift is of scores before the temperature
    labels = part.read(data)
    own = {label: of_label for label, of_label in own.items() if label in part.labels}
    choice = choose(labels, objective, own, **options)
    odds = part.odds if isinstance(labels, IndependentLabels) else None
    report = of_choice(part.name, part.kind, labels, objective, own, choice, odds)
    shift = dict(zip(part.shift_names, choice.shift.tolist()))
    part.set_state(None if choice.reason else shift, temperature)
    report.seconds = round(time.perf_counter() - start, 3)
    return report


def calibrate(part: Part, data: Any, per_label: bool, fit: bool) -> CalibrationReport:
    """Fit the temperature of one part, and fold it in; without ``fit`` only measure."""
    start, state = time.perf_counter(), part.state
    if fit:
        part.set_state(state.get("shift"), 1.0)
    part.every_row = True
    confidence = part.confidence(part.read(data))
    before = after = calibration.measure(confidence.at(1.0), confidence.right)
    temperature: calibration.Temperature = 1.0
    reason = ""
    if not before.n:
        temperature = state.get("temperature", 1.0)
        reason = "the examples have no gold annotation for it, or it predicts nothing"
    elif fit:
        temperature = confidence.fit(per_label and part.per_label)
        after = calibration.measure(confidence.at(temperature), confidence.right)
    if fit:
        part.set_state(state.get("shift"), temperature)
    seconds = round(time.perf_counter() - start, 3)
    return CalibrationReport(
        part.name, part.kind, confidence.what, temperature, before, after, reason, seconds
    )
