"""Heads: what a loss sees of a model, and its gradient as torch's autograd wants it."""

import math
from typing import Any, Optional, Protocol, Sequence, Tuple, Union, cast

import torch
from torch import Tensor

from dice_core.arrays import Array, Number
from dice_core.losses import BoundLoss
from dice_core.options import Activation
from dice_core.probabilities import Probabilities, from_logits
from dice_core.targets import Targets

from .targets import on_host


class Head(Protocol):
    """The scores of a batch.

    Attributes:
        logits: Floats ``(N, C)``, float32 or float64; of a CRF the logarithms of the tokens'
            marginals.
        gold: The targets of its rows, as `targets.read_targets` takes them.
        lengths: Rows of each sentence, where rows are tokens.
    """

    logits: Tensor
    gold: Tensor
    lengths: Optional[Sequence[int]]

    def totals(self, bound: BoundLoss, targets: Targets) -> Tensor:
        """``(K,)``, what the loss counts over these rows; see `Loss.totals` of dice_core."""

    def loss(self, bound: BoundLoss, targets: Targets, totals: Tensor) -> Tensor:
        """The sum over rows, a scalar with a gradient, given the totals of the set of rows."""


class TokenHead(Head):
    """Rows that are predicted each on its own; see `Head` for arguments."""

    def __init__(
        self,
        logits: Tensor,
        activation: Activation,
        gold: Tensor,
        lengths: Optional[Sequence[int]] = None,
    ):
        self.logits, self.activation = logits, activation
        self.gold, self.lengths = gold, lengths
        self._probabilities: Optional[Probabilities] = None

    def totals(self, bound: BoundLoss, targets: Targets) -> Tensor:
        self._probabilities = read_logits(self.logits, self.activation, targets)
        return cast(Tensor, bound.totals(self._probabilities, targets))

    def loss(
        self,
        bound: BoundLoss,
        targets: Targets,
        totals: Tensor,
        scale: Union[None, float, Tensor] = None,
        by_row: bool = False,
    ) -> Tensor:
        probabilities = self._probabilities or read_logits(self.logits, self.activation, targets)
        self._probabilities = None  # the gradient takes their place
        return closed_form(self.logits, bound, probabilities, targets, totals, scale, by_row)


def widen(scores: Tensor) -> Tensor:
    """Scores in float32 at least, as all losses are computed."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def read_logits(logits: Tensor, activation: Activation, targets: Targets) -> Probabilities:
    """The probabilities of logits ``(N, C)``. What stands where no target is known, NaN included,
    does not matter.
    """
    logits = logits.detach()
    if not on_host(logits):
        if targets.mask is not None or targets.weights is not None:
            by_cell = activation == "sigmoid" and targets.mask is not None
            known = targets.known() if by_cell else targets.known_rows()[:, None]
            logits = torch.where(cast(Tensor, known) > 0, logits, 0.0)
        if activation == "softmax":
            fused = torch.softmax(logits, dim=1)
            return Probabilities(activation, cast(Array, fused), reusable=True)
        return from_logits(cast(Array, logits), activation)
    p = None
    if activation == "softmax":
        p = torch.softmax(logits, dim=1)  # fused
        # NaN in a row with NaN or inf, and in one whose classes are all ruled out.
        if not math.isnan(p[:, 0].sum().item()):
            return Probabilities(activation, cast(Array, p), reusable=True)
    if targets.mask is not None or targets.weights is not None:
        wrong = ~logits.isfinite()
        if wrong.any():
            rows = cast(Tensor, targets.known_rows()) > 0
            unknown = ~rows[:, None].expand_as(logits)
            if activation == "sigmoid" and targets.mask is not None:
                unknown = cast(Tensor, targets.known()) == 0
            logits = logits.masked_fill(wrong & unknown, 0.0)
    return from_logits(cast(Array, logits), activation)


def closed_form(
    logits: Tensor,
    bound: BoundLoss,
    probabilities: Probabilities,
    targets: Targets,
    totals: Tensor,
    scale: Union[None, float, Tensor] = None,
    by_row: bool = False,
) -> Tensor:
    """A loss as a function of logits, whose value and gradient are computed together.

    Args:
        logits: Floats ``(N, C)``.
        bound: The loss.
        probabilities: Those of the logits; the gradient may take their place.
        targets: What is known of the rows.
        totals: ``(K,)``, of the set of rows that these are a part of.
        scale: A number that the loss is multiplied with.
        by_row: Whether the value of each row is wanted, ``(N,)``, in place of their sum.
    """
    value: Tensor = ClosedForm.apply(logits, bound, probabilities, targets, totals, scale, by_row)
    return value


class ClosedForm(torch.autograd.Function):
    """See `closed_form`."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        bound: BoundLoss,
        probabilities: Probabilities,
        targets: Targets,
        totals: Tensor,
        scale: Union[None, float, Tensor],
        by_row: bool,
    ) -> Tensor:
        value, gradient = cast(
            Tuple[Tensor, Tensor],
            bound.value_and_gradient(
                probabilities, targets, cast(Array, totals), scale=cast(Optional[Number], scale)
            ),
        )
        ctx.save_for_backward(logits)
        ctx.gradient, ctx.version = gradient, gradient._version
        ctx.arguments = bound.current, probabilities.activation, targets, totals, scale
        if by_row:
            return value if value.ndim else value.expand(len(logits)).clone()
        return value.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tuple[Optional[Tensor], ...]:
        (logits,) = ctx.saved_tensors
        gradient = ctx.gradient
        if gradient._version != ctx.version:  # somebody has changed it after the pass before
            loss, activation, targets, totals, scale = ctx.arguments
            probabilities = read_logits(logits, activation, targets)
            again = BoundLoss(loss).value_and_gradient(probabilities, targets, totals, scale=scale)
            gradient = cast(Tensor, again[1])
            ctx.gradient, ctx.version = gradient, gradient._version
        if upstream.ndim:
            upstream = upstream[:, None]
        if torch.is_grad_enabled():  # as create_graph=True asks
            gradient = FirstDerivative.apply(upstream, gradient, logits)
        elif not upstream.ndim and on_host(upstream) and upstream.item() == 1:
            gradient = gradient.view_as(gradient)
        else:
            gradient = gradient * upstream
        return gradient, None, None, None, None, None, None


class FirstDerivative(torch.autograd.Function):
    """The gradient. By the logits it has none of its own."""

    @staticmethod
    def forward(ctx: Any, upstream: Tensor, gradient: Tensor, logits: Tensor) -> Tensor:
        return gradient * upstream

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tuple[Optional[Tensor], ...]:
        raise RuntimeError(
            "flair_dice: the gradient of a loss was differentiated, and the losses have no second "
            "derivative: theirs is in closed form. Leave create_graph out, or use losses of torch."
        )
