"""Tagging any number of texts with a pipeline: one class, for `map_batches` of Ray Data.

Ray reads, distributes, writes and continues what was interrupted; see examples/bulk.py and
docs/scaling.md. The class is a plain callable, and imports nothing of Ray.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import spacy

from dice_core.bulk import COLUMNS, BulkTagger

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span


class TagTexts(BulkTagger):
    """Adds what a pipeline annotates to the columns of a batch.

    Each new column is JSON, a list for each text, so that its type is the same in all batches:

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
        ValueError: For a column that there is not.

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
            raise ValueError(
                f"TagTexts: columns must be of {', '.join(COLUMNS)}, got {list(columns)!r}."
            )
        super().__init__(text, columns)
        if gpu_id >= 0:
            spacy.require_gpu(gpu_id)
        self.nlp = spacy.load(model)
        self.batch_size = batch_size

    def annotate(self, texts: Sequence[str]) -> list[dict[str, str]]:
        # What the vocabulary learns of new words is forgotten: else it grows with the input.
        with self.nlp.memory_zone():
            return [self._row(doc) for doc in self.nlp.pipe(texts, batch_size=self.batch_size)]

    def _row(self, doc: "Doc") -> dict[str, str]:
        make = {"ents": _ents, "spans": _spans, "cats": _cats, "tags": _tags}
        return {name: json.dumps(make[name](doc), ensure_ascii=False) for name in self.columns}


def _place(span: "Span") -> dict[str, object]:
    start, end = span.start_char, span.end_char
    return {"start": start, "end": end, "label": span.label_, "text": span.text}


def _ents(doc: "Doc") -> list[dict[str, object]]:
    return [_place(ent) for ent in doc.ents]


def _spans(doc: "Doc") -> list[dict[str, object]]:
    rows = []
    for key, group in doc.spans.items():
        scores = group.attrs.get("scores", [None] * len(group))
        for span, score in zip(group, scores):
            number = None if score is None else float(score)
            rows.append({"key": key, **_place(span), "score": number})
    return rows


def _cats(doc: "Doc") -> list[dict[str, object]]:
    return [{"label": label, "score": float(score)} for label, score in doc.cats.items()]


def _tags(doc: "Doc") -> list[dict[str, object]]:
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
