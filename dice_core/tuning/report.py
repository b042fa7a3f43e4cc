"""What tuning and calibrating found: to print, to keep as JSON, to plot."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy

from .. import figures
from .calibration import Calibration, Temperature, sigmoid
from .choose import Choice
from .objectives import FN, TP, Objective, precision_recall
from .scored_labels import ScoredLabels

# More labels than these are not printed, but are in the JSON; and more than these not drawn.
MAX_ROWS, MAX_CURVES = 40, 10


class Prf(NamedTuple):
    """Precision, recall and F1, each from 0 to 1."""

    p: float
    r: float
    f: float

    @classmethod
    def of(cls, counts: numpy.ndarray) -> "Prf":
        """From counts ``(3,)``."""
        return cls(*map(float, precision_recall(counts)))

    def text(self, first: int = 6, rest: int = 6) -> str:
        """In percent, in columns of this many characters."""
        return f"{100 * self.p:{first}.1f}{100 * self.r:{rest}.1f}{100 * self.f:{rest}.1f}"


@dataclass
class Scores:
    """micro: of all decisions pooled. macro: the mean over labels that have gold examples."""

    micro: Prf
    macro: Prf

    @classmethod
    def of(cls, counts: numpy.ndarray) -> "Scores":
        """From counts ``(C, 3)`` of true positives, false positives and false negatives."""
        present = counts[:, TP] + counts[:, FN] > 0
        n = max(present.sum(), 1)
        macro = [float((of * present).sum() / n) for of in precision_recall(counts)]
        return cls(Prf.of(counts.sum(axis=0)), Prf(*macro))


@dataclass
class LabelReport:
    """One label. n: its gold examples. before, estimate: scores without and with the cut, the
    latter cross-fitted. shift: what is added to its score, in log-odds. cut: the probability of
    the model as it was from which on the label is predicted, where labels are independent.
    curve: recall and precision at all cuts, where they are known. note: why it was left alone.
    """

    label: str
    n: int
    before: Prf
    estimate: Prf
    shift: float
    cut: Optional[float] = None
    curve: List[Tuple[float, float]] = field(default_factory=list, repr=False)
    note: str = ""


@dataclass
class ComponentReport:
    """One component. before, estimate, seen: scores as it was; cross-fitted, which is what to
    expect on new text; and with the chosen cuts on the very examples that they were chosen on,
    which is too good. gain, error: of the objective, cross-fitted, and its standard error.
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
    gain: float
    error: float
    labels: List[LabelReport]
    common: Optional[float] = None
    common_name: str = ""
    decodings: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        head = f"{self.name} ({self.kind}), for {self.objective}, {self.n_docs} documents"
        if not self.tuned:
            return f"{head}\n  left as it is: {self.reason}."
        lines = [
            f"{head}: {self.rule}",
            f"  {'':8}{'micro P':>9}{'R':>7}{'F1':>7}{'macro P':>10}{'R':>7}{'F1':>7}",
        ]
        for what in ("before", "estimate", "seen"):
            of: Scores = getattr(self, what)
            lines.append(f"  {what:8}{of.micro.text(9, 7)}{of.macro.text(10, 7)}")
        lines.append(
            f"  The objective gains {100 * self.gain:+.1f} +- {100 * self.error:.1f}, "
            "cross-fitted: expect that on new text, and not 'seen'."
        )
        if self.common is not None:
            lines.append(f"  {self.common_name}: {self.common:+.2f}")
        width = max([5, *(len(row.label) for row in self.labels)])
        lines.append(
            f"  {'label':{width}}{'n':>7}{'P':>8}{'R':>6}{'F1':>6}   ->{'P':>6}{'R':>6}{'F1':>6}"
            f"{'shift':>8}{'cut':>7}"
        )
        for row in sorted(self.labels, key=lambda row: -row.n)[:MAX_ROWS]:
            cut = "" if row.cut is None else f"{row.cut:.3f}"
            line = (
                f"  {row.label:{width}}{row.n:7}{row.before.text(8)}     {row.estimate.text()}"
                f"{row.shift:+8.2f}{cut:>7}  {row.note}"
            )
            lines.append(line.rstrip())
        if len(self.labels) > MAX_ROWS:
            lines.append(f"  ... and {len(self.labels) - MAX_ROWS} more labels")
        return "\n".join(lines)


