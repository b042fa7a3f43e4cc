"""Texts that a process does not survive: found from a log of what it was at, which outlives it."""

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence, Set

# As often a process must have died over a text by itself: once it may have been killed by chance.
ALONE = 2
REASON = f"the worker process died on this text, {ALONE} times (out of memory, or a crash)"


class Deaths:
    """How processes ended that worked at a part before this one.

    Args:
        log: Which rows were begun, and which of these were done: a list of rows, then null.

    Attributes:
        suspects: Rows over which a process has died, alone or with others: to be tagged alone.
        lethal: Rows that are not to be tagged again.
    """

    def __init__(self, log: Path) -> None:
        self.log, begun = log, None
        died: Counter = Counter()
        lines = log.read_text("utf8").splitlines() if log.exists() else []
        for line in [*lines, "[]"]:
            try:
                entry = json.loads(line)
            except ValueError:  # a process died while it wrote it
                continue
            if entry is not None and begun:
                died[tuple(begun)] += 1
            begun = entry
        self.suspects: Set[int] = {row for rows in died for row in rows}
        self.lethal = {rows[0] for rows, n in died.items() if len(rows) == 1 and n >= ALONE}

    @contextmanager
    def watch(self, rows: Sequence[int]) -> Iterator[None]:
        """While these rows are tagged."""
        with self.log.open("a", encoding="utf8") as file:
            file.write(f"{json.dumps(list(rows))}\n")
        try:
            yield
        finally:
            with self.log.open("a", encoding="utf8") as file:
                file.write("null\n")
