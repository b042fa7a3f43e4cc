"""Whether probabilities mean what they say, and the temperature that helps: on plain arrays."""

from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple, Union

import numpy
from numpy.typing import ArrayLike

Array = numpy.ndarray
# Temperatures that are looked at.
LOWEST, HIGHEST = 0.05, 20.0
N_BINS = 10
# How many examples a label needs for a temperature of its own.
MIN_EXAMPLES = 5
Temperature = Union[float, Dict[str, float]]


# -- how good probabilities are ------------------------------------------------------------


class Calibration(NamedTuple):
    """n: how many decisions were looked at. ece: expected calibration error, 0 to 1. brier: mean
    squared distance of the probability from what was so, 0 to 1. nll: mean negative log-likelihood.
    """

    n: int
    ece: float
    brier: float
    nll: float


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


def risk_coverage_area(p: ArrayLike, right: ArrayLike) -> float:
    """The area under the risk-coverage curve, 0 to 1; lower ranks better (Geifman & El-Yaniv
    2017): the mean share of wrong decisions among the most probable 1/N, 2/N, ... of them.
    """
    p, right = _pair(p, right)
    wrong = 1 - right[numpy.argsort(-p, kind="stable")]
    return float((wrong.cumsum() / numpy.arange(1, len(p) + 1)).mean()) if len(p) else 0.0


def _pair(p: ArrayLike, right: ArrayLike) -> Tuple[Array, Array]:
    p, right = numpy.asarray(p, dtype="float64"), numpy.asarray(right, dtype="float64")
    if p.shape != right.shape or p.ndim != 1:
        raise ValueError(f"p and right must have one axis, of one length: {p.shape}, {right.shape}")
    return p, right


# -- probabilities of scores ---------------------------------------------------------------


def softmax(scores: Array) -> Array:
    """Of each row."""
    exp = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
    made: numpy.ndarray = exp / exp.sum(axis=-1, keepdims=True)
    return made


def sigmoid(scores: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    scores = numpy.asarray(scores, dtype="float64")
    exp = numpy.exp(-numpy.abs(scores))
    made: numpy.ndarray = numpy.where(scores >= 0, 1 / (1 + exp), exp / (1 + exp))
    return made


def logit(p: ArrayLike) -> Array:
    """log(p / (1 - p)), of anything from 0 to 1; the ends are pulled in to +-40."""
    p = numpy.asarray(p, dtype="float64")
    with numpy.errstate(divide="ignore"):
        made: numpy.ndarray = numpy.clip(numpy.log(p) - numpy.log1p(-p), -40.0, 40.0)
        return made


# -- the best temperature ------------------------------------------------------------------


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


# -- how sure decisions are ----------------------------------------------------------------


class Confidence(NamedTuple):
    """what: which decisions. right: bools ``(N,)``, whether they are right. at: from a temperature
    to their probabilities ``(N,)``. fit: the best temperature; its argument is whether each label
    gets its own, where labels are decided on their own.
    """

    what: str
    right: Array
    at: Callable[[Temperature], Array]
    fit: Callable[[bool], Temperature]


def cell_confidence(
    what: str,
    names: Sequence[str],
    scores: Array,
    gold: Array,
    known: Array,
    center: float,
) -> Confidence:
    """Of labels that are decided on their own. scores: log-odds beyond ``center``, ``(N, C)``;
    gold, known: bools ``(N, C)``.
    """
    usable = known & numpy.isfinite(scores)

    def at(temperature: Temperature) -> Array:
        if isinstance(temperature, dict):
            return at_each([temperature[name] for name in names])
        return at_each(temperature)

    def at_each(temperature: ArrayLike) -> Array:
        made: numpy.ndarray = sigmoid(scores / numpy.asarray(temperature) + center)[usable]
        return made

    def fit(per_label: bool) -> Temperature:
        common = fit_sigmoid(scores[usable] + center, gold[usable], center)
        if not per_label:
            return common
        made = {}
        for c, name in enumerate(names):
            z, y = scores[usable[:, c], c] + center, gold[usable[:, c], c]
            enough = gold[:, c].sum() >= MIN_EXAMPLES
            made[name] = fit_sigmoid(z, y, center) if enough else common
        return made

    return Confidence(what, gold[usable], at, fit)


def row_confidence(what: str, scores: Array, gold: Array) -> Confidence:
    """Of labels of which the highest wins. scores: floats ``(N, C)``; gold: ints ``(N,)``."""
    usable = numpy.isfinite(scores[numpy.arange(len(gold)), gold])
    scores, gold = scores[usable], gold[usable]
    return Confidence(
        what,
        scores.argmax(axis=1) == gold,
        lambda temperature: softmax(scores / temperature).max(axis=1),
        lambda per_label: fit_softmax(scores, gold),
    )


def found_confidence(what: str, at: Callable[[Any], Array], right: Array) -> Confidence:
    """Of what a decoder found, whose probabilities are known at each temperature."""
    return Confidence(
        what, right, at, lambda per_label: minimum(lambda t: measure(at(t), right).nll)
    )
