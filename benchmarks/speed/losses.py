"""What the losses cost on their own: time, as ratios to the toolkits' own in one run, and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.losses
    python -m benchmarks.speed.losses --device cuda --dtype bfloat16 --sizes 65536x73

Value and gradient: of torch against `F.cross_entropy` and its backward pass, of thinc against
`SequenceCategoricalCrossentropy`, on documents of class ids. The two of a pair take turns; each
figure is the median of the ratios of their processor time, on a GPU (CuPy's for thinc) of the time
until the device is done. The last column is the memory in use at most besides scores and targets,
in arrays as large as the scores: of torch what a process grows by, or what it allocates on a GPU,
of thinc what NumPy allocates. --copy compares torch's losses with a copy of the logits, too.
"""

import argparse
import time
from typing import Any

import numpy
import torch
from thinc.api import NumpyOps, SequenceCategoricalCrossentropy, get_ops
from torch.nn import functional

import flair_dice
import spacy_dice

from .timing import Pair, Run, allocated, growth, measure_pair, show

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
    parser.add_argument("--toolkits", nargs="*", default=("torch", "thinc"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--copy", action="store_true", help="also against a copy of the logits")
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device. --device cpu runs the same on the host.")
    torch.set_num_threads(1)
    for toolkit in args.toolkits:
        for size in args.sizes:
            for name in args.losses:
                more = ""
                if not on_gpu:
                    more = f"  {peak(toolkit, name):3.1f} arrays"
                n, c = map(int, size.split("x"))
                try:
                    pair = MAKERS[toolkit](name, n, c, args.device, args.dtype)
                except ValueError as error:  # CuPy is not installed
                    print(f"{toolkit} {size}, {name}: not measured. {error}")
                    continue
                clock = time.perf_counter if on_gpu else time.process_time
                if on_gpu and toolkit == "torch":
                    size_of_array = getattr(torch, args.dtype).itemsize * n * c
                    peaks = [gpu_peak(run) / size_of_array for run in pair]
                    more = "  {:3.1f} arrays, {:3.1f} of theirs".format(*peaks)
                measured = measure_pair(pair, args.rounds, clock=clock)
                show(f"{toolkit} {n} x {c}, {name}", measured, more)
                if args.copy and toolkit == "torch":
                    pair = pair[0], copy_of(n, c, args.device, args.dtype)
                    measured = measure_pair(pair, args.rounds, clock=clock)
                    show(f"{toolkit} {n} x {c}, {name} / a copy", measured)


def torch_pair(name: str, n: int, c: int, device: str = "cpu", dtype: str = "float32") -> Pair:
    """Ours and `F.cross_entropy`, with the backward pass, on random logits."""
    torch.manual_seed(0)
    place = torch.device(device)
    logits = torch.randn(n, c, device=place, dtype=getattr(torch, dtype), requires_grad=True)
    targets = torch.randint(0, c, (n,), device=place)
    wait = until_done(device)

    def call(loss: Any) -> Run:
        def run() -> None:
            wait()
            logits.grad = None
            loss(logits, targets).backward()
            wait()

        return run

    return call(getattr(flair_dice, name)()), call(functional.cross_entropy)


def copy_of(n: int, c: int, device: str, dtype: str) -> Run:
    """A copy of logits."""
    logits, wait = torch.randn(n, c, device=device, dtype=getattr(torch, dtype)), until_done(device)
    return lambda: (logits.clone(), wait())


def until_done(device: str) -> Run:
    """What waits for torch's device."""
    return torch.cuda.synchronize if device.startswith("cuda") else lambda: None


def thinc_pair(name: str, n: int, c: int, device: str = "cpu", dtype: str = "float32") -> Pair:
    """Ours and thinc's, on random probabilities of documents; always in float32."""
    ops: Any = get_ops("cupy") if device.startswith("cuda") else NumpyOps()
    wait: Run = lambda: None  # noqa: E731
    if device.startswith("cuda"):
        wait = ops.xp.cuda.runtime.deviceSynchronize
    rng = numpy.random.default_rng(0)
    p = rng.random((n, c), dtype="float32")
    docs = numpy.array_split(p / p.sum(axis=1, keepdims=True), max(1, n // DOC_LENGTH))
    guesses = [ops.asarray(doc) for doc in docs]
    targets = [ops.asarray(rng.integers(0, c, len(doc)), dtype="int32") for doc in docs]
    ours = getattr(spacy_dice, name)()
    theirs = SequenceCategoricalCrossentropy(normalize=False)

    def call(loss: Any) -> Run:
        def run() -> None:
            wait()
            loss(guesses, targets)
            wait()

        return run

    return call(ours), call(theirs)


def gpu_peak(run: Run) -> int:
    """The bytes that torch allocates at most on a GPU besides what is there."""
    run()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def peak(toolkit: str, name: str) -> float:
    """The most memory of a call, in arrays as large as the scores."""
    n, c = MEMORY_SIZE
    first, run = (MAKERS[toolkit](name, size, c)[0] for size in (2, n))
    memory = growth(run, first) if toolkit == "torch" else allocated(run)
    return memory / (4 * n * c)


MAKERS = {"torch": torch_pair, "thinc": thinc_pair}

if __name__ == "__main__":
    main()
