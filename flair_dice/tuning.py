"""Deciding for F1: `tune`, `calibrate` and what undoes them, for Flair's models.

A cut becomes part of the model: a shift of the output layer's bias (with a CRF: of the emissions),
or a label's threshold where labels are independent. Flair saves both, so that a file loads and
predicts the same in plain Flair. What was done is kept in the model card, under KEY.
"""

import copy
from contextlib import contextmanager
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

import flair
import flair.models as stock
import numpy
import torch
from flair.data import DataPoint, Sentence, get_spans_from_bio
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import DefaultClassifier, Model

from dice_core import tuning as core
from dice_core.calibration import Confidence, logit, sigmoid
from dice_core.cuts import (
    CompetingLabels,
    DecodedLabels,
    IndependentLabels,
    Span,
    SpanCounts,
)
from dice_core.cuts import Labels as Cuts
from dice_core.objectives import Spec, as_objective
from dice_core.report import CalibrateReport, TuneReport

KEY = "flair_dice_tuning"
OUTSIDE = "O"
SPECIAL = (START_TAG, STOP_TAG)
M = TypeVar("M", bound=Model)


def tune(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    objective: Spec = None,
    labels: Optional[Mapping[str, Spec]] = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    mini_batch_size: int = 32,
) -> TuneReport:
    """Choose where a model cuts, on dev, and fold it into the model. Changes it in place.

    Cuts are chosen by cross-fitting: what the report calls "estimate" is what to expect on new
    text. The model is left as it is where nothing better is found. Tuning twice is tuning once.

    Args:
        model: A trained SequenceTagger (with a CRF, too), or a classifier whose decoder is linear.
        sentences: Dev data with gold labels, e.g. ``corpus.dev``.
        objective: None is F1: micro for entities and tags, macro for texts. Or "micro", "macro",
            "macro_f2", "precision>=0.9" (the highest recall at that precision), "recall>=0.8".
        labels: Objectives of single labels, ``{"PER": "precision>=0.9"}``.
        n_folds: Folds of the sentences, at least 2.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.
        mini_batch_size: Of the one forward pass.

    Returns:
        A `TuneReport` with one part, by the model's label type: print it.

    Raises:
        ValueError: For a model that has nothing to shift, with the reason; for labels that it does
            not have; for options that do not fit. The model is then as it was.

    Example:
        >>> print(flair_dice.tune(tagger, corpus.dev))  # doctest: +SKIP
        >>> tagger.save("tuned.pt")  # doctest: +SKIP
    """
    part = _part(model, "tune", mini_batch_size)
    own = core.parse_objectives([part], labels, n_folds, min_examples)
    of_all = as_objective(objective, part.average)
    options = {"n_folds": n_folds, "min_examples": min_examples, "max_loss": max_loss}
    with core.restored_on_error([part]):
        return TuneReport([core.tune(part, list(sentences), of_all, own, **options)])


def calibrate(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    per_label: bool = False,
    fit: bool = True,
    mini_batch_size: int = 32,
) -> CalibrateReport:
    """Fit a temperature on dev and fold it into the output layer. No decision changes.

    Calibrate after `tune`; tuning afterwards keeps the temperature.

    Args:
        model: A trained model, as for `tune`, but without a CRF, whose scores are no probabilities.
        sentences: Dev data with gold labels.
        per_label: One temperature for each label, where labels are independent.
        fit: False only measures.
        mini_batch_size: Of the one forward pass.

    Returns:
        A `CalibrateReport`: calibration error, Brier score and negative log-likelihood before and
        after.

    Raises:
        ValueError: As `tune`.

    Example:
        >>> report = flair_dice.calibrate(classifier, corpus.dev)  # doctest: +SKIP
        >>> report[classifier.label_type].after.ece  # doctest: +SKIP
    """
    part = _part(model, "calibrate", mini_batch_size)
    with core.restored_on_error([part]):
        return CalibrateReport([core.calibrate(part, list(sentences), per_label, fit)])


def get_tuning(model: Model) -> Dict[str, Any]:
    """What `tune` and `calibrate` folded in. It is there after loading, too.

    Args:
        model: Any of Flair's.

    Returns:
        "shift", log-odds by label, and "temperature", a number or a number by label; empty if
        nothing was folded in.

    Example:
        >>> import flair.models, flair_dice
        >>> flair_dice.get_tuning(flair.models.RegexpTagger(mapping=("[0-9]+", "N")))
        {}
    """
    state = _card(model).get(KEY) or {}
    return {key: copy.deepcopy(state[key]) for key in ("shift", "temperature") if state}


def set_tuning(model: M, tuning: Mapping[str, Any]) -> M:
    """Fold in what `get_tuning` gave, in place of what was.

    Args:
        model: As for `tune`; it is changed in place.
        tuning: "shift" and "temperature", or one of them.

    Returns:
        The model.

    Raises:
        ValueError: For labels that the model does not have; nothing is changed.

    Example:
        >>> flair_dice.set_tuning(tagger, {"shift": {"(all)": 0.5}})  # doctest: +SKIP
    """
    part = _part(model, "set_tuning")
    shift = tuning.get("shift") or {}
    core.check_known(shift, part.shift_names, "set_tuning: the model has no label")
    part.set_state(shift, tuning.get("temperature", 1.0))
    return model


def untune(model: M) -> M:
    """Take back what `tune` and `calibrate` did.

    Args:
        model: Any of Flair's; it is changed in place.

    Returns:
        The model, which predicts as before.

    Example:
        >>> flair_dice.untune(tagger)  # doctest: +SKIP
    """
    if get_tuning(model):
        _part(model, "untune").clear()
    return model


