"""The formulas, on plain arrays: values and slopes of every loss.

Shapes: ``p`` (probabilities), ``y`` (targets) are floats ``(N, C)``, one row a token
and one column a class. Every function takes NumPy or CuPy arrays alike.

**Slopes.** A formula does not return dL/dp: that is infinite at p = 0 for a logarithm,
and at p = 1 for (1-p)^alpha. It returns the *slope*

    u = dL/dp * p * (1 - p),

the derivative by the logit of the class's own binary view. The slope of every loss here
is finite for every p in [0, 1]. `from_slope_softmax` and `from_slope_sigmoid` turn slopes
into the gradients that models want back.
"""

from typing import Any, NamedTuple, Tuple

from thinc.api import get_array_module

Array = Any


class Counts(NamedTuple):
    """Soft counts of one overlap coefficient F = (num + smooth) / (den + smooth).

    ``num`` and ``den`` are ``(N, C)``: what each cell adds to either. ``num_slope`` and
    ``den_slope`` are their derivatives times p(1-p).
    """

    num: Array
    den: Array
    num_slope: Array
    den_slope: Array


# -- logarithmic losses -----------------------------------------------------------------


def log_loss(p: Array, positive: Array, negative: Array, gamma: float = 0.0) -> Tuple[Array, Array]:
    """Cross-entropy (gamma = 0) and focal loss of each cell, and its slope.

    L = -positive (1-p)^gamma log p - negative p^gamma log(1-p)

    ``positive`` and ``negative`` are ``(N, C)`` weights of "is this class" and of "is
    not". Softmax cross-entropy has positive = y and negative = 0; the binary view has
    positive = y and negative = 1 - y. Values are in nats, and stop at -log of the
    smallest normal number instead of infinity; slopes are exact.

    Source: FL of Li et al. 2020, section 3.4; Lin et al. 2017, equation 4.
    """
    q = 1.0 - p
    log_p, log_q = _log(p), _log(q)
    value = -positive * q**gamma * log_p - negative * p**gamma * log_q
    slope = negative * (p ** (gamma + 1) - gamma * q * p**gamma * log_q)
    slope -= positive * (q ** (gamma + 1) - gamma * p * q**gamma * log_p)
    return value, slope


def log_inverse_frequency(counts: Array, total: Array, K: float) -> Array:
    """log10((n - n_t) / n_t + K), the class weight of WCE, for counts n_t of any shape.

    A count below 1 is taken as 1. Source: Li et al. 2020, section 3.2.
    """
    xp = get_array_module(counts)
    counts = xp.maximum(counts, 1.0)
    return xp.log10(xp.maximum(total - counts, 0.0) / counts + K)


# -- overlap losses: Dice, its self-adjusting form, Tversky -----------------------------


def dice_counts(p: Array, y: Array, squared: bool) -> Counts:
    """DL: 2 p y over p^2 + y^2 (``squared``, as published) or over p + y.

    Source: Li et al. 2020, equations 7 and 8; Milletari et al. 2016 for the squares.
    """
    pq = p * (1.0 - p)
    if squared:
        return Counts(2 * p * y, p**2 + y**2, 2 * y * pq, 2 * p * pq)
    return Counts(2 * p * y, p + y, 2 * y * pq, pq)


def self_adjusting_counts(p: Array, y: Array, alpha: float, hold_weight: bool) -> Counts:
    """DSC: Dice with s = (1-p)^alpha p in place of p.

    ds/dp p(1-p) = p (1-p)^(alpha+1) - alpha p^2 (1-p)^alpha, finite at p = 1 although
    ds/dp is not. With ``hold_weight`` the weight (1-p)^alpha is a constant to the
    gradient and the second term is gone. Source: Li et al. 2020, equation 11.
    """
    q = 1.0 - p
    weight = q**alpha
    s = weight * p
    s_slope = s * q
    if not hold_weight:
        s_slope = s_slope - alpha * p * s
    return Counts(2 * s * y, s + y, 2 * y * s_slope, s_slope)


def tversky_counts(p: Array, y: Array, alpha: float, beta: float) -> Counts:
    """TL: p y over p y + alpha p (1-y) + beta (1-p) y.

    ``alpha`` weighs false positives, ``beta`` false negatives. Source: Li et al. 2020,
    equation 10; Salehi et al. 2017.
    """
    q = 1.0 - p
    hit = p * y
    den = hit + alpha * p * (1.0 - y) + beta * q * y
    return Counts(hit, den, y * p * q, (y + alpha * (1.0 - y) - beta * y) * p * q)


def overlap_loss(num: Array, den: Array, smooth: float, log: bool) -> Tuple[Array, Array, Array]:
    """1 - F, or -log F, of F = (num + smooth) / (den + smooth), for arrays of any shape.

    RETURNS the loss and its derivatives by ``num`` and by ``den``. Where both sums are
    zero nothing was expected and nothing found: the loss is 0 and so are the derivatives.
    """
    xp = get_array_module(num)
    num, den = num + smooth, den + smooth
    empty = den <= 0
    den = xp.where(empty, 1.0, den)
    f = xp.where(empty, 1.0, num / den)
    if log:
        num = xp.maximum(num, _tiny(num))
        value, d_num, d_den = -_log(f), -1.0 / num, 1.0 / den
    else:
        value, d_num, d_den = 1.0 - f, -1.0 / den, f / den
    return value, xp.where(empty, 0.0, d_num), xp.where(empty, 0.0, d_den)


