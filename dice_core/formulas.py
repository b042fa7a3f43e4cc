"""The formulas: values and slopes of every loss, on arrays of any library.

Shapes: ``p`` (probabilities) and ``y`` (targets) are floats ``(N, C)``, one row a token and one
column a class; what holds for cells holds for the 1-d arrays of gold cells, too.

**Slopes.** A formula does not return dL/dp, which is infinite at p = 0 for a logarithm, but
dL/dp * j, with ``j`` the part of the activation's derivative that belongs to the cell: p for a
softmax, p (1-p) for a sigmoid. See `slopes`, which makes gradients of them.
"""

from typing import NamedTuple, Optional, Tuple

from . import arrays
from .arrays import Array, namespace

# -- logarithmic losses -----------------------------------------------------------------


def log_loss(p: Array, q: Optional[Array], log_p: Array, gamma: float) -> Tuple[Array, Array]:
    """-q^gamma log p with q = 1-p: cross-entropy (gamma = 0, without q) and focal loss of "is
    this class".

    Returns:
        Values in nats, and dL/dp * p. With p and 1-p exchanged it is the loss of "is not this
        class", and the slope has the other sign.

    Source: FL of Li et al. 2020, section 3.4; Lin et al. 2017, equation 4.
    """
    if q is None or not gamma:
        return -log_p, -1.0
    weight = q * q if gamma == 2 else q**gamma
    # At q = 0 the power may be infinite, and log p is 0.
    steep = gamma * p * arrays.at_least(q, arrays.floor(q)) ** (gamma - 1) * log_p
    return -weight * log_p, steep - weight


def log_inverse_frequency(counts: Array, total: Array, K: float) -> Array:
    """log10((n - n_t) / n_t + K), the class weight of WCE, for counts n_t of any shape.

    A count below 1 is taken as 1. Source: Li et al. 2020, section 3.2.
    """
    xp = namespace(counts)
    counts = arrays.at_least(counts, 1.0)
    return xp.log10(arrays.at_least(total - counts, 0.0) / counts + K)


# -- overlap losses: Dice, its self-adjusting form, Tversky -----------------------------


class Mass(NamedTuple):
    """What a cell adds to the true positives where it is gold (``hit``) and to the predictions
    (``predicted``), with their slopes. For most losses they are the same array.
    """

    hit: Array
    predicted: Array
    hit_slope: Array
    predicted_slope: Array


def squared_mass(p: Array, j: Array) -> Mass:
    """Of DL as published: p^2 + y^2 below. Source: Milletari et al. 2016."""
    square = p * p
    return Mass(p, square, j, 2.0 * (square if j is p else p * j))


def self_adjusting_mass(
    p: Array, q: Optional[Array], j: Array, alpha: float, detach_weight: bool, is_softmax: bool
) -> Mass:
    """Of DSC: s = (1-p)^alpha p in place of p. Source: Li et al. 2020, equation 11.

    ds/dp = (1-p)^alpha - alpha p (1-p)^(alpha-1), without its second part if the weight is held
    constant. For a softmax and alpha < 1 that is infinite at p = 1: see `slopes.Slope.steep`.
    q is None for 1-p of a softmax and alpha = 1.
    """
    if q is None:
        square = p * p
        s = p - square
        if detach_weight:
            return Mass(s, s, s, s)
        slope = square  # p - 2 p^2, in its place
        slope *= -2.0
        slope += p
        return Mass(s, s, slope, slope)
    weight = q if alpha == 1 else q**alpha
    s = weight * p
    slope = s if j is p else weight * j
    if not detach_weight and alpha:
        if alpha == 1:
            slope = slope - p * j
        elif is_softmax:
            slope = slope - alpha * p * p * _power(q, alpha - 1)
        else:  # j is p q: there is nothing to divide by
            slope = slope - alpha * p * s
    return Mass(s, s, slope, slope)


