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
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import flair
import flair.models as stock
import numpy
import torch
from flair.data import get_spans_from_bio
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import DefaultClassifier

from dice_core import calibration
from dice_core.cuts import (
    FN,
    FP,
    TP,
    CompetingLabels,
    DecodedLabels,
    IndependentLabels,
    as_objective,
    choose,
)
from dice_core.cuts import Labels as Cuts
from dice_core.report import CalibrateReport, CalibrationReport, TuneReport, of_choice

KEY = "flair_dice_tuning"
SPECIAL = (START_TAG, STOP_TAG)


def tune(
    model: Any,
    sentences: Sequence[Any],
    *,
    objective: Any = None,
    labels: Optional[Mapping[str, Any]] = None,
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
        sentences: Dev data with gold labels, e.g. ``list(corpus.dev)``.
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
            not have; for options that do not fit.

    Example:
        >>> print(flair_dice.tune(tagger, list(corpus.dev)))
        >>> tagger.save("tuned.pt")
    """
    part = _part(model, "tune")
    what = as_objective(objective, part.average)
    own = {label: as_objective(spec) for label, spec in (labels or {}).items()}
    unknown = [label for label in own if label not in part.labels]
    if unknown:
        raise ValueError(
            f"tune: the model has no label {unknown[0]!r}. It has: {', '.join(part.labels)}."
        )
    before = copy.deepcopy(_state(model))
    try:
        part.clear()  # the shift is of scores before the temperature
        cuts = part.read(sentences, mini_batch_size)
        choice = choose(
            cuts, what, own, n_folds=n_folds, min_examples=min_examples, max_loss=max_loss
        )
    except BaseException:
        part.set_state(before.get("shift"), before.get("temperature", 1.0))
        raise
    report = of_choice(part.name, part.kind, cuts, what, own, choice, part.center)
    shift = dict(zip(part.shift_names, choice.shift.tolist())) if not choice.reason else None
    part.set_state(shift, before.get("temperature", 1.0))
    return TuneReport([report])


def calibrate(
    model: Any,
    sentences: Sequence[Any],
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
    """
    part = _part(model, "calibrate")
    before = copy.deepcopy(_state(model))
    if fit:
        part.set_state(before.get("shift"), 1.0)
    p_at, fit_, right, what = part.confidence(sentences, mini_batch_size, per_label)
    measured = calibration.measure(p_at(1.0), right)
    temperature: Any = 1.0
    after, reason = measured, ""
    if not measured.n:
        reason, temperature = "the sentences have no gold labels", before.get("temperature", 1.0)
    elif fit:
        temperature = fit_()
        after = calibration.measure(p_at(temperature), right)
    if fit:
        part.set_state(before.get("shift"), temperature)
    return CalibrateReport(
        [CalibrationReport(part.name, part.kind, what, temperature, measured, after, reason)]
    )


def get_tuning(model: Any) -> Dict[str, Any]:
    """What `tune` and `calibrate` folded in: "shift", log-odds by label, and "temperature"; empty
    if nothing was. It is there after loading, too.
    """
    state = _state(model)
    return {key: copy.deepcopy(state[key]) for key in ("shift", "temperature") if key in state}


def set_tuning(model: Any, tuning: Mapping[str, Any]) -> Any:
    """Fold in what `get_tuning` gave, in place of what was. Returns the model.

    Raises:
        ValueError: For labels that the model does not have.
    """
    part = _part(model, "set_tuning")
    unknown = set(tuning.get("shift") or {}) - set(part.shift_names)
    if unknown:
        raise ValueError(f"set_tuning: the model has no label {sorted(unknown)[0]!r}.")
    part.set_state(tuning.get("shift"), tuning.get("temperature", 1.0))
    return model


def untune(model: Any) -> Any:
    """Take back what `tune` and `calibrate` did. Returns the model, which predicts as before."""
    if _state(model):
        _part(model, "untune").clear()
    return model


# -- what each kind of model decides -------------------------------------------------------


class _Confidence(NamedTuple):
    p_at: Callable[[Any], numpy.ndarray]
    fit: Callable[[], Any]
    right: numpy.ndarray
    what: str


class _Part:
    """A model that can be tuned: its output layer, its labels, and what they decide."""

    average = "micro"
    center: Any = None

    def __init__(self, model: Any, layer: torch.nn.Linear):
        self.model, self.layer = model, layer
        self.kind, self.name = type(model).__name__, str(model.label_type)
        self.columns: List[str] = list(model.label_dictionary.get_items())

    @property
    def labels(self) -> List[str]:
        return self.columns

    @property
    def shift_names(self) -> List[str]:
        return self.labels

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        """A shift of labels as one of the layer's columns."""
        return shift

    def read(self, sentences: Sequence[Any], size: int) -> Cuts:
        raise NotImplementedError

    def confidence(self, sentences: Sequence[Any], size: int, per_label: bool) -> _Confidence:
        raise NotImplementedError

    def set_state(self, shift: Optional[Mapping[str, float]], temperature: Any) -> None:
        """Fold a shift, by label, and a temperature, in place of what was folded before."""
        self.clear()
        values = numpy.asarray([float((shift or {}).get(name, 0.0)) for name in self.shift_names])
        if isinstance(temperature, Mapping):
            temperatures = numpy.asarray([temperature.get(c, 1.0) for c in self.columns])
        else:
            temperatures = numpy.full(len(self.columns), float(temperature))
        if not values.any() and (temperatures == 1.0).all():
            return
        state = {"shift": dict(zip(self.shift_names, values.tolist())), "temperature": temperature}
        state["bias"] = self.layer.bias.detach().cpu().tolist()
        state["temperatures"] = temperatures.tolist()
        self._fold(values, temperatures, state)
        state["folded"] = self.layer.bias.detach().cpu().tolist()
        card = self.model.model_card
        if card is None:  # as Flair's trainer makes it
            versions = {"flair_version": flair.__version__, "pytorch_version": torch.__version__}
            card = {**versions, "training_parameters": {}}
        self.model.model_card = {**card, KEY: state}

    def _fold(self, values: numpy.ndarray, temperatures: numpy.ndarray, state: Any) -> None:
        self._write(
            (numpy.asarray(state["bias"]) + self.spread(values)) / temperatures, 1 / temperatures
        )

    def _write(self, bias: numpy.ndarray, factor: numpy.ndarray) -> None:
        like = self.layer.bias
        with torch.no_grad():
            self.layer.bias.copy_(torch.as_tensor(bias, dtype=like.dtype, device=like.device))
            if (factor != 1.0).any():
                rows = torch.as_tensor(factor, dtype=like.dtype, device=like.device)
                self.layer.weight.mul_(rows[:, None])

    def clear(self) -> None:
        """The bias is as it was, bit for bit, unless it was trained since."""
        state = _state(self.model)
        if not state:
            return
        now = self.layer.bias.detach().cpu().tolist()
        temperatures = numpy.asarray(state["temperatures"])
        bias = numpy.asarray(state["bias"])
        if now != state["folded"]:
            changed = numpy.asarray(now) - numpy.asarray(state["folded"])
            bias = bias + changed * temperatures
        self._write(bias, temperatures)
        card = dict(self.model.model_card)
        del card[KEY]
        self.model.model_card = card


class _Points(_Part):
    """A classifier of data points, one label each."""

    def __init__(self, model: Any, layer: torch.nn.Linear):
        super().__init__(model, layer)
        if isinstance(model, (stock.TextClassifier, stock.TextPairClassifier)):
            self.average = "macro"

    @property
    def background(self) -> Optional[int]:
        return self.columns.index("O") if "O" in self.columns else None

    def rows(self, sentences: Sequence[Any], size: int) -> Tuple[numpy.ndarray, List, List[int]]:
        """Scores ``(N, C)`` of all data points, their gold labels, and their sentences."""
        scores: List[numpy.ndarray] = []
        gold: List[List[str]] = []
        doc: List[int] = []
        with _predicting(self.model):
            for start in range(0, len(sentences), size):
                batch = [
                    (i, s)
                    for i, s in enumerate(sentences[start : start + size], start)
                    if self.model._filter_data_point(s)
                ]
                points, of_point = [], []
                for i, sentence in batch:
                    found = self.model._get_data_points_for_batch([sentence])
                    points.extend(found)
                    of_point.extend([i] * len(found))
                if not points:
                    continue
                encoded = self.model._encode_data_points([s for _, s in batch], points)
                logits = self.model._mask_scores(self.model.decoder(encoded), points)
                scores.append(logits.float().cpu().numpy())
                gold.extend(self.gold_of(point) for point in points)
                doc.extend(of_point)
                for _, sentence in batch:
                    sentence.clear_embeddings()
        flat = numpy.concatenate(scores) if scores else numpy.zeros((0, len(self.columns)))
        return flat, gold, doc

    def gold_of(self, point: Any) -> List[str]:
        return list(self.model._get_label_of_datapoint(point))

    def _known(self, sentences: Sequence[Any], size: int) -> Tuple[numpy.ndarray, Any, Any]:
        scores, gold, doc = self.rows(sentences, size)
        column = {label: c for c, label in enumerate(self.columns)}
        ids = numpy.asarray([column.get(labels[0], -1) if labels else -1 for labels in gold])
        known = ids >= 0 if len(ids) else numpy.zeros(0, dtype=bool)
        return scores[known], ids[known].astype("int64"), numpy.asarray(doc, "int64")[known]

    def read(self, sentences: Sequence[Any], size: int) -> Cuts:
        scores, ids, doc = self._known(sentences, size)
        return CompetingLabels(self.columns, scores, ids, doc, self.background)

    def confidence(self, sentences: Sequence[Any], size: int, per_label: bool) -> _Confidence:
        scores, ids, _ = self._known(sentences, size)
        scores = scores.astype("float64")
        found = scores.argmax(axis=1) if len(scores) else ids
        return _Confidence(
            lambda t: calibration.softmax(scores / t).max(axis=1, initial=0.0),
            lambda: calibration.fit_softmax(scores, ids),
            found == ids,
            "the predicted label",
        )


class _MultiLabel(_Points):
    """A classifier of data points with any number of labels: each at its threshold."""

    def __init__(self, model: Any, layer: torch.nn.Linear):
        super().__init__(model, layer)
        self.average = "macro"
        for label in self.labels:
            if not 0 < model._get_label_threshold(label) < 1:
                raise ValueError(
                    f"tune: the threshold of {label!r} is {model._get_label_threshold(label)}, "
                    "where no score decides. Set multi_label_threshold between 0 and 1."
                )

    @property
    def labels(self) -> List[str]:
        return [label for label in self.columns if label not in ("O", "<unk>")]

    @property
    def center(self) -> Any:
        return 0.0

    def _thresholds(self) -> numpy.ndarray:
        of = self.model._get_label_threshold
        return calibration.logit([of(label) for label in self.labels])

    def read(self, sentences: Sequence[Any], size: int) -> Any:
        scores, gold, doc = self.rows(sentences, size)
        at = [self.columns.index(label) for label in self.labels]
        has = numpy.asarray([[label in g for label in self.labels] for g in gold], dtype=bool)
        has = has.reshape(-1, len(at))
        return IndependentLabels(self.labels, scores[:, at] - self._thresholds(), has, doc)

    def confidence(self, sentences: Sequence[Any], size: int, per_label: bool) -> _Confidence:
        cuts = self.read(sentences, size)
        logits, gold = cuts.scores + self._thresholds(), cuts.gold

        def p_at(temperature: Any) -> numpy.ndarray:
            if isinstance(temperature, Mapping):
                temperature = numpy.asarray([temperature[label] for label in self.labels])
            return calibration.sigmoid(logits / temperature).ravel()

        def fit() -> Any:
            common = calibration.fit_sigmoid(logits, gold)
            if not per_label:
                return common
            return {
                label: calibration.fit_sigmoid(logits[:, c], gold[:, c])
                if cuts.n_examples[c] >= 5
                else common
                for c, label in enumerate(self.labels)
            }

        return _Confidence(p_at, fit, gold.ravel(), "each label of each data point")

    def _fold(self, values: numpy.ndarray, temperatures: numpy.ndarray, state: Any) -> None:
        # Thresholds move, and not the bias: probabilities stay what they are.
        before = dict(self.model.multi_label_threshold)
        state["thresholds"] = before
        odds = self._thresholds() - values
        self._write(numpy.asarray(state["bias"]) / temperatures, 1 / temperatures)
        of = dict(zip(self.columns, temperatures.tolist()))
        self.model.multi_label_threshold = {
            **before,
            **{
                label: float(calibration.sigmoid(odds[c] / of[label]))
                for c, label in enumerate(self.labels)
            },
        }

    def clear(self) -> None:
        state = _state(self.model)
        if state:
            self.model.multi_label_threshold = dict(state["thresholds"])
        super().clear()


class _Entities(_Part):
    """Tags of entities: what counts is whole entities. A label's shift is of all of its tags."""

    @property
    def labels(self) -> List[str]:
        tags = [tag for tag in self.columns if len(tag) > 2 and tag[1] == "-"]
        return list(dict.fromkeys(tag[2:] for tag in tags))

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, "(all)"]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        of = dict(zip(self.labels, shift))
        return numpy.asarray(
            [
                -shift[-1] if tag == "O" else of.get(tag[2:], 0.0) if tag[1:2] == "-" else 0.0
                for tag in self.columns
            ]
        )

    def scores(self, sentences: Sequence[Any], size: int) -> List[numpy.ndarray]:
        """Of each sentence, floats ``(tokens, C)``."""
        if isinstance(self.model, stock.SequenceTagger):
            return _emissions(self.model, sentences, size)
        flat, _, doc = _Points(self.model, self.layer).rows(sentences, size)
        order = numpy.asarray(doc, dtype="int64")
        return [flat[order == i] for i in range(len(sentences))]

    def read(self, sentences: Sequence[Any], size: int) -> Cuts:
        scores = self.scores(sentences, size)
        labels, column = self.labels, {label: c for c, label in enumerate(self.labels)}
        golds = [
            {
                (label.data_point[0].idx - 1, label.data_point[-1].idx, label.value)
                for label in sentence.get_labels(self.model.label_type)
                if label.value in column
            }
            for sentence in sentences
        ]
        base = numpy.zeros((len(sentences), len(labels), 3))
        for d, gold in enumerate(golds):
            for _, _, label in gold:
                base[d, column[label], FN] += 1
        decoder = _decoder(self.model)

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            counts, columns = base.copy(), self.spread(shift)
            at = numpy.flatnonzero(mask)
            for d, ids in zip(at, decoder([scores[d] + columns for d in at])):
                tags = [self.columns[i] for i in ids]
                if not any(tag != "O" for tag in tags):
                    continue
                for places, _, label in get_spans_from_bio(tags, [1.0] * len(tags)):
                    if label not in column:
                        continue
                    if (places[0], places[-1] + 1, label) in golds[d]:
                        counts[d, column[label], TP] += 1
                        counts[d, column[label], FN] -= 1
                    else:
                        counts[d, column[label], FP] += 1
            return counts

        n = base[:, :, FN].sum(axis=0).astype("int64")
        return DecodedLabels(labels, decode, len(sentences), n)

    def confidence(self, sentences: Sequence[Any], size: int, per_label: bool) -> _Confidence:
        _no_crf(self.model)
        scores = self.scores(sentences, size)
        column = {tag: c for c, tag in enumerate(self.columns)}
        tagged = [_gold_tags(self.model, s) for s in sentences]
        flat = [row for of in scores for row in of]
        ids = numpy.asarray([column.get(tag, -1) for tags in tagged for tag in tags], "int64")
        known = ids >= 0
        z = numpy.asarray(flat, dtype="float64").reshape(-1, len(column))[known]
        ids = ids[known]
        found = z.argmax(axis=1) if len(z) else ids
        return _Confidence(
            lambda t: calibration.softmax(z / t).max(axis=1, initial=0.0),
            lambda: calibration.fit_softmax(z, ids),
            found == ids,
            "each token's tag",
        )


