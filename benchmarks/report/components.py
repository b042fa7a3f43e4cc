"""Tables and the picture of the cells of stock components: stock, cross-entropy and each loss.

A cell is a data set, size and
component; of the learning rates that a loss was tried with, the one counts that is best on dev
with the first seed, and all seeds that were measured with it. "stock" is the component without
the library. Where that is a cross-entropy already (softmax heads) it is the same as "ce".
"""

import statistics
from collections import defaultdict
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from ..results import Cell, Seeds, best_rate, gain, mean, table_head, table_row, text

Group = Tuple[str, str, str]
Groups = Dict[Group, Dict[str, Seeds]]
STOCK, CE = "stock", "ce"
# Models whose components end in a softmax, so that their own loss is a cross-entropy (of ner, over
# transitions).
SOFTMAX_HEADS = ("textcat", "tagger", "morphologizer", "ner", "dice_ner")
# Updates after which the score on dev is shown.
EARLY = (30, 60)
# Kinds of heads, which may have different defaults.
HEADS = {
    "spans": "sigmoid, spans",
    "labels": "sigmoid, texts",
    "classes": "softmax, no background",
    "background": "softmax, background",
}
NAMES = {
    "stock": "stock",
    "ce": "CE",
    "weighted_ce": "balanced CE",
    "dice_ce": "CE + pooled Dice",
    "dice_ce_macro": "CE + macro Dice",
    "dice_ce_macro_c": "CE + C macro Dice",
    "balanced_macro": "balanced CE + macro Dice",
    "balanced_macro_c": "balanced CE + C macro Dice",
    "balanced_micro": "balanced CE + pooled Dice",
    "focal": "focal",
    "asl": "ASL",
    "logit_adjustment": "logit adjustment",
    "logit_adjustment_0.5": "logit adjustment (tau 0.5)",
}


def grouped(cells: Iterable[Cell], rate: Optional[float] = None) -> Groups:
    """Cells of components by data set, size and model, then by loss, then by seed; each loss with
    its best learning rate, or with this one."""
    by_rate: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for cell in cells:
        if cell.get("learn_rate") is not None:
            group = (cell["data"], str(cell["size"]), cell["model"])
            by_rate[group][cell["loss"]][cell["learn_rate"]][cell["seed"]] = cell
    groups: Groups = {}
    for group, losses in by_rate.items():
        made = {loss: _chosen(rates, rate) for loss, rates in losses.items()}
        groups[group] = {loss: seeds for loss, seeds in made.items() if seeds}
    order = lambda group: (is_softmax(group), _kind(group), group)  # noqa: E731
    return {group: groups[group] for group in sorted(groups, key=order)}


def _chosen(rates: Dict[float, Seeds], rate: Optional[float]) -> Seeds:
    if rate is not None:
        return rates.get(rate, {})
    first = min(seed for seeds in rates.values() for seed in seeds)
    best = best_rate(seeds[first] for seeds in rates.values() if first in seeds)
    return rates[best]  # type: ignore[index]


def is_softmax(group: Group) -> bool:
    return group[2] in SOFTMAX_HEADS


def _kind(group: Group) -> str:
    return group[2].split("_")[0]


def baseline(by_loss: Dict[str, Seeds], group: Group) -> Seeds:
    """The cells of the component without the library; none for dice_ner, which is not stock."""
    if STOCK in by_loss or group[2].startswith("dice_"):
        return by_loss.get(STOCK, {})
    return by_loss.get(CE, {}) if is_softmax(group) else {}


