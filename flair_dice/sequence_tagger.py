"""Flair's SequenceTagger with a ``loss`` argument."""

from typing import Any, List, Tuple

from flair.data import Dictionary, Sentence
from flair.models import SequenceTagger as Stock
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from torch import Tensor

from dice_core.labels import LabelSpec
from dice_core.options import listed

from .crf import ChainHead
from .heads import Head, TokenHead, widen
from .loss_mixin import LossMixin


class SequenceTagger(LossMixin, Stock):
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

    stock = Stock
    _lengths: Tensor

    def forward_loss(self, sentences: List[Sentence]) -> Tuple[Tensor, int]:
        if self.loss is not None:
            # There is nothing in them, and RNNs refuse them.
            sentences = [sentence for sentence in sentences if len(sentence)]
        return super().forward_loss(sentences)

    def forward(self, sentence_tensor: Tensor, lengths: Any) -> Any:
        self._lengths = lengths
        return super().forward(sentence_tensor, lengths)

    def _calculate_loss(self, scores: Tensor, labels: Any) -> Tuple[Tensor, int]:
        if not len(labels):
            return Stock._calculate_loss(self, scores, labels)  # 0
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

    def _prepare_label_tensor(self, sentences: List[Sentence]) -> Tensor:
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


def columns(dictionary: Dictionary) -> List[int]:
    """The tags that tokens can have: all but those that a CRF adds."""
    tags = dictionary.get_items()
    return [column for column, tag in enumerate(tags) if tag not in (START_TAG, STOP_TAG)]


def chain_head(scores: Tuple[Tensor, Tensor, Tensor], gold: Tensor, tags: Dictionary) -> ChainHead:
    """A head from what Flair's CRF layer gives, for gold tags ``(N,)`` of its dictionary."""
    start, stop = tags.get_idx_for_item(START_TAG), tags.get_idx_for_item(STOP_TAG)
    return ChainHead(scores, gold, columns(tags), start, stop)
