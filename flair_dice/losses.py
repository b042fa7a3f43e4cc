"""The losses, as torch modules: ``loss(logits, targets, mask=None)``.

What they have in common is said in `dice_core.losses`; their parameters, formulas and sources are
said in each. As torch modules:

- logits ``(N, C)``, of any float type, one row a token (or text) and one column a class, or
  ``(sentences, tokens, C)``; targets are class ids ``(N,)``, -100 for unknown, or rows ``(N, C)``;
  mask is None, ``(N,)`` or ``(N, C)``. The result is a scalar, float32 (float64 for float64
  logits), also inside autocast.
- ``reduction="sum"`` is the loss summed over rows; ``"mean"`` is that over the number of rows with
  any known cell. Flair back-propagates sums, and Flair's models take the sum whatever
  ``reduction`` is.
- Gradients are in closed form: they can be taken once.

How logits are read is the model's business inside Flair. Outside of it, ``names`` gives the
label of each column and ``activation`` ("softmax" or "sigmoid") says what they are logits of.

Example:
    >>> import torch
    >>> loss = DiceCE()
    >>> logits = torch.zeros(3, 2, requires_grad=True)
    >>> value = loss(logits, torch.tensor([0, 1, 1]))
    >>> value.backward()
    >>> round(value.item(), 3)
    1.074
"""

from typing import Any, Dict, Literal, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from dice_core import losses as core
from dice_core.labels import LabelSpec
from dice_core.options import Activation
from dice_core.targets import Targets

from .heads import Head, TokenHead, widen
from .targets import read_targets
from .totals import replace_value

REDUCTIONS = ("mean", "sum")


class Loss(core.Loss, torch.nn.Module):
    """What all losses of flair_dice share: reading logits and targets, and reduction.

    A loss of your own overrides `compute_loss` (or, for a gradient by autograd, `of_head`); see
    docs/extend.md.

    Args:
        names: The label of each column.
        activation: "softmax" or "sigmoid", what the logits are of.
        reduction: "mean" over rows, or "sum".
    """

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        activation: Activation = "softmax",
        reduction: Literal["mean", "sum"] = "mean",
        **unknown: Any,
    ):
        super().__init__(names=names, activation=activation, **unknown)
        self.reduction = self.read_one_of("reduction", reduction, REDUCTIONS)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        mask: Optional[Tensor] = None,
        lengths: Optional[Sequence[int]] = None,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: Floats ``(N, C)``; ``-inf`` rules a class out. Or ``(..., N, C)``, such as
                ``(sentences, tokens, classes)``, with the classes last; targets and mask then
                have these dimensions, too.
            targets: Class ids ``(N,)``, -100 where the class is unknown, or rows ``(N, C)``,
                one-hot, soft or multi-hot.
            mask: None, ``(N,)`` or ``(N, C)``, 1 where the truth is known.
            lengths: Rows of each sentence, which EntityDice reads; known where logits have three
                dimensions.

        Raises:
            ValueError: For shapes that do not match, class ids out of range and options that do
                not fit the labels.
        """
        spec = LabelSpec(f"flair_dice.{type(self).__name__}", self.names)
        if logits.ndim > 2:
            if logits.ndim == 3 and lengths is None:
                lengths = [logits.shape[1]] * logits.shape[0]
            logits, targets, mask = _as_rows(logits, targets, mask, spec)
        if logits.ndim != 2 or not logits.shape[1] or not logits.is_floating_point():
            raise spec.config_error(
                f"logits must be floats (rows, classes), got {tuple(logits.shape)} of "
                f"{logits.dtype}."
            )
        if self.names is not None and len(self.names) != logits.shape[1]:
            raise spec.config_error(
                f"{len(self.names)} names for {logits.shape[1]} columns of logits."
            )
        self.check(spec)
        with torch.autocast(logits.device.type, enabled=False):
            wide = widen(logits)
            read = read_targets(targets, mask, wide.detach(), spec, lengths)
            read.learning = self.training and torch.is_grad_enabled()
            head = TokenHead(wide, self.activation)
            scale = None if self.reduction == "sum" else 1.0 / read.n_rows().clamp(min=1.0)
            if _is_closed(self):
                return ClosedForm.apply(wide, self, head, read, scale)
            value = self.of_head(head, read)
            return value if scale is None else value * scale

    def of_head(self, head: Head, targets: Targets) -> Tensor:
        """The loss summed over rows, a scalar, of a model's head: its gradient in closed form."""
        return ClosedForm.apply(head.logits, self, head, targets, None)


