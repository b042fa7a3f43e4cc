"""Tags of entities, as a head's columns have them: BILUO, BIOES or BIO.

B begins and I is inside an entity; L (or E) ends one of several tokens and U (or S) is one of a
single token; O is outside. In BIO, L and U are missing and an entity ends where the next tag is
not its I.
"""

from typing import NamedTuple, Sequence, Tuple, Union

import numpy

OUTSIDE = "O"
BILU = "BILU"
B, I, L, U, O = range(5)  # noqa: E741
KINDS = {"B": B, "I": I, "L": L, "E": L, "U": U, "S": U, "O": O}
# No tags, but columns of their own in Flair.
SPECIAL = ("<unk>", "<START>", "<STOP>")


class Paths(NamedTuple):
    """Cells whose product of probabilities is wanted, path by path.

    Attributes:
        rows, columns, ids: Ints ``(M,)``, one entry a cell: its row and column, and its path;
            the cells of a path follow one another.
        signs: Floats ``(P,)``, with which a path is summed.
        n_spans: How many entities they stand for.
    """

    rows: numpy.ndarray
    columns: numpy.ndarray
    ids: numpy.ndarray
    signs: numpy.ndarray
    n_spans: int


def tags_of(labels: Sequence[str]) -> Tuple[str, ...]:
    """The BILUO tags of entity labels: O, then B, I, L and U of each, so that a new label adds
    its tags at the end.
    """
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in BILU))


def is_scheme(names: Sequence[str]) -> bool:
    """Whether all of these are tags of entities, O or special, and some start an entity."""
    tags = [name for name in names if name not in (OUTSIDE, *SPECIAL)]
    if not all(len(tag) > 2 and tag[0] in KINDS and tag[1] == "-" for tag in tags):
        return False
    return any(KINDS[tag[0]] in (B, U) for tag in tags)


class Scheme:
    """Tags in the order of a head's columns.

    Attributes:
        kinds: Ints ``(C,)``, B, I, L, U or O.
        starts, ends: Bools ``(C,)``, whether the tag starts (B, U) or ends (L, U) an entity.
        inside: Ints ``(C,)``, the column of the I tag of the same label, -1 if there is none.
        closed: Whether entities have an end of their own (BILUO and BIOES, not BIO).
    """

    def __init__(self, names: Sequence[str]):
        tags = ["O-" if name in SPECIAL or name == OUTSIDE else name for name in names]
        self.kinds = numpy.asarray([KINDS[tag[0]] for tag in tags], dtype="int64")
        self.starts = (self.kinds == B) | (self.kinds == U)
        self.ends = (self.kinds == L) | (self.kinds == U)
        self.closed = bool(self.ends.any())
        inside = {tag[2:]: column for column, tag in enumerate(tags) if tag[0] == "I"}
        self.inside = numpy.asarray([inside.get(tag[2:], -1) for tag in tags], dtype="int64")

    def gold_paths(self, ids: numpy.ndarray, lengths: Union[Sequence[int], numpy.ndarray]) -> Paths:
        """The paths of whole gold entities.

        Args:
            ids: Ints ``(N,)``, the column of each row's gold tag, -1 where unknown.
            lengths: Rows of each document.

        Returns:
            The paths. Rows of unknown tags are skipped, and entities that are not whole without
            them are left out. In BIO an entity is found if its tags are predicted and the next
            one does not continue it: the path that continues it has the sign -1.
        """
        known = numpy.flatnonzero(ids >= 0)
        if len(known) < len(ids):
            doc = numpy.repeat(numpy.arange(len(lengths)), lengths)[known]
            paths = self.gold_paths(ids[known], numpy.bincount(doc, minlength=len(lengths)))
            return paths._replace(rows=known[paths.rows])
        n = len(ids)
        kinds = self.kinds[ids] if n else numpy.zeros(0, dtype="int64")
        # An entity's rows are those from its start to the next row that opens something else.
        first_of_doc = numpy.zeros(n + 1, dtype=bool)
        first_of_doc[numpy.cumsum([0, *lengths])] = True
        starts = (kinds == B) | (kinds == U)
        opens = numpy.append(starts | (kinds == O), True) | first_of_doc
        begin = numpy.flatnonzero(starts)
        bounds = numpy.flatnonzero(opens)
        end = bounds[numpy.searchsorted(bounds, begin, side="right")]
        if self.closed:
            is_end = (kinds == L) | (kinds == U)
            n_ends = numpy.cumsum(numpy.append(0, is_end))
            is_whole = n_ends[end] - n_ends[begin] == 1
            begin, end = begin[is_whole], end[is_whole]
        rows, path = ranges(begin, end)
        columns, signs = ids[rows], numpy.ones(len(begin))
        if not self.closed and len(begin):
            on = self.inside[ids[end - 1]]
            more = numpy.flatnonzero((on >= 0) & ~first_of_doc[end])
            more_rows, more_path = ranges(begin[more], end[more] + 1)
            more_columns = ids[more_rows]
            more_columns[numpy.cumsum(end[more] + 1 - begin[more]) - 1] = on[more]
            rows, columns = numpy.append(rows, more_rows), numpy.append(columns, more_columns)
            path = numpy.append(path, more_path + len(begin))
            signs = numpy.append(signs, -numpy.ones(len(more)))
        return Paths(rows, columns, path, signs, len(begin))


def ranges(begin: numpy.ndarray, end: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The numbers from each begin up to its end, one range after another, and whose they are."""
    size = end - begin
    which = numpy.repeat(numpy.arange(len(size)), size)
    return numpy.arange(size.sum()) - (numpy.cumsum(size) - size - begin)[which], which
