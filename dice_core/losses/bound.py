"""A loss in training: what changes of it, and values and gradients of whole batches."""

from typing import List, NamedTuple, Optional, Tuple

from .. import arrays, slopes
from ..arrays import Array, Number, namespace
from ..labels import LabelSpec
from ..options import Wrt
from ..probabilities import Probabilities
from ..slopes import Slope
from ..targets import Targets
from .base import Loss


class Part(NamedTuple):
    """A term of a loss, its weight, and which of the totals are its own."""

    loss: Loss
    weight: float
    own: slice


class BoundLoss:
    """A loss that trains one component or model, with the state of that training.

    Args:
        loss: The loss.

    Attributes:
        loss: The loss, as it was given.
        current: The loss with the weights of the present update.
        is_stepped: Whether its schedules, if it has any, have been stepped.
    """

    def __init__(self, loss: Loss):
        self.loss = loss
        self.is_stepped = not loss.is_scheduled
        self._step = 0
        # Totals of the batches so far, of losses that need them.
        self._accumulated: Optional[Array] = None
        self._update(loss.at(0, 0.0))

    def _update(self, loss: Loss) -> None:
        self.current = loss
        # The terms, and for what classes and activation they have been checked.
        self._parts: List[Part] = []
        self._checked: Tuple[int, str, Optional[LabelSpec]] = (-1, "", None)

    def step(self, epoch: Optional[float] = None) -> None:
        """Go on to the next update, in scheduled weights.

        Args:
            epoch: At which it happens, counted from 0. Where epochs are known this is called
                before each update, else after it.

        Raises:
            ValueError: For a weight that depends on epochs where they are not known.
        """
        if not self.loss.is_scheduled:
            return
        if self.is_stepped or epoch is None:
            self._step += 1
        self.is_stepped = True
        self._update(self.loss.at(self._step, epoch))

    def parts(self, n_classes: int) -> List[Part]:
        """The terms of the loss, for an output of C classes."""
        if self._checked[0] != n_classes:
            self._parts = _parts(self.current, n_classes)
            self._checked = (n_classes, "", None)
        return self._parts

    def compute(
        self, probabilities: Probabilities, targets: Targets, wrt: Wrt = "logits"
    ) -> Tuple[Array, Array]:
        """The loss and its gradient for a batch that is no part of another, and is learned from.

        Args:
            probabilities: ``(N, C)``, which are overwritten if they are reusable.
            targets: What is known of the rows.
            wrt: By what the gradient is; see `value_and_gradient`.

        Returns:
            As `value_and_gradient`.
        """
        totals = self.accumulate(self.totals(probabilities, targets), targets.n_classes)
        return self.value_and_gradient(probabilities, targets, totals, wrt)

    def n_totals(self, n_classes: int) -> int:
        """K, how many numbers `totals` gives for C classes."""
        parts = self.parts(n_classes)
        return int(parts[-1].own.stop) if parts else 0

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        """``(K,)``: what the loss counts over these rows; see `Loss.totals`."""
        counting = [
            part for part in self.parts(targets.n_classes) if part.own.stop > part.own.start
        ]
        if not counting or not targets.size:
            return self.no_totals(probabilities.like, targets.n_classes)
        sums: Optional[Array] = None
        for rows in _blocks(counting, targets, probabilities):
            block, known = _rows(probabilities, targets, rows)
            found = arrays.concat([part.loss.totals(block, known) for part in counting])
            sums = found if sums is None else sums + found
        assert sums is not None
        return sums

    def no_totals(self, like: Array, n_classes: int) -> Array:
        """``(K,)``: the totals of no rows."""
        n = self.n_totals(n_classes)
        return namespace(like).zeros(n, dtype=like.dtype, device=arrays.device(like))

    def accumulate(self, totals: Array, n_classes: int, learn: bool = True) -> Array:
        """The totals that a batch is trained with, from its own.

        Args:
            totals: ``(K,)``, of the whole batch, all its chunks and all ranks.
            n_classes: C.
            learn: Whether the batch is learned from, so that later ones count it.
        """
        running = [part.own for part in self.parts(n_classes) if part.loss.counts_over_training]
        if not running:
            return totals
        sums, before = arrays.wide(totals), self._accumulated  # float32 would stop at 2^24 rows
        if before is not None and before.shape == sums.shape:
            sums = before + sums
        if learn:
            self._accumulated = sums
        found = namespace(totals).asarray(totals, copy=True)
        for own in running:
            found[own] = arrays.like(sums[own], totals)
        return found

    def value_and_gradient(
        self,
        probabilities: Probabilities,
        targets: Targets,
        totals: Array,
        wrt: Wrt = "logits",
        scale: Optional[Number] = None,
    ) -> Tuple[Array, Array]:
        """The loss and its gradient.

        Args:
            probabilities: ``(N, C)``, which are overwritten if they are reusable.
            targets: What is known of the rows.
            totals: ``(K,)``, as `accumulate` gives them, of the set that the rows are a part of.
            wrt: By what the gradient is: "logits", or "probabilities" for layers that multiply
                by the activation's derivative themselves.
            scale: A scalar that both are multiplied with.

        Returns:
            The loss, of each row ``(N,)`` or a scalar (see `Loss.value_and_slope`), and the
            gradient ``(N, C)``.
        """
        xp = namespace(probabilities.like)
        if not targets.size:
            return xp.sum(probabilities.like), xp.zeros_like(probabilities.like)
        checked = targets.n_classes, probabilities.activation, targets.spec
        if self._checked != checked:
            loss = self.current.smoothed(targets.spec)
            loss.check_shape(*checked)
            self._parts, self._checked = _parts(loss, targets.n_classes), checked
        parts = [part for part in self._parts if part.weight]
        by = slopes.by_probabilities if wrt == "probabilities" else slopes.by_logits

        def compute(block: Probabilities, known: Targets) -> Tuple[Array, Array]:
            value, slope = _value_and_slope(parts, block, known, totals)
            if scale is not None:
                value = value * scale
                slope.scale(scale)
            return value, by(block, slope, known)

        blocks = _blocks(parts, targets, probabilities)
        if len(blocks) == 1:
            return compute(probabilities, targets)
        # Few arrays as large as the scores are in use at a time.
        gradient = probabilities.for_gradient()
        values: List[Array] = []
        for rows in blocks:
            block, known = _rows(probabilities, targets, rows)
            value, part = compute(block, known)
            if part is not block.like:  # which is where it belongs already
                gradient[rows, :] = part
            values.append(value)
        return (arrays.concat(values) if values[0].shape else xp.sum(xp.stack(values))), gradient


