"""One cell of the comparison: train one model with one loss and one seed, and score it.

    python -m benchmarks.compare.cell --data DIR --model ner --loss dice_ce --seed 0

DIR is a corpus in any format of `corpora.in_spacy` (for Flair: columns). The model is a file of
configs/, trained by `spacy train`, or a script of examples/, trained by Flair's ModelTrainer,
with nothing changed but the loss, the seed, the size and what --set names: overrides of the
config, or options of the script. One JSON line is appended to benchmarks/results/spacy.jsonl or
flair.jsonl; a cell that is there already is skipped.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import List, Optional

from ..results import FOLDER, append, is_done
from .recipes import RECIPES
from .rivals import RIVALS

LOSSES = {"stock": None, **RECIPES, **RIVALS}


def main(arguments: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--model", required=True, help="name of a file in configs/ or examples/")
    parser.add_argument("--loss", required=True, choices=LOSSES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=0, help="training examples; 0 is all")
    parser.add_argument("--task", default="A", help="of EDOS: A or C")
    parser.add_argument("--learn-rate", type=float, help="of spaCy; without it the config's")
    parser.add_argument(
        "--gpu-id", type=int, default=-1, help="of spaCy; Flair takes what is there"
    )
    parser.add_argument("--transformer", metavar="NAME[=PATH]", help="for models that have one")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="config overrides or options"
    )
    parser.add_argument("--keep", type=Path, help="where to keep the trained model")
    parser.add_argument(
        "--tune", action="store_true", help="score what spacy_dice.tune makes of it, too"
    )
    parser.add_argument("--results", type=Path, help="the file to append to")
    args = parser.parse_args(arguments)
    name, _, path = (args.transformer or "").partition("=")
    if args.model.startswith("flair_"):  # of the two toolkits one may be missing
        from . import with_flair as toolkit
    else:
        from . import with_spacy as toolkit  # type: ignore[no-redef]
    results = args.results or FOLDER / f"{toolkit.NAME}.jsonl"
    cell = {
        "data": args.data.resolve().name + (f"_{args.task}" if args.data.name == "edos" else ""),
        "size": args.size or "full",
        "model": args.model,
        "loss": args.loss,
        "seed": args.seed,
        "learn_rate": args.learn_rate,
        "settings": sorted([*args.set, *([f"transformer={name}"] if name else [])]),
    }
    if is_done(cell, results):
        print("Done already:", cell)
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = toolkit.run(
            cell, LOSSES[args.loss], args.data.resolve(), Path(folder), args, path or name
        )
    append({**cell, **measured}, results)
    print(json.dumps({**cell, "dev": measured["dev"]["f"], "test": measured["test"]["f"]}))


if __name__ == "__main__":
    main()
