"""Weights that change while training."""

import math
from typing import Any, Dict, Iterator, Optional


class Ramp:
    """A number that goes from ``first`` to ``last``, in a line from epoch ``begin`` to ``end``.

    Epochs are counted from 0 and may have fractions: 2.5 is the middle of the third epoch. With
    ``begin`` = ``end`` it is a step. It depends on the epoch alone, so that training that goes
    on from a checkpoint goes on with the right weight. ``Ramp(0, 1, begin=2, end=2)`` for a Dice
    term is "cross-entropy first, Dice from the third epoch on".
    Raises ValueError unless all are finite and 0 <= begin <= end.
    """

    def __init__(self, first: float, last: float, begin: float = 0.0, end: float = 0.0):
        for option, value in {"first": first, "last": last, "begin": begin, "end": end}.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"flair_dice.Ramp: {option} must be a finite number from 0 on, got {value!r}."
                )
        if end < begin:
            raise ValueError(f"flair_dice.Ramp: end must not be before begin ({end} < {begin}).")
        self.first, self.last = float(first), float(last)
        self.begin, self.end = float(begin), float(end)

    def at(self, epoch: float) -> float:
        """The number at this epoch."""
        if epoch < self.begin:
            return self.first
        if epoch >= self.end:
            return self.last
        share = (epoch - self.begin) / (self.end - self.begin)
        return self.first + share * (self.last - self.first)

    def to_dict(self) -> Dict[str, Any]:
        return {"name": "Ramp", **vars(self)}

    def __repr__(self) -> str:
        return f"Ramp({self.first:g}, {self.last:g}, begin={self.begin:g}, end={self.end:g})"


class Weight:
    """The weight of a term: a number, a `Ramp`, a dict of one (``{"name": "Ramp", ...}``), or an
    iterator of numbers, one an update, of which the last is kept.

    ``what`` names it in messages. Raises ValueError for anything else.
    """

    def __init__(self, value: Any, what: str):
        self._what = what
        self._ramp: Optional[Ramp] = None
        self._numbers: Optional[Iterator[Any]] = None
        self.started = True
        if isinstance(value, dict) and value.get("name") == "Ramp":
            value = Ramp(**{key: number for key, number in value.items() if key != "name"})
        if isinstance(value, Ramp):
            self._ramp, value, self.started = value, value.at(0.0), False
        elif hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict)):
            self._numbers = iter(value)
            value, self.started = next(self._numbers, None), False
        self.current = self._check(value)

    def step(self, epoch: float) -> None:
        """Go on to the next update, which happens at this epoch."""
        if self._ramp is not None:
            self.current = self._ramp.at(epoch)
        elif self._numbers is not None and self.started:
            self.current = self._check(next(self._numbers, self.current))
        self.started = True

    def to_dict(self) -> Any:
        """What makes it again; of an iterator, its current number."""
        return self.current if self._ramp is None else self._ramp.to_dict()

    def _check(self, value: Any) -> float:
        value = value.item() if hasattr(value, "item") else value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value >= 0):
            raise ValueError(f"{self._what} must be a finite number from 0 on, got {value!r}.")
        return float(value)

    def __getstate__(self) -> Dict[str, Any]:
        # Generators do not pickle: what is left is the current number.
        return {**self.__dict__, "_numbers": None}

    def __repr__(self) -> str:
        return repr(self._ramp) if self._ramp is not None else f"{self.current:g}"
