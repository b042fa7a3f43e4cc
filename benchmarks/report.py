"""Tables and plots of all cells that were measured.

    python -m benchmarks.report [--plots DIR] [FILE ...]

Reads benchmarks/results/*.jsonl (or the files given). A table for each data set, size and
model: the mean of each loss over seeds, on dev and test, and its gain over cross-entropy ("ce")
on test, paired by seed, with its 95 % interval (Student's t). Scores are micro F1 of entities and
spans, macro F1 of tags, F1 of "spam" of messages, in points. For dice_ner also F1 on test with the
threshold that is best on dev. --summary LOSS prints one table of the gains of a loss everywhere,
--types LOSS tables of F1 on test by type, the most frequent in training first. --fill FILE writes
tables into a Markdown file, between a comment that says which and one that says end:

    <!-- table DATA SIZE MODEL [SETTING ...] -->    <!-- end -->
    <!-- types DATA SIZE MODEL [SETTING ...] LOSS ... -->    <!-- end -->
    <!-- summary LOSS ... -->    <!-- end -->

and of stock components (see components.py), in place of summary: gains, dev, test, wins, sooner,
early, cuts, rates, slow (all with the learning rate 0.001) or ner. --picture PNG draws them.
"""

import argparse
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from . import components
from .scores import counts_macro

RESULTS = Path(__file__).resolve().parent / "results"
BASELINE = "ce"
Cell = Dict[str, Any]
Group = Tuple[str, ...]
# Tables of stock components, of losses by name: the marker, and what makes it of all cells.
COMPONENTS: Dict[str, Callable[[List[Cell], List[str]], List[str]]] = {
    "gains": lambda cells, losses: components.scores(components.grouped(cells), losses),
    "dev": lambda cells, losses: components.means(components.grouped(cells), losses, "dev"),
    "test": lambda cells, losses: components.means(components.grouped(cells), losses, "test"),
    "wins": lambda cells, losses: components.wins(components.grouped(cells), losses),
    "sooner": lambda cells, losses: components.sooner(components.grouped(cells), losses),
    "early": lambda cells, losses: components.early(components.grouped(cells), losses),
    "cuts": lambda cells, losses: components.cuts(components.grouped(cells), losses),
    "rates": lambda cells, losses: components.rates(components.grouped(cells), losses),
    "slow": lambda cells, losses: components.means(
        components.grouped(cells, rate=0.001), losses, "test"
    ),
    "ner": lambda cells, losses: components.ner(
        components.grouped(cells), "ncbi_disease", "300", losses
    ),
}
# The loss that is the default of each kind of head.
DEFAULTS = {
    "spans": "weighted_ce",
    "labels": "balanced_macro",
    "classes": "balanced_macro",
    "background": "dice_ce",
}


