"""Reading options: what users write becomes a checked value, or an error that says what to do."""

import math
from typing import Any, Callable, Dict, List, Literal, Optional, Sequence, Tuple, TypedDict, Union

Level = Literal["element", "batch"]
Average = Literal["auto", "micro", "macro"]
Activation = Literal["softmax", "sigmoid"]
Wrt = Literal["logits", "probabilities"]
Background = Union[str, int, Sequence[Union[str, int]], None]
PerLabel = Union[Dict[str, float], Sequence[float]]
ClassWeights = Union[PerLabel, Literal["balanced"], None]
LEVELS = ("element", "batch")
AVERAGES = ("auto", "micro", "macro")
ACTIVATIONS = ("softmax", "sigmoid")
WRTS = ("logits", "probabilities")
AUTO: Literal["auto"] = "auto"
BALANCED = "balanced"


class Reading(TypedDict, total=False):
    """How a loss that stands by itself reads what it is called with.

    In a component or a model those say it, and a loss inside of a Compound goes by the Compound.

    names: the label of each column. activation: what makes probabilities. missing_value,
    neg_prefix, wrt: of spacy_dice alone. reduction: of flair_dice alone.
    """

    names: Optional[Sequence[str]]
    activation: Activation
    missing_value: Union[str, int, None]
    neg_prefix: Optional[str]
    wrt: Wrt
    reduction: Literal["mean", "sum"]


class Options:
    """What reads options: a loss, a schedule. ``error`` makes the exception of a message."""

    error: Callable[[str], Exception] = ValueError

    def title(self) -> str:
        """How messages call it."""
        return f"{type(self).__module__.partition('.')[0]}.{type(self).__name__}"

    def config_error(self, message: str) -> Exception:
        """The error of a mistake in the options."""
        return type(self).error(f"{self.title()}: {message}")

    def read_number(self, name: str, value: object, low: float = 0.0) -> float:
        """A finite number from ``low`` on."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.config_error(f"{name} must be a number, got {value!r}.")
        if not (value >= low and math.isfinite(value)):
            raise self.config_error(
                f"{name} must be a finite number from {low:g} on, got {value!r}."
            )
        return float(value)

    def read_flag(self, name: str, value: object) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            raise self.config_error(f"{name} must be true or false, got {value!r}.")
        return value

    def read_one_of(self, name: str, value: Any, options: Sequence[Any]) -> Any:
        """One of the options."""
        if value not in options:
            known = ", ".join(map(str, options))
            raise self.config_error(f"{name} must be one of {known}, got {value!r}.")
        return value

    def read_per_label(self, name: str, values: Any) -> Any:
        """Numbers by label, or by class id."""
        if isinstance(values, dict):
            return {key: self.read_number(f"{name}[{key!r}]", v) for key, v in values.items()}
        if isinstance(values, (list, tuple)):
            return [self.read_number(f"{name}[{i}]", v) for i, v in enumerate(values)]
        raise self.config_error(
            f"{name} must be a dict or block of label = number, or a list, got {values!r}."
        )

    def read_background(self, value: Background) -> Union[str, List[Union[str, int]]]:
        """``"auto"`` or a list of labels and class ids."""
        if value is None or value == AUTO:
            return value or []
        return [value] if isinstance(value, (str, int)) else list(value)

    def read_terms(self, values: Any) -> Dict[str, Any]:
        """Names and what they stand for; a list is named by its numbers from 0 on."""
        if isinstance(values, dict):
            return {str(name): value for name, value in values.items()}
        if isinstance(values, (list, tuple)):
            return {str(number): value for number, value in enumerate(values)}
        raise self.config_error(f"expected a block of names or a list, got {values!r}.")


Names = Optional[Tuple[str, ...]]
