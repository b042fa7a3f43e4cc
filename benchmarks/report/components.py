"""Tables of the cells of stock components: stock, cross-entropy and each loss.

A cell is a data set, size and component; of the learning rates that a loss was tried with, the one
counts that is best on dev with the first seed, and all seeds that were measured with it. "stock" is
the component without the library. Where that is a cross-entropy already (softmax heads) it is the
same as "ce". "auto" is the loss that `use_loss` takes if none is named; where it leaves the
component as it is, tables say "stock". Flair's own loss is a cross-entropy, so that it is the same
as "ce"; "auto" is there what spaCy's component with the same head gets.
"""

import statistics
from collections import defaultdict
from itertools import product
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from ..results import (
    SPLITS,
    Cell,
    Seeds,
    best_rate,
    counts_macro,
    gain,
    mean,
    of_gains,
    points,
    table_head,
    table_row,
    text,
)

Group = Tuple[str, str, str]
Groups = Dict[Group, Dict[str, Seeds]]
STOCK, CE, AUTO = "stock", "ce", "auto"
# Models whose components end in a softmax, so that their own loss is a cross-entropy (of ner, over
# transitions).
SOFTMAX_HEADS = ("textcat", "tagger", "morphologizer", "ner", "dice_ner")
FLAIR, TEXTS = "flair_", "flair_texts"
# What "auto" is measured against: losses that others have, or that are simpler. Logit adjustment
# has tau 1 on softmax heads, and 0.5 on sigmoid heads.
ADJUSTED = "logit_adjustment"
RIVALS = (STOCK, CE, "weighted_ce", "focal", "asl", ADJUSTED)
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
    "auto": "auto",
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
    "adjusted_micro": "logit adjustment + pooled Dice",
    "adjusted_macro": "logit adjustment + macro Dice",
    "half_adjusted_micro": "logit adjustment (tau 0.5) + pooled Dice",
    "half_adjusted_macro": "logit adjustment (tau 0.5) + macro Dice",
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
        by_loss = {loss: seeds for loss, seeds in made.items() if seeds}
        taken = recommended(group, [c for seeds in by_loss.values() for c in seeds.values()])
        of_auto = baseline(by_loss, group) if taken == STOCK else by_loss.get(taken)
        groups[group] = {**by_loss, AUTO: of_auto} if of_auto else by_loss
    order = lambda g: (is_softmax(g), g[2].startswith(FLAIR), _kind(g), g)  # noqa: E731
    return {group: groups[group] for group in sorted(groups, key=order)}


def _chosen(rates: Dict[float, Seeds], rate: Optional[float]) -> Seeds:
    if rate is not None:
        return rates.get(rate, {})
    first = min(seed for seeds in rates.values() for seed in seeds)
    best = best_rate(seeds[first] for seeds in rates.values() if first in seeds)
    return rates[best]  # type: ignore[index]


def recommended(group: Group, cells: Iterable[Cell]) -> str:
    """The loss that "auto" is for a cell, of which these are results: what `recommended` of the
    library's components says, by the number of labels in the training data; "stock" where that
    is None; and the loss that dice_ner has by default."""
    _, _, model = group
    n_labels = max((len(cell["train_counts"]) for cell in cells), default=0)
    if model.startswith("spancat"):
        return CE if n_labels == 1 else "weighted_ce"
    if model == "span_finder":
        return CE
    is_single = model == "textcat"
    if model.startswith(("textcat_multilabel", TEXTS)) or (is_single and n_labels != 2):
        return "balanced_macro"
    return "dice_ce" if model.startswith("dice_ner") else STOCK


def is_stock(by_loss: Dict[str, Seeds], group: Group, loss: str) -> bool:
    """Whether a loss is "auto", and that leaves the component of a cell as it is."""
    return loss == AUTO and AUTO in by_loss and by_loss[AUTO] is baseline(by_loss, group)


def is_softmax(group: Group) -> bool:
    return group[2] in SOFTMAX_HEADS


def _kind(group: Group) -> str:
    return group[2].split("_")[0]


def baseline(by_loss: Dict[str, Seeds], group: Group) -> Seeds:
    """The cells of the component without the library; none for dice_ner, which is not stock."""
    if STOCK in by_loss or group[2].startswith("dice_"):
        return by_loss.get(STOCK, {})
    has_ce = is_softmax(group) or group[2].startswith(FLAIR)
    return by_loss.get(CE, {}) if has_ce else {}


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
                left = STOCK if is_stock(by_loss, group, loss) else ""
                cells.append(left if ours is base or not ours else text(gain(ours, base)))
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
            if is_stock(by_loss, group, AUTO):
                texts[AUTO] = STOCK
            n_seeds = str(min(len(found[loss]) for loss in values))
            lines.append(
                table_row([label(group), n_seeds, *(texts.get(loss, "") for loss in losses)])
            )
    return lines