@dataclass
class CalibrationReport:
    """One component. what: which probabilities were looked at. temperature: what logits are
    divided by; of each label, if it is a dict. before, after: on the examples that were given.
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
        lines = [head, f"  {'':8}{'n':>8}{'ECE':>8}{'Brier':>8}{'NLL':>8}"]
        for what in ("before", "after"):
            of: Calibration = getattr(self, what)
            lines.append(f"  {what:8}{of.n:8}{of.ece:8.3f}{of.brier:8.3f}{of.nll:8.3f}")
        if isinstance(self.temperature, dict):
            low, high = min(self.temperature.values()), max(self.temperature.values())
            lines.append(f"  temperatures of labels from {low:.2f} to {high:.2f}")
        else:
            lines.append(f"  temperature {self.temperature:.2f}")
        return "\n".join(lines)


class _Report:
    """Parts by the name of their component."""

    components: List[Any]

    def __getitem__(self, name: str) -> Any:
        for part in self.components:
            if part.name == name:
                return part
        raise KeyError(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.components)

    def __len__(self) -> int:
        return len(self.components)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.components)) or "There was nothing to look at."

    def to_json(self, path: Optional[Union[str, Path]] = None) -> str:
        """As JSON, also written to ``path`` if there is one."""
        text = json.dumps({"components": [asdict(part) for part in self.components]}, indent=1)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf8")
        return text


@dataclass
class TuneReport(_Report):
    """What `tune` did: ``print(report)``, ``report["ner"].estimate.micro.f``, ``to_json``,
    ``plot``.
    """

    components: List[ComponentReport]

    def plot(self, path: Union[str, Path], component: Optional[str] = None) -> None:
        """Draw precision against recall, with the points before and after, to a PNG (or what
        else the name ends in). Needs matplotlib.

        component: whose; None takes all that have scores. Raises a ValueError if none has.
        """
        parts = [
            part
            for part in self.components
            if component in (None, part.name) and any(row.n for row in part.labels)
        ]
        if not parts:
            called = f" called {component!r}" if component else ""
            raise ValueError(f"plot: there is no component with scores{called}.")
        figure = figures.new(5.5 * len(parts), 5)
        for ax, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
            rows = sorted((row for row in part.labels if row.n), key=lambda row: -row.n)
            points = [
                (row.label, "o", f"C{i}", row.before, row.estimate)
                for i, row in enumerate(rows[:MAX_CURVES])
            ]
            points.append(("all (micro)", "s", "k", part.before.micro, part.estimate.micro))
            for i, row in enumerate(rows[:MAX_CURVES]):
                ax.plot([r for r, _ in row.curve], [p for _, p in row.curve], f"C{i}", linewidth=1)
            for label, marker, color, before, after in points:
                ax.plot([before.r, after.r], [before.p, after.p], ":", color=color)
                ax.plot(before.r, before.p, marker, color=color, fillstyle="none")
                ax.plot(after.r, after.p, marker, color=color, label=label)
            ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
            ax.set_title(f"{part.name}: open before, full after (cross-fitted)", fontsize="medium")
            ax.legend(fontsize="small")
        figures.save(figure, path)


@dataclass
class CalibrateReport(_Report):
    """What `calibrate` did: ``print(report)``, ``report["textcat"].after.ece``, ``to_json``."""

    components: List[CalibrationReport]


def of_choice(
    name: str,
    kind: str,
    labels: ScoredLabels,
    objective: Objective,
    own: Mapping[str, Objective],
    choice: Choice,
    center: Union[None, float, numpy.ndarray] = None,
) -> ComponentReport:
    """The report on a choice. center: the log-odds of the threshold, or of each label's, where
    labels are independent, so that cuts are probabilities.
    """
    if center is not None:
        cuts = sigmoid(center - choice.shift)
    common: Optional[float] = None
    if labels.background is not None:
        common = -float(choice.shift[labels.background])
    elif labels.size > len(labels.names):
        common = float(choice.shift[-1])
    rows = []
    for c, label in enumerate(labels.names):
        note = "" if choice.free[c] else "too few" if labels.n_examples[c] else "no examples"
        if label in own:
            note = str(own[label]).partition(" ")[2]  # without its average
        row = LabelReport(
            label=label,
            n=int(labels.n_examples[c]),
            before=Prf.of(choice.before[c]),
            estimate=Prf.of(choice.estimate[c]),
            shift=float(choice.shift[c]),
            cut=None if center is None else float(cuts[c]),
            curve=[(round(r, 4), round(p, 4)) for r, p in labels.curve(c).tolist()],
            note=note,
        )
        if c != labels.background:
            rows.append(row)
    return ComponentReport(
        name=name,
        kind=kind,
        objective=str(objective),
        n_docs=labels.n_docs,
        tuned=not choice.reason,
        rule=str(choice.rule),
        reason=choice.reason,
        before=Scores.of(choice.before),
        estimate=Scores.of(choice.estimate),
        seen=Scores.of(choice.seen),
        gain=choice.gain,
        error=choice.error,
        labels=rows,
        common=common,
        common_name="" if common is None else "all labels against none of them",
        decodings=int(round(labels.n_decodings)),
    )
