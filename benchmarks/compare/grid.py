"""All cells of the comparison, one after the other or several at once; those that are done already
are skipped.

    python -m benchmarks.compare.grid --data FOLDER [--transformer MiniLM=PATH] [--part NAME ...]
        [--workers 2]

FOLDER holds a folder for each corpus of the grid. In the parts of stock components each loss
has a learning rate of its own: the one of its block's rates that is best on dev with the first
seed. In the part "first", which was measured before those, learning rates, epochs and steps were
tuned for cross-entropy, on dev, and are the same for all losses.
"""

import argparse
import os
import time
import traceback
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..results import COMPONENTS, best_rate, read
from . import cell

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


# Learning rates to try, of a small network.
RATES = (0.003, 0.001)


class Block(NamedTuple):
    """Cells of one corpus, size and model. size: training examples; 0 is all. rates: learning rates
    to try."""

    data: str
    size: int
    model: str
    settings: Tuple[str, ...]
    losses: Tuple[str, ...]
    seeds: range = SEEDS
    task: str = "A"
    rates: Tuple[float, ...] = RATES


STACKED = ("epochs=25", "learning-rate=0.3", "mini-batch-size=8")
TUNED = ("epochs=8", "learning-rate=0.0003", "mini-batch-size=16")
SHORT = ("training.max_steps=600", "training.eval_frequency=50")
QUICK = (*SHORT, "training.optimizer.learn_rate=0.003")
BERT = (  # about 8 epochs of 300 sentences, as in Flair
    "training.max_steps=150",
    "training.eval_frequency=25",
    "training.optimizer.learn_rate.warmup_steps=15",
    "training.optimizer.learn_rate.total_steps=150",
)
BERT_WORDS = (*BERT, "training.batcher.size=300")
BERT_TEXTS = (*BERT, "training.batcher.size=1000")
QUICK_BERT = (*BERT_WORDS, "training.optimizer.learn_rate.initial_rate=0.0003")
LONG = ("training.max_steps=1500", "training.eval_frequency=100")

FIRST = (
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
    Block("wnut17", 0, "spancat", (), ("stock", *BASELINE)),
    Block("wnut17", 300, "dice_ner_transformer", QUICK_BERT, BASELINE),
    Block("ud_english_lines", 300, "tagger_transformer", QUICK_BERT, BASELINE),
    # What else there is.
    Block("ncbi_disease", 300, "dice_ner", SHORT, (*ENTITIES, *REST)),
    Block("sms_spam", 300, "textcat", QUICK, REST),
    Block("ud_english_lines", 300, "tagger", SHORT, REST),
    Block("wnut17", 300, "flair_transformer", TUNED, (*ENTITIES, *REST)),
)


# Stock components at low resource, samples drawn anew for each seed. All losses have the same
# number of updates. A loss takes the best of its block's learning rates: see `rates`.
SMALL = ("components.tok2vec.model.encode.width=64", "components.tok2vec.model.encode.depth=2")
FEW = ("training.max_steps=300", "training.eval_frequency=30")
WORDS = ("training.batcher.size=500", *FEW)
TEXTS = ("training.batcher.size=1000", *FEW)
SPANCAT = (*SMALL, *WORDS, "components.spancat.model.reducer.hidden_size=64")
NGRAMS = "components.spancat.suggester.sizes="
ONE_LABEL = ("stock", "ce", "weighted_ce", "dice_ce", "balanced_macro")
MANY = ("stock", "ce", "weighted_ce", "dice_ce", "dice_ce_macro", "balanced_macro")
SOFTMAX = ("ce", "weighted_ce", "dice_ce", "dice_ce_macro", "balanced_macro")


def corpus(block: Block) -> str:
    """How the results call a block's data."""
    return block.data + (f"_{block.task}" if block.data == "edos" else "")


def sigmoids(one: Tuple[str, ...], many: Tuple[str, ...], seeds: range) -> Tuple[Block, ...]:
    """Cells of components with sigmoid heads, of losses for heads of one label and of many."""
    return (
        Block("ncbi_disease", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4,5]"), one, seeds),
        Block("litbank_events", 300, "spancat", (*SPANCAT, NGRAMS + "[1]"), one, seeds),
        Block("wnut17", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4]"), many, seeds),
        Block(
            "goemotions", 3000, "textcat_multilabel_bow", TEXTS, many, seeds, rates=(0.03, 0.003)
        ),
        Block("goemotions", 3000, "textcat_multilabel", (*SMALL, *TEXTS), many, seeds),
        Block("toxic_spans", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4]"), one, seeds),
        Block("toxic_spans", 300, "span_finder", (*SMALL, *WORDS), many, seeds),
    )


