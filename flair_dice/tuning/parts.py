"""What each kind of model decides, and from which scores: one small class a kind."""

import copy
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple

import flair
import flair.models as stock
import numpy
import torch
from flair.data import DataPoint, Sentence, get_spans_from_bio
from flair.nn import DefaultClassifier, Model

from dice_core.tuning import part as core
from dice_core.tuning.calibration import Confidence, logit, sigmoid
from dice_core.tuning.competing import CompetingLabels
from dice_core.tuning.decoded import DecodedLabels, Span, SpanCounts
from dice_core.tuning.independent import IndependentLabels
from dice_core.tuning.scored_labels import ScoredLabels

from .scores import OUTSIDE, SPECIAL, decoder_of, emissions_of, gold_spans, gold_tags, points_of

# In a model's card.
KEY = "flair_dice_tuning"


class ModelPart(core.Part):
    """A model that can be tuned: its output layer, its labels, and what they decide. size: of
    mini-batches.
    """

    def __init__(self, model: Any, layer: torch.nn.Linear, size: int):
        self.model, self.layer, self.size = model, layer, size
        self.kind, self.name = type(model).__name__, str(model.label_type)

    def check(self) -> None:
        """Raise a ValueError for settings that no cut can serve."""

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

    @property
    def state(self) -> Dict[str, Any]:
        return get_state(self.model)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        bias = self._bias()
        self._write((bias + self.spread(shift)) / temperatures, 1 / temperatures)
        state = {**state, "temperatures": temperatures, "bias": bias, "folded": self._bias()}
        # Lists load with weights_only=True, too.
        lists = {k: v.tolist() if isinstance(v, numpy.ndarray) else v for k, v in state.items()}
        self.model.model_card = {**model_card(self.model), KEY: lists}

    def clear(self) -> None:
        """The bias is as it was, bit for bit, unless it was trained since: that is kept."""
        card = dict(model_card(self.model))
        state = card.pop(KEY, None)
        if state:
            bias, folded, temperatures = (
                numpy.asarray(state[key]) for key in ("bias", "folded", "temperatures")
            )
            before = core.unfolded(self._bias(), folded, bias, temperatures)
            self._write(before, temperatures)
            self.model.model_card = card

    def _bias(self) -> numpy.ndarray:
        return self.layer.bias.detach().cpu().numpy().astype("float64")

    def _write(self, bias: numpy.ndarray, factor: numpy.ndarray) -> None:
        like = self.layer.bias
        with torch.no_grad():
            self.layer.bias.copy_(torch.as_tensor(bias, dtype=like.dtype, device=like.device))
            if (factor != 1.0).any():
                rows = torch.as_tensor(factor, dtype=like.dtype, device=like.device)
                self.layer.weight.mul_(rows[:, None])

    def competing(
        self, scores: List[numpy.ndarray], gold: Sequence[Optional[str]], doc: Any
    ) -> CompetingLabels:
        """Of rows that have one label each; those whose label is not known are left out."""
        column: Dict[Any, int] = {label: c for c, label in enumerate(self.columns)}
        flat = numpy.concatenate([numpy.zeros((0, len(column))), *scores])
        ids = numpy.asarray([column.get(label, -1) for label in gold], dtype="int64")
        docs, known = numpy.asarray(doc, dtype="int64"), ids >= 0
        return CompetingLabels(self.columns, flat[known], ids[known], docs[known], self.background)


class Points(ModelPart):
    """A classifier of data points, one label each: the highest of a row."""

    def __init__(self, model: Model, layer: torch.nn.Linear, size: int):
        super().__init__(model, layer, size)
        if isinstance(model, (stock.TextClassifier, stock.TextPairClassifier)):
            self.average = "macro"

    def read(self, data: Sequence[DataPoint]) -> ScoredLabels:
        scores, points, doc = points_of(self.model, data, self.size)
        gold = [next(iter(self.model._get_label_of_datapoint(p)), None) for p in points]
        return self.competing([scores], gold, doc)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("the predicted label")


class MultiLabel(ModelPart):
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
        return [label for label in self.columns if label not in (OUTSIDE, "<unk>")]

    @property
    def shift_names(self) -> List[str]:
        return self.labels

    @property
    def odds(self) -> Any:
        return logit([self.model._get_label_threshold(label) for label in self.labels])

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        return numpy.zeros(len(self.columns))

    def read(self, data: Sequence[DataPoint]) -> ScoredLabels:
        scores, points, doc = points_of(self.model, data, self.size)
        labels = [self.model._get_label_of_datapoint(point) for point in points]
        gold = [[label in of_point for label in self.labels] for of_point in labels]
        at = [self.columns.index(label) for label in self.labels]
        return IndependentLabels(self.labels, scores[:, at] - self.odds, gold, doc)

    def confidence(self, labels: Any) -> Confidence:
        # A threshold moves with the temperature, so that no score has to stay where it is.
        logits = IndependentLabels(self.labels, labels.scores + self.odds, labels.gold)
        return logits.confidence("each label of each data point", 0.0)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        before = dict(self.model.multi_label_threshold)
        odds = self.odds - shift
        super().fold(shift, temperatures, {**state, "thresholds": before})
        of = dict(zip(self.columns, temperatures.tolist()))
        cuts = {label: float(sigmoid(odds[c] / of[label])) for c, label in enumerate(self.labels)}
        self.model.multi_label_threshold = {**before, **cuts}

    def clear(self) -> None:
        state = model_card(self.model).get(KEY)
        if state:
            self.model.multi_label_threshold = dict(state["thresholds"])
        super().clear()


