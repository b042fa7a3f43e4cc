"""Settings: options of a component that can be changed after training, and are saved with it."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Optional, TypeVar, Union

from spacy.pipeline.trainable_pipe import TrainablePipe

from ..errors import config_error
from .trainable import own

Value = TypeVar("Value")


class Setting(Generic[Value]):
    """An attribute of a component that is kept in its cfg, and checked whenever it is set.

    Args:
        default: Its value where the constructor is given none.
    """

    def __init__(self, default: Value):
        self.default = default

    def __set_name__(self, component: type, name: str) -> None:
        self.name = name

    def __get__(self, pipe: Optional["SettingsMixin"], component: type) -> Value:
        if pipe is None:
            return self  # type: ignore[return-value]
        return pipe.cfg[self.name]

    def __set__(self, pipe: "SettingsMixin", value: Value) -> None:
        before = pipe.cfg[self.name]
        pipe.cfg[self.name] = value
        try:
            pipe.check_settings()
        except ValueError:
            pipe.cfg[self.name] = before
            raise


class SettingsMixin:
    """Mixed in before a `TrainablePipe` whose settings are `Setting`s.

    They can be read and set as attributes, and are saved in the cfg. A value that the config gives
    while a pipeline is loaded, and that is not the one it had when the component was made, replaces
    the saved one: `spacy.load("model", config={"components": {"dice_ner":
    {"threshold": 0.4}}})`.
    """

    cfg: dict[str, Any]

    def check_settings(self) -> None:
        """Raise a ConfigValidationError for settings that do not fit."""
        raise NotImplementedError

    def init_settings(self, values: dict[str, object]) -> None:
        """Set all settings, once, in the constructor.

        Args:
            values: Their values, by name; the others have their defaults.

        Raises:
            ConfigValidationError: For values that do not fit.
            TypeError: For a name that is no setting's.
        """
        known = {k: v.default for k, v in vars(type(self)).items() if isinstance(v, Setting)}
        if not values.keys() <= known.keys():
            raise TypeError(f"{sorted(values.keys() - known.keys())}: not among {sorted(known)}.")
        # The copy is what a config that is given on loading is compared with.
        self.cfg.update({**known, **values}, made_with=copy.deepcopy({**known, **values}))
        self.check_settings()

    def from_disk(self, path: Union[str, Path], *, exclude: Sequence[str] = ()) -> "SettingsMixin":
        """Load what was saved, but for settings that the config changes."""
        given = self.cfg["made_with"]
        super().from_disk(path, exclude=exclude)  # type: ignore[misc]
        return self._override(given)

    def from_bytes(self, bytes_data: bytes, *, exclude: Sequence[str] = ()) -> "SettingsMixin":
        """Load what was saved, but for settings that the config changes."""
        given = self.cfg["made_with"]
        super().from_bytes(bytes_data, exclude=exclude)  # type: ignore[misc]
        return self._override(given)

    def _override(self, given: dict[str, object]) -> "SettingsMixin":
        saved = self.cfg["made_with"]
        self.cfg.update({key: value for key, value in given.items() if value != saved[key]})
        self.cfg["made_with"] = given
        self.check_settings()
        return self


def check_probability(pipe: TrainablePipe, option: str, value: object) -> None:
    """Check that the value of an option is a number from 0 to 1.

    Args:
        pipe: The component.
        option: How messages call the option.
        value: Its value.

    Raises:
        ConfigValidationError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise config_error(f"{own(pipe)}: {option} must be from 0 to 1, got {value!r}.")
