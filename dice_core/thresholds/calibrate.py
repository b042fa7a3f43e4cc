"""Whether probabilities mean what they say, and the temperature that helps: on plain arrays."""

from collections.abc import Callable
from typing import NamedTuple

import numpy
from numpy.typing import ArrayLike

from .objectives import Array

# Temperatures that are looked at.
LOWEST, HIGHEST = 0.05, 20.0
N_BINS = 10


class Calibration(NamedTuple):
    """How good probabilities are.

    Attributes:
        n: How many decisions were looked at.
        ece: Expected calibration error, 0 to 1.
        brier: Mean squared distance of the probability from what was so, 0 to 1.
        nll: Mean negative log-likelihood.
    """

    n: int
    ece: float
    brier: float
    nll: float


class Confidence(NamedTuple):
    """How sure decisions are.

    Attributes:
        right: Bools ``(N,)``, whether they are right.
        at: From a temperature to their probabilities ``(N,)``.
        fit: The best temperature.
    """

    right: Array
    at: Callable[[float], Array]
    fit: Callable[[], float]


def measure(p: ArrayLike, right: ArrayLike) -> Calibration:
    """How well probabilities ``(N,)`` say what share of the decisions ``(N,)`` is right."""
    p, right = _pair(p, right)
    if not len(p):
        return Calibration(0, 0.0, 0.0, 0.0)
    inside = numpy.clip(p, 1e-12, 1 - 1e-12)
    nll = -numpy.where(right > 0, numpy.log(inside), numpy.log1p(-inside)).mean()
    return Calibration(len(p), expected_calibration_error(p, right), brier(p, right), float(nll))


def expected_calibration_error(p: ArrayLike, right: ArrayLike) -> float:
    """The mean, over decisions, of how far a bin's mean probability is from its share that is
    right; bins of equal width over [0, 1] (Naeini et al. 2015).
    """
    p, right = _pair(p, right)
    at = numpy.minimum((p * N_BINS).astype(int), N_BINS - 1)
    total = numpy.bincount(at, weights=p, minlength=N_BINS)
    n_right = numpy.bincount(at, weights=right, minlength=N_BINS)
    return float(numpy.abs(total - n_right).sum() / max(len(p), 1))


def brier(p: ArrayLike, right: ArrayLike) -> float:
    """The mean squared distance of p from 1 where it is right and from 0 where it is not."""
    p, right = _pair(p, right)
    return float(((p - right) ** 2).mean()) if len(p) else 0.0


def _pair(p: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
    p, right = numpy.asarray(p, dtype="float64"), numpy.asarray(right, dtype="float64")
    if p.shape != right.shape or p.ndim != 1:
        raise ValueError(f"p and right must have one axis, of one length: {p.shape}, {right.shape}")
    return p, right


def softmax(scores: Array) -> Array:
    """Of each row."""
    exp = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    return numpy.asarray(exp / exp.sum(axis=-1, keepdims=True))


def sigmoid(scores: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    scores = numpy.asarray(scores, dtype="float64")
    exp = numpy.exp(-numpy.abs(scores))
    return numpy.asarray(numpy.where(scores >= 0, 1 / (1 + exp), exp / (1 + exp)))


def logit(p: ArrayLike) -> Array:
    """log(p / (1 - p)), of anything from 0 to 1; the ends are pulled in to +-40."""
    p = numpy.asarray(p, dtype="float64")
    with numpy.errstate(divide="ignore"):
        return numpy.asarray(numpy.clip(numpy.log(p) - numpy.log1p(-p), -40.0, 40.0))


def fit_softmax(scores: Array, gold: Array) -> float:
    """The temperature with the lowest negative log-likelihood of ``gold``, ints ``(N,)``, by the
    softmax of ``scores / temperature``, floats ``(N, C)`` (Guo et al. 2017).
    """
    scores, gold = numpy.asarray(scores, dtype="float64"), numpy.asarray(gold, dtype="int64")
    gold_score = scores[numpy.arange(len(gold)), gold]
    usable = numpy.isfinite(gold_score)
    if not usable.any():
        return 1.0
    highest = scores[usable].max(axis=1, keepdims=True)
    scores, gold_score = scores[usable] - highest, gold_score[usable] - highest[:, 0]

    def loss(temperature: float) -> float:
        log_z = numpy.log(numpy.exp(scores / temperature).sum(axis=1))
        return float((log_z - gold_score / temperature).mean())

    return minimum(loss)


def fit_sigmoid(scores: Array, gold: Array, center: float = 0.0) -> float:
    """The same for scores that are each a decision of its own: log-odds ``(N,)``.

    center: the score that keeps its probability: the log-odds of the threshold, so that no decision
    changes.
    """
    scores, gold = numpy.asarray(scores, dtype="float64"), numpy.asarray(gold, dtype=bool)
    usable = numpy.isfinite(scores)
    if not usable.any():
        return 1.0
    sign = numpy.where(gold[usable], 1.0, -1.0)
    scores = scores[usable] - center
    return minimum(lambda t: float(numpy.logaddexp(0.0, -sign * (scores / t + center)).mean()))


def found_confidence(at: Callable[[float], Array], right: Array) -> Confidence:
    """Of what a decoder found, whose probabilities are known at each temperature."""
    return Confidence(right, at, lambda: minimum(lambda t: measure(at(t), right).nll))


def minimum(loss: Callable[[float], float]) -> float:
    """Where a function of a temperature is lowest: golden sections of its logarithm."""
    low, high = numpy.log(LOWEST), numpy.log(HIGHEST)
    share = (5**0.5 - 1) / 2
    a, b = high - share * (high - low), low + share * (high - low)
    at_a, at_b = loss(float(numpy.exp(a))), loss(float(numpy.exp(b)))
    while high - low > 1e-4:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - share * (high - low)
            at_a = loss(float(numpy.exp(a)))
        else:
            low, a, at_a = a, b, at_b
            b = low + share * (high - low)
            at_b = loss(float(numpy.exp(b)))
    best = float(numpy.exp((low + high) / 2))
    return best if loss(best) < loss(1.0) else 1.0
