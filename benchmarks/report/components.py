"""Tables of runs of components: stock, cross-entropy and each loss.

A row is an experiment: a data set, size and model. Of the learning rates that a loss was tried
with, the one counts that is best on dev with the first seed, and all seeds that were measured with
it. "stock" is the component without the library. Where that is a cross-entropy already (softmax
heads) it is the same as "ce". "auto" is the loss that `use_loss` chooses if none is named; where it
leaves the component as it is, tables say "stock".
"""

import statistics
from collections import defaultdict
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from ..results import (
    Run,
    Seeds,
    best_rate,
    counts_macro,
    gain,
    mean,
    mean_gain,
    points,
    table_head,
    table_row,
    text,
)
from ..results import tuned as after_tune

Group = Tuple[str, ...]
Groups = Dict[Group, Dict[str, Seeds]]
STOCK, CE, AUTO = "stock", "ce", "auto"
# The learning rate of spaCy's configs.
LEARN_RATE = 0.001
# Models whose components end in a softmax, so that their own loss is a cross-entropy (of ner, over
# transitions).
SOFTMAX_HEADS = ("textcat", "tagger", "morphologizer", "ner", "dice_ner")
# What "auto" is measured against: losses that others have, or that are simpler. Logit adjustment
# has tau 1 on softmax heads, and 0.5 on sigmoid heads.
ADJUSTED = "logit_adjustment"
RIVALS = (STOCK, CE, "weighted_ce", "focal", "asl", ADJUSTED)
NAMES = {
    "stock": "stock",
    "auto": "auto",
    "ce": "CE",
    "weighted_ce": "balanced CE",
    "dice_ce": "CE + pooled Dice",
    "dice_ce_macro": "CE + macro Dice",
    "balanced_macro": "balanced CE + macro Dice",
    "focal": "focal",
    "asl": "ASL",
    "logit_adjustment": "logit adjustment",
}
DATA = {
    "ncbi_disease": "NCBI Disease",
    "wnut17": "WNUT 2017",
    "litbank_events": "LitBank events",
    "litbank_entities": "LitBank entities",
    "toxic_spans": "toxic spans",
    "goemotions": "GoEmotions",
    "edos_A": "EDOS task A",
    "edos_C": "EDOS task C",
    "sms_spam": "SMS spam",
    "ud_english_lines": "UD English-LinES",
    "ud_chinese_1_4": "UD Chinese 1.4",
}
# What stands behind a component in the names of models.
MODELS = {
    "_init_gpu": "small BERT",
    "_init": "config as written",
    "_bow": "bag of words",
    "_reduce": "TextCatReduce",
}


def grouped(runs: Iterable[Run], rate: Optional[float] = None) -> Groups:
    """Runs of components by data set, size and model, then by loss, then by seed.

    Args:
        runs: Lines of the results; those without a learning rate of their own are left out.
        rate: The learning rate that counts. None: that which is best on dev.
    """
    by_rate: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for run in runs:
        if run.get("learn_rate") is not None:
            group = (run["data"], str(run["size"]), run["model"])
            by_rate[group][run["loss"]][run["learn_rate"]][run["seed"]] = run
    groups: Groups = {}
    for group, losses in by_rate.items():
        made = {loss: _chosen(rates, rate) for loss, rates in losses.items()}
        by_loss = {loss: seeds for loss, seeds in made.items() if seeds}
        chosen = recommended(group, [r for seeds in by_loss.values() for r in seeds.values()])
        auto = baseline(by_loss, group) if chosen == STOCK else by_loss.get(chosen)
        groups[group] = {**by_loss, AUTO: auto} if auto else by_loss
    order = lambda g: (is_softmax(g), g[2].split("_")[0], g)  # noqa: E731
    return {group: groups[group] for group in sorted(groups, key=order)}


def _chosen(rates: Dict[float, Seeds], rate: Optional[float]) -> Seeds:
    if rate is not None:
        return rates.get(rate, {})
    first = min(seed for seeds in rates.values() for seed in seeds)
    best = best_rate(seeds[first] for seeds in rates.values() if first in seeds)
    return rates[best]  # type: ignore[index]


def recommended(group: Group, runs: Iterable[Run]) -> str:
    """The loss that "auto" was when these results were measured, by the number of labels in the
    training data; "stock" where the flag leaves the component as it is; and the loss that dice_ner
    has by default."""
    _, _, model = group
    n_labels = max((len(run["train_counts"]) for run in runs), default=0)
    if model.startswith("spancat"):
        return CE if n_labels == 1 else "weighted_ce"
    if model == "span_finder":
        return CE
    if model.startswith("textcat_multilabel") or (model == "textcat" and n_labels != 2):
        return "balanced_macro"
    return "dice_ce" if model.startswith("dice_ner") else STOCK


def is_stock(by_loss: Dict[str, Seeds], group: Group, loss: str) -> bool:
    """Whether a loss is "auto", and that leaves the component as it is."""
    return loss == AUTO and AUTO in by_loss and by_loss[AUTO] is baseline(by_loss, group)


