"""Targets: what is known of a batch, as arrays that every loss reads alike."""

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy
from thinc.api import get_array_module

from .errors import mistake

Array = Any
MISSING = -1


class Labels(NamedTuple):
    """What a component says of its classes. It stays the same from batch to batch.

    owner: how to call it in messages. names: the label of each column. background: names
    that stand for "none of them" (NER's O), left out of set-level counts unless the user
    says otherwise. sequence: whether the rows are the tokens of documents in their order,
    which entity-level losses need. label_smoothing: the component's own, for cross-entropies.
    """

    owner: str
    names: Optional[Tuple[str, ...]] = None
    background: Tuple[str, ...] = ()
    sequence: bool = True
    label_smoothing: float = 0.0

    def columns(self, wanted: Sequence[Union[str, int]], option: str) -> List[int]:
        """The columns of labels given by name or by id.

        Raises a ConfigValidationError that names the owner, the option and the label.
        """
        columns = []
        for label in wanted:
            if isinstance(label, int) and not isinstance(label, bool):
                if label < 0 or (self.names is not None and label >= len(self.names)):
                    n = "?" if self.names is None else len(self.names)
                    raise mistake(
                        f"{self.owner}: {option} has class id {label}, but there are {n} classes."
                    )
                columns.append(label)
            elif self.names is None:
                raise mistake(
                    f"{self.owner}: {option} has the label {label!r}, but the loss was given no "
                    "label names. Pass names=[...], or use class ids."
                )
            elif label not in self.names:
                raise mistake(
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
    only known cells are 0 says "not this class". lengths: rows of each document.
    counted: None, or floats ``(N,)``, 0 for rows that set-level counts leave out because
    their class is ambiguous. weights: None, or floats ``(N,)``, how much each row counts.
    """

    y: Array
    labels: Labels
    mask: Optional[Array] = None
    lengths: Optional[Sequence[int]] = None
    counted: Optional[Array] = None
    weights: Optional[Array] = None

    def known(self) -> Array:
        """``(N, C)``: the weight of each cell, 0 where the truth is missing."""
        known = get_array_module(self.y).ones_like(self.y) if self.mask is None else self.mask
        return known if self.weights is None else known * self.weights[:, None]

    def n_rows(self) -> float:
        """How many rows have any known cell, by weight."""
        if self.mask is None and self.weights is None:
            return float(self.y.shape[0])
        return float(self.known().max(axis=1).sum())

    def negatives(self) -> Array:
        """``(N, C)``: 1 for the known cells of rows that only say what they are not."""
        xp = get_array_module(self.y)
        if self.mask is None:
            return xp.zeros_like(self.y)
        row = (self.y * self.mask).sum(axis=1) == 0
        row &= ~self.mask.all(axis=1)
        return self.known() * row[:, None]


def from_ids(
    ids: Sequence[int],
    n_classes: int,
    labels: Labels,
    like: Array,
    negatives: Sequence[Tuple[int, int]] = (),
    lengths: Optional[Sequence[int]] = None,
) -> Targets:
    """Targets from class ids, MISSING where unknown, on the device and of the type of ``like``.

    negatives: (row, column) pairs of "not this class".
    """
    xp = get_array_module(like)
    gold: Any = numpy.asarray(ids, dtype="int64").reshape(-1)
    y = numpy.zeros((len(gold), n_classes), dtype=like.dtype)
    known = gold != MISSING
    wrong = known & ((gold < 0) | (gold >= n_classes))
    if wrong.any():
        raise mistake(
            f"{labels.owner}: class id {gold[wrong][0]} is not one of 0 to {n_classes - 1}."
        )
    rows = numpy.flatnonzero(known)
    y[rows, gold[rows]] = 1.0
    mask = None
    if len(rows) < len(gold):
        mask = numpy.zeros_like(y)
        mask[rows] = 1.0
        for row, column in negatives:
            mask[row, column] = 1.0
        mask = xp.asarray(mask)
    return Targets(xp.asarray(y), labels, mask, lengths)


def from_labels(
    docs: Sequence[Sequence[Optional[str]]],
    labels: Labels,
    like: Array,
    missing: Sequence[Any] = (None,),
    neg_prefix: Optional[str] = None,
) -> Targets:
    """Targets from label strings, one sequence a document.

    ``missing`` strings are masked; ``neg_prefix`` + label says "not this label". Raises a
    ConfigValidationError that names the owner and the label for a label it does not have.
    """
    assert labels.names is not None
    index = {name: i for i, name in enumerate(labels.names)}
    index.update({value: MISSING for value in missing})  # type: ignore[misc]
    try:
        ids = [index[label] for doc in docs for label in doc]  # type: ignore[index]
        return from_ids(ids, len(labels.names), labels, like, lengths=[len(doc) for doc in docs])
    except KeyError:
        pass
    ids, negatives = [], []
    for doc in docs:
        for label in doc:
            if neg_prefix and label not in index and label and label.startswith(neg_prefix):
                column = labels.columns([label[len(neg_prefix) :]], "the annotation")[0]
                negatives.append((len(ids), column))
                ids.append(MISSING)
            elif label in index:
                ids.append(index[label])  # type: ignore[index]
            else:
                raise mistake(
                    f"{labels.owner}: the data has the label {label!r}, which is none of its "
                    f"labels: {', '.join(labels.names)}. Add it before training (add_label, or "
                    "labels in its [initialize] block), or correct the data."
                )
    return from_ids(ids, len(labels.names), labels, like, negatives, [len(doc) for doc in docs])


def read_truths(
    truths: Any,
    n_classes: int,
    labels: Labels,
    like: Array,
    lengths: Optional[Sequence[int]],
    missing_value: Optional[Union[str, int]],
    neg_prefix: Optional[str],
) -> Targets:
    """Targets from whatever thinc's losses take, for guesses ``like`` of ``(N, C)``.

    truths: for one array (``lengths`` None) class ids ``(N,)``, rows ``(N, C)`` or a list of
    label strings; for a list of arrays, a list of these. Missing are None, ``missing_value``
    and, in rows ``(N, C)``, NaN. Raises a ConfigValidationError if shapes or labels do not fit.
    """
    xp = get_array_module(like)
    parts = [truths] if lengths is None else list(truths)
    sizes = [like.shape[0]] if lengths is None else list(lengths)
    if len(parts) != len(sizes):
        raise mistake(f"{labels.owner}: {len(sizes)} guesses, but {len(parts)} truths.")
    for part, size in zip(parts, sizes):
        if len(part) != size:
            raise mistake(f"{labels.owner}: {size} rows of guesses, but {len(part)} truths.")
    first = next((part for part in parts if len(part)), ())
    if getattr(first, "ndim", 1) == 2:
        y = xp.concatenate([xp.asarray(part) for part in parts]).astype(like.dtype)
        if y.shape[1] != n_classes:
            raise mistake(
                f"{labels.owner}: {n_classes} columns of guesses, but {y.shape[1]} of truths."
            )
        nan = xp.isnan(y)
        if not nan.any():
            return Targets(y, labels, None, sizes)
        mask = (~nan).astype(like.dtype)
        return Targets(xp.where(nan, 0.0, y).astype(like.dtype), labels, mask, sizes)
    if any(isinstance(value, str) for part in parts for value in _items(part)):
        if labels.names is None:
            raise mistake(
                f"{labels.owner}: cannot read label strings without names. Pass names=[...] when "
                "you create the loss."
            )
        docs = [_items(part) for part in parts]
        return from_labels(docs, labels, like, (None, missing_value), neg_prefix)
    ids = [
        MISSING if value is None or value == missing_value else _class_id(value, labels)
        for part in parts
        for value in _items(part)
    ]
    return from_ids(ids, n_classes, labels, like, lengths=sizes)


def _class_id(value: Any, labels: Labels) -> int:
    if int(value) != value or value < 0:
        raise mistake(
            f"{labels.owner}: {value!r} is no class id. For missing values use None or set "
            "missing_value."
        )
    return int(value)


def _items(part: Any) -> List[Any]:
    """The items of a sequence or of a 1-d array, as Python objects."""
    return part.tolist() if hasattr(part, "tolist") else list(part)
