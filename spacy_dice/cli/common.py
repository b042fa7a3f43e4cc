"""What the commands share: spaCy's own options, errors of one line, data and tables."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

import typer
from spacy.cli._util import Arg as Arg
from spacy.cli._util import Opt, import_code, setup_gpu
from thinc.api import ConfigValidationError
from wasabi import msg, table

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

# The options of `spacy evaluate`.
CODE = Opt(
    None,
    "--code",
    "-c",
    help="Path to Python file with additional code (registered functions) to be imported",
)
GPU = Opt(-1, "--gpu-id", "-g", help="GPU ID or -1 for CPU")
JSON = Opt(None, "--json", "-j", help="Write the result as JSON to this file; - is stdout")
DATA = "a .spacy file, as 'spacy convert' makes it, or a folder of them"
# More labels than these are not printed; the JSON has all.
MAX_ROWS = 40


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error in what the user gave into one line on stderr and exit status 1.

    A reader that closes the pipe (``| head``) is no error: commands save first and print last.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigValidationError, ValueError, OSError, ImportError) as error:
        print(f"✘ {_one_line(error)}", file=sys.stderr)
        raise typer.Exit(1) from None


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = getattr(error, "desc", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def prepare(code: Optional[Path], gpu: int) -> None:
    """Do what --code and --gpu-id ask for. spaCy's messages go to stderr: stdout has results."""
    with redirect_stdout(sys.stderr):
        import_code(code)
        setup_gpu(gpu)


def note(text: str) -> None:
    """Print a message to stderr."""
    with redirect_stdout(sys.stderr):
        msg.good(text)


def read_examples(path: Path, nlp: "Language") -> "list[Example]":
    """Read gold documents as `spacy evaluate` does.

    Args:
        path: A .spacy file, or a folder with such files.
        nlp: The pipeline that will predict; it tokenizes the texts.

    Returns:
        An Example for each document that has tokens.

    Raises:
        ValueError: If there are none, or the file cannot be read.
    """
    from spacy.training import Corpus

    if path.is_file() and path.suffix != ".spacy":
        raise ValueError(f"{path} is not a .spacy file. Make one of it with 'spacy convert'.")
    if path.is_dir() and not any(path.rglob("*.spacy")):
        raise ValueError(f"The folder {path} has no .spacy files in it.")
    examples = list(Corpus(path)(nlp))
    if not examples:
        raise ValueError(f"{path} has no documents with tokens.")
    return examples


def check_new(folder: Optional[Path], force: bool) -> None:
    """Raise an error if a folder to write to has something in it, unless --force is given."""
    if folder is None:
        return
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the folder of a pipeline.")
    if folder.exists() and any(folder.iterdir()) and not force:
        raise ValueError(f"{folder} is there already and not empty. Use --force to write over it.")


def write_json(path: Optional[str], value: object) -> bool:
    """Write a result as JSON if it is asked for.

    Returns:
        Whether it was written to stdout, so that nothing else may be.
    """
    if path is None:
        return False
    if path == "-":
        print(json.dumps(value, indent=1))
        return True
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value, indent=1) + "\n", encoding="utf8")
    return False


def as_table(header: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """A table of wasabi's in which no label is shortened.

    Args:
        header: Names of the columns.
        rows: Cells. Those after the `MAX_ROWS`th are counted, not shown.
        n_left: How many columns are aligned to the left; numbers are aligned to the right.

    Returns:
        Lines without blanks at their ends.
    """
    from dice_core.options import FILLER, filled

    header = [filled(cell) for cell in header]
    shown = [[filled(cell) for cell in row] for row in rows[:MAX_ROWS]]
    widest = max(len(cell) for row in (header, *shown) for cell in row)
    aligns: list[Literal["l", "r"]] = ["l"] * n_left
    aligns += ["r"] * (len(header) - n_left)
    text = table(shown, header=header, divider=True, aligns=aligns, max_col=widest, spacing=2)
    lines = [line.rstrip() for line in text.strip("\n").replace(FILLER, "").splitlines()]
    if len(rows) > MAX_ROWS:
        lines.append(f"... and {len(rows) - MAX_ROWS:,} more; --json has all")
    return "\n".join(lines)
