"""Targets: what is known of a batch, as arrays that every loss reads alike."""

from dataclasses import dataclass, replace
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy

from . import arrays
from .arrays import Array, namespace
from .labels import LabelSpec
from .options import listed

MISSING = -1
# What stands for "unknown" in the ids and rows of torch and Hugging Face.
IGNORED = -100


@dataclass
class Targets:
    """A batch's targets: ``ids`` where each row has one class or none, else ``y``.

    Attributes:
        spec: The classes.
        n_classes: C, the number of columns.
        like: An array of the type and on the device of all others here.
        ids: Ints ``(N,)``, the class of each row; what stands in rows of weight 0 means nothing.
        y: Floats ``(N, C)``, 1 where the row is of the class (one-hot, multi-hot or soft).
        mask: None if all of y is known, else floats ``(N, C)``, 1 known and 0 missing. A row
            whose only known cells are 0 says "not this class".
        weights: None, or floats ``(N,)``: how much each row counts; 0 where it is missing.
        counted: None, or floats ``(N,)``: 0 for rows that set-level counts leave out because
            their class is ambiguous.
        lengths: Rows of each document, where rows are the tokens of documents.
    """

    spec: LabelSpec
    n_classes: int
    like: Array
    ids: Optional[Array] = None
    y: Optional[Array] = None
    mask: Optional[Array] = None
    weights: Optional[Array] = None
    counted: Optional[Array] = None
    lengths: Optional[Sequence[int]] = None

    def __post_init__(self) -> None:
        self._n_rows: Optional[Array] = None

    @property
    def size(self) -> int:
        """N, the number of rows, known or not."""
        given = self.ids if self.y is None else self.y
        assert given is not None
        return given.shape[0]

    def rows(self, rows: slice) -> "Targets":
        """Some of the rows; with their lengths, if they are whole documents."""
        names = ("ids", "y", "mask", "weights", "counted")
        given = {name: getattr(self, name) for name in names}
        taken = {name: array[rows, ...] for name, array in given.items() if array is not None}
        lengths = None
        if self.lengths is not None:
            ends = numpy.cumsum([0, *self.lengths])
            first, last = numpy.searchsorted(ends, [rows.start, rows.stop], side="left")
            lengths = list(self.lengths[first:last])
        return replace(self, lengths=lengths, **taken)

    def documents(self, most_rows: int) -> List[slice]:
        """Rows of whole documents, as many as are at most so many rows, or are one document."""
        if self.lengths is None:
            return [slice(0, self.size)]
        blocks, first, last = [], 0, 0
        for length in self.lengths:
            if last > first and last + length - first > most_rows:
                blocks.append(slice(first, last))
                first = last
            last += length
        return [*blocks, slice(first, last)]

    def n_rows(self) -> Array:
        """How many rows have any known cell, by weight: a scalar array."""
        if self._n_rows is None:
            xp = namespace(self.like)
            if self.mask is not None:
                self._n_rows = xp.sum(xp.max(self.known(), axis=1)) if self.size else xp.sum(self.y)
            elif self.weights is not None:
                self._n_rows = xp.sum(self.weights)
            else:
                self._n_rows = arrays.like(float(self.size), self.like)
        return self._n_rows

    def known(self) -> Array:
        """``(N, C)``: the weight of each cell of ``y``, 0 where the target is missing."""
        known = self.mask
        if known is None:
            known = namespace(self.like).ones_like(self.y)
        return known if self.weights is None else known * self.weights[:, None]

    def known_rows(self) -> Array:
        """``(N,)``: how much each row counts, 0 where nothing of it is known."""
        if self.mask is not None:
            return namespace(self.like).max(self.known(), axis=1)
        if self.weights is not None:
            return self.weights
        like = self.like
        return namespace(like).ones(self.size, dtype=like.dtype, device=arrays.device(like))

    def known_only(self, cells: Array) -> Array:
        """Cells ``(N, C)`` times the mask; the same array where there is none."""
        return cells if self.mask is None else cells * self.mask

    def weighted(self, rows: Array) -> Array:
        """Values of rows ``(N,)`` times how much each counts."""
        return rows if self.weights is None else rows * self.weights

    def column_sums(self, cells: Array) -> Array:
        """``(C,)``: the sums over rows of the known cells ``(N, C)``, by weight."""
        cells = self.known_only(cells)
        return arrays.column_sums(cells) if self.weights is None else self.weights @ cells

    def negatives(self) -> Optional[Array]:
        """``(N, C)``: 1 for known cells of rows that only say what they are not; None without."""
        if self.mask is None or self.y is None:
            return None
        xp = namespace(self.like)
        row = (xp.sum(self.y * self.mask, axis=1) == 0) & (xp.min(self.mask, axis=1) == 0)
        return self.mask * xp.astype(row, self.like.dtype)[:, None]

    def dense(self) -> "Targets":
        """The same with ``y`` in place of ``ids``."""
        if self.ids is None:
            return self
        xp = namespace(self.like)
        columns = xp.arange(self.n_classes, device=arrays.device(self.ids))
        y = xp.astype(self.ids[:, None] == columns[None, :], self.like.dtype)
        return replace(self, ids=None, y=y)

    def best_ids(self) -> numpy.ndarray:
        """The class of each row on the host, MISSING where it is not known."""
        if self.ids is not None:
            ids = arrays.to_numpy(self.ids)
            known = ids >= 0 if self.weights is None else arrays.to_numpy(self.weights) > 0
            return numpy.where(known, ids, MISSING)
        y = arrays.to_numpy(self.known_only(self.y)) if self.y is not None else numpy.zeros((0, 1))
        if not y.size:
            return numpy.zeros(len(y), dtype="int64")
        known = y.max(axis=1) > 0
        if self.weights is not None:
            known &= arrays.to_numpy(self.weights) > 0
        return numpy.where(known, y.argmax(axis=1), MISSING)


