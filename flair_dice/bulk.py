"""Tagging any number of texts with a Flair model: one class, for `map_batches` of Ray Data.

Ray reads, distributes, writes and continues what was interrupted; see examples/bulk.py and
docs/scaling.md. The class is a plain callable, and imports nothing of Ray.
"""

import json
from functools import lru_cache
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import flair
import numpy
import torch
from flair.data import Sentence, Span
from flair.models import (
    MultitaskModel,
    SequenceTagger,
    TARSClassifier,
    TARSTagger,
    TextClassifier,
    TokenClassifier,
)
from flair.nn import Classifier, Model

COLUMNS = ("ents", "spans", "cats", "tags")


class TagTexts:
    """Adds what a model predicts to the columns of a batch.

    Each new column holds JSON, a list for each text, so that it has the same type in all batches:

    - ``ents``: start, end (characters of the given text), label, text, score;
    - ``spans``: key, start, end, label, text, score: entities of the tasks of a MultitaskModel, by
      their label types;
    - ``cats``: label, score of what is predicted;
    - ``tags``: start, end, tag, score of each token;
    - ``error``: "" or, for a text that cannot be tagged, why; its other columns are null then.

    The other texts of its batch are tagged all the same. Flair takes some characters out of a text
    before it reads it (zero-width ones, such as the end of a red heart); offsets are those of the
    given text.

    Args:
        model: A file of a model that takes a text: a tagger, a text classifier, TARS, or several in
            a MultitaskModel. Loading a file of torch runs code in it: load those you trust.
        text: The column of texts. All columns of a batch are kept.
        batch_size: Texts that the model reads at once.
        gpu_id: The GPU to predict on; -1 for the CPU.

    Raises:
        ValueError: For a model of another kind.

    Example:
        >>> dataset.map_batches(  # doctest: +SKIP
        ...     TagTexts, fn_constructor_kwargs={"model": "final-model.pt"}, num_cpus=0.5
        ... )
    """

    def __init__(self, model: str, *, text: str = "text", batch_size: int = 32, gpu_id: int = -1):
        flair.device = torch.device(f"cuda:{gpu_id}" if gpu_id >= 0 else "cpu")
        loaded: Any = Classifier.load(model)
        loaded.eval()
        several = isinstance(loaded, MultitaskModel)
        # Of each task, the column of what it predicts, and its label type.
        self.tasks: List[Tuple[str, str]] = []
        for task in loaded.tasks.values() if several else [loaded]:
            column = _column(task)
            if not column:
                raise ValueError(
                    f"TagTexts: {model} is a {type(task).__name__}, which takes more than a text. "
                    "Use a model of tokens, entities or texts."
                )
            self.tasks.append(
                ("spans" if several and column == "ents" else column, task.label_type)
            )
        self.model, self.text, self.batch_size = loaded, text, batch_size
        self.columns = tuple(name for name in COLUMNS if name in dict(self.tasks))

    def __call__(self, batch: Mapping[str, numpy.ndarray]) -> Dict[str, numpy.ndarray]:
        """The batch with the new columns.

        Args:
            batch: Columns by name, as Ray Data gives them with ``batch_format="numpy"``.

        Raises:
            ValueError: For a batch without the column of texts, or with one that would be
                overwritten.
        """
        taken = [name for name in (*self.columns, "error") if name in batch]
        if self.text not in batch or taken:
            problem = f"there is a column {taken[0]!r}" if taken else f"there is no {self.text!r}"
            raise ValueError(f"TagTexts: {problem} among {', '.join(batch)}. Rename columns.")
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
        try:
            found = self._predict([texts[i] for i in good])
        except Exception:  # of one of them: whose it is shows one by one
            found = [self._columns_or_error(texts[i]) for i in good]
        for i, columns in zip(good, found):
            rows[i].update(columns)
        return rows

    def _columns_or_error(self, text: str) -> Dict[str, str]:
        try:
            return self._predict([text])[0]
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _predict(self, texts: Sequence[str]) -> List[Dict[str, str]]:
        sentences = [Sentence(text) for text in texts]
        filled = [sentence for sentence in sentences if len(sentence)]
        if filled:
            self.model.predict(filled, mini_batch_size=self.batch_size)
        return [self._row(text, sentence) for text, sentence in zip(texts, sentences)]

    def _row(self, text: str, sentence: Sentence) -> Dict[str, str]:
        found: Dict[str, List[Dict[str, Any]]] = {name: [] for name in self.columns}
        places = kept_characters(text)

        def place(thing: Any) -> Dict[str, Any]:
            first, last = places[thing.start_position], places[thing.end_position - 1]
            return {"start": first, "end": last + 1}

        def entity(span: Span, label_type: str) -> Dict[str, Any]:
            label, at = span.get_label(label_type), place(span)
            surface = text[at["start"] : at["end"]]
            return {**at, "label": label.value, "text": surface, "score": label.score}

        for column, label_type in self.tasks if len(sentence) else ():
            if column == "tags":
                labels = [(token, token.get_label(label_type)) for token in sentence]
                rows = [{**place(t), "tag": la.value, "score": la.score} for t, la in labels]
            elif column == "cats":
                cats = sentence.get_labels(label_type)
                rows = [{"label": label.value, "score": label.score} for label in cats]
            else:
                rows = [entity(span, label_type) for span in sentence.get_spans(label_type)]
                if column == "spans":
                    rows = [{"key": label_type, **row} for row in rows]
            found[column] += rows
        return {name: json.dumps(rows, ensure_ascii=False) for name, rows in found.items()}


def kept_characters(text: str) -> List[int]:
    r"""The place in a text of each character that Flair reads of it.

    Example:
        >>> kept_characters("a\u200bb")
        [0, 2]
    """
    return [i for i, character in enumerate(text) if _is_kept(character)]


@lru_cache(maxsize=4096)
def _is_kept(character: str) -> bool:
    return bool(Sentence._handle_problem_characters(character))


def _column(model: Model) -> str:
    """Where a model's labels go; "" for one that needs more than a text."""
    if isinstance(model, SequenceTagger):
        return "ents" if model.predict_spans else "tags"
    if isinstance(model, TokenClassifier):
        return "ents" if model.span_prediction_problem else "tags"
    if isinstance(model, TARSTagger):
        return "ents"
    return "cats" if isinstance(model, (TextClassifier, TARSClassifier)) else ""
