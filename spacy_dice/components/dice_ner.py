"""dice_ner: named entities by token classification."""

from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import check_lexeme_norms
from spacy.vocab import Vocab
from thinc.api import Model, NumpyOps, Optimizer

from dice_core.labels import LabelSpec
from dice_core.tags import OUTSIDE, tags_of
from dice_core.targets import from_rows

from .. import biluo
from ..errors import config_error, label_spec
from ..heads import Head, emits_logits, find_head, last_layer
from ..losses import CrossEntropy, Loss
from .per_token import PerToken
from .trainable import OwnMixin, own, warn_of_loss

# Logit of a label that was added after training, until it is trained.
UNTRAINED = -10.0
# What can be changed after training.
SETTINGS = ("threshold", "thresholds", "spans_key")
# As many scores, of a token and a tag each, are made at a time on a CPU.
CELLS = 2**20


class Entity(NamedTuple):
    """An entity that was found: tokens from start up to end, the label's id in the string
    store, and its probability (NaN unless spans_key is set).
    """

    start: int
    end: int
    label: int
    probability: float


class DiceNER(OwnMixin, PerToken, TrainablePipe):
    """A softmax over BILUO tags for each token, and the best valid sequence of them.

    As in stock ner: entities and blocked tokens that a doc already has are kept and nothing
    overlaps them, no entity starts on white space or reaches across a sentence start that is
    set, tokens without annotation are masked in training.
    """

    own_factory = "dice_ner"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "dice_ner",
        *,
        loss: Loss,
        threshold: float = 0.5,
        thresholds: Optional[Dict[str, float]] = None,
        spans_key: Optional[str] = None,
        scorer: Optional[Callable] = None,
    ):
        """model: docs to floats ``(tokens, tags)`` for each, ending in a softmax, such as
        spacy.Tagger.v2. loss: any loss of spacy_dice. threshold: from 0 to 1, how much an
        entity needs to be predicted; 0.5 takes the model as it is, more is for precision and
        less for recall. `spacy find-threshold` finds the best value. thresholds: of single labels,
        on top of that: 0.5 leaves a label where ``threshold`` puts it, and log-odds add up.
        spans_key: None, or where
        in doc.spans to put the entities that it predicts, with the probability of each in
        attrs["scores"], as spancat does. It is the share of the valid tag sequences that have the
        entity, by the model, whatever the threshold is. Raises a ConfigValidationError for
        values that do not fit.
        """
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {"labels": []}
        self._rehearsal_model = None
        self.set_loss(loss)
        if find_head(model, name) != Head("softmax", "logits"):
            raise config_error(
                f"{own(self)}: the model must end in a Softmax layer, one tag a token. Use "
                "spacy.Tagger.v2."
            )
        self.threshold, self.thresholds, self.spans_key = threshold, thresholds, spans_key
        # What the config said, so that another value in spacy.load(config=...) is seen as one.
        self.cfg["made_with"] = {key: self.cfg[key] for key in SETTINGS}

    # -- settings -----------------------------------------------------------------------

    @property
    def threshold(self) -> float:
        """How much an entity needs to be predicted, from 0 to 1; it can be set, and is saved."""
        return self.cfg["threshold"]

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.cfg["threshold"] = self._read_threshold("threshold", value)

    @property
    def thresholds(self) -> Optional[Dict[str, float]]:
        """Of single labels, on top of that; they can be set, and are saved."""
        return self.cfg.get("thresholds")

    @thresholds.setter
    def thresholds(self, values: Optional[Dict[str, float]]) -> None:
        if values is not None:
            values = {
                label: self._read_threshold(f"thresholds of {label!r}", value)
                for label, value in values.items()
            }
        self.cfg["thresholds"] = values

    @property
    def spans_key(self) -> Optional[str]:
        """Where in doc.spans predicted entities are put, or None; it can be set, and is saved."""
        return self.cfg.get("spans_key")

    @spans_key.setter
    def spans_key(self, value: Optional[str]) -> None:
        if not (value is None or isinstance(value, str)):
            raise config_error(f"{own(self)}: spans_key must be a name or null, got {value!r}.")
        self.cfg["spans_key"] = value

    def _read_threshold(self, what: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise config_error(f"{own(self)}: {what} must be from 0 to 1, got {value!r}.")
        return value

    def from_disk(self, path: Union[str, Path], *, exclude: Sequence[str] = ()) -> "DiceNER":
        """Load what was saved. Settings that the config gives another value than it had when this
        was saved, as `spacy.load(..., config=...)` does, are the config's.
        """
        with self._settings_of_config():
            super().from_disk(path, exclude=exclude)
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Sequence[str] = ()) -> "DiceNER":
        """As `from_disk`, of bytes."""
        with self._settings_of_config():
            super().from_bytes(bytes_data, exclude=exclude)
        return self

    @contextmanager
    def _settings_of_config(self) -> Iterator[None]:
        given = self.cfg["made_with"]
        yield
        saved = self.cfg["made_with"]  # of earlier versions: as it is given
        self.cfg.update({key: given[key] for key in SETTINGS if given[key] != saved[key]})
        self.cfg["made_with"] = given

    # -- labels -------------------------------------------------------------------------

    @property
    def labels(self) -> Tuple[str, ...]:
        """The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Tuple[str, ...]:
        """The entity labels, for `spacy init labels`."""
        return self.labels

    @property
    def tags(self) -> Tuple[str, ...]:
        """The tag of each column of the model's output."""
        return tags_of(self.labels)

    def add_label(self, label: str) -> int:
        """Add an entity label, to a trained component too: its tags then start out unlikely.

        RETURNS 0 if it is there already, else 1.
        """
        if not isinstance(label, str):
            raise ValueError(Errors.E187)
        return self._add_labels([label])

    def _add_labels(self, labels: Iterable[str]) -> int:
        """How many are new. The models are resized once, so that thousands take no time."""
        known = set(self.cfg["labels"])
        new = [label for label in dict.fromkeys(labels) if label not in known]
        if not new:
            return 0
        self.cfg["labels"] += new
        for label in new:
            self.vocab.strings.add(label)
        for model in (self.model, self._rehearsal_model):
            if isinstance(model, Model):
                _resize(model, len(self.tags), self.name)
        return len(new)

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return label_spec(own(pipe), pipe.tags, (OUTSIDE,))

    # -- predicting ---------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> List[List[Entity]]:
        """Each doc's new entities; those that it has already are not repeated."""
        docs = list(docs)
        if not isinstance(self.model.ops, NumpyOps):
            return self._predict(docs)
        # Of labels by the hundred, the scores of a batch would take more than all else.
        parts = _in_parts(docs, CELLS // max(1, len(self.tags)))
        return [of_doc for part in parts for of_doc in self._predict(part)]

    def _predict(self, docs: Sequence[Doc]) -> List[List[Entity]]:
        found: List[List[Entity]] = [[] for _ in docs]
        if not self.labels or not any(len(doc) for doc in docs):
            return found
        scores = constrained_scores(self, docs)
        lengths = [len(doc) for doc in docs]
        shifts = label_shifts(self.cfg, self.labels)
        shifted = shift_scores(scores, log_odds(self.cfg["threshold"]), shifts)
        spans = biluo.decode(shifted, lengths)
        if self.cfg.get("spans_key") is None:
            probabilities = numpy.full(len(spans.doc), numpy.nan)
        else:
            probabilities = biluo.probabilities(scores, lengths, spans)
        labels, strings = self.labels, self.vocab.strings
        columns = (*(part.tolist() for part in spans), probabilities.tolist())
        for doc, start, end, label, probability in zip(*columns):
            found[doc].append(Entity(start, end, strings[labels[label]], probability))
        return found

    def set_annotations(self, docs: Iterable[Doc], batch: Sequence[List[Entity]]) -> None:
        """Set doc.ents: those that were there, and the new ones; and doc.spans, if asked for."""
        key = self.cfg.get("spans_key")
        for doc, found in zip(docs, batch):
            spans = [Span(doc, start, end, label=label) for start, end, label, _ in found]
            preset, blocked = _preset(doc)
            doc.set_ents(preset + spans, blocked=blocked)
            if key is not None:
                group = SpanGroup(doc, name=key, spans=spans)
                group.attrs["scores"] = numpy.asarray([entity.probability for entity in found])
                doc.spans[key] = group

    # -- training -----------------------------------------------------------------------

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Sequence[str]] = None,
    ) -> None:
        """Set the labels, from ``labels`` or from the data, and initialise the model."""
        validate_get_examples(get_examples, "DiceNER.initialize")
        check_lexeme_norms(self.vocab, "ner")
        if labels is None:
            labels = sorted({ent.label_ for eg in get_examples() for ent in eg.reference.ents})
        labels = list(labels)
        if not all(isinstance(label, str) for label in labels):
            raise ValueError(Errors.E187)
        self._add_labels(labels)
        if not self.labels:
            raise config_error(
                f"{own(self)}: the training data has no entities, so that there are no labels. "
                f"Check the corpus, or give [initialize.components.{self.name}] its labels."
            )
        self.check(self, self.loss)
        warn_of_loss(self, self.loss, nlp)
        docs = [eg.x for eg in islice(get_examples(), 10)]
        if not docs:
            raise ValueError(Errors.E923.format(name=self.name))
        n_tags = len(self.tags)
        _resize(self.model, n_tags, self.name)
        sample = [self.model.ops.alloc2f(len(doc), n_tags) for doc in docs]
        self.model.initialize(X=docs, Y=sample)

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        return [None if tag == "-" else tag for tag in example.get_aligned_ner()]

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[dict] = None,
    ) -> dict:
        """Learn from a batch; see TrainablePipe.update."""
        validate_examples(examples, "DiceNER.update")
        return super().update(examples, drop=drop, sgd=sgd, losses=losses)

    def rehearsal(self, examples: Sequence[Example]) -> Iterator[float]:
        """Learn from one batch what the former model predicts."""
        docs = [eg.predicted for eg in examples]
        scores, backprop = self.model.begin_update(docs)
        tutor, _ = self._rehearsal_model.begin_update(docs)
        taught = self.model.ops.xp.concatenate(tutor)
        targets = from_rows(taught, None, self.label_spec(self))
        gradient, value = CrossEntropy().compute(scores, targets, self.head())
        backprop(gradient)
        yield value


