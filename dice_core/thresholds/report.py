"""What tuning and calibrating found: to print, and to keep as JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy

from ..options import FILLER, filled
from .calibrate import Calibration, sigmoid
from .choose import Choice
from .decisions import ScoredLabels
from .estimate import Gain
from .objectives import Array, FScore, Objective, precision_recall

# More labels than these are not printed, but are in the JSON.
MAX_ROWS = 40


class Prf(NamedTuple):
    """Precision, recall and F1, each from 0 to 1."""

    p: float
    r: float
    f: float

    @classmethod
    def from_counts(cls, counts: Array) -> "Prf":
        """From counts ``(3,)`` of true positives, false positives and false negatives."""
        return cls(*map(float, precision_recall(counts)))

    @property
    def percent(self) -> list[str]:
        """All three in percent, for tables."""
        return [f"{100 * value:.1f}" for value in self]


@dataclass
class Scores:
    """Scores of all labels.

    Attributes:
        micro: Of all decisions pooled.
        macro: The mean over labels, those that the toolkit's own evaluation averages over.
    """

    micro: Prf
    macro: Prf

    @classmethod
    def from_counts(cls, labels: ScoredLabels, counts: Array) -> "Scores":
        """From counts ``(C, 3)`` of true positives, false positives and false negatives."""
        macro = [
            float(labels.overall(lambda counts: precision_recall(counts)[i], counts, "macro"))
            for i in range(3)
        ]
        return cls(Prf.from_counts(counts.sum(axis=0)), Prf(*macro))


@dataclass
class LabelReport:
    """One label.

    Attributes:
        label: Its name.
        n: Its gold examples.
        before: Scores without the threshold.
        estimate: Scores with it, cross-fitted.
        shift: What is added to its score, in log-odds.
        threshold: The probability of the model as it was from which on the label is predicted,
            where labels are independent.
        note: Why it was left alone, whether its floor is reached, or that it gains nothing.
        reached: Whether a floor that is the label's own is reached, cross-fitted; None without one.
    """

    label: str
    n: int
    before: Prf
    estimate: Prf
    shift: float
    threshold: float | None = None
    note: str = ""
    reached: bool | None = None


@dataclass
class ComponentReport:
    """One component.

    Attributes:
        name: Its name.
        kind: Its factory, or class.
        objective: What thresholds were chosen for.
        n_docs: How many documents have annotation for it.
        tuned: Whether anything was changed.
        rule: How thresholds were chosen.
        reason: Why nothing was changed, if so.
        before: Scores as it was, equal to the toolkit's own evaluation.
        estimate: Scores cross-fitted, which is what to expect on new text.
        seen: Scores with the chosen thresholds on the very examples that they were chosen on,
            which is too good.
        gain: Of what the objective shows, from -1 to 1, with its 95 % interval; None if nothing was
            changed, or if all labels have objectives of their own.
        labels: Each label.
        reached: Whether the floor of the objective is reached, cross-fitted; None without one.
        constraint: The floor, such as "precision >= 0.9".
        common: The shift that all labels share, if there is one.
    """

    name: str
    kind: str
    objective: str
    n_docs: int
    tuned: bool
    rule: str
    reason: str
    before: Scores
    estimate: Scores
    seen: Scores
    gain: Gain | None
    labels: list[LabelReport]
    reached: bool | None = None
    constraint: str = ""
    common: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the examples have no gold label of the component."""
        return not any(row.n for row in self.labels)

    @property
    def floors(self) -> str:
        """In words, whether the floors of the objectives are reached; "" if there are none."""
        where = "on documents that played no part"
        if self.reached is not None:
            what = "reached" if self.reached else "not reached, though nearly,"
            return f"{self.constraint} is {what} {where}"
        reached = [row.reached for row in self.labels if row.reached is not None]
        if not reached:
            return ""
        return f"floors reached {where}: {sum(reached)} of {len(reached)}"

    def __str__(self) -> str:
        head = f"{self.name} ({self.kind}), for {self.objective}, {self.n_docs} documents"
        if not self.tuned:
            return f"{head}\n  left as it is: {self.reason}."
        scores = {"before": self.before, "estimate": self.estimate, "seen": self.seen}
        rows = [[what, *of.micro.percent, *of.macro.percent] for what, of in scores.items()]
        lines = [f"{head}: {self.rule}"]
        lines += table(["", "micro P", "R", "F1", "macro P", "R", "F1"], rows)
        if self.floors:
            lines.append(f"  {self.floors}.")
        if self.gain is not None:
            value, low, high = (f"{100 * x:+.1f}" for x in self.gain)
            what = "gains" if self.reached is None else "changes by"
            lines += [
                "  Expect 'estimate' on new text, not 'seen': "
                f"{self.objective} {what} {value} points",
                f"  (95 % interval on as many new documents of this kind: {low} to {high}).",
            ]
        if self.common is not None:
            lines.append(f"  shift that all labels share: {self.common:+.2f}")
        rows = [
            [
                *(row.label, f"{row.n}", *row.before.percent, "->", *row.estimate.percent),
                f"{row.shift:+.2f}",
                "" if row.threshold is None else f"{row.threshold:.3f}",
                row.note,
            ]
            for row in sorted(self.labels, key=lambda row: -row.n)[:MAX_ROWS]
        ]
        header = ["label", "n", "P", "R", "F1", "->", "P", "R", "F1", "shift", "threshold"]
        lines += table(header, rows)
        if len(self.labels) > MAX_ROWS:
            lines.append(f"  ... and {len(self.labels) - MAX_ROWS} more labels")
        return "\n".join(lines)


