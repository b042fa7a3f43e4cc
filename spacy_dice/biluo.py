"""Decoding BILUO: the best valid sequence of tags, and how probable its entities are.

Columns are as in `dice_core.tags.tags_of`: O, then B, I, L and U of each label.
"""

from collections.abc import Sequence
from typing import NamedTuple, Union

import numpy

from dice_core.tags import B, I, L, U

# Numbers of tokens, of one document after another.
Lengths = Union[Sequence[int], numpy.ndarray]


class Spans(NamedTuple):
    """Entities of a batch: ints ``(S,)`` each.

    ``end`` is past the last token, and ``label`` is the index of an entity label. Sorted by
    document and start.
    """

    doc: numpy.ndarray
    start: numpy.ndarray
    end: numpy.ndarray
    label: numpy.ndarray


def constrain(
    scores: numpy.ndarray, no_start: numpy.ndarray, no_crossing: numpy.ndarray, free: numpy.ndarray
) -> numpy.ndarray:
    """Set the scores of tags that are forbidden to -inf.

    Args:
        scores: Floats ``(N, 1 + 4 L)``, of rows and tags.
        no_start: Bools ``(N,)``, whether no entity may start at the row.
        no_crossing: Bools ``(N,)``, whether none may go on from the row to the next one.
        free: Bools ``(N,)``, false where the row must be O.

    Returns:
        Floats ``(N, 1 + 4 L)``: the same array where nothing is forbidden, else a copy.
    """
    if not (no_start.any() or no_crossing.any() or not free.all()):
        return scores
    scores = scores.copy()
    tags = scores[:, 1:].reshape(len(scores), -1, 4)
    for kind in (B, U):
        tags[no_start, :, kind] = -numpy.inf
    for kind in (B, I):
        tags[no_crossing, :, kind] = -numpy.inf
    tags[~free] = -numpy.inf
    return scores


def decode(scores: numpy.ndarray, lengths: Lengths) -> Spans:
    """Find the valid sequence with the highest sum of scores, of each document: exact.

    Where the best tag of each row already makes a valid sequence, that is it. All other documents
    are split where the best sequence is surely outside, and pieces that are not valid go through a
    Viterbi search with one state an entity label, linear in the number of tags and vectorised
    over pieces.

    Args:
        scores: Floats ``(N, 1 + 4 L)`` of logits or log-probabilities, all documents' rows one
            after another; -inf forbids a tag, O is never forbidden.
        lengths: The number of rows of each document.

    Returns:
        The entities of that sequence.
    """
    sizes = numpy.asarray(lengths, dtype="int64")
    ends = numpy.cumsum(sizes)
    best = scores.argmax(axis=1) if len(scores) else numpy.zeros((0,), dtype="int64")
    tagged = _tagged(best, ends)
    redo = numpy.unique(tagged.doc[_wrong(tagged)])
    if len(redo):
        rows = _rows_of(ends[redo] - sizes[redo], sizes[redo])
        best[rows] = _repaired(scores[rows].astype("float64"), best[rows], sizes[redo])
        tagged = _tagged(best, ends)
    starts = (tagged.kind == B) | (tagged.kind == U)
    lasts = (tagged.kind == L) | (tagged.kind == U)
    doc = tagged.doc[starts]
    offsets = (ends - sizes)[doc]
    return Spans(
        doc, tagged.row[starts] - offsets, tagged.row[lasts] + 1 - offsets, tagged.label[starts]
    )


def probabilities(scores: numpy.ndarray, lengths: Lengths, spans: Spans) -> numpy.ndarray:
    """Compute the probability of each entity, by one forward-backward pass.

    The scores make every valid sequence of tags of a document as probable as the exponential of
    its sum of scores; an entity's probability is the share of the sequences that have it (its
    marginal).

    Args:
        scores: As for `decode`.
        lengths: As for `decode`.
        spans: Entities, not necessarily those of `decode`.

    Returns:
        Floats ``(S,)``, in [0, 1].
    """
    if not len(spans.doc):
        return numpy.zeros((0,))
    sizes = numpy.asarray(lengths, dtype="int64")
    # Only the documents with entities, renumbered.
    docs, doc = numpy.unique(spans.doc, return_inverse=True)
    offsets = (numpy.cumsum(sizes) - sizes)[docs]
    sizes = sizes[docs]
    rows = _rows_of(offsets, sizes)
    offsets = numpy.cumsum(sizes) - sizes
    scores = scores[rows].astype("float64")
    scores -= scores.max(axis=1, keepdims=True)
    before, after = _outside(scores, sizes, offsets)
    # Each entity's tags: B, I..., L, or U.
    length = spans.end - spans.start
    first = offsets[doc] + spans.start
    entity = numpy.repeat(numpy.arange(len(length)), length)
    place = numpy.arange(length.sum()) - (numpy.cumsum(length) - length)[entity]
    last = place == length[entity] - 1
    kind = numpy.where(place == 0, numpy.where(last, U, B), numpy.where(last, L, I))
    tags = scores[first[entity] + place, 1 + 4 * spans.label[entity] + kind]
    total = numpy.bincount(entity, weights=tags)
    # Both passes have one entry more a document than it has rows.
    here = first + doc
    every = before[offsets + numpy.arange(len(sizes)) + sizes]
    return numpy.exp(numpy.minimum(before[here] + total + after[here + length] - every[doc], 0.0))


