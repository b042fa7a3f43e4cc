"""Tagging any number of texts with a Flair model: one class, for `map_batches` of Ray Data.

Ray reads, distributes, writes and continues what was interrupted; see examples/bulk.py and
docs/scaling.md. The class is a plain callable, and imports nothing of Ray.
"""

import json
from collections.abc import Sequence
from functools import lru_cache

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
from flair.nn import Classifier, Model

from dice_core.bulk import COLUMNS, BulkTagger


class TagTexts(BulkTagger):
    """Adds what a model predicts to the columns of a batch.

    Each new column is JSON, a list for each text, so that its type is the same in all batches:

    - ``ents``: start, end (characters of the given text), label, text, score;
    - ``spans``: key, start, end, label, text, score: entities of the tasks of a MultitaskModel, by
      their label types;
    - ``cats``: label, score of what is predicted;
    - ``tags``: start, end, tag, score of each token;
    - ``error``: "" or, for a text that cannot be tagged, why; its other columns are null then.

    The other texts of its batch are tagged all the same. Flair removes some characters from a text
    before it reads it (zero-width ones, such as the end of a red heart); offsets are those of the
    given text.

    Args:
        model: A file of a model whose input is a text: a tagger, a text classifier, TARS, or
            several in a MultitaskModel. Loading a file of torch runs code in it: load those that
            you trust.
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
        loaded = Classifier.load(model)
        loaded.eval()
        several = isinstance(loaded, MultitaskModel)
        # Of each task, the column of what it predicts, and its label type.
        self.tasks: list[tuple[str, str]] = []
        for task in loaded.tasks.values() if isinstance(loaded, MultitaskModel) else [loaded]:
            column = _column(task)
            if not column:
                raise ValueError(
                    f"TagTexts: {model} is a {type(task).__name__}, which needs more than a text. "
                    "Use a model of tokens, entities or texts."
                )
            self.tasks.append(
                ("spans" if several and column == "ents" else column, task.label_type)
            )
        self.model, self.batch_size = loaded, batch_size
        super().__init__(text, [name for name in COLUMNS if name in dict(self.tasks)])

    def annotate(self, texts: Sequence[str]) -> list[dict[str, str]]:
        sentences = [Sentence(text) for text in texts]
        filled = [sentence for sentence in sentences if len(sentence)]
        if filled:
            self.model.predict(filled, mini_batch_size=self.batch_size)
        return [self._row(text, sentence) for text, sentence in zip(texts, sentences)]

    def _row(self, text: str, sentence: Sentence) -> dict[str, str]:
        found: dict[str, list[dict[str, object]]] = {name: [] for name in self.columns}
        kept = kept_characters(text)
        for column, key in self.tasks if len(sentence) else ():
            rows = found[column]
            if column == "cats":
                cats = sentence.get_labels(key)
                rows += [{"label": label.value, "score": label.score} for label in cats]
                continue
            units = sentence.tokens if column == "tags" else sentence.get_spans(key)
            for unit in units:
                label = unit.get_label(key)
                start, end = kept[unit.start_position], kept[unit.end_position - 1] + 1
                row: dict[str, object] = {"key": key} if column == "spans" else {}
                row.update(start=start, end=end)
                if column == "tags":
                    row.update(tag=label.value, score=label.score)
                else:
                    row.update(label=label.value, text=text[start:end], score=label.score)
                rows.append(row)
        return {name: json.dumps(rows, ensure_ascii=False) for name, rows in found.items()}


def kept_characters(text: str) -> list[int]:
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