def _value_and_slope(
    parts: List[Part], probabilities: Probabilities, targets: Targets, totals: Array
) -> Tuple[Array, Slope]:
    """The weighted sum of the parts, each of which reads its own totals."""
    sums, slope = None, Slope()
    for loss, weight, own in parts:
        value, term = loss.value_and_slope(probabilities, targets, totals[own])
        slope.add(term, weight)
        value = value if weight == 1 else weight * value
        if sums is not None and sums.shape != value.shape:
            sums, value = arrays.total(sums), arrays.total(value)
        sums = value if sums is None else sums + value
    return (0.0 * targets.n_rows() if sums is None else sums), slope


def _parts(loss: Loss, n_classes: int) -> List[Part]:
    parts, first = [], 0
    for _, weight, term in loss.terms():
        last = first + term.n_totals(n_classes)
        parts.append(Part(term, weight, slice(first, last)))
        first = last
    return parts


def _blocks(parts: List[Part], targets: Targets, probabilities: Probabilities) -> List[slice]:
    fewest: List[slice] = []
    for part in parts:
        found = part.loss.blocks(probabilities, targets)
        # The fewest are of whole documents, which no other term minds.
        if found and (not fewest or len(found) < len(fewest)):
            fewest = found
    return fewest or [slice(0, targets.size)]


def _rows(
    probabilities: Probabilities, targets: Targets, rows: slice
) -> Tuple[Probabilities, Targets]:
    if rows.stop - rows.start == targets.size:
        return probabilities, targets
    return probabilities.rows(rows), targets.rows(rows)
