"""The options of losses: their types, and the checks that turn what users write into values."""

import math
import unicodedata
from typing import Dict, List, Literal, Mapping, Sequence, Tuple, TypeVar, Union, cast

Level = Literal["element", "batch"]
Average = Literal["auto", "micro", "macro"]
Activation = Literal["softmax", "sigmoid"]
Wrt = Literal["logits", "probabilities"]
Background = Union[str, int, Sequence[Union[str, int]], None]
PerLabel = Union[Mapping[str, float], Sequence[float]]
ClassWeights = Union[PerLabel, Literal["balanced"], None]
LEVELS = ("element", "batch")
AVERAGES = ("auto", "micro", "macro")
ACTIVATIONS = ("softmax", "sigmoid")
WRTS = ("logits", "probabilities")
AUTO: Literal["auto"] = "auto"
BALANCED: Literal["balanced"] = "balanced"
Option = TypeVar("Option")


def number(owner: str, name: str, value: object, low: float = 0.0, high: float = math.inf) -> float:
    """A finite number from ``low`` to ``high``.

    Args:
        owner: What the option is of, for messages.
        name: The option.
        value: What the user wrote.
        low: The smallest number that is allowed.
        high: The largest.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{owner}: {name} must be a number, got {value!r}.")
    if not (low <= value <= high and math.isfinite(value)):
        limits = f"from {low:g} on" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{owner}: {name} must be a finite number {limits}, got {value!r}.")
    return float(value)


def flag(owner: str, name: str, value: object) -> bool:
    """True or false; a ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{owner}: {name} must be true or false, got {value!r}.")
    return value


def one_of(owner: str, name: str, value: Option, choices: Sequence[object]) -> Option:
    """One of the choices; a ValueError for anything else."""
    if not isinstance(value, (str, type(None))) or value not in choices:
        known = ", ".join(map(str, choices))
        raise ValueError(f"{owner}: {name} must be one of {known}, got {value!r}.")
    return value


def per_label(owner: str, name: str, values: object, high: float = math.inf) -> PerLabel:
    """Numbers by label, or a list of them by class id; a ValueError for anything else."""
    if isinstance(values, Mapping):
        return {k: number(owner, f"{name}[{k!r}]", v, high=high) for k, v in values.items()}
    if isinstance(values, (list, tuple)):
        return [number(owner, f"{name}[{i}]", v, high=high) for i, v in enumerate(values)]
    raise ValueError(
        f"{owner}: {name} must be a dict or block of label = number, or a list of numbers by "
        f"class id, got {values!r}."
    )


def background(value: Background) -> Union[str, Tuple[Union[str, int], ...]]:
    """``"auto"``, or a tuple of labels and class ids."""
    if value is None or value == AUTO:
        return value or ()
    return (value,) if isinstance(value, (str, int)) else tuple(value)


def named(owner: str, values: object) -> Dict[str, object]:
    """Values by name; those of a list are named by their positions, from 0 on."""
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return {str(position): value for position, value in enumerate(values)}
    raise ValueError(f"{owner}: expected a block of names or a list, got {values!r}.")


def listed(names: Sequence[str], most: int = 10) -> str:
    """Names in a message, of which there may be thousands.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b ... and 1 more'
    """
    shown = ", ".join(map(str, names[:most]))
    rest = len(names) - most
    return f"{shown} ... and {rest:,} more" if rest > 0 else shown


# Behind a wide character, so that the length of a text is the room that it takes; never printed.
FILLER = "\u2060"


def filled(text: str) -> str:
    """A text that is as long as it is wide on a screen, where Chinese takes two columns.

    Example:
        >>> len(filled("a")), len(filled("\u4eba"))
        (1, 2)
    """
    wide = (character for character in text if unicodedata.east_asian_width(character) in "WF")
    return text.translate({ord(character): character + FILLER for character in wide})


Plain = Union[None, bool, int, float, str, List["Plain"], Dict[str, "Plain"]]


def plain(value: object) -> Plain:
    """A value of JSON: what options of losses become in configs and model files."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return cast(Plain, value)