def is_softmax(group: Group) -> bool:
    """Whether the component's own loss is a cross-entropy."""
    return group[2] in SOFTMAX_HEADS


def baseline(by_loss: Dict[str, Seeds], group: Group) -> Seeds:
    """The runs of the component without the library; none for dice_ner, which is not stock."""
    if STOCK in by_loss or group[2].startswith("dice_"):
        return by_loss.get(STOCK, {})
    return by_loss.get(CE, {}) if is_softmax(group) else {}


def scores(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each experiment: stock's mean on test, and the gain of each loss over it, paired by
    seed, with its 95 % interval; for dice_ner over cross-entropy."""
    shown = [loss for loss in losses if loss != STOCK]
    columns = ["experiment", "seeds", "stock", *(NAMES.get(loss, loss) for loss in shown)]
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
    """A row for each experiment: the mean of each loss on a split over the seeds that all have; the
    best in bold; the number of seeds."""
    columns = ["experiment", "seeds", *(NAMES.get(loss, loss) for loss in losses)]
    lines = table_head(columns)
    for group, by_loss in groups.items():
        there = [loss for loss in losses if loss in by_loss]
        common = set.intersection(*(set(by_loss[loss]) for loss in there)) if there else set()
        if len(there) < 2 or not common:
            continue
        values = {x: mean({s: by_loss[x][s] for s in common}, split) for x in there}
        best = max(values.values())
        texts = {k: f"**{v:.1f}**" if v == best else f"{v:.1f}" for k, v in values.items()}
        if is_stock(by_loss, group, AUTO):
            texts[AUTO] = STOCK
        row = [label(group), str(len(common)), *(texts.get(loss, "") for loss in losses)]
        lines.append(table_row(row))
    return lines


def _on_dev(run: Run) -> float:
    return points(run, "dev")


def rivals(
    groups: Groups, losses: Sequence[str], on_dev: Callable[[Run], float] = _on_dev
) -> List[str]:
    """A row for each experiment: the mean on test of each of RIVALS that is asked for and was
    measured, and of "auto"; and the gain of "auto" over the best of them, paired by seed, with its
    95 % interval. The best is the one with the highest mean on dev over the seeds that all have,
    and is no loss that "auto" itself is. In brackets the number of seeds where it is not that of
    "auto". The last row is the mean of these gains, with its interval, and how many are above 0.

    Args:
        groups: From `grouped`.
        losses: Which of RIVALS are shown; stock is always.
        on_dev: The score of a run on dev, from 0 to 100.
    """
    asked = [loss for loss in RIVALS if loss in losses or loss == STOCK]
    there = [loss for loss in asked if any(_rival(by, g, loss) for g, by in groups.items())]
    columns = ["experiment", "seeds", *(NAMES[loss] for loss in there)]
    columns += ["auto", "auto over the best"]
    lines, gains = table_head(columns), []
    for group, by_loss in groups.items():
        ours = by_loss.get(AUTO, {})
        found = {loss: _rival(by_loss, group, loss) for loss in there}
        others = {k: v for k, v in found.items() if v and v is not ours}
        if not ours or not others:
            continue
        common = set(ours).intersection(*others.values())
        by_dev = {
            loss: statistics.fmean(on_dev(seeds[s]) for s in common)
            for loss, seeds in others.items()
            if common
        }
        best = max(by_dev, key=lambda loss: by_dev[loss], default=None)
        over = gain(ours, others[best]) if best else None
        cells = [label(group), str(len(ours))]
        cells += [_mean_of(seeds, ours) for seeds in found.values()]
        cells += [STOCK if is_stock(by_loss, group, AUTO) else _mean_of(ours, ours)]
        if best and over:
            gains.append(over.mean)
            n = f" ({over.n})" if over.n != len(ours) else ""
            cells.append(f"{text(over)}{n}, {NAMES[best]}")
        lines.append(table_row([*cells, *[""] * (len(columns) - len(cells))]))
    above = f"{text(mean_gain(gains))}; above 0 in {sum(g > 0 for g in gains)} of {len(gains)}"
    return [*lines, table_row(["mean over experiments", *[""] * (len(columns) - 2), above])]


def tuned_rivals(groups: Groups, losses: Sequence[str]) -> List[str]:
    """The same after `spacy_dice.tune`; on dev by its own, cross-fitted estimate, where there is
    one."""
    made: Groups = {}
    for group, by_loss in groups.items():
        # By identity: it tells which loss "auto" is.
        after = {id(seeds): after_tune(seeds) for seeds in by_loss.values()}
        made[group] = {x: after[id(seeds)] for x, seeds in by_loss.items() if after[id(seeds)]}
    return rivals(made, losses, _estimate)


def _estimate(run: Run) -> float:
    which = "macro_f" if counts_macro(run["data"], run["model"]) else "micro_f"
    found = run["tuned"].get("estimate")
    return 100 * found[which] if found else points(run, "dev")


def _rival(by_loss: Dict[str, Seeds], group: Group, loss: str) -> Seeds:
    """The runs of a rival: of stock also where that is a cross-entropy."""
    if loss == STOCK:
        return baseline(by_loss, group)
    if loss == ADJUSTED and not is_softmax(group):
        return by_loss.get(f"{ADJUSTED}_0.5", {})
    return by_loss.get(loss, {})


def _mean_of(seeds: Seeds, ours: Seeds) -> str:
    n = f" ({len(seeds)})" if len(seeds) != len(ours) else ""
    return f"{mean(seeds, 'test'):.1f}{n}" if seeds else ""


def sooner(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each experiment: updates until stock's curve on dev is at its best, and until that
    of each loss is above it, the median over seeds; "-" where half of the seeds never are. The last
    row is the median over experiments of the ratio of updates to stock's, and the number of
    experiments, without those where stock is at its best untrained; "-" where half are."""
    shown = [loss for loss in losses if loss != STOCK]
    columns = ["experiment", "stock's best after", *(NAMES.get(loss, loss) for loss in shown)]
    lines = table_head(columns)
    ratios: Dict[str, List[float]] = {loss: [] for loss in shown}
    for group, by_loss in groups.items():
        base = baseline(by_loss, group)
        if STOCK not in by_loss:
            continue
        best = statistics.median_high(updates_to_best(run, run) for run in base.values())
        cells = [label(group), updates(best)]
        for loss in shown:
            ours = by_loss.get(loss, {})
            found = [updates_to_best(ours[s], base[s]) for s in ours.keys() & base.keys()]
            if is_stock(by_loss, group, loss) or not found:
                cells.append(STOCK if found else "")
                continue
            middle = statistics.median_high(found)
            cells.append(updates(middle))
            if best:  # at 0 stock never learned anything: there is no ratio
                ratios[loss].append(middle / best)
        lines.append(table_row(cells))
    row = []
    for found in ratios.values():
        ratio = statistics.median_high(found) if found else 0.0
        shown_ratio = "-" if ratio == float("inf") else f"{ratio:.2f}"
        row.append(f"{shown_ratio} ({len(found)})" if found else "")
    return [*lines, table_row(["median ratio of updates (experiments)", "1", *row])]


def updates_to_best(ours: Run, stock: Run) -> float:
    """Updates until a run's curve on dev is above the best of stock's, or at it for stock itself;
    infinity where it never is."""
    best = max(score for _, score, *_ in stock["curve"])
    for step, score, *_ in ours["curve"]:
        if score > best or (ours is stock and score == best):
            return float(step)
    return float("inf")


def updates(number: float) -> str:
    """A number of updates as a table shows it."""
    return "-" if number == float("inf") else f"{number:.0f}"


def tuned(groups: Groups, losses: Sequence[str]) -> List[str]:
    """A row for each experiment and loss: micro and macro F1 on test before and after
    `spacy_dice.tune`, means over seeds; the gain of the score that counts, which is tune's
    objective, in the mean, with its 95 % interval, paired by seed, and in the worst seed; and the
    expected calibration error on test before and after `spacy_dice.calibrate` alone."""
    columns = ["experiment", "loss", "seeds", "micro F1", "macro F1", "gain", "worst seed"]
    lines = table_head([*columns, "calibration error"])
    for group, by_loss in groups.items():
        for loss in losses:
            seeds = [run for run in by_loss.get(loss, {}).values() if "tuned" in run]
            if not seeds or loss == AUTO:
                continue
            pairs = [(run["test"], run["tuned"]["test"]) for run in seeds]
            gains = [points({**r, **r["tuned"]}, "test") - points(r, "test") for r in seeds]
            f = [
                _arrow([100 * statistics.fmean(x[k] for x in split) for split in zip(*pairs)], 1)
                for k in ("f", "macro_f")
            ]
            errors = calibration_errors(seeds)
            cells = [label(group), NAMES.get(loss, loss), str(len(seeds)), *f]
            cells += [text(mean_gain(gains)), f"{min(gains):+.1f}", _arrow(errors, 3)]
            lines.append(table_row(cells))
    return lines


def calibration_errors(runs: Sequence[Run]) -> List[float]:
    """The mean calibration error before and after `calibrate`; nothing where it is not known."""
    known = [run["tuned"]["errors"] for run in runs if "errors" in run["tuned"]]
    steps = ("before", "calibrated") if known else ()
    return [statistics.fmean(error[when][0] for error in known) for when in steps]


def _arrow(values: Sequence[float], digits: int) -> str:
    return " -> ".join(f"{value:.{digits}f}" for value in values)


def label(group: Group) -> str:
    """An experiment as a table names it."""
    data, size, model = group
    end = next((end for end in MODELS if model.endswith(end)), "")
    kind = [MODELS[end]] if end else []
    named = [model.removesuffix(end), DATA.get(data, data), size_text(size), *kind]
    return ", ".join(named)


def size_text(size: str) -> str:
    """A number of training examples as a table names it."""
    return f"{int(size):,}" if size.isdigit() else {"full": "all"}.get(size, size)
