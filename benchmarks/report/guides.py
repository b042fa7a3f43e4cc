"""Tables of the README and of the pages on components, and single numbers in sentences."""

from statistics import fmean
from typing import Dict, List, Optional, Sequence

from ..results import Gain, Run, Seeds, gain, mean, table_head, table_row, text, tuned
from . import components, init_config
from .components import AUTO, CE, LEARN_RATE, NAMES, STOCK, Group, baseline, label

# The paper's losses, by the names of the results: what the paper calls them, and our classes.
PAPER = {
    "ce": ("cross-entropy", "`CrossEntropy`"),
    "focal": ("FL", "`Focal`"),
    "paper_dl": ("DL", "`Dice`"),
    "paper_dsc": ("DSC", "`SelfAdjustingDice`"),
    "dice_ce": ("not in the paper", "`DiceCE`"),
}


def untouched(runs: Sequence[Run], words: Sequence[str]) -> List[str]:
    """A row for each experiment on a config as spaCy writes it: F1 on test of stock and of the
    flag, both also with tuned thresholds, means over the seeds; and what the flag gains with
    them over stock."""
    columns = ["component, data", "stock", "the flag", "stock + `tune`", "the flag + `tune`"]
    lines = table_head([*columns, "gain of both"])
    for group, by_loss in init_config.grouped(runs, *words).items():
        stock, ours = by_loss.get(STOCK, {}), by_loss.get(AUTO, {})
        both = stock.keys() & ours.keys()
        if both:
            stock, ours = ({s: by[s] for s in both} for by in (stock, ours))
            found = (stock, ours, tuned(stock), tuned(ours))
            cells = [f"{mean(seeds, 'test'):.1f}" for seeds in found]
            name = f"{label(group)} ({len(both)} seed{'s' * (len(both) > 1)})"
            lines.append(table_row([name, *cells, _bold(gain(tuned(ours), stock))]))
    return lines


def component(runs: Sequence[Run], words: Sequence[str]) -> List[str]:
    """A row for each experiment of a component (the first word), with the learning rate of spaCy's
    configs and with one that is tuned: stock on test, and the gain of the flag or of the loss that
    is the second word. What is not stock (dice_ner) is compared with cross-entropy."""
    name, loss = words[0], (list(words[1:]) or [AUTO])[0]
    made: List[List[str]] = []
    for group, by_loss in init_config.grouped(runs).items():
        if group[2].split("_init")[0] == name:
            kind = "`init config`, BERT" if group[2].endswith("_gpu") else "`init config`"
            base = by_loss.get(STOCK) or by_loss.get(CE, {})
            made += _row(group, kind, base, by_loss.get(loss, {}))
    shown = {}
    for rate_name, rate in (("0.001", LEARN_RATE), ("tuned", None)):
        for group, by_loss in components.grouped(runs, rate).items():
            base = baseline(by_loss, group) or by_loss.get(CE, {})
            pair = base, by_loss.get(loss, {})
            is_named = group[2] == name or group[2] in (f"{name}_bow", f"{name}_reduce")
            # Where no other learning rate was tried, nothing was tuned.
            if is_named and shown.get(group) != pair:
                shown[group] = pair
                made += _row(group, rate_name, *pair)
    against = "cross-entropy" if name.startswith("dice_") else "stock"
    columns = ["data", "learning rate", "seeds", against, "gain"]
    return [*table_head(columns), *map(table_row, made)]


def entities(runs: Sequence[Run], words: Sequence[str]) -> List[str]:
    """A row for each experiment with `ner` and `dice_ner` on the same tok2vec or transformer, which
    the end of the models' names says (the word): F1 on test, means over the seeds; the differences
    in F1, paired by seed; and words a second."""
    columns = ["data", "seeds", "`ner`", "`dice_ner`, CE", "`dice_ner`, DiceCE"]
    lines = table_head([*columns, "`dice_ner`, CE, over `ner`", "DiceCE over CE", "words/s"])
    groups = init_config.grouped(runs, *words)
    for group, by_loss in groups.items():
        name, end = group[2].split("_", 1)
        if name != "ner" or (*group[:2], f"dice_ner_{end}") not in groups:
            continue
        ours = groups[(*group[:2], f"dice_ner_{end}")]
        shown = [by_loss.get(STOCK, {}), ours.get(CE, {}), ours.get(AUTO, {})]
        both = set.intersection(*map(set, shown))
        stock, ce, auto = ({seed: by[seed] for seed in sorted(both)} for by in shown)
        if both:
            f1 = [f"{mean(by, 'test'):.1f}" for by in (stock, ce, auto)]
            over = [_bold(gain(ce, stock)), _bold(gain(auto, ce))]
            speeds = (fmean(r["words_per_second"] for r in by.values()) for by in (stock, ce))
            cells = [label(group).split(", ", 1)[1], str(len(both)), *f1, *over]
            lines.append(table_row([*cells, " / ".join(f"{round(x, -3):,.0f}" for x in speeds)]))
    return lines


