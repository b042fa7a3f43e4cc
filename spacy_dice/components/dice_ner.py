"""dice_ner: named entities by token classification."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple, Optional

import numpy
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_get_examples
from spacy.util import check_lexeme_norms
from spacy.vocab import Vocab
from thinc.api import (
    Model,
    NumpyOps,
    Softmax_v2,
    chain,
    glorot_uniform_init,
    with_array,
)
from thinc.layers.resizable import resize_linear_weighted

from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss, CrossEntropy
from dice_core.options import listed
from dice_core.tags import OUTSIDE, tags_of
from dice_core.targets import from_rows

from .. import biluo
from ..errors import config_error, label_spec
from ..heads import Head, emits_logits, find_head, last_layer
from ..losses import compute
from .per_token import PerToken
from .settings import Setting, SettingsMixin, check_probability
from .trainable import LossLike, OwnMixin, own, warn_of_loss

# Logit of a label that was added after training, until it is trained.
UNTRAINED = -10.0
# About as many scores, of a token and a tag each, are computed at a time on a CPU.
MAX_SCORES = 2**20


class Entity(NamedTuple):
    """An entity that was found.

    Attributes:
        start: Its first token.
        end: Past its last token.
        label: The label's id in the string store.
        probability: The share of the valid tag sequences that have it, by the model; NaN unless
            spans_key is set.
    """

    start: int
    end: int
    label: int
    probability: float


class DiceNER(SettingsMixin, OwnMixin, PerToken, TrainablePipe):
    """A softmax over BILUO tags for each token, and the best valid sequence of them.

    As in stock ner: entities and blocked tokens that a doc already has are kept and nothing
    overlaps them, no entity starts on white space or reaches across a sentence start that is
    set. In training, tokens without annotation are masked, and so are gold entities that could
    not be predicted for these reasons.

    Args:
        vocab: The pipeline's vocabulary.
        model: From docs to floats ``(tokens, tags)`` for each, ending in a softmax, such as
            spacy.Tagger.v2.
        name: The component's name.
        loss: A loss of spacy_dice.
        threshold: From 0 to 1, how much an entity needs to be predicted; 0.5 leaves the model as
            it is, more is for precision and less for recall. `spacy find-threshold` finds the
            best value.
        thresholds: The same of single labels, combined with ``threshold``: 0.5 leaves a label
            where that puts it, and log-odds add up.
        spans_key: Where in doc.spans to put the entities that it predicts, with the probability
            of each, whatever the threshold is, in attrs["scores"], as spancat does; or None.
        scorer: `spacy.ner_scorer.v1`.

    Raises:
        ConfigValidationError: For values that do not fit, here or when they are set.
    """

    own_factory = "dice_ner"
    threshold = Setting[float](0.5)
    thresholds = Setting[Optional[dict[str, float]]](None)
    spans_key = Setting[Optional[str]](None)

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "dice_ner",
        *,
        loss: LossLike,
        scorer: Optional[Callable] = None,
        **settings: object,
    ):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg = {"labels": []}
        self._rehearsal_model = None
        self.set_loss(loss)
        if find_head(model, name) != Head("softmax", "logits"):
            raise config_error(
                f"{own(self)}: the model must end in a Softmax layer, one tag a token. Use "
                "spacy.Tagger.v2."
            )
        self.init_settings(settings)

    def check_settings(self) -> None:
        check_probability(self, "threshold", self.threshold)
        for label, threshold in (self.thresholds or {}).items():
            check_probability(self, f"thresholds of {label!r}", threshold)
            # Before it is initialized, it does not know its labels.
            if self.labels and label not in self.labels:
                raise config_error(
                    f"{own(self)}: thresholds has the label {label!r}, which is none of its "
                    f"labels: {listed(self.labels)}."
                )
        if self.spans_key is not None and not (self.spans_key and isinstance(self.spans_key, str)):
            raise config_error(
                f"{own(self)}: spans_key must be a name or null, got {self.spans_key!r}."
            )

    # -- labels -------------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> tuple[str, ...]:
        """The entity labels, for `spacy init labels`."""
        return self.labels

    @property
    def tags(self) -> tuple[str, ...]:
        """The tag of each column of the model's output."""
        return tags_of(self.labels)

    def add_label(self, label: str) -> int:
        """Add an entity label, to a trained component too: its tags then start out unlikely.

        RETURNS 0 if it is there already, else 1.
        """
        return self._add_labels([label])

    def _add_labels(self, labels: Sequence[str]) -> int:
        """How many are new. The models are resized once, however many they are."""
        if not all(isinstance(label, str) for label in labels):
            raise ValueError(Errors.E187)
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

    def predict(self, docs: Iterable[Doc]) -> list[list[Entity]]:
        """Find each doc's new entities; those that it has already are not repeated."""
        docs = list(docs)
        if not isinstance(self.model.ops, NumpyOps):
            return self._predict(docs)
        # Of labels by the hundred, the scores of all docs would need more memory than all else.
        batches = batch_by_tokens(docs, MAX_SCORES // max(1, len(self.tags)))
        return [found for batch in batches for found in self._predict(batch)]

    def _predict(self, docs: Sequence[Doc]) -> list[list[Entity]]:
        found: list[list[Entity]] = [[] for _ in docs]
        if not self.labels or not any(len(doc) for doc in docs):
            return found
        scores = constrained_scores(self, docs)
        lengths = [len(doc) for doc in docs]
        shifts = label_shifts(self.cfg, self.labels)
        spans = biluo.decode(shift_scores(scores, log_odds(self.threshold), shifts), lengths)
        probabilities = numpy.full(len(spans.doc), numpy.nan)
        if self.spans_key is not None:
            probabilities = biluo.probabilities(scores, lengths, spans)
        labels = [self.vocab.strings[label] for label in self.labels]
        rows = zip(*(values.tolist() for values in spans), probabilities.tolist())
        for doc, start, end, label, probability in rows:
            found[doc].append(Entity(start, end, labels[label], probability))
        return found

    def set_annotations(self, docs: Iterable[Doc], batch: Sequence[list[Entity]]) -> None:
        """Set doc.ents: those that were there, and the new ones; and doc.spans, if asked for."""
        key = self.spans_key
        for doc, found in zip(docs, batch):
            spans = [Span(doc, start, end, label=label) for start, end, label, _ in found]
            iob, types = doc.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2).T
            blocked = numpy.flatnonzero((iob == 3) & (types == 0)).tolist()
            doc.set_ents([*doc.ents, *spans], blocked=[doc[i : i + 1] for i in blocked])
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
        self._add_labels(labels)
        if not self.labels:
            raise config_error(
                f"{own(self)}: the training data has no entities, so that there are no labels. "
                f"Check the corpus, or give [initialize.components.{self.name}] its labels."
            )
        self.check_settings()
        self.check(self, self.loss)
        warn_of_loss(self, self.loss, nlp)
        docs = [eg.x for eg in islice(get_examples(), 10)]
        n_tags = len(self.tags)
        _resize(self.model, n_tags, self.name)
        sample = [self.model.ops.alloc2f(len(doc), n_tags) for doc in docs]
        self.model.initialize(X=docs, Y=sample)

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        entities, tags = example.get_aligned_ents_and_ner()
        if not entities:
            return tags
        no_start, no_crossing, free = constraints([example.predicted])
        preset = {(ent.start, ent.end, ent.label) for ent in example.predicted.ents}
        for start, end, _ in {(ent.start, ent.end, ent.label) for ent in entities} - preset:
            crosses = no_crossing[start : end - 1].any()
            if no_start[start] or crosses or not free[start:end].all():
                tags[start:end] = [None] * (end - start)  # type: ignore[list-item]
        return tags

    def rehearsal(self, examples: Sequence[Example]) -> Iterator[float]:
        """Learn from one batch what the former model predicts."""
        docs = [eg.predicted for eg in examples]
        scores, backprop = self.model.begin_update(docs)
        tutor, _ = self._rehearsal_model.begin_update(docs)
        taught = self.model.ops.xp.concatenate(tutor)
        targets = from_rows(taught, None, self.label_spec(self))
        gradient, value = compute(BoundLoss(CrossEntropy()), scores, targets, self.head())
        backprop(gradient)
        yield value


