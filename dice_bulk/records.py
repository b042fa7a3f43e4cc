"""Parquet and JSON Lines in parts: which parts there are, and the batches of one."""

import gzip
import json
from glob import escape, glob, has_magic
from os.path import commonpath
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy
import pyarrow as pa
import pyarrow.parquet as pq

from .options import Options
from .schema import TAKEN

JSON_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
PARQUET = (".parquet",)
CHUNK = 1 << 20  # bytes, of a file whose lines are counted
HEAD = 100  # lines, of a file whose columns are looked at


class Part(NamedTuple):
    """Rows of one file: ``rows`` of them from ``first``, which is at byte ``offset`` of lines."""

    number: int
    file: str
    first: int
    rows: int
    offset: int = 0


class Bad(NamedTuple):
    """A record that was not tagged, and why. ``record``: as much of it as is of use."""

    row: int
    reason: str
    record: str


class Batch(NamedTuple):
    """Records with a text, and those without. ``kept``: columns, a row for each text."""

    rows: List[int]
    texts: List[str]
    kept: pa.RecordBatch
    bad: List[Bad]


class Source:
    """The files of an input, in their order.

    Args:
        path: A file, a folder (with all below it), or a pattern with ``*``.
        options: Which columns are of use.

    Raises:
        OSError: If there is no such file, or none in a known format.
        ValueError: For columns that are not there or not of text, and for formats that are mixed.

    Attributes:
        files: Their paths.
        kept: Name and type of each column that is taken over, the id among them.
    """

    def __init__(self, path: str, options: Options) -> None:
        self.files = _files(path)
        self.root = commonpath([str(file.parent) for file in self.files])
        self.options = options
        self.is_parquet = _is(self.files[0], PARQUET)
        if any(_is(file, PARQUET) != self.is_parquet for file in self.files):
            raise ValueError(f"{path} has Parquet and JSON Lines. Give a pattern for one of them.")
        for name in options.keep:
            if name in TAKEN:
                raise ValueError(
                    f"keep: a column {name!r} is written already; rename it in {path}."
                    + (" An id is kept by --id." if name == "id" else "")
                )
        self.kept = self._parquet_types() if self.is_parquet else self._json_types()

    @property
    def taken(self) -> Dict[str, str]:
        """Of each column that is written, the name that it has in the input."""
        of_id = {} if self.options.id is None else {"id": self.options.id}
        return {**of_id, **{name: name for name in self.options.keep}}

    def name_of(self, file: Union[str, Path]) -> str:
        """How a file is called in what is written: its path below that of all files."""
        return Path(file).relative_to(self.root).as_posix()

    def stamp(self) -> List[List[Any]]:
        """What tells whether files have changed: name, bytes, and time of the last change."""
        found = ((file, file.stat()) for file in self.files)
        return [[self.name_of(file), stat.st_size, stat.st_mtime_ns] for file, stat in found]

    def parts(self) -> List[Part]:
        """All rows, in parts of ``options.rows``; a zipped file is one part."""
        made: List[Part] = []
        for file in self.files:
            for first, rows, offset in self._cuts(file):
                made.append(Part(len(made), str(file), first, rows, offset))
        return made

    def batches(self, part: Part) -> Iterator[Batch]:
        """The records of a part, ``options.batch_size`` at a time."""
        return self._parquet(part) if self.is_parquet else self._json_lines(part)

    # -- Parquet ------------------------------------------------------------------------

    def _parquet_types(self) -> Dict[str, pa.DataType]:
        types: Optional[Dict[str, pa.DataType]] = None
        for file in self.files:
            try:
                schema = pq.read_schema(file)
            except pa.ArrowInvalid as error:
                raise ValueError(f"{file} cannot be read as Parquet: {error}") from None
            for name in (self.options.text, *self.taken.values()):
                if name not in schema.names:
                    raise ValueError(
                        f"{file} has no column {name!r}; it has {', '.join(schema.names)}."
                    )
            kind = schema.field(self.options.text).type
            if not _is_text(kind):
                raise ValueError(f"{file}: column {self.options.text!r} is of {kind}, not of text.")
            found = {new: schema.field(old).type for new, old in self.taken.items()}
            if types is not None and found != types:
                raise ValueError(f"{file}: kept columns are of other types than in {self.files[0]}")
            types = found
        return types or {}

    def _parquet(self, part: Part) -> Iterator[Batch]:
        with pq.ParquetFile(part.file) as file:
            groups: List[int] = []
            start, begin, last = 0, 0, part.first + part.rows
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                if start < last and start + rows > part.first:
                    begin = start if not groups else begin
                    groups.append(number)
                start += rows
            columns = list(dict.fromkeys([self.options.text, *self.taken.values()]))
            row = begin
            for batch in file.iter_batches(self.options.batch_size, groups, columns):
                low, high = max(part.first - row, 0), min(last - row, len(batch))
                if low < high:
                    yield self._of_arrow(batch.slice(low, high - low), row + low)
                row += len(batch)

    def _of_arrow(self, batch: pa.RecordBatch, first: int) -> Batch:
        texts, bad, good = [], [], []
        for i, value in enumerate(_values(batch.column(self.options.text))):
            reason = _why_not(value)
            if reason is None:
                texts.append(value)
                good.append(i)
            else:
                bad.append(Bad(first + i, reason, ""))
        columns = {new: batch.column(old) for new, old in self.taken.items()}
        kept = pa.record_batch(columns) if columns else _no_columns()
        if columns and bad:
            kept = kept.take(pa.array(good, pa.int64()))
        return Batch([first + i for i in good], texts, kept, bad)

    # -- JSON Lines ---------------------------------------------------------------------

    def _json_types(self) -> Dict[str, pa.DataType]:
        """Columns are text: what lines have may differ from part to part."""
        with _open(self.files[0]) as lines:
            head = [line for _, line in zip(range(HEAD), lines)]
        found = [record for record in map(_parsed, head) if isinstance(record, dict)]
        if found and not any(self.options.text in record for record in found):
            keys = list(dict.fromkeys(key for record in found for key in record))
            raise ValueError(
                f"{self.files[0]} has no {self.options.text!r}; it has {', '.join(keys) or 'none'}."
            )
        return {name: pa.string() for name in self.taken}

    def _json_lines(self, part: Part) -> Iterator[Batch]:
        with _open(part.file) as lines:
            lines.seek(part.offset)
            for first in range(part.first, part.first + part.rows, self.options.batch_size):
                n = min(self.options.batch_size, part.first + part.rows - first)
                yield self._of_lines([lines.readline() for _ in range(n)], first)

    def _of_lines(self, lines: List[bytes], first: int) -> Batch:
        rows: List[int] = []
        texts: List[str] = []
        bad: List[Bad] = []
        kept: Dict[str, List[Optional[str]]] = {name: [] for name in self.taken}
        for row, line in enumerate(lines, first):
            if not line.strip():
                continue
            record = _parsed(line)
            if isinstance(record, str):
                reason: Optional[str] = record
            else:
                text: Any = record.get(self.options.text)
                values = {new: _as_text(record.get(old)) for new, old in self.taken.items()}
                reason = _why_not(text)
                for name, value in values.items():
                    if value is not None and not _is_unicode(value):
                        reason = f"{self.taken[name]} is not valid Unicode"
            if reason is not None:
                bad.append(Bad(row, reason, line.decode("utf8", "replace").rstrip("\r\n")))
                continue
            rows.append(row)
            texts.append(text)
            for name, value in values.items():
                kept[name].append(value)
        columns = {name: pa.array(column, pa.string()) for name, column in kept.items()}
        return Batch(rows, texts, pa.record_batch(columns) if columns else _no_columns(), bad)

    # -- parts --------------------------------------------------------------------------

    def _cuts(self, file: Path) -> Iterator[Tuple[int, int, int]]:
        if self.is_parquet:
            n_rows = pq.read_metadata(file).num_rows
            starts = [(first, 0) for first in range(0, n_rows, self.options.rows)]
        else:
            whole = file.suffix == ".gz"  # there is no going to the middle of it
            n_rows, starts = _lines(file, None if whole else self.options.rows)
        for (first, offset), end in zip(starts, [*(first for first, _ in starts[1:]), n_rows]):
            if end > first:
                yield first, end - first, offset