# -- what each kind of model decides -------------------------------------------------------


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
        return get_tuning(self.model)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        bias = self._bias()
        self._write((bias + self.spread(shift)) / temperatures, 1 / temperatures)
        state = {**state, "temperatures": temperatures, "bias": bias, "folded": self._bias()}
        # Lists load with weights_only=True, too.
        lists = {k: v.tolist() if isinstance(v, numpy.ndarray) else v for k, v in state.items()}
        self.model.model_card = {**_card(self.model), KEY: lists}

    def clear(self) -> None:
        """The bias is as it was, bit for bit, unless it was trained since: that is kept."""
        card = dict(_card(self.model))
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

    def read(self, data: Sequence[DataPoint]) -> Cuts:
        scores, points, doc = _points(self.model, data, self.size)
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

    def read(self, data: Sequence[DataPoint]) -> Cuts:
        scores, points, doc = _points(self.model, data, self.size)
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
        state = _card(self.model).get(KEY)
        if state:
            self.model.multi_label_threshold = dict(state["thresholds"])
        super().clear()


class Tags(ModelPart):
    """Tags of tokens that are no entities', such as parts of speech: the highest of a row."""

    def read(self, data: Sequence[Sentence]) -> Cuts:
        scores = _emissions(self.model, data, self.size)
        return self.of_tokens(scores, data)

    def of_tokens(self, scores: List[numpy.ndarray], data: Sequence[Sentence]) -> CompetingLabels:
        """Each token's tag, for its scores ``(tokens, C)``, one array a sentence."""
        tags = [tag for sentence in data for tag in _gold_tags(self.model, sentence)]
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
        return _gold_spans(self.model, sentence)

    def found(self, tags: List[str]) -> List[Span]:
        """The spans of predicted tags."""
        if all(tag == OUTSIDE for tag in tags):
            return []
        spans = get_spans_from_bio(tags, [1.0] * len(tags))
        return [(places[0], places[-1] + 1, label) for places, _, label in spans]

    def unknown(self, sentence: Sentence) -> FrozenSet[int]:
        """Tokens about which nothing is wrong."""
        return frozenset()

    def read(self, data: Sequence[Sentence]) -> Cuts:
        if isinstance(self.model, stock.SequenceTagger):
            scores = _emissions(self.model, data, self.size)
        else:
            flat, _, doc = _points(self.model, data, self.size)
            scores = [flat[doc == d] for d in range(len(data))]
        self._data, self._scores = data, scores
        decoder, names = _decoder(self.model), self.columns
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
        return self.found(_gold_tags(self.model, sentence))

    def found(self, tags: List[str]) -> List[Span]:
        """Predicted tags, each as a span of one token."""
        return [(i, i + 1, tag) for i, tag in enumerate(tags)]

    def unknown(self, sentence: Sentence) -> FrozenSet[int]:
        tags = enumerate(_gold_tags(self.model, sentence))
        return frozenset(i for i, tag in tags if tag not in self.columns)


def _part(model: Model, what: str, size: int = 32) -> ModelPart:
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


def _card(model: Model) -> Dict[str, Any]:
    """The model card; where there is none, one as Flair's trainer makes it."""
    card = getattr(model, "model_card", None)
    if card is not None:
        return card
    versions = {"flair_version": flair.__version__, "pytorch_version": torch.__version__}
    return {**versions, "training_parameters": {}}


# -- gold annotation and scores ------------------------------------------------------------


def _gold_spans(model: Model, sentence: Sentence) -> List[Span]:
    return [
        (label.data_point[0].idx - 1, label.data_point[-1].idx, label.value)
        for label in sentence.get_labels(model.label_type)
    ]


def _gold_tags(model: Model, sentence: Sentence) -> List[str]:
    if isinstance(model, stock.SequenceTagger):
        return list(model._get_gold_labels([sentence]))
    tags = [OUTSIDE] * len(sentence)
    for start, end, label in _gold_spans(model, sentence):
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
        if model.span_encoding == "BIOES":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{label}"
    return tags


@contextmanager
def _predicting(model: Model) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _points(
    model: Any, sentences: Sequence[DataPoint], size: int
) -> Tuple[numpy.ndarray, List[Any], numpy.ndarray]:
    """Of all data points of a classifier: scores ``(N, C)``, themselves, and their sentences."""
    scores = [numpy.zeros((0, len(model.label_dictionary)))]
    points: List[DataPoint] = []
    doc: List[int] = []
    with _predicting(model):
        for start in range(0, len(sentences), size):
            batch, first = [], len(points)
            for d, sentence in enumerate(sentences[start : start + size], start):
                if model._filter_data_point(sentence):
                    batch.append(sentence)
                    found = model._get_data_points_for_batch([sentence])
                    points.extend(found)
                    doc.extend([d] * len(found))
            if first == len(points):
                continue
            encoded = model._encode_data_points(batch, points[first:])
            logits = model._mask_scores(model.decoder(encoded), points[first:])
            scores.append(logits.float().cpu().numpy())
            for sentence in batch:
                sentence.clear_embeddings()
    return numpy.concatenate(scores), points, numpy.asarray(doc, dtype="int64")


def _emissions(model: Any, sentences: Sequence[Sentence], size: int) -> List[numpy.ndarray]:
    """Of a SequenceTagger, what its linear layer gives: floats ``(tokens, C)`` a sentence."""
    caught: List[torch.Tensor] = []
    hook = model.linear.register_forward_hook(lambda _, __, out: caught.append(out))
    found = [numpy.zeros((0, len(model.label_dictionary)))] * len(sentences)
    # Flair wants the longest first.
    order = sorted((i for i, s in enumerate(sentences) if len(s)), key=lambda i: -len(sentences[i]))
    try:
        with _predicting(model):
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


def _decoder(model: Any) -> Callable[[List[numpy.ndarray]], List[numpy.ndarray]]:
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
