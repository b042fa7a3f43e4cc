"""Two runs taking turns, the ratio of their times, and the memory of a run."""

import multiprocessing
import resource
import statistics
import time
import tracemalloc
from typing import Any, Callable, List, Tuple

Run = Callable[[], Any]
Pair = Tuple[Run, Run]
Clock = Callable[[], float]


def seconds(run: Run, clock: Clock = time.process_time) -> float:
    """The time that a call takes; of the processor, without the turns of other processes."""
    start = clock()
    run()
    return clock() - start


def measure_pair(pair: Pair, rounds: int, **options: Any) -> List[Tuple[float, float]]:
    """Seconds of ours and theirs in each round, after one that warms up; they take turns."""
    for run in pair:
        run()
    measured = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        found = {which: seconds(pair[which], **options) for which in order}
        measured.append((found[0], found[1]))
    return measured


def show(title: str, measured: List[Tuple[float, float]], more: str = "") -> None:
    """Print the median of the ratios, and in brackets their range and the median times."""
    ratios = [ours / theirs for ours, theirs in measured]
    ours, theirs = (1000 * statistics.median(times) for times in zip(*measured))
    print(
        f"{title:44} {statistics.median(ratios):6.2f}  (from {min(ratios):.2f} to "
        f"{max(ratios):.2f}; {ours:.2f} ms / {theirs:.2f} ms){more}",
        flush=True,
    )


def allocated(run: Run) -> float:
    """The most bytes NumPy allocates at a time in a second call; the first makes what stays."""
    run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def growth(run: Run, first: Run) -> float:
    """The bytes by which a process of its own grows at most, after a small first call, which loads
    what is needed. Unlike `allocated`, it counts what torch allocates."""
    with multiprocessing.get_context("fork").Pool(1, _remember, (run, first)) as pool:
        return pool.apply(_growth)


_run: Run


def _remember(run: Run, first: Run) -> None:
    global _run
    _run = run
    first()


def _growth() -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _run()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
