"""Losses of rows: cross-entropies, and what makes rare or hard rows weigh more in them."""

from typing import Any, Dict, List, Optional, Union

import torch
from torch import Tensor

from .. import formulas
from ..heads import Head
from ..targets import Labels, Targets
from .base import Loss


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    gamma = 0.0

    def total(self, head: Head, targets: Targets) -> Tensor:
        y, known = targets.y, targets.known()
        negative = targets.negatives() if head.activation == "softmax" else (1.0 - y) * known
        positive, negative = self.weigh(y * known, negative, targets, head.activation)
        return formulas.log_loss(head.view, positive, negative, self.gamma).sum()

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        return positive, negative


class CrossEntropy(_LogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    label_smoothing: in [0, 1), how much of a one-hot truth is spread evenly over the other
    classes. class_weights: a factor for each label, by name or a list by class id; labels that
    are not named have 1.

    In a model with a CRF it is the CRF's own loss, the negative log-likelihood of the whole
    sequence of tags (Flair's ViterbiLoss), and takes neither of the two.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Union[Dict[str, float], List[float], None] = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.label_smoothing = self._number("label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise self._mistake(f"label_smoothing must be below 1, got {label_smoothing!r}.")
        self.class_weights = _per_label(self, "class_weights", class_weights)

    def total(self, head: Head, targets: Targets) -> Tensor:
        if targets.labels.crf:
            return head.negative_log_likelihood()  # type: ignore[attr-defined]
        y = targets.y
        if self.label_smoothing and y.shape[1] > 1:
            e = self.label_smoothing
            y = y * (1 - e) + (y.sum(dim=1, keepdim=True) - y) * e / (y.shape[1] - 1)
            targets = Targets(y, targets.labels, targets.mask, targets.lengths, targets.total)
        return super().total(head, targets)

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        if self.class_weights is None:
            return positive, negative
        factors = _row_of(self.class_weights, targets.labels, "class_weights", positive, 1.0)
        return positive * factors, negative * factors

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.class_weights, labels, "class_weights")
        if labels.crf and (self.label_smoothing or self.class_weights is not None):
            raise ValueError(
                f"{labels.owner}: with a CRF, CrossEntropy is the likelihood of whole sequences, "
                "which has no label_smoothing and no class_weights. Leave them out, use "
                "use_crf=False, or use WeightedCrossEntropy, which takes the CRF's marginals."
            )


class WeightedCrossEntropy(_LogLoss):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    K: at least 1. counts: how often each label occurs in the training data (n_t; n is their
    sum), by name or a list by class id. Without them the counts are those of the batches
    seen in training so far, this one included; they are not saved, and each process of a
    distributed training has its own. For sigmoids each class is a binary view with the counts
    of its own positives and negatives. In a model with a CRF it takes the tokens' marginals.
    Source: Li et al. 2020, section 3.2.
    """

    def __init__(
        self,
        *,
        K: float = 3.0,
        counts: Union[Dict[str, int], List[int], None] = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.K = self._number("K", K, low=1.0)
        self.counts = _per_label(self, "counts", counts)
        self._seen: Optional[Tensor]
        self.register_buffer("_seen", None, persistent=False)

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        if self.counts is not None:
            counts = _row_of(self.counts, targets.labels, "counts", positive, 0.0)
            n = counts.sum()
        else:
            seen = torch.cat([positive.sum(dim=0), targets.n_rows()[None]]).double()
            if self._seen is not None and self._seen.shape == seen.shape:
                seen = self._seen.to(seen.device) + seen
            if self.training and torch.is_grad_enabled():
                self._seen = seen
            seen = seen.to(positive.dtype)
            counts, n = seen[:-1], seen[-1]
        positive = positive * formulas.log_inverse_frequency(counts, n, self.K)
        if activation == "sigmoid":
            rest = (n - counts).clamp(min=0.0)
            negative = negative * formulas.log_inverse_frequency(rest, n, self.K)
        return positive, negative

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.counts, labels, "counts")
        if isinstance(self.counts, dict) and labels.names is not None:
            absent = [name for name in labels.names if name not in self.counts]
            if absent:
                raise ValueError(
                    f"{labels.owner}: counts lacks the labels {', '.join(absent)}. Give the count "
                    "of each label, or leave counts out."
                )


class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    gamma: from 0 (cross-entropy) on. In a model with a CRF it takes the tokens' marginals.
    Source: Li et al. 2020, section 3.4; Lin et al. 2017.
    """

    def __init__(self, *, gamma: float = 2.0, **reading: Any):
        super().__init__(**reading)
        self.gamma = self._number("gamma", gamma)


def _per_label(loss: Loss, name: str, values: Any) -> Any:
    if values is None:
        return None
    if isinstance(values, dict):
        return {key: loss._number(f"{name}[{key!r}]", v) for key, v in values.items()}
    if isinstance(values, (list, tuple)):
        return [loss._number(f"{name}[{i}]", v) for i, v in enumerate(values)]
    raise loss._mistake(f"{name} must be a dict of label: number, or a list, got {values!r}.")


def _check_per_label(values: Any, labels: Labels, option: str) -> None:
    if isinstance(values, dict):
        labels.columns(list(values), option)
    elif values is not None and labels.names is not None and len(values) != len(labels.names):
        raise ValueError(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(labels.names)} labels."
        )


def _row_of(values: Any, labels: Labels, option: str, like: Tensor, default: float) -> Tensor:
    """``(C,)``: a number for each column, from numbers by label or by class id."""
    row = like.new_full((like.shape[1],), default)
    if isinstance(values, dict):
        columns = labels.columns(list(values), option)
        row[columns] = like.new_tensor(list(values.values()))
    elif len(values) != len(row):
        raise ValueError(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(row)} classes."
        )
    else:
        row[:] = like.new_tensor(values)
    return row
