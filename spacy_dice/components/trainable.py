"""What every component that trains with one of our losses shares."""

import warnings
from typing import Any, Iterable

from ..errors import mistake
from ..heads import Head, find_head
from ..losses import Loss
from ..targets import Labels


class WithLoss:
    """Mixed in before a trainable spaCy component, whose loss it overrides.

    A subclass says what its classes are (`loss_labels`) and what cannot be trained
    (`check_trainable`). Both are also called with a stock component in place of self, before
    that is changed.
    """

    loss: Loss

    def loss_labels(self) -> Labels:
        """The component's classes, as the loss sees them."""
        raise NotImplementedError

    def head(self) -> Head:
        """What the component's model gives and wants back."""
        return find_head(self.model, self.name)  # type: ignore[attr-defined]

    def check_trainable(self) -> None:
        """Raise a ConfigValidationError if no loss can train the component as it is set up."""
        find_head(self.model, self.name)  # type: ignore[attr-defined]

    @classmethod
    def check(cls, pipe: Any, loss: Any) -> None:
        """Raise a ConfigValidationError if ``loss`` cannot train ``pipe``, ours or stock."""
        check_is_loss(pipe, loss)
        cls.check_trainable(pipe)
        loss.check(cls.loss_labels(pipe))

    def finish_update(self, sgd: Any) -> None:
        """Update the parameters, and take the loss's schedules one step on.

        spaCy calls this once an update, whatever accumulate_gradient is.
        """
        super().finish_update(sgd)  # type: ignore[misc]
        self.loss.step_schedules()


class Switched(WithLoss):
    """A stock component that `use_loss` gave a loss. The object stays; its class changes."""

    stock: Any

    @classmethod
    def adopt(cls, pipe: Any, loss: Loss) -> Any:
        """Turn a stock component, in place, into one that trains with ``loss``."""
        pipe.__class__ = cls
        pipe.loss = loss
        return pipe

    def release(self) -> Any:
        """Turn it back, in place."""
        del self.loss
        self.__class__ = self.stock
        return self

    def head(self) -> Head:
        return super().head()._replace(stock=True)


def check_is_loss(component: Any, loss: Any) -> None:
    """Config values that a registered function made are not type-checked: this does it."""
    if not isinstance(loss, Loss):
        raise mistake(
            f"{own(component)}: the loss must be one of spacy_dice's, got {loss!r}. In a config, "
            'give it a block of its own with @losses = "spacy_dice.DiceCE.v1".'
        )


def warn_of_unknown(component: Any, what: str, labels: Iterable[str]) -> None:
    """Warn of labels in the data that the component does not have, and so cannot learn."""
    names = sorted(labels)
    if names:
        warnings.warn(
            f"{own(component)} does not learn {what} {', '.join(names)}, which are none of its "
            f"labels. Add them before training (labels in [initialize.components."
            f"{component.name}], or add_label).",
            stacklevel=3,
        )


def own(component: Any) -> str:
    """How messages call a component."""
    return f"Component '{component.name}'"