def token_classifier(tok2vec: Model, nO: Optional[int] = None) -> Model:
    """`spacy_dice.TokenClassifier.v1`: spacy.Tagger.v2 with output weights that do not begin at 0.
    From 0 a fine-tuned transformer learns nothing in its first few hundred updates.

    Args:
        tok2vec: From docs to floats ``(tokens, width)`` for each, such as a listener.
        nO: The number of tags; the component sets it.

    Returns:
        A model from docs to floats ``(tokens, tags)`` for each, ending in a softmax.
    """
    softmax = Softmax_v2(nO, tok2vec.maybe_get_dim("nO"), init_W=glorot_uniform_init)
    model: Model = chain(tok2vec, with_array(softmax))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", softmax)
    return model


def batch_by_tokens(docs: Sequence[Doc], n_tokens: int) -> Iterator[list[Doc]]:
    """Batches of docs in their order, of about as many tokens; a longer doc has one of its own."""
    ends = numpy.cumsum([len(doc) for doc in docs]) // max(1, n_tokens)
    for _, batch in groupby(range(len(docs)), lambda i: ends[i]):
        yield [docs[i] for i in batch]


def constraints(docs: Sequence[Doc]) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """What docs have already of entities, as `biluo.constrain` needs it: bools ``(tokens,)``
    for no_start, no_crossing and free.
    """
    attrs = numpy.concatenate([doc.to_array([ENT_IOB, IS_SPACE, SENT_START]) for doc in docs])
    iob, is_space, sent_start = attrs.T
    no_crossing = numpy.append(sent_start[1:] == 1, False)
    # 3 begins an entity or blocks a token, 1 is inside an entity.
    return is_space > 0, no_crossing, (iob != 3) & (iob != 1)