@dataclass
class CalibrationReport:
    """One component.

    Attributes:
        name: Its name.
        kind: Its factory, or class.
        what: Which probabilities were looked at.
        temperature: What logits are divided by.
        before: Errors on the examples that were given, without the temperature.
        after: Errors on the same examples, with it.
        reason: Why nothing was changed, if so.
    """

    name: str
    kind: str
    what: str
    temperature: float
    before: Calibration
    after: Calibration
    reason: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the examples have nothing to measure the probabilities on."""
        return not self.before.n

    def __str__(self) -> str:
        head = f"{self.name} ({self.kind}), probabilities of {self.what}"
        if self.reason:
            return f"{head}\n  left as they are: {self.reason}."
        rows = [
            [what, f"{errors.n}", *(f"{value:.3f}" for value in errors[1:])]
            for what, errors in (("before", self.before), ("after", self.after))
        ]
        lines = [head, *table(["", "n", "ECE", "Brier", "NLL"], rows)]
        return "\n".join([*lines, f"  temperature {self.temperature:.2f}"])


R = TypeVar("R", ComponentReport, CalibrationReport)


@dataclass
class Report(Generic[R]):
    """Reports of components, by name."""

    components: list[R]

    def __getitem__(self, name: str) -> R:
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)

    def __iter__(self) -> Iterator[R]:
        return iter(self.components)

    def __len__(self) -> int:
        return len(self.components)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.components)) or "There was nothing to look at."

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, also written to ``path`` if there is one."""
        text = json.dumps(_named({"components": [asdict(one) for one in self]}), indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf8")
        return text


def _named(value: object) -> object:
    """The same with a dict in place of each NamedTuple, in all that it holds."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, (list, tuple)) else value


class TuneReport(Report[ComponentReport]):
    """What `tune` did: ``print(report)``, ``report["ner"].estimate.micro.f``, ``to_json``."""


class CalibrateReport(Report[CalibrationReport]):
    """What `calibrate` did: ``print(report)``, ``report["textcat"].after.ece``, ``to_json``."""


def report_choice(
    name: str,
    kind: str,
    labels: ScoredLabels,
    objective: Objective,
    by_label: Mapping[str, Objective],
    choice: Choice,
    center: float | Array | None = None,
) -> ComponentReport:
    """The report on a choice. center: the log-odds of the threshold, or of each label's, where
    labels are independent, so that thresholds are probabilities.
    """
    thresholds = None if center is None else sigmoid(center - choice.shift)
    common: float | None = None
    if labels.background is not None:
        common = -float(choice.shift[labels.background])
    elif labels.size > len(labels.names):
        common = float(choice.shift[-1])
    is_rest = labels.counted & ~numpy.isin(labels.names, list(by_label))
    pooled = choice.estimate[is_rest].sum(axis=0)
    # Labels that cannot be tuned are of interest where they are gold, or predicted.
    is_row = labels.counted & (~labels.fixed | choice.before.any(axis=1))
    is_pooled = objective.has_floor and objective.average == "micro" and choice.gain is not None
    rows = [
        LabelReport(
            label=label,
            n=int(labels.n_examples[c]),
            before=Prf.from_counts(choice.before[c]),
            estimate=Prf.from_counts(choice.estimate[c]),
            shift=float(choice.shift[c]),
            threshold=None if thresholds is None else float(thresholds[c]),
            note=_note(labels, c, objective, by_label, choice),
            reached=_reached(labels, c, objective, by_label, choice),
        )
        for c, label in enumerate(labels.names)
        if is_row[c]
    ]
    return ComponentReport(
        name=name,
        kind=kind,
        objective=f"{objective}{' of the other labels' if by_label else ''}",
        n_docs=labels.n_docs,
        tuned=not choice.reason,
        rule=str(choice.rule),
        reason=choice.reason,
        before=Scores.from_counts(labels, choice.before),
        estimate=Scores.from_counts(labels, choice.estimate),
        seen=Scores.from_counts(labels, choice.seen),
        gain=choice.gain,
        labels=rows,
        reached=bool(objective.shortfall(pooled) <= 0) if is_pooled else None,
        constraint=objective.constraint,
        common=common,
    )


def _reached(
    labels: ScoredLabels,
    c: int,
    objective: Objective,
    by_label: Mapping[str, Objective],
    choice: Choice,
) -> bool | None:
    """Whether a label's own floor is reached, cross-fitted, with the threshold that it has in the
    end; None without a floor, or with too few examples.
    """
    name = labels.names[c]
    target = by_label.get(name, objective)
    is_own = target.has_floor and (name in by_label or target.average == "macro")
    if not is_own or labels.fixed[c] or not choice.free[c]:
        return None
    return bool(target.shortfall(choice.estimate[c]) <= 0)


def _note(
    labels: ScoredLabels,
    c: int,
    objective: Objective,
    by_label: Mapping[str, Objective],
    choice: Choice,
) -> str:
    """What is to be said of a label."""
    name, counts = labels.names[c], choice.estimate[c]
    if labels.fixed[c]:
        return "no label of the model"
    if not choice.free[c]:
        return "too few examples" if labels.n_examples[c] else "no examples"
    if name in choice.left:
        return f"left as it is: {choice.left[name]}"
    notes, target = [], by_label.get(name, objective)
    reached = _reached(labels, c, objective, by_label, choice)
    if reached is not None:
        notes.append(f"{target.name}: {'reached' if reached else 'not reached'}")
    elif name in by_label:
        notes.append(target.name)
    share = labels.gold_share(c)
    if share is not None and not choice.reason:
        always = FScore().shown(numpy.asarray([share, 1 - share, 0.0]))
        precision, _, f1 = Prf.from_counts(counts)
        if precision <= share if target.has_floor else f1 <= always:
            what = f"precision {100 * share:.1f}" if target.has_floor else f"F1 {100 * always:.1f}"
            notes.append(f"no better than predicting it always ({what})")
    return "; ".join(notes)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, what has no header to the left, too.

    Example:
        >>> table(["", "n"], [["a", "10"], ["bc", "7", "few"]])
        ['       n', '  a   10', '  bc   7  few']
    """
    shown = [[filled(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in shown) for i in range(len(header))]
    lines = []
    for row in shown:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  " + "  ".join([*cells, *row[len(header) :]]).rstrip().replace(FILLER, ""))
    return lines
