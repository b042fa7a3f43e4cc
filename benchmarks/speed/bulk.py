"""How much faster two workers of Ray tag in bulk than one process, on the same texts.

    python -m benchmarks.speed.bulk [--data DIR] [--workers 2] [--texts 20000]

A `dice_ner` pipeline that was trained a little tags texts of DIR's train.conll (without it
generated ones) from Parquet to Parquet. Each figure is the median of the rounds; the two ways
take turns. The start (imports, the cluster, loading the model) counts, and is told apart by the
same job with hardly any text. Nothing else may run on the machine: its load is printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, List

import pyarrow as pa
import pyarrow.parquet as pq
import spacy
from spacy.training import Example

import dice_bulk
from corpora import generated, in_spacy
from dice_core import columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with train.conll")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        texts = prepare(args.data or generated.write(place / "corpus"), place / "model")
        seconds: Any = {}
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        for number in range(args.rounds):
            for n in (args.workers, args.texts):
                source = place / f"{n}.parquet"
                some = [texts[i % len(texts)] for i in range(n)]
                pq.write_table(pa.table({"text": some}), source)
                for workers in (1, args.workers):
                    out = place / f"out-{number}-{n}-{workers}"
                    took = tag(place / "model", source, out, n, workers)
                    seconds.setdefault((workers, n), []).append(took)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    medians = {key: statistics.median(took) for key, took in seconds.items()}
    for workers in (1, args.workers):
        start, whole = medians[workers, args.workers], medians[workers, args.texts]
        rate = args.texts / (whole - start)
        print(f"{workers} at once: {whole:.1f} s, start {start:.1f} s, then {rate:.0f} texts/s")
    with_start = medians[1, args.texts] / medians[args.workers, args.texts]
    one, many = (medians[w, args.texts] - medians[w, args.workers] for w in (1, args.workers))
    print(f"ratio {one / many:.2f}, with the start {with_start:.2f}")


def prepare(data: Path, model: Path) -> List[str]:
    """Train a pipeline for ten updates, save it; the texts it is to tag."""
    docs = list(in_spacy.docs(columns.read(data / "train.conll")))
    nlp = spacy.blank("en")
    nlp.add_pipe("dice_ner")
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs[:200]]
    nlp.initialize(lambda: examples)
    for _ in range(10):
        nlp.update(examples)
    nlp.to_disk(model)
    return [doc.text for doc in docs]


def tag(model: Path, source: Path, out: Path, n: int, workers: int) -> float:
    """Seconds of a job of twenty parts (of one for each worker, if there is hardly any text)."""
    rows = max(n // 20, 1)
    options = dice_bulk.Options(local=workers == 1, workers=workers, rows=rows)
    start = time.perf_counter()
    dice_bulk.tag(str(model), str(source), str(out), options)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
