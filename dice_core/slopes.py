"""From slopes to gradients: what the chain rule does with a loss's slopes.

For a softmax dL/dz_c = h_c - p_c sum_k h_k with h = dL/dp * p, and there is nothing to divide by;
for sigmoids dL/dz_c = dL/dp * p (1-p), the slope itself.
"""

from typing import Optional

from . import arrays
from .arrays import Array, namespace
from .targets import Targets
from .views import View


class Slope:
    """The slope of a loss, as the sum of up to three parts, of which most losses need but one.

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

    def scale(self, factor: Array) -> None:
        """Multiply it, in place, with a scalar."""
        for name in ("cells", "columns", "gold"):
            part = getattr(self, name)
            if part is not None:
                part *= factor


def _sum(ours: Optional[Array], theirs: Optional[Array], weight: float) -> Optional[Array]:
    if theirs is None:
        return ours
    if weight != 1:
        theirs = theirs * weight
    if ours is None:
        return theirs
    ours += theirs
    return ours


def by_logits(view: View, slope: Slope, targets: Targets) -> Array:
    """The gradient ``(N, C)`` by a model's logits."""
    if view.activation == "sigmoid":
        gradient = slope.cells
        if gradient is None:
            return namespace(view.p).zeros_like(view.p)
    elif slope.steep:
        gradient = _by_logits_of_steep(view.p, _as_cells(view, slope, targets))
    else:
        gradient = _by_logits_of_softmax(view, slope, targets)
    return _known_only(gradient, targets)


def by_logits_of_shares(p: Array, slope: Slope, share: Array, targets: Targets) -> Array:
    """The gradient ``(N, C)`` by a softmax's logits where several columns of a row are gold, whose
    probabilities a loss that makes no cells took as one.

    share: ``(N, C)``, of each gold cell in its row's gold probability; 0 elsewhere. A row with
    several is none that set-level counts count.
    """
    if slope.gold is None:
        return namespace(p).zeros_like(p)
    gradient, total = share * slope.gold[:, None], slope.gold
    if slope.columns is not None:
        of_columns = p @ slope.columns
        total = total + (of_columns if targets.counted is None else of_columns * targets.counted)
    gradient += p * _factors(slope, total, targets, slice(None))
    return _known_only(gradient, targets)


def by_probabilities(view: View, slope: Slope, targets: Targets) -> Array:
    """The gradient ``(N, C)`` by the probabilities, for layers that multiply by the activation's
    derivative themselves.

    Where that derivative is 0 the layer lets nothing through, and the result is 0. Magnitudes
    stop at the largest number that the type holds.
    """
    xp = namespace(view.p)
    cells = _as_cells(view, slope, targets)
    j = view.p * (1.0 - view.p) if view.activation == "sigmoid" else view.p
    largest = float(xp.finfo(j.dtype).max) / 4
    gradient = xp.where(j > 0, cells / arrays.at_least(j, arrays.floor(j)), 0.0)
    return _known_only(xp.clip(gradient, -largest, largest), targets)


def _by_logits_of_softmax(view: View, slope: Slope, targets: Targets) -> Array:
    p, xp = view.p, namespace(view.p)
    total = None if slope.cells is None else arrays.row_sums(slope.cells)
    if slope.columns is not None:
        of_columns = p @ slope.columns
        if targets.counted is not None:
            of_columns = of_columns * targets.counted
        total = of_columns if total is None else total + of_columns
    if slope.gold is not None:
        total = slope.gold if total is None else total + slope.gold
    if total is None:
        return xp.zeros_like(p)
    if slope.cells is None:
        gradient = view.for_gradient()
        for rows in arrays.blocks(p):
            if gradient is p:
                gradient[rows, :] *= _factors(slope, total, targets, rows)
            else:
                gradient[rows, :] = _factors(slope, total, targets, rows) * p[rows, :]
    else:
        factors = _factors(slope, total, targets, slice(None))
        gradient = arrays.add_product(slope.cells, factors, p, view.used_up)
    if slope.gold is not None:
        arrays.add_at(gradient, targets.ids, slope.gold)
    return gradient


def _factors(slope: Slope, total: Array, targets: Targets, rows: slice) -> Array:
    """What of a row's probabilities is its gradient, but for cells and gold."""
    total = total[rows, None]
    if slope.columns is None:
        return -total
    if targets.counted is None:
        return slope.columns - total
    return targets.counted[rows, None] * slope.columns - total


def _by_logits_of_steep(p: Array, cells: Array) -> Array:
    """As above, without ever adding up what nearly cancels: at most one class of a row can have
    1-p < 1/2, and its slope is kept out of the sum.
    """
    xp = namespace(p)
    if not p.shape[0]:
        return cells
    top = xp.argmax(p, axis=1)
    at_top = arrays.gather(cells, top)
    rest = xp.asarray(p, copy=True)
    p_top = arrays.gather(p, top)
    arrays.add_at(rest, top, -p_top)
    q_top = arrays.at_least(xp.sum(rest, axis=1), arrays.floor(p))
    arrays.add_at(cells, top, -at_top)
    others = xp.sum(cells, axis=1)
    cells -= rest * (others + at_top)[:, None]
    arrays.add_at(cells, top, q_top * at_top - p_top * others)
    return cells


def _as_cells(view: View, slope: Slope, targets: Targets) -> Array:
    """All parts of a slope as one array of cells."""
    cells = namespace(view.p).zeros_like(view.p) if slope.cells is None else slope.cells
    if slope.columns is not None:
        of_columns = slope.columns * view.p
        cells = cells + (
            of_columns if targets.counted is None else of_columns * targets.counted[:, None]
        )
    if slope.gold is not None:
        arrays.add_at(cells, targets.ids, slope.gold)
    return cells


def _known_only(gradient: Array, targets: Targets) -> Array:
    if targets.mask is not None:
        gradient *= targets.mask
    if targets.weights is not None and targets.ids is not None:
        gradient *= targets.weights[:, None]
    return gradient
