"""Many cheap cells: a small torch head on a frozen transformer, so that seeds are many.

    python -m benchmarks.compare.probe --data FOLDER --transformer PATH [--corpus NAME ...]

FOLDER holds a folder for each corpus. What the transformer makes of it is computed once (see
features.py); then each loss of flair_dice, and of tried.py, trains a head of two layers with the
same seeds, learning rate and epochs, which were tuned for cross-entropy on dev. A seed draws the
training sentences (of --size), the first weights and the order of batches. The epoch that is best
on dev is scored on test, also with the shift of O (or of the most frequent class of texts) that
is best on dev: "best_threshold". Lines go to benchmarks/results/probe.jsonl; cells that are there
are skipped.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

from flair_dice import make_loss

from ..results import FOLDER, append, is_done
from ..versions import versions
from .features import Part, Task, read
from .recipes import RECIPES
from .scores import Scores, of_sets
from .tried import TRIED

CORPORA = ("wnut17", "ncbi_disease", "ud_english_lines", "sms_spam")
HIDDEN = 128
SHIFTS = (-4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
OVERLAPS = ("Dice", "DiceCE", "Tversky", "SelfAdjustingDice", "CarriedDice")
LOSSES = {**RECIPES, **TRIED}


def main(arguments: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--transformer", required=True, help="name or local path")
    parser.add_argument("--corpus", nargs="*", default=CORPORA)
    parser.add_argument("--size", nargs="*", type=int, default=[300, 0], help="0 is all")
    parser.add_argument("--loss", nargs="*", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=Path(".data/probe"))
    parser.add_argument("--results", type=Path, default=FOLDER / "probe.jsonl")
    args = parser.parse_args(arguments)
    settings = [f"epochs={args.epochs}", f"learning-rate={args.learning_rate:g}"]
    for corpus in args.corpus:
        task = read(args.data / corpus, args.transformer, args.cache)
        for size in args.size:
            for loss in args.loss:
                if not suits(loss, task):
                    continue
                for seed in range(args.seeds):
                    cell = {"data": corpus, "size": size or "full", "model": f"probe_{task.kind}"}
                    cell.update(loss=loss, seed=seed, settings=settings)
                    if is_done(cell, args.results):
                        continue
                    measured = run(task, size or None, loss, seed, args.learning_rate, args.epochs)
                    append({**cell, **measured}, args.results)
                    dev, test = (100 * measured[split]["f"] for split in ("dev", "test"))
                    print(corpus, size, loss, seed, f"{dev:.1f} {test:.1f}", flush=True)


def suits(loss: str, task: Task) -> bool:
    """Whether a corpus has what a recipe asks for: a class O, entities."""
    recipe = json.dumps(LOSSES[loss])
    needs_o = '"O"' in recipe or "EntityDice" in recipe
    return task.kind == "entities" or not needs_o


def run(
    task: Task, size: Optional[int], name: str, seed: int, learning_rate: float, epochs: int
) -> Dict[str, Any]:
    """Train a head and score it. RETURNS what is measured: a line beside the cell's key."""
    start = time.time()
    torch.manual_seed(seed)
    part = task.parts["train"].sample(size)
    loss = make_loss(as_torch(LOSSES[name], task))
    model = torch.nn.Sequential(
        torch.nn.Dropout(0.3),
        torch.nn.Linear(part.x.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(HIDDEN, len(task.names)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    best: Any = (-1.0, None)
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(part.lengths)).tolist()
        for i in range(0, len(order), 16):
            loss.step_schedules(epoch - 1 + i / len(order))
            chosen = order[i : i + 16]
            rows = part.rows(chosen)
            lengths = [part.lengths[j] for j in chosen]
            value = loss(model(part.x[rows]), part.y[rows], lengths=lengths)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        dev = predict(model, task.parts["dev"])
        score = points(scores(task, "dev", dev), task)
        if score > best[0]:
            best = (score, {"dev": dev, "test": predict(model, task.parts["test"])})
    logits = best[1]
    counts = Counter(name for *_, name in task.found(part, part.y.tolist()))
    shifted = {shift: _shift(logits["dev"], shift) for shift in SHIFTS}
    tuned = {s: points(scores(task, "dev", x), task) for s, x in shifted.items()}
    shift = max(SHIFTS, key=lambda s: (tuned[s], -abs(s)))
    at_best = scores(task, "test", _shift(logits["test"], shift))
    return {
        **{split: scores(task, split, logits[split]) for split in ("dev", "test")},
        "best_threshold": {"shift": shift, "dev": tuned[shift], "test": points(at_best, task)},
        "train_counts": dict(sorted(counts.items())),
        "seconds": round(time.time() - start, 1),
        "versions": versions("torch", "transformers", "numpy"),
    }


def as_torch(recipe: Any, task: Task, is_term: bool = False) -> Any:
    """A recipe with what a model of Flair would tell it: names of classes, and the background."""
    if isinstance(recipe, list):
        return [as_torch(term, task, is_term=True) for term in recipe]
    made = dict(recipe)
    if not is_term:
        made["names"] = task.names
    if "losses" in made:
        made["losses"] = as_torch(made["losses"], task)
    if made["name"] in OVERLAPS and task.kind == "entities":
        made["background"] = ["O"]
    return made


@torch.no_grad()
def predict(model: Any, part: Part) -> torch.Tensor:
    """Logits of a split."""
    model.eval()
    return model(part.x)


def _shift(logits: torch.Tensor, shift: float) -> torch.Tensor:
    """Logits with a number added to those of the first class."""
    shifted = logits.clone()
    shifted[:, 0] += shift
    return shifted


def points(found: Scores, task: Task) -> float:
    """The score that counts, by which an epoch and a shift are chosen."""
    if task.kind == "tags":
        return found["macro_f"]
    return found["per_type"].get("spam", found["f"])


def scores(task: Task, split: str, logits: torch.Tensor) -> Scores:
    """Scores of the best class of each row."""
    part = task.parts[split]
    gold, predicted = part.y.tolist(), logits.argmax(dim=1).tolist()
    return of_sets(task.found(part, gold), task.found(part, predicted))


if __name__ == "__main__":
    main()