def softmaxes(losses: Tuple[str, ...], seeds: range) -> Tuple[Block, ...]:
    """Cells of components with softmax heads; cross-entropy is what they have as stock."""
    return (
        Block("edos", 0, "textcat", (*SMALL, *TEXTS), losses, seeds, "C"),
        Block("ncbi_disease", 300, "dice_ner", (*SMALL, *WORDS), losses, seeds),
        Block("ud_english_lines", 300, "tagger", (*SMALL, *WORDS), losses, seeds),
        Block("wnut17", 300, "dice_ner", (*SMALL, *WORDS), losses, seeds),
        Block("edos", 300, "textcat", (*SMALL, *TEXTS), losses, seeds, "A"),
        Block("litbank_events", 300, "dice_ner", (*SMALL, *WORDS), losses, seeds),
        Block("ud_english_lines", 300, "morphologizer", (*SMALL, *WORDS), losses, seeds),
    )


def in_full(block: Block) -> Block:
    """The same component with all training data and three times the updates."""
    steps = ("training.max_steps=1000", "training.eval_frequency=100")
    settings = tuple(item for item in block.settings if item not in FEW)
    losses = ("stock", "ce", *ALSO_IN_FULL.get(corpus(block), ()))
    return block._replace(size=0, settings=(*settings, *steps), losses=losses)


# With all data, beside stock and cross-entropy: what "auto" is for several labels, and what was
# tried for two.
ALSO_IN_FULL = {
    "wnut17": ("weighted_ce",),
    "goemotions": ("balanced_macro",),
    "edos_A": ("logit_adjustment",),
    "sms_spam": ("logit_adjustment",),
}
BERT_RATES = (0.0003,)  # tuned for cross-entropy in Flair
SPANCAT_BERT = (*BERT_WORDS, NGRAMS + "[1,2,3,4,5]")
TEXTCAT_BERT = "textcat_multilabel_transformer"
ON_BERT = (
    Block(
        "ncbi_disease", 300, "spancat_transformer", SPANCAT_BERT, ("stock", "ce"), rates=BERT_RATES
    ),
    Block(
        "goemotions",
        3000,
        TEXTCAT_BERT,
        BERT_TEXTS,
        ("stock", "ce", "balanced_macro"),
        rates=BERT_RATES,
    ),
)
UNTUNED = ("flair_transformer", "flair_stacked")  # scripts without the option
# Cross-entropy is Flair's own loss.
FLAIR = Block(
    "goemotions",
    3000,
    "flair_texts",
    ("epochs=3", "mini-batch-size=16"),
    ("ce", "balanced_macro"),
    rates=BERT_RATES,
)
NER = tuple(
    Block(data, 300, "ner", (*SMALL, *WORDS), ("stock", "dice_ce"), MORE_SEEDS)
    for data in ("ncbi_disease", "wnut17")
)
SPAM_LOSSES = ("ce", "weighted_ce", "dice_ce", "focal", "logit_adjustment")
SPAM = (Block("sms_spam", 300, "textcat", (*SMALL, *TEXTS), SPAM_LOSSES, MORE_SEEDS),)
TWO_LABELS = (
    SPAM[0]._replace(seeds=SEEDS),
    *(b for b in softmaxes((), SEEDS) if b.task == "A" and b.data == "edos"),
)
SOFT_ADJUSTED = ("adjusted_micro", "adjusted_macro")
HALF = ("half_adjusted_macro",)
REDUCE = Block("goemotions", 3000, "textcat_multilabel_reduce", (*SMALL, *TEXTS), MANY, SEEDS)
SIGMOID_RIVALS = ("focal", "asl", "logit_adjustment_0.5")
TERMS = ("balanced_macro_c", "balanced_micro", "dice_ce_macro_c")
PARTS: Dict[str, Tuple[Block, ...]] = {
    "sigmoid": sigmoids(ONE_LABEL, MANY, MORE_SEEDS),
    "softmax": (*softmaxes(SOFTMAX, MORE_SEEDS), *NER),
    "sigmoid_terms": sigmoids((), TERMS, SEEDS),
    "sigmoid_rivals": sigmoids(SIGMOID_RIVALS, SIGMOID_RIVALS, SEEDS),
    "softmax_rivals": (*softmaxes(("focal", "logit_adjustment"), MORE_SEEDS), *SPAM),
    "adjusted": (*softmaxes(SOFT_ADJUSTED, MORE_SEEDS), *sigmoids((), HALF, MORE_SEEDS)),
    "reduce": (REDUCE,),
    "full": tuple(in_full(block) for block in (*sigmoids((), (), SEEDS), *TWO_LABELS)),
    "bert": ON_BERT,
    "flair": (FLAIR,),
    "first": FIRST,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--transformer", metavar="NAME[=PATH]", help="for models that have one")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", nargs="*", help="only these models")
    parser.add_argument("--corpus", nargs="*", help="only these corpora; EDOS as edos_A, edos_C")
    parser.add_argument("--seed", nargs="*", type=int, help="only these seeds")
    parser.add_argument("--loss", nargs="*", help="only these losses")
    parser.add_argument("--rate", nargs="*", type=float, help="to try, in place of the blocks'")
    parser.add_argument("--tune", action="store_true", help="measure spacy_dice.tune, too")
    parser.add_argument("--results", type=Path, help="the file to append to")
    parser.add_argument("--workers", type=int, default=1, help="cells at once, as tasks of Ray")
    parser.add_argument("--list", action="store_true", help="print the cells, run none")
    args = parser.parse_args()
    results = args.results or COMPONENTS
    for part in args.part:
        for seed in sorted({seed for block in PARTS[part] for seed in block.seeds}):
            commands = []  # which need what other seeds gave, but nothing of one another
            for block in PARTS[part]:
                if args.model and block.model not in args.model or seed not in block.seeds:
                    continue
                if args.seed and seed not in args.seed:
                    continue
                if args.corpus and corpus(block) not in args.corpus:
                    continue
                for loss in block.losses:
                    if args.loss and loss not in args.loss:
                        continue
                    tried = args.rate or block.rates
                    for rate in (
                        [None] if part == "first" else rates(block, loss, seed, results, tried)
                    ):
                        commands.append(arguments(block, loss, seed, rate, args))
            if args.list:
                for command in commands:
                    print(*command)
            else:
                run_all(commands, results if part != "first" else None, args.workers)