class _Tags(_Part):
    """Tags of tokens that are no entities', such as parts of speech."""

    @property
    def labels(self) -> List[str]:
        if self.model.use_crf:
            return [tag for tag in self.columns if tag not in SPECIAL]
        return self.columns

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, "(all)"] if self.model.use_crf else self.labels

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        of = dict(zip(self.labels, shift))
        return numpy.asarray([of.get(tag, 0.0) for tag in self.columns])

    def _rows(self, sentences: Sequence[Any], size: int) -> Any:
        scores = _emissions(self.model, sentences, size)
        column = {tag: c for c, tag in enumerate(self.columns)}
        golds = [
            numpy.asarray([column.get(tag, -1) for tag in _gold_tags(self.model, s)], "int64")
            for s in sentences
        ]
        return scores, golds

    def read(self, sentences: Sequence[Any], size: int) -> Cuts:
        scores, golds = self._rows(sentences, size)
        background = self.columns.index("O") if "O" in self.columns else None
        if not self.model.use_crf:
            flat = numpy.concatenate(scores) if scores else numpy.zeros((0, len(self.columns)))
            ids = numpy.concatenate(golds) if golds else numpy.zeros(0, "int64")
            doc = numpy.repeat(numpy.arange(len(golds)), [len(gold) for gold in golds])
            known = ids >= 0
            return CompetingLabels(self.columns, flat[known], ids[known], doc[known], background)
        at = [self.columns.index(label) for label in self.labels]
        decoder = _decoder(self.model)

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            counts = numpy.zeros((len(sentences), len(self.columns), 3))
            places, columns = numpy.flatnonzero(mask), self.spread(shift)
            for d, ids in zip(places, decoder([scores[d] + columns for d in places])):
                gold = golds[d]
                known = gold >= 0
                ids, gold = numpy.asarray(ids, dtype="int64")[known], gold[known]
                right = ids == gold
                n = len(self.columns)
                counts[d, :, TP] = numpy.bincount(ids[right], minlength=n)
                counts[d, :, FP] = numpy.bincount(ids[~right], minlength=n)
                counts[d, :, FN] = numpy.bincount(gold[~right], minlength=n)
            if background is not None:
                counts[:, background] = 0
            return counts[:, at]

        every = numpy.concatenate(golds) if golds else numpy.zeros(0, "int64")
        n_examples = numpy.bincount(every[every >= 0], minlength=len(self.columns))
        if background is not None:
            n_examples[background] = 0
        return DecodedLabels(self.labels, decode, len(sentences), n_examples[at], common=False)

    def confidence(self, sentences: Sequence[Any], size: int, per_label: bool) -> _Confidence:
        _no_crf(self.model)
        cuts: Any = self.read(sentences, size)
        z, ids = cuts.scores, cuts.gold
        found = z.argmax(axis=1) if len(z) else ids
        return _Confidence(
            lambda t: calibration.softmax(z / t).max(axis=1, initial=0.0),
            lambda: calibration.fit_softmax(z, ids),
            found == ids,
            "each token's tag",
        )