def overlap(
    hits: Array, predicted: Array, gold: Array, alpha: float, beta: float, smooth: float, log: bool
) -> Tuple[Array, Array, Array]:
    """The one formula of all overlap losses, 1 - F or -log F.

        F = (TP + smooth) / (TP + alpha FP + beta FN + smooth)

    with TP = hits, FP = predicted - hits, FN = gold - hits, for arrays of any shape. It is
    Tversky's; Dice is alpha = beta = 1/2 with half of its smoothing, F-beta of whole entities
    alpha = 1 / (1 + beta^2). Where both sums are zero nothing was expected and nothing found:
    the loss is 0 and so are the derivatives.

    Returns:
        The loss and its derivatives by ``hits`` and by ``predicted``.

    Source: Li et al. 2020, equations 7, 8 and 10; Salehi et al. 2017.
    """
    xp = namespace(predicted)
    rest = 1.0 - alpha - beta
    num = hits + smooth
    den = alpha * predicted + (smooth + beta * gold)
    if rest:  # not Dice
        den += rest * hits
    empty = None
    if not smooth:
        empty = den <= 0
        den = xp.where(empty, xp.ones_like(den), den)
    one_by = den**-1.0
    f = num / den
    if log:
        low = float(xp.finfo(den.dtype).smallest_normal)
        num = arrays.at_least(num + 0.0 * den, low)
        value = -xp.log(arrays.at_least(f, low))
        by_hits, by_predicted = rest * one_by - 1.0 / num, alpha * one_by
    else:
        by_hits, by_predicted = (rest * f - 1.0) * one_by if rest else -one_by, alpha * f * one_by
        value = 1.0 - f
    if empty is None:
        return value, by_hits, by_predicted
    zero = xp.zeros_like(den)
    return (
        xp.where(empty, zero, value),
        xp.where(empty, zero, by_hits),
        xp.where(empty, zero, by_predicted),
    )


def overlap_of_others(
    predicted: Array, alpha: float, smooth: float, log: bool, used_up: bool = False
) -> Tuple[Array, Array]:
    """`overlap` of cells ``(N, C)`` that are not gold, where hits and gold are 0, in few passes:
    with c = smooth / alpha, F = c / (predicted + c) and dF/dpredicted = -c / (predicted + c)^2.
    The slopes may take the place of what is predicted, if that is used up.

    Returns:
        The sum of the losses of each row, ``(N,)``, and their derivatives by ``predicted``.
    """
    xp = namespace(predicted)
    if not smooth or not alpha:
        zero = xp.zeros_like(predicted)
        value, _, slope = overlap(zero, predicted, zero, alpha, 0.0, smooth, log)
        return xp.sum(value, axis=1), slope
    c = smooth / alpha
    value = arrays.row_sums(xp.log1p(predicted * (1.0 / c))) if log else None
    slope = predicted if used_up else predicted + c
    if used_up:
        slope += c
    slope **= -1.0  # a reciprocal, in one pass
    if log:
        return value, slope
    value = predicted.shape[1] - c * arrays.row_sums(slope)
    slope *= slope
    if c != 1:
        slope *= c
    return value, slope


def overlap_of_set(
    hits: Array,
    predicted: Array,
    gold: Array,
    present: Array,
    micro: bool,
    weight: Array,
    alpha: float,
    beta: float,
    smooth: float,
    log: bool,
) -> Tuple[Array, Array, Array]:
    """The overlap loss of soft counts over a set of rows.

    Args:
        hits: ``(C,)``, of each class; see `overlap`.
        predicted: ``(C,)``.
        gold: ``(C,)``.
        present: ``(C,)`` of 0 and 1, the classes that take part: pooled into one coefficient
            (``micro``) or averaged over (macro).
        micro: See present.
        weight: A scalar that the derivatives are multiplied with.
        alpha: See `overlap`, as of all others.
        beta: What a false negative costs.
        smooth: Added above and below.
        log: -log F instead of 1 - F.

    Returns:
        The value, a scalar that is 0 if no class takes part, and its derivatives by the hits and
        the predicted of each class, ``(C,)``.
    """
    if micro:
        hits, predicted, gold = hits @ present, predicted @ present, gold @ present
        share = present
    else:
        share = present / arrays.at_least(arrays.total(present), 1.0)
    value, by_hits, by_predicted = overlap(hits, predicted, gold, alpha, beta, smooth, log)
    if not micro:
        value = value @ share
    share = weight * share
    return value, share * by_hits, share * by_predicted


def _power(q: Array, exponent: float) -> Array:
    """A power that may be negative, 0 where q is."""
    xp = namespace(q)
    return xp.where(q > 0, arrays.at_least(q, arrays.floor(q)) ** exponent, 0.0)
