"""spancat, spancat_singlelabel and span_finder. As for spaCy's scorer, documents without the spans
key are not annotated; gold spans that fit no candidate are missed, and what is predicted for tokens
that fit no gold ones does not count."""

from typing import Any, Iterable, Iterator, List, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example
from spacy.util import minibatch

from dice_core.thresholds.calibrate import Confidence, sigmoid, softmax
from dice_core.thresholds.component import ALL
from dice_core.thresholds.decisions import LIMIT, ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels

from ..components.per_span import NO_SPAN
from ..components.trainable import own
from ..errors import config_error
from .labels import BATCH, PipeTunable, aligner, others


def annotated(examples: Sequence[Example], key: str) -> List[Example]:
    """Examples whose gold doc has the spans key."""
    return [eg for eg in examples if key in eg.reference.spans]


def gold_spans(eg: Example, key: str) -> List[Span]:
    """The spans of the gold doc."""
    return [(span.start, span.end, span.label_) for span in eg.reference.spans[key]]


class SpanLabels(PipeTunable):
    """spancat and spancat_singlelabel: labels of the suggester's candidates. Where
    ``allow_overlap = false`` or ``max_positive`` take predicted spans away again, spans are made as
    the component makes them, for each shift."""

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
                f"{own(self)} cannot be tuned: its threshold, {threshold}, takes away some of what "
                f'the softmax has decided. Set nlp.get_pipe("{self.name}").cfg["threshold"] = None '
                "(or threshold = null in its block) and tune: the shift takes its place."
            )

    @property
    def columns(self) -> List[str]:
        return [*self.pipe.labels, *([NO_SPAN] if self.pipe.add_negative_label else [])]

    @property
    def is_restricted(self) -> bool:
        """Whether spans that are predicted may be taken away again."""
        cfg = self.pipe.cfg
        return not cfg["allow_overlap"] or bool(self.is_sigmoid and cfg["max_positive"])

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, ALL] if self.is_restricted else self.columns

    def to_columns(self, shift: numpy.ndarray) -> numpy.ndarray:
        if not self.is_restricted:
            return shift
        n = len(self.labels)
        if self.background is None or self.is_sigmoid:
            return numpy.append(shift[:n] + shift[-1], [0.0] * (len(self.columns) - n))
        return numpy.append(shift[:n], -shift[-1])

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        examples, n = annotated(examples, self.pipe.key), len(self.columns)
        gold = [gold_spans(eg, self.pipe.key) for eg in examples]
        more = others(self.labels, *([label for *_, label in spans] for spans in gold))
        if self.is_restricted and not self.every_row:
            return self._decoded(examples, gold, more)
        column = {label: c for c, label in enumerate([*self.columns, *more])}
        scores, doc = [numpy.zeros((0, n))], [numpy.zeros(0, "int64")]
        is_gold, missed, n_rows = [numpy.zeros((0, n), dtype=bool)], [], 0
        for d, eg, candidates, z in self._candidates(examples):
            left, y = set(gold[d]), numpy.zeros(z.shape, dtype=bool)
            by_place: dict = {}
            for start, end, label in left:
                by_place.setdefault((start, end), []).append(label)
            align = aligner(eg)
            places = candidates if align is None else [align(*pair) for pair in candidates]
            counts = numpy.ones(len(z), dtype=bool)
            seen = set()
            for row, place in enumerate(places):
                if align is not None:
                    counts[row] = place is not None and place not in seen
                    seen.add(place)
                if counts[row]:
                    for label in by_place.get(place, ()):
                        if column[label] < n:
                            y[row, column[label]] = True
                            left.discard((*place, label))
            near = counts & (y.any(axis=1) | self._is_near(z))
            missed += [(d, column[label]) for *_, label in sorted(left)]
            n_rows += int(counts.sum())
            scores.append(z[near])
            is_gold.append(y[near])
            doc.append(numpy.full(int(near.sum()), d))
        Z, Y, D = numpy.concatenate(scores), numpy.concatenate(is_gold), numpy.concatenate(doc)
        Z = numpy.pad(Z, ((0, 0), (0, len(more))), constant_values=-numpy.inf)
        Y = numpy.pad(Y, ((0, 0), (0, len(more))))
        options: Any = {"n_docs": len(examples), "missed": missed, "n_fixed": len(more)}
        if self.is_sigmoid:
            known = numpy.arange(Z.shape[1]) != (-1 if self.background is None else self.background)
            known = numpy.broadcast_to(known, Z.shape)
            labels = IndependentLabels(list(column), Z, Y, D, known, n_rows=n_rows, **options)
            labels.background = self.background
            return labels
        if self.background is not None:
            Y[~Y.any(axis=1), self.background] = True
        return CompetingLabels(list(column), Z, Y, D, self.background, **options)

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
            for d, (eg, n) in enumerate(zip(batch, spans.lengths.tolist()), start):
                rows = slice(first, first + n)
                yield d, eg, [tuple(pair) for pair in starts_ends[rows]], scores[rows]
                first += n

    def _decoded(
        self, examples: Sequence[Example], gold: Sequence[List[Span]], more: Sequence[str]
    ) -> ScoredLabels:
        names, pipe = [*self.labels, *more], self.pipe
        count = SpanCounts(names, gold, align=[aligner(eg) for eg in examples], once=True)
        read = list(self._candidates(examples))
        check_scores(*(z for *_, z in read))

        def spans(d: int, shift: numpy.ndarray) -> Iterator[Span]:
            _, eg, candidates, z = read[d]
            if not len(z):
                return
            z = z + shift + self.center
            p = softmax(z)
            if self.is_sigmoid:
                p = z if self.last.activation == "none" else sigmoid(z)
            places = numpy.asarray(candidates)
            if pipe.cfg["max_positive"] == 1:
                overlap = pipe.cfg["allow_overlap"]
                group = pipe._make_span_group_singlelabel(eg.predicted, places, p, overlap)
            else:
                group = pipe._make_span_group_multilabel(eg.predicted, places, p)
            yield from ((span.start, span.end, span.label_) for span in group)

        def decode(shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
            columns = self.to_columns(shift)
            return count((d, spans(d, columns)) for d in numpy.flatnonzero(docs).tolist())

        return DecodedLabels(
            *(names, decode, len(examples), count.n_examples, self.progress), n_fixed=len(more)
        )

    def _is_near(self, z: numpy.ndarray) -> Any:
        """Candidates that a threshold could turn into spans: few of them."""
        if self.every_row:
            return True
        if self.is_sigmoid:
            return (z > -LIMIT).any(axis=1) | numpy.isnan(z).any(axis=1)
        if self.background is None:
            return True
        return ~(z[:, :-1] <= z[:, -1:] - LIMIT).all(axis=1)

    def confidence(self, labels: Any) -> Confidence:
        if self.is_sigmoid:
            return labels.confidence("each label of each candidate", self.center)
        return labels.confidence("each candidate's label")


class SpanEnds(PipeTunable):
    """span_finder: tokens that start, and tokens that end, a span; scored by whole spans."""

    is_sigmoid = True

    @property
    def columns(self) -> List[str]:
        return ["start", "end"]

    @property
    def shift_names(self) -> List[str]:
        return ["start", "end", ALL]

    def to_columns(self, shift: numpy.ndarray) -> numpy.ndarray:
        return shift[:2] + shift[2]

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        key, scores = self.pipe.cfg["spans_key"], []
        self._examples = examples = annotated(examples, key)
        for batch in minibatch(examples, BATCH):
            docs = [eg.predicted for eg in batch]
            flat = self.predict(docs) if any(len(doc) for doc in docs) else numpy.zeros((0, 2))
            check_scores(flat)
            scores += numpy.split(flat, numpy.cumsum([len(doc) for doc in docs])[:-1])
        self._scores = scores
        gold = [{(start, end, "span") for start, end, _ in gold_spans(eg, key)} for eg in examples]
        count = SpanCounts(["span"], gold, align=[aligner(eg) for eg in examples], once=True)

        def decode(shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
            columns = self.to_columns(shift)
            counts = count(
                (d, self._spans(scores[d] + columns)) for d in numpy.flatnonzero(docs).tolist()
            )
            return numpy.repeat(counts, 2, axis=1)  # both labels have those of whole spans

        n = numpy.repeat(count.n_examples, 2)
        return DecodedLabels(self.columns, decode, len(examples), n, self.progress)

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
        is_end = [numpy.zeros(scores.shape, dtype=bool) for scores in self._scores]
        for ends, eg in zip(is_end, self._examples):
            spans = eg.reference.spans[self.pipe.cfg["spans_key"]]
            for span in eg.get_aligned_spans_y2x(spans, allow_overlap=True):
                ends[span.start, 0] = ends[span.end - 1, 1] = True
        none = numpy.zeros((0, 2))
        tokens = numpy.concatenate([none, *self._scores])
        cells = IndependentLabels(self.columns, tokens, numpy.concatenate([none, *is_end]))
        return cells.confidence("whether a span starts, and ends, at each token", self.center)