def _part(model: Any, what: str) -> _Part:
    """What can be tuned of a model, or an error with the reason."""
    reason = "it is not a SequenceTagger, nor a classifier with a linear decoder"
    if isinstance(model, stock.MultitaskModel):
        reason = 'it has several tasks: tune each, e.g. model.tasks["Task_0"]'
    elif isinstance(model, (stock.TARSTagger, stock.TARSClassifier)):
        reason = "its labels are texts that it reads, and have no bias of their own"
    elif isinstance(model, stock.SequenceTagger):
        layer = getattr(model, "linear", None)
        if isinstance(layer, torch.nn.Linear) and layer.bias is not None:
            return (_Entities if model.predict_spans else _Tags)(model, layer)
        reason = "its output layer has no bias"
    elif isinstance(model, DefaultClassifier):
        layer = model.decoder
        if type(layer) is not torch.nn.Linear or layer.bias is None:
            reason = f"its decoder is a {type(layer).__name__}, and not linear with a bias"
        elif model.multi_label:
            return _MultiLabel(model, layer)
        elif getattr(model, "span_prediction_problem", False):
            return _Entities(model, layer)
        else:
            return _Points(model, layer)
    raise ValueError(f"{what}: {type(model).__name__} has nothing to shift: {reason}.")


def _state(model: Any) -> Dict[str, Any]:
    return (getattr(model, "model_card", None) or {}).get(KEY) or {}


