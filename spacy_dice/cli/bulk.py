"""`spacy dice bulk`: tag millions of texts."""

from typing import List, Optional

from dice_bulk.options import HELP

from . import dice_cli
from .common import Arg, Opt, one_line_errors


@dice_cli.command("bulk")
def bulk_cli(
    # fmt: off
    model: str = Arg(
        ..., metavar="MODEL", help="Folder or package of a pipeline, or file of a Flair model"
    ),
    source: str = Arg(
        ...,
        metavar="IN",
        help="Parquet or JSON Lines (.jsonl, .jsonl.gz): a file, a folder, or a pattern with *",
    ),
    out: str = Arg(
        ...,
        metavar="OUT",
        help="Folder for the tables; the same command goes on with what it has not finished",
    ),
    text: str = Opt("text", "--text", "-t", help=HELP["text"]),
    id: Optional[str] = Opt(None, "--id", help=HELP["id"]),
    keep: Optional[List[str]] = Opt(None, "--keep", "-k", help=HELP["keep"]),
    field: Optional[List[str]] = Opt(None, "--field", "-f", help=HELP["field"]),
    workers: Optional[int] = Opt(None, "--workers", "-w", help=HELP["workers"]),
    batch_size: int = Opt(256, "--batch-size", "-b", help=HELP["batch_size"]),
    rows: int = Opt(10_000, "--rows", help=HELP["rows"]),
    gpus: float = Opt(0.0, "--gpus", "-g", help=HELP["gpus"]),
    code: Optional[str] = Opt(None, "--code", "-c", help=HELP["code"]),
    address: Optional[str] = Opt(None, "--address", help=HELP["address"]),
    local: bool = Opt(False, "--local", help=HELP["local"]),
    # fmt: on
) -> None:
    """
    Tag texts in bulk, by Ray Data.

    Entities, spans, categories and tags are written as Parquet, with scores where there are any. Records that cannot be tagged go
    to OUT/_bad with the reason. A worker that dies is replaced, and a job that was killed goes on where it was.

    \b
    Examples:
      python -m spacy dice bulk output/model-best texts.parquet tagged --workers 4
      python -m spacy dice bulk en_core_web_sm "logs/*.jsonl" tagged \\
          --text body --id url --keep date
    """
    with one_line_errors():
        from dice_bulk.command import run

        run(
            model,
            source,
            out,
            text=text,
            id=id,
            keep=keep or (),
            field=field or (),
            workers=workers,
            batch_size=batch_size,
            rows=rows,
            gpus=gpus,
            code=code,
            address=address,
            local=local,
        )
