"""Tables of the runs of one data set, size and model: losses against cross-entropy."""

from typing import Dict, Iterable, List, Tuple

from ..results import Run, Seeds, gain, group_runs, mean, table_head, table_row, text

BASELINE = "ce"
Group = Tuple[str, ...]


def grouped(runs: Iterable[Run]) -> Dict[Group, Dict[str, Seeds]]:
    """Runs by data set, size, model and settings, then by loss, then by seed; without those that
    have tables of their own."""
    shown = (r for r in runs if r.get("learn_rate") is None and "_init" not in r["model"])
    return group_runs(shown, "data", "size", "model", "settings")


def table(group: Group, by_loss: Dict[str, Seeds]) -> List[str]:
    """Lines of Markdown: the baseline first, then by the mean on dev."""
    data, size, model, settings = group
    lines = [f"**{data}, {size}, {model}** {settings}".strip(), ""]
    lines += table_head(["loss", "seeds", "dev", "test", "gain on test"])
    order = sorted(by_loss, key=lambda loss: (loss != BASELINE, -mean(by_loss[loss], "dev")))
    for loss in order:
        seeds = by_loss[loss]
        found = None if loss == BASELINE else gain(seeds, by_loss.get(BASELINE, {}))
        row = [loss, str(len(seeds)), *(f"{mean(seeds, s):.1f}" for s in ("dev", "test"))]
        lines.append(table_row([*row, text(found)]))
    return lines


def summary(runs: Iterable[Run], losses: List[str]) -> List[str]:
    """Lines of Markdown: a row for each data set, size and model of the earlier runs (their lines
    have no learning rate of their own) that has one of the losses; in brackets the number of
    seeds."""
    groups = grouped(run for run in runs if "learn_rate" not in run)
    columns = ["data", "size", "model", BASELINE, *losses]
    lines = table_head(columns)
    for (data, size, model, _), by_loss in groups.items():
        if BASELINE in by_loss and any(loss in by_loss for loss in losses):
            baseline = by_loss[BASELINE]
            gains = [gain(by_loss.get(loss, {}), baseline) for loss in losses]
            row = [data, size, model, f"{mean(baseline, 'test'):.1f}"]
            lines.append(table_row([*row, *(f"{text(g)} ({g.n})" if g else "" for g in gains)]))
    return lines
