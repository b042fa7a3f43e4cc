"""Flair's few-shot models with a ``loss`` argument, which is the loss of their inner model.

TARSTagger asks of each label "which tokens are it?" and TARSClassifier "is the text it?": the
query-based formulation in which Li et al. 2020 recognise entities.
"""

from typing import Any, Optional, Tuple

from flair import models
from flair.nn import Model
from torch import Tensor

from dice_core import losses as core

from .classifiers import TextClassifier
from .loss_mixin import FromStock
from .losses import LossLike
from .sequence_tagger import SequenceTagger


class TARSTextClassifier(TextClassifier):
    """The inner model of TARSClassifier, for which NO is the background."""

    background = (models.TARSClassifier.LABEL_NO_MATCH,)


class _Few(FromStock):
    """Mixin in front of a few-shot model, whose ``tars_model`` becomes an ``inner`` of ours."""

    tars_model: Any
    inner: Any

    def __init__(self, *args: Any, loss: LossLike = None, **kwargs: Any):
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
        return cls.inner.check_loss(model.tars_model, loss)

    def to_stock(self) -> Any:
        """Turn it into the stock model, in place."""
        self.tars_model.to_stock()
        self.__class__ = self.stock
        return self

    def forward_loss(self, data_points: Any) -> Tuple[Tensor, int]:
        self.tars_model.model_card = self.model_card
        return super().forward_loss(data_points)  # type: ignore[safe-super]


class TARSTagger(_Few, models.TARSTagger):
    """`flair.models.TARSTagger` with ``loss`` (see `LossMixin`)."""

    stock, inner = models.TARSTagger, SequenceTagger


class TARSClassifier(_Few, models.TARSClassifier):
    """`flair.models.TARSClassifier` with ``loss`` (see `LossMixin`)."""

    stock, inner = models.TARSClassifier, TARSTextClassifier
