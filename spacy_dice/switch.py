"""Switching the loss of stock components on and off again, and our components to stock."""

import warnings
from dataclasses import fields
from typing import Any, Callable, Dict, List, Optional, Tuple, Type, Union

from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Config, Optimizer
from wasabi import msg

from dice_core.losses import Loss
from dice_core.thresholds.objectives import as_objective

from .callbacks import CHAIN
from .components.per_doc import DiceMultiLabelTextCategorizer, DiceTextCategorizer
from .components.per_span import DiceSpanCategorizer, DiceSpanFinder
from .components.per_token import (
    DiceEditTreeLemmatizer,
    DiceMorphologizer,
    DiceSentenceRecognizer,
    DiceTagger,
)
from .components.trainable import StockLossMixin, warn_of_loss
from .components.transition import DiceDependencyParser, DiceEntityRecognizer
from .errors import as_config_errors, config_error
from .losses import core_loss
from .training import META, Run, choose_by_f1, copy_pipeline, remove_callbacks

# Which of ours takes the place of which stock component. Looked up by the exact type.
STOCK_TO_DICE: Dict[type, Type[StockLossMixin]] = {
    ours.stock: ours
    for ours in (
        DiceTagger,
        DiceMorphologizer,
        DiceSentenceRecognizer,
        DiceEditTreeLemmatizer,
        DiceEntityRecognizer,
        DiceDependencyParser,
        DiceTextCategorizer,
        DiceMultiLabelTextCategorizer,
        DiceSpanCategorizer,
        DiceSpanFinder,
    )
}
# Why other trainable components cannot train with these losses, by factory.
UNSUPPORTED = {
    "entity_linker": "it learns vectors by their cosine distance to an entity's vector, and gives "
    "no probabilities that a loss could read",
}


USE_LOSS = "spacy_dice.use_loss.v1"
# In place of a loss: the one that is recommended for a component, if there is one. In place of a
# component's name: all that are not named.
AUTO, ALL = "auto", "*"
STOCK = "spaCy's own loss"
NamedLosses = Dict[str, Any]
Losses = Union[str, NamedLosses]


def use_loss(nlp: Language, losses: Losses = AUTO) -> Language:
    """Make stock components train with these losses. Changes ``nlp`` in place.

    What is saved, and what predicts, stays stock. The components are replaced by others that share
    everything with them: get them anew from the pipeline (``nlp.get_pipe``). Other pipelines that
    have the same components, by sourcing them, keep theirs.

    Args:
        nlp: An initialized pipeline.
        losses: For each component, by its name in the pipeline, a loss, the name of one, or a
            dict of its name and options. Disabled (sourced, frozen) components are found too. "*"
            stands for all components that can have one and are not named. The loss "auto" is the
            one that is recommended for a component; where none is better than spaCy's own
            (`recommended` is None there), the component is left as it is. A name alone, without
            a dict, is for all components.

    Returns:
        ``nlp``.

    Warns:
        UserWarning: If "auto" leaves all components as they are, a loss has no cross-entropy in it
            and hardly trains without, or accumulate_gradient in the config cuts up the batches
            that a loss counts over.

    Raises:
        ConfigValidationError: Before anything is changed, for a name that is no component, a
            component that has no such loss, labels or options that do not fit.

    Example:
        >>> import spacy
        >>> nlp = spacy.blank("en")
        >>> _ = nlp.add_pipe("textcat").add_label("spam"), nlp.get_pipe("textcat").add_label("ham")
        >>> _ = nlp.initialize()
        >>> use_loss(nlp, {"textcat": "DiceCE"}).pipe_names
        ['textcat']
    """
    _switch(nlp, losses)
    return nlp


def _switch(nlp: Language, losses: Losses, tune: bool = False) -> None:
    """As `use_loss`. tune: thresholds are tuned, so that losses may change nothing."""
    if isinstance(losses, str):
        losses = {ALL: losses}
    if not isinstance(losses, dict) or not losses:
        raise config_error(
            "use_loss: losses must be the name of a loss, or name at least one component, as a "
            f"dict or block of component = loss, got {losses!r}."
        )
    named = _all_named(nlp, losses)
    if not named and not tune:
        raise config_error(
            f"use_loss: no component ({', '.join(nlp.component_names)}) has a loss that can be "
            f'replaced, so that "{ALL}" stands for none.'
        )
    chosen = _recommended(nlp, named)
    if not chosen and not tune:
        warnings.warn(
            f'use_loss: "{AUTO}" changes nothing here: no loss was found to gain over spaCy\'s own '
            f"for {', '.join(named)} (docs/evidence.md). To try one, name it: "
            f'losses = {{"{next(iter(named))}": "DiceCE"}}.',
            stacklevel=3,
        )
    # All of it is checked before anything is changed.
    plan = []
    for name, spec in chosen.items():
        ours = _named(nlp, name)
        pipe, loss = nlp.get_pipe(name), core_loss(spec, f"Component '{name}'")
        ours.check(pipe, loss)
        plan.append((name, pipe, ours, loss))
    for name, pipe, ours, loss in plan:
        stock = pipe.to_stock() if isinstance(pipe, ours) else pipe
        _replace(nlp, name, ours.from_stock(stock, loss))
        warn_of_loss(nlp.get_pipe(name), loss, nlp)


