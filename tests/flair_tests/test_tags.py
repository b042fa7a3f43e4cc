"""Which cells are whole gold entities, in BIOES, BILUO and BIO."""

import pytest
import torch

from flair_dice.tags import Scheme, is_scheme

BIOES = ["<unk>", "O", "S-X", "B-X", "E-X", "I-X", "S-Y", "B-Y", "E-Y", "I-Y", "<START>", "<STOP>"]
BIO = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def paths(names, docs):
    """Each path as its sign and the rows and tags of its cells."""
    ids = [names.index(tag) if tag != "?" else -1 for doc in docs for tag in doc]
    made = Scheme(names).gold_paths(ids, [len(doc) for doc in docs], torch.zeros(1))
    cells = list(zip(made.ids.tolist(), made.rows.tolist(), made.cols.tolist()))
    found = [
        (int(sign), [(row, names[col]) for path, row, col in cells if path == i])
        for i, sign in enumerate(made.signs.tolist())
    ]
    return found, made.n_spans


@pytest.mark.parametrize("rename", [{}, {"S": "U", "E": "L"}])
def test_closed(rename):
    def to(tag):
        return rename.get(tag[0], tag[0]) + tag[1:] if tag[1:2] == "-" else tag

    names = [to(name) for name in BIOES]
    assert is_scheme(names)
    docs = [
        ["B-X", "I-X", "E-X", "S-Y", "O"],
        ["S-X", "O", "B-X", "?", "E-X"],  # one with a hole
        ["E-X", "S-Y", "B-X"],  # one without a start, one without an end
        [],
        ["E-X", "B-X", "O", "E-X", "B-Y", "B-Y", "E-Y"],
    ]
    found, n = paths(names, [[to(tag) for tag in doc] for doc in docs])
    expected = [
        [(0, "B-X"), (1, "I-X"), (2, "E-X")],
        [(3, "S-Y")],
        [(5, "S-X")],
        [(11, "S-Y")],
        [(18, "B-Y"), (19, "E-Y")],
    ]
    assert found == [(1, [(row, to(tag)) for row, tag in path]) for path in expected] and n == 5
    assert [names[c] for c in Scheme(names).starts] == [to(f"{p}-{x}") for x in "XY" for p in "SB"]


def test_bio():
    docs = [["B-X", "I-X", "O", "B-Y"], ["I-X", "B-X", "B-Y", "?"], ["B-X", "I-X"]]
    found, n = paths(BIO, docs)
    assert found == [
        (1, [(0, "B-X"), (1, "I-X")]),
        (-1, [(0, "B-X"), (1, "I-X"), (2, "I-X")]),
        (1, [(3, "B-Y")]),  # a sentence ends it
        (1, [(5, "B-X")]),
        (-1, [(5, "B-X"), (6, "I-X")]),
        (1, [(8, "B-X"), (9, "I-X")]),
    ]
    assert n == 4


@pytest.mark.parametrize("names", [["NN", "VB"], ["O", "X-Y"], ["O"], ["O", "I-X"], ["B-"]])
def test_no_scheme(names):
    assert not is_scheme(names)