def _outside(
    scores: numpy.ndarray, sizes: numpy.ndarray, offsets: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The log-weight of all that can come before, and after, each place outside of entities.

    RETURNS floats ``(N + docs,)`` twice: n + 1 places for each document of n rows.
    """
    n_docs, longest, n_labels = len(sizes), int(sizes.max()), (scores.shape[1] - 1) // 4
    # Backwards is forwards on the reversed documents, with B and L changing places.
    weights = numpy.exp(scores)
    step = numpy.concatenate([numpy.ones(n_docs), -numpy.ones(n_docs)]).astype("int64")
    row = numpy.concatenate([offsets, offsets + sizes - 1])
    place = numpy.concatenate([offsets, offsets + sizes]) + numpy.tile(numpy.arange(n_docs), 2)
    opens = numpy.repeat([B, L], n_docs)
    found = numpy.zeros((2, len(scores) + n_docs))
    found_at = found.reshape(-1)
    place[n_docs:] += found.shape[1]
    order = numpy.argsort(-numpy.tile(sizes, 2), kind="stable")  # the active are a prefix
    step, row, place, opens = step[order], row[order], place[order], opens[order]
    n_active = numpy.searchsorted(-numpy.tile(sizes, 2)[order], -numpy.arange(longest), side="left")
    outside, log_scale = numpy.ones(2 * n_docs), numpy.zeros(2 * n_docs)
    inside = numpy.zeros((2 * n_docs, n_labels))
    for t in range(longest):
        a = n_active[t]
        at = weights[row[:a] + t * step[:a]]
        tags = at[:, 1:].reshape(a, n_labels, 4)
        docs = numpy.arange(a)
        begin, end = tags[docs, :, opens[:a]], tags[docs, :, L - opens[:a]]
        closed = (inside[:a] * end).sum(axis=1)
        new_outside = outside[:a] * (at[:, 0] + tags[:, :, U].sum(axis=1)) + closed
        inside[:a] = outside[:a, None] * begin + inside[:a] * tags[:, :, I]
        scale = numpy.maximum(new_outside + inside[:a].sum(axis=1), 1e-300)
        inside[:a] /= scale[:, None]
        outside[:a] = new_outside / scale
        log_scale[:a] += numpy.log(scale)
        with numpy.errstate(divide="ignore"):
            found_at[place[:a] + (t + 1) * step[:a]] = numpy.log(outside[:a]) + log_scale[:a]
    return found[0], found[1]


class _Tagged(NamedTuple):
    """Rows that are not O: ints ``(M,)`` each, of kind B, I, L or U of a label's index."""

    row: numpy.ndarray
    doc: numpy.ndarray
    kind: numpy.ndarray
    label: numpy.ndarray


def _tagged(columns: numpy.ndarray, ends: numpy.ndarray) -> _Tagged:
    """ends: past the last row of each document."""
    row = numpy.flatnonzero(columns)
    label, kind = numpy.divmod(columns[row] - 1, 4)
    return _Tagged(row, numpy.searchsorted(ends, row, side="right"), kind, label)


def _wrong(tagged: _Tagged) -> numpy.ndarray:
    """``(M,)``: where an entity is left open and does not go on, or goes on and never began."""
    row, doc, kind, label = tagged
    leaves, goes_on = (kind == B) | (kind == I), (kind == I) | (kind == L)
    joined = numpy.zeros(len(row) + 1, dtype=bool)  # of each with the one before
    joined[1:-1] = (row[1:] == row[:-1] + 1) & (doc[1:] == doc[:-1]) & (label[1:] == label[:-1])
    joined[1:-1] &= leaves[:-1] & goes_on[1:]
    return (goes_on & ~joined[:-1]) | (leaves & ~joined[1:])


def _rows_of(offsets: numpy.ndarray, sizes: numpy.ndarray) -> numpy.ndarray:
    """The rows of pieces that begin at ``offsets``, one after another."""
    return numpy.repeat(offsets - (numpy.cumsum(sizes) - sizes), sizes) + numpy.arange(sizes.sum())


def _repaired(scores: numpy.ndarray, best: numpy.ndarray, sizes: numpy.ndarray) -> numpy.ndarray:
    """The best valid column of each row, from the best ones. All sizes are above 0."""
    ends = numpy.cumsum(sizes)
    is_first = numpy.zeros(len(scores), dtype=bool)
    is_first[ends - sizes] = True
    # A piece ends in a row that is surely outside, or with its document.
    is_first[1:] |= _surely_outside(scores, is_first)[:-1]
    offsets = numpy.flatnonzero(is_first)
    sizes = numpy.diff(offsets, append=len(scores))
    tagged = _tagged(best, offsets + sizes)
    redo = numpy.unique(tagged.doc[_wrong(tagged)])
    rows = _rows_of(offsets[redo], sizes[redo])
    best = best.copy()
    best[rows] = _viterbi(scores[rows], sizes[redo])
    return best


def _surely_outside(scores: numpy.ndarray, is_first: numpy.ndarray) -> numpy.ndarray:
    """``(N,)``: rows that are O in the best valid sequence, whatever their neighbours are.

    An entity over such a row could be split in two there, with O in between: what comes before
    then ends in L or U where it was I or B, what comes after begins with B or U where it was I or
    L. A row's lead of O is more than that can cost.
    """
    tags = scores[:, 1:].reshape(len(scores), -1, 4)
    lead = scores[:, 0] - tags.max(axis=(1, 2))
    with numpy.errstate(invalid="ignore"):  # of two that are forbidden
        end = numpy.fmax(tags[:, :, I] - tags[:, :, L], tags[:, :, B] - tags[:, :, U])
        begin = numpy.fmax(tags[:, :, I] - tags[:, :, B], tags[:, :, L] - tags[:, :, U])
    price = numpy.zeros(len(scores))
    price[1:] += numpy.where(is_first[1:], 0.0, numpy.fmax(end.max(axis=1), 0.0)[:-1])
    price[:-1] += numpy.where(is_first[1:], 0.0, numpy.fmax(begin.max(axis=1), 0.0)[1:])
    return lead > price


def _viterbi(scores: numpy.ndarray, sizes: numpy.ndarray) -> numpy.ndarray:
    """The best valid column of each row. All sizes are above 0."""
    n_docs, n_labels = len(sizes), (scores.shape[1] - 1) // 4
    order = numpy.argsort(-sizes, kind="stable")  # longest first: the active are a prefix
    sizes_in_order = sizes[order]
    offsets = (numpy.cumsum(sizes) - sizes)[order]
    longest = int(sizes_in_order[0])
    outside = numpy.zeros(n_docs)
    inside = numpy.full((n_docs, n_labels), -numpy.inf)
    # How outside was reached: the column of this row's tag. How inside a label: from outside?
    out_by = numpy.zeros(len(scores), dtype="int64")
    began = numpy.zeros((len(scores), n_labels), dtype=bool)
    n_active = numpy.searchsorted(-sizes_in_order, -numpy.arange(longest), side="left")
    for t in range(longest):
        a = n_active[t]
        at = offsets[:a] + t
        row = scores[at]
        tags = row[:, 1:].reshape(a, n_labels, 4)
        docs = numpy.arange(a)
        unit = tags[:, :, U].argmax(axis=1)
        close = inside[:a] + tags[:, :, L]
        last = close.argmax(axis=1)
        options = numpy.stack(
            [outside[:a] + row[:, 0], outside[:a] + tags[docs, unit, U], close[docs, last]], axis=1
        )
        columns = numpy.stack([numpy.zeros_like(unit), 4 * unit + U + 1, 4 * last + L + 1], axis=1)
        choice = options.argmax(axis=1)
        out_by[at] = columns[docs, choice]
        begin = outside[:a, None] + tags[:, :, B]
        go_on = inside[:a] + tags[:, :, I]
        began[at] = begin >= go_on
        inside[:a] = numpy.maximum(begin, go_on)
        outside[:a] = options[docs, choice]
    best = numpy.zeros(len(scores), dtype="int64")
    state = numpy.full(n_docs, -1)  # -1 is outside, else the label that is open
    for t in range(longest - 1, -1, -1):
        a = n_active[t]
        at = offsets[:a] + t
        is_out = state[:a] < 0
        label = numpy.maximum(state[:a], 0)
        begins = began[at, label]
        column = numpy.where(is_out, out_by[at], 4 * label + 1 + numpy.where(begins, B, I))
        best[at] = column
        entity, kind = numpy.divmod(column - 1, 4)  # of O: -1, and 3 as of U
        state[:a] = numpy.where((kind == L) | (kind == I), entity, -1)
    return best
