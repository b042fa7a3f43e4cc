"""Tables of the cells of one data set, size and model: losses against cross-entropy."""

import statistics
from collections import defaultdict
from typing import Dict, Iterable, List, Tuple

from ..results import Cell, Seeds, gain, mean, table_head, table_row, text

BASELINE = "ce"
Group = Tuple[str, ...]


def grouped(cells: Iterable[Cell]) -> Dict[Group, Dict[str, Seeds]]:
    """Cells by data set, size, model and settings, then by loss, then by seed; without those of
    stock components, which have tables of their own."""
    groups: Dict[Group, Dict[str, Seeds]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        if cell.get("learn_rate") is not None:
            continue
        group = (cell["data"], str(cell["size"]), cell["model"], " ".join(cell["settings"]))
        groups[group][cell["loss"]][cell["seed"]] = cell
    return {group: dict(groups[group]) for group in sorted(groups)}


def table(group: Group, by_loss: Dict[str, Seeds]) -> List[str]:
    """Lines of Markdown: the baseline first, then by the mean on dev."""
    data, size, model, settings = group
    lines = [f"**{data}, {size}, {model}** {settings}".strip(), ""]
    columns = ["loss", "seeds", "dev", "test", "gain on test"]
    tuned = any("best_threshold" in c for seeds in by_loss.values() for c in seeds.values())
    columns += ["test, best threshold"] if tuned else []
    lines += table_head(columns)
    order = sorted(by_loss, key=lambda loss: (loss != BASELINE, -mean(by_loss[loss], "dev")))
    for loss in order:
        seeds = by_loss[loss]
        found = None if loss == BASELINE else gain(seeds, by_loss.get(BASELINE, {}))
        row = [loss, str(len(seeds)), *(f"{mean(seeds, s):.1f}" for s in ("dev", "test"))]
        lines.append(table_row([*row, text(found), *([_at_threshold(seeds)] if tuned else [])]))
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


def types(group: Group, by_loss: Dict[str, Seeds], losses: List[str]) -> List[str]:
    """Lines of Markdown: a row for each type, its count in training and F1 by loss on test."""
    counts: Dict[str, int] = {}
    for cell in (cell for seeds in by_loss.values() for cell in seeds.values()):
        counts = counts or cell.get("train_counts", {})
    found = {loss: by_loss[loss].values() for loss in (BASELINE, *losses) if loss in by_loss}
    columns = ["type", "in training", *found]
    lines = [f"**{', '.join(group[:3])}** {group[3]}".strip(), "", *table_head(columns)]
    for name in sorted(counts, key=lambda name: -counts[name]):
        f = [
            [cell["test"]["per_type"].get(name, 0.0) for cell in cells] for cells in found.values()
        ]
        lines.append(
            table_row([name, str(counts[name]), *(f"{100 * statistics.fmean(x):.1f}" for x in f)])
        )
    return lines


def _at_threshold(seeds: Seeds) -> str:
    found = [c["best_threshold"]["test"] for c in seeds.values() if "best_threshold" in c]
    return f"{100 * statistics.fmean(found):.1f}" if len(found) == len(seeds) else ""
