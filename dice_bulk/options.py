"""What can be chosen, with its help text: once, for all command lines and for Python."""

from dataclasses import dataclass, field, fields
from typing import Any, Optional, Tuple

FIELDS = ("ents", "spans", "cats", "tags")


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Options:
    """How to read, to tag and to write; all have defaults.

    Args:
        text: Name of the column with the text.
        id: Name of a column with an id, which becomes the column ``id``.
        keep: Names of other columns to keep.
        field: What to write, of ``ents``, ``spans``, ``cats`` and ``tags``; nothing is all that
            the model gives.
        workers: Processes, each with a model of its own; None is one for each core of the cluster
            (with ``gpus``: one for each share of its GPUs).
        batch_size: Texts that a model gets at a time.
        rows: Texts of a part: what is written at once, and done again after a crash.
        gpus: GPUs of a worker; a fraction is a share of one.
        deaths: Workers that may die over the same part before the job stops. A text that kills one
            costs three, and is then a bad record.
        code: A Python file to import first, with what the pipeline is registered with.
        address: Of a Ray cluster that runs already, ``"auto"`` for the one of this machine; None
            starts one on this machine, unless ``RAY_ADDRESS`` names one.
        local: In this process, without Ray.

    Raises:
        ValueError: For a number below its minimum, or a field that there is none of.

    Example:
        >>> Options(text="body", keep=("url",), workers=4).batch_size
        256
    """

    text: str = _option("text", "Name of the column with the text")
    id: Optional[str] = _option(None, "Name of a column with an id")
    keep: Tuple[str, ...] = _option((), "Name of a column to keep; may be repeated")
    field: Tuple[str, ...] = _option(
        (), "ents, spans, cats or tags; may be repeated. Default: all that the model gives"
    )
    workers: Optional[int] = _option(
        None, "Processes, each with a model. Default: one for each core (or GPU, with --gpus)"
    )
    batch_size: int = _option(256, "Texts that a model gets at a time")
    rows: int = _option(10_000, "Texts of a part: what is done again after a crash")
    gpus: float = _option(0.0, "GPUs of a worker; a fraction is a share of one")
    deaths: int = _option(30, "Workers that may die over a part; a text that kills them costs 3")
    code: Optional[str] = _option(None, "A Python file to import first, for custom components")
    address: Optional[str] = _option(None, "Of a running Ray cluster, e.g. auto")
    local: bool = _option(False, "In this process, without Ray")

    def __post_init__(self) -> None:
        least = {"workers": 1, "batch_size": 1, "rows": 1, "gpus": 0, "deaths": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} must be {low} or more, got {value}.")
        for name in self.field:
            if name not in FIELDS:
                raise ValueError(f"field must be one of {', '.join(FIELDS)}, got {name!r}.")
        if self.local and (self.workers or 1) > 1:
            raise ValueError(
                f"local is one process, but workers is {self.workers}. Leave out one of the two."
            )


HELP = {each.name: each.metadata["help"] for each in fields(Options)}
