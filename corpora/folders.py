"""Folders that hold a corpus, one file for each split."""

import random
from pathlib import Path
from typing import Dict, List, Optional, TypeVar

SPLITS = ("train", "dev", "test")
Item = TypeVar("Item")


def files(folder: Path) -> Dict[str, Path]:
    """The file of each split: the one with the split's name in its own.

    Raises FileNotFoundError if a split has none, or more than one.
    """
    found = {}
    for split in SPLITS:
        paths = [
            path
            for path in sorted(folder.iterdir())
            if split in path.name.lower() and path.suffix != ".md"
        ]
        if len(paths) != 1:
            raise FileNotFoundError(
                f"{folder} must hold one file for each of {', '.join(SPLITS)}, of columns of token "
                f"TAB tag, *.conllu, *.jsonl of spans or texts with labels. For {split} it has "
                f"{len(paths)}."
            )
        found[split] = paths[0]
    return found


def sample(items: List[Item], size: Optional[int], seed: int) -> List[Item]:
    """So many items, drawn at random without replacement; all of them, in their order, if size is
    None or they are not more."""
    if size is None or size >= len(items):
        return items
    return random.Random(seed).sample(items, size)
