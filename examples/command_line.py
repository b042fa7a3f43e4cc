"""What the scripts have in common: their options, WNUT 2017, and the scores."""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict

import flair
from flair.data import Corpus

from corpora import in_flair, wnut17

START = time.time()


def parse(
    description: Any, learning_rate: float, mini_batch_size: int, epochs: int, crf: bool = False
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add = parser.add_argument
    add("--loss", default="DiceCE", help="name of a loss, its JSON, or stock")
    add("--transformer", default="distilbert-base-cased", help="name or local path")
    add("--data", type=Path, help="folder of train.conll, dev.conll, test.conll; else download")
    add("--size", type=int, help="training sentences; all if not given")
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
    return in_flair.corpus(wnut17.locate(Path(".data/wnut17"), args.data), args.size)


def report(args: argparse.Namespace, tagger: Any, corpus: Corpus, result: Dict[str, Any]) -> None:
    """One line of JSON: span F1 of the best model, in percent. result: what training returns."""
    scores = {"dev": tagger.evaluate(corpus.dev, "ner").main_score, "test": result["test_score"]}
    settings = {key: str(value) for key, value in vars(args).items() if key != "output"}
    line = {**settings, **{split: round(100 * score, 2) for split, score in scores.items()}}
    print(json.dumps({**line, "seconds": round(time.time() - START)}), flush=True)
