"""The formulas: values and slopes of every loss, on arrays of any library.

Shapes: ``p`` (probabilities) and ``y`` (targets) are floats ``(N, C)``, one row a token and one
column a class; what holds for cells holds for the 1-d arrays of gold cells, too.

**Slopes.** A formula does not return dL/dp, which is infinite at p = 0 for a logarithm, but
dL/dp * j, with ``j`` the part of the activation's derivative that belongs to the cell: p for a
softmax, p (1-p) for a sigmoid. See `slopes`, which makes gradients of them.
"""

import math
from typing import NamedTuple, Optional, Tuple

from . import arrays
from .arrays import Array, Number, namespace

# -- logarithmic losses -----------------------------------------------------------------


def log_loss(p: Array, q: Optional[Array], log_p: Array, gamma: float) -> Tuple[Array, Number]:
    """-q^gamma log p with q = 1-p: cross-entropy (gamma = 0, without q) and focal loss of "is
    this class".

    Returns:
        Values in nats, and dL/dp * p. With p and 1-p exchanged it is the loss of "is not this
        class", and the slope has the other sign.

    Source: FL of Li et al. 2020, section 3.4; Lin et al. 2017, equation 4.
    """
    if q is None or not gamma:
        return -log_p, -1.0
    if gamma == 2:
        weight = q * q
        steep = p * q
        steep *= 2.0
    else:  # a power is what takes time: that of gamma - 1 is a division away
        weight = q**gamma
        steep = gamma * p
        steep *= weight
        steep /= arrays.at_least(q, arrays.floor(q))
    # In place: a new array costs more time than the numbers in it.
    steep *= log_p
    steep -= weight
    weight *= log_p
    weight *= -1.0
    return weight, steep


def asymmetric_loss_of_negatives(
    p: Array, q: Array, log_q: Array, gamma: float, clip: float
) -> Tuple[Array, Array]:
    """-(p_m)^gamma log(1 - p_m) with p_m = max(p - clip, 0), of "is not this class" in ASL.

    Returns:
        Values in nats, and dL/dp * p q: the slope of a sigmoid.

    Source: Ridnik et al. 2021, equations 5 to 7.
    """
    if not clip:
        value, slope = log_loss(q, p, log_q, gamma)
        return value, -1.0 * p * slope
    xp = namespace(p)
    shifted = arrays.at_least(p - clip, 0.0)
    rest = 1.0 - shifted  # at least clip
    value, slope = log_loss(rest, shifted, xp.log(rest), gamma)
    counts = xp.astype(p > clip, p.dtype)
    return value, -1.0 * counts * slope * p * q / rest


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


def soft_mass(p: Array, j: Array, squared: bool) -> Mass:
    """Of p; ``squared``, of DL as published: p^2 + y^2 below. Source: Milletari et al. 2016."""
    if not squared:
        return Mass(p, p, j, j)
    square = p * p
    return Mass(p, square, j, 2.0 * (square if j is p else p * j))


def self_adjusted(
    p: Array, q: Optional[Array], alpha: float, detach_weight: bool
) -> Tuple[Array, Array]:
    """s = (1-p)^alpha p, which DSC has in place of p, and its slope ds/dp * j.

    ds/dp = (1-p)^(alpha-1) (1-p - alpha p), without its second part if the weight is held constant.

    Args:
        p: Floats of any shape.
        q: 1-p of sigmoids; None for a softmax, where alpha is 1.
        alpha: From 0 on.
        detach_weight: Whether (1-p)^alpha is held constant.

    Source: Li et al. 2020, equation 11.
    """
    if q is None:
        square = p * p
        s = p - square
        if not detach_weight:
            square *= -1.0  # in place, where a new array costs more time than the numbers in it
            square += s
        return s, s if detach_weight else square
    s = q**alpha
    s *= p
    return s, s * (q if detach_weight else q - alpha * p)


def self_adjusted_softmax(
    rest: Array, top: Tuple[Array, Array, Array], alpha: float, detach_weight: bool
) -> Tuple[Array, Array]:
    """`self_adjusted` of a softmax. For alpha < 1 its slope is infinite at p = 1 (see
    `slopes.Slope.steep`), so that it needs 1-p of the class next to 1 exactly.

    Args:
        rest: ``(N, C)``, p with 0 for the top class of each row.
        top: That class, its p and its 1-p, ``(N,)`` each; see `Probabilities.top`.
        alpha: From 0 on.
        detach_weight: See `self_adjusted`.
    """
    ids, p_top, q_top = top
    s_top = q_top**alpha * p_top
    # A power is what takes time. This is half of it, and exact far from p = 1.
    exp = "exp2" if hasattr(namespace(rest), "exp2") else "exp"  # not in the standard, but faster
    q = -rest
    s = namespace(rest).log1p(q)
    s *= alpha / math.log(2) if exp == "exp2" else alpha
    s = arrays.apply(exp, s)
    s *= rest
    slope = s
    if not detach_weight:
        q_top = arrays.at_least(q_top, arrays.floor(q_top))  # at q = 0 s is 0
        q += 1.0
        slope = _self_adjusted_slope(s, q, alpha)
        arrays.add_at(slope, ids, _self_adjusted_slope(s_top, q_top, alpha))
    arrays.add_at(s, ids, s_top)
    return s, slope


