"""What all losses share: reading guesses and truths, and giving gradients back."""

import inspect
import math
from typing import Any, Optional, Sequence, Tuple, Union

import numpy
from thinc.api import get_array_module
from thinc.loss import Loss as ThincLoss

from ..errors import diverged, mistake
from ..heads import ACTIVATIONS, WRT, Head
from ..targets import Labels, Targets, read_truths

Array = Any


class Loss(ThincLoss):
    """What all losses share: reading guesses and truths, and giving gradients back.

    A subclass overrides `slope`, and `check` if some labels do not suit it.
    """

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        missing_value: Optional[Union[str, int]] = None,
        neg_prefix: Optional[str] = None,
        activation: str = "softmax",
        wrt: str = "logits",
    ):
        self.names = None if names is None else tuple(names)
        self.missing_value = missing_value
        self.neg_prefix = neg_prefix
        self.head = Head(
            self._one_of("activation", activation, ACTIVATIONS), self._one_of("wrt", wrt, WRT)
        )

    __signature__: inspect.Signature

    def __init_subclass__(cls, **kwargs: Any):
        # In a config the component says how guesses are read: those arguments are not the
        # user's there, so the signature that spaCy's config system sees is without them.
        super().__init_subclass__(**kwargs)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        cls.__signature__ = inspect.Signature(
            [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        )

    def __call__(self, guesses: Any, truths: Any) -> Tuple[Any, float]:
        """Gradient and value.

        guesses: floats ``(N, C)`` in [0, 1], or a list of such arrays. truths: see
        `targets.read_truths`. RETURNS the gradient, shaped as the guesses, and a float.
        Raises a ConfigValidationError for guesses out of range, unknown labels and shapes
        that do not match.
        """
        labels = Labels(type(self).__name__, self.names)
        lengths = None
        like = guesses
        if isinstance(guesses, (list, tuple)):
            if not guesses and not len(truths):
                return [], 0.0
            lengths = [len(part) for part in guesses]
            like = stack(guesses)
        if like.ndim != 2:
            raise mistake(
                f"{labels.owner}: guesses must have rows and columns, got shape {like.shape}."
            )
        self.check(labels)
        if self.names is not None and len(self.names) != like.shape[1]:
            raise mistake(
                f"{labels.owner}: {len(self.names)} names for {like.shape[1]} columns of guesses."
            )
        targets = read_truths(
            truths, like.shape[1], labels, like, lengths, self.missing_value, self.neg_prefix
        )
        return self.compute(guesses, targets, self.head)

    def get_grad(self, guesses: Any, truths: Any) -> Any:
        """The gradient alone; see `__call__`."""
        return self(guesses, truths)[0]

    def get_loss(self, guesses: Any, truths: Any) -> float:
        """The value alone; see `__call__`."""
        return self(guesses, truths)[1]

    def compute(self, guesses: Any, targets: Targets, head: Head) -> Tuple[Any, float]:
        """Gradient and value for targets and a head that a component has read already."""
        stacked = stack(guesses) if isinstance(guesses, (list, tuple)) else guesses
        xp = get_array_module(stacked)
        p = stacked if stacked.dtype == "float64" else stacked.astype("float32")
        if p.size and not (p.min() >= 0 and p.max() <= 1 + 1e-4):
            if xp.isnan(p).any():
                raise diverged(targets.labels.owner)
            raise mistake(
                f"{targets.labels.owner}: guesses must be probabilities, from 0 to 1, but range "
                f"from {float(p.min())} to {float(p.max())}."
            )
        # At exactly 0 some ratios are 0/0; next to 0 they are what they tend to.
        p = xp.clip(p, xp.finfo(p.dtype).tiny * 16, 1.0)
        targets.y = targets.y.astype(p.dtype, copy=False)
        if not p.size:
            gradient, value = xp.zeros_like(p), 0.0
        else:
            value, gradient = self.gradient(p, targets, head)
        gradient = gradient.astype(stacked.dtype, copy=False)
        if isinstance(guesses, (list, tuple)):
            ends = numpy.cumsum([len(part) for part in guesses]).tolist()
            starts = [0] + ends[:-1]
            return [gradient[i:j] for i, j in zip(starts, ends)], float(value)
        return gradient, float(value)

    def gradient(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        """Value, and the gradient that the head wants, for p ``(N, C)``, N > 0."""
        value, slope = self.slope(p, targets, head)
        gradient = head.gradient(p, slope)
        return value, gradient if targets.mask is None else gradient * targets.mask

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        """Value and slope (see formulas) for p ``(N, C)``, N > 0."""
        raise NotImplementedError

    def check(self, labels: Labels) -> None:
        """Raise a ConfigValidationError if this loss cannot be used with these labels."""
        if self.names is not None and labels.names is not None and self.names != labels.names:
            raise mistake(
                f"{labels.owner}: the loss was made for the labels {', '.join(self.names)}, but "
                f"the labels here are {', '.join(labels.names)}. Leave names out: a component "
                "gives its own."
            )
        if labels.label_smoothing and not self.smooths:
            raise mistake(
                f"{labels.owner}: its label_smoothing is for a cross-entropy, and "
                f"spacy_dice.{type(self).__name__}.v1 has none. Set label_smoothing to 0."
            )

    def step_schedules(self) -> None:
        """Go on to the next step of the schedules in this loss, once an update."""

    def is_stock(self) -> bool:
        """Whether this loss, alone in a stock component, is the component's own."""
        return False

    # Whether a term of this loss obeys a component's own label_smoothing.
    smooths = False

    # -- reading parameters -------------------------------------------------------------

    def _mistake(self, message: str) -> Exception:
        return mistake(f"spacy_dice.{type(self).__name__}.v1: {message}")

    def _number(self, name: str, value: Any, low: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._mistake(f"{name} must be a number, got {value!r}.")
        if not (value >= low and math.isfinite(value)):
            raise self._mistake(f"{name} must be a finite number from {low:g} on, got {value!r}.")
        return float(value)

    def _flag(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._mistake(f"{name} must be true or false, got {value!r}.")
        return value

    def _one_of(self, name: str, value: Any, options: Sequence[str]) -> str:
        if value not in options:
            raise self._mistake(f"{name} must be one of {', '.join(options)}, got {value!r}.")
        return value


def stack(guesses: Sequence[Array]) -> Array:
    """One array of all documents' rows."""
    if not guesses:
        return numpy.zeros((0, 0), dtype="float32")
    return get_array_module(guesses[0]).concatenate(list(guesses))
