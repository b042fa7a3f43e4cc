"""The formulas, as functions of torch tensors: values whose autograd gradients are finite.

Shapes: everything per cell is ``(N, C)``, one row a token (or text) and one column a class,
float32 or float64.

**Binary logits.** Every loss here is a function of the *binary view* of each cell: p of "is
this class", 1 - p of "is not". Differentiating it by p does not do: d(1-p)^alpha/dp is infinite
at p = 1, d log p/dp at p = 0, and an infinity times a Jacobian of zero is NaN. So the losses
start from v = log p - log(1-p), the logit of the binary view. Of v, p, 1-p and the powers and
logarithms of both have finite derivatives everywhere, and so has v by the model's logits.
"""

import math
from typing import Callable, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# What takes the place of -inf, a class that a model rules out: finite, so that nothing is NaN.
_RULED_OUT = -1e30
# From the sum over the rows at hand to the sum over the whole set; see totals.py.
Total = Callable[[Tensor], Tensor]


class View(NamedTuple):
    """The binary view of each cell: p, q = 1 - p, and their logarithms (nats)."""

    p: Tensor
    q: Tensor
    log_p: Tensor
    log_q: Tensor


class Counts(NamedTuple):
    """Soft counts of one overlap coefficient F = (num + smooth) / (den + smooth): ``(N, C)``,
    what each cell adds to either."""

    num: Tensor
    den: Tensor


# -- from logits to binary views --------------------------------------------------------


def softmax_view(logits: Tensor) -> View:
    """The binary view of each class under a softmax. ``-inf`` rules a class out.

    v_c = z_c - logsumexp of the other logits. At most one class of a row can have p > 1/2; its
    log(1-p) is the logsumexp of the others, and that of all others is log1p(-p): nothing cancels.
    """
    log_p = functional.log_softmax(logits.clamp(min=_RULED_OUT), dim=1)
    top = torch.arange(logits.shape[1], device=logits.device) == log_p.argmax(dim=1)[:, None]
    others = log_p.masked_fill(top, _RULED_OUT)
    log_q = torch.where(top, others.logsumexp(dim=1, keepdim=True), torch.log1p(-others.exp()))
    return binary_view(log_p - log_q)


def sigmoid_view(logits: Tensor) -> View:
    """The binary view of each class under sigmoids: the logits are v. ``-inf`` is p = 0."""
    return binary_view(logits.clamp(min=_RULED_OUT))


def binary_view(v: Tensor) -> View:
    """From v. It is held where p or 1-p would be below 16 times the smallest normal number, so
    that ratios of such numbers remain what they tend to; the gradient goes on unheld."""
    limit = -math.log(16 * torch.finfo(v.dtype).tiny)
    v = replace_value(v, v.clamp(-limit, limit))
    return View(v.sigmoid(), (-v).sigmoid(), functional.logsigmoid(v), functional.logsigmoid(-v))


