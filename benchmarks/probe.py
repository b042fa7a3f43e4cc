"""Many cheap cells: a small torch head on a frozen transformer, so that seeds are many.

    python -m benchmarks.probe --data FOLDER --transformer PATH [--corpus NAME ...] [--size N ...]

FOLDER holds a folder for each corpus. What the transformer makes of each token (of a text: the
mean over its tokens) is computed once; then each loss of flair_dice trains a head of two layers,
with the same seeds, learning rate and epochs, which were tuned for cross-entropy on dev. A seed
draws the training sentences (of --size), the first weights and the order of batches. The epoch
that is best on dev is scored on test, also with the shift of O (or of the most frequent class of
texts) that is best on dev: "best_threshold". Lines go to benchmarks/results/probe.jsonl; cells
that are there are skipped.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy
import torch

from corpora import in_spacy
from flair_dice import make_loss

from .cell import RESULTS, is_done
from .recipes import RECIPES
from .scores import Scores
from .versions import versions

CORPORA = ("wnut17", "ncbi_disease", "ud_english_lines", "sms_spam")
HIDDEN = 128
SHIFTS = (-4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
OVERLAPS = ("Dice", "DiceCE", "Tversky", "SelfAdjustingDice")


class Part(NamedTuple):
    """A split: features ``(rows, width)``, the class of each row, and rows of each sentence."""

    x: torch.Tensor
    y: torch.Tensor
    lengths: List[int]

    def rows(self, sentences: Sequence[int]) -> torch.Tensor:
        """The rows of some sentences."""
        ends = numpy.cumsum(self.lengths)
        return torch.cat([torch.arange(ends[j] - self.lengths[j], ends[j]) for j in sentences])

    def sample(self, n: Optional[int]) -> "Part":
        """So many sentences, drawn; None is all."""
        if n is None:
            return self
        chosen = torch.randperm(len(self.lengths))[:n].tolist()
        rows = self.rows(chosen)
        return Part(self.x[rows], self.y[rows], [self.lengths[j] for j in chosen])


class Task(NamedTuple):
    """A corpus. kind: "entities", "tags" or "texts"."""

    kind: str
    names: List[str]
    parts: Dict[str, Part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--transformer", required=True, help="name or local path")
    parser.add_argument("--corpus", nargs="*", default=CORPORA)
    parser.add_argument("--size", nargs="*", type=int, default=[300, 0], help="0 is all")
    parser.add_argument("--loss", nargs="*", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=Path(".data/probe"))
    parser.add_argument("--results", type=Path, default=RESULTS / "probe.jsonl")
    args = parser.parse_args()
    args.results.parent.mkdir(parents=True, exist_ok=True)
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
                    with args.results.open("a") as file_:
                        file_.write(json.dumps({**cell, **measured}) + "\n")
                    dev, test = (100 * measured[split]["f"] for split in ("dev", "test"))
                    print(corpus, size, loss, seed, f"{dev:.1f} {test:.1f}", flush=True)


def suits(loss: str, task: Task) -> bool:
    """Whether a corpus has what a recipe asks for: a class O, entities."""
    recipe = json.dumps(RECIPES[loss])
    needs_o = '"O"' in recipe or "EntityDice" in recipe
    return loss != "ce_not_stock" and (task.kind == "entities" or not needs_o)


# -- features -----------------------------------------------------------------------------


def read(folder: Path, transformer: str, cache: Path) -> Task:
    """The corpus of a folder, by what a transformer makes of it; kept in cache."""
    path = cache / f"{folder.name}.pt"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(_read(folder, transformer), path)
    kind, names, parts = torch.load(path)
    return Task(kind, names, {s: Part(x.float(), y, n) for s, (x, y, n) in parts.items()})


def _read(folder: Path, transformer: str) -> Any:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(transformer, add_prefix_space=True)
    model = AutoModel.from_pretrained(transformer).eval()
    docs = {split: list(of_split) for split, of_split in in_spacy.splits(folder).items()}
    first = docs["train"][0]
    kind = "texts" if first.cats else "tags" if first.has_annotation("TAG") else "entities"
    labels = {split: [_labels(doc, kind) for doc in of] for split, of in docs.items()}
    counts = Counter(label for row in labels["train"] for label in row)
    # The background, or the most frequent class, comes first.
    names = [name for name, _ in counts.most_common()]
    parts = {}
    for split, of_split in docs.items():
        x = torch.cat([_features(tokenizer, model, doc, kind) for doc in of_split]).half()
        ids = [names.index(n) if n in names else -1 for row in labels[split] for n in row]
        parts[split] = (x, torch.tensor(ids), [len(row) for row in labels[split]])
    return kind, names, parts


def _labels(doc: Any, kind: str) -> List[str]:
    if kind == "texts":
        return [max(doc.cats, key=doc.cats.get)]
    if kind == "tags":
        return [token.tag_ for token in doc]
    return [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc]


@torch.no_grad()
def _features(tokenizer: Any, model: Any, doc: Any, kind: str) -> torch.Tensor:
    """``(tokens, width)``: of each token its first piece; of a text the mean, ``(1, width)``."""
    words = [token.text for token in doc]
    pieces = tokenizer(
        words, is_split_into_words=True, truncation=True, max_length=512, return_tensors="pt"
    )
    hidden = model(**pieces).last_hidden_state[0]
    if kind == "texts":
        return hidden.mean(dim=0, keepdim=True)
    x = torch.zeros(len(words), hidden.shape[1])
    for row, word in reversed(list(enumerate(pieces.word_ids()))):
        if word is not None:
            x[word] = hidden[row]
    return x


# -- training -----------------------------------------------------------------------------


def run(
    task: Task, size: Optional[int], name: str, seed: int, learning_rate: float, epochs: int
) -> Dict[str, Any]:
    """Train a head and score it. RETURNS what is measured: a line beside the cell's key."""
    start = time.time()
    torch.manual_seed(seed)
    part = task.parts["train"].sample(size)
    loss = make_loss(as_torch(RECIPES[name], task))
    model = torch.nn.Sequential(
        torch.nn.Dropout(0.3),
        torch.nn.Linear(part.x.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(HIDDEN, len(task.names)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    best: Any = (-1.0, None)
    curve = []
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
        curve.append([epoch, score])
        if score > best[0]:
            best = (score, {"dev": dev, "test": predict(model, task.parts["test"])})
    logits = best[1]
    shifted = {shift: _shift(logits["dev"], shift) for shift in SHIFTS}
    tuned = {s: points(scores(task, "dev", x), task) for s, x in shifted.items()}
    shift = max(SHIFTS, key=lambda s: (tuned[s], -abs(s)))
    at_best = scores(task, "test", _shift(logits["test"], shift))
    return {
        **{split: scores(task, split, logits[split]) for split in ("dev", "test")},
        "best_threshold": {"shift": shift, "dev": tuned[shift], "test": points(at_best, task)},
        "train_counts": _counts(task, part),
        "curve": curve,
        "seconds": round(time.time() - start, 1),
        "versions": versions("torch", "transformers", "numpy"),
    }


def as_torch(recipe: Any, task: Task) -> Any:
    """A recipe with what a model of Flair would tell it: names of classes, and the background."""
    if isinstance(recipe, list):
        return [as_torch(term, task) for term in recipe]
    made = {key: value for key, value in recipe.items() if key != "as_stock"}
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


# -- scores -------------------------------------------------------------------------------


def points(found: Scores, task: Task) -> float:
    """The score that counts, by which an epoch and a shift are chosen."""
    if task.kind == "tags":
        return found["macro_f"]
    return found["per_type"].get("spam", found["f"])


def scores(task: Task, split: str, logits: torch.Tensor) -> Scores:
    """Micro and macro scores, and F1 of each type, of the best class of each row."""
    from spacy.scorer import PRFScore

    part = task.parts[split]
    gold, predicted = part.y.tolist(), logits.argmax(dim=1).tolist()
    if task.kind == "entities":
        truth, guess = (set(spans(ids, part.lengths, task.names)) for ids in (gold, predicted))
    else:
        known = [i for i, y in enumerate(gold) if y >= 0]
        truth = {(i, task.names[gold[i]]) for i in known}
        guess = {(i, task.names[predicted[i]]) for i in known}
    per_type = {}
    for name in sorted({span[-1] for span in truth | guess}):
        prf = PRFScore()
        prf.score_set({s for s in guess if s[-1] == name}, {s for s in truth if s[-1] == name})
        per_type[name] = prf.fscore
    micro = PRFScore()
    micro.score_set(guess, truth)
    macro = sum(per_type.values()) / max(len(per_type), 1)
    row = {"f": micro.fscore, "p": micro.precision, "r": micro.recall}
    return {**row, "macro_f": macro, "per_type": per_type}


def spans(ids: Sequence[int], lengths: Sequence[int], names: Sequence[str]) -> List[Any]:
    """(start, end, type) of the entities of BIO tags; an I that continues nothing begins one."""
    found: List[Any] = []
    row = 0
    for length in lengths:
        begun: Any = None
        for i in range(row, row + length):
            tag = names[ids[i]] if ids[i] >= 0 else "O"
            if begun is not None and tag != f"I-{begun[1]}":
                found.append((begun[0], i, begun[1]))
                begun = None
            if tag != "O" and begun is None:
                begun = (i, tag[2:])
        row += length
        if begun is not None:
            found.append((begun[0], row, begun[1]))
    return found


def _counts(task: Task, part: Part) -> Dict[str, int]:
    if task.kind == "entities":
        found = Counter(s[-1] for s in spans(part.y.tolist(), part.lengths, task.names))
    else:
        found = Counter(task.names[y] for y in part.y.tolist() if y >= 0)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
