"""Weights of terms: numbers, and schedules of them, which are values, too.

Where a training is, by updates and epochs, is not theirs to know: see `losses.bound.BoundLoss`.
"""

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Union

from . import options


@dataclass(frozen=True)
class Ramp:
    """A number that goes from ``first`` to ``last``, in a line from epoch ``begin`` to ``end``.

    Epochs are counted from 0 and may have fractions: 2.5 is the middle of the third epoch. With
    ``begin`` = ``end`` it is a step. It depends on the epoch alone, so that training that
    continues from a checkpoint continues with the right weight.

    Args:
        first: The number up to ``begin``, from 0 on.
        last: The number from ``end`` on, from 0 on.
        begin: An epoch, from 0 on.
        end: An epoch, not before ``begin``.

    Raises:
        ValueError: Unless all are finite and 0 <= begin <= end.

    Example:
        Cross-entropy first, Dice from the third epoch on, as the weight of a Dice term:

        >>> Ramp(0, 1, begin=2, end=2).at(epoch=1.5)
        0.0
        >>> Ramp(0, 1, begin=2, end=4).at(epoch=3)
        0.5
    """

    first: float
    last: float
    begin: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        for name in ("first", "last", "begin", "end"):
            value = options.number("Ramp", name, getattr(self, name))
            object.__setattr__(self, name, value)
        if self.end < self.begin:
            raise ValueError(f"Ramp: end must not be before begin ({self.end} < {self.begin}).")

    def at(self, epoch: float) -> float:
        """The number at this epoch."""
        if epoch < self.begin:
            return self.first
        if epoch >= self.end:
            return self.last
        share = (epoch - self.begin) / (self.end - self.begin)
        return self.first + share * (self.last - self.first)

    def to_dict(self) -> Dict[str, object]:
        """Plain values that make it again."""
        return {"name": "Ramp", **vars(self)}


class Numbers:
    """An iterator of numbers, one for each update, such as a schedule of thinc.

    What was drawn from the iterator is kept, so that a position always has the same number,
    whoever asks for it. After the last number that one goes on. A pickle, and a file, hold the
    latest number that was drawn.

    Args:
        iterator: Gives at least one number, from 0 on.
        owner: The loss and term, for messages.

    Raises:
        ValueError: For an iterator without a number, or with what is none.
    """

    def __init__(self, iterator: Iterator[object], owner: str):
        self._owner = owner
        self._rest: Optional[Iterator[object]] = iterator
        self._drawn: List[float] = []
        self.at(0)
        if not self._drawn:
            raise ValueError(f"{owner} is a schedule without a number. Give it at least one.")

    def at(self, step: int) -> float:
        """The number of an update, counted from 0."""
        while self._rest is not None and len(self._drawn) <= step:
            value = next(self._rest, None)
            if value is None:
                self._rest = None
            else:
                value = value.item() if hasattr(value, "item") else value
                self._drawn.append(options.number(self._owner, "a number of the schedule", value))
        return self._drawn[min(step, len(self._drawn) - 1)] if self._drawn else 0.0

    def to_dict(self) -> float:
        """The latest number."""
        return self._drawn[-1]

    def __repr__(self) -> str:
        return f"{self._drawn[-1]:g}"

    def __deepcopy__(self, memo: Dict[int, object]) -> "Numbers":
        return self

    def __getstate__(self) -> Dict[str, object]:
        return {"_owner": self._owner, "_rest": None, "_drawn": self._drawn[-1:]}


Weight = Union[float, Ramp, Numbers]


def weight(owner: str, name: str, value: object) -> Weight:
    """The weight of a term from what users write.

    Args:
        owner: The loss, for messages.
        name: The term.
        value: A number from 0 on; a `Ramp`, or a dict of one (``{"name": "Ramp", ...}``); or an
            iterator of numbers.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, dict) and value.get("name") == "Ramp":
        return Ramp(**{key: number for key, number in value.items() if key != "name"})
    if isinstance(value, (Ramp, Numbers)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict)):
        return Numbers(iter(value), f"{owner}: the weight of {name!r}")
    value = value.item() if hasattr(value, "item") else value
    return options.number(owner, f"the weight of {name!r}", value)


def weight_at(weight: Weight, step: int, epoch: Optional[float], name: str) -> float:
    """The number that a weight is at an update.

    Raises:
        ValueError: For a `Ramp` where epochs are not known.
    """
    if isinstance(weight, Numbers):
        return weight.at(step)
    if isinstance(weight, Ramp):
        if epoch is None:
            raise ValueError(
                f"the weight of {name!r} is a Ramp over epochs, which are not known here. Give a "
                "schedule of a number for each update."
            )
        return weight.at(epoch)
    return weight
