"""Set-level counts of a set that is seen in parts: chunks of a batch, ranks of a process group.

A part's loss takes its counts through a `dice_core.targets.Reduce`: from the part's own sum to
that of the set.
The value is the set's; the gradient is that of the part's own share. So the gradients of all
parts add up to the gradient of the whole set, however it was cut.
"""

from typing import Callable, Dict, Optional

from torch import Tensor, distributed


def replace_value(x: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``x`` (finite)."""
    return value.detach() + (x - x.detach())


def over_ranks(part: Tensor) -> Tensor:
    """The sum over all ranks of the default process group. Every rank must call it alike."""
    total = part.detach().clone()
    distributed.all_reduce(total)
    return replace_value(part, total)


class OverChunks:
    """The sums over the chunks of a batch, from a first pass over them that records.

    First pass: compute the loss of each chunk; it gets the chunk's own sums. Second pass:
    `replay`, then compute the losses again. Calls are told apart by their order within a
    chunk's loss, which `next_chunk` starts anew.
    """

    def __init__(self) -> None:
        self._sums: Dict[int, Tensor] = {}
        self._call = 0
        self._recording = True

    def next_chunk(self) -> None:
        self._call = 0

    def replay(self, reduce: Optional[Callable[[Tensor], Tensor]] = None) -> None:
        """From now on give the sums over all chunks. ``reduce``: from this process's sums to
        those of all, `over_ranks`, if there are more."""
        self._recording = False
        if reduce is not None:
            self._sums = {call: reduce(part) for call, part in self._sums.items()}

    def __call__(self, part: Tensor) -> Tensor:
        call, self._call = self._call, self._call + 1
        if self._recording:
            seen: Optional[Tensor] = self._sums.get(call)
            self._sums[call] = part.detach() if seen is None else seen + part.detach()
            return part
        return replace_value(part, self._sums[call])
