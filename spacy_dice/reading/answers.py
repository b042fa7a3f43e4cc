"""Windows of word pieces, a question and some of its text each, and the answers in them."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy
from thinc.api import NumpyOps

from .questions import Extent


class Window(NamedTuple):
    """A question and as much of its text as fits with it.

    Attributes:
        pair: Which of the pairs of a question and a text.
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

    def find(self, extent: Extent) -> tuple[Optional[int], Optional[int]]:
        """The first and last piece (inclusive) of an answer; None for one that is not here."""
        start, end = extent
        begins, ends = self.offsets.T
        inside = numpy.flatnonzero((ends > start) & (begins < end) & (ends > begins))
        if not len(inside):
            return None, None
        first = self.first + int(inside[0]) if begins[0] <= start else None
        return first, self.first + int(inside[-1]) if ends[-1] >= end else None


# -- batches and targets ----------------------------------------------------------------


def in_batches(windows: Sequence[Window], max_items: int) -> list[list[int]]:
    """Indices of windows of like length, longest first: as many as fit in a padded batch of
    ``max_items`` pieces, one at least.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(windows)), key=lambda i: -len(windows[i].ids)):
        if not batches or (len(batches[-1]) + 1) * len(windows[batches[-1][0]].ids) > max_items:
            batches.append([])
        batches[-1].append(i)
    return batches


def pad(windows: Sequence[Window], pad_id: int) -> dict[str, numpy.ndarray]:
    """The encoder's inputs, ints ``(windows, pieces)`` by name."""
    lengths = numpy.array([len(window.ids) for window in windows])
    mask = numpy.arange(lengths.max()) < lengths[:, None]
    ids = numpy.full(mask.shape, pad_id, dtype="int64")
    ids[mask] = numpy.concatenate([window.ids for window in windows])
    inputs = {"input_ids": ids, "attention_mask": mask.astype("int64")}
    types = [window.types for window in windows if window.types is not None]
    if types:
        inputs["token_type_ids"] = numpy.zeros_like(ids)
        inputs["token_type_ids"][mask] = numpy.concatenate(types)
    return inputs


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
        alike; without an answer in the window it is the piece that stands for none, and all are 0
        where there is no such piece.
    """
    y = numpy.zeros((2, len(windows), length), dtype="float32")
    for row, window in enumerate(windows):
        found = [window.find(extent) for extent in answers[window.pair]]
        inside: list[tuple] = [pieces for pieces in found if None not in pieces]
        if not inside and window.cls is not None:
            inside = [(window.cls, window.cls)]
        for pieces in inside:
            y[[0, 1], row, pieces] += 1.0 / len(inside)
    return y.reshape(-1, length)


def sigmoid_targets(
    windows: Sequence[Window], answers: Sequence[Sequence[Extent]]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The targets of the pieces of texts, each a start or not and an end or not.

    Args:
        windows: The windows of a batch.
        answers: The answers of each pair.

    Returns:
        Floats ``(pieces of the texts, 2)``: whether an answer starts there and whether one ends;
        and the mask, which is 0 for the visible end of an answer that reaches beyond the window.
    """
    ys, masks = [], []
    for window in windows:
        y = numpy.zeros((window.last - window.first, 2), dtype="float32")
        mask = numpy.ones_like(y)
        for extent in answers[window.pair]:
            pieces = window.find(extent)
            values, value = (mask, 0.0) if None in pieces else (y, 1.0)
            for column, piece in enumerate(pieces):
                if piece is not None:
                    values[piece - window.first, column] = value
        mask[y > 0] = 1.0
        ys.append(y)
        masks.append(mask)
    return numpy.concatenate(ys), numpy.concatenate(masks)


# -- answers from logits ----------------------------------------------------------------


class Found(NamedTuple):
    """A span of a text that may be an answer.

    Attributes:
        start: Its first character.
        end: Past its last character.
        score: start x end.
    """

    start: int
    end: int
    score: float


