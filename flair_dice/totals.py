"""Set-level counts of a set that is seen in parts: chunks of a batch, ranks of a process group.

A part's loss takes its counts through a `dice_core.targets.Reduce`: from the part's own sum to
that of the set.
The value is the set's; the gradient is that of the part's own share. So the gradients of all
parts add up to the gradient of the whole set, however it was cut.
"""

from torch import Tensor, distributed

from dice_core.parts import OverParts


def replace_value(x: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``x`` (finite)."""
    return value.detach() + (x - x.detach())


def over_ranks(part: Tensor) -> Tensor:
    """The sum over all ranks of the default process group. Every rank must call it alike."""
    total = part.detach().clone()
    distributed.all_reduce(total)
    return replace_value(part, total)


class OverChunks(OverParts):
    """The sums over the chunks of a batch, with the gradient of the chunk's own."""

    def __call__(self, part: Tensor) -> Tensor:
        return replace_value(part, super().__call__(part.detach()))
