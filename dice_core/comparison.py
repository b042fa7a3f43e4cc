"""Two models on the same texts: F1 by label, whether the difference is more than chance, kinds of
error and calibration. For both toolkits.
"""

import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy

from . import figures
from .error_kinds import ENOUGH, REMEDY, Errors, Item, count_errors
from .tuning.report import CalibrateReport, CalibrationReport, Prf

# Of a text: what is right, what A says, what B says.
Triple = Tuple[Set[Item], Set[Item], Set[Item]]
LEVEL = 95
CHUNK = 250
MAX_ROWS = 40


@dataclass
class Row:
    """One label, or all. n: gold examples. a, b: scores. difference, low, high: F1 of B less that
    of A, and its interval, from -1 to 1.
    """

    label: str
    n: int
    a: Prf
    b: Prf
    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass
class Task:
    """One kind of annotation.

    Attributes:
        key: "ents", "spans:sc", "cats" or "tags".
        what: In words.
        n_docs: Documents with gold annotation of this kind.
        micro: All decisions pooled.
        macro: The mean over labels that have gold examples.
        labels: Rows, the most frequent label first.
        only_a, only_b: How many gold items just one of the two found.
        both, neither: How many both found, and none.
        errors_a, errors_b: Errors by their kind; None for spans without nervaluate.
        calibration_a, calibration_b: How well the probabilities hold, 0 to 1; None if there are
            none, or it was not asked for. ``what`` of it says which decisions were looked at.
        notes: Why something is missing.
    """

    key: str
    what: str
    n_docs: int
    micro: Row
    macro: Row
    labels: List[Row]
    only_a: int = 0
    only_b: int = 0
    both: int = 0
    neither: int = 0
    errors_a: Optional[Errors] = None
    errors_b: Optional[Errors] = None
    calibration_a: Optional[CalibrationReport] = None
    calibration_b: Optional[CalibrationReport] = None
    notes: List[str] = field(default_factory=list)


