"""Plots of what was measured, as PNG files."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from dice_core import figures

from ..results import gain, interval, mean, points
from .components import AUTO, CE, baseline, is_stock, label
from .components import Groups as ComponentGroups
from .tables import BASELINE, Group

SIZE = (9, 5)
ROW = 0.42  # inches of height


def write(groups: Dict[Group, Dict[str, Any]], folder: Path) -> List[Path]:
    """Write all plots. RETURNS their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [_gains(groups, folder / "gains.png")]
    for group, by_loss in groups.items():
        name = "-".join(part for part in group[:3])
        if any("curve" in cell for seeds in by_loss.values() for cell in seeds.values()):
            paths.append(_curves(group, by_loss, folder / f"curves-{name}.png"))
        paths.append(_precision_recall(group, by_loss, folder / f"precision-recall-{name}.png"))
        if any("train_counts" in cell for seeds in by_loss.values() for cell in seeds.values()):
            paths.append(_types(group, by_loss, folder / f"types-{name}.png"))
    return paths


def picture(groups: ComponentGroups, path: Path) -> Path:
    """Stock, cross-entropy and "auto" of each cell on test, the mean over seeds and its 95 %
    interval; "auto" where it is not stock. Told apart by shape. As high as its rows need."""
    rows = [(g, by) for g, by in groups.items() if CE in by]
    figure = figures.new(8, ROW * len(rows) + 1.1)
    axes = figure.add_subplot()
    named = set()  # in the legend
    for y, (group, by_loss) in enumerate(reversed(rows)):
        if y % 2:  # so that the eye keeps to its row
            axes.axhspan(y - 0.5, y + 0.5, color="0.95", zorder=0)
        shown = [
            ("stock", baseline(by_loss, group), "s", "white", 0.2),
            ("cross-entropy", by_loss[CE], "o", "white", 0.0),
            (
                "auto",
                {} if is_stock(by_loss, group, AUTO) else by_loss.get(AUTO, {}),
                "D",
                "black",
                -0.2,
            ),
        ]
        for name, seeds, marker, fill, up in shown:
            if seeds:
                half = interval([points(c, "test") for c in seeds.values()])
                axes.errorbar(
                    mean(seeds, "test"),
                    y + up,
                    xerr=half or 0.0,
                    fmt=marker,
                    color="black",
                    markerfacecolor=fill,
                    capsize=2,
                    linewidth=0.8,
                    markersize=5,
                    label=None if name in named else name,
                )
                named.add(name)
    axes.set_yticks(range(len(rows)), [label(group) for group, _ in reversed(rows)], fontsize=8)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xlabel("F1 on test, in points (mean over seeds, 95 % interval)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=3, fontsize="small", frameon=False)
    figures.save(figure, path)
    return path


def _figure(title: str, x: str, y: str) -> Any:
    figure = figures.new(*SIZE)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> Path:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
    figures.save(figure, path)
    return path


def _gains(groups: Dict[Group, Dict[str, Any]], path: Path) -> Path:
    """The gain of each loss over cross-entropy, with its interval, for each data set."""
    figure, axes = _figure("Gain over cross-entropy on test, 95 % intervals", "points of F1", "")
    rows = []
    for group, by_loss in groups.items():
        for loss, seeds in by_loss.items():
            found = gain(seeds, by_loss.get(BASELINE, {})) if loss != BASELINE else None
            if found is not None:
                rows.append((" ".join(group[:3]) + f": {loss}", found))
    for y, (_, found) in enumerate(rows):
        axes.errorbar(found.mean, y, xerr=found.half, fmt="o", capsize=3, color="tab:blue")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize="small")
    axes.axvline(0, color="black", linewidth=0.8)
    figure.set_figheight(max(2.0, 0.3 * len(rows) + 1))
    return _save(figure, axes, path)


def _curves(group: Group, by_loss: Dict[str, Any], path: Path) -> Path:
    """The score on dev while training, the mean over seeds."""
    figure, axes = _figure(" ".join(group[:3]), "steps", "score on dev")
    for loss, seeds in by_loss.items():
        at: Dict[int, List[float]] = {}
        for cell in seeds.values():
            for step, score, *_ in cell.get("curve", ()):
                at.setdefault(step, []).append(100 * score)
        steps = sorted(step for step, scores in at.items() if len(scores) == len(seeds))
        axes.plot(steps, [statistics.fmean(at[step]) for step in steps], label=loss)
    return _save(figure, axes, path)


def _precision_recall(group: Group, by_loss: Dict[str, Any], path: Path) -> Path:
    """A point for each seed."""
    figure, axes = _figure(" ".join(group[:3]), "recall on test", "precision on test")
    for loss, seeds in by_loss.items():
        cells = list(seeds.values())
        axes.scatter(
            [100 * cell["test"]["r"] for cell in cells],
            [100 * cell["test"]["p"] for cell in cells],
            label=loss,
        )
    return _save(figure, axes, path)


def _types(group: Group, by_loss: Dict[str, Any], path: Path) -> Path:
    """F1 of each type against how often it is in the training data."""
    figure, axes = _figure(" ".join(group[:3]), "occurrences in training", "F1 on test")
    for loss, seeds in by_loss.items():
        cells = [cell for cell in seeds.values() if "train_counts" in cell]
        counts: Counter = Counter()
        for cell in cells:
            counts.update(cell["train_counts"])
        types = [name for name in counts if all(name in c["test"]["per_type"] for c in cells)]
        axes.scatter(
            [counts[name] / len(cells) for name in types],
            [100 * statistics.fmean(c["test"]["per_type"][name] for c in cells) for name in types],
            label=loss,
        )
    axes.set_xscale("log")
    return _save(figure, axes, path)
