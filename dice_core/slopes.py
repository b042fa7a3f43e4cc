"""From slopes to gradients: what the chain rule does with a loss's slopes.

For a softmax dL/dz_c = h_c - p_c sum_k h_k with h = dL/dp * p, and there is nothing to divide by;
for sigmoids dL/dz_c = dL/dp * p (1-p), the slope itself.
"""

from dataclasses import replace
from typing import Callable, Optional

from . import arrays
from .arrays import Array, Number, namespace
from .probabilities import Probabilities
from .targets import Targets


class Slope:
    """The slope of a loss, as the sum of up to three forms, of which most losses need but one.

    They do not know how much a row counts: the gradient is multiplied with that at the end. The
    shorter forms are 8 times faster than cells at 16,384 rows of 73 classes.

    Attributes:
        cells: ``(N, C)``, of each cell (see `formulas`).
        columns: ``(C,)``, dL/dp of all cells of a column that set-level counts count: their
            slope is that times p.
        gold: ``(N,)``, of each row's gold cell alone, for targets with class ids.
        steep: Whether ``cells`` may grow without bound as p goes to 1, where only its product
            with 1-p is finite.
    """

    def __init__(
        self,
        cells: Optional[Array] = None,
        columns: Optional[Array] = None,
        gold: Optional[Array] = None,
        steep: bool = False,
    ):
        self.cells, self.columns, self.gold, self.steep = cells, columns, gold, steep

    def add(self, other: "Slope", weight: float) -> None:
        """Add another one, times a weight, in place."""
        self.cells = _sum(self.cells, other.cells, weight)
        self.columns = _sum(self.columns, other.columns, weight)
        self.gold = _sum(self.gold, other.gold, weight)
        self.steep = self.steep or other.steep

    def rows(self, rows: slice) -> "Slope":
        """That of some of the rows."""
        cells = None if self.cells is None else self.cells[rows, :]
        gold = None if self.gold is None else self.gold[rows]
        return Slope(cells, self.columns, gold, self.steep)

    def scale(self, factor: Number) -> None:
        """Multiply it, in place, with a number."""
        for name in ("cells", "columns", "gold"):
            form = getattr(self, name)
            if form is not None:
                form *= factor


def _sum(ours: Optional[Array], theirs: Optional[Array], weight: float) -> Optional[Array]:
    if theirs is None:
        return ours
    if weight != 1:
        theirs = theirs * weight
    if ours is None:
        return theirs
    ours += theirs
    return ours


def by_logits(probabilities: Probabilities, slope: Slope, targets: Targets) -> Array:
    """The gradient ``(N, C)`` by a model's logits.

    It may take the place of the slope's cells, or of the probabilities where these are reusable.
    """
    if probabilities.activation == "sigmoid":
        gradient = slope.cells
        if gradient is None:
            return namespace(probabilities.like).zeros_like(probabilities.like)
    elif slope.steep:
        gradient = _by_logits_of_steep(probabilities, _as_cells(probabilities, slope, targets))
    elif slope.columns is not None:
        gradient = _in_blocks(_by_logits_of_softmax, probabilities, slope, targets)
    else:
        gradient = _by_logits_of_softmax(probabilities, slope, targets)
    return _known_only(gradient, targets)


def by_probabilities(probabilities: Probabilities, slope: Slope, targets: Targets) -> Array:
    """The gradient ``(N, C)`` by the probabilities, for layers that multiply by the activation's
    derivative themselves.

    Where that derivative is 0 the layer lets nothing through, and the result is 0. Magnitudes
    stop at a quarter of the largest number that the type holds.
    """
    return _in_blocks(_by_probabilities, probabilities, slope, targets)


def _by_probabilities(probabilities: Probabilities, slope: Slope, targets: Targets) -> Array:
    p = probabilities.p
    xp, limit = namespace(p), float(arrays.limits(p).max) / 4
    cells = _as_cells(probabilities, slope, targets)
    j = p * (1.0 - p) if probabilities.activation == "sigmoid" else p
    gradient = xp.where(j > 0, cells / arrays.at_least(j, arrays.floor(j)), 0.0)
    return _known_only(xp.clip(gradient, -limit, limit), targets)


def _by_logits_of_softmax(probabilities: Probabilities, slope: Slope, targets: Targets) -> Array:
    p = probabilities.p
    total = None if slope.cells is None else arrays.row_sums(slope.cells)
    if slope.columns is not None:
        column_total = p @ slope.columns
        if targets.counted is not None:
            column_total = column_total * targets.counted
        total = column_total if total is None else total + column_total
    if slope.gold is not None:
        total = slope.gold if total is None else total + slope.gold
    if total is None:
        return namespace(p).zeros_like(p)
    factors = -total[:, None]
    if slope.columns is not None:
        columns = slope.columns
        if targets.counted is not None:
            columns = columns * targets.counted[:, None]
        factors = columns + factors
    if slope.cells is not None:
        gradient = arrays.add_product(slope.cells, factors, p, probabilities.reusable)
    elif probabilities.reusable:
        gradient = p
        gradient *= factors
    else:
        gradient = factors * p
    if slope.gold is not None:
        assert targets.ids is not None
        arrays.add_at(gradient, targets.ids, slope.gold)
    return gradient


def _in_blocks(
    gradient_of: Callable[[Probabilities, Slope, Targets], Array],
    probabilities: Probabilities,
    slope: Slope,
    targets: Targets,
) -> Array:
    """A gradient that takes more arrays as large as the scores: of a few rows at a time."""
    blocks = arrays.blocks(probabilities.like)
    if len(blocks) < 2:
        return gradient_of(probabilities, slope, targets)
    gradient, targets = probabilities.for_gradient(), replace(targets, lengths=None)
    for rows in blocks:
        block = probabilities.rows(rows)
        part = gradient_of(block, slope.rows(rows), targets.rows(rows))
        if part is not block.like:  # which is where it belongs already
            gradient[rows, :] = part
    return gradient


def _by_logits_of_steep(probabilities: Probabilities, cells: Array) -> Array:
    """As above, without ever adding up what nearly cancels: at most one class of a row can have
    1-p < 1/2, and its slope is kept out of the sum.
    """
    p = probabilities.p
    if not p.shape[0]:
        return cells
    top, p_top, rest, q_top = probabilities.top()
    q_top, at_top = arrays.at_least(q_top, arrays.floor(p)), arrays.gather(cells, top)
    arrays.add_at(cells, top, -at_top)
    others = arrays.row_sums(cells)
    cells = arrays.add_product(cells, -(others + at_top)[:, None], rest)
    arrays.add_at(cells, top, q_top * at_top - p_top * others)
    return cells


def _as_cells(probabilities: Probabilities, slope: Slope, targets: Targets) -> Array:
    """All forms of a slope as one array of cells."""
    p = probabilities.p
    cells = namespace(p).zeros_like(p) if slope.cells is None else slope.cells
    if slope.columns is not None:
        column_cells = slope.columns * p
        if targets.counted is not None:
            column_cells = column_cells * targets.counted[:, None]
        cells = cells + column_cells
    if slope.gold is not None:
        assert targets.ids is not None
        arrays.add_at(cells, targets.ids, slope.gold)
    return cells


def _known_only(gradient: Array, targets: Targets) -> Array:
    if targets.mask is not None:
        gradient *= targets.mask
    if targets.weights is not None:
        gradient *= targets.weights[:, None]
    return gradient
