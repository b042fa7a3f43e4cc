"""What the losses cost on their own: time, as ratios to the toolkits' own in one run, and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.losses
    python -m benchmarks.speed.losses --device cuda --dtype bfloat16 --sizes 65536x73

Value and gradient: of torch against `F.cross_entropy` and its backward pass, of thinc against
`SequenceCategoricalCrossentropy`, on documents of class ids. The two of a pair take turns; each
figure is the median of the ratios of their processor time, on a GPU (CuPy's for thinc) of the time
until the device is done. The last column is the memory in use at most besides scores and targets,
in arrays as large as the scores: of torch what a process grows by, of thinc what NumPy allocates.
"""

import argparse
import multiprocessing
import resource
import time
import tracemalloc
from typing import Any, Callable

import numpy
import torch
from thinc.api import NumpyOps, SequenceCategoricalCrossentropy, get_ops
from torch.nn import functional

import flair_dice
import spacy_dice

from .timing import Pair, measure_pair, show

LOSSES = ("CrossEntropy", "DiceCE", "SelfAdjustingDice", "Tversky", "Focal")
SIZES = ("4096x27", "16384x73", "4096x2000")
# Large enough that a process's growth is that of its arrays.
MEMORY_SIZE = (8192, 2000)
DOC_LENGTH = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="of torch; thinc uses CuPy for cuda")
    parser.add_argument("--dtype", default="float32", help="of torch")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="rows x classes")
    parser.add_argument("--losses", nargs="*", default=LOSSES)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-memory", action="store_true", help="time alone")
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device. --device cpu runs the same on the host.")
    torch.set_num_threads(1)
    makers = {"torch": torch_pair, "thinc": thinc_pair}
    for toolkit, make in makers.items():
        for size in args.sizes:
            for name in args.losses:
                more = ""
                if not on_gpu and not args.no_memory:
                    more = f"  {peak(toolkit, name):3.1f} arrays"
                n, c = map(int, size.split("x"))
                try:
                    pair = make(name, n, c, args.device, args.dtype)
                except ValueError as error:  # CuPy is not installed
                    print(f"{toolkit} {size}, {name}: not measured. {error}")
                    continue
                clock = time.perf_counter if on_gpu else time.process_time
                measured = measure_pair(pair, args.rounds, clock=clock)
                show(f"{toolkit} {n} x {c}, {name}", measured, more)


def torch_pair(name: str, n: int, c: int, device: str = "cpu", dtype: str = "float32") -> Pair:
    """Ours and `F.cross_entropy`, with the backward pass, on random logits."""
    torch.manual_seed(0)
    place = torch.device(device)
    logits = torch.randn(n, c, device=place, dtype=getattr(torch, dtype), requires_grad=True)
    targets = torch.randint(0, c, (n,), device=place)
    wait: Callable[[], Any] = torch.cuda.synchronize if place.type == "cuda" else lambda: None

    def call(loss: Any) -> Callable[[], None]:
        def run() -> None:
            wait()
            logits.grad = None
            loss(logits, targets).backward()
            wait()

        return run

    return call(getattr(flair_dice, name)()), call(functional.cross_entropy)


def thinc_pair(name: str, n: int, c: int, device: str = "cpu", dtype: str = "float32") -> Pair:
    """Ours and thinc's, on random probabilities of documents; always in float32."""
    ops: Any = get_ops("cupy") if device.startswith("cuda") else NumpyOps()
    wait: Callable[[], Any] = lambda: None  # noqa: E731
    if device.startswith("cuda"):
        wait = ops.xp.cuda.runtime.deviceSynchronize
    rng = numpy.random.default_rng(0)
    p = rng.random((n, c), dtype="float32")
    docs = numpy.array_split(p / p.sum(axis=1, keepdims=True), max(1, n // DOC_LENGTH))
    guesses = [ops.asarray(doc) for doc in docs]
    targets = [ops.asarray(rng.integers(0, c, len(doc)), dtype="int32") for doc in docs]
    ours = getattr(spacy_dice, name)()
    theirs = SequenceCategoricalCrossentropy(normalize=False)

    def call(loss: Any) -> Callable[[], None]:
        def run() -> None:
            wait()
            loss(guesses, targets)
            wait()

        return run

    return call(ours), call(theirs)


def peak(toolkit: str, name: str) -> float:
    """The most memory of a call, in arrays as large as the scores, in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(torch_peak if toolkit == "torch" else thinc_peak, (name, *MEMORY_SIZE))


def torch_peak(name: str, n: int, c: int) -> float:
    """What a process that has the logits grows by at most."""
    torch_pair(name, 2, c)[0]()  # imports
    run = torch_pair(name, n, c)[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (4 * n * c)


def thinc_peak(name: str, n: int, c: int) -> float:
    """What NumPy allocates at most at a time."""
    thinc_pair(name, 2, c)[0]()
    run = thinc_pair(name, n, c)[0]
    tracemalloc.start()
    run()
    return tracemalloc.get_traced_memory()[1] / (4 * n * c)


if __name__ == "__main__":
    main()
