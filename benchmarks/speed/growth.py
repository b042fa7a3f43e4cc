"""How time and memory grow with labels, tokens, candidates and the length of documents.

    python -m benchmarks.speed.growth --small      # a minute
    python -m benchmarks.speed.growth              # everything; takes hours on a small machine
    python -m benchmarks.speed.growth --only "tokens, torch loss" --results out/growth.jsonl

DiceCE against the toolkit's own loss, of each case at each size in a process of its own with one
thread, where the two take turns: seconds of processor time, of the fastest round of each, and the
most memory that a call takes beside what is there before it (of thinc what NumPy allocates, of
torch what the process grows by, where that is above 16 MB). The
exponent is the slope of log time by log size over the upper half of the sizes: 1 is linear. A case
ends before the size that would take more than --seconds or --gigabytes, for the toolkit's own loss
as much as for ours; what was left out is said. Writes JSON lines, a table and a picture.
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

Pairs = Dict[str, Tuple[Callable[[], Any], Callable[[], Any]]]  # ours and theirs, by what is done
LABELS = (10, 100, 1_000, 10_000)
TOKENS = (1_000, 10_000, 100_000, 1_000_000)
CANDIDATES = (10_000, 100_000, 1_000_000, 10_000_000)
LENGTHS = (10, 100, 1_000, 10_000, 100_000)
# Of --small.
SMALL = {LABELS: (10, 30, 100), TOKENS: (300, 1_000), CANDIDATES: (1_000, 3_000), LENGTHS: (10, 50)}
# What a process can grow by unseen.
MIN_GROWTH = 16e6
LINES = {"ours": ("black", "-"), "theirs": ("gray", "--")}


class Case(NamedTuple):
    """sizes: from small to large. make: from a size to what is compared. of_process: whether
    memory is what a process grows by, as torch's is, and not what NumPy allocates."""

    sizes: Tuple[int, ...]
    make: Callable[[int], Pairs]
    of_process: bool = False


# -- losses by themselves ----------------------------------------------------------------------


def torch_loss(n_tokens: int, n_classes: int) -> Pairs:
    import torch
    from torch.nn import functional

    import flair_dice

    torch.set_num_threads(1)
    torch.manual_seed(0)
    logits = torch.randn(n_tokens, n_classes, requires_grad=True)
    gold = torch.randint(0, n_classes, (n_tokens,))

    def of(loss: Any) -> Callable[[], None]:
        def run() -> None:
            logits.grad = None
            loss(logits, gold).backward()

        return run

    return {"loss": (of(flair_dice.DiceCE()), of(functional.cross_entropy))}


