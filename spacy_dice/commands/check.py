"""Telling which loss each component of a config trains with.

The functions behind `python -m spacy dice apply --check`.
"""

import inspect
from types import SimpleNamespace
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

from thinc.api import Config

from ..errors import config_error
from ..losses import Compound, DiceCE, Loss, make_loss
from ..switch import ALL, AUTO, given_losses
from .config import (
    CLASS_OF_FACTORY,
    OWN_BLOCK,
    check_component,
    factories,
    frozen_components,
    resolve,
)

NOTHING = "spaCy's own loss: no other was found to gain"
# Of a component that takes a loss in its own block, and has none there.
DEFAULT = "DiceCE(), its default"


class Verdict(NamedTuple):
    """What `check_config` finds of one component. ok: whether it is as one would want it.
    switched: whether it trains with one of our losses. text: which loss it trains with, in words.
    warning: what may be wrong with that; "" if nothing.
    """

    ok: bool
    switched: bool
    text: str
    warning: str = ""


def check_config(config: Config) -> Dict[str, Verdict]:
    """Which loss each component trains with.

    Args:
        config: As `read_config` gives it.

    Returns:
        A `Verdict` for each trainable component that is known, by its name.

    Raises:
        ConfigValidationError: If the block would stop training: components that are not there,
            options that do not fit, variables without a value.
    """
    by_name = factories(config)
    frozen = frozen_components(config)
    given = given_losses(config)
    for name in given:
        if name != ALL:
            check_component(name, by_name, frozen=(), stock_only=True)
    verdicts = {}
    for name, factory in by_name.items():
        if factory in OWN_BLOCK:
            block = config["components"][name].get("loss")
            made = None if block is None else resolve(config, block)
            verdict = Verdict(True, True, DEFAULT) if block is None else _of_loss(made, name)
        elif factory in CLASS_OF_FACTORY:
            loss = given.get(name, given.get(ALL))
            verdict = _verdict(config, factory, loss, name)
        elif factory is None and (name in given or ALL in given):
            verdict = Verdict(False, False, "what it is sourced from cannot be read: not known")
        else:
            continue
        if name in frozen:
            of_loss = "and its loss is for nothing" if name in given else "and is not trained"
            verdict = Verdict(
                name not in given, False, f"it is frozen (frozen_components), {of_loss}"
            )
        verdicts[name] = verdict
    return verdicts


def _verdict(config: Config, factory: str, loss: Any, name: str) -> Verdict:
    if loss is None:
        return Verdict(True, False, "spaCy's own loss")
    if loss == AUTO:
        text = recommended_in_words(factory)
        return Verdict(True, text != NOTHING, text)
    made = resolve(config, loss) if not isinstance(loss, str) else loss
    made = make_loss(made, f"Component '{name}'") if isinstance(made, (str, dict)) else made
    return _of_loss(made, name)


def _of_loss(loss: Any, name: str) -> Verdict:
    if not isinstance(loss, Loss):
        raise config_error(
            f"Component '{name}': the loss must be one of spacy_dice's, got {loss!r}. Give it a "
            'block with @losses = "spacy_dice.DiceCE.v1".'
        )
    return Verdict(True, True, in_words(loss), loss.why_not_alone())


def recommended_in_words(factory: str) -> str:
    """What "auto" is for the components of a factory, which may depend on how many labels it has.

    Example:
        >>> recommended_in_words("span_finder")
        'CrossEntropy()'
    """
    negative = factory == "spancat_singlelabel"
    found: List[Tuple[str, str]] = []
    for n, words in ((1, "one label"), (2, "two labels"), (3, "more")):
        pipe = SimpleNamespace(labels=("x",) * n, add_negative_label=negative)
        spec = CLASS_OF_FACTORY[factory].recommended(pipe)
        text = NOTHING if spec is None else call_in_words(spec)
        if found and found[-1][0] == text:
            found[-1] = (text, f"{found[-1][1]} or {words}")
        else:
            found.append((text, words))
    if factory == "textcat":  # one label is none
        found = [(text, words.replace("one label or ", "")) for text, words in found]
    if len(found) == 1:
        return found[0][0]
    return "; ".join(f"with {words}, {text}" for text, words in found).replace(
        "two labels or more", "more"
    )


def in_words(loss: Loss) -> str:
    """A loss with the options that are not its defaults.

    Example:
        >>> in_words(make_loss({"name": "DiceCE", "weight": 0.5}))
        'DiceCE(weight=0.5)'
    """
    if isinstance(loss, Compound) and not isinstance(loss, DiceCE):
        terms = [f"{loss.weights[k].current:g} x {in_words(v)}" for k, v in loss.losses.items()]
        return " + ".join(terms)
    defaults = {
        key: parameter.default
        for cls in type(loss).__mro__
        if "__init__" in vars(cls)
        for key, parameter in inspect.signature(cls.__init__).parameters.items()  # type: ignore[misc]
    }
    options = {**loss.own_options(), **loss.reading()}
    given = {key: value for key, value in options.items() if value != defaults.get(key)}
    return call_in_words({"name": type(loss).__name__, **given})


def call_in_words(spec: Mapping[str, Any]) -> str:
    """A loss that is given by its name and options, as one would write it."""
    options = ", ".join(f"{key}={value!r}" for key, value in spec.items() if key != "name")
    return f"{spec['name']}({options})"
