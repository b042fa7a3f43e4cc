"""Reading torch targets: what torch users write as what `dice_core` reads."""

from typing import Optional, Sequence

import torch
from torch import Tensor

from dice_core.labels import LabelSpec
from dice_core.targets import Reduce, Targets

# The class id of rows that torch's own losses leave out.
IGNORED = -100


def read_targets(
    targets: Tensor,
    mask: Optional[Tensor],
    like: Tensor,
    spec: LabelSpec,
    lengths: Optional[Sequence[int]] = None,
    reduce: Optional[Reduce] = None,
) -> Targets:
    """Targets for logits ``like`` ``(N, C)``, of their type and on their device.

    Args:
        targets: Class ids ``(N,)``, of an integer type, -100 for unknown, or rows ``(N, C)``:
            one-hot, soft or multi-hot.
        mask: None or, 1 (or True) where the truth is known, ``(N,)`` or ``(N, C)``. What stands
            in masked cells does not matter.
        like: The logits.
        spec: The classes.
        lengths: Rows of each sentence.
        reduce: See `dice_core.targets.Targets`.

    Raises:
        ValueError: If shapes do not fit, or for an id that is no class.
    """
    n_rows, n_classes = like.shape
    if mask is not None:
        if mask.shape not in ((n_rows,), (n_rows, n_classes)):
            raise spec.config_error(
                f"mask must have the shape ({n_rows},) or ({n_rows}, {n_classes}), got "
                f"{tuple(mask.shape)}."
            )
        mask = mask.bool()
    if lengths is not None and sum(lengths) != n_rows:
        raise spec.config_error(f"lengths add up to {sum(lengths)}, not to {n_rows} rows.")
    if targets.shape == (n_rows,) and not targets.is_floating_point():
        ids = targets.long()
        known = mask if mask is None or mask.ndim == 1 else mask.any(dim=1)
        if known is not None:
            ids = torch.where(known, ids, 0)
        if n_rows:
            low, high = torch.aminmax(ids)
        if n_rows and (low.item() < 0 or high.item() >= n_classes):
            wrong = (ids < 0) | (ids >= n_classes)
            if (ids[wrong] == IGNORED).all():
                there = targets != IGNORED
                if mask is not None:
                    there = mask & (there if mask.ndim == 1 else there[:, None])
                ids = torch.where(targets == IGNORED, 0, targets)
                return read_targets(ids, there, like, spec, lengths, reduce)
            raise spec.config_error(
                f"class id {int(ids[wrong][0])} is not one of 0 to {n_classes - 1}. Rows of "
                "unknown class are left out with mask, or are -100."
            )
        read = Targets(spec, n_classes, like, ids=ids, lengths=lengths, reduce=reduce)
        if mask is not None and mask.ndim == 2:
            read = read.dense()
            read.mask = mask.to(like.dtype)
            read.y = read.y * read.mask  # type: ignore[operator]
        elif mask is not None:
            read.weights = mask.to(like.dtype)
        return read
    if targets.shape != like.shape:
        raise spec.config_error(
            f"targets must be class ids ({n_rows},), of an integer type, or rows ({n_rows}, "
            f"{n_classes}), got {tuple(targets.shape)} of {targets.dtype}."
        )
    y = targets.to(like.dtype)
    if mask is not None:
        mask = mask[:, None].expand(n_rows, n_classes) if mask.ndim == 1 else mask
        y, mask = torch.where(mask, y, 0.0), mask.to(like.dtype)
    return Targets(spec, n_classes, like, y=y, mask=mask, lengths=lengths, reduce=reduce)