def best(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray], max_length: int
) -> tuple[Optional[Found], float]:
    """Find the best span of a text by start x end, and the score of "no answer".

    Args:
        windows: All windows of one pair.
        scores: Logits ``(pieces, 2)`` of each window: of starting and of ending.
        max_length: Pieces of an answer at most.

    Returns:
        The best span over all windows, None if no window has text; and the least that a window
        gives to the piece that stands for no answer. The probabilities are softmaxes over the
        pieces of the text and that piece, as in transformers' question-answering pipeline.
    """
    found, null = [], 1.0
    for window, logits in zip(windows, scores):
        no_answer = [] if window.cls is None else [window.cls]
        p = NumpyOps().softmax(logits[[*range(window.first, window.last), *no_answer]], axis=0)
        if no_answer:
            null = min(null, float(p[-1, 0] * p[-1, 1]))
        found.append(_best_span(p[: window.last - window.first], window.offsets, max_length))
    return max(filter(None, found), key=lambda span: span.score, default=None), null


def several(
    windows: Sequence[Window],
    scores: Sequence[numpy.ndarray],
    max_length: int,
    threshold: float,
    may_lack: bool = True,
) -> list[Found]:
    """Find spans of a text whose start x end reaches a threshold, none of which overlap.

    Args:
        windows: All windows of one pair.
        scores: Logits ``(pieces, 2)`` of each window: of starting and of ending, each on its own.
        max_length: Pieces of an answer at most.
        threshold: What start x end must be at least, from 0 to 1.
        may_lack: Whether there may be none; else the best one is found, whatever its score.

    Returns:
        The spans, best first. Of those that overlap the one stays that is likeliest to be exactly
        one answer: that its start and its end are, and that no answer starts or ends between them.
    """
    p, offsets = _merge(windows, scores)
    n = len(p)
    found: list[tuple[float, int, int, float]] = []
    log_rest, logs = numpy.log(numpy.maximum(1.0 - p, 1e-9)), numpy.log(numpy.maximum(p, 1e-30))
    # That no answer starts, or ends, before each piece.
    passed = numpy.concatenate([numpy.zeros((1, 2)), numpy.cumsum(log_rest, axis=0)])
    for length in range(min(max_length, n)):
        product = p[: n - length, 0] * p[length:, 1]
        for start in numpy.flatnonzero(product >= threshold).tolist():
            end = start + length
            alone = logs[start, 0] + logs[end, 1]
            alone += passed[end + 1, 0] - passed[start + 1, 0]
            alone += passed[end, 1] - passed[start, 1]
            place = (int(offsets[start, 0]), int(offsets[end, 1]))
            found.append((-float(alone), *place, float(product[start])))
    chosen: list[Found] = []
    covered = bytearray(max((end for _, _, end, _ in found), default=0))
    for _, start, end, score in sorted(found):
        if 1 not in covered[start:end]:
            covered[start:end] = b"\1" * (end - start)
            chosen.append(Found(start, end, score))
    best = None if chosen or may_lack else _best_span(p, offsets, max_length)
    return sorted(chosen if best is None else [best], key=lambda one: -one.score)


def _best_span(p: numpy.ndarray, offsets: numpy.ndarray, max_length: int) -> Optional[Found]:
    if not len(p):
        return None
    ends = numpy.concatenate([p[:, 1], numpy.full(max_length - 1, -1.0, dtype=p.dtype)])
    within = numpy.lib.stride_tricks.sliding_window_view(ends, max_length)
    score = p[:, 0] * within.max(axis=1)
    start = int(score.argmax())
    end = start + int(within[start].argmax())
    return Found(int(offsets[start, 0]), int(offsets[end, 1]), float(score[start]))


def _merge(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Probabilities and offsets ``(pieces, 2)`` of the pieces of a text. Of a piece in several
    windows, those of the one in which it has most text on both its sides.
    """
    chosen: dict[int, tuple[int, int, numpy.ndarray]] = {}
    for window, logits in zip(windows, scores):
        p = 1.0 / (1.0 + numpy.exp(-logits[window.first : window.last].astype("float64")))
        for i, (start, end) in enumerate(window.offsets.tolist()):
            room = min(i, len(p) - 1 - i)
            if end > start and (start not in chosen or chosen[start][0] < room):
                chosen[start] = (room, end, p[i])
    starts = sorted(chosen)
    p = numpy.array([chosen[start][2] for start in starts]).reshape(-1, 2)
    offsets = numpy.array([(s, chosen[s][1]) for s in starts], dtype="int64").reshape(-1, 2)
    return p, offsets
