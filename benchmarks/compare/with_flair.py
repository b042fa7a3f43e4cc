"""Cells of Flair: ModelTrainer in a script of examples/."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from corpora import folders
from dice_core import columns

from .. import ROOT
from ..versions import versions
from .recipes import Recipe
from .scores import of_columns

NAME = "flair"


def run(
    cell: Dict[str, Any], recipe: Recipe, data: Path, folder: Path, args: Any, transformer: str
) -> Dict[str, Any]:
    """Train and score. RETURNS what is measured: lines of the results beside the cell's key."""
    command = [sys.executable, "-m", f"examples.{cell['model']}"]
    command += ["--loss", "stock" if cell["loss"] in ("ce", "stock") else json.dumps(recipe)]
    command += ["--data", str(data), "--seed", str(cell["seed"]), "--output", str(folder)]
    if args.size:
        command += ["--size", str(args.size)]
    if transformer:
        command += ["--transformer", transformer]
    command += options(args.set)
    start = time.time()
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.time() - start
    if args.keep:
        shutil.copy(folder / "best-model.pt", args.keep)
    header, *rows = [line.split("\t") for line in (folder / "loss.tsv").read_text().splitlines()]
    counts: Counter = Counter()
    sentences = list(columns.read(folders.files(data)["train"]))
    for _, tags in folders.sample(sentences, args.size or None, cell["seed"]):
        counts.update(tag[2:] for tag in tags if tag[0] == "B")
    return {
        **{split: of_columns(folder / f"{split}.tsv") for split in ("dev", "test")},
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
