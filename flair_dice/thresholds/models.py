"""What each kind of model decides, and from which scores: one small class a kind."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import flair
import flair.models as stock
import numpy
import torch
from flair.data import DataPoint, Sentence, get_spans_from_bio
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import DefaultClassifier, Model

from dice_core.thresholds.calibrate import Confidence, logit, sigmoid
from dice_core.thresholds.component import Record, Settings, TagTunable, Tunable
from dice_core.thresholds.decisions import ScoredLabels, check_scores
from dice_core.thresholds.decoded import Span, SpanCounts, span_labels
from dice_core.thresholds.objectives import Array
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels, read_gold

# In a model's card.
KEY = "flair_dice_tuning"
OUTSIDE, UNKNOWN = "O", "<unk>"
SPECIAL = (START_TAG, STOP_TAG)
# A data point: its sentence's place, and its identifier.
Point = tuple[int, str]


class Linear:
    """A linear layer, as `dice_core.thresholds.component.OutputLayer`."""

    def __init__(self, layer: torch.nn.Linear):
        self._layer = layer

    def bias(self) -> Array:
        """A copy on the host."""
        bias = self._layer.bias.detach().cpu()
        return bias.to(torch.promote_types(bias.dtype, torch.float32)).numpy().copy()

    def set_bias(self, bias: Array) -> None:
        """Write another."""
        with torch.no_grad():
            self._layer.bias.copy_(self._like(bias))

    def scale(self, factor: Array) -> None:
        """Multiply what leads to each output, but for its bias."""
        if (factor != 1.0).any():
            with torch.no_grad():
                self._layer.weight.mul_(self._like(factor)[:, None])

    def fingerprint(self, n: int) -> str:
        """Of the weights and the bias of the first ``n`` outputs."""
        arrays = (self._layer.weight[:n], self._layer.bias[:n])
        data = b"".join(p.detach().float().cpu().contiguous().numpy().tobytes() for p in arrays)
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    def _like(self, values: Array) -> torch.Tensor:
        bias = self._layer.bias
        return torch.as_tensor(values, dtype=bias.dtype, device=bias.device)


class ModelTunable(Tunable[DataPoint]):
    """A model that can be tuned: its output layer, its labels, and what they decide. Counts are
    those of Flair's `evaluate`. size: of mini-batches.
    """

    def __init__(self, model: Model, layer: torch.nn.Linear, size: int):
        self.model: Any = model
        self.layer, self.size = Linear(layer), size
        self.kind, self.name = type(model).__name__, str(model.label_type)

    def check(self) -> None:
        """Raise a ValueError for settings that no shift can serve."""

    @property
    def columns(self) -> list[str]:
        return list(self.model.label_dictionary.get_items())

    @property
    def labels(self) -> list[str]:
        return [label for label in self.columns if label != OUTSIDE]

    def read_points(
        self, points: Sequence[Point], data: Sequence[DataPoint], columns: Sequence[str]
    ) -> tuple[list[str], Array, Array]:
        """Gold annotation of data points, and what no point could find, as of `read_gold`."""
        gold: dict[Point, set[str]] = {}
        for d, sentence in enumerate(data):
            for label in sentence.get_labels(self.model.label_type):
                if label.value != OUTSIDE:
                    gold.setdefault((d, label.unlabeled_identifier), set()).add(label.value)
        rows, left = [gold.get(point, set()) for point in points], set(gold) - set(points)
        return read_gold(columns, rows, [(point[0], x) for point in left for x in gold[point]])

    def competing(
        self, scores: Array, points: Sequence[Point], data: Sequence[DataPoint]
    ) -> CompetingLabels:
        """Of data points that have one label each, the highest of ``(N, C)``."""
        background = self.columns.index(OUTSIDE) if OUTSIDE in self.columns else None
        names, is_gold, missed = self.read_points(points, data, self.columns)
        if background is not None:
            is_gold[~is_gold.any(axis=1), background] = True
        doc, n_docs = [d for d, _ in points], len(data)
        labels = CompetingLabels(
            *(names, scores, is_gold, doc, background), n_docs=n_docs, missed=missed
        )
        labels.over = "seen"
        return labels

    def load(self) -> Record:
        return cast(Record, model_card(self.model).get(KEY) or Record())

    def save(self, record: Record | None) -> None:
        # Plain values load with weights_only=True, too.
        self.model.model_card = {**model_card(self.model), KEY: record}
        if record is None:
            del self.model.model_card[KEY]


class Points(ModelTunable):
    """A classifier of data points, one label each: the highest of a row."""

    what = "the predicted label"

    def __init__(self, model: Model, layer: torch.nn.Linear, size: int):
        super().__init__(model, layer, size)
        if isinstance(model, (stock.TextClassifier, stock.TextPairClassifier)):
            self.average = "macro"

    def read(self, data: Sequence[DataPoint], every_row: bool = False) -> ScoredLabels:
        return self.competing(*point_scores(self.model, data, self.size), data)


class MultiLabel(ModelTunable):
    """A classifier of data points with any number of labels: each at its threshold, which is what
    moves, and not the bias: probabilities stay what they are.
    """

    average = "macro"
    what = "each label of each data point"

    def check(self) -> None:
        for label, threshold in zip(self.labels, self.thresholds(self.labels).tolist()):
            if not 0 < threshold < 1:
                raise ValueError(
                    f"tune: the threshold of {label!r} is {threshold}, where no score decides. Set "
                    "multi_label_threshold between 0 and 1."
                )

    @property
    def labels(self) -> list[str]:
        return [label for label in self.columns if label not in (OUTSIDE, UNKNOWN)]

    @property
    def shift_names(self) -> list[str]:
        return self.labels

    def thresholds(self, labels: Sequence[str]) -> Array:
        """The probabilities above which labels are predicted."""
        return numpy.asarray([self.model._get_label_threshold(label) for label in labels])

    @property
    def odds(self) -> Array:
        return self._odds

    def to_columns(self, shift: Array) -> Array:
        return numpy.zeros(len(self.columns))

    def read(self, data: Sequence[DataPoint], every_row: bool = False) -> ScoredLabels:
        # Flair predicts "<unk>", too, at its threshold.
        predicted = [*self.labels, *([UNKNOWN] if UNKNOWN in self.columns else [])]
        logits, points = point_scores(self.model, data, self.size)
        logits = logits[:, [self.columns.index(label) for label in predicted]]
        thresholds = self.thresholds(predicted)
        names, is_gold, missed = self.read_points(points, data, predicted)
        self._odds = numpy.append(logit(thresholds), [0.0] * (len(names) - len(predicted)))
        scores = logits - logit(thresholds)
        # Above the threshold is predicted; equal to it, as a float32, is not.
        above = torch.sigmoid(torch.as_tensor(logits)).numpy() > thresholds
        scores = numpy.where(above, numpy.maximum(scores, 0.0), numpy.minimum(scores, -1e-9))
        if every_row:  # a threshold moves with the temperature: no score has to stay where it is
            names, scores = self.labels, logits[:, : len(self.labels)]
            is_gold = is_gold[:, : len(names)]
            missed = missed[:0]
        doc, n_docs = [d for d, _ in points], len(data)
        labels = IndependentLabels(names, scores, is_gold, doc, n_docs=n_docs, missed=missed)
        labels.fixed = ~numpy.isin(names, self.labels)
        labels.over = "seen"
        return labels

    @property
    def settings(self) -> Settings:
        return {"thresholds": dict(self.model.multi_label_threshold)}

    def set_settings(self, settings: Settings) -> None:
        self.model.multi_label_threshold = settings["thresholds"]

    def shifted(self, shift: Array, temperature: float) -> Settings:
        odds = (logit(self.thresholds(self.labels)) - shift) / temperature
        now = dict(zip(self.labels, sigmoid(odds).tolist()))
        return {"thresholds": {**self.model.multi_label_threshold, **now}}


class Tags(ModelTunable):
    """Tags of tokens that are no entities', such as parts of speech: the highest of a row."""

    what = "each token's tag"

    def read(self, data: Sequence[Any], every_row: bool = False) -> ScoredLabels:
        points = [(d, t.unlabeled_identifier) for d, sentence in enumerate(data) for t in sentence]
        none = numpy.zeros((0, len(self.columns)))
        scores = numpy.concatenate([none, *emissions(self.model, data, self.size)])
        return self.competing(scores, points, data)