def constrained_scores(pipe: DiceNER, docs: Sequence[Doc]) -> numpy.ndarray:
    """``(tokens, tags)``: logits or log-probabilities, -inf where a tag would break what the docs
    have already.
    """
    scores = pipe.model.ops.to_numpy(pipe.model.ops.xp.concatenate(pipe.model.predict(docs)))
    if not emits_logits(pipe.model, pipe.name):
        numpy.log(numpy.maximum(scores, numpy.finfo("float32").tiny, out=scores), out=scores)
    return biluo.constrain(scores, *constraints(docs))


def log_odds(threshold: float) -> float:
    """The log-odds of a threshold; 0 and 1 are beyond any model's logits."""
    with numpy.errstate(divide="ignore"):
        value = numpy.log(threshold) - numpy.log1p(-threshold)
    return float(numpy.clip(value, -100, 100))


def label_shifts(cfg: dict, labels: Sequence[str]) -> numpy.ndarray:
    """What the thresholds of single labels add to their scores: floats ``(labels,)``."""
    thresholds = cfg["thresholds"] or {}
    return numpy.asarray([-log_odds(thresholds.get(label, 0.5)) for label in labels])


def shift_scores(scores: numpy.ndarray, outside: float, labels: numpy.ndarray) -> numpy.ndarray:
    """Add ``outside`` to the scores ``(N, 1 + 4 L)`` of O, and ``labels``, ``(L,)``, to those of
    each label's tags.
    """
    if outside == 0.0 and not labels.any():
        return scores
    shifted = scores.copy()
    shifted[:, 0] += outside
    shifted[:, 1:] += numpy.repeat(labels, 4)
    return shifted


def _resize(model: Model, n_tags: int, component: str) -> None:
    """Give the output layer ``n_tags`` outputs. Trained ones are kept; new ones come last."""
    layer = last_layer(model, component)
    larger = resize_linear_weighted(layer, n_tags, fill_defaults={"b": UNTRAINED})
    if larger is not layer:
        model.replace_node(layer, larger)
    # What wraps the layer repeats its size.
    wrapper = model
    while wrapper.layers:
        if wrapper.has_dim("nO"):
            wrapper.set_dim("nO", n_tags, force=True)
        wrapper = wrapper.layers[-1]
