"""What a loss needs of Flair's trainer, which calls a model's loss and nothing else."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

import flair
import torch
from flair.data import DataPoint
from flair.trainers.plugins import TrainerPlugin
from flair.training_utils import store_embeddings

from .loss_mixin import LossMixin


class LossPlugin(TrainerPlugin):
    """Steps scheduled weights, and gives set-level losses the totals of all of a mini-batch where
    ``mini_batch_chunk_size`` splits it.

    For ``train`` and ``fine_tune``: ``plugins=[LossPlugin()]``. Weights depend on the epoch, so
    that ``fine_tune(epoch=k)`` goes on where it was.

    The totals of a mini-batch cost one more forward pass over each that is split, without
    gradients, with the same random numbers (dropout), before its chunks are trained on. The
    gradient is then that of the whole mini-batch. (What is not torch's or Python's random
    numbers, such as the negative labels that TARS models sample, is drawn anew.)
    """

    def attach_to(self, pluggable: Any = None) -> None:
        """In place of one of a former call: trainers keep their plugins.

        Raises:
            ValueError: For the class in place of an object of it.
        """
        if not isinstance(self, LossPlugin):
            raise ValueError(
                "LossPlugin: plugins has the class itself. Pass an object of it, "
                "plugins=[flair_dice.LossPlugin()]."
            )
        for plugin in {id(p): p for p in (self, *pluggable.plugins)}.values():
            if isinstance(plugin, LossPlugin) and plugin.pluggable is not None:
                plugin.detach()
        super().attach_to(pluggable)

    @TrainerPlugin.hook
    def after_setup(
        self, mini_batch_chunk_size: Optional[int] = None, use_amp: bool = False, **kwargs: object
    ) -> None:
        """Reads how the trainer was called."""
        self._chunk_size = mini_batch_chunk_size
        self._use_amp = use_amp
        for model in self._models():
            model._plugged = self.model.model_card["training_parameters"]

    @TrainerPlugin.hook
    def before_training_batch(
        self,
        batch: list[DataPoint],
        batch_no: int,
        total_number_of_batches: int,
        epoch: int,
        **kwargs: object,
    ) -> None:
        """epoch counts from 1, batch_no from 0."""
        for model in self._models():
            model._bound.step(epoch - 1 + batch_no / total_number_of_batches)
        chunks = self.trainer.get_batch_steps(batch, self._chunk_size)
        if len(chunks) > 1 and any(model._needs_totals() for model in self._models()):
            self._count(chunks)

    @TrainerPlugin.hook
    def after_training_batch(self, **kwargs: object) -> None:
        """The totals were that batch's."""
        for model in self._models():
            model._totals = None

    def _count(self, chunks: list[list[DataPoint]]) -> None:
        for model in self._models():
            model._counting = []
        try:
            with same_random_numbers(), torch.no_grad():
                for chunk in chunks:
                    with torch.autocast(flair.device.type, enabled=self._use_amp):
                        self.model.forward_loss(chunk)
                    # They have no gradient: the pass that trains makes its own.
                    store_embeddings(chunk, "none")
        finally:
            for model in self._models():
                model._end_counting()

    def _models(self) -> Iterator[Any]:
        """All models with a loss of ours: the trainer's, its tasks, or its inner model."""
        for module in self.model.modules():
            if isinstance(module, LossMixin) and module.loss is not None:
                yield module


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """A block after which torch and Python draw the random numbers that they drew in it."""
    state = random.getstate()
    with torch.random.fork_rng([flair.device] if flair.device.type == "cuda" else []):
        yield
    random.setstate(state)
