"""Flair's classifiers with a ``loss`` argument, under the names that model files know them by."""

from typing import List

from flair import models
from flair.data import Token

from .loss_mixin import LossMixin


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

    With a loss of ours the loss on dev counts entities; the stock one takes all dev tokens for
    outside, because the tags of spans are written in training only.
    """

    stock = models.TokenClassifier

    def _get_label_of_datapoint(self, data_point: Token) -> List[str]:
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
