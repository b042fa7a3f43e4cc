"""Flair's models: the labels of their sentences, as rows."""

from typing import Any, Dict, List, Sequence, Tuple

import flair
import torch
from flair.data import Sentence
from flair.models import (
    MultitaskModel,
    SequenceTagger,
    TARSClassifier,
    TARSTagger,
    TextClassifier,
    TokenClassifier,
)
from flair.nn import Classifier

from .options import FIELDS
from .taggers import Found, Tagged, Tagger, one_by_one


class FlairTagger(Tagger):
    """A model that takes a text: tagger, text classifier, TARS, or several in a MultitaskModel.

    Args:
        model: Its file.
        on_gpu: Whether to predict on the GPU.

    Raises:
        ValueError: If the file is no model, or of another kind.
    """

    def __init__(self, model: str, on_gpu: bool = False) -> None:
        flair.device = torch.device("cuda:0" if on_gpu else "cpu")
        with open(model, "rb") as content:
            head = content.read(2)
        if head not in (b"PK", b"\x80\x02"):  # of torch's files, of all versions
            raise ValueError(f"{model} is no file of a Flair model.")
        try:
            loaded: Any = Classifier.load(model)
        except Exception as error:
            raise ValueError(f"{model} cannot be loaded by Flair: {error}") from error
        loaded.eval()
        self.model = loaded
        several = isinstance(loaded, MultitaskModel)
        # A task is (field, label type); the spans of several tasks are told apart by the latter.
        self.tasks: List[Tuple[str, str]] = []
        for task in loaded.tasks.values() if several else [loaded]:
            field = _field(task)
            if field is None:
                raise ValueError(
                    f"{model}: a {type(task).__name__} takes more than a text. Bulk tagging is for "
                    "models of tokens, spans and texts."
                )
            self.tasks.append(("spans" if several and field == "ents" else field, task.label_type))
        given = [field for field, _ in self.tasks]
        self.fields = tuple(name for name in FIELDS if name in given)

    def tag(self, texts: Sequence[str], fields: Sequence[str]) -> Tagged:
        def rows(some: Sequence[str]) -> List[Found]:
            sentences = [Sentence(text) for text in some]
            filled = [sentence for sentence in sentences if len(sentence)]
            if filled:
                self.model.predict(filled, mini_batch_size=len(filled))
            return [self._row(sentence, fields) for sentence in sentences]

        return one_by_one(rows, texts)

    def _row(self, sentence: Sentence, fields: Sequence[str]) -> Found:
        row: Found = {name: [] for name in fields}
        for field, label_type in self.tasks:
            if field in row:
                row[field] += MAKE[field](sentence, label_type)
        return row


def _field(model: Any) -> Any:
    """Where a model's labels go; None for one that needs more than a text."""
    if isinstance(model, SequenceTagger):
        return "ents" if model.predict_spans else "tags"
    if isinstance(model, TokenClassifier):
        return "ents" if model.span_prediction_problem else "tags"
    if isinstance(model, TARSTagger):
        return "ents"
    return "cats" if isinstance(model, (TextClassifier, TARSClassifier)) else None


def _ents(sentence: Sentence, label_type: str) -> List[Dict[str, Any]]:
    return [
        {
            "start": span.start_position,
            "end": span.end_position,
            "label": span.get_label(label_type).value,
            "text": span.text,
            "kb_id": None,
            "score": span.get_label(label_type).score,
        }
        for span in sentence.get_spans(label_type)
    ]


def _spans(sentence: Sentence, label_type: str) -> List[Dict[str, Any]]:
    return [{"key": label_type, **span} for span in _ents(sentence, label_type)]


def _cats(sentence: Sentence, label_type: str) -> List[Dict[str, Any]]:
    if not len(sentence):
        return []
    labels = sentence.get_labels(label_type)
    return [{"label": label.value, "score": label.score} for label in labels]


def _tags(sentence: Sentence, label_type: str) -> List[Dict[str, Any]]:
    rows = []
    for token in sentence:
        label = token.get_label(label_type)
        rows.append(
            {
                "start": token.start_position,
                "end": token.end_position,
                "tag": label.value,
                "pos": None,
                "morph": None,
                "lemma": None,
                "score": label.score,
            }
        )
    return rows


MAKE = {"ents": _ents, "spans": _spans, "cats": _cats, "tags": _tags}
