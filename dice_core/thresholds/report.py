"""What tuning and calibrating found: to print, to keep as JSON, to plot."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import (
    Generic,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy

from .. import figures
from .calibrate import Calibration, Temperature, sigmoid
from .choose import Choice
from .decisions import ScoredLabels
from .estimate import Gain
from .objectives import Array, FScore, Objective, precision_recall

# More labels than these are not printed, but are in the JSON; and more than these not drawn.
MAX_ROWS, MAX_CURVES = 40, 10


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
    def percent(self) -> List[str]:
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
        micro = Prf.from_counts(counts.sum(axis=0))
        macro = [
            float(labels.overall(lambda counts: precision_recall(counts)[i], counts, "macro"))
            for i in range(3)
        ]
        return cls(micro, Prf(*macro))


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
        curve: Recall and precision at all thresholds, where they are known.
        note: Why it was left alone, whether its floor is reached, or that it gains nothing.
    """

    label: str
    n: int
    before: Prf
    estimate: Prf
    shift: float
    threshold: Optional[float] = None
    curve: List[Tuple[float, float]] = field(default_factory=list, repr=False)
    note: str = ""


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
        decodings: How often all documents were decoded.
        seconds: How long it took.
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
    gain: Optional[Gain]
    labels: List[LabelReport]
    reached: Optional[bool] = None
    constraint: str = ""
    common: Optional[float] = None
    decodings: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        head = f"{self.name} ({self.kind}), for {self.objective}, {self.n_docs} documents"
        if not self.tuned:
            return f"{head}\n  left as it is: {self.reason}."
        header = ["", "micro P", "R", "F1", "macro P", "R", "F1"]
        rows = []
        for what in ("before", "estimate", "seen"):
            scores: Scores = getattr(self, what)
            rows.append([what, *scores.micro.percent, *scores.macro.percent])
        lines = [f"{head}: {self.rule}", *table(header, rows), *self._expected()]
        if self.common is not None:
            lines.append(f"  all labels against none of them: {self.common:+.2f}")
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

    def _expected(self) -> List[str]:
        lines = []
        if self.reached is not None:
            what = "reached" if self.reached else "not reached, though nearly,"
            lines.append(f"  {self.constraint} is {what} on documents that played no part.")
        if self.gain is not None:
            value, low, high = (f"{100 * x:+.1f}" for x in self.gain)
            what = "gains" if self.reached is None else "changes by"
            lines += [
                "  Expect 'estimate' on new text, not 'seen': "
                f"{self.objective} {what} {value} points",
                f"  (95 % interval on as many new documents of this kind: {low} to {high}).",
            ]
        return lines


@dataclass
class CalibrationReport:
    """One component.

    Attributes:
        name: Its name.
        kind: Its factory, or class.
        what: Which probabilities were looked at.
        temperature: What logits are divided by; of each label, if it is a dict.
        before, after: Errors on the examples that were given.
        reason: Why nothing was changed, if so.
        seconds: How long it took.
    """

    name: str
    kind: str
    what: str
    temperature: Temperature
    before: Calibration
    after: Calibration
    reason: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        head = f"{self.name} ({self.kind}), probabilities of {self.what}"
        if self.reason:
            return f"{head}\n  left as they are: {self.reason}."
        rows = []
        for what in ("before", "after"):
            errors: Calibration = getattr(self, what)
            rows.append([what, f"{errors.n}", *(f"{value:.3f}" for value in errors[1:])])
        lines = [head, *table(["", "n", "ECE", "Brier", "NLL"], rows)]
        if isinstance(self.temperature, dict):
            low, high = min(self.temperature.values()), max(self.temperature.values())
            lines.append(f"  temperatures of labels from {low:.2f} to {high:.2f}")
        else:
            lines.append(f"  temperature {self.temperature:.2f}")
        return "\n".join(lines)


R = TypeVar("R", ComponentReport, CalibrationReport)


@dataclass
class Report(Generic[R]):
    """Reports of components, by name."""

    components: List[R]

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

    def to_json(self, path: Optional[Union[str, Path]] = None) -> str:
        """The report as JSON, also written to ``path`` if there is one."""
        text = json.dumps({"components": [asdict(one) for one in self.components]}, indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf8")
        return text


class TuneReport(Report[ComponentReport]):
    """What `tune` did: ``print(report)``, ``report["ner"].estimate.micro.f``, ``to_json``,
    ``plot``.
    """

    def plot(self, path: Union[str, Path], component: Optional[str] = None) -> None:
        """Draw precision against recall, with the points before and after.

        Args:
            path: A PNG, or what else its name ends in.
            component: Whose; None is all that have scores.

        Raises:
            ImportError: Without matplotlib; it names the extra.
            ValueError: If no component has scores.
        """
        reports = [
            one
            for one in self.components
            if component in (None, one.name) and any(row.n for row in one.labels)
        ]
        if not reports:
            called = f" called {component!r}" if component else ""
            raise ValueError(f"plot: there is no component with scores{called}.")
        figure = figures.new(5.5 * len(reports), 5)
        for ax, one in zip(figure.subplots(1, len(reports), squeeze=False)[0], reports):
            rows = sorted((row for row in one.labels if row.n), key=lambda row: -row.n)
            points = [
                (row.label, "o", f"C{i}", row.before, row.estimate)
                for i, row in enumerate(rows[:MAX_CURVES])
            ]
            points.append(("all (micro)", "s", "k", one.before.micro, one.estimate.micro))
            for i, row in enumerate(rows[:MAX_CURVES]):
                ax.plot([r for r, _ in row.curve], [p for _, p in row.curve], f"C{i}", linewidth=1)
            for label, marker, color, before, after in points:
                ax.plot([before.r, after.r], [before.p, after.p], ":", color=color)
                ax.plot(before.r, before.p, marker, color=color, fillstyle="none")
                ax.plot(after.r, after.p, marker, color=color, label=label)
            ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
            ax.set_title(f"{one.name}: open before, full after (cross-fitted)", fontsize="medium")
            ax.legend(fontsize="small")
        figures.save(figure, path)


class CalibrateReport(Report[CalibrationReport]):
    """What `calibrate` did: ``print(report)``, ``report["textcat"].after.ece``, ``to_json``."""


def report_choice(
    name: str,
    kind: str,
    labels: ScoredLabels,
    objective: Objective,
    by_label: Mapping[str, Objective],
    choice: Choice,
    center: Union[None, float, Array] = None,
) -> ComponentReport:
    """The report on a choice. center: the log-odds of the threshold, or of each label's, where
    labels are independent, so that thresholds are probabilities.
    """
    thresholds = None if center is None else sigmoid(center - choice.shift)
    common: Optional[float] = None
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
            curve=[(round(r, 4), round(p, 4)) for r, p in labels.curve(c).tolist()],
            note=_note(labels, c, objective, by_label, choice),
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
        decodings=int(round(labels.n_decodings)),
    )


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
    if target.has_floor and (name in by_label or target.average == "macro"):
        reached = target.shortfall(counts) <= 0
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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """Lines of a table: the first column to the left, what has no header to the left, too.

    Example:
        >>> table(["", "n"], [["a", "10"], ["bc", "7", "few"]])
        ['       n', '  a   10', '  bc   7  few']
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  " + "  ".join([*cells, *row[len(header) :]]).rstrip())
    return lines