def _no_crf(model: Any) -> None:
    if getattr(model, "use_crf", False):
        raise ValueError(
            "calibrate: the SequenceTagger has a CRF, whose scores are of whole sentences: Flair "
            "shows no probabilities that a temperature could mend."
        )


def _gold_tags(model: Any, sentence: Any) -> List[str]:
    if isinstance(model, stock.SequenceTagger):
        return list(model._get_gold_labels([sentence]))
    tags = ["O"] * len(sentence)
    for span in sentence.get_spans(model.label_type):
        value = span.get_label(model.label_type).value
        first, last = span[0].idx - 1, span[-1].idx - 1
        for i in range(first, last + 1):
            tags[i] = f"{'B' if i == first else 'I'}-{value}"
        if model.span_encoding == "BIOES":
            tags[last] = f"{'S' if first == last else 'E'}-{value}"
    return tags


@contextmanager
def _predicting(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _emissions(model: Any, sentences: Sequence[Any], size: int) -> List[numpy.ndarray]:
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
                padded = out.ndim == 3
                for row, i in enumerate(places):
                    n = len(sentences[i])
                    found[i] = out[row, :n] if padded else flat[first : first + n]
                    first += n
                for sentence in batch:
                    sentence.clear_embeddings()
    finally:
        hook.remove()
    return found


def _decoder(model: Any) -> Callable[[List[numpy.ndarray]], List[numpy.ndarray]]:
    """From scores of sentences ``(tokens, C)`` to the tags' columns ``(tokens,)``."""
    if not getattr(model, "use_crf", False):
        return lambda scores: [of.argmax(axis=1) if len(of) else [] for of in scores]
    transitions = model.crf.transitions.detach().cpu().numpy().astype("float64")
    start, stop = (model.label_dictionary.get_idx_for_item(tag) for tag in SPECIAL)
    return lambda scores: viterbi(scores, transitions, start, stop)


def viterbi(
    scores: List[numpy.ndarray], transitions: numpy.ndarray, start: int, stop: int
) -> List[numpy.ndarray]:
    """The best sequence of tags of each sentence, all sentences at once.

    scores: emissions ``(tokens, C)`` of each; transitions: ``(C, C)``, ``[to, from]``.
    """
    lengths = numpy.asarray([len(of) for of in scores], dtype="int64")
    order = numpy.argsort(-lengths, kind="stable")  # the longest first: the active are a prefix
    n, longest = len(scores), int(lengths.max(initial=0))
    tags = [numpy.zeros(length, dtype="int64") for length in lengths]
    if not longest:
        return tags
    n_tags = transitions.shape[0]
    padded = numpy.zeros((n, longest, n_tags))
    for row, i in enumerate(order):
        padded[row, : lengths[i]] = scores[i]
    sizes = lengths[order]
    came_from = numpy.zeros((longest, n, n_tags), dtype="int64")
    best = transitions[:, start][None] + padded[:, 0]
    for t in range(1, longest):
        a = int((sizes > t).sum())
        paths = best[:a, None, :] + transitions[None]
        came_from[t, :a] = paths.argmax(axis=2)
        best[:a] = numpy.take_along_axis(paths, came_from[t, :a, :, None], 2)[:, :, 0]
        best[:a] += padded[:a, t]
    state = (best + transitions[stop]).argmax(axis=1)
    for t in range(longest - 1, -1, -1):
        a = int((sizes > t).sum())
        for row in range(a):
            tags[order[row]][t] = state[row]
        if t:
            state[:a] = came_from[t, numpy.arange(a), state[:a]]
    return tags
