"""Our losses in `transformers.Trainer`, by its argument ``compute_loss_func``."""

import warnings
from typing import Any, Optional

import torch
from torch import Tensor

from .losses import LossLike, make_loss

# What transformers ignores in a loss.
IGNORED = -100


class TrainerLoss:
    """A loss of flair_dice as `transformers.Trainer` calls it.

    Example:
        >>> Trainer(model, compute_loss_func=TrainerLoss("DiceCE"), ...)  # doctest: +SKIP

    It serves models for the classification of sequences, one label or several, and of tokens, and
    models that answer questions, by what they give:

    - ``logits`` ``(batch, classes)`` with class ids ``(batch,)``, or with rows ``(batch, classes)``
      for several labels, for which the loss needs ``activation="sigmoid"``;
    - ``logits`` ``(batch, length, classes)`` with class ids ``(batch, length)``;
    - ``start_logits`` and ``end_logits`` ``(batch, length)`` with labels ``(batch, 2)``: the pieces
      where the answer starts and ends.

    Labels of -100 are not known. With ``CrossEntropy`` it is the loss of these models themselves
    (for several labels, whose mean transformers takes over classes, too, times their number).

    Under gradient accumulation Trainer counts the labels of all micro-batches together
    (``num_items_in_batch``), and each micro-batch's sum is divided by this count: the gradients
    of an accumulated batch add up to those of the whole one for losses of single rows. A loss with
    one count over a batch (DiceCE) counts over each micro-batch, weighed by its rows.
    """

    def __init__(self, loss: LossLike = "DiceCE"):
        """Make it.

        Args:
            loss: A loss, its name, or a dict of its name and parameters (see `make_loss`). Its
                ``names`` let it know labels by name, ``model.config.id2label`` in their order.

        Raises:
            ValueError: For anything else.
        """
        self.loss = make_loss(loss, "flair_dice.TrainerLoss")
        if self.loss.collapses:
            warnings.warn(f"TrainerLoss: {self.loss.why_not_alone()}", stacklevel=2)

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Optional[Any] = None
    ) -> Tensor:
        """The loss of a (micro-)batch, a scalar.

        Args:
            outputs: What the model gives: see the class.
            labels: Integers, -100 where not known; or floats for several labels.
            num_items_in_batch: Labels of all micro-batches of an update; None, as in an
                evaluation, for those of this batch.

        Returns:
            The sum over rows, divided by that number.

        Raises:
            ValueError: For outputs without logits, and labels of another shape.
        """
        logits, gold = self._rows(outputs, labels)
        if gold.is_floating_point():
            mask = None
            known = torch.as_tensor(gold.shape[0])
        else:
            mask = gold != IGNORED
            known = mask.sum()
            gold = gold.clamp(min=0)
        total = self.loss(logits, gold, mask)
        if self.loss.reduction == "mean":
            total = total * known
        if gold.is_floating_point() and num_items_in_batch is not None:
            # Trainer has counted cells: rows of several labels have as many each.
            num_items_in_batch = num_items_in_batch / gold.shape[1]
        if num_items_in_batch is None:
            return total / known.clamp(min=1)
        if torch.is_tensor(num_items_in_batch):
            num_items_in_batch = num_items_in_batch.to(total.device)
        return total / num_items_in_batch

    def _rows(self, outputs: Any, labels: Tensor) -> Any:
        owner = "flair_dice.TrainerLoss"
        get = outputs.get if hasattr(outputs, "get") else lambda name: getattr(outputs, name, None)
        start, end = get("start_logits"), get("end_logits")
        if start is not None and end is not None:
            if labels.shape != (start.shape[0], 2):
                raise ValueError(
                    f"{owner}: a model that answers questions needs labels (batch, 2), where "
                    f"answers start and end, got {tuple(labels.shape)}."
                )
            # An answer beyond the window is none that it could learn, as in transformers.
            labels = labels.masked_fill(labels >= start.shape[1], IGNORED)
            self._check_positions(self.loss)
            return torch.cat([start, end]), torch.cat([labels[:, 0], labels[:, 1]])
        logits = get("logits")
        if logits is None:
            raise ValueError(
                f"{owner}: the model gives no logits. Use one for the classification of sequences "
                "or tokens, or for questions."
            )
        if labels.is_floating_point():
            if labels.shape != logits.shape or self.loss.activation != "sigmoid":
                raise ValueError(
                    f"{owner}: several labels are floats of the logits' shape "
                    f"{tuple(logits.shape)}, and need a loss with activation='sigmoid'; got "
                    f"{tuple(labels.shape)} and {self.loss.activation!r}."
                )
            return logits, labels
        if labels.shape != logits.shape[:-1]:
            raise ValueError(
                f"{owner}: labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}."
            )
        return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)

    def _check_positions(self, loss: Any) -> None:
        """Refuse a loss that takes the positions of an answer for labels."""
        if getattr(loss, "level", None) == "batch" and getattr(loss, "average", None) == "macro":
            raise ValueError(
                f"flair_dice.TrainerLoss: of answers to questions the classes of "
                f"{type(loss).__name__} are positions in a text, over which average='macro' means "
                "nothing. Set average='micro'."
            )
        for term in getattr(loss, "losses", {}).values():
            self._check_positions(term)
