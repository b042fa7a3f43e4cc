"""Tagging any number of texts with a pipeline: one class, for `map_batches` of Ray Data.

Ray reads, distributes, writes and continues what was interrupted; see examples/bulk.py and
docs/scaling.md. The class is a plain callable, and imports nothing of Ray.
"""

import json
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Sequence

import numpy
import spacy

from .errors import config_error

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

COLUMNS = ("ents", "spans", "cats", "tags")


class TagTexts:
    """Adds what a pipeline annotates to the columns of a batch.

    Each new column holds JSON, a list for each text, so that it has the same type in all batches:

    - ``ents``: start, end (characters of the text), label, text;
    - ``spans``: key, start, end, label, text, score (None where there is none);
    - ``cats``: label, score;
    - ``tags``: start, end, tag, pos, morph, lemma of each token;
    - ``error``: "" or, for a text that cannot be tagged, why; its other columns are null then.

    The other texts of its batch are tagged all the same.

    Args:
        model: Folder or package of a pipeline.
        text: The column of texts. All columns of a batch are kept.
        columns: Which of ``ents``, ``spans``, ``cats`` and ``tags`` to add.
        batch_size: Documents that the pipeline processes at once.
        gpu_id: The GPU to predict on; -1 for the CPU.

    Raises:
        ConfigValidationError: For a column that there is not.

    Example:
        >>> dataset.map_batches(  # doctest: +SKIP
        ...     TagTexts, fn_constructor_kwargs={"model": "output/model-best"}, num_cpus=0.5
        ... )
    """

    def __init__(
        self,
        model: str,
        *,
        text: str = "text",
        columns: Sequence[str] = ("ents", "spans", "cats"),
        batch_size: int = 128,
        gpu_id: int = -1,
    ):
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown or not columns:
            raise config_error(
                f"TagTexts: columns must be of {', '.join(COLUMNS)}, got {list(columns)!r}."
            )
        if gpu_id >= 0:
            spacy.require_gpu(gpu_id)
        self.nlp = spacy.load(model)
        self.text, self.columns, self.batch_size = text, tuple(columns), batch_size

    def __call__(self, batch: Mapping[str, numpy.ndarray]) -> Dict[str, numpy.ndarray]:
        """The batch with the new columns.

        Args:
            batch: Columns by name, as Ray Data gives them with ``batch_format="numpy"``.

        Raises:
            ConfigValidationError: For a batch without the column of texts, or with one that would
                be overwritten.
        """
        taken = [name for name in (*self.columns, "error") if name in batch]
        if self.text not in batch or taken:
            problem = f"there is a column {taken[0]!r}" if taken else f"there is no {self.text!r}"
            raise config_error(f"TagTexts: {problem} among {', '.join(batch)}. Rename columns.")
        rows = self._tag(list(batch[self.text]))
        added = {
            name: numpy.asarray([row.get(name) for row in rows], dtype=object)
            for name in (*self.columns, "error")
        }
        return {**batch, **added}

    def _tag(self, texts: Sequence[Any]) -> List[Dict[str, str]]:
        rows: List[Dict[str, str]] = [
            {"error": "" if isinstance(text, str) else f"no text, but {text!r}"} for text in texts
        ]
        good = [i for i, row in enumerate(rows) if not row["error"]]
        # What the vocabulary learns of new words is forgotten: else it grows with the input.
        with self.nlp.memory_zone():
            try:
                docs = self.nlp.pipe([texts[i] for i in good], batch_size=self.batch_size)
                found = [self._columns(doc) for doc in docs]
            except Exception:  # of one of them: whose it is shows one by one
                found = [self._columns_or_error(texts[i]) for i in good]
        for i, columns in zip(good, found):
            rows[i].update(columns)
        return rows

    def _columns_or_error(self, text: str) -> Dict[str, str]:
        try:
            return self._columns(self.nlp(text))
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _columns(self, doc: "Doc") -> Dict[str, str]:
        make = {"ents": _ents, "spans": _spans, "cats": _cats, "tags": _tags}
        return {name: json.dumps(make[name](doc), ensure_ascii=False) for name in self.columns}


def _place(span: "Span") -> Dict[str, Any]:
    start, end = span.start_char, span.end_char
    return {"start": start, "end": end, "label": span.label_, "text": span.text}


def _ents(doc: "Doc") -> List[Dict[str, Any]]:
    return [_place(ent) for ent in doc.ents]


def _spans(doc: "Doc") -> List[Dict[str, Any]]:
    rows = []
    for key, group in doc.spans.items():
        scores = group.attrs.get("scores", [None] * len(group))
        for span, score in zip(group, scores):
            number = None if score is None else float(score)
            rows.append({"key": key, **_place(span), "score": number})
    return rows


def _cats(doc: "Doc") -> List[Dict[str, Any]]:
    return [{"label": label, "score": float(score)} for label, score in doc.cats.items()]


def _tags(doc: "Doc") -> List[Dict[str, Any]]:
    return [
        {
            "start": token.idx,
            "end": token.idx + len(token),
            "tag": token.tag_,
            "pos": token.pos_,
            "morph": str(token.morph),
            "lemma": token.lemma_,
        }
        for token in doc
    ]
