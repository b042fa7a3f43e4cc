"""What each kind of model decides, and from which scores: one small class a kind."""

import copy
import hashlib
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import flair
import flair.models as stock
import numpy
import torch
from flair.data import DataPoint, Sentence, get_spans_from_bio
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import DefaultClassifier, Model

from dice_core.thresholds.calibrate import Confidence, logit, sigmoid
from dice_core.thresholds.component import TagTunable, Tunable
from dice_core.thresholds.decisions import ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels

# In a model's card.
KEY = "flair_dice_tuning"
OUTSIDE, UNKNOWN = "O", "<unk>"
SPECIAL = (START_TAG, STOP_TAG)
# The gold labels of a sentence, by the data point's identifier.
Gold = Mapping[str, Set[str]]


class ModelTunable(Tunable):
    """A model that can be tuned: its output layer, its labels, and what they decide. Counts are
    those of Flair's `evaluate`. size: of mini-batches.
    """

    def __init__(self, model: Any, layer: torch.nn.Linear, size: int):
        self.model, self.layer, self.size = model, layer, size
        self.kind, self.name = type(model).__name__, str(model.label_type)

    def check(self) -> None:
        """Raise a ValueError for settings that no shift can serve."""

    @property
    def columns(self) -> List[str]:
        return list(self.model.label_dictionary.get_items())

    @property
    def labels(self) -> List[str]:
        return [label for label in self.columns if label != OUTSIDE]

    @property
    def background(self) -> Optional[int]:
        """The column of what is no label."""
        return self.columns.index(OUTSIDE) if OUTSIDE in self.columns else None

    def gold(self, sentence: DataPoint) -> Gold:
        """All gold labels of a sentence and of what is in it."""
        gold: Dict[str, Set[str]] = {}
        for label in sentence.get_labels(self.model.label_type):
            if label.value != OUTSIDE:
                gold.setdefault(label.unlabeled_identifier, set()).add(label.value)
        return gold

    def read_points(
        self, points: Sequence[Tuple[int, str]], data: Sequence[DataPoint], names: Sequence[str]
    ) -> Tuple[List[str], numpy.ndarray, List[Tuple[int, int]]]:
        """Gold annotation of data points, each a sentence's place and an identifier.

        Returns:
            ``names`` and what is gold beside them; bools ``(N, C)``; and what no point could find,
            as for `IndependentLabels`.
        """
        gold = [self.gold(sentence) for sentence in data]
        seen = {value for by_point in gold for values in by_point.values() for value in values}
        names = [*names, *sorted(seen - set(names))]
        column = {name: c for c, name in enumerate(names)}
        is_gold = numpy.zeros((len(points), len(names)), dtype=bool)
        for row, (d, identifier) in enumerate(points):
            for value in gold[d].get(identifier, ()):
                is_gold[row, column[value]] = True
        known = set(points)
        missed = [
            (d, column[value])
            for d, by_point in enumerate(gold)
            for identifier, values in by_point.items()
            if (d, identifier) not in known
            for value in sorted(values)
        ]
        return names, is_gold, missed

    def competing(
        self, scores: numpy.ndarray, points: Sequence[Tuple[int, str]], data: Sequence[DataPoint]
    ) -> CompetingLabels:
        """Of data points that have one label each, the highest of ``(N, C)``."""
        names, is_gold, missed = self.read_points(points, data, self.columns)
        if self.background is not None:
            is_gold[~is_gold.any(axis=1), self.background] = True
        n_more = len(names) - len(self.columns)
        labels = CompetingLabels(
            names,
            numpy.pad(scores, ((0, 0), (0, n_more)), constant_values=-numpy.inf),
            is_gold,
            [d for d, _ in points],
            self.background,
            n_docs=len(data),
            missed=missed,
            n_fixed=n_more,
        )
        labels.over = "seen"
        return labels

    @property
    def record(self) -> Dict[str, Any]:
        record = model_card(self.model).get(KEY) or {}
        if not record or record["weights"] != self._fingerprint():
            return {}
        return {key: copy.deepcopy(record[key]) for key in ("shift", "temperature")}

    def write(self, shift: numpy.ndarray, temperatures: numpy.ndarray, record: Dict) -> None:
        bias = self._bias()
        self._write((bias + self.to_columns(shift)) / temperatures, 1 / temperatures)
        # Lists load with weights_only=True, too.
        record = {
            **record,
            "temperatures": temperatures.tolist(),
            "bias": bias.tolist(),
            "weights": self._fingerprint(),
        }
        self.model.model_card = {**model_card(self.model), KEY: record}

    def undo(self) -> None:
        """The bias is as it was, bit for bit."""
        card = dict(model_card(self.model))
        record = card.pop(KEY, None)
        if not record:
            return
        if record["weights"] == self._fingerprint():
            bias, temperatures = (numpy.asarray(record[key]) for key in ("bias", "temperatures"))
            self._write(bias, temperatures)
        self.model.model_card = card

    def _bias(self) -> numpy.ndarray:
        return self.layer.bias.detach().cpu().numpy().astype("float64")

    def _fingerprint(self) -> str:
        """Of the output layer's weights."""
        arrays = (self.layer.weight, self.layer.bias)
        data = b"".join(p.detach().float().cpu().contiguous().numpy().tobytes() for p in arrays)
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    def _write(self, bias: numpy.ndarray, factor: numpy.ndarray) -> None:
        like = self.layer.bias
        with torch.no_grad():
            self.layer.bias.copy_(torch.as_tensor(bias, dtype=like.dtype, device=like.device))
            if (factor != 1.0).any():
                rows = torch.as_tensor(factor, dtype=like.dtype, device=like.device)
                self.layer.weight.mul_(rows[:, None])