class Entities(TagTunable[DataPoint], ModelTunable):
    """Tags of entities: what counts is whole entities. A label's shift is of all of its tags."""

    prefixes: tuple[str, ...] = ("B-", "I-", "E-", "S-")
    what = "each token's tag"
    has_common = True

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(x[2:] for x in self.columns if x[:2] in self.prefixes))

    def gold_spans(self, sentence: Sentence) -> list[Span]:
        """The gold spans of a sentence."""
        return [
            (label.data_point[0].idx - 1, label.data_point[-1].idx, label.value)
            for label in sentence.get_labels(self.model.label_type)
            if label.value != OUTSIDE
        ]

    def found_spans(self, tags: list[str]) -> list[Span]:
        """The spans of predicted tags."""
        if all(tag == OUTSIDE for tag in tags):
            return []
        spans = get_spans_from_bio(tags, [1.0] * len(tags))
        return [(places[0], places[-1] + 1, label) for places, _, label in spans]

    def read(self, data: Sequence[Any], every_row: bool = False) -> ScoredLabels:
        if isinstance(self.model, stock.SequenceTagger):
            scores = emissions(self.model, data, self.size)
        else:
            flat, points = point_scores(self.model, data, self.size)
            doc = numpy.asarray([d for d, _ in points], dtype="int64")
            scores = [flat[doc == d] for d in range(len(data))]
        check_scores(*scores)
        decode, names = decoder(self.model), self.columns

        def find(shift: Array, at: list[int]) -> Iterator[tuple[int, int, int, str]]:
            columns = self.to_columns(shift)
            for d, ids in zip(at, decode([scores[d] + columns for d in at])):
                spans = self.found_spans([names[c] for c in ids.tolist()])
                yield from ((d, *span) for span in spans)

        def confidence() -> Confidence:
            """Of each token's tag, in the model's scheme."""
            column = {tag: c for c, tag in enumerate(names)}
            ids = [column.get(tag, -1) for sentence in data for tag in self.gold_tags(sentence)]
            flat = numpy.concatenate([numpy.zeros((0, len(names))), *scores])
            return CompetingLabels(names, flat, ids).confidence()

        gold = [self.gold_spans(sentence) for sentence in data]
        count = SpanCounts(self.labels, gold, others=(UNKNOWN, *SPECIAL))
        labels = span_labels(count, find, confidence, self.has_common)
        labels.over = "seen"
        return labels

    def gold_tags(self, sentence: Sentence) -> list[str]:
        """The gold tags of a sentence, in the model's scheme."""
        if isinstance(self.model, stock.SequenceTagger):
            return list(self.model._get_gold_labels([sentence]))
        tags = [OUTSIDE] * len(sentence)
        for start, end, label in self.gold_spans(sentence):
            tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
            if self.model.span_encoding == "BIOES":
                tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{label}"
        return tags


