"""What losses cost on a GPU, against the toolkits' own and against copying an array, in one run.

    python -m benchmarks.speed.devices                              # CUDA: torch, thinc on CuPy
    python -m benchmarks.speed.devices --dtypes bfloat16 --sizes 65536x73
    python -m benchmarks.speed.devices --device cpu --sizes 256x73  # the same, in small

Value and gradient by the clock, from start until the device is done, in turns; medians. Torch:
DiceCE and SelfAdjustingDice against `F.cross_entropy` and its backward pass, and their share of the
speed of a copy: scores read and gradient written, in bytes a second, by those of `Tensor.clone`.
Torch's losses also run once in its mode in which waiting for the device is an error. Thinc: DiceCE
against `SequenceCategoricalCrossentropy`, on documents of label strings.
"""

import argparse
import statistics
import time
from typing import Any, Callable, List, Tuple

import numpy
import torch
from thinc.api import NumpyOps, SequenceCategoricalCrossentropy, get_ops
from torch.nn import functional

import flair_dice
import spacy_dice

LOSSES = ("DiceCE", "SelfAdjustingDice")
SIZES = ("65536x73", "4194304x73")
WORDS = 25  # of a document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="of torch; thinc takes CuPy for cuda")
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="of torch: rows x classes")
    parser.add_argument("--docs", type=int, default=128, help="of thinc")
    parser.add_argument("--labels", type=int, default=50, help="of thinc")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device. --device cpu runs the same on the host.")
    print(torch.cuda.get_device_name(args.device) if on_gpu else f"device {args.device}")
    for size in args.sizes:
        n, c = map(int, size.split("x"))
        for dtype in args.dtypes:
            of_torch(n, c, getattr(torch, dtype), torch.device(args.device), args.rounds)
    of_thinc(args.docs, args.labels, on_gpu, args.rounds)


def of_torch(n: int, c: int, dtype: torch.dtype, device: torch.device, rounds: int) -> None:
    logits = torch.randn(n, c, device=device, dtype=dtype, requires_grad=True)
    gold = torch.randint(0, c, (n,), device=device)
    is_cuda = device.type == "cuda"
    wait: Callable[[], Any] = torch.cuda.synchronize if is_cuda else lambda: None

    def of(loss: Any) -> Callable[[], None]:
        def run() -> None:
            logits.grad = None
            loss(logits, gold).backward()

        return run

    source = logits.detach()
    (of_copy,) = medians([source.clone], wait, rounds)
    for name in LOSSES:
        run = of(getattr(flair_dice, name)())
        ours, theirs = medians([run, of(functional.cross_entropy)], wait, rounds)
        print(
            f"torch {n} x {c} {str(dtype)[6:]}, {name:18} {ours / theirs:6.2f}  "
            f"({1000 * ours:.3f} ms / {1000 * theirs:.3f} ms; {100 * of_copy / ours:.0f} % of the "
            f"speed of a copy{', ' + waits(run) if is_cuda else ''})",
            flush=True,
        )


def waits(run: Callable[[], None]) -> str:
    """Whether a loss waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError:
        return "waits for the device"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "never waits"


def of_thinc(n_docs: int, n_labels: int, on_gpu: bool, rounds: int) -> None:
    try:
        ops: Any = get_ops("cupy") if on_gpu else NumpyOps()
    except ValueError as error:
        print(f"thinc: not measured. {error}")
        return
    wait: Callable[[], Any] = ops.xp.cuda.runtime.deviceSynchronize if on_gpu else lambda: None
    rng = numpy.random.default_rng(0)
    names = [f"label{i}" for i in range(n_labels)]
    p = rng.random((n_docs, WORDS, n_labels), dtype="float32")
    docs = [ops.asarray(of_doc / of_doc.sum(axis=1, keepdims=True)) for of_doc in p]
    truths = [[names[i] for i in ids] for ids in rng.integers(0, n_labels, (n_docs, WORDS))]
    loss = spacy_dice.DiceCE(names=names)
    stock = SequenceCategoricalCrossentropy(names=names, normalize=False, neg_prefix="!")
    runs = [lambda: loss(docs, truths), lambda: stock(docs, truths)]
    ours, theirs = medians(runs, wait, rounds)
    print(
        f"thinc {n_docs} documents x {n_labels} labels, DiceCE {ours / theirs:6.2f}  "
        f"({1000 * ours:.3f} ms / {1000 * theirs:.3f} ms)"
    )


def medians(
    runs: List[Callable[[], Any]], wait: Callable[[], Any], rounds: int
) -> Tuple[float, ...]:
    """Seconds of each, in turns, after one that warms up."""
    seconds: List[List[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, of_run in zip(runs, seconds):
            wait()
            start = time.perf_counter()
            run()
            wait()
            if number:
                of_run.append(time.perf_counter() - start)
    return tuple(map(statistics.median, seconds))


if __name__ == "__main__":
    main()