@dataclass
class Comparison:
    """What was found. name_a, name_b: of the two models. tasks: by kind of annotation."""

    name_a: str
    name_b: str
    tasks: List[Task]

    def __str__(self) -> str:
        return "\n\n".join(
            [f"A = {self.name_a}\nB = {self.name_b}", *(task_as_text(task) for task in self.tasks)]
        )

    def to_dict(self) -> Dict[str, Any]:
        """As plain values, for JSON; scores are from 0 to 1."""
        tasks = [asdict(task) for task in self.tasks]
        for task, plain in zip(self.tasks, tasks):
            for of, report in (("a", task.calibration_a), ("b", task.calibration_b)):
                plain[f"calibration_{of}"] = report and {
                    "of": report.what,
                    **report.before._asdict(),
                }
        for task, made in zip(self.tasks, tasks):
            for row, plain in zip(
                [task.micro, task.macro, *task.labels],
                [made["micro"], made["macro"], *made["labels"]],
            ):
                plain.update(a=row.a._asdict(), b=row.b._asdict(), clear=row.clear)
        return {"a": self.name_a, "b": self.name_b, "level": LEVEL, "tasks": tasks}

    def plot(self, path: Union[str, Path]) -> None:
        """Draw F1 of both by label, and the difference with its interval.

        Args:
            path: A PNG, or what else its name ends in.

        Raises:
            ImportError: Without matplotlib; it names the extra.
        """
        heights = [1.3 + 0.26 * (2 + min(len(task.labels), MAX_ROWS)) for task in self.tasks]
        figure = figures.new(9, sum(heights))
        grid = figure.subplots(
            len(self.tasks), 2, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, task in zip(grid, self.tasks):
            _plot_task(axes, task, self.name_a, self.name_b)
        figures.save(figure, path)


# -- scores ---------------------------------------------------------------------------------


def score_items(
    key: str,
    what: str,
    items: Sequence[Triple],
    samples: int,
    seed: int,
) -> Task:
    """Scores of both, and a paired bootstrap over texts.

    Args:
        key: "ents", "spans:sc", "cats" or "tags".
        what: In words.
        items: Of each text.
        samples: Resamplings.
        seed: Of them.
    """
    names = sorted({item[2] for triple in items for of in triple for item in of})
    column = {name: i for i, name in enumerate(names)}
    # (documents, A and B, labels, true positives and false positives and false negatives)
    counts = numpy.zeros((len(items), 2, len(names), 3), dtype="float32")
    for d, (gold, *predicted) in enumerate(items):
        for of, found in enumerate(predicted):
            for kind, members in enumerate((found & gold, found - gold, gold - found)):
                for item in members:
                    counts[d, of, column[item[2]], kind] += 1
    total = counts.sum(axis=0)
    n_gold = total[0, :, 0] + total[0, :, 2]
    present = n_gold > 0
    differences = resample(counts, present, samples, seed)
    scores = [[_prf(total[of, c]) for of in (0, 1)] for c in range(len(names))]
    rows = [
        _row(name, int(n_gold[c]), scores[c], differences[2][:, c]) for c, name in enumerate(names)
    ]
    pooled = [_prf(total[of].sum(axis=0)) for of in (0, 1)]
    in_mean = numpy.flatnonzero(present)
    means = [Prf(*numpy.mean([scores[c][of] for c in in_mean], axis=0).tolist()) for of in (0, 1)]
    n = int(n_gold.sum())
    found_by = [
        sum(len(t[0] & t[1] - t[2]) for t in items),
        sum(len(t[0] & t[2] - t[1]) for t in items),
    ]
    both = sum(len(t[0] & t[1] & t[2]) for t in items)
    errors_a, errors_b = (count_errors(key, [(t[0], t[of]) for t in items]) for of in (1, 2))
    return Task(
        key=key,
        what=what,
        n_docs=len(items),
        micro=_row("all (micro)", n, pooled, differences[0]),
        macro=_row("all (macro)", n, means, differences[1]),
        labels=sorted(rows, key=lambda row: (-row.n, row.label)),
        only_a=found_by[0],
        only_b=found_by[1],
        both=both,
        neither=n - both - sum(found_by),
        errors_a=errors_a,
        errors_b=errors_b,
        notes=[REMEDY] if errors_a is None else [],
    )


def calibration_or_note(
    measure: Callable[[], CalibrateReport], whose: str, notes: List[str]
) -> Optional[CalibrationReport]:
    """How well the probabilities of one model hold; why they are not known goes to the notes.

    Args:
        measure: ``calibrate`` of either toolkit, of one part and without fitting.
        whose: The name of the model.
        notes: What is added to.
    """
    try:
        (report,) = measure()
    except ValueError as error:
        reason = str(error)
    else:
        if not report.reason:
            return report
        reason = report.reason
    notes.append(f"probabilities of {whose} are not known: {reason}")
    return None


def resample(
    counts: numpy.ndarray, present: numpy.ndarray, samples: int, seed: int
) -> Tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Differences of F1, B less A, on resampled documents.

    Args:
        counts: ``(documents, 2, labels, 3)``, of true positives, false positives and false
            negatives.
        present: ``(labels,)``, which labels count for the mean.
        samples: How many.
        seed: Of the drawing.

    Returns:
        Micro ``(samples,)``, macro ``(samples,)`` and of labels ``(samples, labels)``.
    """
    n_docs, _, n_labels, _ = counts.shape
    flat = counts.reshape(n_docs, -1)
    rng = numpy.random.default_rng(seed)
    micro, macro, by_label = [], [], []
    for first in range(0, samples, CHUNK):
        size = min(CHUNK, samples - first)
        times = rng.multinomial(n_docs, numpy.full(n_docs, 1 / n_docs), size=size)
        drawn = (times.astype("float32") @ flat).reshape(size, 2, n_labels, 3)
        f = _f1(drawn)
        of_all = _f1(drawn.sum(axis=2))
        micro.append(of_all[:, 1] - of_all[:, 0])
        by_label.append(f[:, 1] - f[:, 0])
        macro.append(by_label[-1][:, present].mean(axis=1))
    return numpy.concatenate(micro), numpy.concatenate(macro), numpy.concatenate(by_label)


def _f1(counts: numpy.ndarray) -> numpy.ndarray:
    tp, wrong = counts[..., 0], counts[..., 1] + counts[..., 2]
    return 2 * tp / numpy.maximum(2 * tp + wrong, 1e-9)


def _prf(counts: numpy.ndarray) -> Prf:
    tp, fp, fn = (float(x) for x in counts)
    p, r = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return Prf(p, r, 2 * tp / max(2 * tp + fp + fn, 1))


def _row(label: str, n: int, scores: Sequence[Prf], differences: numpy.ndarray) -> Row:
    a, b = scores
    tail = (100 - LEVEL) / 2
    low, high = numpy.percentile(differences, [tail, 100 - tail]).tolist()
    return Row(label, n, a, b, b.f - a.f, low, high)


def percent(share: float) -> str:
    """In at most four characters, so that columns of five are apart.

    Example:
        >>> percent(0.1234), percent(1.0)
        ('12.3', '100')
    """
    return f"{100 * share:.1f}" if share < 0.9995 else "100"


def task_as_text(task: Task) -> str:
    """A table on 80 columns."""
    rows = [task.micro, *([task.macro] if len(task.labels) > 1 else []), *task.labels[:MAX_ROWS]]
    width = min(max(len(row.label) for row in rows), 12)
    of_one = f"{'P':>5}{'R':>5}{'F1':>6}"
    lines = [
        f"{task.what}: {task.n_docs:,} texts",
        f"  {'':{width}} {'':>6} {'A':>16} {'B':>16}",
        f"  {'':{width}} {'gold':>6} {of_one} {of_one}  B - A    {LEVEL} % interval",
    ]
    for row in rows:
        label = row.label if len(row.label) <= width else row.label[: width - 2] + ".."
        scores = " ".join(
            f"{percent(of.p):>5}{percent(of.r):>5}{percent(of.f):>6}" for of in (row.a, row.b)
        )
        lines.append(
            f"  {label:{width}} {row.n:6,} {scores} {100 * row.difference:+6.1f}  "
            f"{100 * row.low:+6.1f} to {100 * row.high:+5.1f}{'*' if row.clear else ''}"
        )
    if len(task.labels) > MAX_ROWS:
        lines.append(f"  ... and {len(task.labels) - MAX_ROWS} more labels; --json has all")
    lines += [
        "  * 0 is outside of the interval, of a paired bootstrap over texts",
        "",
        f"  of {task.micro.n:,} gold: both find {task.both:,}, only A {task.only_a:,}, only B "
        f"{task.only_b:,}, neither {task.neither:,}",
    ]
    lines += ["", *_table_of_errors(task)]
    for note in task.notes:
        lines += textwrap.wrap(
            note, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    return "\n".join(lines)


def sections(task: Task) -> List[Tuple[str, List[Tuple[str, str, str]]]]:
    """What is said of both beside scores by label: headings, and of each row words, A and B."""
    found = []
    a, b = task.errors_a, task.errors_b
    if a is not None and b is not None:
        found.append(("errors", [(k, f"{a.kinds[k]:,}", f"{b.kinds[k]:,}") for k in a.kinds]))
        if a.f:
            rows = [
                (words, f"{100 * a.f[scheme]:.1f}", f"{100 * b.f[scheme]:.1f}")
                for scheme, words in ENOUGH.items()
            ]
            found.append(("F1, if this is enough", rows))
    both = (task.calibration_a, task.calibration_b)
    if any(both):
        what = " and ".join(dict.fromkeys(report.what for report in both if report))
        rows = []
        for name, words in (("ece", "expected calibration error"), ("brier", "Brier score")):
            of_a, of_b = (f"{getattr(r.before, name):.3f}" if r else "-" for r in both)
            rows.append((words, of_a, of_b))
        found.append((f"probabilities of {what}", rows))
    return found


def _table_of_errors(task: Task) -> List[str]:
    lines = [f"  {'':50}{'A':>8}{'B':>8}"]
    for heading, rows in sections(task):
        lines.append(f"  {heading}")
        lines += [f"    {words:48}{a:>8}{b:>8}" for words, a, b in rows]
    return lines if len(lines) > 1 else []


def _plot_task(axes: Any, task: Task, name_a: str, name_b: str) -> None:
    rows = [task.micro, *([task.macro] if len(task.labels) > 1 else []), *task.labels[:MAX_ROWS]]
    y = numpy.arange(len(rows))
    left, right = axes
    for at, row in zip(y, rows):
        left.plot([100 * row.a.f, 100 * row.b.f], [at, at], color="0.7", zorder=1)
    of_a, of_b = ([100 * f for f in column] for column in zip(*((r.a.f, r.b.f) for r in rows)))
    left.plot(of_b, y, "s", color="black", markersize=4, label=f"B: {name_b}", zorder=2)
    # Around it, so that both are seen where they are equal.
    left.plot(
        of_a, y, "o", color="black", fillstyle="none", markersize=9, label=f"A: {name_a}", zorder=3
    )
    left.set_yticks(y, [f"{row.label} ({row.n:,})" for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set(xlabel="F1", xlim=(-2, 102))
    left.set_title(f"{task.what}, {task.n_docs:,} texts", fontsize="medium")
    handles = left.get_legend_handles_labels()
    left.legend(
        *(reversed(part) for part in handles),
        fontsize="x-small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16 - 0.6 / len(rows)),
        ncols=2,
    )
    for at, row in zip(y, rows):
        low, high = 100 * row.low, 100 * row.high
        right.plot([low, high], [at, at], color="black", linewidth=1)
        right.plot(
            100 * row.difference,
            at,
            "o",
            color="black",
            fillstyle="full" if row.clear else "none",
        )
    low, high = right.get_xlim()
    right.set_xlim(min(low, -2), max(high, 2))
    right.axvline(0, color="0.5", linewidth=1, linestyle=":")
    right.set_yticks(y, [""] * len(rows))
    right.set_ylim(*left.get_ylim())
    right.set_xlabel("F1 of B less that of A, in points")
    right.set_title(f"{LEVEL} % intervals; full: 0 is outside", fontsize="medium")
