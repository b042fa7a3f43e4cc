"""Switching the loss of Flair's models on and off again."""

import logging
from typing import Any, Dict, TypeVar

import flair.models as stock

from .losses import Loss, make_loss
from .models import ADOPTERS, REFUSED
from .with_loss import as_class

log = logging.getLogger("flair")
M = TypeVar("M")


def use_loss(model: M, loss: Any) -> M:
    """Make a model of Flair's train with this loss. Changes it in place and RETURNS it.

    loss: a loss, the name of one, or a dict of its name and parameters (see `make_loss`). Of a
    MultitaskModel all tasks get it, each one of its own; ``{task id: loss}`` gives those tasks
    theirs. Save, load and predict as ever: the file loads in plain Flair too.

    Raises a ValueError, before anything is changed, for a model that has no such loss and for
    options that do not suit its labels.
    """
    plan = _plan(model, loss)
    for part, spec in plan:
        with as_class(part, _adopter(part)):
            part.check_loss(spec)
    for part, spec in plan:
        if getattr(part, "weight_dict", None):
            log.warning(
                f"{type(part).__name__}: the new loss takes the place of loss_weights; weights of "
                "labels are an option of CrossEntropy, class_weights."
            )
        part.__class__ = _adopter(part)
        part.set_loss(spec)
    return model


def restore(model: M) -> M:
    """Give a model that has a loss of ours its stock class and loss back. RETURNS it."""
    parts: Any = model.tasks.values() if isinstance(model, stock.MultitaskModel) else [model]
    for part in parts:
        for theirs, ours in ADOPTERS.items():
            if type(part) is ours:
                part.release()
                part.__class__ = theirs
    return model


def _plan(model: Any, loss: Any) -> Any:
    """Which models get which loss, or an error."""
    if not isinstance(model, stock.MultitaskModel):
        _adopter(model)
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


def _adopter(model: Any) -> Any:
    kind = type(model)
    if kind in ADOPTERS.values():
        return kind
    if kind in ADOPTERS:
        return ADOPTERS[kind]
    for refused, reason in REFUSED.items():
        if isinstance(model, refused):
            raise ValueError(f"use_loss: {kind.__name__} cannot have another loss: {reason}.")
    able = ", ".join(sorted(cls.__name__ for cls in ADOPTERS))
    raise ValueError(
        f"use_loss: {kind.__module__}.{kind.__name__} is not a model whose loss is known. These "
        f"are: {able}, MultitaskModel. Derive a class of your own from flair_dice's class of that "
        "name instead of Flair's, and pass loss to its constructor."
    )
