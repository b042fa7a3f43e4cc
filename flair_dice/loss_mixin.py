"""What Flair's models gain: a loss of ours in the place where they compute theirs.

With ``loss=None`` nothing is changed. What is saved is a stock model file with one more entry,
a plain dict, which stock Flair does not read; the model's parameters stay as they are.
"""

import logging
import zipfile
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import flair
import torch
from flair.data import Dictionary
from flair.nn import Model
from torch import Tensor, distributed

from dice_core.labels import LabelSpec
from dice_core.targets import Reduce

from .heads import Head, TokenHead, widen
from .losses import Loss, LossLike, make_loss
from .targets import read_targets
from .totals import OverChunks, over_ranks

log = logging.getLogger("flair")
# The entry of a model file that holds the loss.
KEY = "flair_dice_loss"
# The class whose own `load` is at work. `Classifier.load` looks through all classes that are
# imported, and must not find ours for the files of others.
_loading: ContextVar[bool] = ContextVar("loading", default=False)

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
    loss: Optional[Loss]

    @classmethod
    def check_loss(cls, model: Model, loss: LossLike) -> Loss:
        """The loss, if it suits a model, ours or stock; else a ValueError."""
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
        loss: A loss, the name of one, or a dict of its name and parameters (see `make_loss`);
            None is the model's stock loss. The losses of stock constructors (``loss_weights``)
            go without one of ours.

    Raises:
        ValueError: For a loss that does not suit the labels; it names the model.
    """

    label_dictionary: Dictionary
    # Labels that stand for "none of them".
    background: Tuple[str, ...] = ("O",)
    # Both are set by `LossPlugin`: while a batch is cut into chunks; and what the trainer was
    # called with, once that is known to go together with the loss.
    _chunks: Optional[OverChunks]
    _seen_set_up: Any

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
        made = None if loss is None else self.check_loss(self, loss)
        self._spec = self.label_spec(self)
        self.loss, self._chunks, self._seen_set_up = made, None, None
        self._has_summed = False

    @classmethod
    def check_loss(cls, model: Model, loss: LossLike) -> Loss:
        """The loss, if it suits a model, ours or stock; else a ValueError."""
        spec = cls.label_spec(model)
        made = make_loss(loss, spec.owner)
        if made.state_dict():
            raise spec.config_error(
                f"the loss has parameters or buffers to be saved ({', '.join(made.state_dict())}), "
                "with which stock Flair could not load the model. Make them buffers with "
                "persistent=False."
            )
        made.check(spec)
        return made

    def to_stock(self) -> Any:
        """Turn it into the stock model, in place."""
        for name in ("loss", "_chunks", "_seen_set_up", "_spec", "_has_summed"):
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

    def _head(self, scores: Tensor, gold: Tensor) -> Tuple[Head, Tensor, Optional[Sequence[int]]]:
        """A head, targets for it, and rows of each sentence."""
        multi_label = getattr(self, "multi_label", False)
        return TokenHead(widen(scores), "sigmoid" if multi_label else "softmax"), gold, None

    # -- the loss -----------------------------------------------------------------------

    def forward_loss(self, data_points: Any) -> Tuple[Tensor, int]:
        """The loss summed over what a batch has to learn from, and how much that is."""
        self._has_summed = False
        if self._chunks is not None:
            self._chunks.next_part()
        loss, count = super().forward_loss(data_points)  # type: ignore[safe-super]
        if self.loss is not None and not self._has_summed and self._reduce() is not None:
            loss = loss + self._nothing(self.loss)
        return loss, count

    def _nothing(self, loss: Loss) -> Tensor:
        """A loss of 0 where there is nothing to learn from, while other processes wait for our
        counts, and DistributedDataParallel for gradients of our parameters.
        """
        logits = torch.zeros(0, len(self._spec.names or ()), device=flair.device)
        spec = self._spec._replace(crf=False)
        targets = read_targets(logits, None, logits, spec, None, self._reduce())
        value = loss.of_head(TokenHead(logits, "softmax"), targets)
        for parameter in self.parameters():
            if parameter.requires_grad:
                value = value + 0.0 * parameter.sum()
        return value

    def _calculate_loss(self, scores: Tensor, labels: Tensor) -> Tuple[Tensor, int]:
        if self.loss is None:
            return super()._calculate_loss(scores, labels)  # type: ignore[misc]
        self._has_summed = True
        if self.training:
            self._check_set_up(self.loss)
        with torch.autocast(flair.device.type, enabled=False):
            head, gold, lengths = self._head(scores, labels)
            like = head.logits.detach()
            targets = read_targets(gold, None, like, self._spec, lengths, self._reduce())
            targets.learning = self.training and torch.is_grad_enabled()
            return self.loss.of_head(head, targets), len(labels)

    def _reduce(self) -> Optional[Reduce]:
        if self._chunks is not None:
            return self._chunks
        # Evaluation is the main process's alone, of one batch after another.
        together = self.training and torch.is_grad_enabled() and _is_distributed()
        multi_gpu = together and self._parameters_of_training().get("multi_gpu")
        return over_ranks if multi_gpu else None

    def _parameters_of_training(self) -> Dict[str, Any]:
        """What Flair's trainer was called with: it writes it into the model that it trains, but
        not into the tasks of a MultitaskModel, whose batches differ from rank to rank.
        """
        return (self.model_card or {}).get("training_parameters", {})

    def _check_set_up(self, loss: Loss) -> None:
        """Once in a training: are there schedules that nobody steps, chunks that cut up sets?"""
        parameters = self._parameters_of_training()
        if parameters is self._seen_set_up:
            return
        if loss.collapses and self._seen_set_up is None:
            log.warning(f"{type(self).__name__}: {loss.why_not_alone()}")
        self._seen_set_up = parameters
        if not all(weight.started for weight in loss.weights_in_use()):
            raise ValueError(
                f"{type(self).__name__}: the loss has scheduled weights that nothing steps. Pass "
                "plugins=[flair_dice.LossPlugin()] to train() or fine_tune()."
            )
        chunk, batch = parameters.get("mini_batch_chunk_size"), parameters.get("mini_batch_size")
        if loss.set_level and chunk and batch and chunk < batch:
            log.warning(
                f"{type(self).__name__}: the loss counts over whole batches, but "
                f"mini_batch_chunk_size={chunk} cuts them up, so that it counts over chunks. Pass "
                "plugins=[flair_dice.LossPlugin()] to count over the batch (one more forward "
                "pass), or leave mini_batch_chunk_size out."
            )


def _is_distributed() -> bool:
    # A model file tells how it was trained, which may not be how it is trained now.
    return distributed.is_available() and distributed.is_initialized()
