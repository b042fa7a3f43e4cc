"""Tuning textcat and textcat_multilabel."""

from typing import Any, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example
from spacy.util import minibatch

from dice_core.tuning.calibration import Confidence
from dice_core.tuning.competing import CompetingLabels
from dice_core.tuning.independent import IndependentLabels
from dice_core.tuning.scored_labels import ScoredLabels

from .pipe_part import BATCH, PipePart


class ExclusiveText(PipePart):
    """textcat: the label with the highest score. With positive_label, only that one counts."""

    average = "macro"
    # The score of each label for a doc without words.
    of_no_words = 0.0

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        positive, columns = pipe.cfg.get("positive_label"), self.columns
        if positive in columns and len(columns) == 2 and not self.is_sigmoid:
            self.background = 1 - columns.index(positive)

    def scores(self, examples: Sequence[Example]) -> numpy.ndarray:
        """``(docs, C)``."""
        made = [numpy.zeros((0, len(self.columns)))]
        for batch in minibatch([eg.predicted for eg in examples], BATCH):
            if any(len(doc) for doc in batch):
                made.append(self.predict(batch))
            else:
                made.append(numpy.full((len(batch), len(self.columns)), self.of_no_words))
        return numpy.concatenate(made)

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        columns, rows, gold = self.columns, [], []
        for row, eg in enumerate(examples):
            of = [eg.reference.cats.get(label, 0.0) for label in columns]
            if max(of, default=0.0) > 0:
                rows.append(row)
                gold.append(int(numpy.argmax(of)))
        scores = self.scores(examples)[rows]
        return CompetingLabels(columns, scores, gold, background=self.background)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("the predicted label")


class MultiLabelText(ExclusiveText):
    """textcat_multilabel: each label by itself, at the component's threshold."""

    of_no_words = -numpy.inf
    per_label = True
    is_sigmoid = True

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        values = [[eg.reference.cats.get(x) for x in self.columns] for eg in examples]
        known = numpy.asarray([[v is not None for v in row] for row in values], dtype=bool)
        gold = numpy.asarray([[(v or 0) > 0 for v in row] for row in values], dtype=bool)
        scores = self.scores(examples)
        return IndependentLabels(self.columns, scores, gold, known=known.reshape(scores.shape))

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each label of each document", self.center)
