"""Flair's models with a ``loss`` argument, under the names that model files know them by.

`Classifier.load` finds a file's class among those that are imported, so that importing one is
importing all.
"""

from typing import Any, Optional, cast

from flair import models
from flair.data import Dictionary, Sentence, Token
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import Model
from torch import LongTensor, Tensor

from dice_core import losses as core
from dice_core.labels import LabelSpec
from dice_core.options import listed

from .crf import ChainHead
from .heads import Head, TokenHead, widen
from .loss_mixin import FromStock, LossMixin
from .losses import LossLike


class SequenceTagger(LossMixin, models.SequenceTagger):
    """A drop-in for `flair.models.SequenceTagger`: all of its arguments, and ``loss``.

    With a CRF, Dice and its kin are over the CRF's token marginals, EntityDice is over its span
    marginals, and CrossEntropy is the CRF's likelihood (ViterbiLoss). Decoding is the stock
    tagger's.

    It keeps the stock class's name, which Flair writes into model files: a file loads here with
    its loss, and in plain Flair, without this package, as the stock tagger.

    Args:
        loss: A loss, the name of one, or a dict such as ``{"name": "DiceCE", "weight": 1.0}``;
            None is the stock loss (see `LossMixin`).

    Raises:
        ValueError: For a loss that does not suit the tags.
    """

    stock = models.SequenceTagger
    _lengths: Tensor

    def forward_loss(self, sentences: list[Sentence]) -> tuple[Tensor, int]:
        if self.loss is not None:
            # There is nothing in them, and RNNs refuse them.
            sentences = [sentence for sentence in sentences if len(sentence)]
        return super().forward_loss(sentences)

    def forward(self, sentence_tensor: Tensor, lengths: LongTensor) -> object:
        self._lengths = lengths
        return super().forward(sentence_tensor, lengths)

    def _calculate_loss(self, scores: Tensor, labels: Any) -> tuple[Tensor, int]:
        if not len(labels):
            return models.SequenceTagger._calculate_loss(self, scores, labels)  # 0
        return super()._calculate_loss(scores, labels)

    @classmethod
    def label_spec(cls, model: Any) -> LabelSpec:
        tags = model.label_dictionary.get_items()
        names = tuple(tags[column] for column in columns(model.label_dictionary))
        background = tuple(name for name in cls.background if name in names)
        return LabelSpec(type(model).__name__, names, background, sequence=True, crf=model.use_crf)

    def _head(self, scores: Any, gold: Tensor) -> Head:
        if self.use_crf:
            return chain_head(scores, gold, self.label_dictionary)
        return TokenHead(widen(scores), "softmax", gold, self._lengths.tolist())

    def _prepare_label_tensor(self, sentences: list[Sentence]) -> Tensor:
        if self.loss is not None:
            for label in self._get_gold_labels(sentences):
                if not (self.label_dictionary.add_unk or self.label_dictionary.has_item(label)):
                    raise ValueError(
                        f"{type(self).__name__}: the data has the label {label!r}, which is none "
                        f"of its tags: {listed(self._spec.names or ())}. Make the dictionary "
                        "of all splits (make_label_dictionary(..., add_dev_test=True)), correct "
                        "the data, or pass allow_unk_predictions=True."
                    )
        return super()._prepare_label_tensor(sentences)


def columns(dictionary: Dictionary) -> list[int]:
    """The tags that tokens can have: all but those that a CRF adds."""
    tags = dictionary.get_items()
    return [column for column, tag in enumerate(tags) if tag not in (START_TAG, STOP_TAG)]


def chain_head(scores: tuple[Tensor, Tensor, Tensor], gold: Tensor, tags: Dictionary) -> ChainHead:
    """A head from what Flair's CRF layer gives, for gold tags ``(N,)`` of its dictionary."""
    start, stop = tags.get_idx_for_item(START_TAG), tags.get_idx_for_item(STOP_TAG)
    return ChainHead(scores, gold, columns(tags), start, stop)


class TextClassifier(LossMixin, models.TextClassifier):
    """`flair.models.TextClassifier` with ``loss`` (see `LossMixin`), single- or multi-label."""

    stock = models.TextClassifier


class TextPairClassifier(LossMixin, models.TextPairClassifier):
    """`flair.models.TextPairClassifier` with ``loss`` (see `LossMixin`)."""

    stock = models.TextPairClassifier


class TextTripleClassifier(LossMixin, models.TextTripleClassifier):
    """`flair.models.TextTripleClassifier` with ``loss`` (see `LossMixin`)."""

    stock = models.TextTripleClassifier


