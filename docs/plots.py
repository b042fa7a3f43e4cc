"""Pictures of the results, as SVG."""

import statistics
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import svg

from benchmarks.report import components, init_config
from benchmarks.report.components import (
    AUTO,
    CE,
    LEARN_RATE,
    STOCK,
    Group,
    baseline,
    is_stock,
    label,
)
from benchmarks.results import Gain, Run, Seeds, gain

Interval = Optional[Tuple[float, Optional[float]]]
SERIES = ("learning rate 0.001 (BERT: 0.0002)", "learning rate tuned for each loss, stock too")


def gains(runs: Sequence[Run], theme: svg.Theme) -> str:
    """What the flag gains in each experiment; of components that it leaves as they are, and of
    dice_ner over cross-entropy, what DiceCE gains."""
    found: Dict[str, List[Interval]] = {}
    for group, by_loss in init_config.grouped(runs).items():
        if STOCK in by_loss and AUTO in by_loss:
            over = gain(by_loss[AUTO], by_loss[STOCK])
            if over and over.half:
                found.setdefault(label(group), [None, None])[0] = _interval(over)
    seen: Dict[str, Gain] = {}
    for index, groups in enumerate(
        (components.grouped(runs, LEARN_RATE), components.grouped(runs))
    ):
        for group, by_loss in groups.items():
            name, over = _over_stock(group, by_loss)
            # Where no other learning rate was tried, nothing was tuned.
            if over and over != seen.get(name):
                seen[name] = over
                found.setdefault(name, [None, None])[index] = _interval(over)
    rows = [svg.Row(name, found[name]) for name in sorted(found, key=str.lower)]
    return svg.intervals(
        *(rows, SERIES, "gain in points of F1 on test; mean and 95 % interval over seeds"),
        *("Gains of the flag over stock, by component and data set", theme),
    )


def _over_stock(group: Group, by_loss: Dict[str, Seeds]) -> Tuple[str, Optional[Gain]]:
    base = baseline(by_loss, group)
    if not base or is_stock(by_loss, group, AUTO):
        ours = by_loss.get("dice_ce", {})
        what = "DiceCE over CE" if not base else "DiceCE"
        base = base or by_loss.get(CE, {})
    else:
        ours, what = by_loss.get(AUTO, {}), ""
    over = gain(ours, base) if ours else None
    # One seed has no interval, and is not shown.
    return f"{label(group)}" + (f" ({what})" if what else ""), over if over and over.half else None


def _interval(found: Optional[Gain]) -> Interval:
    return (found.mean, found.half) if found else None


def spans(runs: Sequence[Run], theme: svg.Theme) -> str:
    """Curves of spancat: a small CNN, and a BERT that is fine-tuned."""
    small = components.grouped(runs, LEARN_RATE)["ncbi_disease", "300", "spancat"]
    bert = init_config.grouped(runs)["ncbi_disease", "600", "spancat_init_gpu"]
    return svg.lines(
        [
            _curves("small CNN, 300 sentences of NCBI Disease", small),
            _curves("small BERT, 600 sentences of NCBI Disease", bert),
        ],
        "F1 of spancat on dev while it trains, with stock's loss and with the flag",
        theme,
    )


def texts(runs: Sequence[Run], theme: svg.Theme) -> str:
    """Curves of textcat_multilabel, of the same two kinds."""
    small = components.grouped(runs, LEARN_RATE)["goemotions", "3000", "textcat_multilabel"]
    bert = init_config.grouped(runs)["goemotions", "1500", "textcat_multilabel_init_gpu"]
    return svg.lines(
        [
            _curves("small CNN, 3,000 texts of GoEmotions", small),
            _curves("small BERT, 1,500 texts of GoEmotions", bert),
        ],
        "Macro F1 of textcat_multilabel on dev while it trains, with stock's loss and the flag",
        theme,
    )


def _curves(title: str, by_loss: Dict[str, Seeds]) -> svg.Panel:
    made = []
    for loss, name, style in ((AUTO, "with the flag", 0), (STOCK, "stock", 1)):
        curves = [dict((step, f) for step, f, *_ in run["curve"]) for run in by_loss[loss].values()]
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        points = [(s, 100 * statistics.fmean(curve[s] for curve in curves)) for s in steps]
        made.append(svg.Line(name, points, style))
    top = max(f for line in made for _, f in line.points)
    y_label = "F1 on dev, mean of the seeds"
    return svg.Panel(title, "updates", made, y=(0.0, 1.06 * top), y_label=y_label)


PICTURES: Dict[str, Callable[[Sequence[Run], svg.Theme], str]] = {
    "gains": gains,
    "curves-spancat": spans,
    "curves-texts": texts,
}


def drawn(runs: Sequence[Run]) -> Dict[str, str]:
    """All pictures by the names of their files, in both themes."""
    return {
        f"{name}{suffix}.svg": make(runs, theme)
        for name, make in PICTURES.items()
        for suffix, theme in svg.THEMES.items()
    }