def scores(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: stock's mean on test, and what each loss gains over it, paired by
    seed, with its 95 % interval; for dice_ner over cross-entropy."""
    shown = [loss for loss in losses if loss != STOCK]
    columns = ["cell", "seeds", "stock", *(NAMES.get(loss, loss) for loss in shown)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        base = baseline(by_loss, group) or by_loss.get(CE, {})
        if base:
            name = label(group) + ("" if baseline(by_loss, group) else " (over CE)")
            cells = [name, str(len(base)), f"{mean(base, 'test'):.1f}"]
            for loss in shown:
                ours = by_loss.get(loss, {})
                same = ours is base
                cells.append("" if same or not ours else text(gain(ours, base)))
            lines.append(table_row(cells))
    return lines


def means(groups: Groups, losses: Sequence[str], split: str) -> List[str]:
    """A row for each cell: the mean of each loss on a split; the best in bold; the number of
    seeds of the loss that has the fewest."""
    columns = ["cell", "seeds", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        found = {loss: _common(by_loss, loss, losses) for loss in losses if loss in by_loss}
        values = {loss: mean(seeds, split) for loss, seeds in found.items() if seeds}
        if len(values) > 1:
            best = max(values.values())
            texts = {k: f"**{v:.1f}**" if v == best else f"{v:.1f}" for k, v in values.items()}
            n_seeds = str(min(len(found[loss]) for loss in values))
            lines.append(
                table_row([label(group), n_seeds, *(texts.get(loss, "") for loss in losses)])
            )
    return lines


def _common(by_loss: Dict[str, Seeds], loss: str, losses: Sequence[str]) -> Seeds:
    """The seeds that all of these losses have, where they have any."""
    kept = set.intersection(*(set(by_loss[other]) for other in losses if other in by_loss))
    return {seed: cell for seed, cell in by_loss[loss].items() if seed in kept}


def wins(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each loss and kind of head: over how many cells, in how many it is best on dev and
    on test, its mean gain over cross-entropy on either, and in how many cells the interval of that
    gain on test is above 0, and below."""
    columns = ["heads", "loss", "cells", "best on dev", "best on test", "gain over CE, dev"]
    columns += ["test", "interval above 0", "below 0"]
    lines = table_head(columns)
    for kind, name in HEADS.items():
        of_head = {g: by for g, by in groups.items() if head(g) == kind and CE in by}
        best: Dict[Tuple[str, str], int] = defaultdict(int)
        for by_loss in of_head.values():
            for split in ("dev", "test"):
                there = [loss for loss in losses if _common_all(by_loss, losses, loss)]
                best[max(there, key=lambda x: mean(_common(by_loss, x, losses), split)), split] += 1
        for loss in losses:
            there = [by for by in of_head.values() if loss in by]
            gains = {s: [gain(by[loss], by[CE], s) for by in there] for s in ("dev", "test")}
            if not there:
                continue
            known = [g for g in gains["test"] if g is not None and g.half is not None]
            cells = [name, NAMES.get(loss, loss), str(len(there))]
            cells += [str(best[loss, "dev"]), str(best[loss, "test"])]
            cells += [f"{statistics.fmean(g.mean for g in gains[s] if g):+.1f}" for s in gains]
            cells += [str(sum(g.mean > g.half for g in known))]
            cells += [str(sum(g.mean < -g.half for g in known))]
            lines.append(table_row(cells))
    return lines


def _common_all(by_loss: Dict[str, Seeds], losses: Sequence[str], loss: str) -> bool:
    return loss in by_loss and bool(_common(by_loss, loss, losses))


def sooner(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: updates (and seconds of updates) until stock's curve on dev is at its
    best, and until each loss's is above that, the median over seeds; "-" where half of the
    seeds never are. Each loss at its own learning rate."""
    shown = [loss for loss in losses if loss != STOCK]
    columns = ["cell", "stock's best after", *(NAMES.get(loss, loss) for loss in shown)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        base = baseline(by_loss, group)
        if base and (STOCK in by_loss):
            cells = [label(group), _median([_when(cell, cell, True) for cell in base.values()])]
            for loss in shown:
                ours = by_loss.get(loss, {})
                found = [_when(ours[s], base[s], False) for s in ours.keys() & base.keys()]
                cells.append(_median(found))
            lines.append(table_row(cells))
    return lines


def early(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: the score on dev after 30 and 60 updates, the mean over seeds."""
    columns = ["cell", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        cells = [label(group)]
        for loss in losses:
            seeds = (baseline(by_loss, group) if loss == STOCK else by_loss.get(loss, {})).values()
            cells.append(" / ".join(_score_after(list(seeds), step) for step in EARLY))
        if any(cell.strip(" /") for cell in cells[1:]):
            lines.append(table_row(cells))
    return lines


def _score_after(seeds: List[Cell], step: int) -> str:
    found = [100 * score for cell in seeds for at, score, _ in cell["curve"] if at == step]
    return f"{statistics.fmean(found):.1f}" if found else ""


def _when(ours: Cell, stock: Cell, itself: bool) -> Tuple[float, float]:
    best = max(score for _, score, _ in stock["curve"])
    for step, score, seconds in ours["curve"]:
        if score > best or (itself and score == best):
            return step, seconds
    return float("inf"), float("inf")


def _median(found: List[Tuple[float, float]]) -> str:
    if not found:
        return ""
    steps, seconds = (statistics.median_high(values) for values in zip(*found))
    return "-" if steps == float("inf") else f"{steps} ({seconds:.1f} s)"


def cuts(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: means on test as trained / with one cut for all labels / with one for
    each label, both tuned on dev."""
    columns = ["cell", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        cells = [label(group)]
        for loss in losses:
            found = [c for c in by_loss.get(loss, {}).values() if "cuts" in c]
            texts = [f"{mean(by_loss[loss], 'test'):.1f}"] if found else []
            for which in ("one", "each"):
                values = [100 * c["cuts"][which]["test"] for c in found if which in c["cuts"]]
                texts += [f"{statistics.fmean(values):.1f}"] if values else []
            cells.append(" / ".join(texts))
        if any(cells[1:]):
            lines.append(table_row(cells))
    return lines


def rates(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: the learning rate of each loss that was tuned."""
    columns = ["cell", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        chosen = [next(iter(by_loss.get(loss, {0: {}}).values())) for loss in losses]
        lines.append(table_row([label(group), *(str(c.get("learn_rate", "")) for c in chosen)]))
    return lines


def ner(groups: Groups, data: str, size: str, losses: Sequence[str]) -> List[str]:
    """A row for each way to find the entities of a corpus: F1, precision, recall, and words a
    second of CPU, of the fastest seed."""
    columns = ["component", "loss", "seeds", "dev", "test", "precision", "recall", "words/s"]
    lines = table_head(columns)
    for model in ("ner", "dice_ner", "spancat"):
        for loss in losses:
            seeds = groups.get((data, size, model), {}).get(loss)
            if seeds:
                p, r = (statistics.fmean(100 * c["test"][k] for c in seeds.values()) for k in "pr")
                speeds = [c["words_per_second"] for c in seeds.values() if "words_per_second" in c]
                f = [f"{mean(seeds, split):.1f}" for split in ("dev", "test")]
                cells = [model, NAMES.get(loss, loss), str(len(seeds)), *f, f"{p:.1f}", f"{r:.1f}"]
                lines.append(table_row([*cells, f"{max(speeds):,.0f}" if speeds else ""]))
    return lines


def label(group: Group) -> str:
    data, size, model = group
    return f"{model}, {data}, {size}"


def head(group: Group) -> str:
    """The kind of head, by which defaults differ."""
    data, _, model = group
    if is_softmax(group):
        return "background" if model.endswith("ner") else "classes"
    return "labels" if model.startswith("textcat") else "spans"