class CrfTags(Entities):
    """Tags of tokens that a CRF finds the best sequence of: each is counted as an entity of one
    token.
    """

    prefixes = ("",)
    has_common = False

    @property
    def labels(self) -> list[str]:
        return [tag for tag in self.columns if tag not in (OUTSIDE, *SPECIAL)]

    def gold_spans(self, sentence: Sentence) -> list[Span]:
        return [
            (i, i + 1, label.value)
            for i, token in enumerate(sentence)
            for label in token.get_labels(self.model.label_type)
            if label.value != OUTSIDE
        ]

    def found_spans(self, tags: list[str]) -> list[Span]:
        return [(i, i + 1, tag) for i, tag in enumerate(tags) if tag != OUTSIDE]


def find_tunable(model: Model, what: str, size: int = 32) -> ModelTunable:
    """What can be tuned of a model, or an error with the reason."""
    kind: type[ModelTunable] | None = None
    layer: torch.nn.Linear | None = None
    reason = "it is not a SequenceTagger, nor a classifier with a linear decoder"
    if isinstance(model, stock.MultitaskModel):
        reason = 'it has several tasks: tune each, e.g. model.tasks["Task_0"]'
    elif isinstance(model, (stock.TARSTagger, stock.TARSClassifier)):
        reason = "its labels are texts that it reads, and have no bias of their own"
    elif isinstance(model, stock.SequenceTagger):
        layer = getattr(model, "linear", None)
        reason = "its output layer has no bias"
        if isinstance(layer, torch.nn.Linear):
            kind = Entities if model.predict_spans else CrfTags if model.use_crf else Tags
    elif isinstance(model, DefaultClassifier):
        reason = f"its decoder is a {type(model.decoder).__name__}, and not linear with a bias"
        if type(model.decoder) is torch.nn.Linear:
            layer, spans = model.decoder, getattr(model, "span_prediction_problem", False)
            kind = MultiLabel if model.multi_label else Entities if spans else Points
    if kind is None or layer is None or layer.bias is None:
        raise ValueError(f"{what}: {type(model).__name__} has nothing to shift: {reason}.")
    if what == "calibrate" and getattr(model, "use_crf", False):
        raise ValueError(
            "calibrate: the SequenceTagger has a CRF, whose scores are of whole sentences: Flair "
            "shows no probabilities that a temperature could mend."
        )
    tunable = kind(model, layer, size)
    if what != "untune":
        tunable.check()
    return tunable


