"""What components that can be tuned have in common; and texts and tokens that have one label each,
or any number: textcat, textcat_multilabel, tagger."""

from collections.abc import Callable, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from dice_core.thresholds.calibrate import logit
from dice_core.thresholds.component import Record, Tunable
from dice_core.thresholds.decisions import ScoredLabels
from dice_core.thresholds.decoded import Align, Progress
from dice_core.thresholds.objectives import Array
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels, read_gold

from ..components.trainable import own
from ..errors import config_error, diverged_error
from .last_layer import KEY, copy_apart, find_last_layer

BATCH = 128


class PipeTunable(Tunable[Example]):
    """A component that can be tuned. kind: its factory. progress: called after each decoding."""

    # Whether each label is decided on its own, at the component's threshold.
    is_sigmoid = False
    # The column that stands for "none of them".
    background: int | None = None
    progress: Progress = None

    def __init__(self, pipe: TrainablePipe, kind: str):
        self.pipe, self.kind, self.name = pipe, kind, pipe.name
        self.last = self.layer = find_last_layer(pipe.model, pipe.name)

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
    def center(self) -> float:  # type: ignore[override]
        """The score from which on a label is predicted; 0 where labels compete."""
        if not self.is_sigmoid:
            return 0.0
        threshold = float(self.pipe.cfg["threshold"])
        return threshold if self.last.activation == "none" else float(logit(threshold))

    @property
    def odds(self) -> float | None:
        return None if self.last.activation == "none" else self.center

    @property
    def columns(self) -> list[str]:
        return [str(label) for label in self.pipe.labels]

    @property
    def labels(self) -> list[str]:
        return [name for c, name in enumerate(self.columns) if c != self.background]

    def predict(self, docs: list[Doc]) -> Array:
        """Scores beyond the threshold."""
        with self.last.raw():
            return self.last.scores(self.pipe.model.predict(docs)) - self.center

    def load(self) -> Record:
        return self.pipe.cfg.get(KEY) or Record()

    def save(self, record: Record | None) -> None:
        self.pipe.cfg[KEY] = record
        if record is None:
            del self.pipe.cfg[KEY]

    def twin(self) -> TrainablePipe:
        """A copy of the component, which can be written into without changing this one."""
        return copy_apart(self.pipe, self.last.path)


def batch_scores(docs: Sequence[Doc], n: int, predict: Callable[[list[Doc]], Array]) -> Array:
    """``(rows, n)``: what is predicted of each batch that has tokens."""
    batches = [batch for batch in minibatch(docs, BATCH) if any(len(doc) for doc in batch)]
    return numpy.concatenate([numpy.zeros((0, n)), *map(predict, batches)])


def aligner(eg: Example, same_text: bool = True) -> Align | None:
    """From spans of predicted tokens to those of gold tokens; None where all tokens are the same.
    same_text: leave out those that are a part of their gold tokens, as spaCy's scorer of spans
    does; that of ner does not."""
    sides = (eg.alignment.x2y, eg.alignment.y2x)
    if all(bool((side.lengths == 1).all()) for side in sides):
        return None

    def align(start: int, end: int) -> tuple[int, int] | None:
        if same_text:
            spans = eg.get_aligned_spans_x2y([eg.predicted[start:end]], allow_overlap=True)
            return (spans[0].start, spans[0].end) if spans else None
        tokens = sides[0][start:end]
        return (int(tokens[0]), int(tokens[-1]) + 1) if len(tokens) else None

    return align


class ExclusiveText(PipeTunable):
    """textcat: the label with the highest score. With positive_label, only that one counts."""

    average = "macro"
    what = "the predicted label"
    # The score of each label for a doc without words, where all docs of a batch are so.
    wordless = 0.0

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        positive, columns = pipe.cfg.get("positive_label"), self.columns
        if positive in columns and len(columns) == 2 and not self.is_sigmoid:
            self.background = 1 - columns.index(positive)

    def scores(self, examples: Sequence[Example]) -> Array:
        """``(docs, C)``, beyond the threshold."""
        made = [numpy.zeros((0, len(self.columns)))]
        for batch in minibatch([eg.predicted for eg in examples], BATCH):
            scores = numpy.full((len(batch), len(self.columns)), self.wordless)
            if any(len(doc) for doc in batch):
                scores = self.predict(batch)
            made.append(scores)
        return numpy.concatenate(made)

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        # As spaCy's scorer: the highest of doc.cats is gold, the first of equal ones; a doc without
        # any has no label that would be right.
        columns, gold = self.columns, []
        for eg in data:
            cats = {x: value for x, value in eg.reference.cats.items() if x in columns}
            gold.append(columns.index(max(cats, key=lambda x: cats[x])) if cats else -1)
        labels = CompetingLabels(columns, self.scores(data), gold, background=self.background)
        labels.over = "all"
        return labels


class MultiLabelText(ExclusiveText):
    """textcat_multilabel: each label on its own, at the component's threshold."""

    what = "each label of each document"
    wordless = -numpy.inf
    is_sigmoid = True

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        values = [[eg.reference.cats.get(x) for x in self.columns] for eg in data]
        known = [[v is not None for v in row] for row in values]
        gold = [[(v or 0) > 0 for v in row] for row in values]
        labels = IndependentLabels(self.columns, self.scores(data), gold, known=known)
        labels.over = "all"
        return labels


class Tags(PipeTunable):
    """tagger and dice_tagger: the label with the highest score, of each token. As for spaCy's
    scorer, what is predicted for white space, or for tokens that are parts of several gold ones,
    does not count; gold tags of tokens that fit no other are missed."""

    what = "each token's label"

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        scores = [numpy.zeros((0, len(self.columns)))]
        rows: list[tuple[int, int, str]] = []  # document, place of the gold token, its tag
        missed: list[tuple[int, str]] = []
        place = 0
        for start in range(0, len(data), BATCH):
            docs = [eg.predicted for eg in data[start : start + BATCH]]
            predicted = self.pipe.model.predict(docs) if any(map(len, docs)) else [None] * len(docs)
            for d, made in enumerate(predicted, start):
                x2y, gold = data[d].alignment.x2y, [token.tag_ for token in data[d].reference]
                fits = [(t.i, x2y[t.i]) for t in data[d].predicted if not t.text.isspace()]
                pairs = [(i, int(at[0])) for i, at in fits if len(at) == 1 and gold[int(at[0])]]
                rows += [(d, place + at, gold[at]) for _, at in pairs]
                left = set(range(len(gold))) - {at for _, at in pairs}
                missed += [(d, gold[at]) for at in left if gold[at]]
                place += len(gold)
                if made is not None:
                    scores.append(self.pipe.model.ops.to_numpy(made)[[i for i, _ in pairs]])
        names, is_gold, missing = read_gold(self.columns, [[tag] for *_, tag in rows], missed)
        places = [at for _, at, _ in rows]
        return CompetingLabels(
            *(names, self.last.scores(numpy.concatenate(scores)), is_gold),
            *([d for d, *_ in rows], self.background),
            n_docs=len(data),
            missed=missing,
            place=places if len(set(places)) < len(places) else None,
        )
