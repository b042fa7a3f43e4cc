"""Heads: what a model's last layer gives, and what gradient it wants back.

thinc's layers disagree: `Softmax` passes the gradient on as if by logits; `Sigmoid`, `Logistic`
and the `..._activation` layers multiply by their own derivative and so want it by probabilities.
Which one a component has is read from its model, never from the component's type.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from thinc.api import Model

from dice_core.options import Activation, Wrt

from .errors import config_error


class Head(NamedTuple):
    """activation: "softmax" or "sigmoid", what makes probabilities. wrt: "logits" or
    "probabilities", by what the gradient is wanted. raw: whether the guesses are logits.
    """

    activation: Activation
    wrt: Wrt
    raw: bool = False


# Last layers, by the name that thinc gives them.
LAST_LAYERS: dict[str, Head] = {
    "softmax": Head("softmax", "logits"),
    "softmax_activation": Head("softmax", "probabilities"),
    "logistic": Head("sigmoid", "probabilities"),
    "sigmoid_activation": Head("sigmoid", "probabilities"),
    "sigmoid": Head("sigmoid", "probabilities"),
}
# Layers that end text classifiers with no_output_layer = true, whose scores are logits.
RAW_LAYERS = ("sparse_linear", "linear")
# What wraps a last layer, and what follows one without changing its values.
WRAPPERS = ("with_", "resizable(")
PASS_ON = ("Flattener", "dropout")


def find_head(model: Model, component: str, raw_activation: Optional[Activation] = None) -> Head:
    """The head of a component's model.

    Args:
        model: The component's.
        component: Its name.
        raw_activation: What the raw scores of a last layer without activation are logits of; None
            if they cannot be read.

    Raises:
        ConfigValidationError: If the last layer is none that these losses can train; it names
            the component.
    """
    layer = last_layer(model, component, RAW_LAYERS if raw_activation else ())
    if raw_activation and layer.name in RAW_LAYERS:
        return Head(raw_activation, "logits", raw=True)
    return LAST_LAYERS[layer.name]


def emits_logits(model: Model, component: str) -> bool:
    """Whether `predict` gives raw logits, as `Softmax_v2(normalize_outputs=False)` does."""
    return not last_layer(model, component).attrs.get("softmax_normalize", True)


def last_layer(model: Model, component: str, others: Sequence[str] = ()) -> Model:
    """The layer that makes a model's probabilities, or one of ``others``.

    Raises a ValueError if there is none.
    """
    layer = model
    while layer.name not in LAST_LAYERS and layer.name not in others:
        # A chain ends in its last layer; a wrapper hands its input on to the one it wraps.
        inner = [part for part in layer.layers if part.name not in PASS_ON]
        if inner and (layer.name.startswith(WRAPPERS) or ">>" in layer.name):
            layer = inner[-1]
        else:
            raise config_error(
                f"Component '{component}': the model's last layer is '{layer.name}', and "
                f"these losses need probabilities from one of {sorted(LAST_LAYERS)}. Use an "
                "architecture that ends in such a layer, e.g. spacy.Tagger.v2."
            )
    return layer
