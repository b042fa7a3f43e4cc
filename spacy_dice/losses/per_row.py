"""Losses of rows: cross-entropies, and what makes rare or hard rows weigh more in them."""

from dataclasses import replace
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy
from thinc.api import get_array_module

from .. import formulas
from ..errors import mistake
from ..heads import Head
from ..targets import Labels, Targets
from .base import Array, Loss


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    gamma = 0.0

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        y, known = targets.y, targets.known()
        if head.activation == "softmax":
            positive, negative = y * known, targets.negatives()
        else:
            positive, negative = y * known, (1.0 - y) * known
        positive, negative = self.weigh(positive, negative, targets, head)
        value, slope = formulas.log_loss(p, positive, negative, self.gamma)
        return value.sum(), slope

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        return positive, negative


class CrossEntropy(_LogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    label_smoothing: in [0, 1), how much of a one-hot truth is spread evenly over the other
    classes, as in thinc. class_weights: a factor for each label, by name or a list by class
    id; labels that are not named have 1. as_stock: alone in a stock component, train and
    report as the component itself does. Where its head wants a gradient by probabilities
    (textcat_multilabel, spancat, span_finder, a bag-of-words textcat) that is half the squared
    error, which hardly moves a rare class off 0; and what is reported is the sum (textcat: the
    mean) of squared gradients. False, and as a term of a Compound, it is cross-entropy everywhere.
    """

    smooths = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Union[Dict[str, float], List[float], None] = None,
        as_stock: bool = True,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.label_smoothing = self._number("label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise self._mistake(f"label_smoothing must be below 1, got {label_smoothing!r}.")
        self.class_weights = self._per_label("class_weights", class_weights)
        self.as_stock = self._flag("as_stock", as_stock)

    def gradient(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        if not (head.stock and self.as_stock):
            return super().gradient(p, targets, head)
        y, factors = self._smooth(targets).y, targets.known()
        if self.class_weights is not None:
            by_label = _row_of(self.class_weights, targets.labels, "class_weights", p, 1.0)
            if head.activation == "softmax":
                of_row = (targets.y * by_label).sum(axis=1, keepdims=True)
                by_label = get_array_module(p).where(of_row > 0, of_row, by_label)
            factors = factors * by_label
        gradient = (p - y) * factors
        return (gradient**2).sum(), gradient

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        return super().slope(p, self._smooth(targets), head)

    def is_stock(self) -> bool:
        return self.as_stock and self.class_weights is None and not self.label_smoothing

    def _smooth(self, targets: Targets) -> Targets:
        e = self.label_smoothing or targets.labels.label_smoothing
        n_classes = targets.y.shape[1]
        if not e or n_classes == 1:
            return targets
        y = targets.y
        y = y * (1 - e) + (y.sum(axis=1, keepdims=True) - y) * e / (n_classes - 1)
        return replace(targets, y=y)

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.class_weights, labels, "class_weights")
        if self.label_smoothing and labels.label_smoothing:
            raise mistake(
                f"{labels.owner}: label_smoothing is set both there and in its loss. Set one to 0."
            )

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        if self.class_weights is None:
            return positive, negative
        factors = _row_of(self.class_weights, targets.labels, "class_weights", positive, 1.0)
        return positive * factors, negative * factors

    def _per_label(self, name: str, values: Any) -> Any:
        if values is None:
            return None
        if isinstance(values, dict):
            return {key: self._number(f"{name}[{key!r}]", v) for key, v in values.items()}
        if isinstance(values, (list, tuple)):
            return [self._number(f"{name}[{i}]", v) for i, v in enumerate(values)]
        raise self._mistake(f"{name} must be a block of label = number, or a list, got {values!r}.")


class WeightedCrossEntropy(CrossEntropy):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    K: at least 1. counts: how often each label occurs in the training data (n_t; n is their
    sum), by name or a list by class id. Without them the counts are those of the batches
    seen so far, this one included. For sigmoids each class is a binary view with the counts
    of its own positives and negatives. Source: Li et al. 2020, section 3.2.
    """

    def __init__(
        self,
        *,
        K: float = 3.0,
        counts: Union[Dict[str, int], List[int], None] = None,
        **reading: Any,
    ):
        super().__init__(as_stock=False, **reading)
        self.K = self._number("K", K, low=1.0)
        self.counts = self._per_label("counts", counts)
        self._seen: Optional[numpy.ndarray] = None

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        xp = get_array_module(positive)
        if self.counts is not None:
            counts = _row_of(self.counts, targets.labels, "counts", positive, 0.0)
            total = counts.sum()
        else:
            batch = positive.sum(axis=0)
            n = xp.concatenate([batch, xp.asarray([targets.n_rows()], dtype=batch.dtype)])
            n = n.get() if hasattr(n, "get") else n
            if self._seen is None or self._seen.shape != n.shape:
                self._seen = numpy.zeros(n.shape, dtype="float64")
            self._seen = self._seen + n
            seen = xp.asarray(self._seen.astype(positive.dtype))
            counts, total = seen[:-1], seen[-1]
        positive = positive * formulas.log_inverse_frequency(counts, total, self.K)
        if head.activation == "sigmoid":
            rest = xp.maximum(total - counts, 0.0)
            negative = negative * formulas.log_inverse_frequency(rest, total, self.K)
        return positive, negative

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.counts, labels, "counts")
        if isinstance(self.counts, dict) and labels.names is not None:
            absent = [name for name in labels.names if name not in self.counts]
            if absent:
                raise mistake(
                    f"{labels.owner}: counts lacks the labels {', '.join(absent)}. Give the count "
                    "of each label, or leave counts out."
                )


class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    gamma: from 0 (cross-entropy) on. Source: Li et al. 2020, section 3.4; Lin et al. 2017.
    """

    def __init__(self, *, gamma: float = 2.0, **reading: Any):
        super().__init__(**reading)
        self.gamma = self._number("gamma", gamma)


def _check_per_label(values: Any, labels: Labels, option: str) -> None:
    if isinstance(values, dict):
        labels.columns(list(values), option)
    elif values is not None and labels.names is not None and len(values) != len(labels.names):
        raise mistake(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(labels.names)} labels."
        )


def _row_of(values: Any, labels: Labels, option: str, like: Array, default: float) -> Array:
    """``(C,)``: a number for each column, from numbers by label or by class id."""
    row = numpy.full((like.shape[1],), default, dtype=like.dtype)
    if isinstance(values, dict):
        row[labels.columns(list(values), option)] = list(values.values())
    elif len(values) != len(row):
        raise mistake(f"{labels.owner}: {option} has {len(values)} numbers for {len(row)} classes.")
    else:
        row[:] = values
    return get_array_module(like).asarray(row)
