"""A component's last layer: its scores, and its weights as `dice_core` reads and writes them."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from thinc.api import ConfigValidationError, Model

from dice_core.arrays import to_numpy
from dice_core.thresholds.calibrate import logit
from dice_core.thresholds.objectives import Array

from ..errors import config_error
from ..heads import PASS_ON

# Where a component's cfg has what was written.
KEY = "spacy_dice_tuning"
# What turns scores into probabilities, and has no parameters; and layers with a bias.
ACTIVATIONS = {
    "softmax_activation": "softmax",
    "logistic": "sigmoid",
    "sigmoid_activation": "sigmoid",
}
LAYERS = {"softmax": "softmax", "linear": "none", "sparse_linear": "none", "sigmoid": "sigmoid"}


@dataclass(frozen=True)
class LastLayer:
    """The layer whose bias moves a component's scores.

    Attributes:
        path: From the model down to the layer.
        activation: "softmax", "sigmoid" or "none".
        after: The layer that the activation is, where it is one of its own.
    """

    path: tuple[Model, ...]
    activation: str
    after: Model | None = None

    @property
    def layer(self) -> Model:
        """The layer itself."""
        return self.path[-1]

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Let the model give scores before the activation, for a while: probabilities near 1 have
        lost what scores still tell apart."""
        if self.after is None:
            yield
            return
        func = self.after._func
        self.after._func = lambda model, X, is_train: (X, lambda dY: dY)
        try:
            yield
        finally:
            self.after._func = func

    def scores(self, output: object) -> Array:
        """Of what the model gives within `raw`: logits, log-probabilities or log-odds."""
        values = to_numpy(output).astype("float64")
        if self.after is not None or self.activation == "none":
            return values
        if not self.layer.attrs.get("softmax_normalize", True):
            return values
        if self.activation == "sigmoid":
            return logit(values)
        return numpy.log(numpy.maximum(values, numpy.finfo("float32").tiny))

    @contextmanager
    def shifted(self, shift: Array) -> Iterator[None]:
        """A shift, floats ``(C,)``, for a while."""
        before, bias = self.layer.get_param("b"), self.bias()
        try:
            self.set_bias(bias + shift.reshape(-1, *[1] * (bias.ndim - 1)))
            yield
        finally:
            self.layer.set_param("b", before)

    # -- weights, as `dice_core.thresholds.component.OutputLayer` ------------------------------

    def bias(self) -> Array:
        """A copy on the host."""
        return numpy.array(to_numpy(self.layer.get_param("b")), dtype="float32")

    def set_bias(self, bias: Array) -> None:
        """Write another."""
        self.layer.set_param("b", self._on_device(bias))

    def scale(self, factor: Array) -> None:
        """Multiply what leads to each column, but for its bias."""
        if (factor == 1.0).all():
            return
        layer, each, W = self.layer, self._on_device(factor), self.layer.get_param("W")
        if layer.name == "precomputable_affine":  # W (nF, nO, nP, nI), pad (1, nF, nO, nP)
            layer.set_param("W", each[None, :, None, None] * W)
            layer.set_param("pad", each[None, None, :, None] * layer.get_param("pad"))
        elif layer.name == "sparse_linear":  # flat, hashed: the columns of each feature in a row
            layer.set_param("W", each[0] * W)
        else:
            layer.set_param("W", each[:, None] * W)

    def _on_device(self, values: Any) -> Any:
        return self.layer.ops.asarray(values, dtype="float32")

    def fingerprint(self, n: int) -> str:
        """Of the weights and the bias of the first ``n`` columns."""
        W = to_numpy(self.layer.get_param("W"))
        if self.layer.name == "precomputable_affine":
            W = W[:, :n]
        elif self.layer.name != "sparse_linear":
            W = W[:n]
        arrays = (numpy.ascontiguousarray(W), numpy.ascontiguousarray(self.bias()[:n]))
        return hashlib.blake2b(b"".join(map(bytes, arrays)), digest_size=16).hexdigest()


def find_last_layer(model: Model, component: str) -> LastLayer:
    """The layer whose bias moves a component's scores.

    Raises a ConfigValidationError that names the component and the reason if there is none.
    """
    if model.name == "parser_model":
        upper = model.get_ref("upper" if model.attrs["has_upper"] else "lower")
        return LastLayer((model, upper), "softmax")
    path, activation, after = _descend(model, (), component)
    if not path:
        raise _refusal(component, f"its last layer is '{model.name}', which has no bias")
    if not path[-1].has_param("b"):
        raise _refusal(component, f"its last layer, '{path[-1].name}', has no bias yet")
    return LastLayer(path, activation, after)


def _descend(
    node: Model, path: tuple[Model, ...], component: str
) -> tuple[tuple[Model, ...], str, Model | None]:
    """The last layer at or below a node; an empty path for an activation without a layer."""
    path = (*path, node)
    if node.name in ACTIVATIONS:
        return (), ACTIVATIONS[node.name], node
    if node.name in LAYERS:
        return path, LAYERS[node.name], None
    parts = [part for part in node.layers if part.name not in PASS_ON]
    # Side by side, no one of them is the last.
    if not parts or node.name == "|".join(part.name for part in parts):
        raise _refusal(component, f"its last layer is '{node.name}', whose bias is not known")
    found, activation, after = _descend(parts.pop(), path, component)
    while parts and not found:
        found, _, _ = _descend(parts.pop(), path, component)
    return found, activation, after


def _refusal(component: str, reason: str) -> ConfigValidationError:
    return config_error(
        f"Component '{component}' cannot be tuned: {reason}. Its scores can be shifted where the "
        "model ends in a softmax, linear or sparse_linear layer, as spaCy's architectures do."
    )


def copy_apart(pipe: TrainablePipe, path: Sequence[Model]) -> TrainablePipe:
    """A component that shares everything with another but its cfg and the models along a path, so
    that writing into the last of them does not change the other."""
    twin = copy.copy(pipe)
    twin.cfg = copy.deepcopy(pipe.cfg)
    copies = {id(node): copy.copy(node) for node in path}
    for node in path:
        made = copies[id(node)]
        made._params = copy.copy(node._params)
        made._params._params = dict(node._params._params)
        made._params._grads = dict(node._params._grads)
        made._has_params = dict(node._has_params)
        made._layers = [copies.get(id(part), part) for part in node._layers]
        made._refs = {name: copies.get(id(part), part) for name, part in node._refs.items()}
    twin.model = copies[id(path[0])]
    return twin
