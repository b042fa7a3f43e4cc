"""What every component that trains with one of our losses shares."""

from typing import Any

from ..errors import mistake
from ..heads import find_head
from ..losses import Loss
from ..targets import Labels


class WithLoss:
    """Mixed in before a trainable spaCy component, whose `get_loss` is then its own.

    A subclass says what its classes are (`loss_labels`) and, for stock components, what
    cannot be trained (`check_stock`).
    """

    loss: Loss

    def loss_labels(self) -> Labels:
        """The component's classes, as the loss sees them."""
        raise NotImplementedError

    def check_loss(self, loss: Any) -> None:
        """Raise a ConfigValidationError if the component cannot train with this loss."""
        check_is_loss(self.name, loss)  # type: ignore[attr-defined]
        loss.check(self.loss_labels())

    def finish_update(self, sgd: Any) -> None:
        """Update the parameters, and take the loss's schedules one step on.

        spaCy calls this once an update, whatever accumulate_gradient is.
        """
        super().finish_update(sgd)  # type: ignore[misc]
        self.loss.step_schedules()


def check_is_loss(component: str, loss: Any) -> None:
    if not isinstance(loss, Loss):
        raise mistake(
            f"Component '{component}': the loss must be one of spacy_dice's, got {loss!r}. In a "
            'config, give it a block of its own with @losses = "spacy_dice.DiceCE.v1".'
        )


def own(component: Any) -> str:
    """How messages call a component."""
    return f"Component '{component.name}'"


__all__ = ["WithLoss", "check_is_loss", "find_head", "own"]
