"""Tables of reading: a row for each trainer and loss, means over seeds and differences from
cross-entropy on the same seeds."""

from collections import defaultdict
from typing import Any, Dict, Iterable, List, Tuple

from ..results import Run, Seeds, mean_gain, mean_text, table_head, table_row, text

Row = Tuple[str, str]
SCORES = ("exact", "f1", "has_answer_f1", "no_answer_f1", "p", "r", "f")
COMPARED = ("f1", "f")


def tables(runs: Iterable[Run]) -> List[str]:
    """Lines of Markdown: a table for each task, data set, size and settings. Reading is compared
    with dice_qa with "ce", and entities with dice_ner with the same loss."""
    groups: Dict[str, Dict[Row, Seeds]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        settings = ", ".join(f"{key} {value}" for key, value in run["settings"].items() if value)
        group = f"**{run['task']}, {run['data']}, {run['size']}** ({settings})"
        groups[group][run["trainer"], run["loss"]][run["seed"]] = run
    return [line for group, rows in groups.items() for line in [group, "", *_table(rows), ""]]


def _table(rows: Dict[Row, Seeds]) -> List[str]:
    (first, *_) = next(iter(rows.values())).values()
    tests = first["scores"].items()
    shown = [(test, key) for test, found in tests for key in SCORES if key in found]
    compared = [column for column in shown if column[1] in COMPARED]
    heads = [" ".join(column) for column in shown]
    gains = [f"gain, {' '.join(column)}" for column in compared]
    lines = table_head(["trainer", "loss", "seeds", *heads, *gains])
    for (trainer, loss), seeds in rows.items():
        base = rows.get(("spacy", "ce")) or rows.get(("dice_ner", loss)) or {}
        both = sorted(seeds.keys() & base.keys()) if base is not seeds else []
        cells = [trainer, loss, str(len(seeds))]
        cells += [mean_text([_points(run, column) for run in seeds.values()]) for column in shown]
        for column in compared:
            over = [_points(seeds[s], column) - _points(base[s], column) for s in both]
            cells.append(text(mean_gain(over)))
        lines.append(table_row(cells))
    return lines


def _points(run: Any, column: Row) -> float:
    test, key = column
    return 100 * run["scores"][test][key]
