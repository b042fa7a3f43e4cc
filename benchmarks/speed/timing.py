"""Two runs taking turns, and the ratio of their times."""

import statistics
import time
from typing import Any, Callable, List, Tuple

Run = Callable[[], Any]
Pair = Tuple[Run, Run]


def seconds(run: Run, clock: Callable[[], float] = time.process_time) -> float:
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
