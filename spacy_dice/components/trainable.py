"""What every component that trains with one of our losses shares."""

import copy
import warnings
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple, Union

from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example, validate_examples
from thinc.api import Optimizer, set_dropout_rate

from dice_core import losses as core
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.options import listed
from dice_core.targets import Targets

from ..heads import Head, find_head
from ..losses import Loss, compute, core_loss

# What users write for a loss.
LossLike = Union[core.Loss, Loss, str, Mapping[str, Any]]
# What components recommend.
CROSS_ENTROPY = {"name": "CrossEntropy"}
BALANCED = {"class_weights": "balanced"}


class LossMixin:
    """Mixed in before a trainable spaCy component, whose loss it overrides.

    A subclass says what its classes are (`label_spec`) and what cannot be trained
    (`check_trainable`). Both are class methods that take a component, ours or stock, so that a
    stock component is checked before it is changed.
    """

    # The loss, an immutable value; what changes of it in training is in `_bound`.
    loss: core.Loss
    _bound: BoundLoss
    # Of a component that takes its loss from its own block: its factory, and the stock factory
    # that predicts just as it does.
    own_factory: Optional[str] = None
    stock_factory: Optional[str] = None
    _rehearsing = False

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        """A component's classes, as the loss sees them."""
        raise NotImplementedError

    @classmethod
    def recommended(cls, pipe: TrainablePipe) -> Optional[Dict[str, Any]]:
        """The loss that "auto" stands for, as its name and options, by what was measured on such
        components (docs/evidence.md). None where nothing is gained: the component stays stock.
        """
        return None

    @classmethod
    def check_trainable(cls, pipe: TrainablePipe) -> None:
        """Raise a ConfigValidationError if no loss can train a component as it is set up."""
        cls.head_of(pipe)

    @classmethod
    def check(cls, pipe: TrainablePipe, loss: core.Loss) -> None:
        """Raise a ConfigValidationError if ``loss`` cannot train ``pipe``, ours or stock."""
        cls.check_trainable(pipe)
        spec = cls.label_spec(pipe)
        if spec.names is not None and not spec.names:
            raise spec.config_error(
                "it has no labels yet, which the loss needs to know. Initialize it first: "
                "nlp.initialize(...), or [initialize.after_init] in the config, which comes after."
            )
        loss.check(spec)
        if spec.names is not None and not spec.positions:
            loss.check_shape(len(spec.names), cls.head_of(pipe).activation, spec)

    @classmethod
    def head_of(cls, pipe: TrainablePipe) -> Head:
        """What a component's model, ours or stock, gives and wants back."""
        return find_head(pipe.model, pipe.name)

    def head(self) -> Head:
        """What the component's model gives and wants back."""
        return self.head_of(self)

    def set_loss(self, loss: LossLike) -> None:
        """Train with this loss from now on; its schedules and running counts begin anew."""
        self.loss = core_loss(loss, own(self))
        self._bound = BoundLoss(self.loss)

    def compute(self, scores: Any, targets: Targets) -> Tuple[float, Any]:
        """Value and gradient of the loss.

        Args:
            scores: Floats ``(N, C)``, or a list of such arrays, one a document.
            targets: What is known of the batch.
        """
        gradient, value = compute(self._bound, scores, targets, self.head())
        return value, gradient

    def finish_update(self, sgd: Optional[Optimizer]) -> None:
        """Update the parameters, and take the loss's schedules one step on.

        spaCy calls this once an update, whatever accumulate_gradient is.
        """
        if sgd is not None:
            super().finish_update(sgd)  # type: ignore[misc]
        if not self._rehearsing:
            self._bound.step()

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """While a component rehearses, its loss's schedules stand still."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False

    def rehearse(self, examples: Iterable[Example], **rest: Any) -> Any:
        """Learn to predict what the component predicted when training was resumed."""
        with self.rehearsing():
            return super().rehearse(examples, **rest)  # type: ignore[misc]


class OwnMixin(LossMixin):
    """A component that spaCy has no counterpart of, which rehearses by `rehearsal`."""

    _rehearsal_model: Any

    def rehearsal(self, examples: Sequence[Example]) -> Iterator[float]:
        """Back-propagate what the former model predicts; gives the loss, part by part."""
        raise NotImplementedError

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
        **rest: Any,
    ) -> Dict[str, float]:
        """Learn to predict what the component predicted when training was resumed."""
        pipe: TrainablePipe = self
        losses, examples = {} if losses is None else losses, list(examples)
        losses.setdefault(pipe.name, 0.0)
        validate_examples(examples, f"{type(self).__name__}.rehearse")
        if self._rehearsal_model is None or not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(pipe.model, drop)
        for value in self.rehearsal(examples):
            losses[pipe.name] += value
        if sgd not in (None, False):
            with self.rehearsing():
                self.finish_update(sgd)
        return losses


class StockLossMixin(LossMixin):
    """A stock component that `use_loss` gave a loss."""

    stock: Any
    # The factories that make it.
    factories: Tuple[str, ...] = ()

    @classmethod
    def from_stock(cls, pipe: TrainablePipe, loss: LossLike) -> TrainablePipe:
        """A component that shares everything with a stock one and trains with ``loss``.

        The stock one is not changed: it may be part of other pipelines, too.
        """
        new = copy.copy(pipe)
        new.__class__ = cls
        new.set_loss(loss)
        return new

    def to_stock(self) -> TrainablePipe:
        """A stock component that shares everything with this one."""
        stock: TrainablePipe = copy.copy(self)
        del stock.loss, stock._bound
        stock.__class__ = self.stock
        return stock


def warn_of_unknown(component: TrainablePipe, what: str, labels: Iterable[str]) -> None:
    """Warn of labels in the data that the component does not have, and so cannot learn.

    That is the policy where another component may have them: entities, spans, and categories
    of which a text can have several. Where each row has just one of the labels (tags,
    exclusive categories), an unknown one is an error.
    """
    names = sorted(labels)
    if names:
        warnings.warn(
            f"{own(component)} does not learn {what} {listed(names)}, which are none of its "
            f"labels. Add them before training (labels in [initialize.components."
            f"{component.name}], or add_label).",
            stacklevel=3,
        )


def warn_of_loss(component: TrainablePipe, loss: core.Loss, nlp: Optional[Language]) -> None:
    """Warn of a loss that hardly trains on its own, and of training that cuts up the batches that a
    loss counts over: the update of a component is not told of it, so that what the config says is
    looked up before.
    """
    if not loss.trains_alone:
        warnings.warn(f"{own(component)}: {loss.why_not_alone()}", stacklevel=3)
    if nlp is None or not loss.counts_over_batch:
        return
    parts = nlp.config.interpolate()["training"].get("accumulate_gradient")
    if isinstance(parts, int) and parts > 1:
        warnings.warn(
            f"{own(component)}: {loss.name()} counts over whole batches, but "
            f"training.accumulate_gradient = {parts} cuts them up, so that it counts over parts of "
            "them. Use a larger batch instead, as far as memory goes, or a loss of single rows.",
            stacklevel=3,
        )


def own(component: TrainablePipe) -> str:
    """How messages call a component."""
    return f"Component '{component.name}'"
