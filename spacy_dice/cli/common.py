"""What the commands share: errors of one line, messages, pipelines and data."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Dict, Iterator, Optional, Sequence

import typer
from thinc.api import ConfigValidationError
from wasabi import Printer

if TYPE_CHECKING:
    from spacy.language import Language

Arg, Opt = typer.Argument, typer.Option
STDOUT = "-"


def one_line(error: BaseException) -> str:
    """A message without line breaks."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = getattr(error, "desc", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def printer(stream: Optional[IO[str]] = None, no_print: bool = False) -> Printer:
    """spaCy's printer, without colours where the stream (stdout) is no terminal."""
    made = Printer(no_print=no_print)
    is_terminal = (sys.stdout if stream is None else stream).isatty()
    made.show_color = made.show_color and is_terminal and not os.environ.get("NO_COLOR")
    return made


def fail(message: str) -> None:
    """Print one line to stderr, and exit with 1."""
    _to_stderr("fail", message)
    raise typer.Exit(1)


def warn(message: str) -> None:
    """Print one line to stderr."""
    _to_stderr("warn", message)


def _to_stderr(kind: str, message: str) -> None:
    made = printer(sys.stderr, no_print=True)
    if sys.stderr.isatty():
        text = getattr(made, kind)(message)
    else:  # one line, for grep; wasabi would wrap it
        icon = made.icons[kind]
        text = f"{icon} {message}"
    print(text, file=sys.stderr)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Whatever is wrong with what the user gave is one line on stderr and exit status 1."""
    try:
        yield
    except (ConfigValidationError, ValueError, OSError, ImportError) as error:
        fail(one_line(error))


def notes(out: str = "") -> Printer:
    """Where messages go: nowhere if stdout is a pipe, or is what ``out`` says to write to."""
    return printer(no_print=out == STDOUT or not sys.stdout.isatty())


def load_model(name: str) -> "Language":
    """A pipeline, from a folder or by the name of a package.

    Raises:
        OSError: If there is none.
    """
    import spacy
    from spacy.util import is_package

    if not is_package(name) and not (Path(name) / "config.cfg").exists():
        hint = ""
        if (Path(name) / "model-best").exists():
            hint = f" Did you mean {Path(name) / 'model-best'}?"
        raise OSError(f"There is no pipeline {name}: neither a package nor a folder of one.{hint}")
    return spacy.load(name)


def check_writable(folder: Path, force: bool) -> None:
    """Raise an OSError for a folder that has something in it already, unless told otherwise."""
    if folder.is_file():
        raise OSError(f"{folder} is a file; give the folder of a pipeline.")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise OSError(f"{folder} is there already and not empty. Use --force to write over it.")


def parse_settings(settings: Sequence[str]) -> Dict[str, Any]:
    """Options from ``key=value``; values are JSON or text, and dots make blocks.

    Example:
        >>> parse_settings(["weight=0.5", "class_weights.O=0.2", "average=macro"])
        {'weight': 0.5, 'class_weights': {'O': 0.2}, 'average': 'macro'}
    """
    options: Dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ValueError(f"--set {setting}: write it as key=value, e.g. --set weight=0.5.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        block = options
        *parents, last = key.split(".")
        for parent in parents:
            block = block.setdefault(parent, {})
            if not isinstance(block, dict):
                raise ValueError(f"--set {setting}: {parent} is set to a value already.")
        block[last] = value
    return options
