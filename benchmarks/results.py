"""Results: lines of JSON, one for each run; and statistics of several: means, gains, intervals.

A run is a model that was trained with one loss and one seed, and scored.
"""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from . import ROOT

Run = Dict[str, Any]
Seeds = Dict[int, Run]
FOLDER = ROOT / "benchmarks/results"
COMPONENTS = FOLDER / "components.jsonl"
INIT_CONFIG = FOLDER / "init_config.jsonl"
# What tells one run from another.
KEY = ("data", "size", "model", "loss", "seed", "settings", "learn_rate")
SPLITS = ("dev", "test")


class Gain(NamedTuple):
    """Mean and half-width of its 95 % interval (None for fewer than two values), in points; and
    the number of values."""

    mean: float
    half: Optional[float]
    n: int


# -- lines -----------------------------------------------------------------------------


def read(files: Iterable[Path]) -> List[Run]:
    """The runs of JSON lines files; of a file that does not exist, none."""
    lines = (line for path in files if path.exists() for line in path.read_text().splitlines())
    return [json.loads(line) for line in lines]


def is_done(run: Run, path: Path) -> bool:
    """Whether a file has a line of this run."""
    return any(all(line.get(k) == run.get(k) for k in KEY) for line in read([path]))


def append(line: Run, path: Path) -> None:
    """Add a line to a file, its numbers to six places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # At once and at the end: several processes may append to the same file.
    with path.open("ab", buffering=0) as file_:
        file_.write((json.dumps(rounded(line), separators=(",", ":")) + "\n").encode())


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value


def group_runs(runs: Iterable[Run], *keys: str) -> Dict[Tuple[str, ...], Dict[str, Seeds]]:
    """Runs by the values of some keys, in their order, then by loss, then by seed."""
    groups: Any = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        values = (run[key] for key in keys)
        group = tuple(" ".join(v) if isinstance(v, list) else str(v) for v in values)
        groups[group][run["loss"]][run["seed"]] = run
    return {group: dict(groups[group]) for group in sorted(groups)}


# -- scores ----------------------------------------------------------------------------


def tuned(seeds: Seeds) -> Seeds:
    """The runs after `spacy_dice.tune`; without those that were not tuned."""
    return {s: {**run, **run["tuned"]} for s, run in seeds.items() if "tuned" in run}


def counts_macro(data: str, model: str) -> bool:
    """Whether the score that counts is the mean F1 over labels: for tags, and for texts of
    more than two kinds."""
    texts = model.startswith("textcat") and data not in ("sms_spam", "edos_A")
    return texts or model.startswith(("tagger", "morphologizer"))


def points(run: Run, split: str) -> float:
    """The score of this run that losses are compared by, from 0 to 100."""
    scores = run[split]
    if counts_macro(run["data"], run["model"]):
        return 100 * scores["macro_f"]
    for rare in ("spam", "sexist"):
        if rare in scores["per_type"]:
            return 100 * scores["per_type"][rare]
    return 100 * scores["f"]


def mean(seeds: Seeds, split: str) -> float:
    """The mean of the score that counts over all seeds."""
    return statistics.fmean(points(run, split) for run in seeds.values())


def gain(ours: Seeds, baseline: Seeds, split: str = "test") -> Optional[Gain]:
    """The gain over the baseline, over the seeds that both have; None if there are none."""
    seeds = sorted(ours.keys() & baseline.keys())
    return mean_gain([points(ours[s], split) - points(baseline[s], split) for s in seeds])


def mean_gain(values: Sequence[float]) -> Optional[Gain]:
    """The mean of some gains and its interval; None if there are none."""
    return Gain(statistics.fmean(values), interval(values), len(values)) if values else None


def interval(values: Sequence[float]) -> Optional[float]:
    """Half-width of the 95 % interval of a mean (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t  # slow to import, and runs are appended without it

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return float(half)


def best_rate(tried: Iterable[Run]) -> Optional[float]:
    """The learning rate of the run that is best on dev; None if there are none."""
    runs = sorted(tried, key=lambda run: points(run, "dev"))
    return runs[-1]["learn_rate"] if runs else None


def text(found: Optional[Gain]) -> str:
    """A gain as a table shows it; nothing where there is none."""
    if found is None:
        return ""
    return f"{found.mean:+.1f}" + ("" if found.half is None else f" ± {found.half:.1f}")


def mean_text(values: Sequence[float]) -> str:
    """A mean and its interval as a table shows it."""
    half = interval(values)
    return f"{statistics.fmean(values):.1f}" + ("" if half is None else f" ± {half:.1f}")


def table_row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def table_head(columns: Sequence[str]) -> List[str]:
    """The two lines that a Markdown table begins with."""
    return [table_row(columns), "|---" * len(columns) + "|"]
