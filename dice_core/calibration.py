"""Whether probabilities mean what they say, and the temperature that helps: on plain arrays."""

from typing import Any, NamedTuple, Optional, Tuple

import numpy

# Temperatures that are looked at.
LOWEST, HIGHEST = 0.05, 20.0
N_BINS = 10


class Calibration(NamedTuple):
    """n: how many decisions were looked at. ece: expected calibration error, 0 to 1. brier: mean
    squared distance of the probability from what was so, 0 to 1. nll: mean negative log-likelihood.
    """

    n: int
    ece: float
    brier: float
    nll: float


def measure(p: Any, right: Any, n_bins: int = N_BINS) -> Calibration:
    """How well probabilities ``(N,)`` say what share of the decisions ``(N,)`` is right."""
    p, right = _pair(p, right)
    if not len(p):
        return Calibration(0, 0.0, 0.0, 0.0)
    inside = numpy.clip(p, 1e-12, 1 - 1e-12)
    nll = -numpy.where(right > 0, numpy.log(inside), numpy.log1p(-inside)).mean()
    return Calibration(
        len(p), expected_calibration_error(p, right, n_bins), brier(p, right), float(nll)
    )


def expected_calibration_error(p: Any, right: Any, n_bins: int = N_BINS) -> float:
    """The mean, over decisions, of how far a bin's mean probability is from its share that is
    right; bins of equal width over [0, 1] (Naeini et al. 2015).
    """
    p, right = _pair(p, right)
    if not len(p):
        return 0.0
    at = numpy.minimum((p * n_bins).astype(int), n_bins - 1)
    total = numpy.bincount(at, weights=p, minlength=n_bins)
    of_right = numpy.bincount(at, weights=right, minlength=n_bins)
    return float(numpy.abs(total - of_right).sum() / len(p))


def brier(p: Any, right: Any) -> float:
    """The mean squared distance of p from 1 where it is right and from 0 where it is not."""
    p, right = _pair(p, right)
    return float(((p - right) ** 2).mean()) if len(p) else 0.0


def risk_coverage(p: Any, right: Any) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Coverage and risk, ``(N,)`` each: the share of wrong decisions among the most probable
    1/N, 2/N, ... of them.
    """
    p, right = _pair(p, right)
    order = numpy.argsort(-p, kind="stable")
    n = numpy.arange(1, len(p) + 1)
    return n / max(len(p), 1), (1 - right[order]).cumsum() / n


def risk_coverage_area(p: Any, right: Any) -> float:
    """The area under the risk-coverage curve, 0 to 1; lower ranks better (Geifman & El-Yaniv
    2017).
    """
    _, risk = risk_coverage(p, right)
    return float(risk.mean()) if len(risk) else 0.0


def softmax(scores: numpy.ndarray) -> numpy.ndarray:
    """Of each row."""
    with numpy.errstate(invalid="ignore"):
        exp = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def sigmoid(scores: Any) -> numpy.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    scores = numpy.asarray(scores, dtype="float64")
    exp = numpy.exp(-numpy.abs(scores))
    return numpy.where(scores >= 0, 1 / (1 + exp), exp / (1 + exp))


def logit(p: Any) -> Any:
    """log(p / (1 - p)), of anything from 0 to 1; the ends are pulled in to +-40."""
    p = numpy.asarray(p, dtype="float64")
    with numpy.errstate(divide="ignore"):
        return numpy.clip(numpy.log(p) - numpy.log1p(-p), -40.0, 40.0)


def fit_softmax(scores: Any, gold: Any) -> float:
    """The temperature with the lowest negative log-likelihood of ``gold``, ints ``(N,)``, by the
    softmax of ``scores / temperature``, floats ``(N, C)`` (Guo et al. 2017).
    """
    scores, gold = numpy.asarray(scores, dtype="float64"), numpy.asarray(gold, dtype="int64")
    rows = numpy.arange(len(gold))
    usable = numpy.isfinite(scores[rows, gold]) if len(gold) else rows.astype(bool)
    scores, gold = scores[usable], gold[usable]
    if not len(gold):
        return 1.0
    scores = scores - scores.max(axis=1, keepdims=True)
    of_gold = scores[numpy.arange(len(gold)), gold]

    def loss(temperature: float) -> float:
        with numpy.errstate(under="ignore"):
            log_z = numpy.log(numpy.exp(scores / temperature).sum(axis=1))
        return float((log_z - of_gold / temperature).mean())

    return minimum(loss)


def fit_sigmoid(scores: Any, gold: Any, known: Optional[Any] = None, center: Any = 0.0) -> float:
    """The same for scores that are each a decision by itself, log-odds of any shape.

    center: the scores that keep their probability: the log-odds of the cut, so that no decision
    changes.
    """
    scores = numpy.asarray(scores, dtype="float64")
    usable = numpy.isfinite(scores)
    if known is not None:
        usable &= numpy.asarray(known, dtype=bool)
    center = numpy.broadcast_to(center, scores.shape)[usable]
    sign = numpy.where(numpy.asarray(gold, dtype=bool), 1.0, -1.0)[usable]
    scores = scores[usable] - center
    if not len(scores):
        return 1.0
    return minimum(
        lambda t: float(numpy.logaddexp(0.0, -sign * (scores / t + center)).mean()),
    )


def fit_confidence(log_p: Any, right: Any) -> float:
    """The same for decisions of which only the probability is known: ``p ** (1 / temperature)``
    is to be the share that is right. log_p: ``(N,)``.
    """
    log_p = numpy.minimum(numpy.asarray(log_p, dtype="float64"), -1e-9)
    right = numpy.asarray(right, dtype=bool)
    if not len(log_p):
        return 1.0

    def loss(temperature: float) -> float:
        scaled = log_p / temperature
        log_not = numpy.log(-numpy.expm1(numpy.minimum(scaled, -1e-12)))
        return -float(numpy.where(right, scaled, log_not).mean())

    return minimum(loss)


def minimum(loss: Any) -> float:
    """Where a function of a temperature is lowest: golden sections of its logarithm."""
    low, high = numpy.log(LOWEST), numpy.log(HIGHEST)
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    of_a, of_b = loss(float(numpy.exp(a))), loss(float(numpy.exp(b)))
    while high - low > 1e-4:
        if of_a <= of_b:
            high, b, of_b = b, a, of_a
            a = high - ratio * (high - low)
            of_a = loss(float(numpy.exp(a)))
        else:
            low, a, of_a = a, b, of_b
            b = low + ratio * (high - low)
            of_b = loss(float(numpy.exp(b)))
    best = float(numpy.exp((low + high) / 2))
    return best if loss(best) < loss(1.0) else 1.0


def _pair(p: Any, right: Any) -> Tuple[numpy.ndarray, numpy.ndarray]:
    p, right = numpy.asarray(p, dtype="float64"), numpy.asarray(right, dtype="float64")
    if p.shape != right.shape or p.ndim != 1:
        raise ValueError(f"p and right must have one axis, of one length: {p.shape}, {right.shape}")
    return p, right
