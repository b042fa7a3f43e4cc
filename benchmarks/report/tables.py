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
