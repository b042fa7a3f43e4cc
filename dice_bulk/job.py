"""A job: what is to be done, what is done already, and doing the rest."""

import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import pyarrow.parquet as pq

from .options import Options
from .records import Part, Source
from .schema import make_schema
from .taggers import Tagger, digest, load_tagger, locate
from .worker import Done, Work, Worker, bad_of, table_of

MANIFEST = "_job.json"
# What may be another when a job goes on: it changes nothing in what is written.
FREE = ("workers", "batch_size", "gpus", "deaths", "address", "local")


class Summary(NamedTuple):
    """What OUT holds in the end.

    Attributes:
        tagged: Records with what the model found.
        bad: Records in ``_bad``.
        parts: Files.
        resumed: How many of them were there before.
        seconds: That this run took, its start included.
    """

    tagged: int
    bad: int
    parts: int
    resumed: int
    seconds: float

    def __str__(self) -> str:
        before = f", {self.resumed} of them from before" if self.resumed else ""
        return (
            f"{self.tagged} records tagged, {self.bad} bad, in {self.parts} parts{before}; "
            f"{self.seconds:.0f} s"
        )


def tag(
    model: str,
    source: str,
    out: str,
    options: Optional[Options] = None,
    report: Optional[Callable[[Part, Done], None]] = None,
) -> Summary:
    """Tag all records of an input, or those that an earlier call with the same OUT left.

    Args:
        model: Folder or package of a spaCy pipeline, or file of a Flair model.
        source: Parquet or JSON Lines: a file, a folder, or a pattern with ``*``.
        out: Folder for the tables, which holds nothing else. Workers on other machines must see
            it, the source and the model under the same paths.
        options: See `Options`; None is all defaults.
        report: Called with each part that is done, and how.

    Returns:
        What was done. ``out`` has a Parquet file for each part, and in ``_bad`` the records that
        were not tagged, with the reason.

    Raises:
        OSError: If there is no such model or input, or more workers died over a part than
            ``deaths``.
        ValueError: For columns or fields that are not there, for ``out`` with other things in it,
            or of a job with another model, input or options.
        ImportError: If Ray, pyarrow or the model's toolkit is not installed.

    Example:
        >>> tag("en_core_web_sm", "texts.parquet", "tagged", Options(workers=4))  # doctest: +SKIP
        Summary(tagged=100000, bad=0, parts=10, resumed=0, seconds=61.2)
    """
    start = perf_counter()
    options = Options() if options is None else options
    folder = Path(out).resolve()
    _check_out(folder, out)
    model = locate(model)
    found = Source(source, options)
    if any(folder in file.parents for file in found.files):
        raise ValueError(f"{out} holds the input. Give another folder to write to.")
    # Here, too: what is wrong with the model is said before workers start.
    on_gpu = options.local and options.gpus > 0
    tagger = load_tagger(model, options.code, on_gpu)
    fields = options.field or tagger.fields
    if not fields:
        raise ValueError(
            f"{model}: no component says that it gives ents, spans, cats or tags. If one of your "
            "own does, name them by field."
        )
    tagger.check(fields)
    parts = found.parts()
    _check_same(folder, out, _manifest(model, found, fields, options))
    work = Work(model, found, tuple(fields), make_schema(found.kept, fields), folder)
    left = [part for part in parts if not table_of(folder, part.number).exists()]
    own = tagger if options.local else None
    del tagger  # workers have theirs
    for done in _run(work, left, options, own):
        if report is not None:
            report(parts[done.number], done)
    _clear(folder / "_tmp")
    tables = [table_of(folder, part.number) for part in parts]
    bad = (bad_of(folder, part.number) for part in parts)
    return Summary(
        tagged=sum(pq.read_metadata(table).num_rows for table in tables),
        bad=sum(len(file.read_bytes().splitlines()) for file in bad if file.exists()),
        parts=len(parts),
        resumed=len(parts) - len(left),
        seconds=perf_counter() - start,
    )


def _run(
    work: Work, parts: List[Part], options: Options, tagger: Optional[Tagger]
) -> Iterator[Done]:
    if not parts:
        return iter(())
    if options.local:
        worker = Worker(work, tagger)
        return (worker.run(part) for part in parts)
    from . import with_ray

    return with_ray.run(work, parts, options)


def _check_out(folder: Path, out: str) -> None:
    if folder.is_file():
        raise ValueError(f"{out} is a file. Give a folder to write to.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise ValueError(f"{out} is there already, with other things in it. Give another folder.")
    folder.mkdir(parents=True, exist_ok=True)


def _manifest(model: str, source: Source, fields: Any, options: Options) -> Dict[str, Any]:
    """What must be the same when a job goes on."""
    chosen = {k: v for k, v in vars(options).items() if k not in (*FREE, "field", "code")}
    return {
        "model": {"name": Path(model).name, "digest": digest(model)},
        "code": None if options.code is None else digest(options.code),
        "input": source.stamp(),
        "fields": list(fields),
        "options": {**chosen, "keep": list(options.keep)},
    }


def _check_same(folder: Path, out: str, manifest: Dict[str, Any]) -> None:
    file = folder / MANIFEST
    if not file.exists():
        draft = file.with_suffix(".tmp")
        draft.write_text(json.dumps(manifest, indent=1), encoding="utf8")
        os.replace(draft, file)
        return
    known = json.loads(file.read_text("utf8"))
    for name, value in manifest.items():
        if known.get(name) == value:
            continue
        if name == "options":
            changed = next(k for k, v in value.items() if known[name].get(k) != v)
            what = f"{changed}: {known[name].get(changed)!r} then, {value[changed]!r} now"
        elif name == "input":
            what = "its files, or their size or time"
        elif name == "model":
            what = f"{known[name]['name']} then, {value['name']} now, and what is in it"
        else:
            what = f"{known.get(name)} then, {value} now"
        raise ValueError(
            f"{out} was begun with another {name.rstrip('s') if name == 'options' else name} "
            f"({what}). Give another folder, or delete this one."
        )


def _clear(folder: Path) -> None:
    """Drafts of workers that have died."""
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
