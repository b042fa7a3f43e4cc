"""Components that find and classify spans, with one of our losses in place of their own."""

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy
from spacy.pipeline.span_finder import SpanFinder
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example, validate_examples
from thinc.types import Floats2d, Ragged

from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.targets import Targets, from_rows

from ..errors import label_spec
from .trainable import BALANCED, CROSS_ENTROPY, StockLossMixin, own, warn_of_unknown

# How losses call the class of candidates that are no span.
NO_SPAN = "(none)"


class DiceSpanCategorizer(StockLossMixin, SpanCategorizer):
    """spaCy's SpanCategorizer, of spancat and spancat_singlelabel.

    The rows are the suggester's candidates; those without gold label are negatives, and gold
    spans that are no candidates are not seen, as in stock; those of a label that it does not
    have are not learned, with a warning. The negative class of
    spancat_singlelabel is the background, called "(none)", and negative_weight weighs its rows
    in every loss. Several labels for one span share it equally there.
    """

    stock = SpanCategorizer
    factories = ("spancat", "spancat_singlelabel")

    @classmethod
    def recommended(cls, pipe: TrainablePipe) -> Optional[dict[str, str]]:
        if pipe.add_negative_label:
            return None
        return CROSS_ENTROPY if len(pipe.labels) == 1 else {**CROSS_ENTROPY, **BALANCED}

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        if not pipe.add_negative_label:
            return label_spec(own(pipe), tuple(pipe.labels), sequence=False)
        return label_spec(own(pipe), (*pipe.labels, NO_SPAN), (NO_SPAN,), sequence=False)

    def targets(self, examples: Iterable[Example], spans: Ragged, like: Array) -> Targets:
        """The batch's targets, for the candidates ``spans`` (Ragged of starts and ends)."""
        y = numpy.zeros(like.shape, dtype="float32")
        starts_ends = self.model.ops.to_numpy(spans.dataXd)
        ends = numpy.cumsum(self.model.ops.to_numpy(spans.lengths)).tolist()
        label_map, unknown = self._label_map, set()
        for eg, first, last in zip(examples, [0, *ends], ends):
            gold = self._get_aligned_spans(eg)
            if not gold:
                continue
            rows = find_rows(starts_ends[first:last], [(span.start, span.end) for span in gold])
            for span in gold:
                row = rows.get((span.start, span.end))
                if span.label_ not in label_map:
                    unknown.add(span.label_)
                elif row is not None:
                    y[first + row, label_map[span.label_]] = 1.0
        warn_of_unknown(self, "spans of", unknown)
        xp = self.model.ops.xp
        weights: Optional[Array] = None
        if self.add_negative_label:
            n_gold = y.sum(axis=1)
            y /= numpy.maximum(n_gold, 1.0)[:, None]
            y[n_gold == 0, self._negative_label_i] = 1.0
            if self.cfg["negative_weight"] != 1.0:
                by_row = numpy.where(n_gold == 0, self.cfg["negative_weight"], 1.0)
                weights = xp.asarray(by_row.astype("float32"))
        return from_rows(xp.asarray(y), None, self.label_spec(self), weights)

    def get_loss(
        self, examples: Iterable[Example], spans_scores: tuple[Ragged, Any]
    ) -> tuple[float, Any]:
        """Value and gradient of the loss. spans_scores: the candidates, and floats
        ``(candidates, classes)``.
        """
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        spans, scores = spans_scores
        targets = self.targets(examples, spans, scores)
        return self.compute(scores, targets)


def find_rows(
    candidates: numpy.ndarray, wanted: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], int]:
    """The rows of those of ``wanted`` that are candidates.

    Args:
        candidates: Ints ``(N, 2)``, starts and ends of one doc. Of one that is there twice, the
            last counts.
        wanted: Starts and ends.
    """
    shift = int(candidates[:, 1].max(initial=0)) + 1
    keys = candidates[:, 0].astype("int64") * shift + candidates[:, 1]
    keys_wanted = numpy.unique([start * shift + end for start, end in wanted if end < shift])
    if not len(keys_wanted):
        return {}
    near = keys_wanted.take(numpy.searchsorted(keys_wanted, keys), mode="clip")
    rows = numpy.flatnonzero(near == keys)
    return dict(zip(map(tuple, candidates[rows].tolist()), rows.tolist()))


class DiceSpanFinder(StockLossMixin, SpanFinder):
    """spaCy's SpanFinder: whether a span starts, and whether one ends, at each token.

    A boundary that is inside of a token is masked, as in stock.
    """

    stock = SpanFinder
    factories = ("span_finder",)

    @classmethod
    def recommended(cls, pipe: TrainablePipe) -> Optional[dict[str, str]]:
        return CROSS_ENTROPY

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return label_spec(own(pipe), ("start", "end"), sequence=False)

    def update(
        self,
        examples: Iterable[Example],
        *,
        losses: Optional[dict[str, float]] = None,
        **rest: Any,
    ) -> dict[str, float]:
        """Learn from a batch; see SpanFinder.update, which fails if it has no tokens."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        if not any(len(eg.predicted) for eg in examples):
            return losses
        return super().update(examples, losses=losses, **rest)

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> tuple[float, Floats2d]:
        """Value and gradient of the loss. scores: floats ``(tokens, 2)``, start and end."""
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        rows: Any = self._get_aligned_truth_scores(examples, self.model.ops)
        targets = from_rows(rows[0], rows[1], self.label_spec(self))
        return self.compute(scores, targets)
