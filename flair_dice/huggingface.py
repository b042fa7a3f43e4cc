"""Our losses in `transformers.Trainer`, by its argument ``compute_loss_func``."""

import warnings
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor

from dice_core.targets import IGNORED

from .losses import LossLike, make_loss

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerState

OWNER = "flair_dice.TrainerLoss"


class TrainerLoss:
    """A loss of flair_dice as `transformers.Trainer` calls it.

    It serves models for the classification of sequences, one label or several, and of tokens, and
    models that answer questions, by what they give:

    - ``logits`` ``(batch, classes)`` with class ids ``(batch,)``, or with rows ``(batch, classes)``
      for several labels, for which the loss needs ``activation="sigmoid"``;
    - ``logits`` ``(batch, length, classes)`` with class ids ``(batch, length)``;
    - ``start_logits`` and ``end_logits`` ``(batch, length)`` with labels ``(batch, 2)``: the pieces
      where the answer starts and ends.

    Labels of -100 are not known, and neither is NaN in rows. With ``CrossEntropy`` it is the loss
    of these models themselves, but for several labels, whose mean in transformers is over rows and
    classes: there it is theirs times the number of classes. Divide the learning rate, not the
    loss, by it if you use plain SGD; Adam does not care.

    Under gradient accumulation Trainer counts the labels of all micro-batches together
    (``num_items_in_batch``), and each micro-batch's sum is divided by this count: the gradients
    of an accumulated batch add up to those of a large one for losses of single rows. A loss with
    one count over a batch (DiceCE) counts over each micro-batch, weighed by its rows.

    Args:
        loss: A loss, its name, or a dict of its name and options (see `make_loss`). Its
            ``names`` let it know labels by name, ``model.config.id2label`` in their order.

    Attributes:
        loss: The loss, a torch module.

    Raises:
        ValueError: For what is no loss.

    Example:
        >>> Trainer(model, compute_loss_func=TrainerLoss("DiceCE"), ...)  # doctest: +SKIP
    """

    def __init__(self, loss: LossLike = "DiceCE"):
        self.loss = make_loss(loss, OWNER)
        if self.loss.core.why_not_alone():
            warnings.warn(f"TrainerLoss: {self.loss.core.why_not_alone()}", stacklevel=2)

    def callback(self) -> "TrainerCallback":
        """What steps its scheduled weights, for Trainer's argument ``callbacks``.

        Example:
            >>> loss = TrainerLoss(DiceCE(weight=Ramp(0, 1, end=2)))
            >>> callbacks = [loss.callback()]  # and Trainer(..., compute_loss_func=loss)
        """
        from transformers import TrainerCallback

        loss = self.loss

        class StepLoss(TrainerCallback):
            def on_step_begin(
                self, args: object, state: "TrainerState", control: object, **kwargs: object
            ) -> None:
                loss.step(state.epoch)

        return StepLoss()

    def __call__(
        self, outputs: object, labels: Tensor, num_items_in_batch: Union[int, Tensor, None] = None
    ) -> Tensor:
        """The loss of a (micro-)batch.

        Args:
            outputs: What the model gives: see the class.
            labels: Integers, -100 where not known; or rows of numbers for several labels.
            num_items_in_batch: Labels of all micro-batches of an update; None, as in an
                evaluation, for those of this batch.

        Returns:
            The sum over rows, divided by that number, a scalar; 0 where there is none.

        Raises:
            ValueError: For outputs without logits, labels of another shape, and scheduled weights
                that nothing steps.
        """
        if torch.is_grad_enabled() and not self.loss.is_stepped:
            raise ValueError(
                f"{OWNER}: the loss has scheduled weights that nothing steps. Pass "
                "callbacks=[loss.callback()] to Trainer, with loss this TrainerLoss."
            )
        logits, gold, positions = self._read(outputs, labels)
        total, n_rows = self.loss.compute(logits, gold, positions=positions)
        n = n_rows
        if num_items_in_batch is not None:
            n = torch.as_tensor(num_items_in_batch, device=total.device, dtype=total.dtype)
            if gold.shape == logits.shape:
                # Trainer has counted labels: a row of several has as many as there are classes.
                n = n / gold.shape[-1]
        return total / torch.where(n > 0, n, 1.0)

    def _read(self, outputs: object, labels: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Logits, targets, and whether the classes are positions in a text."""
        get = getattr(outputs, "get", lambda name: getattr(outputs, name, None))
        start, end = get("start_logits"), get("end_logits")
        if start is not None and end is not None:
            if labels.shape != (start.shape[0], 2):
                raise ValueError(
                    f"{OWNER}: a model that answers questions needs labels (batch, 2), where "
                    f"answers start and end, got {tuple(labels.shape)}."
                )
            # An answer beyond the window is none that it could learn, as in transformers.
            labels = labels.masked_fill(labels >= start.shape[1], IGNORED)
            return torch.cat([start, end]), torch.cat([labels[:, 0], labels[:, 1]]), True
        logits = get("logits")
        if logits is None:
            raise ValueError(
                f"{OWNER}: the model gives no logits. Use one for the classification of sequences "
                "or tokens, or for questions."
            )
        is_rows = labels.shape == logits.shape
        if (is_rows or labels.is_floating_point()) and not (
            is_rows and self.loss.activation == "sigmoid"
        ):
            raise ValueError(
                f"{OWNER}: several labels are rows of the logits' shape {tuple(logits.shape)}, and "
                f'need a loss with activation="sigmoid"; got {tuple(labels.shape)} and '
                f"{self.loss.activation!r}."
            )
        if not is_rows and labels.shape != logits.shape[:-1]:
            raise ValueError(
                f"{OWNER}: labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}."
            )
        return logits, labels, False