def resume_training(nlp: Language, *, sgd: Optional[Optimizer] = None) -> Optimizer:
    """`nlp.resume_training`, with the losses that the pipeline was trained with.

    A saved pipeline is stock: without this a loaded one trains with its stock losses. What
    `spacy train` was given is in its meta.json, or, of a pipeline that was initialized in Python,
    in its config. Schedules of a loss begin anew.

    Args:
        nlp: A trained pipeline, as `spacy.load` gives it. It is changed in place.
        sgd: As for `nlp.resume_training`.

    Returns:
        The optimizer.

    Raises:
        ConfigValidationError: If neither has a block of `spacy_dice.use_loss.v1`, and as
            `use_loss`.

    Example:
        >>> nlp = spacy.load("output/model-best")  # doctest: +SKIP
        >>> optimizer = spacy_dice.resume_training(nlp)  # doctest: +SKIP
        >>> nlp.update(examples, sgd=optimizer)  # doctest: +SKIP
    """
    saved = nlp.meta.get(META, {}).get("initialize.after_init")
    for found in (nlp.config.interpolate()["initialize"]["after_init"], saved):
        is_chain = (found or {}).get("@callbacks") == CHAIN
        for block in found["callbacks"].values() if is_chain else [found or {}]:
            if block.get("@callbacks") == USE_LOSS:
                made = registry.resolve({"losses": block.get("losses", AUTO)})["losses"]
                use_loss(nlp, made)
                return nlp.resume_training(sgd=sgd)
    raise config_error(
        f"resume_training: neither the pipeline's config nor its meta.json has a block of "
        f"{USE_LOSS}. Call spacy_dice.use_loss(nlp, ...) and nlp.resume_training()."
    )


def restore(nlp: Language) -> Language:
    """Give every component that `use_loss` changed its stock loss back.

    Returns:
        ``nlp``.
    """
    for name in nlp.component_names:
        pipe: TrainablePipe = nlp.get_pipe(name)
        if _dice_class(nlp, name) in STOCK_TO_DICE.values() and hasattr(pipe, "loss"):
            _replace(nlp, name, pipe.to_stock())
    return nlp


def to_stock(nlp: Language) -> Language:
    """A pipeline that shares everything with ``nlp`` and is stock where it can be.

    Each dice_tagger is a tagger there, of the same name and with the same model; dice_ner has
    no stock twin and stays. What `use_loss` changed need not be converted: it is stock in what
    is saved.

    Returns:
        The new pipeline; ``nlp`` is not changed and can go on training.
    """
    stock = copy_pipeline(nlp)
    for name, pipe in nlp._components:
        twin = type(pipe).stock_factory if _has_own_block(nlp, name) else None  # type: ignore[attr-defined]
        if twin is not None:
            meta = nlp.get_factory_meta(twin)
            config = nlp.get_pipe_config(name)
            default = meta.default_config or {}
            kept = {key: config.get(key, value) for key, value in default.items()}
            stock._pipe_meta[name] = meta
            stock._pipe_configs[name] = Config({**kept, "factory": twin})
            _replace(stock, name, pipe.stock_copy())  # type: ignore[attr-defined]
    remove_callbacks(stock)
    return stock


def to_stock_callback() -> Callable[[Language], Language]:
    """`spacy_dice.to_stock.v1`, for [training.before_to_disk]: what is saved is stock."""
    return to_stock


