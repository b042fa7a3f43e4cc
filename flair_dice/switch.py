"""Switching the loss of Flair's models on and off again."""

import logging
from typing import Any, Dict, TypeVar

from flair import models as stock
from flair.nn import Model

from .losses import Loss, LossLike, make_loss
from .models import STOCK_TO_DICE, UNSUPPORTED

log = logging.getLogger("flair")
M = TypeVar("M")


def use_loss(model: M, loss: LossLike) -> M:
    """Make a model of Flair's train with this loss. Changes it in place.

    Save, load and predict as ever: the file loads in plain Flair too.

    Args:
        model: One of Flair's models, or of ours.
        loss: A loss, the name of one, or a dict of its name and parameters (see `make_loss`). Of
            a MultitaskModel all tasks get it, each one of its own; ``{task id: loss}`` gives
            those tasks theirs.

    Returns:
        The model.

    Raises:
        ValueError: Before anything is changed, for a model that has no such loss and for options
            that do not suit its labels.
    """
    plan = [(part, spec, _dice_class(part)) for part, spec in _plan(model, loss)]
    for part, spec, ours in plan:
        ours.check_loss(part, spec)
    for part, spec, ours in plan:
        if getattr(part, "weight_dict", None):
            log.warning(
                f"{type(part).__name__}: the new loss takes the place of loss_weights; weights of "
                "labels are an option of CrossEntropy, class_weights."
            )
        ours.from_stock(part, spec)
    return model


def restore(model: M) -> M:
    """Give a model that has a loss of ours its stock class and loss back.

    Returns:
        The model.
    """
    parts: Any = model.tasks.values() if isinstance(model, stock.MultitaskModel) else [model]
    for part in parts:
        if type(part) in STOCK_TO_DICE.values():
            part.to_stock()
    return model


def _plan(model: Any, loss: LossLike) -> Any:
    """Which models get which loss, or an error."""
    if not isinstance(model, stock.MultitaskModel):
        _dice_class(model)
        return [(model, make_loss(loss, type(model).__name__))]
    per_task: Dict[str, Any] = dict.fromkeys(model.tasks, loss)
    if isinstance(loss, dict) and "name" not in loss:
        unknown = [name for name in loss if name not in model.tasks]
        if unknown or not loss:
            raise ValueError(
                f"MultitaskModel: there is no task {', '.join(map(repr, unknown))}. The tasks are "
                f"{', '.join(model.tasks)}."
            )
        per_task = loss
    plan = []
    for name, spec in per_task.items():
        # An object of its own for each: schedules and running counts live in it.
        spec = spec.to_dict() if isinstance(spec, Loss) and per_task is not loss else spec
        plan.extend(_plan(model.tasks[name], spec))
    return plan


def _dice_class(model: Model) -> Any:
    kind = type(model)
    if kind in STOCK_TO_DICE.values():
        return kind
    if kind in STOCK_TO_DICE:
        return STOCK_TO_DICE[kind]
    for refused, reason in UNSUPPORTED.items():
        if isinstance(model, refused):
            raise ValueError(f"use_loss: {kind.__name__} cannot have another loss: {reason}.")
    able = ", ".join(sorted(cls.__name__ for cls in STOCK_TO_DICE))
    raise ValueError(
        f"use_loss: {kind.__module__}.{kind.__name__} is not a model whose loss is known. These "
        f"are: {able}, MultitaskModel. Derive a class of your own from flair_dice's class of that "
        "name instead of Flair's, and pass loss to its constructor."
    )