def _in_parts(docs: Sequence[Doc], n_tokens: int) -> Iterator[List[Doc]]:
    """Docs in their order, in parts of at most so many tokens, if one alone has no more."""
    part: List[Doc] = []
    size = 0
    for doc in docs:
        if part and size + len(doc) > n_tokens:
            yield part
            part, size = [], 0
        part.append(doc)
        size += len(doc)
    if part:
        yield part


def _constrain(scores: numpy.ndarray, docs: Sequence[Doc]) -> numpy.ndarray:
    """Scores with -inf where a tag would break what the docs say already."""
    attrs = numpy.concatenate(
        [doc.to_array([ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START]) for doc in docs]
    ).astype("int64")
    iob, is_space, sent_start = attrs[:, 0], attrs[:, 2] > 0, attrs[:, 3] == 1
    crosses = numpy.zeros(len(scores), dtype=bool)
    crosses[:-1] = sent_start[1:]
    # 3 begins an entity or blocks a token, 1 is inside an entity.
    return biluo.constrain(scores, is_space, crosses, (iob != 3) & (iob != 1))


def constrained_scores(pipe: DiceNER, docs: Sequence[Doc]) -> numpy.ndarray:
    """``(tokens, tags)``: logits or log-probabilities, -inf where a tag would break what the docs
    say already.
    """
    scores = pipe.model.ops.to_numpy(pipe.model.ops.xp.concatenate(pipe.model.predict(docs)))
    if not emits_logits(pipe.model, pipe.name):
        numpy.log(numpy.maximum(scores, numpy.finfo("float32").tiny, out=scores), out=scores)
    return _constrain(scores, docs)


