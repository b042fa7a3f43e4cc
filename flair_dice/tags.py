"""Tags of entities, as a head's columns have them: BIOES, BILUO or BIO.

B begins and I is inside an entity; E (or L) ends one of several tokens and S (or U) is one of a
single token; O is outside. In BIO, E and S are missing and an entity ends where the next tag is
not its I.
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

OUTSIDE = "O"
# No tags, but columns of their own in Flair.
SPECIAL = ("<unk>", "<START>", "<STOP>")
STARTS, ENDS = "BSU", "ELSU"
PREFIXES = STARTS + "IEL"


class Paths(NamedTuple):
    """Cells whose product of probabilities is wanted, path by path.

    rows, cols, ids: long ``(M,)``, one entry a cell: its row and column, and its path; the
    cells of a path follow one another. signs: float ``(P,)``, with which a path is summed.
    n_spans: how many entities they stand for.
    """

    rows: Tensor
    cols: Tensor
    ids: Tensor
    signs: Tensor
    n_spans: int


def is_scheme(names: Sequence[str]) -> bool:
    """Whether all of these are tags of entities, O or special, and some start an entity."""
    tags = [name for name in names if name not in (OUTSIDE, *SPECIAL)]
    if not all(len(tag) > 2 and tag[0] in PREFIXES and tag[1] == "-" for tag in tags):
        return False
    return any(tag[0] in STARTS for tag in tags)


class Scheme:
    """Tags in the order of a head's columns.

    starts: the columns of tags that start an entity (B, S and U). closed: whether entities have
    an end of their own (BIOES and BILUO, not BIO).
    """

    def __init__(self, names: Sequence[str]):
        tags = ["O-" if name in SPECIAL or name == OUTSIDE else name for name in names]
        self._kinds = [tag[0] for tag in tags]
        self._labels = [tag[2:] for tag in tags]
        self.closed = any(kind in ENDS for kind in self._kinds)
        self.starts = [c for c, kind in enumerate(self._kinds) if kind in STARTS]
        self._inside: Dict[str, int] = {
            label: c
            for c, (kind, label) in enumerate(zip(self._kinds, self._labels))
            if kind == "I"
        }

    def gold_paths(self, ids: Sequence[int], lengths: Sequence[int], like: Tensor) -> Paths:
        """The paths of whole gold entities.

        ids: the column of each row's gold tag, -1 where unknown; lengths: rows of each sentence.
        Entities that an unknown tag or a sentence's end cuts short are left out. In BIO an
        entity is found if its tags are predicted and the next one does not go on with it: the
        path that goes on has the sign -1.
        """
        rows: List[int] = []
        paths: List[int] = []
        cols: List[int] = []
        signs: List[float] = []
        n_spans = 0

        def add(path: Sequence[Tuple[int, int]], sign: float) -> None:
            rows.extend(row for row, _ in path)
            cols.extend(col for _, col in path)
            paths.extend([len(signs)] * len(path))
            signs.append(sign)

        begin = 0
        for length in lengths:
            end = begin + length
            for first, last in self._spans(ids[begin:end]):
                path = [(row, ids[row]) for row in range(begin + first, begin + last + 1)]
                add(path, 1.0)
                goes_on = self._inside.get(self._labels[ids[begin + last]])
                if not self.closed and goes_on is not None and begin + last + 1 < end:
                    add([*path, (begin + last + 1, goes_on)], -1.0)
                n_spans += 1
            begin = end
        cells = torch.tensor([rows, cols, paths], dtype=torch.long, device=like.device)
        return Paths(cells[0], cells[1], cells[2], like.new_tensor(signs), n_spans)

    def _spans(self, ids: Sequence[int]) -> List[Tuple[int, int]]:
        """First and last row of each whole entity of a sentence."""
        spans = []
        first = None
        for row, column in enumerate(ids):
            kind = self._kinds[column] if column >= 0 else "?"
            if kind in STARTS:
                if first is not None and not self.closed:
                    spans.append((first, row - 1))
                first = row
            elif kind == "O":
                if first is not None and not self.closed:
                    spans.append((first, row - 1))
                first = None
            elif kind == "?":
                first = None  # It may have gone on here.
            if kind in ENDS and first is not None:
                spans.append((first, row))
                first = None
        if first is not None and not self.closed:
            spans.append((first, len(ids) - 1))
        return spans
