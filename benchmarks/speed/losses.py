"""What the losses cost by themselves, as ratios to the toolkits' own, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.losses

Value and gradient: of torch against `F.cross_entropy` and its backward pass, of thinc against
`SequenceCategoricalCrossentropy` with label strings. The two of a pair take turns; each figure is
the median of their ratios, beside the ratio of the fastest.
"""

import argparse
import statistics
import time
from typing import Any, Callable

import numpy
import torch
from thinc.api import SequenceCategoricalCrossentropy
from torch.nn import functional

import flair_dice
import spacy_dice

LOSSES = ("CrossEntropy", "DiceCE", "SelfAdjustingDice", "Tversky", "Focal")
TORCH_SIZES = ((4096, 27), (16384, 73), (4096, 2000))
THINC_SIZES = ((3200, 50), (3200, 500), (800, 2000))
N_DOCS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for n, c in TORCH_SIZES:
        logits, gold = torch.randn(n, c, requires_grad=True), torch.randint(0, c, (n,))

        def of(loss: Any, logits: Any = logits, gold: Any = gold) -> Callable[[], None]:
            def run() -> None:
                logits.grad = None
                loss(logits, gold).backward()

            return run

        for name in LOSSES:
            ours = of(getattr(flair_dice, name)())
            compare(f"torch {n} x {c}, {name}", ours, of(functional.cross_entropy), args.rounds)
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
            )


def compare(what: str, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> None:
    timed(ours), timed(theirs)
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    fastest = [min(times) for times in zip(*pairs)]
    median = statistics.median(a / b for a, b in pairs)
    print(
        f"{what:38} {median:5.2f}  (fastest {fastest[0] / fastest[1]:.2f}: "
        f"{1000 * fastest[0]:.2f} ms / {1000 * fastest[1]:.2f} ms)",
        flush=True,
    )


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
