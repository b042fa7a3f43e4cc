"""spaCy's pipelines: what their docs have, as rows."""

from typing import Any, Dict, Iterable, List, Optional, Sequence

import spacy
from spacy.tokens import Doc, Span

from .options import FIELDS
from .taggers import Found, Tagged, Tagger, one_by_one

# What components say that they assign, and the field that has it.
ASSIGNED = {
    "doc.ents": "ents",
    "doc.spans": "spans",
    "doc.cats": "cats",
    "token.tag": "tags",
    "token.pos": "tags",
    "token.morph": "tags",
    "token.lemma": "tags",
}
# Components that assign nothing that is written.
SILENT = ("tok2vec", "transformer", "senter", "sentencizer", "parser", "attribute_ruler")


class SpacyTagger(Tagger):
    """A pipeline, with its `nlp.pipe` and what that left in each doc.

    Args:
        model: Folder or package.
        on_gpu: Whether to predict on the GPU.
    """

    def __init__(self, model: str, on_gpu: bool = False) -> None:
        if on_gpu:
            spacy.require_gpu()
        self.nlp = spacy.load(model)
        metas = [self.nlp.get_pipe_meta(name) for name in self.nlp.pipe_names]
        found = {ASSIGNED.get(value) for meta in metas for value in meta.assigns}
        self.fields = tuple(name for name in FIELDS if name in found)
        # Where components of entities put them with scores, too, as dice_ner with spans_key.
        finders = [
            self.nlp.get_pipe(name)
            for name, meta in zip(self.nlp.pipe_names, metas)
            if "doc.ents" in meta.assigns
        ]
        keys = (getattr(pipe, "spans_key", None) for pipe in finders)
        self._keys = [key for key in keys if isinstance(key, str)]
        # A custom component may assign anything without saying so.
        self._custom = any(not meta.assigns and meta.factory not in SILENT for meta in metas)

    def check(self, fields: Sequence[str]) -> None:
        if not self._custom:
            super().check(fields)

    def tag(self, texts: Sequence[str], fields: Sequence[str]) -> Tagged:
        make = {**MAKE, "ents": lambda doc: _ents(doc, self._keys)}

        def rows(some: Sequence[str]) -> List[Found]:
            docs = self.nlp.pipe(some, batch_size=len(some))
            return [{name: make[name](doc) for name in fields} for doc in docs]

        # What the vocabulary learns of new words is forgotten: else it grows with the input.
        with self.nlp.memory_zone():
            return one_by_one(rows, texts)


def _ents(doc: Doc, keys: Sequence[str]) -> List[Dict[str, Any]]:
    scores = {
        (span.start, span.end, span.label): score
        for key in keys
        if key in doc.spans and "scores" in doc.spans[key].attrs
        for span, score in zip(doc.spans[key], doc.spans[key].attrs["scores"])
    }
    return [_span(ent, scores.get((ent.start, ent.end, ent.label))) for ent in doc.ents]


def _spans(doc: Doc) -> List[Dict[str, Any]]:
    rows = []
    for key, group in doc.spans.items():
        scores: Iterable[Optional[float]] = group.attrs.get("scores", [None] * len(group))
        rows += [{"key": key, **_span(span, score)} for span, score in zip(group, scores)]
    return rows


def _span(span: Span, score: Optional[float]) -> Dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "label": span.label_,
        "text": span.text,
        "kb_id": span.kb_id_ or None,
        "score": None if score is None else float(score),
    }


def _cats(doc: Doc) -> List[Dict[str, Any]]:
    return [{"label": label, "score": float(score)} for label, score in doc.cats.items()]


def _tags(doc: Doc) -> List[Dict[str, Any]]:
    return [
        {
            "start": token.idx,
            "end": token.idx + len(token),
            "tag": token.tag_ or None,
            "pos": token.pos_ or None,
            "morph": str(token.morph) or None,
            "lemma": token.lemma_ or None,
            "score": None,
        }
        for token in doc
    ]


MAKE = {"spans": _spans, "cats": _cats, "tags": _tags}
