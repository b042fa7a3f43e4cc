"""Tables and plots of all cells that were measured.

    python -m benchmarks.report [--plots DIR] [FILE ...]

Reads benchmarks/results/*.jsonl (or the files given). A table for each data set, size and
model: the mean of each loss over seeds, on dev and test, and its gain over cross-entropy ("ce")
on test, paired by seed, with its 95 % interval (Student's t). Scores are micro F1 of entities and
spans, macro F1 of tags, F1 of "spam" of messages, in points.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

RESULTS = Path(__file__).resolve().parent / "results"
BASELINE = "ce"
Cell = Dict[str, Any]
Group = Tuple[str, ...]


class Gain(NamedTuple):
    """Mean and half-width of its 95 % interval (None for fewer than two seeds), in points."""

    mean: float
    half: Optional[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--plots", type=Path, help="folder for PNG files; needs matplotlib")
    args = parser.parse_args()
    groups = grouped(read(args.files or sorted(RESULTS.glob("*.jsonl"))))
    for group, by_loss in groups.items():
        print("\n".join(table(group, by_loss)), end="\n\n")
    if args.plots:
        from .plots import write

        for path in write(groups, args.plots):
            print("Wrote", path)


def read(files: Iterable[Path]) -> List[Cell]:
    """The cells of JSON lines files."""
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def grouped(cells: Iterable[Cell]) -> Dict[Group, Dict[str, Dict[int, Cell]]]:
    """Cells by data set, size, model and settings, then by loss, then by seed."""
    groups: Dict[Group, Dict[str, Dict[int, Cell]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        group = (cell["data"], str(cell["size"]), cell["model"], " ".join(cell["settings"]))
        groups[group][cell["loss"]][cell["seed"]] = cell
    return {group: dict(groups[group]) for group in sorted(groups)}


def points(cell: Cell, split: str) -> float:
    """The score that counts for this cell, from 0 to 100."""
    scores = cell[split]
    if cell["model"].startswith("tagger"):
        return 100 * scores["macro_f"]
    return 100 * scores["per_type"].get("spam", scores["f"])


def gain(ours: Dict[int, Cell], baseline: Dict[int, Cell], split: str = "test") -> Optional[Gain]:
    """The gain over the baseline, over the seeds that both have; None if there are none."""
    seeds = sorted(ours.keys() & baseline.keys())
    if not seeds:
        return None
    gains = [points(ours[seed], split) - points(baseline[seed], split) for seed in seeds]
    mean = statistics.fmean(gains)
    if len(gains) < 2:
        return Gain(mean, None)
    from scipy.stats import t

    half = t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
    return Gain(mean, float(half))


def table(group: Group, by_loss: Dict[str, Dict[int, Cell]]) -> List[str]:
    """Lines of Markdown: the baseline first, then by the mean on dev."""
    data, size, model, settings = group
    lines = [f"**{data}, {size}, {model}** {settings}".strip(), ""]
    lines += ["| loss | seeds | dev | test | gain on test |", "|---|---|---|---|---|"]
    mean = lambda seeds, split: statistics.fmean(points(c, split) for c in seeds.values())  # noqa: E731
    order = sorted(by_loss, key=lambda loss: (loss != BASELINE, -mean(by_loss[loss], "dev")))
    for loss in order:
        seeds = by_loss[loss]
        found = None if loss == BASELINE else gain(seeds, by_loss.get(BASELINE, {}))
        text = "" if found is None else f"{found.mean:+.1f}"
        if found is not None and found.half is not None:
            text += f" ± {found.half:.1f}"
        scores = f"{mean(seeds, 'dev'):.1f} | {mean(seeds, 'test'):.1f}"
        lines.append(f"| {loss} | {len(seeds)} | {scores} | {text} |")
    return lines


if __name__ == "__main__":
    main()
