"""The picture of the evidence."""

from pathlib import Path

from .. import figures
from ..results import interval, mean, points
from .components import AUTO, CE, Groups, baseline, is_stock, label

ROW = 0.42  # inches of height


def picture(groups: Groups, path: Path) -> Path:
    """Stock, cross-entropy and "auto" of each experiment on test, the mean over seeds and its 95 %
    interval; "auto" where it is not stock. Told apart by shape. As high as its rows need."""
    rows = [(g, by) for g, by in groups.items() if CE in by]
    figure = figures.new(8, ROW * len(rows) + 1.1)
    axes = figure.add_subplot()
    named = set()  # in the legend
    for y, (group, by_loss) in enumerate(reversed(rows)):
        if y % 2:  # so that the eye keeps to its row
            axes.axhspan(y - 0.5, y + 0.5, color="0.95", zorder=0)
        auto = {} if is_stock(by_loss, group, AUTO) else by_loss.get(AUTO, {})
        shown = (
            ("stock", baseline(by_loss, group), "s", "white", 0.2),
            ("cross-entropy", by_loss[CE], "o", "white", 0.0),
            ("auto", auto, "D", "black", -0.2),
        )
        for name, seeds, marker, fill, up in shown:
            if seeds:
                axes.errorbar(
                    mean(seeds, "test"),
                    y + up,
                    xerr=interval([points(run, "test") for run in seeds.values()]) or 0.0,
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
    return figures.save(figure, path)
