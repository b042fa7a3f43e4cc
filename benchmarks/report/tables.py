"""Tables of the runs of one data set, size and model: losses against cross-entropy."""

from collections import defaultdict
from typing import Dict, Iterable, List, Tuple

from ..results import Run, Seeds, gain, mean, table_head, table_row, text

BASELINE = "ce"
Group = Tuple[str, ...]


def grouped(runs: Iterable[Run]) -> Dict[Group, Dict[str, Seeds]]:
    """Runs by data set, size, model and settings, then by loss, then by seed; without those that
    have tables of their own."""
    groups: Dict[Group, Dict[str, Seeds]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run.get("learn_rate") is not None or "_init" in run["model"]:
            continue
        group = (run["data"], str(run["size"]), run["model"], " ".join(run["settings"]))
        groups[group][run["loss"]][run["seed"]] = run
    return {group: dict(groups[group]) for group in sorted(groups)}


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


def summary(groups: Dict[Group, Dict[str, Seeds]], losses: List[str]) -> List[str]:
    """Lines of Markdown: a row for each data set, size and model that has one of the losses; in
    brackets the number of seeds."""
    columns = ["data", "size", "model", BASELINE, *losses]
    lines = table_head(columns)
    for (data, size, model, _), by_loss in groups.items():
        if BASELINE in by_loss and any(loss in by_loss for loss in losses):
            baseline = by_loss[BASELINE]
            gains = [gain(by_loss.get(loss, {}), baseline) for loss in losses]
            row = [data, size, model, f"{mean(baseline, 'test'):.1f}"]
            lines.append(table_row([*row, *(f"{text(g)} ({g.n})" if g else "" for g in gains)]))
    return lines