def use_loss_callback(
    losses: Losses = AUTO,
    tune: bool = False,
    objective: Optional[str] = None,
    labels: Optional[Dict[str, str]] = None,
) -> Callable[[Language], Language]:
    """`spacy_dice.use_loss.v1`, for [initialize.after_init]: a loss for each component.

    What `spacy train` saves is stock: weights, and a config.cfg without callbacks of this package,
    which meta.json keeps. To train on from it, give the block again, or call `resume_training`.
    The checkpoint of the first update is never model-best, unless all that is trained is sourced.

    Args:
        losses: As for `use_loss`.
        tune: Whether to tune the thresholds on dev at the end of training, as `tune` does, of all
            components that can be and are not frozen. model-best and model-last are saved with
            them, and the last lines say what came of it. Where a textcat_multilabel has spaCy's
            default of ``[training.score_weights]``, F1 chooses the checkpoint in its place.
        objective: With ``tune``: as for `tune`.
        labels: With ``tune``: as for `tune`.

    Returns:
        The callback.

    Raises:
        ConfigValidationError: For options that do not fit, and as `use_loss`, when it is called.

    Example:
        >>> use_loss_callback(tune=True, objective="recall>=0.8")  # doctest: +ELLIPSIS
        <function ...>
    """
    if not tune and (objective is not None or labels):
        raise config_error("use_loss: objective and labels are for tuning. Set tune = true.")
    with as_config_errors("use_loss: "):
        average = as_objective(objective, "macro").average

    def after_init(nlp: Language) -> Language:
        _switch(nlp, losses, tune)
        frozen = nlp.config.get("training", {}).get("frozen_components", [])
        given: Dict[str, str] = {}
        for name in nlp.component_names:
            loss = getattr(nlp.get_pipe(name), "loss", None)
            if loss is not None and name in frozen:
                msg.warn(
                    f"Component '{name}' is frozen (frozen_components), so that it is not trained, "
                    "with no loss at all"
                )
            elif loss is not None:
                msg.info(f"Component '{name}' trains with {loss!r}")
                given[name] = _as_call(loss)
            elif _dice_class(nlp, name) is not None and name not in frozen:
                msg.info(f"Component '{name}' trains with {STOCK}")
                given[name] = STOCK
        weights = dict(nlp.config["training"]["score_weights"])
        chosen = choose_by_f1(nlp, average) if tune else []
        if chosen:
            msg.info(
                f"The checkpoint is chosen by {average} F1 (cats_{average}_f) and not, as is "
                f"spaCy's default for '{chosen[0]}', by the area under the ROC curve, which no "
                "threshold moves"
            )
        is_new = any(getattr(pipe, "is_trainable", False) for _, pipe in nlp.pipeline)
        Run(given, weights, is_new, tune, objective, labels).begin(nlp)
        return nlp

    return after_init


def _as_call(loss: Loss) -> str:
    """A loss with those options that are not the default."""
    given = {field.name: getattr(loss, field.name) for field in fields(loss)}
    own = {key: value for key, value in given.items() if value != getattr(type(loss), key, None)}
    return f"{loss.name()}({', '.join(f'{key}={value!r}' for key, value in own.items())})"


def _all_named(nlp: Language, losses: NamedLosses) -> NamedLosses:
    """The same without "*", which stands for all other components that can have a loss."""
    if ALL not in losses:
        return losses
    able = [name for name in nlp.component_names if _dice_class(nlp, name) is not None]
    others = {name: losses[ALL] for name in able if name not in losses}
    return {**{name: loss for name, loss in losses.items() if name != ALL}, **others}


def _recommended(nlp: Language, losses: NamedLosses) -> NamedLosses:
    """The same with what "auto" stands for, and without components that it leaves alone."""
    made = {}
    for name, loss in losses.items():
        if loss == AUTO:
            ours = _named(nlp, name)
            # A component without labels is refused later, whatever its loss is.
            loss = ours.recommended(nlp.get_pipe(name))
        if loss is not None:
            made[name] = loss
    return made


def _named(nlp: Language, name: str) -> Type[StockLossMixin]:
    """The class that takes the place of a component's, or an error."""
    if name not in nlp.component_names:
        raise config_error(
            f"use_loss: there is no component '{name}'. The pipeline has: "
            f"{', '.join(nlp.component_names)}."
        )
    pipe = nlp.get_pipe(name)
    factory = nlp.get_pipe_meta(name).factory
    if _has_own_block(nlp, name):
        raise config_error(
            f"use_loss: component '{name}' is a {factory}, which takes its loss from "
            f"[components.{name}.loss]. Set it there."
        )
    ours = _dice_class(nlp, name)
    if ours is None:
        able = ", ".join(sorted(stock.__name__ for stock in STOCK_TO_DICE))
        reason = f": {UNSUPPORTED[factory]}" if factory in UNSUPPORTED else ""
        base = next((stock for stock in STOCK_TO_DICE if isinstance(pipe, stock)), None)
        if base is not None:
            reason = (
                f": it is a subclass of {base.__name__}, and those are not changed, since they "
                "may have a loss of their own. Give it one of these losses in its own code"
            )
        raise config_error(
            f"use_loss: component '{name}' ({factory}, {type(pipe).__name__}) has no loss that can "
            f"be replaced{reason}. These have: {able}."
        )
    return ours


def _has_own_block(nlp: Language, name: str) -> bool:
    """Whether a component takes its loss from its own block of the config."""
    factory = getattr(type(nlp.get_pipe(name)), "own_factory", None)
    return factory is not None and factory == nlp.get_pipe_meta(name).factory


def _dice_class(nlp: Language, name: str) -> Optional[Type[StockLossMixin]]:
    if _has_own_block(nlp, name):
        return None
    kind: Type[Any] = type(nlp.get_pipe(name))
    return kind if kind in STOCK_TO_DICE.values() else STOCK_TO_DICE.get(kind)


def _replace(nlp: Language, name: str, pipe: TrainablePipe) -> None:
    # Not nlp.replace_pipe, which builds a new component from the config.
    components: List[Tuple[str, Callable[[Doc], Doc]]] = nlp._components
    nlp._components = [(n, pipe if n == name else p) for n, p in components]