class Tags(ModelPart):
    """Tags of tokens that are no entities', such as parts of speech: the highest of a row."""

    def read(self, data: Sequence[Sentence]) -> ScoredLabels:
        scores = emissions_of(self.model, data, self.size)
        return self.of_tokens(scores, data)

    def of_tokens(self, scores: List[numpy.ndarray], data: Sequence[Sentence]) -> CompetingLabels:
        """Each token's tag, for its scores ``(tokens, C)``, one array a sentence."""
        tags = [tag for sentence in data for tag in gold_tags(self.model, sentence)]
        doc = numpy.repeat(numpy.arange(len(data)), [len(of_doc) for of_doc in scores])
        return self.competing(scores, tags, doc)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each token's tag")


class Entities(core.TagPart, Tags):
    """Tags of entities: what counts is whole entities. A label's shift is of all of its tags."""

    prefixes: Tuple[str, ...] = ("B-", "I-", "E-", "S-")
    has_common = True

    @property
    def labels(self) -> List[str]:
        return list(dict.fromkeys(x[2:] for x in self.columns if x[:2] in self.prefixes))

    def gold(self, sentence: Sentence) -> List[Span]:
        """The gold spans of a sentence."""
        return gold_spans(self.model, sentence)

    def found(self, tags: List[str]) -> List[Span]:
        """The spans of predicted tags."""
        if all(tag == OUTSIDE for tag in tags):
            return []
        spans = get_spans_from_bio(tags, [1.0] * len(tags))
        return [(places[0], places[-1] + 1, label) for places, _, label in spans]

    def unknown(self, sentence: Sentence) -> FrozenSet[int]:
        """Tokens about which nothing is wrong."""
        return frozenset()

    def read(self, data: Sequence[Sentence]) -> ScoredLabels:
        if isinstance(self.model, stock.SequenceTagger):
            scores = emissions_of(self.model, data, self.size)
        else:
            flat, _, doc = points_of(self.model, data, self.size)
            scores = [flat[doc == d] for d in range(len(data))]
        self._data, self._scores = data, scores
        decoder, names = decoder_of(self.model), self.columns
        unknown = [self.unknown(sentence) for sentence in data]
        count = SpanCounts(self.labels, [self.gold(s) for s in data], unknown=unknown)

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            places, columns = numpy.flatnonzero(mask).tolist(), self.spread(shift)
            decoded = decoder([scores[d] + columns for d in places])
            found = [self.found([names[c] for c in ids.tolist()]) for ids in decoded]
            return count(zip(places, found))

        n_examples = count.n_examples
        return DecodedLabels(self.labels, decode, len(data), n_examples, common=self.has_common)

    def confidence(self, labels: Any) -> Confidence:
        return super().confidence(self.of_tokens(self._scores, self._data))


class CrfTags(Entities):
    """Tags of tokens that a CRF finds the best sequence of: each is counted as an entity of one
    token.
    """

    prefixes = ("",)
    has_common = False

    @property
    def labels(self) -> List[str]:
        return [tag for tag in self.columns if tag not in (OUTSIDE, *SPECIAL)]

    def gold(self, sentence: Sentence) -> List[Span]:
        """The gold tags of a sentence, each as a span of one token."""
        return self.found(gold_tags(self.model, sentence))

    def found(self, tags: List[str]) -> List[Span]:
        """Predicted tags, each as a span of one token."""
        return [(i, i + 1, tag) for i, tag in enumerate(tags)]

    def unknown(self, sentence: Sentence) -> FrozenSet[int]:
        tags = enumerate(gold_tags(self.model, sentence))
        return frozenset(i for i, tag in tags if tag not in self.columns)


def part_of(model: Model, what: str, size: int = 32) -> ModelPart:
    """What can be tuned of a model, or an error with the reason."""
    kind, layer = _kind(model, what)
    if what == "calibrate" and getattr(model, "use_crf", False):
        raise ValueError(
            "calibrate: the SequenceTagger has a CRF, whose scores are of whole sentences: Flair "
            "shows no probabilities that a temperature could mend."
        )
    part = kind(model, layer, size)
    if what != "untune":
        part.check()
    return part


def _kind(model: Model, what: str) -> Tuple[Callable[..., ModelPart], torch.nn.Linear]:
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


def get_state(model: Model) -> Dict[str, Any]:
    """What is folded in: "shift" and "temperature", or nothing."""
    state = model_card(model).get(KEY) or {}
    return {key: copy.deepcopy(state[key]) for key in ("shift", "temperature") if state}