def replace_value(x: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient of ``x`` (finite)."""
    return value.detach() + (x - x.detach())


# -- logarithmic losses -----------------------------------------------------------------


def log_loss(view: View, positive: Tensor, negative: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy (gamma = 0) and focal loss of each cell, in nats.

    L = -positive (1-p)^gamma log p - negative p^gamma log(1-p)

    ``positive`` and ``negative`` are ``(N, C)`` weights of "is this class" and of "is not".
    Softmax cross-entropy has positive = y and negative = 0; the binary view has positive = y
    and negative = 1 - y. Source: FL of Li et al. 2020, section 3.4; Lin et al. 2017, equation 4.
    """
    log_p, log_q = view.log_p, view.log_q
    if gamma:
        positive = positive * torch.exp(gamma * log_q)
        negative = negative * torch.exp(gamma * log_p)
    return -positive * log_p - negative * log_q


def log_inverse_frequency(counts: Tensor, total: Tensor, K: float) -> Tensor:
    """log10((n - n_t) / n_t + K), the class weight of WCE, for counts n_t of any shape.

    A count below 1 is taken as 1. Source: Li et al. 2020, section 3.2.
    """
    counts = counts.clamp(min=1.0)
    return torch.log10((total - counts).clamp(min=0.0) / counts + K)


# -- overlap losses: Dice, its self-adjusting form, Tversky -----------------------------


def dice_counts(view: View, y: Tensor, squared: bool) -> Counts:
    """DL: 2 p y over p^2 + y^2 (``squared``, as published) or over p + y.

    Source: Li et al. 2020, equations 7 and 8; Milletari et al. 2016 for the squares.
    """
    p = view.p
    return Counts(2 * p * y, p**2 + y**2 if squared else p + y)


def self_adjusting_counts(view: View, y: Tensor, alpha: float, hold_weight: bool) -> Counts:
    """DSC: Dice with s = (1-p)^alpha p in place of p.

    Where p is 1 as a float the weight (1-p)^alpha is that of 0. With ``hold_weight`` it is a
    constant to the gradient. Source: Li et al. 2020, equation 11.
    """
    weight = torch.exp(alpha * view.log_q)
    weight = torch.where(view.p < 1, weight, torch.full_like(weight, 0.0**alpha))
    if hold_weight:
        weight = weight.detach()
    s = weight * view.p
    return Counts(2 * s * y, s + y)


def tversky_counts(view: View, y: Tensor, alpha: float, beta: float) -> Counts:
    """TL: p y over p y + alpha p (1-y) + beta (1-p) y.

    ``alpha`` weighs false positives, ``beta`` false negatives. Source: Li et al. 2020,
    equation 10; Salehi et al. 2017.
    """
    hit = view.p * y
    return Counts(hit, hit + alpha * view.p * (1.0 - y) + beta * view.q * y)


def overlap_loss(num: Tensor, den: Tensor, smooth: float, log: bool) -> Tensor:
    """1 - F, or -log F, of F = (num + smooth) / (den + smooth), for tensors of any shape.

    Where both sums are zero nothing was expected and nothing found: the loss is 0 and so is
    its gradient.
    """
    num, den = num + smooth, den + smooth
    empty = den <= 0
    den = torch.where(empty, torch.ones_like(den), den)
    if log:
        tiny = torch.finfo(num.dtype).tiny
        # A sum of logarithms, so that each has its gradient even where the ratio is 0.
        loss = den.log() - num.clamp(min=tiny).log()
        loss = replace_value(loss, -(num / den).clamp(min=tiny).log())
    else:
        loss = 1.0 - num / den
    return torch.where(empty, torch.zeros_like(loss), loss)


def per_cell(counts: Counts, smooth: float, log: bool) -> Tensor:
    """The overlap loss of each cell by itself: the paper's example level."""
    return overlap_loss(counts.num, counts.den, smooth, log)


def per_set(
    counts: Counts,
    cells: Tensor,
    present: Tensor,
    smooth: float,
    log: bool,
    micro: bool,
    total: Total,
) -> Tensor:
    """The overlap loss of soft counts summed over all rows of a set: a scalar.

    cells: ``(N, C)`` of 0 and 1, the cells that are counted. present: ``(C,)`` of 0 and 1,
    the classes that take part: pooled into one coefficient (``micro``) or averaged over
    (macro); if there is none the loss is 0.
    """
    num = total((counts.num * cells).sum(dim=0)) * present
    den = total((counts.den * cells).sum(dim=0)) * present
    if micro:
        num, den = num.sum(), den.sum()
        share = present.sum().clamp(max=1.0)
    else:
        share = present / present.sum().clamp(min=1.0)
    return (share * overlap_loss(num, den, smooth, log)).sum()


# -- entities ---------------------------------------------------------------------------


def entity_dice(
    found: Tensor,
    expected: Tensor,
    n_spans: Tensor,
    smooth: float,
    beta: float,
    log: bool,
    total: Total,
) -> Tensor:
    """Soft F-beta over whole entities: 1 - F, or -log F, of

    F = ((1 + beta^2) found + smooth) / (expected + beta^2 n_spans + smooth).

    Scalars: found, the sum over gold entities of the probability to predict each exactly;
    expected, the expected number of predictions; n_spans, the number of gold entities.
    """
    num = (1.0 + beta**2) * total(found)
    return overlap_loss(num, total(expected) + beta**2 * total(n_spans), smooth, log)
