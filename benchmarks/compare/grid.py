"""All runs of the comparison, one after the other; those that are in the results are skipped.

    python -m benchmarks.compare.grid --data FOLDER [--part NAME ...] [--transformer PATH]

FOLDER holds a folder for each corpus. In the parts on files of configs/ each loss has a learning
rate of its own: the one of its block's rates that is best on dev with the first seed. In the parts
"bert" and "init_config", on configs as `spacy init config` writes them, nothing is overridden but
paths, seed and what the block names. One JSON line is appended for each run.
"""

import argparse
import json
import time
import traceback
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..results import COMPONENTS, INIT_CONFIG, append, best_rate, is_done, read
from .recipes import AUTO, STOCK
from .training import INIT, Sizes, measure

# Learning rates to try, of a small network.
RATES = (0.003, 0.001)


class Block(NamedTuple):
    """Runs of one corpus, size and model.

    Attributes:
        data: The folder of the corpus.
        size: Training examples; 0 is all.
        model: As for `training.measure`.
        settings: Overrides of the config, KEY=JSON.
        losses: Names of `recipes.LOSSES`.
        seeds: One run for each.
        task: Of EDOS: A or C.
        rates: Learning rates to try; empty is the config's own.
        dev: Documents of dev that are used; 0 is all.
        test: The same of test.
    """

    data: str
    size: int
    model: str
    settings: Tuple[str, ...]
    losses: Tuple[str, ...]
    seeds: range = range(5)
    task: str = "A"
    rates: Tuple[float, ...] = RATES
    dev: int = 0
    test: int = 0

    def corpus(self) -> str:
        """The name of the data in the results."""
        return self.data + (f"_{self.task}" if self.data == "edos" else "")


# Small networks on files of configs/: samples are drawn anew for each seed, and all losses have
# the same number of updates.
SMALL = ("components.tok2vec.model.encode.width=64", "components.tok2vec.model.encode.depth=2")
FEW = ("training.max_steps=300", "training.eval_frequency=30")
MORE = ("training.max_steps=1000", "training.eval_frequency=100")
WORDS = ("training.batcher.size=500", *FEW)
TEXTS = ("training.batcher.size=1000", *FEW)
SPANCAT = (*SMALL, *WORDS, "components.spancat.model.reducer.hidden_size=64")
RATE = "training.optimizer.learn_rate"
NGRAMS = "components.spancat.suggester.sizes="
ONE_LABEL = ("stock", "ce", "weighted_ce", "dice_ce", "balanced_macro")
MANY = ("stock", "ce", "weighted_ce", "dice_ce", "dice_ce_macro", "balanced_macro")
SOFTMAX = ("ce", "weighted_ce", "dice_ce", "dice_ce_macro", "balanced_macro")
FEW_SEEDS = range(3)


def sigmoids(
    one: Tuple[str, ...], many: Tuple[str, ...], seeds: range = range(5)
) -> Tuple[Block, ...]:
    """Blocks of components with sigmoid heads, of losses for heads of one label and of many."""
    rows = (
        ("ncbi_disease", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4,5]"), one),
        ("litbank_events", 300, "spancat", (*SPANCAT, NGRAMS + "[1]"), one),
        ("wnut17", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4]"), many),
        ("goemotions", 3000, "textcat_multilabel_bow", TEXTS, many),
        ("goemotions", 3000, "textcat_multilabel", (*SMALL, *TEXTS), many),
        ("toxic_spans", 300, "spancat", (*SPANCAT, NGRAMS + "[1,2,3,4]"), one),
        ("toxic_spans", 300, "span_finder", (*SMALL, *WORDS), many),
    )
    made = (Block(*row, seeds) for row in rows)
    bow_rates = (0.03, 0.003)
    return tuple(b._replace(rates=bow_rates) if b.model.endswith("_bow") else b for b in made)


def softmaxes(losses: Sequence[str], seeds: range = range(5)) -> Tuple[Block, ...]:
    """Blocks of components with softmax heads; cross-entropy is the stock loss of these."""
    rows = (
        ("edos", 0, "textcat", (*SMALL, *TEXTS), "C"),
        ("ncbi_disease", 300, "dice_ner", (*SMALL, *WORDS), "A"),
        ("ud_english_lines", 300, "tagger", (*SMALL, *WORDS), "A"),
        ("wnut17", 300, "dice_ner", (*SMALL, *WORDS), "A"),
        ("edos", 300, "textcat", (*SMALL, *TEXTS), "A"),
        ("litbank_events", 300, "dice_ner", (*SMALL, *WORDS), "A"),
    )
    return tuple(Block(*row[:4], tuple(losses), seeds, row[4]) for row in rows)


