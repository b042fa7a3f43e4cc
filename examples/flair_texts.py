"""Fine-tune a transformer for texts with any number of labels in Flair, with a loss by name.

    python -m examples.flair_texts --data FOLDER --transformer distilbert-base-cased

What is ours are the import of TextClassifier and its argument ``loss``, by default "auto":
cross-entropy with balanced weights; ``--loss stock`` trains the same without, on the binary
cross-entropy of each label. FOLDER holds a file for each of train, dev
and test, of lines text TAB comma-joined ids of labels, and labels.txt with their names, as
GoEmotions is released. The best epoch is the one with the best mean F1 over labels on dev. Prints
F1 on test by label, and with ``--tune`` also with the thresholds that `flair_dice.tune` finds on
dev; the last line is JSON, in percent.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict

import flair
from flair.embeddings import TransformerDocumentEmbeddings
from flair.trainers import ModelTrainer
from flair.trainers.plugins import LossFilePlugin

from corpora import folders
from corpora.texts_in_flair import LABEL_TYPE, corpus
from flair_dice import LossPlugin, TextClassifier, tune

START = time.time()
MACRO_F1 = ("macro avg", "f1-score")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--loss", default="auto", help="name, JSON, or stock")
    parser.add_argument("--transformer", default="distilbert-base-cased", help="name or local path")
    parser.add_argument("--tune", action="store_true", help="choose each label's threshold on dev")
    parser.add_argument("--size", type=int, help="training texts, drawn by the seed; or all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--mini-batch-size", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("out/flair_texts"))
    args = parser.parse_args()
    loss = json.loads(args.loss) if args.loss.startswith("{") else args.loss
    flair.set_seed(args.seed)

    texts = corpus(folders.files(args.data), args.size, args.seed)
    classifier = TextClassifier(
        embeddings=TransformerDocumentEmbeddings(args.transformer, layers="-1", fine_tune=True),
        label_type=LABEL_TYPE,
        label_dictionary=texts.make_label_dictionary(LABEL_TYPE, add_unk=False, add_dev_test=True),
        multi_label=True,
        loss=None if loss == "stock" else loss,
    )
    ModelTrainer(classifier, texts).fine_tune(
        args.output,
        learning_rate=args.learning_rate,
        mini_batch_size=args.mini_batch_size,
        max_epochs=args.epochs,
        main_evaluation_metric=MACRO_F1,
        use_final_model_for_eval=False,
        create_loss_file=False,  # the one below shows what the best epoch is chosen by
        plugins=[LossPlugin(), LossFilePlugin(args.output, 0, {"loss": "LOSS", MACRO_F1: "F1"})],
    )
    found = {split: f_by_label(classifier, texts, split, args.output) for split in ("dev", "test")}
    if args.tune:
        print(tune(classifier, texts.dev))
        found["tuned"] = f_by_label(classifier, texts, "test", args.output, "tuned")
    shown = [split for split in ("test", "tuned") if split in found]
    print("F1 of", *(f"{name:>8}" for name in shown))
    for label in sorted(found["test"]):
        print(f"{label:20}", *(f"{found[split].get(label, 0.0):8.1f}" for split in shown))
    settings = {key: str(value) for key, value in vars(args).items() if key != "output"}
    means = {split: round(sum(f.values()) / max(len(f), 1), 2) for split, f in found.items()}
    line = {**settings, **means, "seconds": round(time.time() - START)}
    print(json.dumps(line), flush=True)


def f_by_label(
    classifier: Any, texts: Any, split: str, output: Path, name: str = ""
) -> Dict[str, float]:
    """F1 in percent of each label that is gold or predicted. What was predicted is in the
    output folder, in a file with the name of the split or with another."""
    result = classifier.evaluate(
        getattr(texts, split), LABEL_TYPE, out_path=output / f"{name or split}.tsv"
    )
    labels = classifier.label_dictionary.get_items()
    rows = result.classification_report
    return {label: 100 * rows[label]["f1-score"] for label in labels if label in rows}


if __name__ == "__main__":
    main()
