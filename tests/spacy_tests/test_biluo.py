"""Decoding against brute force, and the probabilities of entities."""

import itertools

import numpy
import pytest

from dice_core.tags import tags_of
from spacy_dice import biluo


def valid(tags):
    """Whether a sequence of BILUO tags is well-formed, by the definition."""
    ends = not tags or (tags[0][0] in "OBU" and tags[-1][0] in "OLU")
    return ends and all(map(valid_pair, tags, tags[1:]))


def valid_pair(a, b):
    if a[0] in "BI":
        return b[0] in "IL" and a[2:] == b[2:]
    return b[0] in "OBU"


def spans_of(tags):
    spans, start = [], None
    for i, tag in enumerate(tags):
        if tag[0] in "BU":
            start = i
        if tag[0] in "LU":
            spans.append((start, i + 1, tag[2:]))
    return spans


def test_decoding_long_docs_and_many_labels():
    rng = numpy.random.default_rng(0)
    labels = [f"L{i}" for i in range(50)]
    tags = tags_of(labels)
    lengths = [3000, 1, 0, 17]
    scores = rng.normal(size=(sum(lengths), len(tags))).astype("f")
    found = biluo.decode(scores, lengths)
    assert (found.end > found.start).all()
    for doc, length in enumerate(lengths):
        mine = found.doc == doc
        assert (found.start[mine][1:] >= found.end[mine][:-1]).all()
        assert (found.end[mine] <= length).all()


@pytest.mark.parametrize("seed", range(30))
def test_decoding_in_pieces_is_decoding_at_once(seed):
    """Scores as of trained models: most rows are surely outside, and some entities are broken.
    The reference is a Viterbi search over all states, one document and row at a time."""
    rng = numpy.random.default_rng(seed)
    labels = ["X", "Y", "Z"][: 1 + seed % 3]
    tags = tags_of(labels)
    lengths = rng.integers(0, 40, size=4).tolist()
    scores = rng.normal(size=(sum(lengths), len(tags))) * 2
    scores[:, 0] += rng.choice([0.0, 4.0, 12.0], size=len(scores), p=[0.3, 0.2, 0.5])
    if seed % 2:
        flags = rng.random((3, len(scores)))
        scores = biluo.constrain(scores, flags[0] < 0.1, flags[1] < 0.1, flags[2] > 0.1)
    found, row, n_outside = biluo.decode(scores, lengths), 0, 0
    for doc, length in enumerate(lengths):
        rows = scores[row : row + length]
        mine = [(int(s), int(e), labels[k]) for d, s, e, k in zip(*found) if d == doc]
        assert mine == spans_of(viterbi(rows, tags))
        if length:
            is_first = numpy.arange(length) == 0
            n_outside += int(biluo._surely_outside(rows, is_first).sum())
        row += length
    assert 0 < n_outside < len(scores)


def viterbi(scores, tags):
    """The best valid sequence, by the definition of which tag may follow which."""
    follows = numpy.where([[valid_pair(a, b) for b in tags] for a in tags], 0.0, -numpy.inf)
    total, backs = numpy.where([tag[0] in "OBU" for tag in tags], 0.0, -numpy.inf), []
    for i, row in enumerate(scores):
        if i:
            backs.append((total[:, None] + follows).argmax(axis=0))
            total = (total[:, None] + follows).max(axis=0)
        total = total + row
    best = [int(numpy.where([tag[0] in "OLU" for tag in tags], total, -numpy.inf).argmax())]
    for back in reversed(backs):
        best.append(int(back[best[-1]]))
    return [tags[c] for c in best[::-1]] if len(scores) else []


def test_a_valid_argmax_is_kept():
    tags = tags_of(["X"])
    gold = ["B-X", "I-X", "L-X", "O", "U-X"]
    scores = numpy.asarray([[tag == other for other in tags] for tag in gold], dtype="f")
    found = biluo.decode(scores, [5])
    assert list(zip(found.start, found.end)) == [(0, 3), (4, 5)]
    # Cut in two docs, the first entity can neither end in one nor begin in the other.
    found = biluo.decode(scores, [2, 3])
    assert all(e <= length for e, length in zip(found.end, numpy.asarray([2, 3])[found.doc]))


def test_probabilities_are_shares_of_the_valid_sequences():
    rng = numpy.random.default_rng(1)
    labels = ["X", "Y"]
    tags = tags_of(labels)
    checked = 0
    for trial in range(12):
        lengths = rng.integers(0, 5, size=5).tolist()
        scores = rng.normal(size=(sum(lengths), len(tags))) * 2
        if trial % 2:
            flags = rng.random((3, len(scores)))
            scores = biluo.constrain(scores, flags[0] < 0.1, flags[1] < 0.1, flags[2] > 0.1)
        spans = biluo.decode(scores, lengths)
        found = biluo.probabilities(scores, lengths, spans)
        assert found.shape == spans.doc.shape
        row = 0
        for doc, length in enumerate(lengths):
            of = scores[row : row + length]
            row += length
            if not (spans.doc == doc).any():
                continue
            total, by_span = 0.0, {}
            for columns in itertools.product(range(len(tags)), repeat=length):
                sequence = [tags[c] for c in columns]
                if valid(sequence):
                    weight = numpy.exp(sum(of[i, c] for i, c in enumerate(columns)))
                    total += weight
                    for span in spans_of(sequence):
                        by_span[span] = by_span.get(span, 0.0) + weight
            for i in numpy.flatnonzero(spans.doc == doc):
                span = (int(spans.start[i]), int(spans.end[i]), labels[spans.label[i]])
                assert found[i] == pytest.approx(by_span[span] / total, rel=1e-9)
                checked += 1
    assert checked > 30


def test_probabilities_of_long_and_of_certain_documents():
    """Products of thousands of small weights, and scores that leave one sequence only."""
    n = 5000
    scores = numpy.zeros((n, 5), dtype="f")
    scores[7, 4] = 3.0  # U at row 7
    spans = biluo.Spans(*(numpy.array([x]) for x in (0, 7, 8, 0)))
    far = biluo.probabilities(scores, [n], spans)[0]
    near = biluo.probabilities(scores[:40], [40], spans)[0]
    assert 0 < far < 1 and far == pytest.approx(near, rel=1e-6)
    certain = numpy.full((3, 5), -1e4, dtype="f")
    certain[[0, 1, 2], [1, 2, 3]] = 1e4
    spans = biluo.decode(certain, [3])
    assert biluo.probabilities(certain, [3], spans).tolist() == [1.0]
    nothing = biluo.decode(scores * 0 - [[0, 1, 1, 1, 1]], [n])
    assert biluo.probabilities(scores, [n], nothing).size == 0
