"""Tables of reading: a row for each trainer and loss, means over seeds and differences from
cross-entropy on the same seeds."""

import statistics
from collections import defaultdict
from typing import Any, Callable, Dict, Iterable, List, Tuple

from ..results import Run, interval, mean_gain, table_head, table_row, text

# What lines have in their settings that is not there.
DEFAULTS = {"clip": 1.0, "bf16": False, "frozen": False, "unanswerable": 0.0}
Row = Tuple[str, str, float]
Seeds = Dict[int, Run]


def tables(runs: Iterable[Run]) -> List[str]:
    """Lines of Markdown: a table for each task, data set, size and settings. Rows are compared
    with dice_qa, or dice_ner for entities, with the same clipping, and "ce" or, without it, the
    loss that they have."""
    groups: Dict[str, Dict[Row, Seeds]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        settings = {**DEFAULTS, **run["settings"]}
        clip = settings.pop("clip")
        shown = ", ".join(f"{key} {value}" for key, value in settings.items() if value)
        group = f"**{run['task']}, {run['data']}, {run['size']}** ({shown})"
        groups[group][run["trainer"], run["loss"], clip][run["seed"]] = run
    return [line for group, rows in groups.items() for line in [group, "", *_table(rows), ""]]


def _table(rows: Dict[Row, Seeds]) -> List[str]:
    columns = _columns(next(iter(next(iter(rows.values())).values())))
    compared = [name for name in columns if name.endswith(("f1", "test f", "tuned f"))]
    heads = ["trainer", "loss", "clip", "seeds", *columns, *(f"gain, {c}" for c in compared)]
    lines = table_head(heads)
    for row, seeds in rows.items():
        base = _baseline(rows, row)
        both = sorted(seeds.keys() & base.keys())
        gains = []
        for score in (columns[name] for name in compared):
            gains.append(mean_gain([score(seeds[seed]) - score(base[seed]) for seed in both]))
        means = [_mean([score(run) for run in seeds.values()]) for score in columns.values()]
        trainer, loss, clip = row
        cells = [trainer, loss, f"{clip:g}", str(len(seeds)), *means, *map(text, gains)]
        lines.append(table_row(cells))
    return lines


def _baseline(rows: Dict[Row, Seeds], row: Row) -> Seeds:
    trainer, loss, clip = row
    compared = {"dice_qa": "dice_ner", "transformers": "spacy"}.get(trainer, trainer)
    for other in ((compared, "ce", clip), (compared, loss, clip)):
        if other in rows:
            return rows[other] if other != row else {}
    return {}


def _columns(run: Run) -> Dict[str, Callable[[Run], float]]:
    """What a table shows of a line, in points."""
    made: Dict[str, Callable[[Run], float]] = {}
    for test, scores in run["scores"].items():
        for key in ("exact", "f1", "has_answer_f1", "no_answer_f1", "p", "r", "f"):
            if key in scores:
                made[f"{test} {key}"] = _reader(test, key)
    return made


def _reader(test: str, key: str) -> Callable[[Any], float]:
    return lambda run: 100 * run["scores"][test][key]


def _mean(values: List[float]) -> str:
    half = interval(values)
    return f"{statistics.fmean(values):.1f}" + ("" if half is None else f" ± {half:.1f}")
