"""The command: what its options are called, what it prints."""

import argparse
import sys
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Callable, Dict, Iterator, List

from .options import HELP, Options

EXTRA = 'pip install "spacy-flair-dice[ray]"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, IN, OUT and all `Options`, for a parser of argparse."""
    parser.add_argument("model", metavar="MODEL", help="spaCy pipeline, or file of a Flair model")
    parser.add_argument("source", metavar="IN", help="Parquet or JSON Lines: file, folder, '*'")
    parser.add_argument("out", metavar="OUT", help="folder for the tables")
    for each in fields(Options):
        name, kind = f"--{each.name.replace('_', '-')}", type(each.default)
        text = HELP[each.name].replace("%", "%%")
        if each.default is False:
            parser.add_argument(name, action="store_true", help=text)
        elif each.default == ():
            parser.add_argument(name, action="append", default=[], help=text)
        else:
            convert: Any = int if each.name == "workers" else str if each.default is None else kind
            parser.add_argument(name, type=convert, default=each.default, help=text)


def run(model: str, source: str, out: str, **options: Any) -> None:
    """Tag, with progress on stderr, and a summary on stdout.

    Raises:
        ValueError, OSError: As `dice_bulk.tag`, and if no record at all could be tagged.
        ImportError: If pyarrow or Ray is missing, with what to install.
    """
    chosen: Dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in options.items()
    }
    made = Options(**chosen)
    try:
        import pyarrow  # noqa: F401

        if not made.local:
            import ray.data  # noqa: F401
    except ImportError as error:
        raise ImportError(f"Bulk tagging needs {error.name or 'Ray'}: {EXTRA}") from None
    from .job import tag

    with _progress() as report:
        summary = tag(model, source, out, made, report)
    print(summary)
    if summary.bad:
        print(f"Bad records, with reasons: {out}/_bad", file=sys.stderr)
        if not summary.tagged:
            raise ValueError(f"All {summary.bad} records are bad. See {out}/_bad for the reasons.")


@contextmanager
def _progress() -> Iterator[Callable[..., None]]:
    """A bar of texts; a line every ten seconds where stderr is no terminal."""
    from tqdm import tqdm

    every = 0.1 if sys.stderr.isatty() else 10
    bad = 0
    bars: List[Any] = []

    def report(part: Any, done: Any) -> None:
        nonlocal bad
        if not bars:
            bars.append(tqdm(unit=" texts", unit_scale=True, mininterval=every, file=sys.stderr))
        bad += done.bad
        bars[0].set_postfix(bad=bad, refresh=False)
        bars[0].update(part.rows)

    try:
        yield report
    finally:
        for bar in bars:
            bar.close()


def main(program: str) -> int:
    """The command by itself. Returns the exit status: 1, with one line, for what is wrong."""
    parser = argparse.ArgumentParser(prog=program, description="Tag texts in bulk.")
    add_arguments(parser)
    try:
        run(**vars(parser.parse_args()))
    except (ValueError, OSError, ImportError) as error:
        print(f"✘ {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
