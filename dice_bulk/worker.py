"""One worker: a model, and the parts that it is given, each written whole or not at all."""

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import pyarrow as pa
import pyarrow.parquet as pq

from .deaths import REASON, Deaths
from .records import Bad, Batch, Part, Source
from .schema import make_batch
from .taggers import Failed, Tagged, Tagger, load_tagger

TEXTS_AT_ONCE = 4096  # of a group of rows of the file


class Work(NamedTuple):
    """All that a worker needs to know of the job."""

    model: str
    source: Source
    fields: Tuple[str, ...]
    schema: pa.Schema
    out: Path


class Done(NamedTuple):
    """A part that is written."""

    number: int
    tagged: int
    bad: int
    seconds: float


class Worker:
    """Loads the model once.

    Args:
        work: What is to be done, as all workers have it.
        tagger: The model, if it is loaded already.
    """

    def __init__(self, work: Work, tagger: Optional[Tagger] = None) -> None:
        self.work = work
        options = work.source.options
        self.tagger = tagger or load_tagger(work.model, options.code, options.gpus > 0)

    def run(self, part: Part) -> Done:
        """Tag a part, and write it.

        Its files get their names when they are whole, the table's last: a part whose table is
        there is done.
        """
        start = perf_counter()
        out, bad, tagged = self.work.out, 0, 0
        draft = out / "_tmp" / f"{name_of(part.number)}.{os.getpid()}"
        draft.parent.mkdir(exist_ok=True)
        log = draft.with_name(f"{name_of(part.number)}.log.jsonl")
        pending: List[pa.RecordBatch] = []
        side = draft.with_name(f"{draft.name}.jsonl")
        with side.open("w", encoding="utf8") as bads, draft.open("wb") as table:
            with pq.ParquetWriter(table, self.work.schema, compression="zstd") as writer:
                for batch, failed in self._batches(part, Deaths(log)):
                    tagged += len(batch)
                    bad += len(failed)
                    bads.writelines(_line(self.work.source.name_of(part.file), b) for b in failed)
                    pending.append(batch)
                    if sum(map(len, pending)) >= TEXTS_AT_ONCE:
                        writer.write_table(pa.Table.from_batches(pending))
                        pending = []
                writer.write_table(pa.Table.from_batches(pending, self.work.schema))
            for file in (bads, table):
                file.flush()
                os.fsync(file.fileno())
        if bad:
            (out / "_bad").mkdir(exist_ok=True)
            os.replace(side, bad_of(out, part.number))
        else:
            side.unlink()
            bad_of(out, part.number).unlink(missing_ok=True)
        os.replace(draft, table_of(out, part.number))
        log.unlink(missing_ok=True)
        return Done(part.number, tagged, bad, perf_counter() - start)

    def _batches(self, part: Part, deaths: Deaths) -> Any:
        """What is written of each batch, and the records of it that are bad."""
        for batch in self.work.source.batches(part):
            found = self._tag(batch, deaths) if batch.texts else []
            failed = [
                Bad(row, result.reason, text)
                for row, text, result in zip(batch.rows, batch.texts, found)
                if isinstance(result, Failed)
            ]
            good = [i for i, result in enumerate(found) if not isinstance(result, Failed)]
            fields = [result for result in found if not isinstance(result, Failed)]
            rows = [batch.rows[i] for i in good]
            place = {"file": [self.work.source.name_of(part.file)] * len(rows), "row": rows}
            kept = batch.kept.take(pa.array(good, pa.int64())) if failed else batch.kept
            made = make_batch(self.work.schema, place, kept, fields)
            yield made, sorted([*batch.bad, *failed])

    def _tag(self, batch: Batch, deaths: Deaths) -> Tagged:
        """A batch; text by text if a process has died over one of it."""
        if deaths.suspects.isdisjoint(batch.rows):
            with deaths.watch(batch.rows):
                return self.tagger.tag(batch.texts, self.work.fields)
        found: Tagged = []
        for row, text in zip(batch.rows, batch.texts):
            if row in deaths.lethal:
                found.append(Failed(REASON))
                continue
            with deaths.watch([row]):
                found += self.tagger.tag([text], self.work.fields)
        return found


def name_of(number: int) -> str:
    """How a part's files are called, without what follows the dot."""
    return f"part-{number:06d}"


def table_of(out: Path, number: int) -> Path:
    """Where a part's table is once it is done."""
    return out / f"{name_of(number)}.parquet"


def bad_of(out: Path, number: int) -> Path:
    """Where a part's bad records are, if it has any."""
    return out / "_bad" / f"{name_of(number)}.jsonl"


def _line(file: str, bad: Bad) -> str:
    row: Dict[str, Any] = {"file": file, "row": bad.row, "reason": bad.reason}
    if bad.record:
        row["record"] = bad.record
    return json.dumps(row) + "\n"
