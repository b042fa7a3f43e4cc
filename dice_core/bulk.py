"""Tagging texts in bulk: what the `TagTexts` of both faces share."""

from collections.abc import Mapping, Sequence

import numpy

COLUMNS = ("ents", "spans", "cats", "tags")


class BulkTagger:
    """Adds columns to a batch; a subclass computes them (`annotate`).

    Args:
        text: The column of texts.
        columns: The new columns; there is also ``error``.
    """

    def __init__(self, text: str, columns: Sequence[str]):
        self.text, self.columns = text, tuple(columns)

    def annotate(self, texts: Sequence[str]) -> list[dict[str, str]]:
        """Compute the new columns of each text, as JSON. It may raise any exception."""
        raise NotImplementedError

    def __call__(self, batch: Mapping[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        """Add the new columns to a batch.

        Args:
            batch: Columns by name, as Ray Data gives them with ``batch_format="numpy"``.

        Returns:
            All columns. A text that cannot be tagged has the reason in ``error`` and null in the
            other new columns; the other texts are tagged all the same.

        Raises:
            ValueError: For a batch without the column of texts, or with one that would be
                overwritten.
        """
        present = [name for name in (*self.columns, "error") if name in batch]
        if self.text not in batch or present:
            reason = (
                f"there is a column {present[0]!r}" if present else f"there is no {self.text!r}"
            )
            raise ValueError(f"TagTexts: {reason} among {', '.join(batch)}. Rename columns.")
        rows = [
            {"error": "" if isinstance(value, str) else f"no text, but {value!r}"}
            for value in batch[self.text]
        ]
        good = [i for i, row in enumerate(rows) if not row["error"]]
        texts = [batch[self.text][i] for i in good]
        try:
            found = self.annotate(texts)
        except Exception:  # One of the texts is the reason: find out which.
            found = [self._annotate_one(text) for text in texts]
        for i, row in zip(good, found):
            rows[i].update(row)
        names = (*self.columns, "error")
        added = {name: numpy.asarray([row.get(name) for row in rows], object) for name in names}
        return {**batch, **added}

    def _annotate_one(self, text: str) -> dict[str, str]:
        try:
            return self.annotate([text])[0]
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