def _on_dev(cell: Cell) -> float:
    return points(cell, "dev")


def _common(by_loss: Dict[str, Seeds], loss: str, losses: Sequence[str]) -> Seeds:
    """The seeds that all of these losses have, where they have any."""
    kept = set.intersection(*(set(by_loss[other]) for other in losses if other in by_loss))
    return {seed: cell for seed, cell in by_loss[loss].items() if seed in kept}


def wins(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each loss and kind of head: over how many cells, in how many it is best on dev and
    on test, its mean gain over cross-entropy on either with the 95 % interval over cells, and in
    how many cells the interval of the gain on test, over seeds, is above 0, and below. What is
    best is sought among the losses themselves; "auto" is best where the loss is that it stands
    for."""
    columns = ["heads", "loss", "cells", "best on dev", "best on test", "gain over CE, dev"]
    columns += ["test", "interval above 0", "below 0"]
    lines = table_head(columns)
    for kind, name in HEADS.items():
        of_head = {g: by for g, by in groups.items() if head(g) == kind and CE in by}
        best: Dict[Tuple[str, str], int] = defaultdict(int)
        for by_loss in of_head.values():
            for split in SPLITS:
                there = [x for x in losses if x != AUTO and _common_all(by_loss, losses, x)]
                first = max(there, key=lambda x: mean(_common(by_loss, x, losses), split))
                best[first, split] += 1
                best[AUTO, split] += by_loss.get(AUTO) is by_loss[first]
        for loss in losses:
            there = [by for by in of_head.values() if loss in by]
            gains = {s: [gain(by[loss], by[CE], s) for by in there] for s in SPLITS}
            if not there:
                continue
            known = [g for g in gains["test"] if g is not None and g.half is not None]
            cells = [name, NAMES.get(loss, loss), str(len(there))]
            cells += [str(best[loss, "dev"]), str(best[loss, "test"])]
            means = [[g.mean for g in gains[split] if g] for split in SPLITS]
            cells += ["+0.0" if loss == CE else text(of_gains(values)) for values in means]
            cells += [str(sum(g.mean > g.half for g in known))]
            cells += [str(sum(g.mean < -g.half for g in known))]
            lines.append(table_row(cells))
    return lines


def _common_all(by_loss: Dict[str, Seeds], losses: Sequence[str], loss: str) -> bool:
    return loss in by_loss and bool(_common(by_loss, loss, losses))


def rivals(
    groups: Groups, losses: Sequence[str], on_dev: Callable[[Cell], float] = _on_dev
) -> List[str]:
    """A row for each cell: the mean on test of each of RIVALS that is asked for and was measured,
    and of "auto"; and what "auto" gains over the best of them, paired by seed, with its 95 %
    interval. The best is the one with the highest mean on dev over the seeds that all have, and is
    no loss that "auto" itself is. In brackets the number of seeds where it is not that of "auto".
    The last row is the mean of these gains over cells, with its interval, and how many are above 0.

    on_dev: the score of a cell on dev, from 0 to 100.
    """
    asked = [loss for loss in RIVALS if loss in losses or loss == STOCK]
    there = [loss for loss in asked if any(_rival(by, g, loss) for g, by in groups.items())]
    columns = ["cell", "seeds", *(NAMES[loss] for loss in there), "auto", "auto over the best"]
    lines, gains = table_head(columns), []
    for group, by_loss in groups.items():
        ours = by_loss.get(AUTO, {})
        found = {loss: _rival(by_loss, group, loss) for loss in there}
        others = {k: v for k, v in found.items() if v and v is not ours}
        if not ours or not others:
            continue
        common = set(ours).intersection(*others.values())
        means = {
            loss: statistics.fmean(on_dev(seeds[s]) for s in common)
            for loss, seeds in others.items()
            if common
        }
        best = max(means, key=lambda loss: means[loss], default=None)
        over = gain(ours, others[best]) if best else None
        cells = [label(group), str(len(ours))]
        cells += [_of_seeds(seeds, ours) for seeds in found.values()]
        cells += [STOCK if is_stock(by_loss, group, AUTO) else _of_seeds(ours, ours)]
        if best and over:
            gains.append(over.mean)
            n = f" ({over.n})" if over.n != len(ours) else ""
            cells.append(f"{text(over)}{n}, {NAMES[best]}")
        lines.append(table_row([*cells, *[""] * (len(columns) - len(cells))]))
    above = f"{text(of_gains(gains))}; above 0 in {sum(g > 0 for g in gains)} of {len(gains)}"
    return [*lines, table_row(["mean over cells", *[""] * (len(columns) - 2), above])]


def tuned_rivals(groups: Groups, losses: Sequence[str]) -> List[str]:
    """The same of what `spacy_dice.tune` makes of these pipelines; on dev by its own, cross-fitted
    estimate, where there is one."""
    made: Groups = {}
    for group, by_loss in groups.items():
        # By identity: which loss "auto" is, is told by it.
        of = {id(seeds): _after_tuning(seeds) for seeds in by_loss.values()}
        made[group] = {loss: of[id(seeds)] for loss, seeds in by_loss.items() if of[id(seeds)]}
    return rivals(made, losses, _estimate)


def _after_tuning(seeds: Seeds) -> Seeds:
    there = {seed: cell for seed, cell in seeds.items() if "tuned" in cell}
    return {seed: {**cell, "test": cell["tuned"]["test"]} for seed, cell in there.items()}


def _estimate(cell: Cell) -> float:
    which = "macro_f" if counts_macro(cell["data"], cell["model"]) else "micro_f"
    found = cell["tuned"].get("estimate")
    return 100 * found[which] if found else points(cell, "dev")


def _rival(by_loss: Dict[str, Seeds], group: Group, loss: str) -> Seeds:
    """What was measured of a rival of a cell: of stock also where that is a cross-entropy."""
    if loss == STOCK:
        return baseline(by_loss, group)
    if loss == ADJUSTED and not is_softmax(group):
        return by_loss.get(f"{ADJUSTED}_0.5", {})
    return by_loss.get(loss, {})


def _of_seeds(seeds: Seeds, ours: Seeds) -> str:
    n = f" ({len(seeds)})" if len(seeds) != len(ours) else ""
    return f"{mean(seeds, 'test'):.1f}{n}" if seeds else ""


def sooner(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: updates (and seconds of updates) until stock's curve on dev is at its
    best, and until each loss's is above that, the median over seeds; "-" where half of the
    seeds never are. Each loss at its own learning rate. The last row is the median over cells of
    the ratio of updates to stock's, and the number of cells, without those where stock is at its
    best untrained; "-" where half of the cells' are."""
    shown = [loss for loss in losses if loss != STOCK]
    columns = ["cell", "stock's best after", *(NAMES.get(loss, loss) for loss in shown)]
    lines = table_head(columns)
    ratios: Dict[str, List[float]] = {loss: [] for loss in shown}
    for group, by_loss in groups.items():
        base = baseline(by_loss, group)
        if STOCK in by_loss and not group[2].startswith(FLAIR):  # whose curves are by epoch
            best = _median([_when(cell, cell, True) for cell in base.values()])
            cells = [label(group), _after(best)]
            for loss in shown:
                ours = by_loss.get(loss, {})
                found = [_when(ours[s], base[s], False) for s in ours.keys() & base.keys()]
                if is_stock(by_loss, group, loss):
                    cells.append(STOCK)
                elif found:
                    cells.append(_after(_median(found)))
                    if best[0]:  # at 0 stock never learned anything: there is no ratio
                        ratios[loss].append(_median(found)[0] / best[0])
                else:
                    cells.append("")
            lines.append(table_row(cells))
    middle = {loss: statistics.median_high(found) for loss, found in ratios.items() if found}
    texts = {loss: "-" if m == float("inf") else f"{m:.2f}" for loss, m in middle.items()}
    row = [f"{texts[x]} ({len(ratios[x])})" if x in texts else "" for x in shown]
    return [*lines, table_row(["median ratio of updates (cells)", "1", *row])]


def early(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: the score on dev after 30 and 60 updates, the mean over seeds."""
    columns = ["cell", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        cells = [label(group)]
        for loss in losses:
            seeds = (baseline(by_loss, group) if loss == STOCK else by_loss.get(loss, {})).values()
            shown = " / ".join(_score_after(list(seeds), step) for step in EARLY)
            cells.append(STOCK if is_stock(by_loss, group, loss) else shown)
        if any(cell.strip(" /") not in ("", STOCK) for cell in cells[1:]):
            lines.append(table_row(cells))
    return lines


def _score_after(seeds: List[Cell], step: int) -> str:
    found = [100 * score for cell in seeds for at, score, *_ in cell["curve"] if at == step]
    return f"{statistics.fmean(found):.1f}" if found else ""


def _when(ours: Cell, stock: Cell, itself: bool) -> Tuple[float, float]:
    best = max(score for _, score, _ in stock["curve"])
    for step, score, seconds in ours["curve"]:
        if score > best or (itself and score == best):
            return step, seconds
    return float("inf"), float("inf")


def _median(found: List[Tuple[float, float]]) -> Tuple[float, float]:
    steps, seconds = (statistics.median_high(values) for values in zip(*found))
    return steps, seconds


def _after(when: Tuple[float, float]) -> str:
    return "-" if when[0] == float("inf") else f"{when[0]} ({when[1]:.1f} s)"


def rates(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell: the learning rate of each loss that was tuned."""
    columns = ["cell", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        chosen = [next(iter(by_loss.get(loss, {0: {}}).values())) for loss in losses]
        texts = [str(cell.get("learn_rate", "")) for cell in chosen]
        left = [STOCK if is_stock(by_loss, group, loss) else "" for loss in losses]
        lines.append(table_row([label(group), *(a or b for a, b in zip(left, texts))]))
    return lines


def ner(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each way to find the entities of a corpus, where there are several: F1, precision,
    recall, and words a second of CPU, of the fastest seed. There is no row of "auto" where that is
    stock."""
    columns = ["data", "component", "loss", "seeds", "dev", "test", "precision", "recall"]
    lines = table_head([*columns, "words/s"])
    models = ("ner", "dice_ner", "spancat")
    for data, size in sorted({(data, size) for data, size, model in groups if model == "ner"}):
        for model, loss in product(models, losses):
            group = (data, size, model)
            seeds = groups.get(group, {}).get(loss)
            if seeds and not is_stock(groups[group], group, loss):
                p, r = (statistics.fmean(100 * c["test"][k] for c in seeds.values()) for k in "pr")
                speeds = [c["words_per_second"] for c in seeds.values() if "words_per_second" in c]
                f = [f"{mean(seeds, split):.1f}" for split in ("dev", "test")]
                cells = [f"{data}, {size}", model, NAMES.get(loss, loss), str(len(seeds)), *f]
                cells += [f"{p:.1f}", f"{r:.1f}", f"{max(speeds):,.0f}" if speeds else ""]
                lines.append(table_row(cells))
    return lines


def tuned(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each cell and loss: micro and macro F1 on test before and after `spacy_dice.tune`,
    means over seeds; what the score that counts, which is tune's objective, gains in the mean,
    with its 95 % interval, paired by seed, and in the worst seed; and the expected calibration
    error on test before and after `spacy_dice.calibrate` alone."""
    columns = ["cell", "loss", "seeds", "micro F1", "macro F1", "gain", "worst seed"]
    lines = table_head([*columns, "calibration error"])
    for group, by_loss in groups.items():
        for loss in losses:
            seeds = [cell for cell in by_loss.get(loss, {}).values() if "tuned" in cell]
            if not seeds or loss == AUTO:
                continue
            pairs = [(cell["test"], cell["tuned"]["test"]) for cell in seeds]
            gains = [points({**c, **c["tuned"]}, "test") - points(c, "test") for c in seeds]
            f = [
                " -> ".join(
                    f"{100 * statistics.fmean(x[k] for x in split):.1f}" for split in zip(*pairs)
                )
                for k in ("f", "macro_f")
            ]
            known = [c["tuned"]["errors"] for c in seeds if "errors" in c["tuned"]]
            errors = [
                f"{statistics.fmean(of[when][0] for of in known):.3f}"
                for when in ("before", "calibrated")
                if known
            ]
            cells = [label(group), NAMES.get(loss, loss), str(len(seeds)), *f]
            cells += [text(of_gains(gains)), f"{min(gains):+.1f}", " -> ".join(errors)]
            lines.append(table_row(cells))
    return lines


def label(group: Group) -> str:
    data, size, model = group
    return f"{model}, {data}, {size}"


def head(group: Group) -> str:
    """The kind of head, by which defaults differ."""
    data, _, model = group
    if is_softmax(group):
        return "background" if model.endswith("ner") else "classes"
    return "labels" if model.startswith(("textcat", TEXTS)) else "spans"
