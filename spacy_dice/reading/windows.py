"""Windows: pairs of a question and a part of a text, as an encoder reads them."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy

from .questions import Extent


class Pair(NamedTuple):
    """What is encoded together."""

    question: str
    text: str


class Window(NamedTuple):
    """A question and as much of its text as fits beside it.

    pair: which of the pairs. ids, types: ints ``(pieces,)``, what the encoder takes; types is None
    for encoders without. first, last: the pieces of the text are those from first up to last.
    offsets: ints ``(last - first, 2)``, each of these pieces' first and last character
    (exclusive). cls: the piece that stands for "no answer here", None if there is none.
    """

    pair: int
    ids: numpy.ndarray
    types: Optional[numpy.ndarray]
    first: int
    last: int
    offsets: numpy.ndarray
    cls: Optional[int]

    def find(self, extent: Extent) -> Optional[Tuple[int, int]]:
        """The first and last piece (inclusive) of an answer, None unless all of it is here."""
        first, last = self.touch(extent)
        return None if first is None or last is None else (first, last)

    def touch(self, extent: Extent) -> Tuple[Optional[int], Optional[int]]:
        """The first and last piece of an answer; None for one that is not here."""
        start, end = extent
        begins, ends = self.offsets[:, 0], self.offsets[:, 1]
        inside = numpy.flatnonzero((ends > start) & (begins < end) & (ends > begins))
        if not len(inside):
            return None, None
        starts_here, ends_here = begins[0] <= start, ends[-1] >= end
        first = self.first + int(inside[0]) if starts_here else None
        last = self.first + int(inside[-1]) if ends_here else None
        return first, last


def in_batches(windows: Sequence[Window], max_items: int) -> List[List[int]]:
    """Indices of windows of like length, longest first: as many as fit in a padded batch of
    ``max_items`` pieces, one at least.
    """
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
    batches: List[List[int]] = []
    for i in order:
        if not batches or (len(batches[-1]) + 1) * len(windows[batches[-1][0]].ids) > max_items:
            batches.append([])
        batches[-1].append(i)
    return batches


def pad(windows: Sequence[Window], pad_id: int) -> Any:
    """Arrays for the encoder: ids, types (or None) and lengths."""
    longest = max(len(window.ids) for window in windows)
    ids = numpy.full((len(windows), longest), pad_id, dtype="int64")
    types = None if windows[0].types is None else numpy.zeros_like(ids)
    lengths = numpy.array([len(window.ids) for window in windows])
    for row, window in enumerate(windows):
        ids[row, : lengths[row]] = window.ids
        if types is not None and window.types is not None:
            types[row, : lengths[row]] = window.types
    return ids, types, lengths


def softmax_targets(
    windows: Sequence[Window], answers: Sequence[Sequence[Extent]], length: int
) -> numpy.ndarray:
    """``(2 * windows, length)``: in each window the share of each piece in being where the answer
    starts, and after all of them where it ends. Without an answer in the window it is the piece
    that stands for none; several answers share alike.
    """
    y = numpy.zeros((2, len(windows), length), dtype="float32")
    for row, window in enumerate(windows):
        found = [window.find(extent) for extent in answers[window.pair]]
        inside: List[Any] = [pieces for pieces in found if pieces is not None]
        for first, last in inside or [(window.cls, window.cls)]:
            y[0, row, first] += 1.0 / max(1, len(inside))
            y[1, row, last] += 1.0 / max(1, len(inside))
    return y.reshape(-1, length)


def sigmoid_targets(
    windows: Sequence[Window], answers: Sequence[Sequence[Extent]]
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """``(pieces of the texts, 2)``: whether an answer starts there and whether one ends; and what
    is known of it: of an answer that is cut by the window's edge, the end that is seen is not.
    """
    ys, masks = [], []
    for window in windows:
        y = numpy.zeros((window.last - window.first, 2), dtype="float32")
        mask = numpy.ones_like(y)
        for extent in answers[window.pair]:
            pieces = window.touch(extent)
            whole = None not in pieces
            for column, piece in enumerate(pieces):
                if piece is not None and whole:
                    y[piece - window.first, column] = 1.0
                elif piece is not None:
                    mask[piece - window.first, column] = 0.0
        mask[y > 0] = 1.0
        ys.append(y)
        masks.append(mask)
    return numpy.concatenate(ys), numpy.concatenate(masks)
