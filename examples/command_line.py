"""What the scripts have in common: their options, the corpus, and the scores."""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict

import flair
from flair.data import Corpus

from corpora import folders, in_flair, wnut17

START = time.time()


def parse(
    description: Any, learning_rate: float, mini_batch_size: int, epochs: int, crf: bool = False
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add = parser.add_argument
    add("--loss", default="auto", help="name of a loss, its JSON, or stock")
    add("--transformer", default="distilbert-base-cased", help="name or local path")
    add("--data", type=Path, help="folder with columns of token TAB tag; else WNUT 2017")
    add("--size", type=int, help="training sentences, drawn by the seed; all if not given")
    add("--seed", type=int, default=0)
    add("--crf", action=argparse.BooleanOptionalAction, default=crf)
    add("--epochs", type=int, default=epochs)
    add("--learning-rate", type=float, default=learning_rate)
    add("--mini-batch-size", type=int, default=mini_batch_size)
    add("--output", type=Path, default=Path("out/flair"))
    args = parser.parse_args()
    if args.loss == "stock":
        args.loss = None
    elif args.loss.startswith("{"):
        args.loss = json.loads(args.loss)
    flair.set_seed(args.seed)
    return args


def load_corpus(args: argparse.Namespace) -> Corpus:
    files = folders.files(args.data) if args.data else wnut17.locate(Path(".data/wnut17"))
    return in_flair.corpus(files, args.size, args.seed)


def report(args: argparse.Namespace, tagger: Any, corpus: Corpus, result: Dict[str, Any]) -> None:
    """One line of JSON: span F1 of the best model, in percent. result: what training returns.

    The model's predictions are in the output folder's dev.tsv and test.tsv."""
    dev = tagger.evaluate(corpus.dev, "ner", out_path=args.output / "dev.tsv").main_score
    scores = {"dev": dev, "test": result["test_score"]}
    settings = {key: str(value) for key, value in vars(args).items() if key != "output"}
    line = {**settings, **{split: round(100 * score, 2) for split, score in scores.items()}}
    print(json.dumps({**line, "seconds": round(time.time() - START)}), flush=True)
