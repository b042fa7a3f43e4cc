"""Sums over a set whose rows are seen in parts: blocks of a large batch, chunks, ranks."""

from typing import Callable, Dict, Optional

from .arrays import Array


class OverParts:
    """The sums over all parts of a set, from a first pass over them that records.

    First pass: compute the loss of each part; it gets the part's own sums. Second pass:
    `replay`, then compute the losses again: they get the sums of all. Calls are told apart by
    their order within a part's loss, which `next_part` starts anew.
    """

    def __init__(self) -> None:
        self._sums: Dict[int, Array] = {}
        self._call = 0
        self._recording = True

    def next_part(self) -> None:
        """What comes now is of another part."""
        self._call = 0

    def replay(self, reduce: Optional[Callable[[Array], Array]] = None) -> None:
        """From now on give the sums over all parts, or what ``reduce`` makes of each."""
        self._recording = False
        if reduce is not None:
            self._sums = {call: reduce(part) for call, part in self._sums.items()}

    def __call__(self, part: Array) -> Array:
        call, self._call = self._call, self._call + 1
        if self._recording:
            self._sums[call] = self._sums[call] + part if call in self._sums else part
            return part
        return self._sums[call]