def log_odds(threshold: float) -> float:
    """Of a threshold; 0 and 1 are beyond any model's logits."""
    with numpy.errstate(divide="ignore"):
        value = numpy.log(threshold) - numpy.log1p(-threshold)
    return float(numpy.clip(value, -100, 100))


def label_shifts(cfg: Dict[str, Any], labels: Sequence[str]) -> numpy.ndarray:
    """``(labels,)``: what the thresholds of single labels add to their scores."""
    thresholds = cfg.get("thresholds") or {}  # pipelines of earlier versions have none
    if not thresholds:
        return numpy.zeros(len(labels))
    return numpy.asarray([-log_odds(thresholds.get(label, 0.5)) for label in labels])


def shift_scores(scores: numpy.ndarray, outside: float, labels: numpy.ndarray) -> numpy.ndarray:
    """Scores ``(N, 1 + 4 L)`` with ``outside`` added to O's, and ``(L,)`` to the tags of labels."""
    if outside == 0.0 and not labels.any():
        return scores
    shifted = scores.copy()
    shifted[:, 0] += outside
    if labels.any():
        shifted[:, 1:] += numpy.repeat(labels, 4)
    return shifted


def _preset(doc: Doc) -> Tuple[List[Span], List[Span]]:
    """The entities that a doc has already, and its blocked tokens."""
    if not doc.has_annotation("ENT_IOB"):
        return [], []
    iob = doc.to_array([ENT_IOB, ENT_TYPE])
    blocked = numpy.flatnonzero((iob[:, 0] == 3) & (iob[:, 1] == 0)).tolist()
    return list(doc.ents), [doc[i : i + 1] for i in blocked]


def _resize(model: Model, n_tags: int, component: str) -> None:
    """Give the output layer ``n_tags`` outputs. Trained ones are kept; new ones come last."""
    layer = last_layer(model, component)
    if layer.has_param("W"):
        # thinc fixes the dimensions of a layer that has parameters: a new one takes its place.
        W: Any = layer.get_param("W")
        b: Any = layer.get_param("b")
        new: Model = Model(
            layer.name,
            layer._func,
            init=layer.init,
            dims={"nO": n_tags, "nI": W.shape[1]},
            params={"W": None, "b": None},
            attrs=dict(layer.attrs),
            ops=layer.ops,
        )
        new_W: Any = layer.ops.alloc2f(n_tags, W.shape[1])
        new_b: Any = layer.ops.alloc1f(n_tags) + UNTRAINED
        new_W[: len(W)], new_b[: len(b)] = W, b
        new.set_param("W", new_W)
        new.set_param("b", new_b)
        model.replace_node(layer, new)
    else:
        layer.set_dim("nO", n_tags, force=True)
    # What wraps the layer repeats its size.
    wrapper = model
    while wrapper.layers:
        if wrapper.has_dim("nO"):
            wrapper.set_dim("nO", n_tags, force=True)
        wrapper = wrapper.layers[-1]
