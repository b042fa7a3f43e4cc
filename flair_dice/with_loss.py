"""What Flair's models gain: a loss of ours in the place where they compute theirs.

With ``loss=None`` nothing is changed. What is saved is a stock model file with one more entry,
a plain dict, which stock Flair does not read; the model's parameters stay as they are.
"""

import logging
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, Optional, Sequence, Tuple

import flair
import torch
from torch import Tensor

from .formulas import Total
from .heads import Head, TokenHead, widen
from .losses import Loss, make_loss
from .targets import Labels, read_targets
from .totals import OverChunks, over_ranks, whole

log = logging.getLogger("flair")
# The entry of a model file that holds the loss.
KEY = "flair_dice_loss"

if TYPE_CHECKING:
    Base = flair.nn.Classifier
else:
    Base = object


class WithLoss(Base):
    """Mixin in front of a Flair model that computes its loss in `_calculate_loss`.

    loss: a loss, the name of one, or a dict of its name and parameters (see `make_loss`); None is
    the model's stock loss. Raises a ValueError that names the model for a loss that does not
    suit its labels. The losses of stock constructors (``loss_weights``) go without one of ours.
    """

    loss: Optional[Loss]
    label_dictionary: Any
    # Both are set by `LossPlugin`: while a batch is cut into chunks; and what the trainer was
    # called with, once that is known to go together with the loss.
    _chunks: Optional[OverChunks]
    _seen_set_up: Any

    def __init__(self, *args: Any, loss: Any = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if loss is not None and kwargs.get("loss_weights"):
            raise ValueError(
                f"{type(self).__name__}: loss_weights are those of the stock loss. Give either "
                "loss_weights or loss; weights of labels are an option of CrossEntropy, "
                "loss={'name': 'CrossEntropy', 'class_weights': {...}}."
            )
        self.set_loss(loss)

    def set_loss(self, loss: Any) -> None:
        """Train with this loss from now on; None is the stock loss. Raises as the constructor."""
        made = None if loss is None else self.check_loss(loss)
        self._labels = self._read_labels()
        self.loss, self._chunks, self._seen_set_up = made, None, None
        self._has_summed = False

    def check_loss(self, loss: Any) -> Loss:
        """The loss, if it suits this model; else a ValueError."""
        labels = self._read_labels()
        made = make_loss(loss, labels.owner)
        if made.state_dict():
            raise ValueError(
                f"{labels.owner}: the loss has parameters or buffers to be saved "
                f"({', '.join(made.state_dict())}), with which stock Flair could not load the "
                "model. Make them buffers with persistent=False."
            )
        made.check(labels)
        return made

    def release(self) -> None:
        """Delete all that is not stock's."""
        for name in ("loss", "_chunks", "_seen_set_up", "_labels", "_has_summed"):
            delattr(self, name)
        vars(self).pop("_lengths", None)  # of SequenceTagger

    # -- what a model says of itself ----------------------------------------------------

    def _background(self) -> Iterable[str]:
        """The labels that stand for "none of them"."""
        return ("O",)

    def _read_labels(self) -> Labels:
        names = tuple(self.label_dictionary.get_items())
        background = tuple(name for name in self._background() if name in names)
        return Labels(type(self).__name__, names, background, sequence=False)

    def _head(self, scores: Any, gold: Tensor) -> Tuple[Head, Tensor, Optional[Sequence[int]]]:
        """A head, targets for it, and rows of each sentence."""
        multi_label = getattr(self, "multi_label", False)
        return TokenHead(widen(scores), "sigmoid" if multi_label else "softmax"), gold, None

    # -- the loss -----------------------------------------------------------------------

    def forward_loss(self, data_points: Any) -> Tuple[Tensor, int]:
        self._has_summed = False
        if self._chunks is not None:
            self._chunks.next_chunk()
        loss, count = super().forward_loss(data_points)  # type: ignore[safe-super]
        if self.loss is not None and not self._has_summed and self._total() is not whole:
            loss = loss + self._nothing(self.loss)
        return loss, count

    def _nothing(self, loss: Loss) -> Tensor:
        """A loss of 0 where there is nothing to learn from, while other processes wait for our
        counts, and DistributedDataParallel for gradients of our parameters."""
        logits = torch.zeros(0, len(self._labels.names or ()), device=flair.device)
        labels = self._labels._replace(crf=False)
        targets = read_targets(logits, None, logits, labels, None, self._total())
        value = loss.total(TokenHead(logits, "softmax"), targets)
        for parameter in self.parameters():
            if parameter.requires_grad:
                value = value + 0.0 * parameter.sum()
        return value

    def _calculate_loss(self, scores: Any, labels: Tensor) -> Tuple[Tensor, int]:
        if self.loss is None:
            return super()._calculate_loss(scores, labels)  # type: ignore[misc]
        self._has_summed = True
        if self.training:
            self._check_set_up(self.loss)
        with torch.autocast(flair.device.type, enabled=False):
            head, gold, lengths = self._head(scores, labels)
            targets = read_targets(gold, None, head.view.p, self._labels, lengths, self._total())
            return self.loss.total(head, targets), len(labels)

    def _total(self) -> Total:
        if self._chunks is not None:
            return self._chunks
        # Evaluation is the main process's alone, of one batch after another.
        together = self.training and torch.is_grad_enabled() and self._parameters_of_training()
        return over_ranks if together and together.get("multi_gpu") else whole

    def _parameters_of_training(self) -> Dict[str, Any]:
        """What Flair's trainer was called with: it writes it into the model that it trains, but
        not into the tasks of a MultitaskModel, whose batches differ from rank to rank."""
        return (self.model_card or {}).get("training_parameters", {})

    def _check_set_up(self, loss: Loss) -> None:
        """Once in a training: are there schedules that nobody steps, chunks that cut up sets?"""
        parameters = self._parameters_of_training()
        if parameters is self._seen_set_up:
            return
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

    # -- saving and loading -------------------------------------------------------------

    def _get_state_dict(self) -> Dict[str, Any]:
        state = super()._get_state_dict()
        return state if self.loss is None else {**state, KEY: self.loss.to_dict()}

    @classmethod
    def load(cls, model_path: Any) -> Any:
        """As in Flair. Raises a ValueError for a file that is cut short."""
        if isinstance(model_path, (str, Path)) and Path(model_path).is_file():
            with open(model_path, "rb") as file_:
                is_archive = file_.read(2) == b"PK"
            if is_archive and not zipfile.is_zipfile(model_path):
                raise ValueError(
                    f"{cls.__name__}: {model_path} is no whole model file: its end is missing. It "
                    "may have been cut short in saving or copying; save or copy it again."
                )
        return super().load(model_path)

    @classmethod
    def _init_model_with_state_dict(cls, state: Dict[str, Any], **kwargs: Any) -> Any:
        model = super()._init_model_with_state_dict(state, **kwargs)
        model.set_loss(state.get(KEY))
        return model


@contextmanager
def as_class(model: Any, cls: type) -> Iterator[None]:
    """A model as one of another class, for a while."""
    own = model.__class__
    model.__class__ = cls
    try:
        yield
    finally:
        model.__class__ = own
