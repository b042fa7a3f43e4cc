"""Tuning dice_qa: what start x end of an answer to each fixed question must be."""

import copy
from typing import Any, Dict, List, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from dice_core.tuning.calibration import logit, sigmoid
from dice_core.tuning.decoded import DecodedLabels, Span, SpanCounts
from dice_core.tuning.part import ALL, DIGITS
from dice_core.tuning.scored_labels import ScoredLabels

from ..components.trainable import own
from ..errors import config_error
from ..reading import answers
from . import fold
from .pipe_part import PipePart

# Less is never asked for: any two pieces have some start x end.
LEAST = 0.005


class Answers(PipePart):
    """dice_qa with a sigmoid: thresholds of its fixed questions, in its cfg. A shift is of the
    log-odds of start x end."""

    has_probabilities = False

    def __init__(self, pipe: TrainablePipe, kind: str):
        self.pipe, self.kind, self.name = pipe, kind, pipe.name

    def check(self) -> None:
        cfg = self.pipe.cfg
        if cfg["activation"] != "sigmoid" or not cfg["questions"]:
            raise config_error(
                f"{own(self)} cannot be tuned: that is for fixed questions with activation = "
                '"sigmoid", which have any number of answers. For a softmax with no_answer, '
                "`spacy find-threshold` finds its threshold."
            )

    @property
    def columns(self) -> List[str]:
        return list(self.pipe.labels)

    @property
    def shift_names(self) -> List[str]:
        return [*self.columns, ALL]

    def thresholds(self, shift: numpy.ndarray) -> Dict[str, float]:
        """With a shift, by label."""
        before = numpy.asarray([self.pipe.threshold_of(label) for label in self.columns])
        values = sigmoid(logit(before) - shift[:-1] - shift[-1])
        return dict(zip(self.columns, numpy.maximum(values, LEAST).tolist()))

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        pipe = self.pipe
        asked = [one for one in pipe.gold(examples) if not one.id and one.gold is not None]
        place = {d: i for i, d in enumerate(sorted({one.doc for one in asked}))}
        gold: List[List[Span]] = [[] for _ in place]
        of_docs: List[List[Any]] = [[] for _ in place]
        length = pipe.cfg["max_answer_length"]
        for one, windows, scores in pipe.read(asked):
            gold[place[one.doc]] += [(*extent, one.label) for extent in one.gold]
            of_docs[place[one.doc]].append(
                (one, answers.candidates(windows, scores, length, LEAST))
            )
        count = SpanCounts(self.columns, gold)

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            least = self.thresholds(shift)
            return count(
                (
                    d,
                    [
                        (answer.start, answer.end, one.label)
                        for one, found in of_docs[d]
                        for answer in pipe.stripped(one, answers.several(found, least[one.label]))
                    ],
                )
                for d in numpy.flatnonzero(mask).tolist()
            )

        return DecodedLabels(self.columns, decode, len(gold), count.n_examples, self.progress)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        cfg = self.pipe.cfg
        values = self.thresholds(shift)
        cfg[fold.KEY] = {**state, "thresholds": cfg["thresholds"]}
        cfg["thresholds"] = {label: round(value, DIGITS) for label, value in values.items()}

    def clear(self) -> None:
        state = self.pipe.cfg.pop(fold.KEY, None)
        if state:
            self.pipe.cfg["thresholds"] = state["thresholds"]

    def twin(self) -> Any:
        twin = copy.copy(self.pipe)
        twin.cfg = copy.deepcopy(self.pipe.cfg)
        return twin