def thinc_loss(n_tokens: int, n_classes: int) -> Pairs:
    from thinc.api import SequenceCategoricalCrossentropy

    import spacy_dice

    rng = numpy.random.default_rng(0)
    names = [f"label{i}" for i in range(n_classes)]
    p = rng.random((n_tokens, n_classes), dtype="float32")
    p /= p.sum(axis=1, keepdims=True)
    docs = numpy.array_split(p, max(1, n_tokens // 25))
    truths = [[names[i] for i in rng.integers(0, n_classes, len(doc))] for doc in docs]
    ours = spacy_dice.DiceCE(names=names)
    stock = SequenceCategoricalCrossentropy(names=names, normalize=False, neg_prefix="!")
    return {"loss": (lambda: ours(docs, truths), lambda: stock(docs, truths))}


# -- components --------------------------------------------------------------------------------

N_BATCH, DOC_LENGTH = 32, 20


def component(name: str, n_labels: int, lengths: Sequence[int]) -> Pairs:
    """An update, and nlp.pipe, on documents of these lengths."""
    from spacy.tokens import Doc

    pair = [pipeline(name, n_labels, "DiceCE"), pipeline(stock_of(name), n_labels, "")]
    runs: Dict[str, List[Callable[[], Any]]] = {"update": [], "pipe": []}
    for nlp in pair:
        batch = list(examples(nlp, n_labels, lengths))
        words = [[token.text for token in eg.predicted] for eg in batch]
        runs["update"].append(lambda nlp=nlp, batch=batch: nlp.update(batch))  # type: ignore[misc]
        runs["pipe"].append(
            lambda nlp=nlp, words=words: [  # type: ignore[misc]
                len(doc) for doc in nlp.pipe(Doc(nlp.vocab, words=of_doc) for of_doc in words)
            ]
        )
    return {what: (ours, theirs) for what, (ours, theirs) in runs.items()}


def stock_of(name: str) -> str:
    return "ner" if name == "dice_ner" else name


def pipeline(name: str, n_labels: int, loss: str) -> Any:
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


TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 96,
    "depth": 4,
    "embed_size": 2000,
    "window_size": 1,
    "maxout_pieces": 3,
    "subword_features": True,
}
CONFIGS: Dict[str, Dict[str, Any]] = {
    "trainable_lemmatizer": {"min_tree_freq": 1},
    # The default's bag of words alone would have labels x 262,144 weights.
    "textcat_multilabel": {
        "model": {
            "@architectures": "spacy.TextCatReduce.v1",
            "tok2vec": TOK2VEC,
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

    pipe, first = nlp.pipe_names[0], 0
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
        if pipe == "textcat_multilabel":
            gold.cats = {f"C{i}": float(i == ids[0]) for i in range(n_labels)}
        if pipe == "spancat":
            gold.spans["sc"] = list(gold.ents)
        yield Example(Doc(nlp.vocab, words=words), gold)


def candidates(n: int) -> Pairs:
    """The loss and gradient of spancat; its model would take some kilobytes a candidate."""
    import spacy
    from spacy.pipeline.spancat import build_ngram_suggester
    from thinc.types import Ragged

    n_labels, length = 4, 100
    pair = [pipeline("spancat", n_labels, loss).get_pipe("spancat") for loss in ("DiceCE", "")]
    nlp = spacy.blank("en")
    nlp.add_pipe("spancat")
    (example,) = examples(nlp, n_labels, [length])
    of_doc = build_ngram_suggester(list(range(1, 11)))([example.predicted])
    n_docs = max(1, n // len(of_doc.dataXd))
    spans = Ragged(
        numpy.tile(of_doc.dataXd, (n_docs, 1)),
        numpy.repeat(of_doc.lengths, n_docs).astype("int32"),
    )
    rng = numpy.random.default_rng(0)
    scores = rng.random((len(spans.dataXd), n_labels), dtype="float32")
    batch = [example] * n_docs

    def of(pipe: Any) -> Callable[[], Any]:
        return lambda: pipe.get_loss(batch, (spans, scores))

    return {"loss": (of(pair[0]), of(pair[1]))}


def of_labels(name: str) -> Case:
    return Case(LABELS, lambda n: component(name, n, [DOC_LENGTH] * N_BATCH))


def of_lengths(name: str) -> Case:
    return Case(LENGTHS, lambda n: component(name, 10, [n]))


CASES = {
    "labels, torch loss": Case(LABELS, lambda n: torch_loss(2_000, n), of_process=True),
    "labels, thinc loss": Case(LABELS, lambda n: thinc_loss(2_000, n)),
    "labels, tagger": of_labels("tagger"),
    "labels, morphologizer": of_labels("morphologizer"),
    "labels, trainable_lemmatizer": of_labels("trainable_lemmatizer"),
    "labels, textcat_multilabel": of_labels("textcat_multilabel"),
    "labels, dice_ner": of_labels("dice_ner"),
    "tokens, torch loss": Case(TOKENS, lambda n: torch_loss(n, 50), of_process=True),
    "tokens, thinc loss": Case(TOKENS, lambda n: thinc_loss(n, 50)),
    "tokens, tagger": Case(TOKENS, lambda n: component("tagger", 50, [25] * (n // 25))),
    "candidates, spancat": Case(CANDIDATES, candidates),
    "length, tagger": of_lengths("tagger"),
    "length, dice_ner": of_lengths("dice_ner"),
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
    parser.add_argument("--cell", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        limit = int(args.gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        for row in cell(args.cell[0], int(args.cell[1]), args.rounds):
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
    print(*table(rows), sep="\n")
    print("Wrote", args.results, "and", picture(rows, args.results.with_suffix(".png")))


def series(name: str, args: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """The rows of a case, from the smallest size on, and what was left out."""
    sizes = SMALL[CASES[name].sizes] if args.small else CASES[name].sizes
    took = 0.0
    for before, size in zip((sizes[0], *sizes), sizes):
        if took * size / before > args.seconds:
            yield {"case": name, "size": size, "left_out": f"more than {args.seconds:g} s"}
            return
        command = [sys.executable, "-m", "benchmarks.speed.growth", "--cell", name, str(size)]
        command += ["--rounds", str(args.rounds), "--gigabytes", str(args.gigabytes)]
        start = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        took = time.monotonic() - start
        found = [json.loads(row) for row in done.stdout.splitlines() if row.startswith("{")]
        yield from found
        if done.returncode:
            out_of_memory = ("MemoryError", "can't allocate memory", "Cannot allocate")
            if not any(words in done.stderr for words in out_of_memory):
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
            yield {"case": name, "size": size, "left_out": f"more than {args.gigabytes:g} GB"}
            return


def cell(name: str, size: int, rounds: int) -> Iterator[Dict[str, Any]]:
    """One case at one size: a row for each thing that is done."""
    case = CASES[name]
    if case.of_process:  # what is imported at a first call is no growth
        for run in sum(case.make(2).values(), ()):
            run()
    for what, pair in case.make(size).items():
        memory = [grown(run) if case.of_process else allocated(run) for run in pair]
        seconds: List[List[float]] = [[], []]
        for number in range(rounds):
            for which in ((0, 1), (1, 0))[number % 2]:
                seconds[which].append(timed(pair[which]))
        yield {
            "case": name,
            "what": what,
            "size": size,
            "seconds": dict(zip(LINES, map(min, seconds))),
            "bytes": dict(zip(LINES, memory)),
        }


def timed(run: Callable[[], Any]) -> float:
    start = time.process_time()  # without the turns of other processes
    run()
    return time.process_time() - start


def allocated(run: Callable[[], Any]) -> float:
    """What is allocated at most at a time, beside what is there before. After a first call, which
    makes what stays."""
    run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def grown(run: Callable[[], Any]) -> float:
    """What a process grows by at most; 0 if that is too little to tell."""
    with multiprocessing.get_context("fork").Pool(1, _remember, (run,)) as pool:
        return pool.apply(_grown)


_run: Callable[[], Any]


def _remember(run: Callable[[], Any]) -> None:
    global _run
    _run = run


def _grown() -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _run()
    growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return growth if growth > MIN_GROWTH else 0.0


# -- saying it ---------------------------------------------------------------------------------


def exponent(rows: Sequence[Dict[str, Any]], which: str, of: str = "seconds") -> float:
    """The slope of log time, or memory, by log size over the upper half of the sizes."""
    upper = [row for row in rows[len(rows) // 2 - (len(rows) < 4) :] if row[of][which] > 0]
    if len(upper) < 2:
        return float("nan")
    sizes, values = (
        [f(row) for row in upper] for f in (lambda r: r["size"], lambda r: r[of][which])
    )
    return float(numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)[0])


def ratio(row: Dict[str, Any], of: str) -> float:
    ours, theirs = (row[of][which] for which in LINES)
    return ours / theirs if ours and theirs else float("nan")


def line(row: Dict[str, Any]) -> str:
    ours, theirs = (row["seconds"][which] for which in LINES)
    megabytes = [row["bytes"][which] / 1e6 for which in LINES]
    return (
        f"{row['case']:30} {row['what']:6} {row['size']:>10,}  time {ratio(row, 'seconds'):5.2f}  "
        f"({ours:.4f} s / {theirs:.4f} s)  memory {ratio(row, 'bytes'):5.2f}  "
        f"({megabytes[0]:,.1f} MB / {megabytes[1]:,.1f} MB)"
    )


def by_case(rows: Sequence[Dict[str, Any]]) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
    found: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["case"], row["what"]), []).append(row)
    return found


def table(rows: Sequence[Dict[str, Any]]) -> Iterator[str]:
    yield ""
    heads = ["case", "", "sizes", "exponent of time, ours", "theirs", "of memory, ours", "theirs"]
    heads += ["at the largest: time, ours / theirs", "at most: memory, ours / theirs"]
    yield f"| {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (case, what), of in by_case(rows).items():
        exponents = [exponent(of, which, key) for key in ("seconds", "bytes") for which in LINES]
        most = [value for value in (ratio(row, "bytes") for row in of) if value == value]
        cells = [case, what, f"{of[0]['size']:,} to {of[-1]['size']:,}"]
        cells += [f"{value:.2f}" for value in exponents]
        cells += [f"{ratio(of[-1], 'seconds'):.2f}", f"{max(most):.2f}" if most else ""]
        yield f"| {' | '.join(cells)} |"


def picture(rows: Sequence[Dict[str, Any]], path: Path) -> Path:
    """Time above and memory below, of each case, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = by_case(rows)
    figure, grid = pyplot.subplots(
        2, len(cases), figsize=(2.3 * len(cases), 4.6), sharex="col", squeeze=False
    )
    for column, ((case, what), of) in zip(grid.T, cases.items()):
        for axes, key in zip(column, ("seconds", "bytes")):
            for which, (color, style) in LINES.items():
                points = [(row["size"], row[key][which]) for row in of if row[key][which]]
                if points:
                    x, y = zip(*points)
                    axes.plot(x, y, style, color=color, marker="o", markersize=3, label=which)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize=6)
        column[0].set_title(f"{case}\n{what}", fontsize=7)
        column[1].set_xlabel(case.partition(",")[0], fontsize=7)
    grid[0][0].set_ylabel("seconds", fontsize=7)
    grid[1][0].set_ylabel("bytes", fontsize=7)
    grid[0][0].legend(fontsize=6)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path


if __name__ == "__main__":
    main()