class TokenClassifier(LossMixin, models.TokenClassifier):
    """`flair.models.TokenClassifier` with ``loss`` (see `LossMixin`).

    With a loss of ours the loss on dev counts entities; the stock one reads all dev tokens as
    outside, because the tags of spans are written in training only.
    """

    stock = models.TokenClassifier

    def _get_label_of_datapoint(self, data_point: Token) -> list[str]:
        if self.loss is None or self.training or not self.span_prediction_problem:
            return super()._get_label_of_datapoint(data_point)
        index = data_point.idx
        for span in data_point.sentence.get_spans(self.label_type):
            first, last = span[0].idx, span[-1].idx
            if first <= index <= last:
                prefix = "B" if index == first else "I"
                if self.span_encoding == "BIOES" and index == last:
                    prefix = "S" if index == first else "E"
                return [f"{prefix}-{span.get_label(self.label_type).value}"]
        return ["O"]


class SpanClassifier(LossMixin, models.SpanClassifier):
    """`flair.models.SpanClassifier` with ``loss`` (see `LossMixin`)."""

    stock = models.SpanClassifier


class RelationClassifier(LossMixin, models.RelationClassifier):
    """`flair.models.RelationClassifier` with ``loss`` (see `LossMixin`)."""

    stock = models.RelationClassifier


class RelationExtractor(LossMixin, models.RelationExtractor):
    """`flair.models.RelationExtractor` with ``loss`` (see `LossMixin`)."""

    stock = models.RelationExtractor


# -- few-shot models: the loss is that of their inner model ----------------------------------
# TARSTagger asks of each label "which tokens are it?" and TARSClassifier "is the text it?": the
# query-based formulation in which Li et al. 2020 recognise entities.


class TARSTextClassifier(TextClassifier):
    """The inner model of TARSClassifier, for which NO is the background."""

    background = (models.TARSClassifier.LABEL_NO_MATCH,)


class _Few(FromStock):
    """Mixin in front of a few-shot model, whose ``tars_model`` becomes an ``inner`` of ours."""

    tars_model: Any
    inner: type[FromStock]

    def __init__(self, *args: object, loss: LossLike = None, **kwargs: object):
        super().__init__(*args, **kwargs)
        self.set_loss(loss)

    @property
    def loss(self) -> Optional[core.Loss]:  # type: ignore[override]
        return self.tars_model.loss

    def set_loss(self, loss: LossLike) -> None:
        """Train with this loss from now on; None is the stock loss."""
        self.inner.from_stock(self.tars_model, self.check_loss(self, loss))

    @classmethod
    def check_loss(cls, model: Model, loss: LossLike) -> Optional[core.Loss]:
        return cls.inner.check_loss(cast(Model, model.tars_model), loss)

    def to_stock(self) -> Model:
        """Turn it into the stock model, in place."""
        self.tars_model.to_stock()
        self.__class__ = self.stock
        return self

    def forward_loss(self, data_points: Any) -> tuple[Tensor, int]:
        self.tars_model.model_card = self.model_card
        return super().forward_loss(data_points)  # type: ignore[safe-super]


class TARSTagger(_Few, models.TARSTagger):
    """`flair.models.TARSTagger` with ``loss`` (see `LossMixin`)."""

    stock, inner = models.TARSTagger, SequenceTagger


class TARSClassifier(_Few, models.TARSClassifier):
    """`flair.models.TARSClassifier` with ``loss`` (see `LossMixin`)."""

    stock, inner = models.TARSClassifier, TARSTextClassifier


# Which of ours replaces which stock model. Looked up by the exact type.
STOCK_TO_DICE: dict[type, type[FromStock]] = {
    ours.stock: ours
    for ours in (
        SequenceTagger,
        TextClassifier,
        TextPairClassifier,
        TextTripleClassifier,
        TokenClassifier,
        SpanClassifier,
        RelationClassifier,
        RelationExtractor,
        TARSTagger,
        TARSClassifier,
    )
}
# Why some others have no loss that could be replaced.
UNSUPPORTED: dict[type, str] = {
    models.TextRegressor: "it predicts a number, and these losses are of classes",
    models.TextPairRegressor: "it predicts numbers, and these losses are of classes",
    models.EntityMentionLinker: "it links by similarity and is not trained",
    models.Lemmatizer: "it generates lemmas character by character",
    models.RegexpTagger: "it is not trained",
    models.LanguageModel: "it predicts the next character",
}
