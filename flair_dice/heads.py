"""Heads: how a model's scores become the probabilities that a loss reads."""

import math
from typing import Protocol

import torch
from torch import Tensor

from dice_core.options import Activation
from dice_core.tags import Paths
from dice_core.views import View, view_of_logits


class Head(Protocol):
    """What a loss sees of a model.

    Attributes:
        logits: Floats ``(N, C)``, float32 or float64; of a CRF the logarithms of the tokens'
            marginals.
        activation: What makes probabilities of them.
    """

    logits: Tensor
    activation: Activation

    def view(self) -> View:
        """The probabilities."""

    def negative_log_likelihood(self) -> Tensor:
        """Of whole sequences of tags, in a CRF: a scalar."""

    def path_probabilities(self, paths: Paths) -> Tensor:
        """``(P,)``: how probable it is, in a CRF, that all cells of each path are predicted."""


class TokenHead(Head):
    """Rows that are predicted each by itself."""

    def __init__(self, logits: Tensor, activation: Activation):
        self.logits, self.activation = logits, activation

    def view(self) -> View:
        return torch_view(self.logits, self.activation)

    def negative_log_likelihood(self) -> Tensor:
        raise NotImplementedError("only a CRF has sequences")

    def path_probabilities(self, paths: Paths) -> Tensor:
        raise NotImplementedError("only a CRF has sequences")


def torch_view(logits: Tensor, activation: Activation) -> View:
    """The view of logits, by torch's own fused softmax where all is finite."""
    logits = logits.detach()
    if activation == "softmax":
        p = torch.softmax(logits, dim=1)
        # As where a row has no class that is not ruled out.
        if not math.isnan(p[:, 0].sum().item()):
            return View(activation, p, used_up=True)
    return view_of_logits(logits, activation)


def widen(scores: Tensor) -> Tensor:
    """Scores in float32 at least, as all losses are computed."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