def from_ids(
    ids: Union[Sequence[int], numpy.ndarray],
    n_classes: int,
    spec: LabelSpec,
    like: Array,
    negatives: Sequence[Tuple[int, int]] = (),
    lengths: Optional[Sequence[int]] = None,
) -> Targets:
    """Targets from class ids on the host, MISSING where unknown.

    Args:
        ids: Ints ``(N,)``.
        n_classes: C.
        spec: The classes.
        like: An array of the type and on the device that is wanted.
        negatives: (row, column) pairs of "not this class".
        lengths: Rows of each document.

    Raises:
        ValueError: For an id that is no class.
    """
    gold: numpy.ndarray = numpy.asarray(ids, dtype="int64").reshape(-1)
    if gold.size and not MISSING <= gold.min() <= gold.max() < n_classes:
        wrong = gold[(gold >= n_classes) | (gold < MISSING)][0]
        raise spec.config_error(f"class id {wrong} is not one of 0 to {n_classes - 1}.")
    known = gold != MISSING
    n, device = len(gold), arrays.device(like)
    xp = namespace(like)
    if not negatives:
        weights = None if known.all() else arrays.like(known.astype("float32"), like)
        ids_ = xp.asarray(gold if weights is None else numpy.maximum(gold, 0), device=device)
        return Targets(spec, n_classes, like, ids=ids_, weights=weights, lengths=lengths)
    y = numpy.zeros((n, n_classes), dtype="float32")
    y[known, gold[known]] = 1.0
    mask = numpy.repeat(known[:, None], n_classes, axis=1).astype("float32")
    for row, column in negatives:
        mask[row, column] = 1.0
    return from_rows(arrays.like(y, like), arrays.like(mask, like), spec, lengths=lengths)


def from_labels(
    docs: Sequence[Sequence[Optional[str]]],
    spec: LabelSpec,
    like: Array,
    missing: Sequence[Union[str, int, None]] = (None,),
    neg_prefix: Optional[str] = None,
) -> Targets:
    """Targets from label strings, one sequence a document.

    Args:
        docs: Labels of each document's rows. ``missing`` ones are masked; ``neg_prefix`` + label
            says "not this label".
        spec: The classes, with names.
        like: An array of the type and on the device that is wanted.
        missing: What stands for no annotation.
        neg_prefix: See docs.

    Raises:
        ValueError: For a label that there is not; it names the owner and the label.
    """
    assert spec.names is not None
    index: Dict[Union[str, int, None], int] = {name: i for i, name in enumerate(spec.names)}
    index.update({value: MISSING for value in missing})
    lengths = [len(doc) for doc in docs]
    labels = (label for doc in docs for label in doc)
    try:
        known = numpy.fromiter(map(index.__getitem__, labels), "int64", count=sum(lengths))
        return from_ids(known, len(spec.names), spec, like, lengths=lengths)
    except KeyError:
        pass
    ids: List[int] = []
    negatives: List[Tuple[int, int]] = []
    for doc in docs:
        for label in doc:
            if neg_prefix and label not in index and label and label.startswith(neg_prefix):
                column = spec.columns([label[len(neg_prefix) :]], "the annotation")[0]
                negatives.append((len(ids), column))
                ids.append(MISSING)
            elif label in index:
                ids.append(index[label])
            else:
                raise spec.config_error(
                    f"the data has the label {label!r}, which is none of its labels: "
                    f"{listed(spec.names)}. Add it before training (add_label, or labels in "
                    "its [initialize] block), or correct the data."
                )
    return from_ids(ids, len(spec.names), spec, like, negatives, lengths)


def from_rows(
    y: Array,
    mask: Optional[Array],
    spec: LabelSpec,
    weights: Optional[Array] = None,
    lengths: Optional[Sequence[int]] = None,
) -> Targets:
    """Targets from rows ``(N, C)`` of numbers from 0 to 1: one-hot, multi-hot or soft.

    Args:
        y: Floats ``(N, C)``. See `checked_rows` for what users write.
        mask: None, or floats ``(N, C)``, 0 where the target is missing.
        spec: The classes.
        weights: None, or floats ``(N,)``: how much each row counts.
        lengths: Rows of each document.
    """
    return Targets(spec, y.shape[1], y, y=y, mask=mask, weights=weights, lengths=lengths)


def checked_rows(y: Array, mask: Optional[Array], spec: LabelSpec) -> Tuple[Array, Optional[Array]]:
    """Rows of users, and what is known of them.

    Args:
        y: Floats ``(N, C)``: from 0 to 1 where the target is known; NaN or -100 is "unknown".
        mask: None, or floats ``(N, C)`` of 0 and 1. What stands in masked cells does not matter.
        spec: The classes.

    Returns:
        The rows, 0 where unknown, and what of them is known: floats ``(N, C)``, or None for all.

    Raises:
        ValueError: For a known number out of range.
    """
    xp = namespace(y)
    if not y.shape[0]:
        return y, mask
    if mask is None and float(xp.min(y)) >= 0 and float(xp.max(y)) <= 1:  # NaN is neither
        return y, None
    unknown = xp.isnan(y) | (y == IGNORED)
    if mask is not None:
        unknown = unknown | (mask == 0)
    y = xp.where(unknown, xp.zeros_like(y), y)
    low, high = float(xp.min(y)), float(xp.max(y))
    if low < 0 or high > 1:
        raise spec.config_error(
            f"targets must be from 0 to 1 ({IGNORED} or NaN where they are unknown), but range "
            f"from {low:g} to {high:g}."
        )
    return y, xp.astype(~unknown, y.dtype)
