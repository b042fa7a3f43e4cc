"""Two of Flair's models on the same sentences, and how often each label is there."""

from collections import Counter
from functools import partial
from typing import Any, Iterable, List, NamedTuple, Sequence, Set, Tuple

from flair.data import Sentence, Span, Token

from dice_core.comparison import Comparison, Item, calibration_or_note, score_items
from dice_core.label_counts import LabelCount, count_labels, label_lines

from .tuning.run import calibrate

PREDICTED = "flair_dice_compared"
OUTSIDE = "O"


def compare(
    model_a: Any,
    model_b: Any,
    sentences: Sequence[Sentence],
    *,
    names: Tuple[str, str] = ("A", "B"),
    samples: int = 2000,
    seed: int = 0,
    mini_batch_size: int = 32,
    calibration: bool = True,
) -> Comparison:
    """Compare two models of the same label type on the same sentences, by label.

    The intervals are of a paired bootstrap over sentences. They say what other sentences of the
    same kind would do, and nothing about other seeds of the training.

    Args:
        model_a: A trained tagger or classifier.
        model_b: Another, of the same label type.
        sentences: With gold labels, e.g. ``list(corpus.test)``.
        names: What to call the two.
        samples: Resamplings.
        seed: Of them.
        mini_batch_size: Of predicting.
        calibration: Whether to measure how well probabilities hold, of models that have them. It
            runs both once more.

    Returns:
        A `Comparison`: print it, or ask for ``to_dict`` and ``plot``.

    Raises:
        ValueError: If the label types differ, or no sentence has a gold label of this type.

    Example:
        >>> from flair_dice.comparison import compare
        >>> print(compare(stock, ours, list(corpus.test)))
    """
    sentences = list(sentences)
    kind = model_a.label_type
    if model_b.label_type != kind:
        raise ValueError(
            f"compare: {names[0]} predicts {kind!r} and {names[1]} {model_b.label_type!r}. Compare "
            "models of the same label type."
        )
    gold = [_items(sentence, kind) for sentence in sentences]
    if not any(gold):
        raise ValueError(
            f"compare: none of the {len(sentences)} sentences has a label of the type {kind!r}."
        )
    of_texts = all(item[:2] == (0, 0) for items in gold for item in items)
    predicted = []
    for model, name in zip((model_a, model_b), names):
        model.predict(sentences, mini_batch_size=mini_batch_size, label_name=PREDICTED)
        predicted.append([_items(sentence, PREDICTED) for sentence in sentences])
        for sentence in sentences:
            sentence.remove_labels(PREDICTED)
        if any((item[:2] == (0, 0)) != of_texts for items in predicted[-1] for item in items):
            have, says = ("whole texts", "parts") if of_texts else ("parts", "whole texts")
            raise ValueError(
                f"compare: the sentences have labels of {have}, and {name} predicts labels of "
                f"{says}. Are these the right data?"
            )
    key = "cats" if of_texts else "ents" if _of_spans(sentences, kind) else "tags"
    triples = list(zip(gold, *predicted))
    task = score_items(key, kind, triples, samples, seed)
    if calibration:
        task.calibration_a, task.calibration_b = (
            calibration_or_note(partial(calibrate, model, sentences, fit=False), name, task.notes)
            for model, name in zip((model_a, model_b), names)
        )
    return Comparison(*names, tasks=[task])


def _items(sentence: Sentence, kind: str) -> Set[Item]:
    items = set()
    for label in sentence.get_labels(kind):
        if label.value != OUTSIDE:
            of = label.data_point
            place = (0, 0) if isinstance(of, Sentence) else (of.start_position, of.end_position)
            items.add((*place, label.value))
    return items


def _of_spans(sentences: Iterable[Sentence], kind: str) -> bool:
    labels = (label for sentence in sentences for label in sentence.get_labels(kind))
    return isinstance(next(labels).data_point, Span)


class LabelType(NamedTuple):
    """A label type of a corpus. unit: "tokens" or "texts". background: share of units without a
    label. n_units: how many. labels: the most frequent first.
    """

    name: str
    unit: str
    n_units: int
    background: float
    labels: List[LabelCount]

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.n_units:,} {self.unit}, {100 * self.background:.1f} % without"
        ]
        return "\n".join([*lines, *label_lines(self.labels, self.unit)])


def count(sentences: Sequence[Sentence]) -> List[LabelType]:
    """How often each label is there, by label type.

    Args:
        sentences: With gold labels, e.g. ``list(corpus.train)``.

    Returns:
        One for each label type: print it.

    Example:
        >>> from flair_dice.comparison import count
        >>> for label_type in count(list(corpus.train)):
        ...     print(label_type)
    """
    sentences = list(sentences)
    kinds = dict.fromkeys(kind for s in sentences for kind in s.annotation_layers)
    found = []
    for kind in kinds:
        labels = [label for s in sentences for label in s.get_labels(kind)]
        labels = [label for label in labels if label.value != OUTSIDE]
        if not labels:
            continue
        counts = Counter(label.value for label in labels)
        if isinstance(labels[0].data_point, Sentence):
            n_units = len(sentences)
            with_any = sum(bool(s.get_labels(kind)) for s in sentences)
            units, unit = counts, "texts"
        else:
            n_units = sum(len(s) for s in sentences)
            units, unit = Counter(), "tokens"
            for label in labels:
                units[label.value] += (
                    1 if isinstance(label.data_point, Token) else len(label.data_point)
                )
            with_any = sum(units.values())
        rows = count_labels(counts, units, n_units)
        found.append(LabelType(kind, unit, n_units, 1 - with_any / max(n_units, 1), rows))
    return found
