"""All cells of the comparison, one after the other; those that are done already are skipped.

    python -m benchmarks.grid --data FOLDER --transformer MiniLM=PATH [--model NAME ...]

FOLDER holds a folder for each corpus of the grid. Learning rates, epochs and steps were tuned
for cross-entropy, on dev, and are the same for all losses.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

from .cell import ROOT

SEEDS = range(3)
MORE_SEEDS = range(5)
MANY_SEEDS = range(10)  # where a cell takes a minute
BASELINE = ("ce", "dice_ce", "dice_ce_macro")
WEIGHTS = ("dice_ce_macro_0.1", "dice_ce_macro_0.3", "dice_ce_macro_3")
FORMS = ("dice_ce_macro_log", "dice_ce_macro_later", "tversky_0.3_0.7_ce", "tversky_0.1_0.9_ce")
ENTITIES = ("ce_light_O", "dice_ce_macro_light_O", "entity_dice_ce", "entity_dice_ce_macro")
RIVALS = ("weighted_ce", "focal")
ALONE = ("dice_micro", "dice_macro")
PAPER = ("paper_dl", "paper_dsc", "paper_dsc_0.01", "dsc_hold", "dsc_hold_0.01")
REST = (*WEIGHTS, *FORMS, *RIVALS, *ALONE, *PAPER)


class Block(NamedTuple):
    """Cells of one corpus, size and model. size: training examples; 0 is all."""

    data: str
    size: int
    model: str
    settings: Tuple[str, ...]
    losses: Tuple[str, ...]
    seeds: range = SEEDS


STACKED = ("epochs=25", "learning-rate=0.3", "mini-batch-size=8")
TUNED = ("epochs=8", "learning-rate=0.0003", "mini-batch-size=16")
SHORT = ("training.max_steps=600", "training.eval_frequency=50")
QUICK = (*SHORT, "training.optimizer.learn_rate=0.003")
QUICK_BERT = (  # about 8 epochs, as in Flair
    "training.max_steps=150",
    "training.eval_frequency=25",
    "training.batcher.size=300",
    "training.optimizer.learn_rate.initial_rate=0.0003",
    "training.optimizer.learn_rate.warmup_steps=15",
)
LONG = ("training.max_steps=1500", "training.eval_frequency=100")

GRID = (
    # Low resource.
    Block("ncbi_disease", 300, "dice_ner", SHORT, BASELINE, MANY_SEEDS),
    Block("sms_spam", 300, "textcat", QUICK, BASELINE, MANY_SEEDS),
    Block("ud_english_lines", 300, "tagger", SHORT, BASELINE, MANY_SEEDS),
    Block("wnut17", 300, "flair_transformer", TUNED, BASELINE, MORE_SEEDS),
    Block("wnut17", 300, "flair_stacked", (*STACKED, "crf=true"), BASELINE, MORE_SEEDS),
    # All of the data.
    Block("sms_spam", 0, "textcat", LONG, BASELINE, MORE_SEEDS),
    Block("ncbi_disease", 0, "dice_ner", LONG, BASELINE, MORE_SEEDS),
    Block("ud_english_lines", 0, "tagger", LONG, BASELINE, MORE_SEEDS),
    Block("wnut17", 0, "dice_ner", (), BASELINE, MORE_SEEDS),
    Block("wnut17", 0, "ner", (), BASELINE, MORE_SEEDS),
    Block("wnut17", 0, "spancat", (), BASELINE),
    Block("wnut17", 300, "dice_ner_transformer", QUICK_BERT, BASELINE),
    Block("ud_english_lines", 300, "tagger_transformer", QUICK_BERT, BASELINE),
    # What else there is.
    Block("ncbi_disease", 300, "dice_ner", SHORT, (*ENTITIES, *REST)),
    Block("sms_spam", 300, "textcat", QUICK, REST),
    Block("ud_english_lines", 300, "tagger", SHORT, REST),
    Block("wnut17", 300, "flair_transformer", TUNED, (*ENTITIES, *REST)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--transformer", required=True, metavar="NAME[=PATH]")
    parser.add_argument("--model", nargs="*", help="only these models")
    parser.add_argument("--list", action="store_true", help="print the cells, run none")
    args = parser.parse_args()
    commands = [
        command
        for block in GRID
        if not args.model or block.model in args.model
        for command in cells(block, args.data, args.transformer)
    ]
    for number, command in enumerate(commands, 1):
        print(f"{number}/{len(commands)}", *command, flush=True)
        if not args.list:
            done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True)
            lines = (done.stdout + done.stderr).decode().splitlines()
            print(*(lines[-1:] if not done.returncode else lines[-20:]), sep="\n", flush=True)


def cells(block: Block, data: Path, transformer: str) -> Iterator[List[str]]:
    """The command of each cell, all losses of a seed before the next seed."""
    for seed in block.seeds:
        for loss in block.losses:
            command = ["benchmarks.cell", "--data", str(data.resolve() / block.data)]
            command += ["--size", str(block.size), "--model", block.model, "--loss", loss]
            command += ["--seed", str(seed)]
            if "transformer" in block.model or block.model.startswith("flair"):
                command += ["--transformer", transformer]
            yield [*command, *(["--set", *block.settings] if block.settings else [])]


if __name__ == "__main__":
    main()
