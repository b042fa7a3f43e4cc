"""Probabilities: a model's scores as every loss reads them."""

import math
from typing import Callable, Dict, Optional, Tuple, TypeVar, cast

from . import arrays
from .arrays import Array, namespace

# What takes the place of -inf, a class that a model rules out: finite, so that nothing is NaN.
RULED_OUT = -1e30
Made = TypeVar("Made")


class Probabilities:
    """Probabilities ``(N, C)`` of each row and class, and what goes with them.

    Logarithms stop at that of the smallest number that the type holds well (times 16). For
    sigmoids whose logits are known, 1-p and its logarithm are exact also where p rounds to 1.

    Attributes:
        activation: "softmax", a row's classes share 1; or "sigmoid", each cell on its own.
        p: Floats ``(N, C)`` in [0, 1], float32 or float64.
        logits: Floats ``(N, C)`` of sigmoids, or None. ``p`` can do without then.
        like: The array that was given, of the two.
        reusable: Whether the gradient may take the place of ``like``, one array less.
    """

    def __init__(
        self,
        activation: str,
        p: Optional[Array],
        logits: Optional[Array] = None,
        reusable: bool = False,
    ):
        self.activation, self._p, self.logits, self.reusable = activation, p, logits, reusable
        given = p if logits is None else logits
        assert given is not None
        self.like = given
        self.low = arrays.floor(self.like)
        self._made: Dict[Tuple[int, ...], Tuple[object, object]] = {}
        self._gathered: Optional[Tuple[Array, Array]] = None
        self._top: Optional[Tuple[Array, Array, Array, Array]] = None
        self._softplus: Optional[Array] = None

    @property
    def p(self) -> Array:
        """Probabilities; see the class."""
        if self._p is None:
            self._p = _sigmoid(self.like)
        return self._p

    def for_gradient(self) -> Array:
        """An array ``(N, C)`` to be filled row by row, once the row here has been read."""
        return self.like if self.reusable else namespace(self.like).empty_like(self.like)

    def rows(self, rows: slice) -> "Probabilities":
        """Some of the rows."""
        p, logits = (None if a is None else a[rows, :] for a in (self._p, self.logits))
        return Probabilities(self.activation, p, logits, self.reusable)

    def cells(self, flat: Array) -> "Probabilities":
        """Some of the cells ``(M,)``, by their numbers row by row."""
        xp = namespace(self.like)
        p, logits = (
            None if a is None else xp.take(xp.reshape(a, (-1,)), flat)
            for a in (self._p, self.logits)
        )
        return Probabilities(self.activation, p, logits)

    def gather(self, ids: Array) -> Array:
        """``(N,)``: p of the column of each row that ids ``(N,)`` say."""
        # All terms of a sum ask for the same.
        if self._gathered is None or self._gathered[0] is not ids:
            self._gathered = (ids, arrays.gather(self.p, ids))
        return self._gathered[1]

    def once(self, make: Callable[[], Made], *sources: object) -> Made:
        """What ``make`` gives, which is computed once for each tuple of sources, the objects that
        it depends on besides the probabilities: for totals and for slopes.
        """
        key = tuple(map(id, sources))
        if key not in self._made:
            self._made[key] = sources, make()  # the sources, too: no other object has their ids
        return cast(Made, self._made[key][1])

    def top(self) -> Tuple[Array, Array, Array, Array]:
        """Of each row of a softmax with N > 0 the class ``(N,)`` with p above 1/2 (any, if there
        is none), its p, p with 0 there ``(N, C)``, and the sum of that: 1-p of the class, exact
        also where p rounds to 1.
        """
        if self._top is None:
            xp, p = namespace(self.p), self.p
            # As a product with the rounded p, which is 10 times faster than argmax.
            columns = xp.arange(p.shape[1], dtype=p.dtype, device=arrays.device(p))
            ids = xp.astype(xp.round(p) @ columns, xp.int64)
            ids = xp.clip(ids, 0, p.shape[1] - 1)
            p_top, rest = arrays.gather(p, ids), xp.asarray(p, copy=True)
            arrays.add_at(rest, ids, -p_top)
            self._top = ids, p_top, rest, arrays.row_sums(rest)
        return self._top

    def q(self) -> Array:
        """1 - p, of a softmax and of known logits exact also where p rounds to 1."""
        if self.logits is not None:
            q = -self.logits
            return arrays.apply("sigmoid", q) if hasattr(q, "sigmoid_") else _sigmoid(q)
        q = arrays.at_least(1.0 - self.p, 0.0, reusable=True)
        if self.activation == "softmax" and self.p.shape[0]:
            # Only a row's largest p can be next to 1.
            ids, _, _, others = self.top()
            q_top = arrays.gather(q, ids)
            others = namespace(q).where(q_top < 0.5, others, q_top)
            arrays.add_at(q, ids, others - q_top)
        return q

    def log_p(self) -> Array:
        """``(N, C)``, in nats."""
        if self.logits is None:
            return arrays.apply("log", arrays.at_least(self.p, self.low))
        log_p = arrays.at_least(self.logits, 0.0)
        log_p *= -1.0
        log_p += self.logits  # the smaller of it and 0, exactly
        log_p -= self._log_rest()
        return log_p

    def log_q(self) -> Array:
        """``(N, C)``, of 1 - p, in nats."""
        if self.logits is None:
            return arrays.apply("log", arrays.at_least(self.q(), self.low))
        log_q = arrays.at_least(self.logits, 0.0)
        log_q *= -1.0
        log_q -= self._log_rest()
        return log_q

    def _log_rest(self) -> Array:
        """log(1 + exp(-|z|)) of logits z: what log p and log q have in common."""
        if self._softplus is None:
            assert self.logits is not None
            rest = namespace(self.logits).abs(self.logits)
            rest *= -1.0
            self._softplus = arrays.apply("log1p", arrays.apply("exp", rest))
        return self._softplus


def from_logits(logits: Array, activation: str) -> Probabilities:
    """The probabilities of logits ``(N, C)``; ``-inf`` rules a class out."""
    xp = namespace(logits)
    if activation == "sigmoid":
        limit = -math.log(arrays.floor(logits))
        logits = xp.clip(logits, -limit, limit)
        return Probabilities(activation, None, logits, reusable=True)
    logits = arrays.at_least(logits, RULED_OUT)
    if not logits.shape[0]:
        return Probabilities(activation, logits)
    p = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    p /= xp.sum(p, axis=1, keepdims=True)
    return Probabilities(activation, p, reusable=True)


def _sigmoid(x: Array) -> Array:
    if hasattr(x, "sigmoid"):  # torch's own, in one pass
        return cast(Array, x.sigmoid())
    xp = namespace(x)
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