class Points(ModelTunable):
    """A classifier of data points, one label each: the highest of a row."""

    def __init__(self, model: Model, layer: torch.nn.Linear, size: int):
        super().__init__(model, layer, size)
        if isinstance(model, (stock.TextClassifier, stock.TextPairClassifier)):
            self.average = "macro"

    def read(self, data: Sequence[DataPoint]) -> ScoredLabels:
        scores, points = points_of(self.model, data, self.size)
        return self.competing(scores, points, data)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("the predicted label")


class MultiLabel(ModelTunable):
    """A classifier of data points with any number of labels: each at its threshold, which is what
    moves, and not the bias: probabilities stay what they are.
    """

    average = "macro"
    per_label = True

    def check(self) -> None:
        for label in self.labels:
            threshold = self.model._get_label_threshold(label)
            if not 0 < threshold < 1:
                raise ValueError(
                    f"tune: the threshold of {label!r} is {threshold}, where no score decides. Set "
                    "multi_label_threshold between 0 and 1."
                )

    @property
    def labels(self) -> List[str]:
        return [label for label in self.columns if label not in (OUTSIDE, UNKNOWN)]

    @property
    def shift_names(self) -> List[str]:
        return self.labels

    @property
    def odds(self) -> numpy.ndarray:
        return self._odds

    def to_columns(self, shift: numpy.ndarray) -> numpy.ndarray:
        return numpy.zeros(len(self.columns))

    def read(self, data: Sequence[DataPoint]) -> ScoredLabels:
        # Flair predicts "<unk>", too, at its threshold.
        predicted = [*self.labels, *([UNKNOWN] if UNKNOWN in self.columns else [])]
        logits, points = points_of(self.model, data, self.size)
        self._logits = logits[:, [self.columns.index(label) for label in predicted]]
        thresholds = numpy.asarray([self.model._get_label_threshold(name) for name in predicted])
        names, is_gold, missed = self.read_points(points, data, predicted)
        n_more = len(names) - len(predicted)
        self._odds = numpy.append(logit(thresholds), [0.0] * n_more)
        scores = self._logits - logit(thresholds)
        # Above the threshold is predicted; equal to it, as a float32, is not.
        above = torch.sigmoid(torch.as_tensor(self._logits)).numpy() > thresholds
        scores = numpy.where(above, numpy.maximum(scores, 0.0), numpy.minimum(scores, -1e-9))
        labels = IndependentLabels(
            names,
            numpy.pad(scores, ((0, 0), (0, n_more)), constant_values=-numpy.inf),
            is_gold,
            [d for d, _ in points],
            n_docs=len(data),
            missed=missed,
            n_fixed=len(names) - len(self.labels),
        )
        labels.over = "seen"
        return labels

    def confidence(self, labels: Any) -> Confidence:
        # A threshold moves with the temperature, so that no score has to stay where it is.
        n = len(self.labels)
        logits = IndependentLabels(self.labels, self._logits[:, :n], labels.gold[:, :n])
        return logits.confidence("each label of each data point", 0.0)

    # Thresholds and the temperature are each taken back where they are still there.

    def _has_thresholds(self) -> bool:
        record = model_card(self.model).get(KEY) or {}
        return record.get("written") == dict(self.model.multi_label_threshold)

    @property
    def record(self) -> Dict[str, Any]:
        return super().record if self._has_thresholds() else {}

    def write(self, shift: numpy.ndarray, temperatures: numpy.ndarray, record: Dict) -> None:
        before = dict(self.model.multi_label_threshold)
        now = [self.model._get_label_threshold(label) for label in self.labels]
        odds, of = logit(now) - shift, dict(zip(self.columns, temperatures.tolist()))
        written = {
            **before,
            **{name: float(sigmoid(odds[c] / of[name])) for c, name in enumerate(self.labels)},
        }
        super().write(shift, temperatures, {**record, "thresholds": before, "written": written})
        self.model.multi_label_threshold = dict(written)

    def undo(self) -> None:
        if self._has_thresholds():
            self.model.multi_label_threshold = dict(model_card(self.model)[KEY]["thresholds"])
        super().undo()


