"""Markdown pages whose tables are made of the results, between comments that say which.

    <!-- table DATA SIZE MODEL [SETTING ...] -->    <!-- end -->
    <!-- types DATA SIZE MODEL [SETTING ...] LOSS ... -->    <!-- end -->
    <!-- summary LOSS ... -->    <!-- end -->

and of stock components, in place of summary: gains, dev, test, wins, sooner, early, rates, tuned,
rivals, rivals_tuned or ner; plain and sooner_plain are gains and sooner with the learning rate of
spaCy's own configs alone.
"""

import re
from typing import Any, Callable, Dict, List

from ..results import Cell
from . import components
from .tables import grouped, summary, table, types

# What spaCy's configs hold.
LEARN_RATE = 0.001
# Tables of stock components, of losses by name: the marker, and what makes it of all cells.
COMPONENTS: Dict[str, Callable[[List[Cell], List[str]], List[str]]] = {
    "gains": lambda cells, losses: components.scores(components.grouped(cells), losses),
    "dev": lambda cells, losses: components.means(components.grouped(cells), losses, "dev"),
    "test": lambda cells, losses: components.means(components.grouped(cells), losses, "test"),
    "wins": lambda cells, losses: components.wins(components.grouped(cells), losses),
    "sooner": lambda cells, losses: components.sooner(components.grouped(cells), losses),
    "early": lambda cells, losses: components.early(components.grouped(cells), losses),
    "rates": lambda cells, losses: components.rates(components.grouped(cells), losses),
    "plain": lambda cells, losses: components.scores(_plain(cells), losses),
    "sooner_plain": lambda cells, losses: components.sooner(_plain(cells), losses),
    "tuned": lambda cells, losses: components.tuned(_tuned(cells), losses),
    "rivals": lambda cells, losses: components.rivals(components.grouped(cells), losses),
    "rivals_tuned": lambda cells, losses: components.tuned_rivals(
        components.grouped(cells), losses
    ),
    "ner": lambda cells, losses: components.ner(components.grouped(cells), losses),
}


def _plain(cells: List[Cell]) -> components.Groups:
    return components.grouped(cells, rate=LEARN_RATE)


def _tuned(cells: List[Cell]) -> components.Groups:
    return components.grouped(cell for cell in cells if "tuned" in cell)


def filled(document: str, cells: List[Cell]) -> str:
    """A document with its tables made anew. Raises a ValueError where there are no such cells."""
    groups = grouped(cells)

    def lines(kind: str, words: List[str]) -> List[str]:
        if kind in COMPONENTS:
            return COMPONENTS[kind](cells, words)
        if kind == "summary":
            return summary(groups, words)
        settings = {word for word in words if "=" in word}
        wanted, losses = words[:3], [word for word in words[3:] if word not in settings]
        found = [g for g in groups if [*g[:3]] == wanted and settings <= set(g[3].split())]
        if not found:
            raise ValueError(f"There are no cells of {' '.join(words)}.")
        group = min(found, key=lambda g: len(g[3]))
        made = (
            table(group, groups[group]) if kind == "table" else types(group, groups[group], losses)
        )
        return made[2:]

    def block(match: Any) -> str:
        made = "\n".join(lines(match[2], match[3].split()))
        return f"{match[1]}\n\n{made}\n\n<!-- end -->"

    kinds = "|".join(["table", "types", "summary", *COMPONENTS])
    pattern = rf"(<!-- ({kinds}) ([^>]*) -->).*?<!-- end -->"
    return re.sub(pattern, block, document, flags=re.DOTALL)
