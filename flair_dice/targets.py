"""Reading torch targets: what torch users write as what `dice_core` reads."""

from collections.abc import Sequence
from typing import Optional, cast

import torch
from torch import Tensor

from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.targets import IGNORED, Targets, checked_rows, from_rows


def read_targets(
    targets: Tensor,
    mask: Optional[Tensor],
    like: Tensor,
    spec: LabelSpec,
    lengths: Optional[Sequence[int]] = None,
    sample_weight: Optional[Tensor] = None,
) -> Targets:
    """Targets for logits ``like`` ``(N, C)``, of their type and on their device.

    Args:
        targets: Class ids ``(N,)``, of an integer type, -100 for unknown, or rows ``(N, C)``
            from 0 to 1, one-hot, soft or multi-hot, -100 or NaN for unknown.
        mask: None or, 1 (or True) where the target is known, ``(N,)`` or ``(N, C)``. Masked
            values do not matter.
        like: The logits.
        spec: The classes.
        lengths: Rows of each sentence.
        sample_weight: None, or floats ``(N,)`` from 0 on: how much each row counts.

    Raises:
        ValueError: If shapes or numbers do not fit, or for an id that is no class.
    """
    n_rows, n_classes = like.shape
    if lengths is not None and sum(lengths) != n_rows:
        raise spec.config_error(f"lengths add up to {sum(lengths)}, not to {n_rows} rows.")
    known = None if mask is None else _known(mask, like, spec)
    weights = None if sample_weight is None else _weights(sample_weight, like, spec)
    if targets.shape == like.shape:
        y = targets.to(like.dtype)
        if known is not None and known.ndim == 1:
            y = torch.where(known[:, None], y, 0.0)
            weights = _times(known, weights, like)
            known = None
        cells = None if known is None else known.to(like.dtype)
        rows = checked_rows(cast(Array, y), cast(Optional[Array], cells), spec)
        return from_rows(*rows, spec, cast(Optional[Array], weights), lengths)
    if targets.shape != (n_rows,) or targets.is_floating_point():
        raise spec.config_error(
            f"targets must be class ids ({n_rows},), of an integer type, or rows ({n_rows}, "
            f"{n_classes}), got {tuple(targets.shape)} of {targets.dtype}."
        )
    ids = targets.long()
    by_row = known.any(dim=1) if known is not None and known.ndim == 2 else known
    if by_row is not None:
        ids = torch.where(by_row, ids, 0)
    if not on_host(ids):  # an id that is no class fails on the device, as in F.cross_entropy
        there = ids != IGNORED
        by_row = there if by_row is None else by_row & there
        ids = torch.where(there, ids, 0)
    elif n_rows:
        low, high = (number.item() for number in torch.aminmax(ids))
        if low == IGNORED:
            there = ids != IGNORED
            by_row = there if by_row is None else by_row & there
            ids = torch.where(there, ids, 0)
            low, high = (number.item() for number in torch.aminmax(ids))
        if low < 0 or high >= n_classes:
            raise spec.config_error(
                f"class id {low if low < 0 else high} is not one of 0 to {n_classes - 1}. Rows of "
                f"unknown class are left out with mask, or are {IGNORED}."
            )
    weights = weights if by_row is None else _times(by_row, weights, like)
    read = Targets(
        spec,
        n_classes,
        cast(Array, like),
        ids=cast(Array, ids),
        weights=cast(Optional[Array], weights),
        lengths=lengths,
    )
    if known is None or known.ndim == 1:
        return read
    read = read.dense()
    read.mask = cast(Array, known.to(like.dtype))
    return read


def on_host(tensor: Tensor) -> bool:
    """Whether a number of it can be read at no cost. Elsewhere the host would wait for all that
    the device still has to do.
    """
    return tensor.device.type == "cpu"


def as_tensor(values: object, name: str, like: Tensor, spec: LabelSpec) -> Tensor:
    """A tensor of targets and the like: NumPy arrays and lists of numbers are accepted, too.

    Raises:
        ValueError: For what is none; it names the argument.
    """
    if isinstance(values, Tensor):
        return values
    try:
        return torch.as_tensor(values, device=like.device)
    except (TypeError, ValueError, RuntimeError):
        raise spec.config_error(
            f"{name} must be a tensor, or an array or list of numbers, got "
            f"{type(values).__name__}. Labels are class ids: names.index(label) of each."
        ) from None


def _known(mask: Tensor, like: Tensor, spec: LabelSpec) -> Tensor:
    if mask.shape not in (like.shape[:1], like.shape):
        raise spec.config_error(
            f"mask must have the shape ({len(like)},) or {tuple(like.shape)}, got "
            f"{tuple(mask.shape)}."
        )
    if mask.dtype != torch.bool and ((mask != 0) & (mask != 1)).any():
        raise spec.config_error(
            "mask must be 0 or 1 (or bools), whether a target is known. How much a row counts is "
            "sample_weight."
        )
    return mask.bool()


def _weights(weights: Tensor, like: Tensor, spec: LabelSpec) -> Tensor:
    if weights.shape != like.shape[:1]:
        raise spec.config_error(
            f"sample_weight must have the shape ({len(like)},), got {tuple(weights.shape)}."
        )
    if not (weights.isfinite() & (weights >= 0)).all():
        raise spec.config_error("sample_weight must be finite numbers from 0 on.")
    return weights.detach().to(like.dtype)


def _times(known: Tensor, weights: Optional[Tensor], like: Tensor) -> Tensor:
    return known.to(like.dtype) if weights is None else known * weights
