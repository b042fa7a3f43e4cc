"""Losses of single rows: cross-entropies, and what makes rare or hard rows weigh more in them."""

from dataclasses import dataclass, replace
from typing import ClassVar, List, Mapping, Optional, Tuple, Union

from .. import arrays, formulas, slopes
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..options import BALANCED, ClassWeights, PerLabel, listed
from ..probabilities import Probabilities, from_logits
from ..slopes import Slope
from ..targets import Targets
from .base import Loss

DEFAULT_K = 3.0  # the most frequent class then weighs about log10(3)
# Factors of "is this class" and of "is not", (C,) each or the same for all; None is 1.
Factors = Tuple[Union[None, float, Array], Union[None, float, Array]]


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    gamma: ClassVar[float] = 0.0
    # How much of a target is spread; losses that can have it make a field of it.
    label_smoothing: ClassVar[float] = 0.0

    def factors(self, targets: Targets, totals: Array, activation: str) -> Factors:
        """How much "is this class" and "is not" weigh."""
        return None, None

    def blocks(self, probabilities: Probabilities, targets: Targets) -> Optional[List[slice]]:
        softmax = probabilities.activation == "softmax"
        if softmax and targets.ids is not None and not self.label_smoothing:
            return None
        return super().blocks(probabilities, targets)

    def value_and_slope(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        softmax = probabilities.activation == "softmax"
        if softmax and targets.ids is not None and not self.label_smoothing:
            return self._gold_cells(probabilities, targets, totals)
        return self._all_cells(
            probabilities, smooth_targets(targets.dense(), self.label_smoothing, softmax), totals
        )

    def _gold_cells(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        """Of a softmax with one gold class a row: nothing but that cell counts."""
        assert targets.ids is not None
        xp, ids = namespace(probabilities.p), targets.ids
        p = probabilities.gather(ids)
        log_p = xp.log(arrays.at_least(p, probabilities.low))
        q = arrays.at_least(1.0 - p, 0.0) if self.gamma else None
        value, slope = formulas.log_loss(p, q, log_p, self.gamma)
        gold = arrays.full_like(value, slope) if isinstance(slope, float) else slope
        factor, _ = self.factors(targets, totals, "softmax")
        if factor is not None:
            by_row = factor if isinstance(factor, float) else factor[ids]
            value, gold = value * by_row, gold * by_row
        return targets.weighted(value), Slope(gold=gold)

    def _all_cells(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        y = targets.y
        assert y is not None
        positive: Array = targets.known_only(y)
        is_sigmoid = probabilities.activation == "sigmoid"
        negative = targets.known_only(1.0 - y) if is_sigmoid else targets.negatives()
        factor, factor_of_negatives = self.factors(targets, totals, probabilities.activation)
        if factor is not None:
            positive = positive * factor
        if negative is not None and factor_of_negatives is not None:
            negative = negative * factor_of_negatives
        exact = bool(self.gamma) or negative is not None
        q = probabilities.q() if exact else probabilities.p
        value, slope = formulas.log_loss(probabilities.p, q, probabilities.log_p(), self.gamma)
        # In place: a new array costs more time than the numbers in it.
        value *= positive
        row = arrays.row_sums(value)
        if isinstance(slope, float):
            cells = slope * positive
        else:
            cells = slope
            cells *= positive
        if is_sigmoid:
            cells *= q
        if negative is not None:
            value, slope = self.negative_loss(probabilities, q, is_sigmoid)
            value *= negative
            slope *= negative
            row += arrays.row_sums(value)
            cells += slope
        steep = negative is not None and not is_sigmoid
        return targets.weighted(row), Slope(cells=cells, steep=steep)

    def negative_loss(
        self, probabilities: Probabilities, q: Array, is_sigmoid: bool
    ) -> Tuple[Array, Array]:
        """The loss of "is not this class" of cells ``(N, C)``, and its slope (see `formulas`)."""
        p = probabilities.p
        value, slope = formulas.log_loss(q, p, probabilities.log_q(), self.gamma)
        if isinstance(slope, float):
            by_p = -slope * p
        else:
            by_p = slope
            by_p *= p
            by_p *= -1.0
        if not is_sigmoid:  # dL/dq q, from which dL/dp p
            by_p /= arrays.at_least(q, arrays.floor(q))
        return value, by_p


class _CountingLogLoss(_LogLoss):
    """With weights by how often each class is there: as is given, or in the rows so far."""

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if spec.positions and self.counts_over_training:
            raise _position_error(self, spec)

    def n_totals(self, n_classes: int) -> int:
        return n_classes + 1 if self.counts_over_training else 0

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        xp, weights = namespace(probabilities.like), targets.weights
        if targets.ids is not None:
            weights = (
                arrays.full_like(probabilities.like[:, 0], 1.0) if weights is None else weights
            )
            counts = arrays.sum_by(weights, targets.ids, targets.n_classes)
        else:
            assert targets.y is not None
            counts = targets.column_sums(targets.y)
        return xp.concat([counts, xp.reshape(targets.n_rows(), (1,))])

    def balanced(self, counts: Array, n: Array, K: float, activation: str) -> Factors:
        """The paper's weights, of counts ``(C,)`` and their total."""
        weights = formulas.log_inverse_frequency(counts, n, K)
        if activation == "softmax":
            return weights, weights
        rest = arrays.at_least(n - counts, 0.0)
        return weights, formulas.log_inverse_frequency(rest, n, K)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(_CountingLogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    It is cross-entropy everywhere. spaCy itself trains components with a sigmoid
    (textcat_multilabel, spancat, span_finder) on half the squared error, which hardly moves a
    rare class off 0. In a Flair model with a CRF it is the CRF's own loss, the negative
    log-likelihood of the whole sequence of tags (ViterbiLoss), and has no options.

    Args:
        label_smoothing: In [0, 1), how much of a target is spread evenly: for a softmax over the
            other classes, e / (C - 1) each, as in spaCy (torch spreads e / C over all); for
            sigmoids over "is" and "is not" of each class, y (1 - e) + e / 2.
        class_weights: A factor for each label, by name or a list by class id; labels that are
            not named have 1, and a type of entities stands for all of its tags. Or "balanced":
            the paper's weights, as WeightedCrossEntropy has them.
        pos_weight: For sigmoids: a factor of "is this class" alone, by label or class id, as
            torch's BCEWithLogitsLoss has it; above 1 for recall.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Note:
        A mean of weighted rows is over the rows, where torch's is a weighted mean; and a mean of
        several labels is over rows, where torch's is over rows and labels.
    """

    label_smoothing: float = 0.0  # type: ignore[misc]
    class_weights: ClassWeights = None
    pos_weight: Optional[PerLabel] = None

    def check_options(self) -> None:
        if self.set_number("label_smoothing") >= 1:
            self.refuse(f"label_smoothing must be below 1, got {self.label_smoothing!r}.")
        if isinstance(self.class_weights, str):
            self.set_choice("class_weights", (None, BALANCED))
        else:
            self.set_per_label("class_weights")
        self.set_per_label("pos_weight")

    @property
    def counts_over_training(self) -> bool:
        return self.class_weights == BALANCED

    def factors(self, targets: Targets, totals: Array, activation: str) -> Factors:
        factor: Union[None, float, Array] = None
        other: Union[None, float, Array] = None
        if self.class_weights == BALANCED:
            factor, other = self.balanced(totals[:-1], totals[-1], DEFAULT_K, activation)
        elif self.class_weights is not None:
            factor = other = per_column(self.class_weights, targets, "class_weights", 1.0)
        if self.pos_weight is not None:
            pos_weight = per_column(self.pos_weight, targets, "pos_weight", 1.0)
            factor = pos_weight if factor is None else factor * pos_weight
        return factor, other

    def smoothed(self, spec: LabelSpec) -> Loss:
        if self.label_smoothing and spec.label_smoothing:
            raise spec.config_error(
                "label_smoothing is set both there and in its loss. Set one to 0."
            )
        return self if not spec.label_smoothing else _with_smoothing(self, spec)

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if self.class_weights != BALANCED:
            check_per_label(self.class_weights, spec, "class_weights")
        check_per_label(self.pos_weight, spec, "pos_weight")
        has_options = self.label_smoothing or self.class_weights or self.pos_weight
        if spec.crf and (has_options or spec.label_smoothing):
            raise spec.config_error(
                "with a CRF, CrossEntropy is the likelihood of whole sequences, which has no "
                "label_smoothing and no weights of classes. Leave them out, use use_crf=False, or "
                "use WeightedCrossEntropy, which takes the CRF's marginals."
            )

    def check_shape(self, n_classes: int, activation: str, spec: LabelSpec) -> None:
        super().check_shape(n_classes, activation, spec)
        if self.pos_weight is not None and activation == "softmax":
            raise spec.config_error(
                "pos_weight is for sigmoids, where each label is there or not. Use class_weights "
                "for a softmax."
            )


@dataclass(frozen=True, kw_only=True)
class WeightedCrossEntropy(_CountingLogLoss):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    For sigmoids each class is a binary view with the counts of its own positives and negatives.
    In a model with a CRF it takes the tokens' marginals.

    Args:
        K: At least 1.
        counts: How often each label occurs in the training data (n_t; n is their sum), by name
            or a list by class id. Without them the counts are those of the batches learned from
            so far, this one included; they are not saved.
        label_smoothing: As in CrossEntropy: in [0, 1), how much of a target is spread evenly.

    Raises:
        ValueError: For options out of range, and for labels that there are not or that have no
            count.

    Source: Li et al. 2020, section 3.2.
    """

    K: float = DEFAULT_K
    counts: Optional[PerLabel] = None
    label_smoothing: float = 0.0  # type: ignore[misc]

    def check_options(self) -> None:
        self.set_number("K", low=1.0)
        self.set_per_label("counts")
        self.set_number("label_smoothing", high=0.999)

    @property
    def counts_over_training(self) -> bool:
        return self.counts is None

    def factors(self, targets: Targets, totals: Array, activation: str) -> Factors:
        if self.counts is None:
            return self.balanced(totals[:-1], totals[-1], self.K, activation)
        counts = per_column(self.counts, targets, "counts", 0.0)
        return self.balanced(counts, namespace(counts).sum(counts), self.K, activation)

    def smoothed(self, spec: LabelSpec) -> Loss:
        return self if not spec.label_smoothing else _with_smoothing(self, spec)

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        check_per_label(self.counts, spec, "counts", complete=True)


@dataclass(frozen=True, kw_only=True)
class LogitAdjustedCE(_CountingLogLoss):
    """Cross-entropy of logits to which the log frequency of each class is added in training.

    How frequent a class is need not be learned then, and predictions, for which nothing is
    added, depend on a row's evidence alone: rare classes are found more often. A softmax gets
    tau log(prior) of each class; a sigmoid, each a binary view, tau log(prior / (1 - prior)). In a
    model with a CRF it takes the tokens' marginals.

    Args:
        tau: How much of it is added: 0 is cross-entropy, 1 is what balances the classes.
        priors: The share of rows, in (0, 1), that each label has in the training data, by name or
            a list by class id. Without them they are those of the batches learned from so far,
            this one included, with one more row of each kind; they are not saved.
        label_smoothing: As in CrossEntropy: in [0, 1), how much of a target is spread evenly.

    Raises:
        ValueError: For options out of range, and for labels that there are not or that have no
            prior.

    Note:
        Probabilities are those of balanced classes: for rare classes they are too high (`calibrate`
        mends that), and precision is below that of cross-entropy.

    Source: Menon et al. 2021, equation 10.
    """

    tau: float = 1.0
    priors: Optional[PerLabel] = None
    label_smoothing: float = 0.0  # type: ignore[misc]

    def check_options(self) -> None:
        self.set_number("tau")
        self.set_number("label_smoothing", high=0.999)
        self.set_per_label("priors")
        given = self.priors.values() if isinstance(self.priors, Mapping) else self.priors or ()
        if not all(0 < prior < 1 for prior in given):
            self.refuse(f"priors must be above 0 and below 1, got {self.priors!r}.")

    @property
    def counts_over_training(self) -> bool:
        return self.priors is None

    def blocks(self, probabilities: Probabilities, targets: Targets) -> Optional[List[slice]]:
        return arrays.blocks(probabilities.like)

    def value_and_slope(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        softmax = probabilities.activation == "softmax"
        targets = smooth_targets(targets.dense(), self.label_smoothing, softmax)
        adjusted = self._adjusted(probabilities, self._priors(targets, totals))
        value, slope = self._all_cells(adjusted, targets, totals)
        if softmax:
            # By the adjusted logits, which is by the logits: rows add up to 0, as is wanted.
            every = replace(targets, mask=None, weights=None)
            slope = Slope(cells=slopes.by_logits(adjusted, slope, every))
        return value, slope

    def _adjusted(self, probabilities: Probabilities, prior: Array) -> Probabilities:
        log = namespace(prior).log
        if probabilities.activation == "softmax":
            return from_logits(probabilities.log_p() + self.tau * log(prior), "softmax")
        logits = probabilities.logits
        if logits is None:
            logits = probabilities.log_p() - probabilities.log_q()
        return from_logits(logits + self.tau * log(prior / (1.0 - prior)), "sigmoid")

    def _priors(self, targets: Targets, totals: Array) -> Array:
        """``(C,)``: those that are given, or of the rows so far."""
        if self.priors is not None:
            return per_column(self.priors, targets, "priors", 0.0)
        return (totals[:-1] + 1.0) / (totals[-1] + 2.0)

    def smoothed(self, spec: LabelSpec) -> Loss:
        return self if not spec.label_smoothing else _with_smoothing(self, spec)

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        check_per_label(self.priors, spec, "priors", complete=True)


@dataclass(frozen=True, kw_only=True)
class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    In a model with a CRF it takes the tokens' marginals.

    Args:
        gamma: From 0 (cross-entropy) on.
        alpha: For sigmoids: from 0 to 1, the weight of "is this class", where "is not" has
            1 - alpha. None weighs neither, as the paper does.
        class_weights: A factor for each label, by name or a list by class id; labels that are
            not named have 1, and a type of entities stands for all of its tags.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: Li et al. 2020, section 3.4; Lin et al. 2017, equation 5.
    """

    gamma: float = 2.0  # type: ignore[misc]
    alpha: Optional[float] = None
    class_weights: Optional[PerLabel] = None

    def check_options(self) -> None:
        self.set_number("gamma")
        if self.alpha is not None:
            self.set_number("alpha", high=1.0)
        self.set_per_label("class_weights")

    def factors(self, targets: Targets, totals: Array, activation: str) -> Factors:
        factor: Union[None, float, Array] = None
        if self.class_weights is not None:
            factor = per_column(self.class_weights, targets, "class_weights", 1.0)
        if self.alpha is None:
            return factor, factor
        return (
            self.alpha if factor is None else factor * self.alpha,
            1.0 - self.alpha if factor is None else factor * (1.0 - self.alpha),
        )

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        check_per_label(self.class_weights, spec, "class_weights")

    def check_shape(self, n_classes: int, activation: str, spec: LabelSpec) -> None:
        super().check_shape(n_classes, activation, spec)
        if self.alpha is not None and activation == "softmax":
            raise spec.config_error(
                "alpha of Focal weighs whether a label is there or not, which is for sigmoids. Use "
                "class_weights for a softmax."
            )


@dataclass(frozen=True, kw_only=True)
class AsymmetricLoss(_LogLoss):
    """ASL, for several labels: a focal loss that forgets easy negatives sooner than positives.

    "Is this class" costs -(1-p)^gamma_positive log p, and "is not"
    -(p_m)^gamma_negative log(1 - p_m) with p_m = max(p - clip, 0): negatives that the model gives
    less than clip are learned. For sigmoids.

    Args:
        gamma_positive: From 0 on.
        gamma_negative: From 0 on.
        clip: From 0 to 1 (without), the probability up to which a negative costs nothing.

    Raises:
        ValueError: For options out of range, and for a softmax.

    Source: Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", equation 7.
    """

    gamma_positive: float = 1.0
    gamma_negative: float = 4.0
    clip: float = 0.05

    def check_options(self) -> None:
        self.set_number("gamma_positive")
        self.set_number("gamma_negative")
        self.set_number("clip", high=0.999)

    @property
    def gamma(self) -> float:  # type: ignore[override]
        return self.gamma_positive

    def negative_loss(
        self, probabilities: Probabilities, q: Array, is_sigmoid: bool
    ) -> Tuple[Array, Array]:
        return formulas.asymmetric_loss_of_negatives(
            probabilities.p, q, probabilities.log_q(), self.gamma_negative, self.clip
        )

    def check_shape(self, n_classes: int, activation: str, spec: LabelSpec) -> None:
        super().check_shape(n_classes, activation, spec)
        if activation == "softmax":
            raise spec.config_error(
                "AsymmetricLoss is for sigmoids, where each label is there or not. Use Focal for a "
                "softmax."
            )


def smooth_targets(targets: Targets, smoothing: float, softmax: bool) -> Targets:
    """Targets of which a share is spread: over the other classes of a row, or, for sigmoids, over
    "is" and "is not" of each cell.
    """
    y = targets.y
    if not smoothing or y is None:
        return targets
    if not softmax:
        return replace(targets, y=y * (1 - smoothing) + smoothing / 2)
    others = arrays.row_sums(y)[:, None] - y
    share = smoothing / (targets.n_classes - 1)
    return replace(targets, y=y * (1 - smoothing) + others * share)


def _with_smoothing(loss: Loss, spec: LabelSpec) -> Loss:
    if getattr(loss, "label_smoothing", 0.0):
        raise spec.config_error("label_smoothing is set both there and in its loss. Set one to 0.")
    return replace(loss, label_smoothing=spec.label_smoothing)  # type: ignore[call-arg]


def _position_error(loss: Loss, spec: LabelSpec) -> Exception:
    return spec.config_error(
        f"the classes of {loss.name()} are positions in a text here, for which weights of classes "
        'mean nothing. Use another loss, or activation="sigmoid", whose classes are start and end.'
    )


def check_per_label(
    values: Union[None, str, PerLabel], spec: LabelSpec, option: str, complete: bool = False
) -> None:
    """Raise a ValueError for labels that there are not, or, if numbers have to be complete, that
    are missing; and for numbers of positions, which are no labels.
    """
    if values is not None and spec.positions:
        raise spec.config_error(
            f"the classes of the loss are positions in a text here, for which {option} means "
            'nothing. Leave it out, or use activation="sigmoid", whose classes are start and end.'
        )
    if isinstance(values, dict):
        for label in values:
            spec.columns_of(label, option)
        absent = [name for name in spec.names or () if name not in values]
        if complete and absent:
            raise spec.config_error(
                f"{option} lacks the labels {listed(absent)}. Give that of each label, or leave "
                f"{option} out."
            )
    elif values is not None and spec.names is not None and len(values) != len(spec.names):
        raise spec.config_error(f"{option} has {len(values)} numbers for {len(spec.names)} labels.")


def per_column(
    values: Union[str, PerLabel], targets: Targets, option: str, default: float
) -> Array:
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
        row = list(values)  # type: ignore[arg-type]
    return arrays.like(row, targets.like)