class Tags(ModelTunable):
    """Tags of tokens that are no entities', such as parts of speech: the highest of a row."""

    def read(self, data: Sequence[Sentence]) -> ScoredLabels:
        return self.read_tokens(emissions_of(self.model, data, self.size), data)

    def read_tokens(self, scores: List[numpy.ndarray], data: Sequence[Sentence]) -> CompetingLabels:
        """Each token's tag, for its scores ``(tokens, C)``, one array a sentence."""
        points = [(d, t.unlabeled_identifier) for d, sentence in enumerate(data) for t in sentence]
        flat = numpy.concatenate([numpy.zeros((0, len(self.columns))), *scores])
        return self.competing(flat, points, data)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each token's tag")


class Entities(TagTunable, ModelTunable):
    """Tags of entities: what counts is whole entities. A label's shift is of all of its tags."""

    prefixes: Tuple[str, ...] = ("B-", "I-", "E-", "S-")
    has_common = True

    @property
    def labels(self) -> List[str]:
        return list(dict.fromkeys(x[2:] for x in self.columns if x[:2] in self.prefixes))

    def gold_spans(self, sentence: Sentence) -> List[Span]:
        """The gold spans of a sentence."""
        return [
            (label.data_point[0].idx - 1, label.data_point[-1].idx, label.value)
            for label in sentence.get_labels(self.model.label_type)
            if label.value != OUTSIDE
        ]

    def found(self, tags: List[str]) -> List[Span]:
        """The spans of predicted tags."""
        if all(tag == OUTSIDE for tag in tags):
            return []
        spans = get_spans_from_bio(tags, [1.0] * len(tags))
        return [(places[0], places[-1] + 1, label) for places, _, label in spans]

    def read(self, data: Sequence[Sentence]) -> ScoredLabels:
        if isinstance(self.model, stock.SequenceTagger):
            scores = emissions_of(self.model, data, self.size)
        else:
            flat, points = points_of(self.model, data, self.size)
            doc = numpy.asarray([d for d, _ in points], dtype="int64")
            scores = [flat[doc == d] for d in range(len(data))]
        check_scores(*scores)
        self._data, self._scores = data, scores
        decoder, names = decoder_of(self.model), self.columns
        gold = [self.gold_spans(sentence) for sentence in data]
        seen = {label for spans in gold for *_, label in spans} | {UNKNOWN, *SPECIAL}
        more = sorted(seen - set(self.labels))
        count = SpanCounts([*self.labels, *more], gold)

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            places, columns = numpy.flatnonzero(mask).tolist(), self.to_columns(shift)
            decoded = decoder([scores[d] + columns for d in places])
            found = [self.found([names[c] for c in ids.tolist()]) for ids in decoded]
            return count(zip(places, found))

        labels = DecodedLabels(
            *([*self.labels, *more], decode, len(data), count.n_examples),
            common=self.has_common,
            n_fixed=len(more),
        )
        labels.over = "seen"
        return labels

    def confidence(self, labels: Any) -> Confidence:
        """Of each token's tag, in the model's scheme."""
        column = {tag: c for c, tag in enumerate(self.columns)}
        tags = [tag for sentence in self._data for tag in self._gold_tags(sentence)]
        flat = numpy.concatenate([numpy.zeros((0, len(column))), *self._scores])
        ids = [column.get(tag, -1) for tag in tags]
        return CompetingLabels(self.columns, flat, ids).confidence("each token's tag")

    def _gold_tags(self, sentence: Sentence) -> List[str]:
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
    def labels(self) -> List[str]:
        return [tag for tag in self.columns if tag not in (OUTSIDE, *SPECIAL)]

    def gold_spans(self, sentence: Sentence) -> List[Span]:
        """The gold tags of a sentence, each as a span of one token."""
        return [
            (i, i + 1, label.value)
            for i, token in enumerate(sentence)
            for label in token.get_labels(self.model.label_type)
            if label.value != OUTSIDE
        ]

    def found(self, tags: List[str]) -> List[Span]:
        """Predicted tags, each as a span of one token."""
        return [(i, i + 1, tag) for i, tag in enumerate(tags) if tag != OUTSIDE]


