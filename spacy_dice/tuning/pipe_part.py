"""What all components that can be tuned have in common: scores, state, folding."""

from typing import Any, Dict, List, Optional

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe

from dice_core.tuning.calibration import logit
from dice_core.tuning.decoded import Progress
from dice_core.tuning.part import Part

from ..components.trainable import own
from ..errors import config_error
from . import fold

BATCH = 128


class PipePart(Part):
    """A component that can be tuned. kind: its factory. by_default: whether components=None takes
    it in. progress: told how many decodings are done."""

    by_default = True
    has_probabilities = True
    # Whether each label is decided by itself, at the component's threshold.
    is_sigmoid = False
    # The column that stands for "none of them".
    background: Optional[int] = None
    progress: Progress = None

    def __init__(self, pipe: TrainablePipe, kind: str):
        self.pipe, self.kind, self.name = pipe, kind, pipe.name
        self.last = fold.find_last_layer(pipe.model, pipe.name)

    def check(self) -> None:
        """Raise a ConfigValidationError for settings that no shift can serve."""
        threshold = self.pipe.cfg.get("threshold")
        if self.is_sigmoid and not (threshold is not None and 0 < threshold < 1):
            raise config_error(
                f"{own(self)} cannot be tuned: its threshold is {threshold}, which no shift of "
                "scores can reach. Set one between 0 and 1, such as 0.5."
            )
        if self.is_sigmoid and self.last.activation == "softmax":
            raise config_error(
                f"{own(self)} cannot be tuned: its labels are decided by themselves, and its model "
                "ends in a softmax, where they compete. Set exclusive_classes = false."
            )

    @property
    def center(self) -> float:
        """The score from which on a label is predicted; 0 where labels compete."""
        if not self.is_sigmoid:
            return 0.0
        threshold = float(self.pipe.cfg["threshold"])
        return threshold if self.last.activation == "none" else float(logit(threshold))

    @property
    def odds(self) -> Optional[float]:
        return None if self.last.activation == "none" else self.center

    @property
    def columns(self) -> List[str]:
        return [str(label) for label in self.pipe.labels]

    @property
    def labels(self) -> List[str]:
        return [name for c, name in enumerate(self.columns) if c != self.background]

    def predict(self, X: Any) -> numpy.ndarray:
        """Scores beyond the threshold."""
        with self.last.raw():
            return self.last.scores(self.pipe.model.predict(X)) - self.center

    @property
    def state(self) -> Dict[str, Any]:
        return fold.get_state(self.pipe)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        fold.fold(self.last, self.pipe, self.spread(shift), temperatures, self.center, state)

    def clear(self) -> None:
        fold.unfold(self.last, self.pipe)

    def twin(self) -> Any:
        """A copy of the component, which can be folded without changing this one."""
        return fold.copy_apart(self.pipe, self.last)