def full(block: Block) -> Block:
    """The same component with all training data and three times the updates."""
    also = {"wnut17": ("weighted_ce",), "goemotions": ("balanced_macro",)}
    also.update(dict.fromkeys(("edos_A", "sms_spam"), ("logit_adjustment",)))
    settings = tuple(item for item in block.settings if item not in FEW)
    losses = ("stock", "ce", *also.get(block.corpus(), ()))
    return block._replace(size=0, settings=(*settings, *MORE), losses=losses, seeds=FEW_SEEDS)


NER = tuple(
    Block(data, 300, "ner", (*SMALL, *WORDS), ("stock", "dice_ce"))
    for data in ("ncbi_disease", "wnut17")
)
SPAM_LOSSES = ("ce", "weighted_ce", "dice_ce", "focal", "logit_adjustment")
SPAM = Block("sms_spam", 300, "textcat", (*SMALL, *TEXTS), SPAM_LOSSES)
TWO_LABELS = (SPAM, *(b for b in softmaxes(()) if b.corpus() == "edos_A"))
SIGMOID_RIVALS = ("focal", "logit_adjustment_0.5")
REDUCE = Block("goemotions", 3000, "textcat_multilabel_reduce", (*SMALL, *TEXTS), MANY, FEW_SEEDS)

# Configs as `spacy init config` writes them.
FLAG = (STOCK, AUTO)
SEEDS = range(1, 4)
SIZES = "components.spancat.suggester.sizes=[1, 2, 3, 4, 5]"
# Batches of 500 words, an update for each; the warm-up of 250 updates is that of the config.
FINE_TUNED = ("training.accumulate_gradient=1", "training.batcher.size=500")
BERT_SETTINGS = (
    *FINE_TUNED,
    "training.optimizer.learn_rate.initial_rate=0.0002",
    "training.max_steps=400",
    "training.eval_frequency=40",
)
NER_LOSSES, DICE_NER_LOSSES = (STOCK, "dice_ce"), ("ce", AUTO)
BERT = tuple(
    Block(
        *(data, size, f"{name}_init_gpu", (*BERT_SETTINGS, *more), losses, SEEDS, task, ()),
        *(dev, test),
    )
    for data, size, name, more, losses, task, dev, test in (
        ("wnut17", 1000, "spancat", (SIZES,), FLAG, "A", 500, 0),
        ("ncbi_disease", 600, "spancat", (SIZES,), FLAG, "A", 400, 0),
        ("litbank_entities", 1000, "spancat", (SIZES,), FLAG, "A", 500, 1000),
        ("goemotions", 1500, "textcat_multilabel", (), FLAG, "A", 1000, 2000),
        ("edos", 1500, "textcat", (), FLAG, "C", 0, 0),
        ("wnut17", 1000, "ner", (), NER_LOSSES, "A", 500, 0),
        ("wnut17", 1000, "dice_ner", (), DICE_NER_LOSSES, "A", 500, 0),
        ("ncbi_disease", 600, "ner", (), NER_LOSSES, "A", 400, 0),
        ("ncbi_disease", 600, "dice_ner", (), DICE_NER_LOSSES, "A", 400, 0),
    )
)
# The paper's losses on the paper's treebank, with configs/tagger.cfg and fewer updates.
PAPER_LOSSES = ("ce", "focal", "paper_dl", "paper_dsc", "dice_ce")
PAPER = (Block("ud_chinese_1_4", 0, "tagger", MORE, PAPER_LOSSES, SEEDS, rates=()),)
UNTOUCHED = (
    Block("goemotions", 0, "textcat_multilabel_init", (), FLAG, SEEDS, rates=()),
    Block("edos", 0, "textcat_init", (), FLAG, SEEDS, "C", ()),
    *(
        Block(data, 0, "spancat_init", (SIZES,), FLAG, SEEDS, rates=())
        for data in ("ncbi_disease", "wnut17", "litbank_entities")
    ),
)
# `ner` or `dice_ner`, on the same tok2vec.
ENTITIES = tuple(
    Block(data, size, f"{name}_init", steps, losses, range(1, 6), rates=())
    for data in ("wnut17", "ncbi_disease", "litbank_entities", "litbank_events")
    for size, steps in (
        (300, ("training.max_steps=600", "training.eval_frequency=60")),
        (0, ("training.max_steps=2000", "training.eval_frequency=200")),
    )
    for name, losses in (("ner", (STOCK,)), ("dice_ner", DICE_NER_LOSSES))
)
# What weights a spancat of several labels trains with, at two learning rates, to a patience.
WEIGHTS = ("ce", "weighted_ce", "weighted_ce_10", "asymmetric")
UNTIL_PATIENCE = (
    "training.batcher.size=500",
    "training.max_steps=1200",
    "training.patience=300",
    "training.eval_frequency=50",
)
SPANS = (*SMALL, *UNTIL_PATIENCE, "components.spancat.model.reducer.hidden_size=64")
DEFAULTS = tuple(
    Block(
        *(data, 1000, "spancat", (*SPANS, NGRAMS + "[1,2,3,4]", f"{RATE}={rate}"), WEIGHTS),
        *(SEEDS, "A", (), 0, 1000),
    )
    for data in ("wnut17", "litbank_entities")
    for rate in RATES
)
PARTS: Dict[str, Tuple[Block, ...]] = {
    "sigmoid": sigmoids(ONE_LABEL, MANY),
    "softmax": (*softmaxes(SOFTMAX), *NER),
    "sigmoid_rivals": sigmoids(SIGMOID_RIVALS, SIGMOID_RIVALS, FEW_SEEDS),
    "softmax_rivals": (*softmaxes(("focal", "logit_adjustment")), SPAM),
    "reduce": (REDUCE,),
    "full": tuple(full(block) for block in (*sigmoids((), ()), *TWO_LABELS)),
    "bert": BERT,
    "init_config": UNTOUCHED,
    "entities": ENTITIES,
    "paper": PAPER,
    "defaults": DEFAULTS,
}


