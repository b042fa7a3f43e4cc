"""Tuning spancat and span_finder."""

from typing import Any, Dict, Iterable, Iterator, List, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example
from spacy.util import minibatch

from dice_core.tuning.calibration import Confidence
from dice_core.tuning.competing import CompetingLabels
from dice_core.tuning.decoded import DecodedLabels, Span, SpanCounts
from dice_core.tuning.independent import IndependentLabels
from dice_core.tuning.scored_labels import LIMIT, ScoredLabels

from ..components.per_span import NO_SPAN
from ..components.trainable import own
from ..errors import config_error
from .pipe_part import BATCH, PipePart


class SpanLabels(PipePart):
    """spancat and spancat_singlelabel: labels of the suggester's candidates. Gold spans that are
    no candidates are missed, whatever the cut. Spans that ``allow_overlap = false`` or
    ``max_positive`` take away again are not looked at."""

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        self.is_sigmoid = self.per_label = self.last.activation != "softmax"
        if pipe.add_negative_label:
            self.background = len(pipe.labels)

    def check(self) -> None:
        super().check()
        threshold = self.pipe.cfg["threshold"]
        if not self.is_sigmoid and threshold is not None:
            raise config_error(
                f"{own(self)} cannot be tuned: its threshold, {threshold}, cuts off what the "
                f'softmax has decided. Set nlp.get_pipe("{self.name}").cfg["threshold"] = None '
                "(or threshold = null in its block) and tune: the cut takes its place."
            )

    @property
    def columns(self) -> List[str]:
        return [*self.pipe.labels, *([NO_SPAN] if self.pipe.add_negative_label else [])]

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        n_columns = len(self.columns)
        scores = [numpy.zeros((0, n_columns))]
        gold, doc = [numpy.zeros((0, n_columns), dtype=bool)], [numpy.zeros(0, "int64")]
        for i, eg, candidates, z in self._candidates(examples):
            of_spans = self._gold(eg)
            y = numpy.zeros(z.shape, dtype=bool)
            for row, span in enumerate(candidates):
                for c in of_spans.pop(span, ()):
                    y[row, c] = True
            near = y.any(axis=1) | self._is_near(z)
            missed = [c for columns in of_spans.values() for c in columns]
            never = numpy.full((len(missed), n_columns), -numpy.inf)
            if self.background is not None and not self.is_sigmoid:
                never[:, self.background] = 0.0
            scores += z[near], never
            gold += y[near], numpy.eye(n_columns, dtype=bool)[missed]
            doc.append(numpy.full(int(near.sum()) + len(missed), i))
        Z, Y, D = numpy.concatenate(scores), numpy.concatenate(gold), numpy.concatenate(doc)
        if self.is_sigmoid:
            return IndependentLabels(self.columns, Z, Y, D)
        ids = numpy.where(Y.any(axis=1), Y.argmax(axis=1), self.background or 0)
        return CompetingLabels(self.columns, Z, ids, D, self.background)

    def _candidates(self, examples: Sequence[Example]) -> Iterator[Any]:
        """Each example, with its place, its candidates ``(start, end)`` and their scores."""
        ops = self.pipe.model.ops
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            with self.last.raw():
                spans, output = self.pipe.predict([eg.predicted for eg in batch])
            scores = self.last.scores(output).reshape(-1, len(self.columns)) - self.center
            starts_ends = ops.to_numpy(spans.dataXd).tolist()
            first = 0
            for i, (eg, n) in enumerate(zip(batch, spans.lengths.tolist()), start):
                of_doc = slice(first, first + n)
                yield i, eg, [tuple(pair) for pair in starts_ends[of_doc]], scores[of_doc]
                first += n

    def _gold(self, eg: Example) -> Dict[Any, List[int]]:
        """The columns of each gold span."""
        column = {label: c for c, label in enumerate(self.labels)}
        spans = eg.reference.spans.get(self.pipe.key, [])
        found: Dict[Any, List[int]] = {}
        for span in eg.get_aligned_spans_y2x(spans, allow_overlap=True):
            if span.label_ in column:
                found.setdefault((span.start, span.end), []).append(column[span.label_])
        return found

    def _is_near(self, z: numpy.ndarray) -> Any:
        """Candidates that a cut could turn into spans: few of them."""
        if self.every_row:
            return True
        if self.is_sigmoid:
            return (z > -LIMIT).any(axis=1)
        return self.background is None or (z[:, :-1] > z[:, -1:] - LIMIT).any(axis=1)

    def confidence(self, labels: Any) -> Confidence:
        if self.is_sigmoid:
            return labels.confidence("each label of each candidate", self.center)
        return labels.confidence("each candidate's label")


class SpanEnds(PipePart):
    """span_finder: tokens that start, and tokens that end, a span; scored by whole spans."""

    is_sigmoid = True

    @property
    def columns(self) -> List[str]:
        return ["start", "end"]

    @property
    def shift_names(self) -> List[str]:
        return ["start", "end", "both"]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        return shift[:2] + shift[2]

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        scores, gold, lost = [], [], []
        for batch in minibatch(examples, BATCH):
            docs = [eg.predicted for eg in batch]
            flat = self.predict(docs) if any(len(doc) for doc in docs) else numpy.zeros((0, 2))
            scores += numpy.split(flat, numpy.cumsum([len(doc) for doc in docs])[:-1])
            for eg in batch:
                spans = eg.reference.spans.get(self.pipe.cfg["spans_key"], [])
                aligned = eg.get_aligned_spans_y2x(spans, allow_overlap=True)
                gold.append({(span.start, span.end, "span") for span in aligned})
                lost.append(len({(s.start, s.end) for s in spans}) - len(gold[-1]))
        self._scores, self._gold = scores, gold
        count = SpanCounts(["span"], gold, [["span"] * n for n in lost])

        def decode(shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
            columns = self.spread(shift)
            counts = count(
                (d, self._spans(scores[d] + columns)) for d in numpy.flatnonzero(docs).tolist()
            )
            return numpy.repeat(counts, 2, axis=1)  # both labels have those of whole spans

        n = sum(map(len, gold))
        return DecodedLabels(self.columns, decode, len(examples), [n, n], self.progress)

    def _spans(self, scores: numpy.ndarray) -> Iterable[Span]:
        """All of an allowed length from a start to an end."""
        starts, ends = (numpy.flatnonzero(scores[:, c] >= 0) for c in (0, 1))
        length = ends[None] + 1 - starts[:, None]
        low, high = self.pipe.cfg["min_length"] or 1, self.pipe.cfg["max_length"]
        ok = (length >= low) & (length <= (high or numpy.inf))
        rows, columns = numpy.nonzero(ok)
        for start, end in zip(starts[rows].tolist(), ends[columns].tolist()):
            yield start, end + 1, "span"

    def confidence(self, labels: Any) -> Confidence:
        is_end = [numpy.zeros(of_doc.shape, dtype=bool) for of_doc in self._scores]
        for of_doc, spans in zip(is_end, self._gold):
            for start, end, _ in spans:
                of_doc[start, 0] = of_doc[end - 1, 1] = True
        none = numpy.zeros((0, 2))
        tokens = numpy.concatenate([none, *self._scores])
        cells = IndependentLabels(self.columns, tokens, numpy.concatenate([none, *is_end]))
        return cells.confidence("whether a span starts, and ends, at each token", self.center)