def _self_adjusted_slope(s: Array, q: Array, alpha: float) -> Array:
    """s (1 - alpha p / q) with p = 1-q, in place of q."""
    slope = arrays.apply("reciprocal", q)
    slope *= -alpha
    slope += 1.0 + alpha
    slope *= s
    return slope


def overlap(
    hits: Array, predicted: Array, gold: Number, alpha: float, beta: float, smooth: float, log: bool
) -> Tuple[Array, Array, Array]:
    """The one formula of all overlap losses, 1 - F or -log F.

        F = (TP + smooth) / (TP + alpha FP + beta FN + smooth)

    with TP = hits, FP = predicted - hits, FN = gold - hits, for arrays of any shape. It is
    Tversky's; Dice is alpha = beta = 1/2 with half of its smoothing, F-beta of whole entities
    alpha = 1 / (1 + beta^2). Where both sums are zero nothing was expected and nothing found:
    the loss is 0 and so are the derivatives.

    Args:
        hits: Soft true positives.
        predicted: Soft predictions.
        gold: What is gold.
        alpha: The cost of a false positive.
        beta: The cost of a false negative.
        smooth: Added above and below; above 0 with ``log``.
        log: -log F instead of 1 - F.

    Returns:
        The loss and its derivatives by ``hits`` and by ``predicted``.

    Source: Li et al. 2020, equations 7, 8 and 10; Salehi et al. 2017.
    """
    xp = namespace(predicted)
    rest = 1.0 - alpha - beta
    num = hits + smooth
    den = alpha * predicted
    den += smooth + beta * gold
    if rest:  # not Dice
        den += rest * hits
    low, empty = arrays.negligible(den), None
    if smooth <= low:
        empty = den <= low
        den = xp.where(empty, xp.ones_like(den), den)
    # In place: a new array costs more time than the numbers in it.
    one_by = arrays.apply("reciprocal", den)
    if log:
        num = arrays.at_least(num, low)
        value = -xp.log(num * one_by)
        by_hits, by_predicted = rest * one_by - 1.0 / num, alpha * one_by
    else:
        value = num
        value *= one_by
        by_predicted = value * one_by
        by_predicted *= alpha
        by_hits = (rest * value - 1.0) * one_by if rest else -1.0 * one_by
        value *= -1.0
        value += 1.0
    if empty is None:
        return value, by_hits, by_predicted
    zero = xp.zeros_like(den)
    return (
        xp.where(empty, zero, value),
        xp.where(empty, zero, by_hits),
        xp.where(empty, zero, by_predicted),
    )


def overlap_without_gold(
    predicted: Array, alpha: float, smooth: float, log: bool, reusable: bool = False
) -> Tuple[Array, Array]:
    """`overlap` of cells ``(N, C)`` that are not gold, where hits and gold are 0, in few passes:
    with c = smooth / alpha, F = c / (predicted + c) and dF/dpredicted = -c / (predicted + c)^2.
    The slopes may take the place of what is predicted, if that is reusable.

    Returns:
        The sum of the losses of each row, ``(N,)``, and their derivatives by ``predicted``.
    """
    if smooth <= arrays.negligible(predicted) or not alpha:
        zero = namespace(predicted).zeros_like(predicted)
        value, _, slope = overlap(zero, predicted, zero, alpha, 0.0, smooth, log)
        return arrays.row_sums(value), slope
    c = smooth / alpha
    logs = arrays.row_sums(namespace(predicted).log1p(predicted * (1.0 / c))) if log else None
    slope = predicted if reusable else predicted + c
    if reusable:
        slope += c
    slope = arrays.apply("reciprocal", slope)
    if logs is not None:
        return logs, slope
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
        n_present = present @ present  # of 0 and 1; a sum takes longer
        share = present / arrays.at_least(n_present, 1.0)
    value, by_hits, by_predicted = overlap(hits, predicted, gold, alpha, beta, smooth, log)
    if not micro:
        value = value @ share
    share = weight * share
    return value, share * by_hits, share * by_predicted