def _files(path: str) -> List[Path]:
    given = Path(path)
    known = (*PARQUET, *JSON_LINES)
    if given.is_file():
        if not _is(given, known):
            raise OSError(f"{given} is none of {', '.join(known)}.")
        return [given.resolve()]
    if given.is_dir():
        found = [Path(name) for name in glob(f"{escape(path)}/**", recursive=True)]
    elif has_magic(path):
        found = [Path(name) for name in glob(path, recursive=True)]
    else:
        raise OSError(f"There is no {path}.")
    # As Arrow and Spark have it: names that begin so are no data.
    files = [f for f in found if f.is_file() and _is(f, known) and f.name[0] not in "._"]
    if not files:
        raise OSError(f"{path} has no file of {', '.join(known)}.")
    return sorted(file.resolve() for file in files)


def _is(file: Path, suffixes: Tuple[str, ...]) -> bool:
    return file.name.lower().endswith(suffixes)


def _open(file: Union[str, Path]) -> IO[bytes]:
    return gzip.open(file) if str(file).endswith(".gz") else open(file, "rb")  # type: ignore[return-value]


def _lines(file: Path, every: Optional[int]) -> Tuple[int, List[Tuple[int, int]]]:
    """The number of lines, and (number, offset) of each ``every``-th (None: only of the first)."""
    n_lines, offset, starts, ends_open = 0, 0, [(0, 0)], False
    with _open(file) as content:
        while chunk := content.read(CHUNK):
            n_new = chunk.count(b"\n")
            if every is not None and (n_lines + n_new) // every > n_lines // every:
                ends = numpy.flatnonzero(numpy.frombuffer(chunk, numpy.uint8) == 10)
                for number in range((n_lines // every + 1) * every, n_lines + n_new + 1, every):
                    starts.append((number, offset + int(ends[number - n_lines - 1]) + 1))
            n_lines += n_new
            offset += len(chunk)
            ends_open = not chunk.endswith(b"\n")
    return n_lines + ends_open, starts


def _parsed(line: bytes) -> Union[Dict[str, Any], str]:
    """The object of a line, or why it is none."""
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    except (ValueError, RecursionError) as error:
        return f"invalid JSON: {error}"
    return record if isinstance(record, dict) else "the line is no JSON object"


def _why_not(text: object) -> Optional[str]:
    if text is None:
        return "no text"
    if isinstance(text, UnicodeError):
        return "the text is not UTF-8"
    if not isinstance(text, str):
        return f"the text is of type {type(text).__name__}"
    return None if _is_unicode(text) else "the text is not valid Unicode"


def _is_unicode(text: str) -> bool:
    """Whether it can be written: half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: object) -> Optional[str]:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(of(kind) for of in (pa.types.is_string, pa.types.is_large_string)) or (
        kind == pa.string_view()
    )


def _values(column: pa.Array) -> List[Any]:
    """Python's values; an error in place of one that is not UTF-8."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(cell) for cell in column]


def _value(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return error


def _no_columns() -> pa.RecordBatch:
    return pa.record_batch([], schema=pa.schema([]))