class Gain(NamedTuple):
    """Mean and half-width of its 95 % interval (None for fewer than two seeds), in points; and
    the number of seeds."""

    mean: float
    half: Optional[float]
    seeds: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--summary", nargs="*", metavar="LOSS", default=[])
    parser.add_argument("--types", nargs="*", metavar="LOSS", default=[])
    parser.add_argument("--fill", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of stock components")
    parser.add_argument("--plots", type=Path, help="folder for PNG files; needs matplotlib")
    args = parser.parse_args()
    cells = read(args.files or sorted(RESULTS.glob("*.jsonl")))
    groups, by_component = grouped(cells), components.grouped(cells)
    if args.fill:
        args.fill.write_text(filled(args.fill.read_text(), cells))
    elif args.picture:
        print("Wrote", components.picture(by_component, DEFAULTS, args.picture))
    elif args.summary:
        print("\n".join(summary(groups, args.summary)))
    elif args.types:
        for group, by_loss in groups.items():
            print("\n".join(types(group, by_loss, args.types)), end="\n\n")
    else:
        for kind, of_kind in COMPONENTS.items():
            if by_component:
                print(f"**{kind}**\n", *of_kind(cells, list(components.NAMES)), "", sep="\n")
        for group, by_loss in groups.items():
            print("\n".join(table(group, by_loss)), end="\n\n")
    if args.plots:
        from .plots import write

        for path in write(groups, args.plots):
            print("Wrote", path)


def read(files: Iterable[Path]) -> List[Cell]:
    """The cells of JSON lines files."""
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def best_rate(tried: Iterable[Cell]) -> Optional[float]:
    """The learning rate of the cell that is best on dev; None if there are none."""
    cells = sorted(tried, key=lambda cell: points(cell, "dev"))
    return cells[-1]["learn_rate"] if cells else None


def grouped(cells: Iterable[Cell]) -> Dict[Group, Dict[str, Dict[int, Cell]]]:
    """Cells by data set, size, model and settings, then by loss, then by seed; without those of
    stock components, which have tables of their own."""
    groups: Dict[Group, Dict[str, Dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        if cell.get("learn_rate") is not None:
            continue
        group = (cell["data"], str(cell["size"]), cell["model"], " ".join(cell["settings"]))
        groups[group][cell["loss"]][cell["seed"]] = cell
    return {group: dict(groups[group]) for group in sorted(groups)}


def points(cell: Cell, split: str) -> float:
    """The score that counts for this cell, from 0 to 100."""
    scores = cell[split]
    if counts_macro(cell["data"], cell["model"]):
        return 100 * scores["macro_f"]
    for rare in ("spam", "sexist"):
        if rare in scores["per_type"]:
            return 100 * scores["per_type"][rare]
    return 100 * scores["f"]


def gain(ours: Dict[int, Cell], baseline: Dict[int, Cell], split: str = "test") -> Optional[Gain]:
    """The gain over the baseline, over the seeds that both have; None if there are none."""
    seeds = sorted(ours.keys() & baseline.keys())
    if not seeds:
        return None
    gains = [points(ours[seed], split) - points(baseline[seed], split) for seed in seeds]
    return Gain(statistics.fmean(gains), interval(gains), len(gains))


def interval(values: List[float]) -> Optional[float]:
    """Half-width of the 95 % interval of a mean (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return float(half)


def text(found: Optional[Gain]) -> str:
    if found is None:
        return ""
    return f"{found.mean:+.1f}" + ("" if found.half is None else f" ± {found.half:.1f}")


def mean(seeds: Dict[int, Cell], split: str) -> float:
    """The mean of the score that counts over all seeds."""
    return statistics.fmean(points(cell, split) for cell in seeds.values())


def table(group: Group, by_loss: Dict[str, Dict[int, Cell]]) -> List[str]:
    """Lines of Markdown: the baseline first, then by the mean on dev."""
    data, size, model, settings = group
    lines = [f"**{data}, {size}, {model}** {settings}".strip(), ""]
    columns = ["loss", "seeds", "dev", "test", "gain on test"]
    tuned = any("best_threshold" in c for seeds in by_loss.values() for c in seeds.values())
    columns += ["test, best threshold"] if tuned else []
    lines += [table_row(columns), "|---" * len(columns) + "|"]
    order = sorted(by_loss, key=lambda loss: (loss != BASELINE, -mean(by_loss[loss], "dev")))
    for loss in order:
        seeds = by_loss[loss]
        found = None if loss == BASELINE else gain(seeds, by_loss.get(BASELINE, {}))
        row = [loss, str(len(seeds)), *(f"{mean(seeds, s):.1f}" for s in ("dev", "test"))]
        lines.append(table_row([*row, text(found), *([_at_threshold(seeds)] if tuned else [])]))
    return lines


def summary(groups: Dict[Group, Dict[str, Dict[int, Cell]]], losses: List[str]) -> List[str]:
    """Lines of Markdown: a row for each data set, size and model that has one of the losses; in
    brackets the number of seeds."""
    columns = ["data", "size", "model", BASELINE, *losses]
    lines = [table_row(columns), "|---" * len(columns) + "|"]
    for (data, size, model, _), by_loss in groups.items():
        if BASELINE in by_loss and any(loss in by_loss for loss in losses):
            baseline = by_loss[BASELINE]
            gains = [gain(by_loss.get(loss, {}), baseline) for loss in losses]
            row = [data, size, model, f"{mean(baseline, 'test'):.1f}"]
            lines.append(table_row([*row, *(f"{text(g)} ({g.seeds})" if g else "" for g in gains)]))
    return lines


def types(group: Group, by_loss: Dict[str, Dict[int, Cell]], losses: List[str]) -> List[str]:
    """Lines of Markdown: a row for each type, its count in training and F1 by loss on test."""
    counts: Dict[str, int] = {}
    for cell in (cell for seeds in by_loss.values() for cell in seeds.values()):
        counts = counts or cell.get("train_counts", {})
    found = {loss: by_loss[loss].values() for loss in (BASELINE, *losses) if loss in by_loss}
    columns = ["type", "in training", *found]
    lines = [f"**{', '.join(group[:3])}** {group[3]}".strip(), "", table_row(columns)]
    lines.append("|---" * len(columns) + "|")
    for name in sorted(counts, key=lambda name: -counts[name]):
        f = [
            [cell["test"]["per_type"].get(name, 0.0) for cell in cells] for cells in found.values()
        ]
        lines.append(
            table_row([name, str(counts[name]), *(f"{100 * statistics.fmean(x):.1f}" for x in f)])
        )
    return lines


def filled(document: str, cells: List[Cell]) -> str:
    """A document with its tables made anew. Raises a ValueError where there are no such cells."""
    groups = grouped(cells)

    def lines(kind: str, words: List[str]) -> List[str]:
        if kind in COMPONENTS:
            return COMPONENTS[kind](cells, words)
        if kind == "summary":
            return summary(groups, words)
        settings = {word for word in words if "=" in word}
        wanted, losses = words[:3], [word for word in words[3:] if word not in settings]
        found = [g for g in groups if [*g[:3]] == wanted and settings <= set(g[3].split())]
        if not found:
            raise ValueError(f"There are no cells of {' '.join(words)}.")
        group = min(found, key=lambda g: len(g[3]))
        made = (
            table(group, groups[group]) if kind == "table" else types(group, groups[group], losses)
        )
        return made[2:]

    def block(match: Any) -> str:
        made = "\n".join(lines(match[2], match[3].split()))
        return f"{match[1]}\n\n{made}\n\n<!-- end -->"

    kinds = "|".join(["table", "types", "summary", *COMPONENTS])
    pattern = rf"(<!-- ({kinds}) ([^>]*) -->).*?<!-- end -->"
    return re.sub(pattern, block, document, flags=re.DOTALL)


def table_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def _at_threshold(seeds: Dict[int, Cell]) -> str:
    found = [c["best_threshold"]["test"] for c in seeds.values() if "best_threshold" in c]
    return f"{100 * statistics.fmean(found):.1f}" if len(found) == len(seeds) else ""


if __name__ == "__main__":
    main()
