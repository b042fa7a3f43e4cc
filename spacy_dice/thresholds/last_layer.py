"""A component's last layer: its scores, and shifts and temperatures as part of its weights.

What is written is recorded in the component's cfg under KEY, with the bias as it was, so that it
can be read back, undone and redone wherever the component is loaded, with this package or without.
The record is of the weights that it was written into, and void for any others.
"""

import copy
import hashlib
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from thinc.api import Model

from dice_core.thresholds.calibrate import logit
from dice_core.thresholds.component import DIGITS

from ..errors import config_error
from ..heads import PASS_ON

# Where a component's cfg has it.
KEY = "spacy_dice_tuning"
# What turns scores into probabilities, and has no parameters; and layers with a bias.
ACTIVATIONS = {
    "softmax_activation": "softmax",
    "logistic": "sigmoid",
    "sigmoid_activation": "sigmoid",
}
LAYERS = {"softmax": "softmax", "linear": "none", "sparse_linear": "none", "sigmoid": "sigmoid"}


class LastLayer(NamedTuple):
    """path: from the model down to the layer. activation: "softmax", "sigmoid" or "none", and the
    layer that it is, where it is one of its own."""

    path: Tuple[Model, ...]
    activation: str
    after: Optional[Model] = None

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

    def scores(self, output: Any) -> numpy.ndarray:
        """Of what the model gives within `raw`: logits, log-probabilities or log-odds."""
        values = self.layer.ops.to_numpy(output).astype("float64")
        if self.after is not None or self.activation == "none":
            return values
        if not self.layer.attrs.get("softmax_normalize", True):
            return values
        if self.activation == "sigmoid":
            return logit(values)
        return numpy.log(numpy.maximum(values, numpy.finfo("float32").tiny))

    @contextmanager
    def shifts(self) -> Iterator[Callable[[numpy.ndarray], None]]:
        """A function that adds a shift, floats ``(C,)``, to the bias as it is now, for a while."""
        before, bias = self.layer.get_param("b"), _get(self.layer)
        try:
            yield lambda shift: _set(self.layer, bias + _like(shift, bias))
        finally:
            self.layer.set_param("b", before)


def find_last_layer(model: Model, component: str) -> LastLayer:
    """The layer whose bias moves a component's scores.

    Raises a ConfigValidationError that names the component and the reason if there is none.
    """
    if model.name == "parser_model":
        upper = model.get_ref("upper" if model.attrs["has_upper"] else "lower")
        return LastLayer((model, upper), "softmax")
    found = _descend(model, (), component)
    if not found.path:
        raise _refusal(component, f"its last layer is '{model.name}', which has no bias")
    if not found.layer.has_param("b"):
        raise _refusal(component, f"its last layer, '{found.layer.name}', has no bias yet")
    return found


def _descend(node: Model, path: Tuple[Model, ...], component: str) -> LastLayer:
    """The last layer at or below a node; an empty path for an activation without a layer."""
    path = (*path, node)
    if node.name in ACTIVATIONS:
        return LastLayer((), ACTIVATIONS[node.name], node)
    if node.name in LAYERS:
        return LastLayer(path, LAYERS[node.name])
    parts = [part for part in node.layers if part.name not in PASS_ON]
    # Side by side, no one of them is the last.
    if not parts or node.name == "|".join(part.name for part in parts):
        raise _refusal(component, f"its last layer is '{node.name}', whose bias is not known")
    last = _descend(parts.pop(), path, component)
    while parts and not last.path:
        last = last._replace(path=_descend(parts.pop(), path, component).path)
    return last


def _refusal(component: str, reason: str) -> Exception:
    return config_error(
        f"Component '{component}' cannot be tuned: {reason}. Its scores can be shifted where the "
        "model ends in a softmax, linear or sparse_linear layer, as spaCy's architectures do."
    )


# -- what is written -----------------------------------------------------------------------


def get_record(last: LastLayer, pipe: TrainablePipe) -> Dict[str, Any]:
    """What was written into a component's last layer, "shift" and "temperature"; empty if nothing
    was, or if it has other weights now: loaded, initialized or trained since."""
    record = (getattr(pipe, "cfg", None) or {}).get(KEY) or {}
    if not record or record["weights"] != _fingerprint(last.layer, len(record["temperatures"])):
        return {}
    return {key: _rounded(record[key]) for key in ("shift", "temperature")}


