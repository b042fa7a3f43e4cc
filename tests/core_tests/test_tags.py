"""Which cells are whole gold entities, in BIOES, BILUO and BIO."""

import numpy
import pytest

from dice_core.tags import Scheme, is_scheme, tags_of

pytestmark = pytest.mark.fast

BIOES = ["<unk>", "O", "S-X", "B-X", "E-X", "I-X", "S-Y", "B-Y", "E-Y", "I-Y", "<START>", "<STOP>"]
BIO = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def paths(names, docs):
    """Each path as its sign and the rows and tags of its cells."""
    ids = [names.index(tag) if tag != "?" else -1 for doc in docs for tag in doc]
    made = Scheme(names).gold_paths(numpy.asarray(ids, dtype=int), [len(doc) for doc in docs])
    cells = list(zip(made.ids.tolist(), made.rows.tolist(), made.columns.tolist()))
    found = [
        (int(sign), [(row, names[col]) for path, row, col in cells if path == i])
        for i, sign in enumerate(made.signs.tolist())
    ]
    return sorted(found, key=lambda path: path[1]), made.n_spans


@pytest.mark.parametrize("rename", [{}, {"S": "U", "E": "L"}])
def test_closed(rename):
    def to(tag):
        return rename.get(tag[0], tag[0]) + tag[1:] if tag[1:2] == "-" else tag

    names = [to(name) for name in BIOES]
    assert is_scheme(names)
    docs = [
        ["B-X", "I-X", "E-X", "S-Y", "O"],
        ["S-X", "O", "B-X", "?", "E-X"],  # one whose inner row is not known
        ["E-X", "S-Y", "B-X"],  # one without a start, one without an end
        [],
        ["E-X", "B-X", "O", "E-X", "B-Y", "B-Y", "E-Y"],
        ["B-X", "I-X", "E-X", "E-X"],  # one with two ends
    ]
    found, n = paths(names, [[to(tag) for tag in doc] for doc in docs])
    expected = [
        [(0, "B-X"), (1, "I-X"), (2, "E-X")],
        [(3, "S-Y")],
        [(5, "S-X")],
        [(7, "B-X"), (9, "E-X")],
        [(11, "S-Y")],
        [(18, "B-Y"), (19, "E-Y")],
    ]
    assert found == [(1, [(row, to(tag)) for row, tag in path]) for path in expected] and n == 6
    assert [names[c] for c in numpy.flatnonzero(Scheme(names).starts)] == [
        to(f"{p}-{x}") for x in "XY" for p in "SB"
    ]


def test_bio():
    docs = [["B-X", "I-X", "O", "B-Y"], ["I-X", "B-X", "B-Y", "?"], ["B-X", "I-X"]]
    found, n = paths(BIO, docs)
    assert found == [
        (1, [(0, "B-X"), (1, "I-X")]),
        (-1, [(0, "B-X"), (1, "I-X"), (2, "I-X")]),
        (1, [(3, "B-Y")]),  # a sentence ends it
        (1, [(5, "B-X")]),
        (-1, [(5, "B-X"), (6, "I-X")]),
        (1, [(6, "B-Y")]),
        (1, [(8, "B-X"), (9, "I-X")]),
    ]
    assert n == 5


@pytest.mark.parametrize("names", [["NN", "VB"], ["O", "X-Y"], ["O"], ["O", "I-X"], ["B-"]])
def test_no_scheme(names):
    assert not is_scheme(names)


def test_gold_rows():
    tags = ["O", "B-X", "I-X", "L-X", "U-X"]
    ids = {tag: i for i, tag in enumerate(tags)} | {"-": -1}
    docs = [
        ["B-X", "I-X", "L-X", "U-X"],
        ["U-X", "O", "B-X", "-", "L-X"],  # an entity whose inner row is not known
        ["-", "L-X", "U-X", "B-X"],  # one without a start, one without an end
        ["L-X"],
        [],
        ["-", "B-X", "L-X"],
    ]
    paths = Scheme(tags).gold_paths(
        numpy.asarray([ids[tag] for doc in docs for tag in doc]), [len(doc) for doc in docs]
    )
    assert paths.n_spans == 6 and (paths.signs == 1).all()
    assert paths.rows.tolist() == [0, 1, 2, 3, 4, 6, 8, 11, 15, 16]
    assert paths.ids.tolist() == [0, 0, 0, 1, 2, 3, 3, 4, 5, 5]


@pytest.mark.parametrize("names", [BIO, BIOES])
def test_unknown_rows_are_as_if_they_were_not_there(names):
    """Such as the later pieces of words, wherever they are."""
    rng = numpy.random.default_rng(0)
    for _ in range(50):
        ids = rng.integers(0, len(names), size=12)
        known = rng.random(12) < 0.6
        lengths = [5, 0, 7]
        found = Scheme(names).gold_paths(numpy.where(known, ids, -1), lengths)
        kept = Scheme(names).gold_paths(ids[known], [known[:5].sum(), 0, known[5:].sum()])
        assert numpy.flatnonzero(known)[kept.rows].tolist() == found.rows.tolist()
        for name in ("columns", "ids", "signs", "n_spans"):
            assert numpy.array_equal(getattr(found, name), getattr(kept, name))


def test_tags_of_a_new_label_come_last():
    assert is_scheme(tags_of(["X", "Y"])) and tags_of(["X", "Y"])[:5] == tags_of(["X"])
