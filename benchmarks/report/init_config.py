"""Tables of runs on configs as `spacy init config` writes them: stock and the flag, with `tune` and
without."""

import statistics
from typing import Dict, Iterable, List, Sequence, Tuple

from ..results import (
    Run,
    Seeds,
    gain,
    group_runs,
    mean_text,
    points,
    table_head,
    table_row,
    text,
    tuned,
)
from .components import AUTO, STOCK, label, updates, updates_to_best

Group = Tuple[str, ...]
N_STEPS = 6  # of a curve, at most


def grouped(runs: Iterable[Run], model: str = "") -> Dict[Group, Dict[str, Seeds]]:
    """Runs by data set, size and model, then by loss, then by seed.

    Args:
        runs: Lines of the results.
        model: The end of the models' names: "_init" for CPU, "_init_gpu" for transformers.
    """
    shown = (r for r in runs if "_init" in r["model"] and r["model"].endswith(model))
    return group_runs(shown, "data", "size", "model")


def scores(groups: Dict[Group, Dict[str, Seeds]]) -> List[str]:
    """A row for each experiment: F1 on test of the four, means over the seeds that both losses
    have, with their 95 % intervals; and gains over stock, paired by seed, with theirs."""
    columns = ["experiment", "seeds", "stock", "the flag", "stock + `tune`", "the flag + `tune`"]
    columns += ["gain: the flag", "`tune`", "both"]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        seeds = sorted(by_loss.get(STOCK, {}).keys() & by_loss.get(AUTO, {}).keys())
        if not seeds:
            continue
        pairs = [{seed: by_loss[loss][seed] for seed in seeds} for loss in (STOCK, AUTO)]
        stock, *others = found = [*pairs, *map(tuned, pairs)]
        cells = [label(group), str(len(seeds))]
        cells += [mean_text([points(run, "test") for run in by.values()]) for by in found]
        cells += [text(gain(by, stock)) for by in others]
        lines.append(table_row(cells))
    return lines


def curves(groups: Dict[Group, Dict[str, Seeds]]) -> List[str]:
    """A row for each experiment and loss: F1 on dev while training, means over seeds, after as
    many updates as all seeds of both losses have; and updates until stock's best, and until the
    flag is above it, the median over seeds."""
    lines = table_head(["experiment", "loss", "seeds", "F1 on dev", "updates to stock's best"])
    for group, by_loss in groups.items():
        if not {STOCK, AUTO} <= by_loss.keys():
            continue
        shown = _steps([run for seeds in by_loss.values() for run in seeds.values()])
        for loss, name in ((STOCK, "stock"), (AUTO, "the flag")):
            seeds, stock = by_loss[loss], by_loss[STOCK]
            found = [dict((step, f1) for step, f1, *_ in run["curve"]) for run in seeds.values()]
            f1 = [f"{step}: {100 * statistics.fmean(c[step] for c in found):.1f}" for step in shown]
            best = [updates_to_best(seeds[s], stock[s]) for s in seeds.keys() & stock.keys()]
            cells = [label(group), name, str(len(seeds)), ", ".join(f1)]
            cells.append(updates(statistics.median_high(best)) if best else "")
            lines.append(table_row(cells))
    return lines


def _steps(runs: Sequence[Run]) -> List[int]:
    common = set.intersection(*({step for step, *_ in run["curve"]} for run in runs))
    steps = sorted(step for step in common if step)
    every = -(-len(steps) // N_STEPS) or 1
    return steps[every - 1 :: every]
