"""Targets: what is known of a batch, as arrays that every loss reads alike."""

from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy

from . import arrays
from .arrays import Array, namespace
from .labels import LabelSpec

MISSING = -1
# From the sum over the rows at hand to the sum over the whole set that they are a part of.
Reduce = Callable[[Array], Array]


@dataclass
class Targets:
    """A batch's truth: ``ids`` where each row has one class or none, else ``y``.

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
        lengths: Rows of each document.
        reduce: From the sums over these rows to those over a set of which they are a part, such
            as a chunk of a batch. The value is then the part's share, and the gradients of all
            parts add up to the gradient of the set.
        at_hand: From the sums over these rows to those over all rows at hand, of which they may
            be a block.
        learning: Whether this batch is learned from, so that running counts count it.
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
    reduce: Optional[Reduce] = None
    at_hand: Optional[Reduce] = None
    learning: bool = True

    def __post_init__(self) -> None:
        self._n_rows: Optional[Array] = None

    def whole(self, part: Array) -> Array:
        """The sum over the whole set, from that over these rows."""
        return part if self.reduce is None else self.reduce(part)

    def of_batch(self, part: Array) -> Array:
        """The sum over all rows at hand, from that over these rows."""
        return part if self.at_hand is None else self.at_hand(part)

    def rows(self, rows: slice) -> "Targets":
        """Some of the rows."""
        names = ("ids", "y", "mask", "weights", "counted")
        given = {name: getattr(self, name) for name in names}
        cut = {name: a[rows, ...] for name, a in given.items() if a is not None}
        return replace(self, lengths=None, **cut)

    def n_rows(self) -> Array:
        """How many rows have any known cell, by weight: a scalar array."""
        if self._n_rows is None:
            xp = namespace(self.like)
            if self.mask is not None:
                self._n_rows = xp.sum(xp.max(self.known(), axis=1))
            elif self.weights is not None:
                self._n_rows = xp.sum(self.weights)
            else:
                n = (self.ids if self.ids is not None else self.y).shape[0]  # type: ignore[union-attr]
                self._n_rows = arrays.like(float(n), self.like)
        return self._n_rows

    def known(self) -> Array:
        """``(N, C)``: the weight of each cell of ``y``, 0 where the truth is missing."""
        known = self.mask
        if known is None:
            known = namespace(self.y).ones_like(self.y)
        return known if self.weights is None else known * self.weights[:, None]

    def of_known(self, cells: Array) -> Array:
        """Cells ``(N, C)`` times `known`; the same array where all is known."""
        if self.mask is None and self.weights is None:
            return cells
        return cells * self.known()

    def negatives(self) -> Optional[Array]:
        """``(N, C)``: the known cells of rows that only say what they are not; None without."""
        if self.mask is None:
            return None
        xp = namespace(self.like)
        row = (xp.sum(self.y * self.mask, axis=1) == 0) & (xp.min(self.mask, axis=1) == 0)
        return self.known() * xp.astype(row, self.like.dtype)[:, None]

    def dense(self) -> "Targets":
        """The same with ``y`` in place of ``ids``."""
        if self.ids is None:
            return self
        xp = namespace(self.like)
        columns = xp.arange(self.n_classes, device=self.ids.device)
        y = xp.astype(self.ids[:, None] == columns[None, :], self.like.dtype)
        return replace(self, ids=None, y=y)

    def best_ids(self) -> numpy.ndarray:
        """The class of each row on the host, MISSING where it is not known."""
        if self.ids is not None:
            ids = arrays.to_numpy(self.ids)
            known = ids >= 0 if self.weights is None else arrays.to_numpy(self.weights) > 0
            return numpy.where(known, ids, MISSING)
        y = arrays.to_numpy(self.y * self.known())
        if not y.size:
            return numpy.zeros(len(y), dtype="int64")
        return numpy.where(y.max(axis=1) > 0, y.argmax(axis=1), MISSING)


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
    n, device = len(gold), like.device
    xp = namespace(like)
    if not negatives:
        weights = None if known.all() else arrays.like(known.astype("float32"), like)
        gold = xp.asarray(gold if weights is None else numpy.maximum(gold, 0), device=device)
        return Targets(spec, n_classes, like, ids=gold, weights=weights, lengths=lengths)
    y = numpy.zeros((n, n_classes), dtype="float32")
    y[known, gold[known]] = 1.0
    mask = numpy.repeat(known[:, None], n_classes, axis=1).astype("float32")
    for row, column in negatives:
        mask[row, column] = 1.0
    y, mask = arrays.like(y, like), arrays.like(mask, like)
    return Targets(spec, n_classes, like, y=y, mask=mask, lengths=lengths)


def from_labels(
    docs: Sequence[Sequence[Optional[str]]],
    spec: LabelSpec,
    like: Array,
    missing: Sequence[Any] = (None,),
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
    index: Dict[Optional[str], int] = {name: i for i, name in enumerate(spec.names)}
    index.update({value: MISSING for value in missing})
    lengths = [len(doc) for doc in docs]
    labels = (label for doc in docs for label in doc)
    try:
        ids: Any = numpy.fromiter(map(index.__getitem__, labels), "int64", count=sum(lengths))
        return from_ids(ids, len(spec.names), spec, like, lengths=lengths)
    except KeyError:
        pass
    ids, negatives = [], []
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
                    f"{', '.join(spec.names)}. Add it before training (add_label, or labels in "
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
    """Targets from rows ``(N, C)``, one-hot, multi-hot or soft, and what is known of them."""
    return Targets(spec, y.shape[1], y, y=y, mask=mask, weights=weights, lengths=lengths)


def read_targets(
    targets: Any,
    like: Array,
    spec: LabelSpec,
    lengths: Optional[Sequence[int]],
    missing_value: Optional[Union[str, int]],
    neg_prefix: Optional[str],
) -> Targets:
    """Targets from whatever thinc's losses take, for guesses ``like`` of ``(N, C)``.

    Args:
        targets: For one array (``lengths`` None) class ids ``(N,)``, rows ``(N, C)`` or a list of
            label strings; for a list of arrays, a list of these. Missing are None,
            ``missing_value`` and, in rows ``(N, C)``, NaN.
        like: The guesses.
        spec: The classes.
        lengths: Rows of each document, or None.
        missing_value: See targets.
        neg_prefix: See `from_labels`.

    Raises:
        ValueError: If shapes or labels do not fit.
    """
    xp, n_classes = namespace(like), like.shape[1]
    parts = [targets] if lengths is None else list(targets)
    sizes = [like.shape[0]] if lengths is None else list(lengths)
    if len(parts) != len(sizes):
        raise spec.config_error(f"{len(sizes)} guesses, but {len(parts)} truths.")
    for part, size in zip(parts, sizes):
        if len(part) != size:
            raise spec.config_error(f"{size} rows of guesses, but {len(part)} truths.")
    first = next((part for part in parts if len(part)), ())
    if getattr(first, "ndim", 1) == 2:
        y = arrays.like(arrays.concat([xp.asarray(part) for part in parts]), like)
        if y.shape[1] != n_classes:
            raise spec.config_error(f"{n_classes} columns of guesses, but {y.shape[1]} of truths.")
        nan = xp.isnan(y)
        if not xp.any(nan):
            return from_rows(y, None, spec, lengths=sizes)
        mask = xp.astype(~nan, like.dtype)
        return from_rows(xp.where(nan, xp.zeros_like(y), y), mask, spec, lengths=sizes)
    if any(isinstance(value, str) for part in parts for value in _items(part)):
        if spec.names is None:
            raise spec.config_error(
                "cannot read label strings without names. Pass names=[...] when you create the "
                "loss."
            )
        docs = [_items(part) for part in parts]
        return from_labels(docs, spec, like, (None, missing_value), neg_prefix)
    ids = [
        MISSING if value is None or value == missing_value else _class_id(value, spec)
        for part in parts
        for value in _items(part)
    ]
    return from_ids(ids, n_classes, spec, like, lengths=sizes)


def _class_id(value: Any, spec: LabelSpec) -> int:
    if int(value) != value or value < 0:
        raise spec.config_error(
            f"{value!r} is no class id. For missing values use None or set missing_value."
        )
    return int(value)


def _items(part: Any) -> List[Any]:
    """The items of a sequence or of a 1-d array, as Python objects."""
    if isinstance(part, list):  # a copy would take as much as its class ids
        return part
    return part.tolist() if hasattr(part, "tolist") else list(part)
