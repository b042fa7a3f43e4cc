"""Markdown pages whose tables and numbers are made of the results, between comments that say which.

    <!-- table DATA SIZE MODEL [SETTING ...] -->    <!-- end -->
    <!-- KIND WORD ... -->    <!-- end -->
    in a sentence: <!-- = KIND DATA SIZE MODEL LOSS [RATE] -->+2.8 ± 2.4<!-- /= -->

KIND is one of TABLES, or in a sentence one of `guides.number`.
"""

import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from .. import ROOT
from ..results import Run
from . import components, guides, init_config
from .components import LEARN_RATE
from .tables import grouped, table

TEXT = r"<!-- = ([^>]*) -->.*?<!-- /= -->"


def _components(make: Callable[..., List[str]], *more: Any) -> Callable[..., List[str]]:
    return lambda runs, losses: make(components.grouped(runs), losses, *more)


def _plain(make: Callable[..., List[str]]) -> Callable[..., List[str]]:
    return lambda runs, losses: make(components.grouped(runs, rate=LEARN_RATE), losses)


# What makes a table of all runs and the words of its comment, which are losses if nothing else is
# said.
TABLES: Dict[str, Callable[[Sequence[Run], List[str]], List[str]]] = {
    "gains": _components(components.scores),
    "dev": _components(components.means, "dev"),
    "plain": _plain(components.scores),
    "sooner_plain": _plain(components.sooner),
    "tuned": lambda runs, losses: components.tuned(
        components.grouped(run for run in runs if "tuned" in run), losses
    ),
    "rivals": _components(components.rivals),
    "rivals_tuned": _components(components.tuned_rivals),
    # Their word is the end of the models' names.
    "init_config": lambda runs, words: init_config.scores(init_config.grouped(runs, *words)),
    "init_config_curves": lambda runs, words: init_config.curves(init_config.grouped(runs, *words)),
    "entities": guides.entities,
    "untouched": guides.untouched,
    # Their words are components, or a corpus and a model.
    "component": guides.component,
    "thresholds": guides.thresholds,
    "paper": guides.paper,
}


def documents() -> List[Path]:
    """All pages that have something to fill in."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    kinds = "|".join(["=", "table", *TABLES])
    return [page for page in pages if re.search(rf"<!-- ({kinds})( [^>]*)? -->", page.read_text())]


def filled(document: str, runs: Sequence[Run]) -> str:
    """A document with its tables and numbers made anew. Raises a ValueError where there are no such
    runs."""
    groups = grouped(runs)

    def lines(kind: str, words: List[str]) -> List[str]:
        if kind != "table":
            return TABLES[kind](runs, words)
        found = [g for g in groups if [*g[:3]] == words[:3] and {*words[3:]} <= {*g[3].split()}]
        if not found:
            raise ValueError(f"There are no runs of {' '.join(words)}.")
        group = min(found, key=lambda g: len(g[3]))
        return table(group, groups[group])[2:]

    def block(match: Any) -> str:
        made = "\n".join(lines(match[2], (match[3] or "").split()))
        return f"{match[1]}\n\n{made}\n\n<!-- end -->"

    pattern = rf"(<!-- ({'|'.join(['table', *TABLES])})( [^>]*)? -->).*?<!-- end -->"
    document = re.sub(pattern, block, document, flags=re.DOTALL)
    number = lambda m: f"<!-- = {m[1]} -->{guides.number(runs, m[1].split())}<!-- /= -->"  # noqa: E731
    return re.sub(TEXT, number, document, flags=re.DOTALL)