def _row(group: Group, rate: str, base: Seeds, ours: Seeds) -> List[List[str]]:
    over = gain(ours, base)
    if not over or over.half is None or ours is base:
        return []
    data = label(group).split(", ", 1)[1]
    return [[data, rate, str(over.n), f"{mean(base, 'test'):.1f}", _bold(over)]]


def thresholds(runs: Sequence[Run], words: Sequence[str]) -> List[str]:
    """A row for each experiment of the components that are named, and for each of stock, cross-
    entropy and the flag: F1 on test before `tune` and after, the gain, and the calibration error
    before and after `calibrate` alone."""
    lines = table_head(["experiment", "loss", "F1", "gain", "calibration error"])
    groups = components.grouped(run for run in runs if "tuned" in run)
    for group, by_loss in groups.items():
        if group[2] not in words:
            continue
        shown: List[Seeds] = []
        for loss in (STOCK, AUTO, CE):
            seeds = by_loss.get(loss, {})
            if len(seeds) < 2 or seeds in shown or components.is_stock(by_loss, group, loss):
                continue
            shown.append(seeds)
            default = "its default" if group[2].startswith("dice_") else "the flag"
            name = default if loss == AUTO else NAMES[loss]
            after = tuned(seeds)
            f = " → ".join(f"{mean(x, 'test'):.1f}" for x in (seeds, after))
            errors = components.calibration_errors(list(seeds.values()))
            cells = [label(group), name, f, _bold(gain(after, seeds))]
            lines.append(table_row([*cells, " → ".join(f"{error:.3f}" for error in errors)]))
    return lines


def paper(runs: Sequence[Run], words: Sequence[str]) -> List[str]:
    """A row for each of the paper's losses, of one corpus and model (the words): accuracy and macro
    F1 over tags on test, and the gain of macro F1 over cross-entropy. Runs that are not there leave
    their cells empty."""
    data, model = words
    by_loss: Dict[str, Seeds] = {}
    for run in runs:
        if (run["data"], run["model"]) == (data, model):
            by_loss.setdefault(run["loss"], {})[run["seed"]] = run
    lines = table_head(["in the paper", "class", "accuracy", "macro F1", "gain in macro F1"])
    for loss, names in PAPER.items():
        seeds = by_loss.get(loss, {})
        cells = ["", "", ""]
        if seeds:
            accuracy = 100 * sum(run["test"]["f"] for run in seeds.values()) / len(seeds)
            over = None if loss == CE else gain(seeds, by_loss.get(CE, {}))
            cells = [f"{accuracy:.1f}", f"{mean(seeds, 'test'):.1f}", _bold(over)]
        lines.append(table_row([*names, *cells]))
    return lines


def number(runs: Sequence[Run], words: Sequence[str]) -> str:
    """One number for a sentence: KIND DATA SIZE MODEL LOSS [LEARNING RATE].

    KIND is `gain` (over stock, or over cross-entropy where there is none), `tuned_gain` (the same,
    both after `tune`), `test` (the score) or `accuracy`.

    Raises:
        ValueError: If there are no such runs.
    """
    kind, data, size, model, loss = words[:5]
    rate = float(words[5]) if len(words) > 5 else None
    groups = init_config.grouped(runs) if "_init" in model else components.grouped(runs, rate)
    by_loss = groups.get((data, size, model), {})
    seeds, base = by_loss.get(loss, {}), by_loss.get(STOCK) or by_loss.get(CE, {})
    if not seeds or not base:
        raise ValueError(f"There are no runs of {' '.join(words)}.")
    if kind == "test":
        return f"{mean(seeds, 'test'):.1f}"
    if kind == "accuracy":
        return f"{100 * sum(run['test']['f'] for run in seeds.values()) / len(seeds):.1f}"
    if kind == "tuned_gain":
        return text(gain(tuned(seeds), tuned(base)))
    if kind == "gain":
        return text(gain(seeds, base))
    raise ValueError(f"{kind} is no kind of number.")


def _bold(found: Optional[Gain]) -> str:
    """A gain, in bold where its interval leaves out 0."""
    shown = text(found)
    sure = found is not None and found.half is not None and abs(found.mean) > found.half
    return f"**{shown}**" if sure else shown
