"""Cells of Flair: ModelTrainer in a script of examples/."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple

from corpora import emotions, folders
from dice_core import columns

from .. import ROOT
from ..versions import versions
from .recipes import Recipe
from .scores import Scores, of_columns, of_texts

NAME = "flair"


class Kind(NamedTuple):
    """What a script learns. read: its training data, one item an example; labels: those of an
    item; score: what it wrote of a split."""

    read: Callable[[Path], Iterable[Any]]
    labels: Callable[[Any], Iterator[str]]
    score: Callable[[Path], Scores]


ENTITIES = Kind(columns.read, lambda item: (t[2:] for t in item[1] if t[0] == "B"), of_columns)
TEXTS = Kind(emotions.read, lambda item: iter(item[1]), of_texts)
KINDS = {"flair_texts": TEXTS}  # all others: entities


def run(
    cell: Dict[str, Any], recipe: Recipe, data: Path, folder: Path, args: Any, transformer: str
) -> Dict[str, Any]:
    """Train and score. RETURNS what is measured: lines of the results beside the cell's key.

    Cross-entropy is what Flair's own loss is, for entities without a CRF and for texts, whose own
    is the sum of the labels' binary ones."""
    kind = KINDS.get(cell["model"], ENTITIES)
    command = [sys.executable, "-m", f"examples.{cell['model']}"]
    command += ["--loss", "stock" if cell["loss"] in ("ce", "stock") else json.dumps(recipe)]
    command += ["--data", str(data), "--seed", str(cell["seed"]), "--output", str(folder)]
    if args.size:
        command += ["--size", str(args.size)]
    if transformer:
        command += ["--transformer", transformer]
    if cell["learn_rate"] is not None:
        command += ["--learning-rate", str(cell["learn_rate"])]
    if args.tune and kind is not TEXTS:
        raise ValueError(f"examples/{cell['model']}.py has no option --tune.")
    command += ["--tune"] if args.tune else []
    command += options(args.set)
    start = time.time()
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.time() - start
    if args.keep:
        shutil.copy(folder / "best-model.pt", args.keep)
    header, *rows = [line.split("\t") for line in (folder / "loss.tsv").read_text().splitlines()]
    counts: Counter = Counter()
    items = list(kind.read(folders.files(data)["train"]))
    for item in folders.sample(items, args.size or None, cell["seed"]):
        counts.update(kind.labels(item))
    return {
        **{split: kind.score(folder / f"{split}.tsv") for split in ("dev", "test")},
        **({"tuned": {"test": kind.score(folder / "tuned.tsv")}} if args.tune else {}),
        "train_counts": dict(sorted(counts.items())),
        "curve": [[int(row[0]), float(row[header.index("DEV_F1")])] for row in rows],
        "seconds": round(seconds, 1),
        "versions": versions("flair", "torch", "transformers", "numpy"),
    }


def options(settings: List[str]) -> List[str]:
    """crf=true, epochs=8 as the options of a script: --crf, --epochs 8."""
    found = []
    for item in settings:
        key, _, value = item.partition("=")
        if value in ("true", "false"):
            found.append(f"--{key}" if value == "true" else f"--no-{key}")
        else:
            found += [f"--{key}", value]
    return found
