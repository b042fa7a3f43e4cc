"""What Flair's models gain: a loss of ours in the place where they compute theirs.

With ``loss=None`` nothing is changed. What is saved is a stock model file with one more entry,
a plain dict, which stock Flair does not read; the model's parameters stay as they are.
"""

import logging
import zipfile
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, cast

import flair
import torch
from flair.data import Dictionary
from flair.nn import Model
from torch import Tensor, distributed

from dice_core import losses as core
from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.options import Activation

from .heads import Head, TokenHead, widen
from .losses import LossLike, core_loss
from .targets import read_targets

log = logging.getLogger("flair")
# The entry of a model file that holds the loss.
KEY = "flair_dice_loss"
AUTO = "auto"
# The class whose own `load` is at work. `Classifier.load` looks through all classes that are
# imported, and must not find ours for the files of others.
_loading: ContextVar[bool] = ContextVar("loading", default=False)
# What a model's trainer was called with, before there was one.
_NO_TRAINING: Dict[str, Any] = {}

if TYPE_CHECKING:
    Base = flair.nn.Classifier
else:
    Base = object


class FromStock(Base):
    """The contract of all models here: taking a stock model over, giving it back, and files.

    A file is a stock model file, with an entry for the loss if there is one.
    """

    # The class of Flair's that a class of ours takes the place of.
    stock: Any
    loss: Optional[core.Loss]

    @classmethod
    def check_loss(cls, model: Model, loss: LossLike) -> Optional[core.Loss]:
        """The loss for a model, ours or stock; None is its stock loss.

        Args:
            model: The model.
            loss: See `LossMixin`.

        Raises:
            ValueError: For a loss that does not suit it.
        """
        raise NotImplementedError

    def set_loss(self, loss: LossLike) -> None:
        """Train with this loss from now on; None is the stock loss. Raises as the constructor."""
        raise NotImplementedError

    @classmethod
    def from_stock(cls, model: Any, loss: LossLike) -> Any:
        """Turn a stock model, in place, into one that trains with ``loss``."""
        model.__class__ = cls
        model.set_loss(loss)
        return model

    def to_stock(self) -> Any:
        """Turn it back, in place."""
        raise NotImplementedError

    def _get_state_dict(self) -> Dict[str, Any]:
        state = super()._get_state_dict()
        return state if self.loss is None else {**state, KEY: self.loss.to_dict()}

    @classmethod
    def load(cls, model_path: Any) -> Any:
        """As in Flair.

        A file without a loss of ours that is loaded through `Classifier.load` is a model of Flair's
        own class.

        Raises:
            ValueError: For a file that is cut short.
        """
        if isinstance(model_path, dict) and KEY not in model_path and "__cls__" not in model_path:
            return cls.stock.load(model_path)  # so Classifier.load hands them on
        if isinstance(model_path, (str, Path)) and Path(model_path).is_file():
            with open(model_path, "rb") as file_:
                is_archive = file_.read(2) == b"PK"
            if is_archive and not zipfile.is_zipfile(model_path):
                raise ValueError(
                    f"{cls.__name__}: {model_path} is no whole model file: its end is missing. It "
                    "may have been cut short in saving or copying; save or copy it again."
                )
        token = _loading.set(True)
        try:
            return super().load(model_path)
        finally:
            _loading.reset(token)

    @staticmethod
    def _fetch_model(model_name: Any) -> Any:
        raise NotImplementedError  # each class gets its own in __init_subclass__

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        stock = vars(cls).get("stock")
        if stock is not None:
            # Flair's model hub has files of stock models alone.
            fetch = lambda name: stock._fetch_model(name) if _loading.get() else name  # noqa: E731
            setattr(cls, "_fetch_model", staticmethod(fetch))  # noqa: B010

    @classmethod
    def _init_model_with_state_dict(cls, state: Dict[str, Any], **kwargs: Any) -> Any:
        model = super()._init_model_with_state_dict(state, **kwargs)
        model.set_loss(state.get(KEY))
        return model


