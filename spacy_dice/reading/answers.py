"""Answers from probabilities of starts and ends."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

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
    found, null = None, 1.0
    for window, logits in zip(windows, scores):
        no_answer = [] if window.cls is None else [window.cls]
        context = logits[[*range(window.first, window.last), *no_answer]]
        p = numpy.exp(context - context.max(axis=0))
        p /= p.sum(axis=0)
        if no_answer:
            null = min(null, float(p[-1, 0] * p[-1, 1]))
        span = _best_span(p[: window.last - window.first], window.offsets, max_length)
        if found is None or (span is not None and span.score > found.score):
            found = span
    return found, null


class Candidates(NamedTuple):
    """Spans of a text that may be answers, the likeliest first.

    Attributes:
        rows: How likely a span is exactly one answer (the logarithm of the probability that its
            start and its end are, and that no answer starts or ends between them), its first and
            its last piece, and start x end.
        offsets: Ints ``(pieces, 2)``, of characters.
    """

    rows: List[Tuple[float, int, int, float]]
    offsets: numpy.ndarray


def candidates(
    windows: Sequence[Window], scores: Sequence[numpy.ndarray], max_length: int, threshold: float
) -> Candidates:
    """Find the spans of a text whose start x end reaches a threshold.

    Args:
        windows: All windows of one pair.
        scores: Logits ``(pieces, 2)`` of each window: of starting and of ending, each on its own.
        max_length: Pieces of an answer at most.
        threshold: What start x end must be at least, from 0 to 1.

    Returns:
        The spans, which may overlap.
    """
    p, offsets = _merge(windows, scores)
    n, found = len(p), []
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
            found.append((float(alone), start, end, float(product[start])))
    return Candidates(sorted(found, key=lambda row: (-row[0], row[1], row[2])), offsets)


def several(found: Candidates, threshold: float) -> List[Found]:
    """Choose spans none of which overlap.

    Args:
        found: The spans to choose from.
        threshold: What start x end must be at least, from 0 to 1.

    Returns:
        Those that reach the threshold, best first. Of spans that overlap the one stays that is
        likeliest to be exactly one answer.
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
    """Find the best span by start x end as `candidates` does; None without text."""
    return _best_span(*_merge(windows, scores), max_length)


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
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Probabilities and offsets of the pieces of a text.

    A piece of several windows is taken from the one in which it has most text on both its sides.
    """
    chosen: Dict[int, Tuple[int, int, numpy.ndarray]] = {}
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
