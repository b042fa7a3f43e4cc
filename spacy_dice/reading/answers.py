"""Answers from probabilities of starts and ends."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy

from .windows import Window


class Found(NamedTuple):
    """An answer: its first and last character (exclusive), and start x end."""

    start: int
    end: int
    score: float


def best(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray], max_length: int
) -> Tuple[Optional[Found], float]:
    """The best span of a text by start x end, and the score of "no answer".

    Args:
        windows: All windows of one pair.
        scores: Logits ``(pieces, 2)`` of each window: of starting and of ending.
        max_length: Pieces of an answer at most.

    Returns:
        The best span over all windows, None if no window has text; and the least that a window
        gives to the piece that stands for no answer. The probabilities are softmaxes over the
        pieces of the text and that piece, as in transformers' question-answering pipeline.
    """
    found, null = None, 1.0
    for window, logits in zip(windows, scores):
        context = logits[window.first : window.last]
        if window.cls is not None:
            context = numpy.concatenate([context, logits[window.cls : window.cls + 1]])
        p = numpy.exp(context - context.max(axis=0))
        p /= p.sum(axis=0)
        if window.cls is not None:
            null = min(null, float(p[-1, 0] * p[-1, 1]))
            p = p[:-1]
        if len(p):
            score, length = _best_ends(p, max_length)
            start = int(score.argmax())
            if found is None or score[start] > found.score:
                extent = (window.offsets[start, 0], window.offsets[start + length[start], 1])
                found = Found(int(extent[0]), int(extent[1]), float(score[start]))
    return found, null


class Candidates(NamedTuple):
    """Spans of a text that may be answers, the likeliest first.

    rows: how likely a span is one whole answer (the logarithm of the probability that its start
    and its end are, and that no answer starts or ends between them), its first and its last piece,
    and start x end. offsets: ints ``(pieces, 2)``, of characters.
    """

    rows: List[Tuple[float, int, int, float]]
    offsets: numpy.ndarray


def candidates(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray], max_length: int, threshold: float
) -> Candidates:
    """The spans of a text whose start x end reaches a threshold.

    Args:
        windows: All windows of one pair.
        scores: Logits ``(pieces, 2)`` of each window: of starting and of ending, by themselves.
        max_length: Pieces of an answer at most.
        threshold: What start x end must be at least, from 0 to 1.
    """
    p, offsets = _merge(windows, scores)
    n, found = len(p), []
    # What passes over, up to each piece, in logarithms.
    with numpy.errstate(divide="ignore"):
        rest = numpy.log(numpy.maximum(1.0 - p, 1e-9))
        logs = numpy.log(numpy.maximum(p, 1e-30))
    passed = numpy.concatenate([numpy.zeros((1, 2)), numpy.cumsum(rest, axis=0)])
    for length in range(min(max_length, n)):
        product = p[: n - length, 0] * p[length:, 1]
        for start in numpy.flatnonzero(product >= threshold).tolist():
            end = start + length
            alone = logs[start, 0] + logs[end, 1]
            alone += passed[end + 1, 0] - passed[start + 1, 0]
            alone += passed[end, 1] - passed[start, 1]
            found.append((float(alone), start, end, float(product[start])))
    return Candidates(sorted(found, key=lambda row: (-row[0], row[1], row[2])), offsets)


def several(found: Candidates, threshold: float) -> List[Found]:
    """Spans none of which overlap, whose start x end reaches the threshold, best first. Of spans
    that overlap the one stays that is likeliest to be one whole answer.
    """
    taken, chosen, offsets = bytearray(len(found.offsets)), [], found.offsets
    for _, start, end, score in found.rows:
        if score >= threshold and 1 not in taken[start : end + 1]:
            taken[start : end + 1] = b"\1" * (end + 1 - start)
            chosen.append(Found(int(offsets[start, 0]), int(offsets[end, 1]), score))
    return sorted(chosen, key=lambda answer: -answer.score)


def best_alone(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray], max_length: int
) -> Optional[Found]:
    """The best span by start x end, for starts and ends by themselves; None without text."""
    p, offsets = _merge(windows, scores)
    if not len(p):
        return None
    score, length = _best_ends(p, max_length)
    start = int(score.argmax())
    end = start + int(length[start])
    return Found(int(offsets[start, 0]), int(offsets[end, 1]), float(score[start]))


def _best_ends(p: numpy.ndarray, max_length: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """For each start the best start x end, and how many pieces on that end is."""
    ends = numpy.concatenate([p[:, 1], numpy.full(max_length - 1, -1.0, dtype=p.dtype)])
    within = numpy.lib.stride_tricks.sliding_window_view(ends, max_length)
    length = within.argmax(axis=1)
    return p[:, 0] * within[numpy.arange(len(p)), length], length


def _merge(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray]
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Probabilities and offsets of the pieces of a whole text.

    A piece of several windows is taken from the one in which it has most text on both its sides.
    """
    chosen: dict = {}
    for window, logits in zip(windows, scores):
        n = window.last - window.first
        p = 1.0 / (1.0 + numpy.exp(-logits[window.first : window.last].astype("float64")))
        places = numpy.arange(n)
        room = numpy.minimum(places, n - 1 - places).tolist()
        for i, (start, end) in enumerate(window.offsets.tolist()):
            if end > start and (start not in chosen or chosen[start][0] < room[i]):
                chosen[start] = (room[i], end, p[i])
    starts = sorted(chosen)
    p = numpy.array([chosen[start][2] for start in starts]).reshape(-1, 2)
    offsets = numpy.array([(s, chosen[s][1]) for s in starts], dtype="int64").reshape(-1, 2)
    return p, offsets