def rates(block: Block, loss: str, seed: int, results: Path, tried: Sequence[float]) -> List[float]:
    """The learning rates to train a loss with: those to try with the first seed, and with the
    others the one that was best on dev with the first."""
    if seed == 0:
        return list(tried)
    wanted = {
        "data": corpus(block),
        "size": block.size or "full",
        "model": block.model,
        "loss": loss,
    }
    wanted["seed"] = 0
    cells = read([results])
    found = best_rate(c for c in cells if all(c[k] == v for k, v in wanted.items()))
    return [found or tried[0]]


def arguments(
    block: Block, loss: str, seed: int, rate: float, args: argparse.Namespace
) -> List[str]:
    """What benchmarks.compare.cell takes for a cell."""
    made = ["--data", str(args.data.resolve() / block.data), "--size", str(block.size)]
    made += ["--model", block.model, "--loss", loss, "--seed", str(seed)]
    if rate is not None:
        made += ["--learn-rate", str(rate)]
    if block.data == "edos":
        made += ["--task", block.task]
    if "transformer" in block.model or block.model.startswith("flair"):
        made += ["--transformer", str(args.transformer)]
    if args.tune and block.model not in UNTUNED:
        made += ["--tune"]
    return [*made, *(["--set", *block.settings] if block.settings else [])]


def run_all(commands: List[List[str]], results: Optional[Path], workers: int) -> None:
    """Cells one after the other in this process, or so many at once, each in a new one."""
    if workers == 1:
        for command in commands:
            run(command, results)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports nothing to anybody
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False, object_store_memory=100 * 2**20)
    task = ray.remote(max_calls=1)(run)
    ray.get([task.remote(command, results) for command in commands])


def run(command: List[str], results: Optional[Path]) -> None:
    """A cell; what goes wrong is printed, and the next cell comes."""
    print(*command, flush=True)
    start = time.time()
    try:
        cell.main([*command, *([] if results is None else ["--results", str(results)])])
    except Exception:
        traceback.print_exc()
    print(f"{time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
