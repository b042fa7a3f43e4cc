"""A loss in training: what changes of it, and values and gradients of whole batches."""

from typing import List, Optional, Tuple

from .. import arrays, slopes
from ..arrays import Array, namespace
from ..options import Wrt
from ..probabilities import Probabilities
from ..targets import Targets
from .base import Loss


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
        self.current = loss.at(0, 0.0)
        self.is_stepped = not loss.is_scheduled
        self._step = 0
        # Totals of the batches so far, of losses that need them.
        self._accumulated: Optional[Array] = None

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
        self.current = self.loss.at(self._step, epoch)

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

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        """What the loss counts over these rows; see `Loss.totals`."""
        loss, found = self.current, None
        if not loss.n_totals(targets.n_classes) or not targets.size:
            return self.no_totals(probabilities.like, targets.n_classes)
        for rows in _blocks(loss, probabilities, targets):
            part = loss.totals(*_rows(probabilities, targets, rows))
            found = part if found is None else found + part
        assert found is not None
        return found

    def no_totals(self, like: Array, n_classes: int) -> Array:
        """The totals of no rows."""
        n = self.current.n_totals(n_classes)
        return namespace(like).zeros(n, dtype=like.dtype, device=like.device)

    def accumulate(self, totals: Array, n_classes: int, learn: bool = True) -> Array:
        """The totals that a batch is trained with, from its own.

        Args:
            totals: ``(K,)``, of the whole batch, all its chunks and all ranks.
            n_classes: C.
            learn: Whether the batch is learned from, so that later ones count it.
        """
        accumulated = self.current.accumulate(self._accumulated, totals, n_classes)
        if learn and accumulated is not totals:
            self._accumulated = accumulated
        return arrays.like(accumulated, totals)

    def value_and_gradient(
        self,
        probabilities: Probabilities,
        targets: Targets,
        totals: Array,
        wrt: Wrt = "logits",
        scale: Optional[Array] = None,
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
        like, loss = probabilities.like, self.current.smoothed(targets.spec)
        xp = namespace(like)
        if not targets.size:
            return xp.sum(like), xp.zeros_like(like)
        loss.check_shape(targets.n_classes, probabilities.activation, targets.spec)
        blocks = _blocks(loss, probabilities, targets)
        if len(blocks) == 1:
            return _block(loss, probabilities, targets, totals, wrt, scale)
        # Few arrays as large as the scores are in use at a time.
        gradient = probabilities.for_gradient()
        values: List[Array] = []
        for rows in blocks:
            block, known = _rows(probabilities, targets, rows)
            value, part = _block(loss, block, known, totals, wrt, scale)
            if part is not block.like:  # which is where it belongs already
                gradient[rows, :] = part
            values.append(value)
        if values[0].shape:
            return arrays.concat(values), gradient
        return xp.sum(xp.stack(values)), gradient


def _block(
    loss: Loss,
    probabilities: Probabilities,
    targets: Targets,
    totals: Array,
    wrt: Wrt,
    scale: Optional[Array],
) -> Tuple[Array, Array]:
    value, slope = loss.value_and_slope(probabilities, targets, totals)
    if scale is not None:
        value = value * scale
        slope.scale(scale)
    by = slopes.by_probabilities if wrt == "probabilities" else slopes.by_logits
    return value, by(probabilities, slope, targets)


def _blocks(loss: Loss, probabilities: Probabilities, targets: Targets) -> List[slice]:
    return loss.blocks(probabilities, targets) or [slice(0, targets.size)]


def _rows(
    probabilities: Probabilities, targets: Targets, rows: slice
) -> Tuple[Probabilities, Targets]:
    if rows.stop - rows.start == targets.size:
        return probabilities, targets
    return probabilities.rows(rows), targets.rows(rows)
