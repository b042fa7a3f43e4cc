"""Switching the loss of stock components on and off again."""

from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from spacy.language import Language

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
    )
}
# Components of ours that take their loss from their own block.
OWN_FACTORIES = ("dice_ner", "dice_tagger")


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
        raise mistake(
            f"use_loss: component '{name}' ({factory}, {type(pipe).__name__}) has no loss that can "
            f"be replaced. These have: {able}."
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