def _rounded(value: Any) -> Any:
    """Numbers as they were before spaCy's JSON."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, DIGITS)


def write(
    last: LastLayer,
    pipe: TrainablePipe,
    shift: numpy.ndarray,
    temperature: numpy.ndarray,
    center: float,
    record: Dict[str, Any],
) -> None:
    """Add ``shift`` to each column's score, and divide the distance from ``center`` by
    ``temperature``: floats ``(C,)`` each. record: what to keep of it for readers."""
    bias = _get(last.layer)
    _set(
        last.layer,
        (bias + _like(shift - center, bias)) / _like(temperature, bias) + center,
    )
    _scale(last.layer, 1.0 / temperature)
    pipe.cfg[KEY] = {
        **record,
        "temperatures": temperature.tolist(),
        "bias": bias.tobytes().hex(),  # bit for bit: spaCy's JSON rounds numbers
        "weights": _fingerprint(last.layer, len(temperature)),
    }


def undo(last: LastLayer, pipe: TrainablePipe) -> None:
    """Take back what was written, if it is still there, and forget it. The bias is what it was, bit
    for bit; weights that a temperature divided are the same to rounding."""
    is_there = bool(get_record(last, pipe))
    record = pipe.cfg.pop(KEY, None)
    if not is_there:
        return
    now, n = _get(last.layer), len(record["temperatures"])  # labels that were added come after
    before = numpy.frombuffer(bytes.fromhex(record["bias"]), "float32")
    now[:n] = before.reshape(now[:n].shape)
    temperature = numpy.ones(len(now))
    temperature[:n] = record["temperatures"]
    _set(last.layer, now)
    _scale(last.layer, temperature)


def _fingerprint(layer: Model, n: int) -> str:
    """Of the weights and the bias of the first ``n`` columns."""
    W: Any = layer.ops.to_numpy(layer.get_param("W"))
    if layer.name == "precomputable_affine":
        W = W[:, :n]
    elif layer.name != "sparse_linear":
        W = W[:n]
    arrays = (numpy.ascontiguousarray(W), numpy.ascontiguousarray(_get(layer)[:n]))
    return hashlib.blake2b(b"".join(map(bytes, arrays)), digest_size=16).hexdigest()


def _scale(layer: Model, factor: numpy.ndarray) -> None:
    """Multiply what leads to each column, but for its bias."""
    if (factor == 1.0).all():
        return
    on_host: Any = factor.astype("float32")
    each: Any = layer.ops.asarray(on_host)
    W: Any = layer.get_param("W")
    if layer.name == "precomputable_affine":  # W (nF, nO, nP, nI), pad (1, nF, nO, nP)
        layer.set_param("W", W * each[None, :, None, None])
        pad: Any = layer.get_param("pad")
        layer.set_param("pad", pad * each[None, None, :, None])
    elif layer.name == "sparse_linear":  # flat, the columns of each feature side by side, hashed
        layer.set_param("W", W * each[0])  # one temperature: `calibrate` sees to it
    else:
        layer.set_param("W", W * each[:, None])


def _like(values: numpy.ndarray, bias: numpy.ndarray) -> numpy.ndarray:
    """Values of columns, for a bias that may have several pieces a column."""
    return values.reshape((-1,) + (1,) * (bias.ndim - 1))


def _get(layer: Model) -> numpy.ndarray:
    return numpy.array(layer.ops.to_numpy(layer.get_param("b")), dtype="float32")


def _set(layer: Model, bias: numpy.ndarray) -> None:
    on_host: Any = numpy.ascontiguousarray(bias, dtype="float32")
    array: Any = layer.ops.asarray(on_host)
    layer.set_param("b", array)


# -- copies --------------------------------------------------------------------------------


def copy_apart(pipe: TrainablePipe, last: LastLayer) -> Any:
    """A component that shares everything with another but its cfg and its last layer, so that
    writing does not change the other."""
    twin = copy.copy(pipe)
    twin.cfg = copy.deepcopy(pipe.cfg)
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