def find_tunable(model: Model, what: str, size: int = 32) -> ModelTunable:
    """What can be tuned of a model, or an error with the reason."""
    kind, layer = _kind(model, what)
    if what == "calibrate" and getattr(model, "use_crf", False):
        raise ValueError(
            "calibrate: the SequenceTagger has a CRF, whose scores are of whole sentences: Flair "
            "shows no probabilities that a temperature could mend."
        )
    tunable = kind(model, layer, size)
    if what != "untune":
        tunable.check()
    return tunable


def _kind(model: Model, what: str) -> Tuple[Callable[..., ModelTunable], torch.nn.Linear]:
    """The class for a model, and its output layer."""
    reason = "it is not a SequenceTagger, nor a classifier with a linear decoder"
    if isinstance(model, stock.MultitaskModel):
        reason = 'it has several tasks: tune each, e.g. model.tasks["Task_0"]'
    elif isinstance(model, (stock.TARSTagger, stock.TARSClassifier)):
        reason = "its labels are texts that it reads, and have no bias of their own"
    elif isinstance(model, stock.SequenceTagger):
        layer = getattr(model, "linear", None)
        if isinstance(layer, torch.nn.Linear) and layer.bias is not None:
            tags = CrfTags if model.use_crf else Tags
            return Entities if model.predict_spans else tags, layer
        reason = "its output layer has no bias"
    elif isinstance(model, DefaultClassifier):
        layer = model.decoder
        if type(layer) is torch.nn.Linear and layer.bias is not None:
            points = MultiLabel if model.multi_label else Points
            return Entities if _predicts_spans(model) else points, layer
        reason = f"its decoder is a {type(layer).__name__}, and not linear with a bias"
    raise ValueError(f"{what}: {type(model).__name__} has nothing to shift: {reason}.")


def _predicts_spans(model: Model) -> bool:
    return not model.multi_label and getattr(model, "span_prediction_problem", False)


def model_card(model: Model) -> Dict[str, Any]:
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


def points_of(
    model: Any, sentences: Sequence[DataPoint], size: int
) -> Tuple[numpy.ndarray, List[Tuple[int, str]]]:
    """Of all data points of a classifier: scores ``(N, C)``, and their sentences' places and their
    identifiers.
    """
    scores = [numpy.zeros((0, len(model.label_dictionary)), dtype="float32")]
    identifiers: List[Tuple[int, str]] = []
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


def emissions_of(model: Any, sentences: Sequence[Sentence], size: int) -> List[numpy.ndarray]:
    """Of a SequenceTagger, what its linear layer gives: floats ``(tokens, C)`` a sentence."""
    caught: List[torch.Tensor] = []
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


def decoder_of(model: Any) -> Callable[[List[numpy.ndarray]], List[numpy.ndarray]]:
    """From scores of sentences ``(tokens, C)`` to the tags' columns ``(tokens,)``."""
    if not getattr(model, "use_crf", False):
        return lambda scores: [of_tokens.argmax(axis=1) for of_tokens in scores]
    transitions = model.crf.transitions.detach().cpu().numpy().astype("float64")
    start, stop = (model.label_dictionary.get_idx_for_item(tag) for tag in SPECIAL)
    return lambda scores: viterbi(scores, transitions, start, stop)


def viterbi(
    scores: List[numpy.ndarray], transitions: numpy.ndarray, start: int, stop: int
) -> List[numpy.ndarray]:
    """The best sequence of tags of each sentence, all sentences at once.

    Flair's own decoder makes an object of each tag, which is too slow for tens of runs.

    scores: emissions ``(tokens, C)`` of each; transitions: ``(C, C)``, ``[to, from]``.
    """
    lengths = numpy.asarray([len(of_tokens) for of_tokens in scores], dtype="int64")
    # The longest come first, so that those that have a token t are a prefix.
    order = numpy.argsort(-lengths, kind="stable")
    n_with = [int((lengths > t).sum()) for t in range(lengths.max(initial=0))]
    came_from: List[numpy.ndarray] = []
    best = numpy.tile(transitions[:, start], (len(scores), 1))
    for t, n in enumerate(n_with):
        if t:
            paths = best[:n, None, :] + transitions
            came_from.append(paths.argmax(axis=2))
            best[:n] = paths.max(axis=2)
        best[:n] += [scores[i][t] for i in order[:n]]
    state = (best + transitions[stop]).argmax(axis=1)
    tags = [numpy.zeros(len(of_tokens), dtype="int64") for of_tokens in scores]
    for t in reversed(range(len(n_with))):
        for row in range(n_with[t]):
            tags[order[row]][t] = state[row]
        if t:
            n = n_with[t]
            state[:n] = came_from[t - 1][numpy.arange(n), state[:n]]
    return tags
