"""Flair's classifiers with a ``loss`` argument, under the names that model files know them by."""

from typing import List

import flair.models as stock
from flair.data import Token

from .with_loss import WithLoss


class TextClassifier(WithLoss, stock.TextClassifier):
    """`flair.models.TextClassifier` with ``loss`` (see `WithLoss`), single- or multi-label."""


class TextPairClassifier(WithLoss, stock.TextPairClassifier):
    """`flair.models.TextPairClassifier` with ``loss`` (see `WithLoss`)."""


class TextTripleClassifier(WithLoss, stock.TextTripleClassifier):
    """`flair.models.TextTripleClassifier` with ``loss`` (see `WithLoss`)."""


class TokenClassifier(WithLoss, stock.TokenClassifier):
    """`flair.models.TokenClassifier` with ``loss`` (see `WithLoss`).

    With a loss of ours the loss on dev counts entities; the stock one takes all dev tokens for
    outside, because the tags of spans are written in training only.
    """

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


class SpanClassifier(WithLoss, stock.SpanClassifier):
    """`flair.models.SpanClassifier` with ``loss`` (see `WithLoss`)."""


class RelationClassifier(WithLoss, stock.RelationClassifier):
    """`flair.models.RelationClassifier` with ``loss`` (see `WithLoss`)."""


class RelationExtractor(WithLoss, stock.RelationExtractor):
    """`flair.models.RelationExtractor` with ``loss`` (see `WithLoss`)."""
