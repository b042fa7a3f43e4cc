"""Heads: how a model's scores become the probabilities that a loss reads."""

from typing import Any, Protocol

import torch
from torch import Tensor

from .formulas import View, sigmoid_view, softmax_view
from .tags import Paths

ACTIVATIONS = {"softmax": softmax_view, "sigmoid": sigmoid_view}


class Head(Protocol):
    """What a loss sees of a model. view: the binary view of each cell (see formulas)."""

    view: View
    activation: str

    def path_probabilities(self, paths: Paths) -> Tensor:
        """``(P,)``: how probable it is that all cells of each path are predicted."""


class TokenHead:
    """Rows that are predicted each by itself: logits ``(N, C)``, float32 or float64."""

    def __init__(self, logits: Tensor, activation: str):
        self.activation = activation
        self.view = ACTIVATIONS[activation](logits)

    def path_probabilities(self, paths: Paths) -> Tensor:
        log_p = self.view.log_p
        return sum_paths(log_p[paths.rows, paths.cols], paths).exp()


def sum_paths(scores: Tensor, paths: Paths) -> Tensor:
    """``(P,)``: the sum of each path's scores, from one score a cell ``(M,)``."""
    return scores.new_zeros(len(paths.signs)).index_add(0, paths.ids, scores)


def widen(scores: Any) -> Any:
    """Scores in float32 at least, as all losses are computed."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
