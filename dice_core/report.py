"""What tuning and calibrating found: to print, to keep as JSON, to plot."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy

from .calibration import Calibration, sigmoid
from .cuts import Choice, Labels, Objective, curve, precision_recall

# More labels than these are not printed, but are in the JSON.
MAX_ROWS = 40


class Prf(NamedTuple):
    """Precision, recall and F1, each from 0 to 1."""

    p: float
    r: float
    f: float


@dataclass
class Scores:
    """micro: of all decisions pooled. macro: the mean over labels that have gold examples."""

    micro: Prf
    macro: Prf

    @classmethod
    def of(cls, counts: numpy.ndarray) -> "Scores":
        """From counts ``(C, 3)`` of true positives, false positives and false negatives."""
        present = counts[:, 0] + counts[:, 2] > 0
        of_label = [
            float((x * present).sum() / max(present.sum(), 1)) for x in precision_recall(counts)
        ]
        return cls(_prf(counts.sum(axis=0)), Prf(*of_label))


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
            scores = getattr(self, what)
            lines.append(
                f"  {what:8}{_percent(scores.micro.p, 9)}{_percent(scores.micro.r)}"
                f"{_percent(scores.micro.f)}{_percent(scores.macro.p, 10)}"
                f"{_percent(scores.macro.r)}{_percent(scores.macro.f)}"
            )
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
        shown = sorted(self.labels, key=lambda row: -row.n)[:MAX_ROWS]
        for row in shown:
            cut = f"{row.cut:7.3f}" if row.cut is not None else f"{'':7}"
            lines.append(
                f"  {row.label:{width}}{row.n:7}{_percent(row.before.p, 8)}"
                f"{_percent(row.before.r, 6)}{_percent(row.before.f, 6)}     "
                f"{_percent(row.estimate.p, 6)}{_percent(row.estimate.r, 6)}"
                f"{_percent(row.estimate.f, 6)}{row.shift:+8.2f}{cut}  {row.note}".rstrip()
            )
        if len(self.labels) > len(shown):
            lines.append(f"  ... and {len(self.labels) - len(shown)} more labels")
        return "\n".join(lines)


@dataclass
class CalibrationReport:
    """One component. what: which probabilities were looked at. temperature: what logits are
    divided by; of each label, if it is a dict. before, after: on the examples that were given.
    """

    name: str
    kind: str
    what: str
    temperature: Union[float, Dict[str, float]]
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
            of = getattr(self, what)
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

    __str__ = _Report.__str__

    def plot(self, path: Union[str, Path], component: Optional[str] = None) -> None:
        """Draw precision against recall, with the points before and after, to a PNG (or what
        else the name ends in). Needs matplotlib.

        component: whose; None takes all that have scores. Raises a ValueError if none has.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install matplotlib") from error
        parts = [
            part
            for part in self.components
            if component in (None, part.name) and any(row.n for row in part.labels)
        ]
        if not parts:
            raise ValueError("plot: there is no component with scores" + f" called {component!r}.")
        figure = Figure(figsize=(5.5 * len(parts), 5), layout="constrained")
        FigureCanvasAgg(figure)
        for ax, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
            rows = sorted((row for row in part.labels if row.n), key=lambda row: -row.n)[:10]
            for i, row in enumerate(rows):
                color = f"C{i}"
                if row.curve:
                    ax.plot(*zip(*row.curve), color=color, linewidth=1)
                ax.plot(
                    [row.before.r, row.estimate.r], [row.before.p, row.estimate.p], ":", color=color
                )
                ax.plot(row.before.r, row.before.p, "o", color=color, fillstyle="none")
                ax.plot(row.estimate.r, row.estimate.p, "o", color=color, label=row.label)
            of_all = (part.before.micro, part.estimate.micro)
            ax.plot([s.r for s in of_all], [s.p for s in of_all], "k:")
            ax.plot(of_all[0].r, of_all[0].p, "ks", fillstyle="none")
            ax.plot(of_all[1].r, of_all[1].p, "ks", label="all (micro)")
            ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
            ax.set_title(f"{part.name}: open before, full after (cross-fitted)", fontsize="medium")
            ax.legend(fontsize="small")
        figure.savefig(path)


@dataclass
class CalibrateReport(_Report):
    """What `calibrate` did: ``print(report)``, ``report["textcat"].after.ece``, ``to_json``."""

    components: List[CalibrationReport]

    __str__ = _Report.__str__


def of_choice(
    name: str,
    kind: str,
    labels: Labels,
    objective: Objective,
    own: Mapping[str, Objective],
    choice: Choice,
    center: Optional[Any] = None,
) -> ComponentReport:
    """The report on a choice. center: the log-odds of the threshold, where labels are independent,
    so that cuts are probabilities.
    """
    tuned = not choice.reason
    rows = []
    for c, label in enumerate(labels.names):
        if c == getattr(labels, "background", None):
            continue
        note = "" if choice.free[c] else "too few" if labels.n_examples[c] else "no examples"
        if str(label) in own:
            note = str(own[str(label)]).partition(" ")[2]
        rows.append(
            LabelReport(
                label=str(label),
                n=int(labels.n_examples[c]),
                before=_prf(choice.before[c]),
                estimate=_prf(choice.estimate[c]),
                shift=float(choice.shift[c]),
                cut=None if center is None else float(sigmoid(center - choice.shift[c])),
                curve=[(round(r, 4), round(p, 4)) for r, p in curve(labels, c).tolist()],
                note=note,
            )
        )
    common, common_name = None, ""
    background = getattr(labels, "background", None)
    if background is not None:
        common, common_name = -float(choice.shift[background]), "all labels against none of them"
    elif len(choice.shift) > len(labels.names):
        common, common_name = float(choice.shift[-1]), "all labels against none of them"
    return ComponentReport(
        name=name,
        kind=kind,
        objective=str(objective),
        n_docs=labels.n_docs,
        tuned=tuned,
        rule=str(choice.rule),
        reason=choice.reason,
        before=Scores.of(choice.before),
        estimate=Scores.of(choice.estimate),
        seen=Scores.of(choice.seen),
        gain=float(choice.gain),
        error=float(choice.error),
        labels=rows,
        common=common,
        common_name=common_name,
        decodings=int(round(getattr(labels, "n_decodings", 0))),
    )


def _prf(counts: numpy.ndarray) -> Prf:
    return Prf(*(float(x) for x in precision_recall(counts)))


def _percent(value: float, width: int = 7) -> str:
    return f"{100 * value:{width}.1f}"
