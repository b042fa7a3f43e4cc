"""Views: a model's scores as the probabilities that a loss reads."""

import math
from typing import Optional, Tuple

from . import arrays
from .arrays import Array, namespace

# What takes the place of -inf, a class that a model rules out: finite, so that nothing is NaN.
RULED_OUT = -1e30


class View:
    """Probabilities ``(N, C)`` of each row and class, and what goes with them.

    Logarithms stop at that of the smallest number that the type holds well (times 16). For
    sigmoids whose logits are known, what is of 1-p is exact also where p rounds to 1.

    Attributes:
        activation: "softmax", a row's classes share 1; or "sigmoid", each cell by itself.
        p: Floats ``(N, C)`` in [0, 1], float32 or float64.
        logits: Floats ``(N, C)`` of sigmoids, or None. ``p`` can do without then.
        like: The array that was given, of the two.
        used_up: Whether the gradient may take the place of ``like``.
    """

    def __init__(
        self,
        activation: str,
        p: Optional[Array],
        logits: Optional[Array] = None,
        used_up: bool = False,
    ):
        self.activation, self._p, self.logits, self.used_up = activation, p, logits, used_up
        self.like: Array = p if logits is None else logits
        self.low = arrays.floor(self.like)
        self._gathered: Tuple[Optional[Array], Optional[Array]] = (None, None)

    @property
    def p(self) -> Array:
        """Probabilities; see the class."""
        if self._p is None:
            self._p = _sigmoid(self.logits)
        return self._p

    def for_gradient(self) -> Array:
        """An array ``(N, C)`` to be filled row by row, once the row here has been read."""
        return self.like if self.used_up else namespace(self.like).empty_like(self.like)

    def rows(self, rows: slice) -> "View":
        """Some of the rows."""
        p, logits = (None if a is None else a[rows, :] for a in (self._p, self.logits))
        return View(self.activation, p, logits, self.used_up)

    def cells(self, flat: Array) -> "View":
        """Some of the cells ``(M,)``, by their numbers row by row."""
        xp = namespace(self.like)
        p, logits = (
            None if a is None else xp.take(xp.reshape(a, (-1,)), flat)
            for a in (self._p, self.logits)
        )
        return View(self.activation, p, logits)

    def gathered(self, ids: Array, p: Array) -> None:
        """Take p ``(N,)`` as what `gather` gives for these ids."""
        self._gathered = (ids, p)

    def gather(self, ids: Array) -> Array:
        """``(N,)``: p of the column of each row that ids ``(N,)`` say."""
        if self._gathered[0] is not ids:  # all terms of a compound ask for the same
            self._gathered = (ids, arrays.gather(self.p, ids))
        return self._gathered[1]

    def q(self, exact: bool = False) -> Array:
        """1 - p. ``exact``: also where p rounds to 1, for what is steep there."""
        if self.logits is not None:
            return _sigmoid(-self.logits)
        q = arrays.at_least(1.0 - self.p, 0.0)
        if exact and self.activation == "softmax" and self.p.shape[0]:
            # Only a row's largest p can be next to 1: there 1 - p is the sum of the others.
            xp = namespace(q)
            top = xp.argmax(self.p, axis=1)
            rest = xp.asarray(self.p, copy=True)
            arrays.add_at(rest, top, -arrays.gather(rest, top))
            q_top = arrays.gather(q, top)
            others = xp.where(q_top < 0.5, xp.sum(rest, axis=1), q_top)
            arrays.add_at(q, top, others - q_top)
        return q

    def log_p(self) -> Array:
        """``(N, C)``, in nats."""
        if self.logits is not None:
            return _log_sigmoid(self.logits)
        return namespace(self.p).log(arrays.at_least(self.p, self.low))

    def log_q(self) -> Array:
        """``(N, C)``, of 1 - p, in nats."""
        if self.logits is not None:
            return _log_sigmoid(-self.logits)
        return namespace(self.p).log(arrays.at_least(self.q(exact=True), self.low))


def view_of_logits(logits: Array, activation: str) -> View:
    """The view of logits ``(N, C)``; ``-inf`` rules a class out."""
    xp = namespace(logits)
    if activation == "sigmoid":
        limit = -math.log(arrays.floor(logits))
        logits = xp.clip(logits, -limit, limit)
        return View(activation, None, logits, used_up=True)
    logits = arrays.at_least(logits, RULED_OUT)
    if not logits.shape[0]:
        return View(activation, logits)
    p = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    p /= xp.sum(p, axis=1, keepdims=True)
    return View(activation, p, used_up=True)


def _sigmoid(x: Array) -> Array:
    if hasattr(x, "sigmoid"):  # torch's own, in one pass
        return x.sigmoid()
    xp = namespace(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def _log_sigmoid(x: Array) -> Array:
    xp = namespace(x)
    return -arrays.at_least(-x, 0.0) - xp.log1p(xp.exp(-xp.abs(x)))
