"""Folding: a shift and a temperature become part of a model's last layer.

What is done is kept in the component's cfg under KEY, with the bias as it was, so that it can be
read back, undone and redone wherever the component is loaded, with this package or without.
"""

import copy
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy
from thinc.api import Model

from ..errors import config_error

# Where a component's cfg has it.
KEY = "spacy_dice_tuning"
# What turns scores into probabilities, and has no parameters; and what changes no score.
ACTIVATIONS = {
    "softmax_activation": "softmax",
    "logistic": "sigmoid",
    "sigmoid_activation": "sigmoid",
}
PASS_ON = ("Flattener", "dropout")
LAYERS = {"softmax": "softmax", "linear": "none", "sparse_linear": "none", "sigmoid": "sigmoid"}


class LastLayer(NamedTuple):
    """path: from the model down to the layer. activation: "softmax", "sigmoid" or "none", and the
    layer that it is, where it is one of its own."""

    path: Tuple[Model, ...]
    activation: str
    after: Optional[Model] = None

    @property
    def layer(self) -> Model:
        return self.path[-1]

    @property
    def emits_logits(self) -> bool:
        """Whether `predict` gives raw scores within `raw`, as Softmax_v2(normalize_outputs=False)
        does anyway."""
        if self.activation == "none" or self.after is not None:
            return True
        return not self.layer.attrs.get("softmax_normalize", True)

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Let the model give scores before the activation, for a while: probabilities near 1 have
        lost what scores still tell apart."""
        if self.after is None:
            yield
            return
        func = self.after._func
        self.after._func = _identity
        try:
            yield
        finally:
            self.after._func = func


def find_last_layer(model: Model, component: str) -> LastLayer:
    """The layer whose bias moves a component's scores.

    Raises a ConfigValidationError that names the component and the reason if there is none.
    """
    if model.name == "parser_model":
        part = "upper" if model.attrs["has_upper"] else "lower"
        found: Optional[LastLayer] = LastLayer((model, model.get_ref(part)), "softmax")
    else:
        found = _descend(model, (), component)
    if found is None or not found.path:
        raise _refusal(component, f"its last layer is '{model.name}', which has no bias")
    if not found.layer.has_param("b"):
        raise _refusal(component, f"its last layer, '{found.layer.name}', has no bias yet")
    return found


def _descend(node: Model, path: Tuple[Model, ...], component: str) -> Optional[LastLayer]:
    """The last layer at or below a node; an empty path for an activation without a layer."""
    path = (*path, node)
    if node.name in ACTIVATIONS:
        return LastLayer((), ACTIVATIONS[node.name], node)
    if node.name in LAYERS:
        return LastLayer(path, LAYERS[node.name])
    parts = [part for part in node.layers if part.name not in PASS_ON]
    if not parts or node.name == "|".join(part.name for part in parts):
        raise _refusal(component, f"its last layer is '{node.name}', whose bias is not known")
    last: Optional[LastLayer] = None
    for part in reversed(parts):
        found = _descend(part, path, component)
        if found is not None and found.path:
            return found if last is None else last._replace(path=found.path)
        last = last or found
    return last


def _identity(model: Model, X: Any, is_train: bool) -> Any:
    return X, lambda dY: dY


def _refusal(component: str, reason: str) -> Exception:
    return config_error(
        f"Component '{component}' cannot be tuned: {reason}. Its scores can be shifted where the "
        "model ends in a softmax, linear or sparse_linear layer, as spaCy's architectures do."
    )


# -- the state of a component --------------------------------------------------------------


def get_state(pipe: Any) -> Dict[str, Any]:
    """What was folded into a component; empty if nothing was."""
    return copy.deepcopy(dict(pipe.cfg.get(KEY) or {}))


def fold(
    last: LastLayer,
    pipe: Any,
    columns: Sequence[str],
    shift: numpy.ndarray,
    temperature: numpy.ndarray,
    center: float,
    readable: Dict[str, Any],
) -> None:
    """Add ``shift`` to each column's score, and divide the distance from ``center`` by
    ``temperature``: floats ``(C,)`` each. Undo first what was folded before."""
    unfold(last, pipe)
    layer = last.layer
    bias = _host(layer, "b")
    shape = (-1,) + (1,) * (bias.ndim - 1)
    folded = (bias + (shift - center).reshape(shape)) / temperature.reshape(shape) + center
    state = {
        **readable,
        "columns": list(columns),
        "column_shift": shift.tolist(),
        "column_temperature": temperature.tolist(),
        "center": center,
        "bias": bias.tobytes().hex(),  # bit for bit: spaCy's JSON rounds numbers
    }
    _set(layer, "b", folded)
    if (temperature != 1.0).any():
        _scale(layer, 1.0 / temperature)
    state["folded"] = _host(layer, "b").tobytes().hex()
    pipe.cfg[KEY] = state


def unfold(last: LastLayer, pipe: Any) -> None:
    """Take back what was folded. The bias is what it was, bit for bit, unless it was trained since:
    then its shift is taken off. Weights that a temperature divided are the same to rounding."""
    state = pipe.cfg.pop(KEY, None)
    if not state or "folded" not in state:
        return
    layer = last.layer
    now, n = _host(layer, "b"), len(state["columns"])
    folded, bias = (
        numpy.frombuffer(bytes.fromhex(state[key]), dtype="float32") for key in ("folded", "bias")
    )
    temperature = numpy.ones(len(now))
    temperature[:n] = state["column_temperature"]
    if now.size == folded.size and (now.ravel() == folded).all():
        _set(layer, "b", bias.reshape(now.shape))
    else:
        shift = numpy.zeros(len(now))
        shift[:n] = state["column_shift"]
        shape = (-1,) + (1,) * (now.ndim - 1)
        center = state["center"]
        known = numpy.zeros(len(now), dtype=bool)
        known[:n] = True  # labels that were added since have no shift
        back = (now - center) * temperature.reshape(shape) + center - shift.reshape(shape)
        _set(layer, "b", numpy.where(known.reshape(shape), back, now))
    if (temperature != 1.0).any():
        _scale(layer, temperature)


def _scale(layer: Model, factor: numpy.ndarray) -> None:
    """Multiply what leads to each column, but for its bias."""
    on_host: Any = factor.astype("float32")
    xp_factor: Any = layer.ops.asarray(on_host)
    W: Any = layer.get_param("W")
    if layer.name == "precomputable_affine":  # W (nF, nO, nP, nI), pad (1, nF, nO, nP)
        layer.set_param("W", W * xp_factor[None, :, None, None])
        pad: Any = layer.get_param("pad")
        layer.set_param("pad", pad * xp_factor[None, None, :, None])
    elif layer.name == "sparse_linear":  # flat, the columns of each feature side by side, hashed
        if len(set(factor.tolist())) > 1:
            raise ValueError("a sparse layer shares its weights: it takes one temperature only")
        layer.set_param("W", W * xp_factor[0])
    else:
        layer.set_param("W", W * xp_factor[:, None])


def _host(layer: Model, name: str) -> numpy.ndarray:
    return numpy.array(layer.ops.to_numpy(layer.get_param(name)), dtype="float32")


def _set(layer: Model, name: str, value: numpy.ndarray) -> None:
    on_host: Any = numpy.ascontiguousarray(value, dtype="float32")
    array: Any = layer.ops.asarray(on_host)
    layer.set_param(name, array)


class Shifted:
    """A layer's bias with shifts, for a while: ``with Shifted(last) as shifted: ...``."""

    def __init__(self, last: LastLayer):
        self._layer = last.layer

    def __enter__(self) -> "Shifted":
        self._before = self._layer.get_param("b")
        self._bias = _host(self._layer, "b")
        return self

    def __call__(self, shift: numpy.ndarray) -> None:
        """Add ``shift``, floats ``(C,)``, to the bias as it was."""
        shape = (-1,) + (1,) * (self._bias.ndim - 1)
        _set(self._layer, "b", self._bias + shift.reshape(shape))

    def __exit__(self, *_: Any) -> None:
        self._layer.set_param("b", self._before)


# -- copies --------------------------------------------------------------------------------


def copy_apart(pipe: Any, last: Optional[LastLayer]) -> Any:
    """A component that shares everything with another but its cfg and its last layer, so that
    folding does not change the other."""
    twin = copy.copy(pipe)
    twin.cfg = copy.deepcopy(pipe.cfg)
    if last is not None:
        twin.model = _copy_path(list(last.path))
    return twin


def _copy_path(path: List[Model]) -> Model:
    """The first model of a path, with the models along the path copied and all others shared."""
    copies = {id(node): copy.copy(node) for node in path}
    for node in path:
        twin = copies[id(node)]
        twin._params = copy.copy(node._params)
        twin._params._params = dict(node._params._params)
        twin._params._grads = dict(node._params._grads)
        twin._has_params = dict(node._has_params)
        twin._layers = [copies.get(id(part), part) for part in node._layers]
        twin._refs = {
            name: part if part is None else copies.get(id(part), part)
            for name, part in node._refs.items()
        }
    return copies[id(path[0])]
