"""Switching the loss of Flair's models on and off again."""

import logging
from collections.abc import Iterator, Mapping
from typing import Optional, TypeVar, Union, cast

from flair import models as stock
from flair.nn import Model

from dice_core import losses as core

from .loss_mixin import FromStock
from .losses import LossLike
from .models import STOCK_TO_DICE, UNSUPPORTED

log = logging.getLogger("flair")
M = TypeVar("M", bound=Model)


def use_loss(model: M, loss: Union[LossLike, Mapping[str, LossLike]] = "auto") -> M:
    """Make a model of Flair's train with this loss. Changes it in place.

    Save, load and predict as ever: the file loads in plain Flair too.

    Args:
        model: One of Flair's models, or of ours.
        loss: A loss, the name of one, or a dict of its name and options (see `make_loss`). Of
            a MultitaskModel all tasks get it; ``{task id: loss}`` gives those tasks theirs.
            "auto" is the loss that was measured to gain for a model of its kind: cross-entropy
            with balanced weights for several labels, for all others the stock loss. None is the
            stock loss, as after `restore`.

    Returns:
        The model.

    Raises:
        ValueError: Before anything is changed, for a model that has no such loss and for options
            that do not suit its labels.

    Example:
        >>> use_loss(tagger, {"name": "DiceCE", "weight": 0.5})  # doctest: +SKIP
    """
    for part, ours, made in list(_plan(model, loss)):
        if made is None:
            restore(part)
            continue
        if getattr(part, "weight_dict", None):
            log.warning(
                f"{type(part).__name__}: the new loss replaces loss_weights; weights of "
                "labels are an option of CrossEntropy, class_weights."
            )
        ours.from_stock(part, made)
    return model


def restore(model: M) -> M:
    """Give a model that has a loss of ours its stock class and loss back.

    Returns:
        The model.
    """
    parts = model.tasks.values() if isinstance(model, stock.MultitaskModel) else [model]
    for part in parts:
        if type(part) in STOCK_TO_DICE.values():
            cast(FromStock, part).to_stock()
    return model


def _plan(
    model: Model, loss: LossLike
) -> Iterator[tuple[Model, type[FromStock], Optional[core.Loss]]]:
    """Models, their classes of ours and their losses, which suit them."""
    if not isinstance(model, stock.MultitaskModel):
        ours = _dice_class(model)
        yield model, ours, ours.check_loss(model, loss)
        return
    per_task = dict.fromkeys(model.tasks, loss)
    if isinstance(loss, Mapping) and "name" not in loss:
        unknown = [name for name in loss if name not in model.tasks]
        if unknown or not loss:
            raise ValueError(
                f"MultitaskModel: there is no task {', '.join(map(repr, unknown))}. The tasks are "
                f"{', '.join(model.tasks)}."
            )
        per_task = cast(dict[str, LossLike], loss)
    for name, task_loss in per_task.items():
        yield from _plan(model.tasks[name], task_loss)


def _dice_class(model: Model) -> type[FromStock]:
    kind = type(model)
    if kind in STOCK_TO_DICE.values():
        return cast(type[FromStock], kind)
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