class LossMixin(FromStock):
    """Mixin in front of a Flair model that computes its loss in `_calculate_loss`.

    Args:
        loss: A loss, the name of one, or a dict of its name and options (see `make_loss`); None
            is the model's stock loss, and "auto" the one that was measured to gain for a model of
            its kind: cross-entropy with balanced weights for several labels, else the stock loss.
            The losses of stock constructors (``loss_weights``) go without one of ours.

    Raises:
        ValueError: For a loss that does not suit the labels; it names the model.
    """

    label_dictionary: Dictionary
    # Labels that stand for "none of them".
    background: Tuple[str, ...] = ("O",)
    _STATE = ("loss", "_bound", "_spec", "_checked", "_plugged", "_counting", "_totals", "_summed")

    def __init__(self, *args: Any, loss: LossLike = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if loss is not None and kwargs.get("loss_weights"):
            raise ValueError(
                f"{type(self).__name__}: loss_weights are those of the stock loss. Give either "
                "loss_weights or loss; weights of labels are an option of CrossEntropy, "
                "loss={'name': 'CrossEntropy', 'class_weights': {...}}."
            )
        self.set_loss(loss)

    def set_loss(self, loss: LossLike) -> None:
        """Train with this loss from now on; None is the stock loss. Raises as the constructor."""
        made = self.check_loss(self, loss)
        self._spec = self.label_spec(self)
        # The loss, and what changes of it in training, which is this model's own.
        self.loss, self._bound = made, None if made is None else BoundLoss(made)
        # What the trainer was called with, once that is known to go together with the loss, and
        # once `LossPlugin` has seen it.
        self._checked: Any = None
        self._plugged: Any = None
        # `LossPlugin`'s, while a batch is cut into chunks: the totals of the chunks so far, while
        # they are counted, and those of the batch, while it is trained on.
        self._counting: Optional[List[Tensor]] = None
        self._totals: Optional[Tensor] = None
        self._summed = False

    @classmethod
    def check_loss(cls, model: Model, loss: LossLike) -> Optional[core.Loss]:
        spec = cls.label_spec(model)
        if isinstance(loss, str) and loss == AUTO:
            loss = cls.auto_loss(model)
            log.info(f'{spec.owner}: the loss "{AUTO}" is {loss or "the stock loss"}.')
        if loss is None:
            return None
        made = core_loss(loss, spec.owner)
        made.check(spec)
        made.check_shape(len(spec.names or ()), cls.activation(model), spec)
        return made

    @classmethod
    def auto_loss(cls, model: Any) -> Optional[core.Loss]:
        """The loss that was measured to gain for a model of its kind; None is the stock loss."""
        if cls.activation(model) == "sigmoid":
            return core.CrossEntropy(class_weights="balanced")
        return None

    def to_stock(self) -> Any:
        """Turn it into the stock model, in place."""
        for name in self._STATE:
            delattr(self, name)
        vars(self).pop("_lengths", None)  # of SequenceTagger
        self.__class__ = self.stock
        return self

    # -- what a model says of itself ----------------------------------------------------

    @classmethod
    def label_spec(cls, model: Any) -> LabelSpec:
        """A model's classes, ours or stock, as the loss sees them."""
        names = tuple(model.label_dictionary.get_items())
        background = tuple(name for name in cls.background if name in names)
        return LabelSpec(type(model).__name__, names, background, sequence=False)

    @classmethod
    def activation(cls, model: Any) -> Activation:
        """What a model's scores are logits of."""
        return "sigmoid" if getattr(model, "multi_label", False) else "softmax"

    def _head(self, scores: Any, gold: Tensor) -> Head:
        """What the loss reads of a batch."""
        return TokenHead(widen(scores), self.activation(self), gold)

    def extra_repr(self) -> str:
        """What torch shows of it, among its modules."""
        return "" if self.loss is None else f"(loss): {self.loss!r}"

    # -- the loss -----------------------------------------------------------------------

    def forward_loss(self, data_points: Any) -> Tuple[Tensor, int]:
        """The loss summed over what a batch has to learn from, and how much that is."""
        self._summed = False
        loss, count = super().forward_loss(data_points)  # type: ignore[safe-super]
        if not self._summed and self._bound is not None and self._is_one_of_several():
            loss = loss + self._nothing(self._bound)
        return loss, count

    def _nothing(self, bound: BoundLoss) -> Tensor:
        """A loss of 0 where there is nothing to learn from, while other processes wait for our
        totals, and DistributedDataParallel for gradients of our parameters.
        """
        if self._totals is None:
            self._batch_totals(bound, self._no_totals(bound))
        parameters = (p for p in self.parameters() if p.requires_grad)
        return cast(Tensor, sum(0.0 * parameter.sum() for parameter in parameters))

    def _calculate_loss(self, scores: Tensor, labels: Tensor) -> Tuple[Tensor, int]:
        bound = self._bound
        if bound is None:
            return super()._calculate_loss(scores, labels)  # type: ignore[misc]
        self._summed = True
        if self.training:
            self._check_set_up(bound)
        with torch.autocast(flair.device.type, enabled=False):
            head = self._head(scores, labels)
            like = head.logits.detach()
            targets = read_targets(head.gold, None, like, self._spec, head.lengths)
            if self._counting is not None:
                self._counting.append(head.totals(bound, targets))
                return like.new_zeros(()), len(labels)
            totals = self._totals
            if totals is None:
                totals = self._batch_totals(bound, head.totals(bound, targets))
            return head.loss(bound, targets, totals), len(labels)

    def _needs_totals(self) -> bool:
        return bool(self._bound and self._bound.n_totals(len(self._spec.names or ())))

    def _end_counting(self) -> None:
        """The chunks that `LossPlugin` had counted are a batch, which is trained on next."""
        counted, self._counting = self._counting, None
        if self._bound is not None:
            total = sum(counted or [], self._no_totals(self._bound))
            self._totals = self._batch_totals(self._bound, total)

    def _no_totals(self, bound: BoundLoss) -> Tensor:
        n_classes = len(self._spec.names or ())
        like = torch.zeros(0, n_classes, device=flair.device)
        return cast(Tensor, bound.no_totals(cast(Array, like), n_classes))

    def _batch_totals(self, bound: BoundLoss, totals: Tensor) -> Tensor:
        """The totals that a batch is trained with, from its own ``(K,)``, with those of all other
        processes, and of the batches before.
        """
        if len(totals) and self._is_one_of_several():
            distributed.all_reduce(totals)
        learn = self.training and torch.is_grad_enabled()
        n_classes = len(self._spec.names or ())
        return cast(Tensor, bound.accumulate(cast(Array, totals), n_classes, learn))

    def _is_one_of_several(self) -> bool:
        """Whether other processes learn from other parts of the batch."""
        # A model file tells how it was trained, which may not be how it is trained now; and
        # evaluation is the main process's alone, of one batch after another.
        learns = self.training and torch.is_grad_enabled()
        together = learns and distributed.is_available() and distributed.is_initialized()
        return together and bool(self._training_parameters().get("multi_gpu"))

    def _training_parameters(self) -> Dict[str, Any]:
        """What Flair's trainer was called with: it writes it into the model that it trains, but
        not into the tasks of a MultitaskModel, whose batches differ from rank to rank.
        """
        return (self.model_card or {}).get("training_parameters", _NO_TRAINING)

    def _check_set_up(self, bound: BoundLoss) -> None:
        """Once in a training: does the loss train on its own, are there schedules that nobody
        steps, chunks that cut up sets?
        """
        parameters, owner = self._training_parameters(), type(self).__name__
        if parameters is self._checked:
            return
        if self._checked is None and bound.loss.why_not_alone():
            log.warning(f"{owner}: {bound.loss.why_not_alone()}")
        if not bound.is_stepped:
            raise ValueError(
                f"{owner}: the loss has scheduled weights that nothing steps. Pass "
                "plugins=[flair_dice.LossPlugin()] to train() or fine_tune()."
            )
        self._checked = parameters
        chunk, batch = parameters.get("mini_batch_chunk_size"), parameters.get("mini_batch_size")
        is_cut = bool(chunk and batch and chunk < batch) and parameters is not self._plugged
        if is_cut and bound.loss.counts_over_batch:
            log.warning(
                f"{owner}: the loss counts over whole batches, but "
                f"mini_batch_chunk_size={chunk} cuts them up, so that it counts over chunks. Pass "
                "plugins=[flair_dice.LossPlugin()] to count over the batch (one more forward "
                "pass), or leave mini_batch_chunk_size out."
            )
