"""Fine-tune a transformer to tell paraphrases in Flair, with cross-entropy or with DiceCE.

    python -m examples.flair_pairs --train train.tsv --dev dev.tsv --test test.tsv

What is ours are the import of TextPairClassifier and its argument ``loss``; ``--loss stock`` trains
the same without. The files are lines of text TAB text TAB 0 or 1. Prints precision, recall and F1
of the pairs that are the same, label 1; ``--tune-threshold`` takes the threshold with the best F1
on dev instead of the likelier label.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import flair
from flair.embeddings import TransformerDocumentEmbeddings
from flair.trainers import ModelTrainer

from corpora.pairs_in_flair import LABEL_TYPE, corpus
from flair_dice import LossPlugin, TextPairClassifier

START = time.time()
POSITIVE = "1"
# Only the pairs that are the same are counted, as in their F1.
DICE_CE = {"name": "DiceCE", "background": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for split in ("train", "dev", "test"):
        parser.add_argument(f"--{split}", type=Path, required=True)
    parser.add_argument("--loss", default=json.dumps(DICE_CE), help="name, JSON, or stock")
    parser.add_argument("--transformer", default="distilbert-base-cased", help="name or local path")
    parser.add_argument("--tune-threshold", action="store_true")
    parser.add_argument("--size", type=int, help="training pairs; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--mini-batch-size", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("out/flair_pairs"))
    args = parser.parse_args()
    loss = json.loads(args.loss) if args.loss.startswith("{") else args.loss
    flair.set_seed(args.seed)

    pairs = corpus(args.train, args.dev, args.test, args.size)
    classifier = TextPairClassifier(
        embeddings=TransformerDocumentEmbeddings(args.transformer, layers="-1", fine_tune=True),
        label_type=LABEL_TYPE,
        label_dictionary=pairs.make_label_dictionary(LABEL_TYPE, add_unk=False),
        loss=None if loss == "stock" else loss,
    )
    ModelTrainer(classifier, pairs).fine_tune(
        args.output,
        learning_rate=args.learning_rate,
        mini_batch_size=args.mini_batch_size,
        max_epochs=args.epochs,
        plugins=[LossPlugin()],
    )
    dev, test = probabilities(classifier, pairs.dev), probabilities(classifier, pairs.test)
    threshold = best_threshold(dev) if args.tune_threshold else 0.5
    settings = {key: str(value) for key, value in vars(args).items() if key != "output"}
    line: Dict[str, Any] = {**settings, "loss": str(loss), "threshold": threshold}
    line.update(dev=scores(dev, threshold), test=scores(test, threshold))
    print(json.dumps({**line, "seconds": round(time.time() - START)}), flush=True)


def probabilities(classifier: Any, split: Any) -> List[Tuple[float, bool]]:
    """The probability that each pair is the same, and whether it is."""
    pairs = list(split)
    classifier.predict(pairs, label_name="predicted", return_probabilities_for_all_classes=True)
    found = []
    for pair in pairs:
        by_label = {label.value: label.score for label in pair.get_labels("predicted")}
        found.append((by_label[POSITIVE], pair.get_label(LABEL_TYPE).value == POSITIVE))
    return found


def scores(found: List[Tuple[float, bool]], threshold: float) -> Dict[str, float]:
    """Precision, recall and F1 of the pairs that are the same, in percent."""
    hits = sum(p >= threshold and same for p, same in found)
    guessed, there = sum(p >= threshold for p, _ in found), sum(same for _, same in found)
    precision, recall = hits / max(guessed, 1), hits / max(there, 1)
    f = 2 * precision * recall / max(precision + recall, 1e-9)
    return {name: round(100 * x, 2) for name, x in (("p", precision), ("r", recall), ("f", f))}


def best_threshold(found: List[Tuple[float, bool]]) -> float:
    """The middle between two probabilities that has the best F1."""
    values = sorted({p for p, _ in found})
    between = [0.5, *((a + b) / 2 for a, b in zip(values, values[1:]))]
    return max(between, key=lambda threshold: scores(found, threshold)["f"])


if __name__ == "__main__":
    main()