def model_card(model: Model) -> dict[str, object]:
    """The model card; where there is none, one as Flair's trainer makes it."""
    card = getattr(model, "model_card", None)
    if card is not None:
        return card
    versions = {"flair_version": flair.__version__, "pytorch_version": torch.__version__}
    return {**versions, "training_parameters": {}}


@contextmanager
def predicting(model: Model) -> Iterator[None]:
    """Neither dropout nor gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def point_scores(
    model: Any, sentences: Sequence[DataPoint], size: int
) -> tuple[Array, list[tuple[int, str]]]:
    """Of all data points of a classifier: scores ``(N, C)``, and their sentences' places and their
    identifiers.
    """
    scores = [numpy.zeros((0, len(model.label_dictionary)), dtype="float32")]
    identifiers: list[tuple[int, str]] = []
    with predicting(model):
        for start in range(0, len(sentences), size):
            batch, points = [], []
            for d, sentence in enumerate(sentences[start : start + size], start):
                if model._filter_data_point(sentence):
                    batch.append(sentence)
                    found = model._get_data_points_for_batch([sentence])
                    points.extend(found)
                    identifiers.extend((d, point.unlabeled_identifier) for point in found)
            if not points:
                continue
            encoded = model._encode_data_points(batch, points)
            logits = model._mask_scores(model.decoder(encoded), points)
            scores.append(logits.float().cpu().numpy())
            for sentence in batch:
                sentence.clear_embeddings()
    return numpy.concatenate(scores), identifiers


def emissions(model: stock.SequenceTagger, sentences: Sequence[Sentence], size: int) -> list[Array]:
    """Of a SequenceTagger, what its linear layer gives: floats ``(tokens, C)`` a sentence."""
    caught: list[torch.Tensor] = []
    hook = model.linear.register_forward_hook(lambda _, __, out: caught.append(out))
    found = [numpy.zeros((0, len(model.label_dictionary)))] * len(sentences)
    # Flair wants the longest first.
    order = sorted((i for i, s in enumerate(sentences) if len(s)), key=lambda i: -len(sentences[i]))
    try:
        with predicting(model):
            for start in range(0, len(order), size):
                places = order[start : start + size]
                batch = [sentences[i] for i in places]
                model.forward(*model._prepare_tensors(batch))
                out = caught.pop().float().cpu().numpy().astype("float64")
                flat, first = out.reshape(-1, out.shape[-1]), 0
                for row, i in enumerate(places):
                    n = len(sentences[i])
                    found[i] = out[row, :n] if out.ndim == 3 else flat[first : first + n]
                    first += n
                for sentence in batch:
                    sentence.clear_embeddings()
    finally:
        hook.remove()
    return found


def decoder(model: Any) -> Callable[[list[Array]], list[Array]]:
    """From scores of sentences ``(tokens, C)`` to the tags' columns ``(tokens,)``."""
    if not getattr(model, "use_crf", False):
        return lambda scores: [tokens.argmax(axis=1) for tokens in scores]
    transitions = model.crf.transitions.detach().cpu().numpy().astype("float64")
    start, stop = (model.label_dictionary.get_idx_for_item(tag) for tag in SPECIAL)
    return lambda scores: viterbi(scores, transitions, start, stop)


def viterbi(scores: list[Array], transitions: Array, start: int, stop: int) -> list[Array]:
    """The best sequence of tags of each sentence, all sentences at once.

    Flair's own decoder makes an object of each tag, which is too slow for tens of runs.

    scores: emissions ``(tokens, C)`` of each; transitions: ``(C, C)``, ``[to, from]``.
    """
    lengths = numpy.asarray([len(tokens) for tokens in scores], dtype="int64")
    # The longest come first, so that those that have a token t are a prefix.
    order = numpy.argsort(-lengths, kind="stable")
    n_with = [int((lengths > t).sum()) for t in range(lengths.max(initial=0))]
    came_from: list[Array] = []
    best = numpy.tile(transitions[:, start], (len(scores), 1))
    for t, n in enumerate(n_with):
        if t:
            paths = best[:n, None, :] + transitions
            came_from.append(paths.argmax(axis=2))
            best[:n] = paths.max(axis=2)
        best[:n] += [scores[i][t] for i in order[:n]]
    state = (best + transitions[stop]).argmax(axis=1)
    tags = [numpy.zeros(len(tokens), dtype="int64") for tokens in scores]
    for t in reversed(range(len(n_with))):
        for row in range(n_with[t]):
            tags[order[row]][t] = state[row]
        if t:
            n = n_with[t]
            state[:n] = came_from[t - 1][numpy.arange(n), state[:n]]
    return tags
