"""Weights that change while training."""

import itertools
from typing import Any, Dict, Iterator, Optional

from .options import Options


class Ramp(Options):
    """A number that goes from ``first`` to ``last``, in a line from epoch ``begin`` to ``end``.

    Epochs are counted from 0 and may have fractions: 2.5 is the middle of the third epoch. With
    ``begin`` = ``end`` it is a step. It depends on the epoch alone, so that training that goes
    on from a checkpoint goes on with the right weight.

    Args:
        first, last: The number before and after, from 0 on.
        begin, end: Epochs, from 0 on.

    Raises:
        ValueError: Unless all are finite and 0 <= begin <= end.

    Example:
        Cross-entropy first, Dice from the third epoch on, as the weight of a Dice term:

        >>> Ramp(0, 1, begin=2, end=2).at(epoch=1.5)
        0.0
        >>> Ramp(0, 1, begin=2, end=4).at(epoch=3)
        0.5
    """

    def __init__(self, first: float, last: float, begin: float = 0.0, end: float = 0.0):
        self.first, self.last = self.read_number("first", first), self.read_number("last", last)
        self.begin, self.end = self.read_number("begin", begin), self.read_number("end", end)
        if end < begin:
            raise self.config_error(f"end must not be before begin ({end} < {begin}).")

    def at(self, epoch: float) -> float:
        """The number at this epoch."""
        if epoch < self.begin:
            return self.first
        if epoch >= self.end:
            return self.last
        share = (epoch - self.begin) / (self.end - self.begin)
        return self.first + share * (self.last - self.first)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values that make it again."""
        return {"name": "Ramp", **vars(self)}

    def __repr__(self) -> str:
        return f"Ramp({self.first:g}, {self.last:g}, begin={self.begin:g}, end={self.end:g})"


class Weight:
    """The weight of a term: a number, a `Ramp`, a dict of one (``{"name": "Ramp", ...}``), or an
    iterator of numbers (a thinc schedule), one an update, of which the last is kept.

    A pickle holds an iterator's current number; a copy goes on by itself.

    Args:
        value: One of these.
        name: The term's.
        owner: The loss, for messages.
    """

    def __init__(self, value: Any, name: str, owner: Options):
        self._name, self._owner = name, owner
        self._ramp: Optional[Ramp] = None
        self._numbers: Optional[Iterator[Any]] = None
        self.started = True
        if isinstance(value, dict) and value.get("name") == "Ramp":
            value = Ramp(**{key: number for key, number in value.items() if key != "name"})
        if isinstance(value, Ramp):
            self._ramp, value, self.started = value, value.at(0.0), False
        elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict)):
            self._numbers, self.started = iter(value), False
            value = next(self._numbers, None)
            if value is None:
                raise owner.config_error(
                    f"the weight of {name!r} is a schedule without a number. Give it at least one."
                )
        self.current = self._read(value)

    def step(self, epoch: Optional[float] = None) -> None:
        """Go on to the next update, which happens at this epoch, where epochs are known."""
        if self._ramp is not None:
            if epoch is None:
                raise self._owner.config_error(
                    f"the weight of {self._name!r} is a Ramp over epochs, which are not known "
                    "here. Give a schedule of a number for each update."
                )
            self.current = self._ramp.at(epoch)
        elif self._numbers is not None and (self.started or epoch is None):
            self.current = self._read(next(self._numbers, self.current))
        self.started = True

    def to_dict(self) -> Any:
        """What makes it again; of an iterator, its current number."""
        return self.current if self._ramp is None else self._ramp.to_dict()

    def _read(self, value: Any) -> float:
        value = value.item() if hasattr(value, "item") else value
        return self._owner.read_number(f"the weight of {self._name!r}", value)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_numbers": None}

    def __deepcopy__(self, memo: Dict[int, Any]) -> "Weight":
        copied = memo[id(self)] = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        copied._owner = memo.get(id(self._owner), self._owner)
        if self._numbers is not None:
            self._numbers, copied._numbers = itertools.tee(self._numbers)
        return copied

    def __repr__(self) -> str:
        return repr(self._ramp) if self._ramp is not None else f"{self.current:g}"
