"""Losses of rows: cross-entropies, and what makes rare or hard rows weigh more in them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional, Tuple

import numpy

from .. import arrays, formulas, slopes
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..options import BALANCED, ClassWeights, PerLabel
from ..slopes import Slope
from ..targets import Targets
from ..views import View, view_of_logits
from .base import Loss

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import Reading


K = 3.0  # the weights' default: the most frequent class has about log10(3)


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    in_parts = True
    gamma = 0.0
    label_smoothing = 0.0
    # Counts of the batches learned from so far: of each class, and of all rows.
    _seen: Optional[Tuple[numpy.ndarray, float]] = None

    def makes_cells(self, view: View, targets: Targets) -> bool:
        return view.activation != "softmax" or targets.ids is None or self._smoothing(targets) > 0

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        if self.makes_cells(view, targets):
            return self._of_cells(view, _smoothed(targets.dense(), self._smoothing(targets)))
        return self._of_gold(view, targets)

    def _smoothing(self, targets: Targets) -> float:
        return self.label_smoothing or targets.spec.label_smoothing

    def _of_gold(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        """Of a softmax with one gold class a row: nothing but that cell counts."""
        xp, ids, weights = namespace(view.p), targets.ids, targets.weights
        p = view.gather(ids)
        log_p = xp.log(arrays.at_least(p, view.low))
        q = arrays.at_least(1.0 - p, 0.0) if self.gamma else None
        value, gold = formulas.log_loss(p, q, log_p, self.gamma)
        counts = None
        if self.needs_counts():
            ones = arrays.full_like(value, 1.0) if weights is None else weights
            counts = arrays.sum_by(ones, ids, targets.n_classes)
        factors, _ = self.class_factors(targets, counts)
        if factors is not None:
            of_row = factors[ids]
            value, gold = value * of_row, gold * of_row
        elif not self.gamma:
            gold = arrays.full_like(value, gold)
        return arrays.total(value if weights is None else value * weights), Slope(gold=gold)

    def _of_cells(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        xp = namespace(view.p)
        y: Any = targets.y
        positive = targets.of_known(y)
        is_sigmoid = view.activation == "sigmoid"
        negative = targets.of_known(1.0 - y) if is_sigmoid else targets.negatives()
        counts = arrays.total(positive, axis=0) if self.needs_counts() else None
        factors, rest = self.class_factors(targets, counts)
        if factors is not None:
            positive = positive * factors
            negative = (
                negative if negative is None else negative * (rest if is_sigmoid else factors)
            )
        q = view.q(exact=True) if self.gamma or negative is not None else view.p
        value, slope = formulas.log_loss(view.p, q, view.log_p(), self.gamma)
        total = xp.sum(positive * value)
        slope = positive * slope * q if is_sigmoid else positive * slope
        if negative is not None:
            value, of_not = formulas.log_loss(q, view.p, view.log_q(), self.gamma)
            total = total + xp.sum(negative * value)
            if not is_sigmoid:  # dL/dq q, from which dL/dp p
                of_not = of_not / arrays.at_least(q, arrays.floor(q))
            slope -= negative * of_not * view.p
        return total, Slope(cells=slope, steep=negative is not None and not is_sigmoid)

    def class_factors(
        self, targets: Targets, counts: Optional[Array]
    ) -> Tuple[Optional[Array], Optional[Array]]:
        """Factors of "is this class" and of "is not", ``(C,)`` each, or None.

        counts: of the classes in this batch, where `needs_counts` asks for them.
        """
        return None, None

    def running_counts(self, targets: Targets, counts: Array) -> Tuple[Array, Array]:
        """Of the batches so far and this one: of each class, and of all rows.

        Exact to 2^24 rows in float32, so that they are kept in float64 on the host.
        """
        batch = arrays.to_numpy(targets.of_batch(counts)).astype("float64")
        n = float(targets.of_batch(targets.n_rows()))
        if self._seen is not None and self._seen[0].shape == batch.shape:
            batch, n = batch + self._seen[0], n + self._seen[1]
        if targets.learning:
            self._seen = (batch, n)
        return arrays.like(batch, counts), arrays.like(n, counts)

    def balanced_factors(self, n_of_class: Array, n: Array, K: float) -> Tuple[Array, Array]:
        """The paper's weights, of counts ``(C,)`` and their total."""
        rest = arrays.at_least(n - n_of_class, 0.0)
        return (
            formulas.log_inverse_frequency(n_of_class, n, K),
            formulas.log_inverse_frequency(rest, n, K),
        )