def main(arguments: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--transformer", help='name or folder, for the part "bert"')
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--gpu-id", type=int, default=-1, help="as of spacy train")
    parser.add_argument("--only", nargs="*", default=[], help="a model, corpus, seed or loss")
    parser.add_argument("--results", type=Path, help="the file to append to")
    parser.add_argument("--list", action="store_true", help="print the runs, train none")
    args = parser.parse_args(arguments)
    for part in args.part:
        for block, loss, seed in chosen(PARTS[part], args):
            path = args.results or (INIT_CONFIG if INIT in block.model else COMPONENTS)
            for rate in rates(block, loss, seed, path):
                key = key_of(block, loss, seed, rate)
                is_there = is_done(key, path)
                if args.list or is_there:
                    print("done already" if is_there else "to do", json.dumps(key))
                    continue
                try:
                    run(block, loss, seed, rate, args.data, path, args.transformer, args.gpu_id)
                except Exception:  # a run that fails is shown, and the next one begins
                    traceback.print_exc()


def chosen(blocks: Sequence[Block], args: argparse.Namespace) -> Iterator[Tuple[Block, str, int]]:
    """What is asked for, seed by seed: later seeds need what the first gave."""
    for seed in sorted({seed for block in blocks for seed in block.seeds}):
        for block in blocks:
            for loss in block.losses:
                words = {block.model, block.corpus(), str(seed), loss}
                if seed in block.seeds and words.issuperset(args.only):
                    yield block, loss, seed


def rates(block: Block, loss: str, seed: int, results: Path) -> List[Optional[float]]:
    """The learning rates to train a loss with: those to try with the first seed, and with the
    others the one that was best on dev with the first; None is the config's own."""
    if not block.rates:
        return [None]
    if seed == block.seeds[0]:
        return list(block.rates)
    wanted = key_of(block, loss, block.seeds[0], None)
    compared = ("data", "size", "model", "loss", "seed")
    found = best_rate(r for r in read([results]) if all(r[k] == wanted[k] for k in compared))
    return [found or block.rates[0]]


def key_of(block: Block, loss: str, seed: int, rate: Optional[float]) -> Dict[str, Any]:
    """What tells a run from all others, as the results have it."""
    return {
        "data": block.corpus(),
        "size": block.size or "full",
        "model": block.model,
        "loss": loss,
        "seed": seed,
        "learn_rate": rate,
        "settings": sorted(block.settings),
    }


def run(
    block: Block,
    loss: str,
    seed: int,
    rate: Optional[float],
    data: Path,
    results: Path,
    transformer: Optional[str] = None,
    gpu_id: int = -1,
) -> None:
    """Measure one run, and append its line."""
    key, start = key_of(block, loss, seed, rate), time.time()
    overrides = {name: value(text) for name, text in (s.split("=", 1) for s in block.settings)}
    if rate is not None:
        overrides[RATE] = rate
    sizes = Sizes(block.size, block.dev, block.test)
    folder = data.resolve() / block.data
    measured = measure(
        *(block.model, loss, seed, folder, sizes, overrides),
        task=block.task,
        transformer=transformer,
        gpu_id=gpu_id,
    )
    append({**key, **measured}, results)
    scores = {split: measured[split]["f"] for split in ("dev", "test")}
    print(json.dumps({**key, **scores, "seconds": round(time.time() - start)}), flush=True)


def value(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
