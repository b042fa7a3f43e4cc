"""Windows: a question and a piece of a text each, as an encoder reads them."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy

from .questions import Extent

# What the encoder is given: ids and types (or None) ``(windows, pieces)``, and lengths.
Padded = Tuple[numpy.ndarray, Optional[numpy.ndarray], numpy.ndarray]


class Pair(NamedTuple):
    """What is encoded together."""

    question: str
    text: str


class Window(NamedTuple):
    """A question and as much of its text as fits with it.

    Attributes:
        pair: Which of the pairs.
        ids: Ints ``(pieces,)``, the vocabulary's.
        types: Ints ``(pieces,)``, the segments; None for encoders without.
        first: The first piece of the text.
        last: Past the last piece of the text.
        offsets: Ints ``(last - first, 2)``, the first and last character (exclusive) of each of
            these pieces.
        cls: The piece that stands for "no answer here", None if there is none.
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
        begins, ends = self.offsets.T
        inside = numpy.flatnonzero((ends > start) & (begins < end) & (ends > begins))
        if not len(inside):
            return None, None
        first = self.first + int(inside[0]) if begins[0] <= start else None
        return first, self.first + int(inside[-1]) if ends[-1] >= end else None


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


def pad(windows: Sequence[Window], pad_id: int) -> Padded:
    """Arrays for the encoder."""
    lengths = numpy.array([len(window.ids) for window in windows])
    ids = numpy.full((len(windows), lengths.max()), pad_id, dtype="int64")
    types = None if windows[0].types is None else numpy.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : lengths[row]] = window.ids
        if types is not None:
            types[row, : lengths[row]] = window.types
    return ids, types, lengths


def text_mask(windows: Sequence[Window], length: int) -> numpy.ndarray:
    """Which pieces are of texts: bools ``(windows, length)``."""
    places = numpy.arange(length)
    return numpy.array([(places >= w.first) & (places < w.last) for w in windows])


def softmax_targets(
    windows: Sequence[Window], answers: Sequence[Sequence[Extent]], length: int
) -> numpy.ndarray:
    """The targets of starts and ends as distributions over the pieces of a window.

    Args:
        windows: The windows of a batch.
        answers: The answers of each pair.
        length: Pieces of the padded windows.

    Returns:
        Floats ``(2 * windows, length)``, starts and after all of them ends. Several answers share
        alike; without an answer in the window it is the piece that stands for none.
    """
    y = numpy.zeros((2, len(windows), length), dtype="float32")
    for row, window in enumerate(windows):
        found = [window.find(extent) for extent in answers[window.pair]]
        inside: List[Tuple] = [pieces for pieces in found if pieces] or [(window.cls, window.cls)]
        for first, last in inside:
            y[0, row, first] += 1.0 / len(inside)
            y[1, row, last] += 1.0 / len(inside)
    return y.reshape(-1, length)


def sigmoid_targets(
    windows: Sequence[Window], answers: Sequence[Sequence[Extent]]
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The targets of the pieces of texts, each a start or not and an end or not.

    Args:
        windows: The windows of a batch.
        answers: The answers of each pair.

    Returns:
        Floats ``(pieces of the texts, 2)``: whether an answer starts there and whether one ends;
        and the mask, which is 0 for the visible end of an answer that the window's edge cuts.
    """
    ys, masks = [], []
    for window in windows:
        y = numpy.zeros((window.last - window.first, 2), dtype="float32")
        mask = numpy.ones_like(y)
        for extent in answers[window.pair]:
            pieces = window.touch(extent)
            for column, piece in enumerate(pieces):
                if piece is not None and None not in pieces:
                    y[piece - window.first, column] = 1.0
                elif piece is not None:
                    mask[piece - window.first, column] = 0.0
        mask[y > 0] = 1.0
        ys.append(y)
        masks.append(mask)
    return numpy.concatenate(ys), numpy.concatenate(masks)
