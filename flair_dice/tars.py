"""Flair's few-shot models with a ``loss`` argument, which is the loss of their inner model.

TARSTagger asks of each label "which tokens are it?" and TARSClassifier "is the text it?": the
query-based formulation in which Li et al. 2020 recognise entities.
"""

from typing import TYPE_CHECKING, Any, Dict, Iterable, Optional, Tuple

import flair.models as stock
from torch import Tensor

from .classifiers import TextClassifier
from .losses import Loss
from .sequence_tagger import SequenceTagger
from .with_loss import KEY, as_class

if TYPE_CHECKING:
    Base = stock.FewshotClassifier
else:
    Base = object


class TARSTextClassifier(TextClassifier):
    """The inner model of TARSClassifier, for which NO is the background."""

    def _background(self) -> Iterable[str]:
        return (stock.TARSClassifier.LABEL_NO_MATCH,)


class _Few(Base):
    """Mixin in front of a few-shot model, whose ``tars_model`` becomes an ``inner`` of ours."""

    tars_model: Any
    inner: Any
    stock_inner: Any

    def __init__(self, *args: Any, loss: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.set_loss(loss)

    @property
    def loss(self) -> Optional[Loss]:
        return self.tars_model.loss

    def set_loss(self, loss: Any) -> None:
        """Train with this loss from now on; None is the stock loss."""
        if loss is not None:
            loss = self.check_loss(loss)
        self.tars_model.__class__ = self.inner
        self.tars_model.set_loss(loss)

    def check_loss(self, loss: Any) -> Loss:
        """The loss, if it suits this model; else a ValueError."""
        with as_class(self.tars_model, self.inner):
            return self.tars_model.check_loss(loss)

    def release(self) -> None:
        """Delete all that is not stock's."""
        self.tars_model.release()
        self.tars_model.__class__ = self.stock_inner

    def forward_loss(self, data_points: Any) -> Tuple[Tensor, int]:
        self.tars_model.model_card = self.model_card
        return super().forward_loss(data_points)

    def _get_state_dict(self) -> Dict[str, Any]:
        state = super()._get_state_dict()
        return state if self.loss is None else {**state, KEY: self.loss.to_dict()}

    @classmethod
    def _init_model_with_state_dict(cls, state: Dict[str, Any], **kwargs: Any) -> Any:
        model = super()._init_model_with_state_dict(state, **kwargs)
        model.set_loss(state.get(KEY))
        return model


class TARSTagger(_Few, stock.TARSTagger):
    """`flair.models.TARSTagger` with ``loss`` (see `with_loss.WithLoss`)."""

    inner, stock_inner = SequenceTagger, stock.SequenceTagger


class TARSClassifier(_Few, stock.TARSClassifier):
    """`flair.models.TARSClassifier` with ``loss`` (see `with_loss.WithLoss`)."""

    inner, stock_inner = TARSTextClassifier, stock.TextClassifier
