"""What the losses cost by themselves: time, as ratios to the toolkits' own in one run, and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.losses            # of the usual ones
    OMP_NUM_THREADS=1 python -m benchmarks.speed.losses --memory   # memory alone, of all losses

Value and gradient: of torch against `F.cross_entropy` and its backward pass, of thinc against
`SequenceCategoricalCrossentropy` with label strings. The two of a pair take turns; each figure is
the median of the ratios of their processor time, beside the ratio of the fastest. The last column
is the most memory in use beside scores and truths, in arrays as large as the scores, at
8,192 x 2,000: of torch what a process grows by, of thinc what NumPy allocates.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
import tracemalloc
from typing import Any, Callable, List

import numpy
import torch
from thinc.api import SequenceCategoricalCrossentropy
from torch.nn import functional

import flair_dice
import spacy_dice
from dice_core import losses as core

LOSSES = ("CrossEntropy", "DiceCE", "SelfAdjustingDice", "Tversky", "Focal")
TORCH_SIZES = ((4096, 27), (16384, 73), (4096, 2000))
THINC_SIZES = ((3200, 50), (3200, 500), (800, 2000))
# Large enough that a process's growth is that of its arrays.
MEMORY_SIZE = (8192, 2000)
N_DOCS = 100
# Every loss, and what goes other ways than a loss as it is by itself.
ALL_LOSSES = {
    **{name: (name, {}) for name in core.__all__ if name not in ("Loss", "make_loss", "Compound")},
    "Compound": ("Compound", {"losses": ["Focal", "Dice", "Tversky"]}),
    "CrossEntropy, smoothed": ("CrossEntropy", {"label_smoothing": 0.1}),
    "Focal, gamma 0.5": ("Focal", {"gamma": 0.5}),
    "Dice, batch": ("Dice", {"level": "batch"}),
    "SelfAdjustingDice, batch": ("SelfAdjustingDice", {"level": "batch"}),
    "SelfAdjustingDice, alpha 0.1": ("SelfAdjustingDice", {"alpha": 0.1}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--memory", action="store_true", help="memory alone, of every loss")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        for activation in ("softmax", "sigmoid"):
            for what in ALL_LOSSES:
                arrays = ", ".join(f"{peak:4.1f}" for peak in peaks(what, activation))
                print(
                    f"{activation}, {what:30} (N, C) arrays of torch, thinc: {arrays}", flush=True
                )
        return
    memory = {name: peaks(name) for name in LOSSES}
    for n, c in TORCH_SIZES:
        logits, gold = torch.randn(n, c, requires_grad=True), torch.randint(0, c, (n,))

        def of(loss: Any, logits: Any = logits, gold: Any = gold) -> Callable[[], None]:
            def run() -> None:
                logits.grad = None
                loss(logits, gold).backward()

            return run

        for name in LOSSES:
            ours = of(getattr(flair_dice, name)())
            what = f"torch {n} x {c}, {name}"
            compare(what, ours, of(functional.cross_entropy), args.rounds, memory[name][0])
    rng = numpy.random.default_rng(0)
    for n, c in THINC_SIZES:
        names = [f"label{i}" for i in range(c)]
        e = numpy.exp(rng.normal(size=(n, c)).astype("f"))
        docs = numpy.array_split(e / e.sum(axis=1, keepdims=True), N_DOCS)
        truths = [[names[i] for i in rng.integers(0, c, len(doc))] for doc in docs]
        stock = SequenceCategoricalCrossentropy(names=names, normalize=False, neg_prefix="!")
        for name in LOSSES:
            loss = getattr(spacy_dice, name)(names=names)
            compare(
                f"thinc {n} x {c}, {name}",
                lambda loss=loss: loss(docs, truths),  # type: ignore[misc]
                lambda: stock(docs, truths),
                args.rounds,
                memory[name][1],
            )


def compare(
    what: str, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, memory: float
) -> None:
    timed(ours), timed(theirs)
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    fastest = [min(times) for times in zip(*pairs)]
    median = statistics.median(a / b for a, b in pairs)
    print(
        f"{what:38} {median:5.2f}  (fastest {fastest[0] / fastest[1]:.2f}: "
        f"{1000 * fastest[0]:.2f} ms / {1000 * fastest[1]:.2f} ms)  {memory:3.1f} arrays",
        flush=True,
    )


def timed(run: Callable[[], Any]) -> float:
    start = time.process_time()  # without the turns of other processes
    run()
    return time.process_time() - start


def peaks(what: str, activation: str = "softmax") -> List[float]:
    """Of torch and of thinc, each in a process of its own."""
    found = []
    for function in (torch_peak, thinc_peak):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found.append(pool.apply(function, (what, activation, *MEMORY_SIZE)))
    return found


def make(package: Any, what: str, activation: str, n_classes: int) -> Any:
    name, options = ALL_LOSSES[what]
    if name == "EntityDice":  # of n_classes tags
        tags = ["O", *(f"{kind}-{i}" for i in range(n_classes) for kind in "BI")][:n_classes]
        options = {**options, "names": tags}
    return getattr(package, name)(activation=activation, **options)


def torch_peak(what: str, activation: str, n: int, c: int) -> float:
    """In arrays of (n, c), what a process that has the logits grows by at most."""
    logits, gold = torch.randn(n, c, requires_grad=True), torch.randint(0, c, (n,))
    small = torch.zeros(2, c, requires_grad=True)
    make(flair_dice, what, activation, c)(small, gold[:2]).backward()
    loss = make(flair_dice, what, activation, c)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss(logits, gold).backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return 1024 * grown / (logits.nbytes)


def thinc_peak(what: str, activation: str, n: int, c: int) -> float:
    """In arrays of (n, c), what NumPy allocates at most at a time."""
    guesses = numpy.full((n, c), 1 / c, dtype="float32")
    gold = numpy.arange(n) % c
    loss = make(spacy_dice, what, activation, c)
    loss(guesses[:2], gold[:2])
    tracemalloc.start()
    loss(guesses, gold)
    return tracemalloc.get_traced_memory()[1] / guesses.nbytes


if __name__ == "__main__":
    main()
