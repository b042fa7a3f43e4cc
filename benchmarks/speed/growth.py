"""How time and memory grow with labels, tokens, candidates and the length of documents.

    python -m benchmarks.speed.growth --small      # a minute
    python -m benchmarks.speed.growth              # everything; takes hours on a small machine
    python -m benchmarks.speed.growth --only "tokens, torch loss" --results out/growth.jsonl

DiceCE against the toolkit's own loss, each case at each size in a process of its own with one
thread, where the two take turns: seconds of processor time, of the fastest round of each, and the
most memory of a call besides what is there before it (of thinc what NumPy allocates, of torch what
the process grows by, where that is above 16 MB). The exponent is the slope of log time by log size
over the upper half of the sizes: 1 is linear. A case ends before the size that would take more than
--seconds or --gigabytes; what was left out is printed. Writes JSON lines and a table.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy

from .. import ROOT
from ..results import table_head, table_row
from .timing import Pair, Run, seconds

Pairs = Dict[str, Pair]  # ours and the toolkit's, by what is done
LABELS = (10, 100, 1_000, 10_000)
TOKENS = (1_000, 10_000, 100_000, 1_000_000)
CANDIDATES = (10_000, 100_000, 1_000_000, 10_000_000)
LENGTHS = (10, 100, 1_000, 10_000, 100_000)
# Of --small.
SMALL = {LABELS: (10, 30, 100), TOKENS: (300, 1_000), CANDIDATES: (1_000, 3_000), LENGTHS: (10, 50)}
# What a process can grow by unseen.
MIN_GROWTH = 16e6
SIDES = ("ours", "theirs")


class Case(NamedTuple):
    """A series of measurements.

    Attributes:
        sizes: From small to large.
        make: From a size to what is compared.
        by_process: Whether memory is what a process grows by, as torch's is, and not what NumPy
            allocates.
    """

    sizes: Tuple[int, ...]
    make: Callable[[int], Pairs]
    by_process: bool = False


# -- what is compared --------------------------------------------------------------------------

N_BATCH, DOC_LENGTH = 32, 20


def loss(toolkit: str, n_tokens: int, n_classes: int) -> Pairs:
    """A loss on its own."""
    from . import losses

    losses.torch.set_num_threads(1)
    make = losses.torch_pair if toolkit == "torch" else losses.thinc_pair
    return {"loss": make("DiceCE", n_tokens, n_classes)}


def component(name: str, n_labels: int, lengths: Sequence[int]) -> Pairs:
    """An update, and nlp.pipe, on documents of these lengths."""
    pair = pipeline(name, n_labels), pipeline("ner" if name == "dice_ner" else name, n_labels, "")
    sides = [_runs(nlp, n_labels, lengths) for nlp in pair]
    return {what: (sides[0][what], sides[1][what]) for what in ("update", "pipe")}


def _runs(nlp: Any, n_labels: int, lengths: Sequence[int]) -> Dict[str, Run]:
    from spacy.tokens import Doc

    batch = list(examples(nlp, n_labels, lengths))
    words = [[token.text for token in eg.predicted] for eg in batch]

    def pipe() -> None:
        for _ in nlp.pipe(Doc(nlp.vocab, words=tokens) for tokens in words):
            pass

    return {"update": lambda: nlp.update(batch), "pipe": pipe}


def pipeline(name: str, n_labels: int, loss: str = "DiceCE") -> Any:
    """An initialized pipeline of one component, with use_loss or without."""
    import spacy
    from thinc.api import fix_random_seed

    import spacy_dice

    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(name, config=CONFIGS.get(name, {}))
    # All labels are in the first documents; categories are in each.
    n_docs = 2 if name == "textcat_multilabel" else -(-2 * n_labels // DOC_LENGTH)
    nlp.initialize(lambda: examples(nlp, n_labels, [DOC_LENGTH] * n_docs))
    return spacy_dice.use_loss(nlp, {name: loss}) if loss and name != "dice_ner" else nlp


CONFIGS: Dict[str, Dict[str, Any]] = {
    "trainable_lemmatizer": {"min_tree_freq": 1},
    # The default's bag of words alone would have labels x 262,144 weights.
    "textcat_multilabel": {
        "model": {
            "@architectures": "spacy.TextCatReduce.v1",
            "tok2vec": {
                "@architectures": "spacy.HashEmbedCNN.v2",
                "pretrained_vectors": None,
                "width": 96,
                "depth": 4,
                "embed_size": 2000,
                "window_size": 1,
                "maxout_pieces": 3,
                "subword_features": True,
            },
            "exclusive_classes": False,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": False,
            "use_reduce_mean": True,
        }
    },
}
IN_LETTERS = str.maketrans("0123456789", "abcdefghij")


def examples(nlp: Any, n_labels: int, lengths: Sequence[int]) -> Iterator[Any]:
    """Word number i has label number i of every kind; every second is an entity."""
    from spacy.tokens import Doc
    from spacy.training import Example

    name, first = nlp.pipe_names[0], 0
    for length in lengths:
        numbers = range(first, first + length)
        first += length
        ids = [number % n_labels for number in numbers]
        words = [str(i) for i in ids]
        gold = Doc(
            nlp.vocab,
            words=words,
            tags=[f"T{i}" for i in ids],
            pos=["NOUN"] * length,
            morphs=[f"Case=C{i}" for i in ids],
            lemmas=[word.translate(IN_LETTERS) for word in words],  # a tree for each label
            ents=[f"B-E{n // 2 % n_labels}" if n % 2 else "O" for n in numbers],
        )
        if name == "textcat_multilabel":
            gold.cats = {f"C{i}": float(i == ids[0]) for i in range(n_labels)}
        if name == "spancat":
            gold.spans["sc"] = list(gold.ents)
        yield Example(Doc(nlp.vocab, words=words), gold)


def candidates(n: int) -> Pairs:
    """The loss and gradient of spancat; its model would need some kilobytes a candidate."""
    from spacy.pipeline.spancat import build_ngram_suggester
    from thinc.types import Ragged

    n_labels, length = 4, 100
    pipelines = [pipeline("spancat", n_labels, loss) for loss in ("DiceCE", "")]
    (example,) = examples(pipelines[1], n_labels, [length])
    one: Any = build_ngram_suggester(list(range(1, 11)))([example.predicted])
    n_docs = max(1, n // len(one.dataXd))
    spans = Ragged(
        numpy.tile(one.dataXd, (n_docs, 1)), numpy.repeat(one.lengths, n_docs).astype("int32")
    )
    rng = numpy.random.default_rng(0)
    scores = rng.random((len(spans.dataXd), n_labels), dtype="float32")
    batch = [example] * n_docs

    def get_loss(nlp: Any) -> Run:
        return lambda: nlp.get_pipe("spancat").get_loss(batch, (spans, scores))

    return {"loss": (get_loss(pipelines[0]), get_loss(pipelines[1]))}


def by_labels(name: str) -> Case:
    """A component with more and more labels."""
    return Case(LABELS, lambda n: component(name, n, [DOC_LENGTH] * N_BATCH))


def by_length(name: str) -> Case:
    """A component on one longer and longer document."""
    return Case(LENGTHS, lambda n: component(name, 10, [n]))


CASES = {
    "labels, torch loss": Case(LABELS, lambda n: loss("torch", 2_000, n), by_process=True),
    "labels, thinc loss": Case(LABELS, lambda n: loss("thinc", 2_000, n)),
    **{
        f"labels, {name}": by_labels(name)
        for name in (
            "tagger",
            "morphologizer",
            "trainable_lemmatizer",
            "textcat_multilabel",
            "dice_ner",
        )
    },
    "tokens, torch loss": Case(TOKENS, lambda n: loss("torch", n, 50), by_process=True),
    "tokens, thinc loss": Case(TOKENS, lambda n: loss("thinc", n, 50)),
    "tokens, tagger": Case(TOKENS, lambda n: component("tagger", 50, [25] * (n // 25))),
    "candidates, spancat": Case(CANDIDATES, candidates),
    "length, tagger": by_length("tagger"),
    "length, dice_ner": by_length("dice_ner"),
}


# -- measuring ---------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES, help="cases")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=600, help="at most, of a size")
    parser.add_argument("--gigabytes", type=float, default=6, help="at most, of a process")
    parser.add_argument("--results", type=Path, default=Path("out/growth.jsonl"))
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        limit = int(args.gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for row in measured(args.one[0], int(args.one[1]), args.rounds):
            print(json.dumps(row), flush=True)
        return
    args.results.parent.mkdir(parents=True, exist_ok=True)
    rows: List[Dict[str, Any]] = []
    with args.results.open("w", encoding="utf8") as file_:
        for name in args.only:
            for row in series(name, args):
                file_.write(json.dumps(row) + "\n")
                file_.flush()
                if "left_out" in row:
                    print(f"{name:30} from {row['size']:,} on left out: {row['left_out']}")
                else:
                    print(line(row), flush=True)
                    rows.append(row)
    print("", *table(rows), f"Wrote {args.results}", sep="\n")


def series(name: str, args: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """The rows of a case, from the smallest size on, and what was left out."""
    sizes = SMALL[CASES[name].sizes] if args.small else CASES[name].sizes
    last = 0.0
    for before, size in zip((sizes[0], *sizes), sizes):
        if last * size / before > args.seconds:
            yield {"case": name, "size": size, "left_out": f"more than {args.seconds:g} s"}
            return
        command = [sys.executable, "-m", "benchmarks.speed.growth", "--one", name, str(size)]
        command += ["--rounds", str(args.rounds), "--gigabytes", str(args.gigabytes)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        last = time.monotonic() - start
        yield from (json.loads(row) for row in done.stdout.splitlines() if row.startswith("{"))
        if done.returncode:
            out_of_memory = ("MemoryError", "can't allocate memory", "Cannot allocate")
            if not any(words in done.stderr for words in out_of_memory):
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
            yield {"case": name, "size": size, "left_out": f"more than {args.gigabytes:g} GB"}
            return


def measured(name: str, size: int, rounds: int) -> Iterator[Dict[str, Any]]:
    """One case at one size: a row for each thing that is done."""
    case = CASES[name]
    small = case.make(2) if case.by_process else {}
    for what, pair in case.make(size).items():
        if case.by_process:
            memory = [grown(run, first) for run, first in zip(pair, small[what])]
        else:
            memory = [allocated(run) for run in pair]
        times: List[List[float]] = [[], []]
        for number in range(rounds):
            for which in ((0, 1), (1, 0))[number % 2]:
                times[which].append(seconds(pair[which]))
        yield {
            "case": name,
            "what": what,
            "size": size,
            "seconds": dict(zip(SIDES, map(min, times))),
            "bytes": dict(zip(SIDES, memory)),
        }


def allocated(run: Run) -> float:
    """What is allocated at most at a time by a second call: the first makes what stays."""
    run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def grown(run: Run, first: Run) -> float:
    """What a process grows by at most after a small first call, which loads what is needed; 0 if
    that is too little to tell."""
    with multiprocessing.get_context("fork").Pool(1, _remember, (run, first)) as pool:
        return pool.apply(_grown)


_run: Run


def _remember(run: Run, first: Run) -> None:
    global _run
    _run = run
    first()


def _grown() -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _run()
    growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return growth if growth > MIN_GROWTH else 0.0


# -- showing it --------------------------------------------------------------------------------


def exponent(rows: Sequence[Dict[str, Any]], side: str, key: str = "seconds") -> float:
    """The slope of log time, or memory, by log size over the upper half of the sizes."""
    upper = [row for row in rows[len(rows) // 2 - (len(rows) < 4) :] if row[key][side] > 0]
    if len(upper) < 2:
        return float("nan")
    sizes, values = [row["size"] for row in upper], [row[key][side] for row in upper]
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0])


def ratio(row: Dict[str, Any], key: str) -> float:
    """Ours by theirs."""
    ours, theirs = (row[key][side] for side in SIDES)
    return ours / theirs if ours and theirs else float("nan")


def line(row: Dict[str, Any]) -> str:
    """A row as it is printed while the others are measured."""
    ours, theirs = (row["seconds"][side] for side in SIDES)
    megabytes = [row["bytes"][side] / 1e6 for side in SIDES]
    return (
        f"{row['case']:30} {row['what']:6} {row['size']:>10,}  time {ratio(row, 'seconds'):5.2f}  "
        f"({ours:.4f} s / {theirs:.4f} s)  memory {ratio(row, 'bytes'):5.2f}  "
        f"({megabytes[0]:,.1f} MB / {megabytes[1]:,.1f} MB)"
    )


def table(rows: Sequence[Dict[str, Any]]) -> List[str]:
    """A row for each case and what is done."""
    cases: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["case"], row["what"]), []).append(row)
    heads = ["case", "", "sizes", "exponent of time, ours", "theirs", "of memory, ours", "theirs"]
    heads += ["at the largest: time, ours / theirs", "at most: memory, ours / theirs"]
    lines = table_head(heads)
    for (case, what), found in cases.items():
        exponents = [exponent(found, side, key) for key in ("seconds", "bytes") for side in SIDES]
        memory = [value for value in (ratio(row, "bytes") for row in found) if value == value]
        cells = [case, what, f"{found[0]['size']:,} to {found[-1]['size']:,}"]
        cells += [f"{value:.2f}" for value in exponents]
        cells += [f"{ratio(found[-1], 'seconds'):.2f}", f"{max(memory):.2f}" if memory else ""]
        lines.append(table_row(cells))
    return lines


if __name__ == "__main__":
    main()