class CrossEntropy(_LogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    It is cross-entropy everywhere. spaCy itself trains components with a sigmoid
    (textcat_multilabel, spancat, span_finder) on half the squared error, which hardly moves a
    rare class off 0. In a Flair model with a CRF it is the CRF's own loss, the negative
    log-likelihood of the whole sequence of tags (ViterbiLoss), and takes neither option.

    Args:
        label_smoothing: In [0, 1), how much of a one-hot truth is spread evenly over the other
            classes.
        class_weights: A factor for each label, by name or a list by class id; labels that are
            not named have 1, and a type of entities stands for all of its tags. Or "balanced":
            the paper's weights, as WeightedCrossEntropy has them.

    Raises:
        ValueError: For options out of range, and for labels that there are not.
    """

    smooths = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = None,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.label_smoothing = self.read_number("label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise self.config_error(f"label_smoothing must be below 1, got {label_smoothing!r}.")
        if class_weights is None or isinstance(class_weights, str):
            self.class_weights: Any = self.read_one_of(
                "class_weights", class_weights, (None, BALANCED)
            )
        else:
            self.class_weights = self.read_per_label("class_weights", class_weights)

    def needs_counts(self) -> bool:
        return self.class_weights == BALANCED

    def class_factors(
        self, targets: Targets, counts: Optional[Array]
    ) -> Tuple[Optional[Array], Optional[Array]]:
        if self.class_weights is None:
            return None, None
        if counts is not None:
            return self.balanced_factors(*self.running_counts(targets, counts), K)
        factors = _per_column(self.class_weights, targets, "class_weights", 1.0)
        return factors, factors

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if self.class_weights != BALANCED:
            _check_per_label(self.class_weights, spec, "class_weights")
        if self.label_smoothing and spec.label_smoothing:
            raise spec.config_error(
                "label_smoothing is set both there and in its loss. Set one to 0."
            )
        if spec.crf and (self.label_smoothing or self.class_weights is not None):
            raise spec.config_error(
                "with a CRF, CrossEntropy is the likelihood of whole sequences, which has no "
                "label_smoothing and no class_weights. Leave them out, use use_crf=False, or use "
                "WeightedCrossEntropy, which takes the CRF's marginals."
            )


class WeightedCrossEntropy(_LogLoss):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    For sigmoids each class is a binary view with the counts of its own positives and negatives.
    In a model with a CRF it takes the tokens' marginals.

    Args:
        K: At least 1.
        counts: How often each label occurs in the training data (n_t; n is their sum), by name
            or a list by class id. Without them the counts are those of the batches learned from
            so far, this one included; they are not saved, and each process of a distributed
            training has its own.

    Raises:
        ValueError: For options out of range, and for labels that there are not or that have no
            count.

    Source: Li et al. 2020, section 3.2.
    """

    smooths = True

    def __init__(
        self, *, K: float = K, counts: Optional[PerLabel] = None, **reading: "Unpack[Reading]"
    ):
        super().__init__(**reading)
        self.K = self.read_number("K", K, low=1.0)
        self.counts = None if counts is None else self.read_per_label("counts", counts)

    def class_factors(
        self, targets: Targets, counts: Optional[Array]
    ) -> Tuple[Optional[Array], Optional[Array]]:
        if self.counts is not None:
            n_of_class = _per_column(self.counts, targets, "counts", 0.0)
            n = namespace(n_of_class).sum(n_of_class)
        else:
            assert counts is not None
            n_of_class, n = self.running_counts(targets, counts)
        return self.balanced_factors(n_of_class, n, self.K)

    def needs_counts(self) -> bool:
        return self.counts is None

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        _check_per_label(self.counts, spec, "counts", complete=True)


class LogitAdjustedCE(_LogLoss):
    """Cross-entropy of logits to which the log of each class's frequency is added, to train with.

    How frequent a class is need not be learned then, and what predicts, where nothing is added,
    goes by a row's evidence alone: it finds rare classes more often. A softmax gets
    tau log(prior) of each class; a sigmoid, each a binary view, tau log(prior / (1 - prior)). In a
    model with a CRF it takes the tokens' marginals.

    Args:
        tau: How much of it is added: 0 is cross-entropy, 1 is what balances the classes.
        priors: The share of rows, in (0, 1), that each label has in the training data, by name or
            a list by class id. Without them they are those of the batches learned from so far,
            this one included, with one more row of each kind; they are not saved, and each
            process of a distributed training has its own.

    Raises:
        ValueError: For options out of range, and for labels that there are not or that have no
            prior.

    Note:
        Probabilities are those of balanced classes: for rare classes they are too high (`calibrate`
        mends that), and precision is below what cross-entropy has.

    Source: Menon et al. 2021, equation 10.
    """

    smooths = True
    in_parts = True

    def __init__(
        self, *, tau: float = 1.0, priors: Optional[PerLabel] = None, **reading: "Unpack[Reading]"
    ):
        super().__init__(**reading)
        self.tau = self.read_number("tau", tau)
        self.priors = None if priors is None else self.read_per_label("priors", priors)
        given = self.priors.values() if isinstance(self.priors, dict) else self.priors or ()
        if not all(0 < prior < 1 for prior in given):
            raise self.config_error(f"priors must be above 0 and below 1, got {priors!r}.")

    def makes_cells(self, view: View, targets: Targets) -> bool:
        return True

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        targets = _smoothed(targets.dense(), self._smoothing(targets))
        adjusted = self._adjusted(view, targets)
        value, slope = self._of_cells(adjusted, targets)
        if view.activation == "softmax":
            # By the adjusted logits, which is by the logits: rows add up to 0, as is wanted.
            every = replace(targets, mask=None, weights=None)
            slope = Slope(cells=slopes.by_logits(adjusted, slope, every))
        return value, slope

    def _adjusted(self, view: View, targets: Targets) -> View:
        prior = self._priors(targets)
        log = namespace(prior).log
        if view.activation == "softmax":
            return view_of_logits(view.log_p() + self.tau * log(prior), "softmax")
        logits = view.log_p() - view.log_q() if view.logits is None else view.logits
        return view_of_logits(logits + self.tau * log(prior / (1.0 - prior)), "sigmoid")

    def _priors(self, targets: Targets) -> Array:
        """``(C,)``: those that are given, or of the rows so far."""
        if self.priors is not None:
            return _per_column(self.priors, targets, "priors", 0.0)
        positive = targets.of_known(targets.y)
        n_of_class, n = self.running_counts(targets, arrays.total(positive, axis=0))
        return (n_of_class + 1.0) / (n + 2.0)

    def needs_counts(self) -> bool:
        return self.priors is None

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        _check_per_label(self.priors, spec, "priors", complete=True)


class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    In a model with a CRF it takes the tokens' marginals.

    Args:
        gamma: From 0 (cross-entropy) on.

    Raises:
        ValueError: For a gamma out of range.

    Source: Li et al. 2020, section 3.4; Lin et al. 2017.
    """

    def __init__(self, *, gamma: float = 2.0, **reading: "Unpack[Reading]"):
        super().__init__(**reading)
        self.gamma = self.read_number("gamma", gamma)


def _smoothed(targets: Targets, smoothing: float) -> Targets:
    if not smoothing or targets.n_classes == 1:
        return targets
    y, xp = targets.y, namespace(targets.y)
    y = y * (1 - smoothing) + (xp.sum(y, axis=1, keepdims=True) - y) * (  # type: ignore[operator]
        smoothing / (targets.n_classes - 1)
    )
    return replace(targets, y=y)


def _check_per_label(
    values: Optional[PerLabel], spec: LabelSpec, option: str, complete: bool = False
) -> None:
    if isinstance(values, dict):
        for label in values:
            spec.columns_of(label, option)
        absent = [name for name in spec.names or () if name not in values]
        if complete and absent:
            raise spec.config_error(
                f"{option} lacks the labels {', '.join(absent)}. Give that of each label, or leave "
                f"{option} out."
            )
    elif values is not None and spec.names is not None and len(values) != len(spec.names):
        raise spec.config_error(f"{option} has {len(values)} numbers for {len(spec.names)} labels.")


def _per_column(values: PerLabel, targets: Targets, option: str, default: float) -> Array:
    """``(C,)``: a number for each column, from numbers by label or by class id."""
    row = [default] * targets.n_classes
    if isinstance(values, dict):
        for label, value in values.items():
            for column in targets.spec.columns_of(label, option):
                row[column] = value
    elif len(values) != len(row):
        raise targets.spec.config_error(
            f"{option} has {len(values)} numbers for {len(row)} classes."
        )
    else:
        row = list(values)
    return arrays.like(row, targets.like)