def _as_rows(
    logits: Tensor, targets: Tensor, mask: Optional[Tensor], spec: LabelSpec
) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """Logits ``(..., C)``, and what belongs to them, with one dimension of rows."""
    outer, n_classes = logits.shape[:-1], logits.shape[-1]

    def rows(name: str, tensor: Tensor) -> Tensor:
        if tensor.shape not in (outer, logits.shape):
            raise spec.config_error(
                f"{name} must have the shape {tuple(outer)} or {tuple(logits.shape)}, as the "
                f"logits, whose last dimension is the classes; got {tuple(tensor.shape)}."
            )
        return tensor.flatten() if tensor.shape == outer else tensor.reshape(-1, n_classes)

    known = None if mask is None else rows("mask", mask)
    return logits.reshape(-1, n_classes), rows("targets", targets), known


class ClosedForm(torch.autograd.Function):
    """A loss of `dice_core` as a function of logits: value and gradient come together."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        loss: Loss,
        head: Head,
        targets: Targets,
        scale: Optional[Tensor],
    ) -> Tensor:
        value, gradient = loss.value_and_gradient(head.view(), targets, scale=scale)
        ctx.save_for_backward(gradient, logits)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tuple[Optional[Tensor], ...]:
        gradient, logits = ctx.saved_tensors
        if torch.is_grad_enabled():  # as create_graph=True asks
            gradient = FirstDerivative.apply(upstream, gradient, logits)
        elif upstream.device.type == "cpu" and upstream.item() == 1:
            gradient = gradient.view_as(gradient)
        else:
            gradient = gradient * upstream
        return gradient, None, None, None, None


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


class CrossEntropy(core.CrossEntropy, Loss):
    def of_head(self, head: Head, targets: Targets) -> Tensor:
        if targets.spec.crf:
            return head.negative_log_likelihood()
        return super().of_head(head, targets)


class WeightedCrossEntropy(core.WeightedCrossEntropy, Loss): ...


class LogitAdjustedCE(core.LogitAdjustedCE, Loss): ...


class Focal(core.Focal, Loss): ...


class Dice(core.Dice, Loss): ...


class SelfAdjustingDice(core.SelfAdjustingDice, Loss): ...


class SemimetricDice(core.SemimetricDice, Loss): ...


class Tversky(core.Tversky, Loss): ...


class EntityDice(core.EntityDice, Loss):
    def of_head(self, head: Head, targets: Targets) -> Tensor:
        if not targets.spec.crf:
            return super().of_head(head, targets)
        # Marginals of whole spans, whose gradient goes on through forward-backward.
        scheme, paths = self.gold_paths(targets)
        found = head.path_probabilities(paths)
        p = head.logits.softmax(dim=1)
        found = (found * found.new_tensor(paths.signs)).sum()
        expected = p[:, torch.from_numpy(scheme.starts).to(p.device)].sum()
        counts = targets.whole(torch.stack([found, expected, p.new_tensor(float(paths.n_spans))]))
        value = self.of_counts(counts[0], counts[1], counts[2])[0]
        n = targets.n_rows()
        return replace_value(targets.whole(n) * value, n * value)


class Compound(core.Compound, Loss):
    def read_term(self, term: Any, name: str) -> core.Loss:
        return super().read_term(make_loss(term), name)

    def hold(self, terms: Dict[str, Any]) -> Any:
        return torch.nn.ModuleDict(terms)

    def of_head(self, head: Head, targets: Targets) -> Tensor:
        if not targets.spec.crf and _is_closed(self):
            return super().of_head(head, targets)
        value = head.logits.sum() * 0.0
        for _, weight, leaf in self.terms():
            if weight:
                value = value + weight * leaf.of_head(head, targets)  # type: ignore[attr-defined]
        return value


class DiceCE(core.DiceCE, Compound):
    term_classes = (CrossEntropy, Dice)


def _is_closed(loss: Any) -> bool:
    """Whether a loss, where there is no CRF, is what its `compute_loss` says."""
    ours = (Loss.of_head, CrossEntropy.of_head, EntityDice.of_head, Compound.of_head)
    all_of_it = (loss, *(leaf for _, _, leaf in loss.terms()))
    return all(type(part).of_head in ours for part in all_of_it)


# What users write and model files hold for a loss; None is the model's stock loss.
LossLike = Union[Loss, str, Dict[str, Any], None]


def make_loss(spec: LossLike, owner: str = "flair_dice.make_loss") -> Any:
    """A loss from what users write and model files hold; a loss is returned as it is.

    Args:
        spec: ``"DiceCE"``, ``{"name": "DiceCE", "weight": 1.0}`` or a loss. Losses of third
            parties are found by their names once they are imported.
        owner: How messages call what it is for.

    Raises:
        ValueError: For anything else; it names the owner.

    Example:
        >>> make_loss({"name": "DiceCE", "weight": 2.0}).to_dict()["weight"]
        2.0
    """
    return core.make_loss(spec, Loss, owner)
