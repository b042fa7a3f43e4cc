"""What components that can be tuned have in common; and texts and tokens that have one label each,
or any number: textcat, textcat_multilabel, tagger."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example
from spacy.util import minibatch

from dice_core.thresholds.calibrate import Confidence, logit
from dice_core.thresholds.component import Tunable
from dice_core.thresholds.decisions import ScoredLabels
from dice_core.thresholds.decoded import Align, Progress
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels

from ..components.trainable import own
from ..errors import config_error, diverged_error
from . import last_layer

BATCH = 128


class PipeTunable(Tunable):
    """A component that can be tuned. kind: its factory. progress: called after each decoding."""

    has_probabilities = True
    # Whether each label is decided on its own, at the component's threshold.
    is_sigmoid = False
    # The column that stands for "none of them".
    background: Optional[int] = None
    progress: Progress = None

    def __init__(self, pipe: TrainablePipe, kind: str):
        self.pipe, self.kind, self.name = pipe, kind, pipe.name
        self.last = last_layer.find_last_layer(pipe.model, pipe.name)

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
                f"{own(self)} cannot be tuned: its labels are decided on their own, and its model "
                "ends in a softmax, where they compete. Set exclusive_classes = false."
            )

    def check_weights(self) -> None:
        """Raise a ConfigValidationError for weights that are NaN."""
        for node in self.pipe.model.walk():
            for name in node.param_names:
                if node.has_param(name) and bool(node.ops.xp.isnan(node.get_param(name)).any()):
                    raise diverged_error(own(self))

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
    def record(self) -> Dict[str, Any]:
        return last_layer.get_record(self.last, self.pipe)

    def write(self, shift: numpy.ndarray, temperatures: numpy.ndarray, record: Dict) -> None:
        columns = self.to_columns(shift)
        last_layer.write(self.last, self.pipe, columns, temperatures, self.center, record)

    def undo(self) -> None:
        last_layer.undo(self.last, self.pipe)

    def twin(self) -> TrainablePipe:
        """A copy of the component, which can be written into without changing this one."""
        return last_layer.copy_apart(self.pipe, self.last)


def aligner(eg: Example, same_text: bool = True) -> Optional[Align]:
    """From spans of predicted tokens to those of gold tokens; None where all tokens are the same.
    same_text: leave out those that are a part of their gold tokens, as spaCy's scorer of spans
    does; that of ner does not."""
    sides = (eg.alignment.x2y, eg.alignment.y2x)
    if all(bool((side.lengths == 1).all()) for side in sides):
        return None

    def align(start: int, end: int) -> Optional[Tuple[int, int]]:
        if same_text:
            spans = eg.get_aligned_spans_x2y([eg.predicted[start:end]], allow_overlap=True)
            return (spans[0].start, spans[0].end) if spans else None
        tokens = sides[0][start:end]
        return (int(tokens[0]), int(tokens[-1]) + 1) if len(tokens) else None

    return align


def others(names: Sequence[str], *found: Any) -> List[str]:
    """Labels that are not among the names, in order."""
    return sorted({label for labels in found for label in labels} - set(names))


class ExclusiveText(PipeTunable):
    """textcat: the label with the highest score. With positive_label, only that one counts."""

    average = "macro"
    # The score of each label for a doc without words.
    wordless = 0.0

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
                made.append(numpy.full((len(batch), len(self.columns)), self.wordless))
        return numpy.concatenate(made)

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        # As spaCy's scorer: the highest of doc.cats is gold, the first of equal ones; a doc without
        # any has no label that would be right.
        column = {label: c for c, label in enumerate(self.columns)}
        gold = []
        for eg in examples:
            cats = {column[x]: value for x, value in eg.reference.cats.items() if x in column}
            gold.append(max(cats, key=lambda c: cats[c], default=-1))
        scores = self.scores(examples)
        labels = CompetingLabels(self.columns, scores, gold, background=self.background)
        labels.over = "all"
        return labels

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("the predicted label")


class MultiLabelText(ExclusiveText):
    """textcat_multilabel: each label on its own, at the component's threshold."""

    wordless = -numpy.inf
    per_label = True
    is_sigmoid = True

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        values = [[eg.reference.cats.get(x) for x in self.columns] for eg in examples]
        known = numpy.asarray([[v is not None for v in row] for row in values], dtype=bool)
        gold = numpy.asarray([[(v or 0) > 0 for v in row] for row in values], dtype=bool)
        labels = IndependentLabels(self.columns, self.scores(examples), gold, known=known)
        labels.over = "all"
        return labels

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each label of each document", self.center)


class Tags(PipeTunable):
    """tagger and dice_tagger: the label with the highest score, of each token. As for spaCy's
    scorer, what is predicted for white space, or for tokens that are parts of several gold ones,
    does not count; gold tags of tokens that fit no other are missed."""

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        gold = [[token.tag_ for token in eg.reference] for eg in examples]
        more = others(self.columns, *gold, [""])[1:]
        names = [*self.columns, *more]
        column = {label: c for c, label in enumerate(names)}
        scores = [numpy.zeros((0, len(self.columns)))]
        rows: List[Tuple[int, int, int]] = []  # document, place of the gold token, column
        missed: List[Tuple[int, int]] = []
        place = 0
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            docs = [eg.predicted for eg in batch]
            predicted = self.pipe.model.predict(docs) if any(map(len, docs)) else [None] * len(docs)
            for d, (eg, made) in enumerate(zip(batch, predicted), start):
                tokens, at = self._places(eg, gold[d])
                rows += [(d, place + i, column[gold[d][i]]) for i in at.tolist()]
                left = set(range(len(gold[d]))) - set(at.tolist())
                missed += [(d, column[gold[d][i]]) for i in sorted(left) if gold[d][i]]
                place += len(gold[d])
                if made is not None:
                    scores.append(self.pipe.model.ops.to_numpy(made)[tokens])
        Z = self.last.scores(numpy.concatenate(scores))
        Z = numpy.pad(Z, ((0, 0), (0, len(more))), constant_values=-numpy.inf)
        doc, at, ids = numpy.asarray(rows, dtype="int64").reshape(-1, 3).T
        return CompetingLabels(
            *(names, Z, ids, doc, self.background),
            n_docs=len(examples),
            missed=missed,
            n_fixed=len(more),
            place=None if len(numpy.unique(at)) == len(at) else at,
        )

    def _places(self, eg: Example, gold: Sequence[str]) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The predicted tokens that count, and the gold token of each."""
        x2y = eg.alignment.x2y
        ends = numpy.cumsum(x2y.lengths)
        tokens = numpy.asarray(
            [t.i for t in eg.predicted if x2y.lengths[t.i] == 1 and not t.text.isspace()],
            dtype="int64",
        )
        at = numpy.asarray(x2y.data, dtype="int64")[ends[tokens] - 1]
        known = numpy.asarray([bool(gold[i]) for i in at.tolist()], dtype=bool)
        return tokens[known], at[known]

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each token's label")
