"""Switching the loss of stock components on and off again, and our components to stock."""

import copy
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from spacy.language import Language
from thinc.api import Config

from .components.per_doc import DiceMultiLabelTextCategorizer, DiceTextCategorizer
from .components.per_span import DiceSpanCategorizer, DiceSpanFinder
from .components.per_token import (
    DiceEditTreeLemmatizer,
    DiceMorphologizer,
    DiceSentenceRecognizer,
    DiceTagger,
)
from .components.transition import DiceDependencyParser, DiceEntityRecognizer
from .errors import mistake
from .losses import Loss

# Which of ours takes the place of which stock component. Looked up by the exact type.
ADOPTERS: Dict[type, Any] = {
    adopter.stock: adopter
    for adopter in (
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
REFUSED = {
    "entity_linker": "it learns vectors by their cosine distance to an entity's vector, and gives "
    "no probabilities that a loss could read",
}
# Components of ours that take their loss from their own block.
OWN_FACTORIES = ("dice_ner", "dice_tagger", "dice_qa")
# The stock factory that predicts just as one of ours.
STOCK_TWINS = {"dice_tagger": "tagger"}


def use_loss(nlp: Language, losses: Dict[str, Loss]) -> Language:
    """Make stock components train with these losses. Changes ``nlp`` in place.

    losses: a loss for each component, by the component's name; an object of its own for each,
    since schedules and running counts live in it. Disabled (sourced, frozen) components are
    found too. What is saved, and what predicts, stays stock. RETURNS ``nlp``.
    Raises a ConfigValidationError, before anything is changed, for a name that is no
    component, a component that has no such loss, labels or options that do not fit.
    """
    if not isinstance(losses, dict) or not losses:
        raise mistake(f"use_loss: losses must name at least one component, got {losses!r}.")
    plan = [(name, *_plan(nlp, name, loss)) for name, loss in losses.items()]
    for name, pipe, adopter in plan:
        stock = pipe.release() if isinstance(pipe, adopter) else pipe
        _replace(nlp, name, adopter.adopt(stock, losses[name]))
    return nlp


def restore(nlp: Language) -> Language:
    """Give every component that `use_loss` changed its stock loss back. RETURNS ``nlp``."""
    for name in nlp.component_names:
        pipe: Any = nlp.get_pipe(name)
        if _adopter_of(nlp, name) in ADOPTERS.values() and hasattr(pipe, "loss"):
            _replace(nlp, name, pipe.release())
    return nlp


def to_stock(nlp: Language) -> Language:
    """A pipeline that shares everything with ``nlp`` and is stock where it can be.

    Each dice_tagger is a tagger there, of the same name and with the same model; dice_ner has
    no stock twin and stays. RETURNS the new pipeline; ``nlp`` is not changed and can go on
    training. What `use_loss` changed need not be converted: it is stock in what is saved.
    """
    stock = copy.copy(nlp)
    stock._config = nlp.config.copy()
    stock._meta = copy.deepcopy(nlp._meta)
    stock._disabled = set(nlp._disabled)
    stock._pipe_meta, stock._pipe_configs = dict(nlp._pipe_meta), dict(nlp._pipe_configs)
    stock._components = []
    for name, pipe in nlp._components:
        twin = STOCK_TWINS.get(nlp.get_pipe_meta(name).factory)
        if twin is not None:
            meta = nlp.get_factory_meta(twin)
            config = nlp.get_pipe_config(name)
            default = meta.default_config or {}
            kept = {key: config.get(key, value) for key, value in default.items()}
            stock._pipe_meta[name] = meta
            stock._pipe_configs[name] = Config({**kept, "factory": twin})
            pipe = pipe.twin()  # type: ignore[attr-defined]
        stock._components.append((name, pipe))
    return stock


def to_stock_callback() -> Callable[[Language], Language]:
    """`spacy_dice.to_stock.v1`, for [training.before_to_disk]: what is saved is stock."""
    return to_stock


def use_loss_callback(losses: Dict[str, Any]) -> Callable[[Language], Language]:
    """`spacy_dice.use_loss.v1`, for [initialize.after_init]: one block of a loss a component."""

    def after_init(nlp: Language) -> Language:
        return use_loss(nlp, losses)

    return after_init


def _plan(nlp: Language, name: str, loss: Any) -> Tuple[Any, Any]:
    """The component and what takes its place, or an error."""
    if name not in nlp.component_names:
        raise mistake(
            f"use_loss: there is no component '{name}'. The pipeline has: "
            f"{', '.join(nlp.component_names)}."
        )
    pipe = nlp.get_pipe(name)
    factory = nlp.get_pipe_meta(name).factory
    if factory in OWN_FACTORIES:
        raise mistake(
            f"use_loss: component '{name}' is a {factory}, which takes its loss from "
            f"[components.{name}.loss]. Set it there."
        )
    adopter = _adopter_of(nlp, name)
    if adopter is None:
        able = ", ".join(sorted(stock.__name__ for stock in ADOPTERS))
        reason = f": {REFUSED[factory]}" if factory in REFUSED else ""
        raise mistake(
            f"use_loss: component '{name}' ({factory}, {type(pipe).__name__}) has no loss that can "
            f"be replaced{reason}. These have: {able}."
        )
    adopter.check(pipe, loss)
    return pipe, adopter


def _adopter_of(nlp: Language, name: str) -> Optional[Any]:
    if nlp.get_pipe_meta(name).factory in OWN_FACTORIES:
        return None
    kind: Type[Any] = type(nlp.get_pipe(name))
    return kind if kind in ADOPTERS.values() else ADOPTERS.get(kind)


def _replace(nlp: Language, name: str, pipe: Any) -> None:
    # Not nlp.replace_pipe, which builds a new component from the config.
    components: List[Tuple[str, Any]] = nlp._components
    nlp._components = [(n, pipe if n == name else p) for n, p in components]
