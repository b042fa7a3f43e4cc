"""Targets: what is known of a batch, as tensors that every loss reads alike."""

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from .formulas import Total
from .totals import whole


class Labels(NamedTuple):
    """What a model says of its classes. It stays the same from batch to batch.

    owner: how to call it in messages. names: the label of each column. background: names that
    stand for "none of them" (NER's O), left out of set-level counts unless the user says
    otherwise. sequence: whether the rows are the tokens of sentences in their order, which
    entity-level losses need. crf: whether a CRF makes the probabilities.
    """

    owner: str
    names: Optional[Tuple[str, ...]] = None
    background: Tuple[str, ...] = ()
    sequence: bool = True
    crf: bool = False

    def columns(self, wanted: Sequence[Union[str, int]], option: str) -> List[int]:
        """The columns of labels given by name or by id.

        Raises a ValueError that names the owner, the option and the label.
        """
        columns = []
        for label in wanted:
            if isinstance(label, int) and not isinstance(label, bool):
                if label < 0 or (self.names is not None and label >= len(self.names)):
                    n = "?" if self.names is None else len(self.names)
                    raise ValueError(
                        f"{self.owner}: {option} has class id {label}, but there are {n} classes."
                    )
                columns.append(label)
            elif self.names is None:
                raise ValueError(
                    f"{self.owner}: {option} has the label {label!r}, but the loss was given no "
                    "label names. Pass names=[...], or use class ids."
                )
            elif label not in self.names:
                raise ValueError(
                    f"{self.owner}: {option} has the label {label!r}, which is none of its "
                    f"labels: {', '.join(self.names)}."
                )
            else:
                columns.append(self.names.index(label))
        return columns


@dataclass
class Targets:
    """A batch's truth.

    y: floats ``(N, C)``, 1 where the row is of the class (one-hot, multi-hot or soft).
    mask: None if all is known, else floats ``(N, C)``, 1 known and 0 missing. A row whose
    only known cells are 0 says "not this class". lengths: rows of each sentence. total: from
    this batch's sums to those of the set that it is a part of (see totals.py).
    """

    y: Tensor
    labels: Labels
    mask: Optional[Tensor] = None
    lengths: Optional[Sequence[int]] = None
    total: Total = whole

    def known(self) -> Tensor:
        """``(N, C)``: 1 where the truth is known."""
        return torch.ones_like(self.y) if self.mask is None else self.mask

    def n_rows(self) -> Tensor:
        """How many rows have any known cell: a scalar of y's type."""
        if self.mask is None:
            return self.y.new_tensor(float(self.y.shape[0]))
        return self.mask.any(dim=1).to(self.y.dtype).sum()

    def negatives(self) -> Tensor:
        """``(N, C)``: 1 for the known cells of rows that only say what they are not."""
        if self.mask is None:
            return torch.zeros_like(self.y)
        row = (self.y * self.mask).sum(dim=1) == 0
        row &= ~self.mask.bool().all(dim=1)
        return self.mask * row[:, None]

    def ids(self) -> List[int]:
        """The class of each row, -1 where it is not known."""
        known = (self.y * self.known()).amax(dim=1) > 0
        return torch.where(known, self.y.argmax(dim=1), -1).tolist()


def read_targets(
    targets: Tensor,
    mask: Optional[Tensor],
    like: Tensor,
    labels: Labels,
    lengths: Optional[Sequence[int]] = None,
    total: Total = whole,
) -> Targets:
    """Targets for logits ``like`` ``(N, C)``, of their type and on their device.

    targets: class ids ``(N,)``, of an integer type, or rows ``(N, C)``: one-hot, soft or
    multi-hot. mask: None or, 1 (or True) where the truth is known, ``(N,)`` or ``(N, C)``. What
    stands in masked cells does not matter. Raises a ValueError if shapes do not fit, or for an
    id that is no class.
    """
    n_rows, n_classes = like.shape
    if mask is not None:
        if mask.shape not in ((n_rows,), (n_rows, n_classes)):
            raise ValueError(
                f"{labels.owner}: mask must have the shape ({n_rows},) or ({n_rows}, {n_classes}), "
                f"got {tuple(mask.shape)}."
            )
        mask = mask.bool()
        mask = mask[:, None].expand(n_rows, n_classes) if mask.ndim == 1 else mask
    if targets.shape == (n_rows,) and not targets.is_floating_point():
        ids = targets.long()
        if mask is not None:
            ids = torch.where(mask.any(dim=1), ids, 0)
        wrong = (ids < 0) | (ids >= n_classes)
        if wrong.any():
            raise ValueError(
                f"{labels.owner}: class id {int(ids[wrong][0])} is not one of 0 to "
                f"{n_classes - 1}. Rows of unknown class are left out with mask."
            )
        y = torch.zeros_like(like).scatter_(1, ids[:, None], 1.0)
    elif targets.shape == like.shape:
        y = targets.to(like.dtype)
        if mask is not None:
            y = torch.where(mask, y, 0.0)
    else:
        raise ValueError(
            f"{labels.owner}: targets must be class ids ({n_rows},), of an integer type, or rows "
            f"({n_rows}, {n_classes}), got {tuple(targets.shape)} of {targets.dtype}."
        )
    if lengths is not None and sum(lengths) != n_rows:
        raise ValueError(f"{labels.owner}: lengths add up to {sum(lengths)}, not to {n_rows} rows.")
    return Targets(y, labels, None if mask is None else mask.to(like.dtype), lengths, total)