def per_cell(counts: Counts, smooth: float, log: bool) -> Tuple[Array, Array]:
    """The overlap loss of each cell by itself (the paper's example level), and its slope."""
    value, d_num, d_den = overlap_loss(counts.num, counts.den, smooth, log)
    return value, d_num * counts.num_slope + d_den * counts.den_slope


def per_set(
    counts: Counts, cells: Array, present: Array, smooth: float, log: bool, micro: bool
) -> Tuple[Array, Array]:
    """The overlap loss of soft counts summed over all rows, and its slope.

    cells: ``(N, C)`` of 0 and 1, the cells that are counted. present: ``(C,)`` of 0 and 1,
    the classes that take part: pooled into one coefficient (``micro``) or averaged over
    (macro). RETURNS a value, which is 0 if no class takes part, and the slope ``(N, C)``.
    """
    xp = get_array_module(cells)
    cells = cells * present
    num, den = (counts.num * cells).sum(axis=0), (counts.den * cells).sum(axis=0)
    n_present = present.sum()
    if micro:
        num, den = num.sum(keepdims=True), den.sum(keepdims=True)
        share = xp.minimum(n_present, 1.0)
    else:
        share = present / xp.maximum(n_present, 1.0)
    value, d_num, d_den = overlap_loss(num, den, smooth, log)
    slope = share * d_num * counts.num_slope + share * d_den * counts.den_slope
    return (share * value).sum(), slope * cells


# -- entities ---------------------------------------------------------------------------


def entity_dice(
    p: Array,
    span_rows: Array,
    span_cols: Array,
    span_ids: Array,
    n_spans: int,
    start_cells: Array,
    smooth: float,
    beta: float,
    log: bool,
) -> Tuple[Array, Array]:
    """Soft F-beta over whole entities, for a head of BILUO tags, and its slope.

    A gold entity is found with P(s) = product of p(gold tag) over its tokens; the model
    is expected to predict E = sum of p over all tags that start an entity. With G gold
    entities, F = ((1 + beta^2) sum P(s) + smooth) / (E + beta^2 G + smooth).

    span_rows, span_cols, span_ids: ints ``(M,)``, one entry a token of a gold entity: its
    row, the column of its gold tag, and which entity it belongs to. start_cells: ``(N, C)``
    of 0 and 1, the cells of B and U tags on annotated rows.
    """
    xp = get_array_module(p)
    log_p = _log(p[span_rows, span_cols])
    found = xp.bincount(span_ids, weights=log_p, minlength=n_spans)[:n_spans]
    found = xp.exp(found).astype(p.dtype)
    factor = 1.0 + beta**2
    expected = (p * start_cells).sum().reshape(1)
    num = factor * found.sum().reshape(1)
    value, d_num, d_den = overlap_loss(num, expected + beta**2 * n_spans, smooth, log)
    q = 1.0 - p
    slope = d_den * start_cells * p * q
    # d log P(s) / d log p = 1 for each token of s, and dL/d log p * (1-p) is its slope.
    slope[span_rows, span_cols] += d_num * factor * found[span_ids] * q[span_rows, span_cols]
    return value.sum(), slope


# -- from slopes to gradients -----------------------------------------------------------


def from_slope_softmax(p: Array, slope: Array) -> Array:
    """Gradient by the logits of a softmax, from slopes.

    dL/dz_c = u_c - p_c * sum over k != c of u_k / (1 - p_k). At most one class of a row
    can have 1 - p_k < 1/2; it is kept out of the sum and added by itself, so that nothing
    cancels and nothing is divided by 0.
    """
    xp = get_array_module(p)
    if not p.size:
        return xp.zeros_like(p)
    rows = xp.arange(p.shape[0])
    top = p.argmax(axis=1)
    q = 1.0 - p
    q_top = q[rows, top]
    u_top = slope[rows, top]
    q[rows, top] = 1.0
    ratios = slope / q
    ratios[rows, top] = 0.0
    ratio_top = xp.where(q_top > 0, u_top / xp.where(q_top > 0, q_top, 1.0), 0.0)
    total = ratios.sum(axis=1)
    others = total[:, None] - ratios + ratio_top[:, None]
    others[rows, top] = total
    return slope - p * others


def from_slope_sigmoid(p: Array, slope: Array) -> Array:
    """Gradient by the logits of sigmoids: the slope itself."""
    return slope


def by_probabilities(p: Array, slope: Array) -> Array:
    """Gradient by the probabilities: slope / (p (1-p)), for heads that multiply it back.

    Where p (1-p) is 0 the head lets nothing through, and the result is 0. Magnitudes stop
    at the largest number that the type holds.
    """
    xp = get_array_module(p)
    pq = p * (1.0 - p)
    largest = xp.finfo(p.dtype).max / 4
    gradient = xp.where(pq > 0, slope / xp.where(pq > 0, pq, 1.0), 0.0)
    return xp.clip(gradient, -largest, largest)


def _tiny(array: Array) -> Any:
    return get_array_module(array).finfo(array.dtype).tiny


def _log(array: Array) -> Array:
    xp = get_array_module(array)
    return xp.log(xp.maximum(array, _tiny(array)))
