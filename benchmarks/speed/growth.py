"""How time and memory grow with labels, tokens, candidates and the length of documents.

    python -m benchmarks.speed.growth              # everything; takes hours on a small machine
    python -m benchmarks.speed.growth --only "tokens, torch loss" --sizes 300 1000 3000

DiceCE against the toolkit's own loss, each case at each size in a process of its own with one
thread, where the two take turns: seconds of processor time, of the fastest round of each, and the
most memory of a call besides what is there before it (of thinc what NumPy allocates, of torch what
the process grows by, where that is above 16 MB). The exponent is the slope of log time by log size
over the upper half of the sizes: 1 is linear. A case ends at the size that takes more than
--seconds or --gigabytes; what is left out is printed. Writes JSON lines and a table.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy
from spacy.pipeline.spancat import build_ngram_suggester
from thinc.types import Ragged

from .. import ROOT
from ..results import table_head, table_row
from . import components, losses
from .timing import Pair, Run, allocated, growth, measure_pair

Pairs = Dict[str, Pair]  # ours and the toolkit's, by what is done
LABELS = (10, 100, 1_000, 10_000)
TOKENS = (1_000, 10_000, 100_000, 1_000_000)
CANDIDATES = (10_000, 100_000, 1_000_000, 10_000_000)
LENGTHS = (10, 100, 1_000, 10_000, 100_000)
N_BATCH, DOC_LENGTH = 32, 20
# What a process can grow by unseen.
MIN_GROWTH = 16e6
SIDES = ("ours", "theirs")


# -- what is compared --------------------------------------------------------------------------


def component(name: str, n_labels: int, lengths: Sequence[int]) -> Pairs:
    """An update, and nlp.pipe, on documents of these lengths."""
    sides = []
    for factory, loss in ((name, "DiceCE"), ("ner" if name == "dice_ner" else name, "")):
        nlp = pipeline(factory, n_labels, loss)
        batch = components.examples(nlp, sentences(n_labels, lengths))
        pipe = components.pipe(nlp, sentences(n_labels, lengths))
        sides.append((lambda nlp=nlp, batch=batch: nlp.update(batch), pipe))
    return dict(zip(("update", "pipe"), zip(*sides)))


def pipeline(name: str, n_labels: int, loss: str) -> Any:
    """An initialized pipeline of one component. All labels are in the first documents."""
    n_docs = -(-2 * n_labels // DOC_LENGTH)
    return components.pipeline(name, sentences(n_labels, [DOC_LENGTH] * n_docs), loss)


def sentences(n_labels: int, lengths: Sequence[int]) -> List[components.Sentence]:
    """Every second word is an entity, of one label after another."""
    made, first = [], 0
    for length in lengths:
        numbers = range(first, first + length)
        first += length
        tags = [f"B-E{n // 2 % n_labels}" if n % 2 else "O" for n in numbers]
        made.append(([str(n % n_labels) for n in numbers], tags))
    return made


def candidates(n: int) -> Pairs:
    """The loss and gradient of spancat; its model would need some kilobytes a candidate."""
    n_labels = 4
    pipelines = [pipeline("spancat", n_labels, loss) for loss in ("DiceCE", "")]
    (example,) = components.examples(pipelines[1], sentences(n_labels, [100]))
    one: Any = build_ngram_suggester(list(range(1, 11)))([example.predicted])
    n_docs = max(1, n // len(one.dataXd))
    lengths = numpy.repeat(one.lengths, n_docs).astype("int32")
    spans = Ragged(numpy.tile(one.dataXd, (n_docs, 1)), lengths)
    rng = numpy.random.default_rng(0)
    scores = rng.random((len(spans.dataXd), n_labels), dtype="float32")
    batch = [example] * n_docs

    def get_loss(nlp: Any) -> Run:
        return lambda: nlp.get_pipe("spancat").get_loss(batch, (spans, scores))

    return {"loss": (get_loss(pipelines[0]), get_loss(pipelines[1]))}


# Sizes from small to large, and from a size to what is compared. Of torch, memory is what a process
# grows by, else what NumPy allocates.
CASES: Dict[str, Tuple[Sequence[int], Callable[[int], Pairs]]] = {
    "labels, torch loss": (LABELS, lambda n: {"loss": losses.torch_pair("DiceCE", 2_000, n)}),
    "labels, thinc loss": (LABELS, lambda n: {"loss": losses.thinc_pair("DiceCE", 2_000, n)}),
    "labels, tagger": (LABELS, lambda n: component("tagger", n, [DOC_LENGTH] * N_BATCH)),
    "labels, dice_ner": (LABELS, lambda n: component("dice_ner", n, [DOC_LENGTH] * N_BATCH)),
    "tokens, torch loss": (TOKENS, lambda n: {"loss": losses.torch_pair("DiceCE", n, 50)}),
    "tokens, thinc loss": (TOKENS, lambda n: {"loss": losses.thinc_pair("DiceCE", n, 50)}),
    "tokens, tagger": (TOKENS, lambda n: component("tagger", 50, [25] * (n // 25))),
    "candidates, spancat": (CANDIDATES, candidates),
    "length, tagger": (LENGTHS, lambda n: component("tagger", 10, [n])),
    "length, dice_ner": (LENGTHS, lambda n: component("dice_ner", 10, [n])),
}


# -- measuring ---------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES, help="cases")
    parser.add_argument("--sizes", nargs="*", type=int, help="in place of those of the cases")
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
        for row in (row for name in args.only for row in series(name, args)):
            print(json.dumps(row), file=file_, flush=True)
            print(row, flush=True)
            rows.append(row)
    print("", *table(rows), f"Wrote {args.results}", sep="\n")


def series(name: str, args: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """The rows of a case, from the smallest size on."""
    for size in args.sizes or CASES[name][0]:
        command = [sys.executable, "-m", "benchmarks.speed.growth", "--one", name, str(size)]
        command += ["--rounds", str(args.rounds), "--gigabytes", str(args.gigabytes)]
        how: Dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "cwd": ROOT}
        how.update(stdout=subprocess.PIPE, text=True, check=True, timeout=args.seconds)
        try:
            lines = subprocess.run(command, **how).stdout.splitlines()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{name} from {size:,} on left out: {error}")
            return
        yield from (json.loads(row) for row in lines if row.startswith("{"))


def measured(name: str, size: int, rounds: int) -> Iterator[Dict[str, Any]]:
    """One case at one size: a row for each thing that is done."""
    losses.torch.set_num_threads(1)
    make, is_torch = CASES[name][1], "torch" in name
    small = make(2) if is_torch else {}
    for what, pair in make(size).items():
        if is_torch:
            memory = [growth(run, first) for run, first in zip(pair, small[what])]
            memory = [value if value > MIN_GROWTH else 0.0 for value in memory]
        else:
            memory = [allocated(run) for run in pair]
        times = map(min, zip(*measure_pair(pair, rounds)))
        row = {"case": name, "what": what, "size": size, "seconds": dict(zip(SIDES, times))}
        yield {**row, "bytes": dict(zip(SIDES, memory))}


# -- showing it --------------------------------------------------------------------------------


def exponent(rows: Sequence[Dict[str, Any]], side: str, key: str = "seconds") -> float:
    """The slope of log time, or memory, by log size over the upper half of the sizes."""
    upper = [row for row in rows[len(rows) // 2 - (len(rows) < 4) :] if row[key][side] > 0]
    if len(upper) < 2:
        return float("nan")
    sizes, values = [row["size"] for row in upper], [row[key][side] for row in upper]
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0])


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
        ours, theirs = (found[-1]["seconds"][side] for side in SIDES)
        pairs = [[row["bytes"][side] for side in SIDES] for row in found]
        memory = max((a / b for a, b in pairs if a and b), default=float("nan"))
        cells = [f"{value:.2f}" for value in (*exponents, ours / theirs, memory)]
        sizes = f"{found[0]['size']:,} to {found[-1]['size']:,}"
        lines.append(table_row([case, what, sizes, *cells]))
    return lines


if __name__ == "__main__":
    main()
