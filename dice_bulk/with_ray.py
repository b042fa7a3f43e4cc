"""The engine: Ray Data hands parts to workers, and starts a worker anew that has died."""

import logging
import os
from typing import Any, Dict, Iterator, List

# Read when ray is imported: it reports nothing to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray.data

from .options import Options
from .records import Part
from .worker import Done, Work, Worker

STORE = 100 * 2**20  # bytes: what goes through Ray's store is numbers of parts


class _PartWorker:
    """A `Worker` as Ray Data has it: a table of numbers in, a table of what was done out."""

    def __init__(self, work: Work, parts: Dict[int, Part]) -> None:
        self.worker, self.parts = Worker(work), parts

    def __call__(self, batch: Dict[str, Any]) -> Dict[str, Any]:
        done = [self.worker.run(self.parts[int(number)]) for number in batch["number"]]
        return {name: [getattr(each, name) for each in done] for name in Done._fields}


def run(work: Work, parts: List[Part], options: Options) -> Iterator[Done]:
    """Tag parts on a cluster, which is started on this machine if there is none.

    Args:
        work: What is to be done.
        parts: Those that are not done yet.
        options: ``workers``, ``gpus`` and ``address`` count here.

    Yields:
        Each part when it is done, in any order.

    Raises:
        ValueError: If the cluster is too small for the workers.
        OSError: If a worker failed, or more died over a part than ``deaths``.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    if started:
        _start(options)
    try:
        workers = _count(options)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a part may take long
        numbers = ray.data.from_items(
            [{"number": part.number} for part in parts], override_num_blocks=len(parts)
        )
        done = numbers.map_batches(
            _PartWorker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
            fn_constructor_args=(work, {part.number: part for part in parts}),
            num_cpus=1,
            num_gpus=options.gpus or None,
            max_task_retries=options.deaths,
        )
        for row in done.iter_rows():
            yield Done(**{name: row[name] for name in Done._fields})
    except ray.exceptions.RayError as error:
        raise ChildProcessError(
            f"A worker failed: {_cause(error)} What is finished is kept; the same command goes on."
        ) from error
    finally:
        if started:
            ray.shutdown()


def _start(options: Options) -> None:
    address = options.address or os.environ.get("RAY_ADDRESS")
    quiet: Dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            raise ValueError(f"address: there is no Ray cluster at {address}: {error}") from None
    else:
        ray.init(
            num_cpus=options.workers or os.cpu_count(),
            include_dashboard=False,
            object_store_memory=STORE,
            **quiet,
        )


def _count(options: Options) -> int:
    """The number of workers, which the cluster must have room for."""
    there = ray.cluster_resources()
    room = there.get("CPU", 0)
    if options.gpus:
        room = min(room, there.get("GPU", 0) / options.gpus)
    workers = options.workers or int(room)
    if not 1 <= workers <= room:
        raise ValueError(
            f"{max(workers, 1)} workers with a core and {options.gpus:g} GPUs each do not fit into "
            f"a cluster of {there.get('CPU', 0):g} cores and {there.get('GPU', 0):g} GPUs."
        )
    return workers


def _cause(error: BaseException) -> str:
    """The last line of what went wrong in the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".") + "."
