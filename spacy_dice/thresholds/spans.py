"""spancat, spancat_singlelabel and span_finder. As for spaCy's scorer, documents without the spans
key are not annotated; gold spans that fit no candidate are missed, and what is predicted for tokens
that fit no gold ones does not count."""

from collections.abc import Iterator, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from dice_core.thresholds.calibrate import Confidence, sigmoid, softmax
from dice_core.thresholds.component import ALL
from dice_core.thresholds.decisions import LIMIT, ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts, span_labels
from dice_core.thresholds.objectives import Array
from dice_core.thresholds.rows import CompetingLabels, IndependentLabels, read_gold

from ..components.per_span import NO_SPAN
from ..components.trainable import own
from ..errors import config_error
from .labels import BATCH, PipeTunable, aligner, batch_scores

Found = Iterator[tuple[int, int, int, str]]


def gold_spans(eg: Example, key: str) -> list[Span]:
    """The spans of the gold doc."""
    return [(span.start, span.end, span.label_) for span in eg.reference.spans[key]]


class SpanLabels(PipeTunable):
    """spancat and spancat_singlelabel: labels of the suggester's candidates. Where
    ``allow_overlap = false`` or ``max_positive`` take predicted spans away again, spans are made as
    the component makes them, for each shift."""

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        self.is_sigmoid = self.last.activation != "softmax"
        self.what = "each label of each candidate" if self.is_sigmoid else "each candidate's label"
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
    def columns(self) -> list[str]:
        return [*self.pipe.labels, *([NO_SPAN] if self.pipe.add_negative_label else [])]

    @property
    def is_restricted(self) -> bool:
        """Whether spans that are predicted may be taken away again."""
        cfg = self.pipe.cfg
        return not cfg["allow_overlap"] or bool(self.is_sigmoid and cfg["max_positive"])

    @property
    def shift_names(self) -> list[str]:
        return [*self.labels, ALL] if self.is_restricted else self.columns

    def to_columns(self, shift: Array) -> Array:
        if not self.is_restricted:
            return shift
        n = len(self.labels)
        if self.background is None or self.is_sigmoid:
            return numpy.append(shift[:n] + shift[-1], [0.0] * (len(self.columns) - n))
        return numpy.append(shift[:n], -shift[-1])

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        examples = [eg for eg in data if self.pipe.key in eg.reference.spans]
        if self.is_restricted and not every_row:
            return self._decoded(examples)
        scores, doc, n_left_out = [numpy.zeros((0, len(self.columns)))], [], 0
        gold: list[list[str]] = []
        missed: list[tuple[int, str]] = []
        for d, (eg, candidates, z) in enumerate(self._candidates(examples)):
            left, align = set(gold_spans(eg, self.pipe.key)), aligner(eg)
            places = candidates if align is None else [align(*pair) for pair in candidates]
            by_place: dict[tuple[int, int] | None, list[str]] = {}
            for start, end, label in left:
                if label in self.labels:
                    by_place.setdefault((start, end), []).append(label)
            rows, seen = [], set()
            for row, place in enumerate(places):
                if align is None or (place is not None and place not in seen):
                    rows.append(row)
                seen.add(place)
            labels = [by_place.get(places[row], []) for row in rows]
            left -= {
                (*place, label) for place in seen if place for label in by_place.get(place, [])
            }
            missed += [(d, label) for *_, label in left]
            near = numpy.asarray([bool(of) for of in labels], dtype=bool) | every_row
            near |= self._is_near(z[rows])
            n_left_out += int((~near).sum())
            scores.append(z[rows][near])
            gold += [of for of, is_near in zip(labels, near) if is_near]
            doc += [d] * int(near.sum())
        names, is_gold, missing = read_gold(self.columns, gold, missed)
        rows_of = (names, numpy.concatenate(scores))
        n_docs = len(examples)
        if self.is_sigmoid:
            return IndependentLabels(
                *(*rows_of, is_gold, doc, None, self.background),
                n_docs=n_docs,
                missed=missing,
                n_left_out=n_left_out,
            )
        if self.background is not None:
            is_gold[~is_gold.any(axis=1), self.background] = True
        background = self.background
        return CompetingLabels(*rows_of, is_gold, doc, background, n_docs=n_docs, missed=missing)

    def _candidates(
        self, examples: Sequence[Example]
    ) -> Iterator[tuple[Example, list[tuple[int, int]], Array]]:
        """Each example, with its candidates and their scores."""
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            with self.last.raw():
                spans, output = self.pipe.predict([eg.predicted for eg in batch])
            scores = self.last.scores(output).reshape(-1, len(self.columns)) - self.center
            pairs = [tuple(pair) for pair in self.pipe.model.ops.to_numpy(spans.dataXd).tolist()]
            first = 0
            for eg, n in zip(batch, spans.lengths.tolist()):
                yield eg, pairs[first : first + n], scores[first : first + n]
                first += n

    def _decoded(self, examples: Sequence[Example]) -> DecodedLabels:
        gold = [gold_spans(eg, self.pipe.key) for eg in examples]
        count = SpanCounts(self.labels, gold, align=[aligner(eg) for eg in examples], once=True)
        read = list(self._candidates(examples))
        check_scores(*(z for *_, z in read))

        def find(shift: Array, docs: list[int]) -> Found:
            columns = self.to_columns(shift)
            for d in docs:
                eg, candidates, z = read[d]
                if not len(z):
                    continue
                p, places = z + columns + self.center, numpy.asarray(candidates)
                if not self.is_sigmoid:
                    p = softmax(p)
                elif self.last.activation != "none":
                    p = sigmoid(p)
                if self.pipe.cfg["max_positive"] == 1:
                    overlap = self.pipe.cfg["allow_overlap"]
                    group = self.pipe._make_span_group_singlelabel(eg.predicted, places, p, overlap)
                else:
                    group = self.pipe._make_span_group_multilabel(eg.predicted, places, p)
                yield from ((d, span.start, span.end, span.label_) for span in group)

        return span_labels(count, find, progress=self.progress)

    def _is_near(self, z: Array) -> Array:
        """Candidates that a threshold could turn into spans: few of them."""
        if self.is_sigmoid:
            return numpy.asarray((z > -LIMIT).any(axis=1) | numpy.isnan(z).any(axis=1))
        if self.background is None:
            return numpy.ones(len(z), dtype=bool)
        return numpy.asarray(~(z[:, :-1] <= z[:, -1:] - LIMIT).all(axis=1))


class SpanEnds(PipeTunable):
    """span_finder: tokens that start, and tokens that end, a span; scored by whole spans."""

    is_sigmoid = True
    what = "whether a span starts, and ends, at each token"

    @property
    def columns(self) -> list[str]:
        return ["start", "end"]

    @property
    def shift_names(self) -> list[str]:
        return ["start", "end", ALL]

    def to_columns(self, shift: Array) -> Array:
        return numpy.asarray(shift[:2] + shift[2])

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        key, cfg = self.pipe.cfg["spans_key"], self.pipe.cfg
        examples = [eg for eg in data if key in eg.reference.spans]
        docs = [eg.predicted for eg in examples]
        flat = batch_scores(docs, 2, self.predict)
        check_scores(flat)
        scores = numpy.split(flat, numpy.cumsum([len(doc) for doc in docs])[:-1])
        gold = [[(start, end, "span") for start, end, _ in gold_spans(eg, key)] for eg in examples]
        count = SpanCounts(["span"], gold, align=[aligner(eg) for eg in examples], once=True)
        low, high = cfg["min_length"] or 1, cfg["max_length"] or numpy.inf

        def find(columns: Array, at: list[int]) -> Found:
            for d in at:  # all of an allowed length from a start to an end
                starts, ends = (numpy.flatnonzero(of >= 0) for of in (scores[d] + columns).T)
                length = ends[None] + 1 - starts[:, None]
                rows, places = numpy.nonzero((length >= low) & (length <= high))
                for start, end in zip(starts[rows].tolist(), ends[places].tolist()):
                    yield d, start, end + 1, "span"

        def decode(shift: Array, mask: Array) -> Array:
            counts = count(find(self.to_columns(shift), numpy.flatnonzero(mask).tolist()))
            return numpy.repeat(counts, 2, axis=1)  # both labels have those of whole spans

        def confidence() -> Confidence:
            is_end = [numpy.zeros(of.shape, dtype=bool) for of in scores]
            for ends, eg in zip(is_end, examples):
                spans = eg.reference.spans[key]
                for span in eg.get_aligned_spans_y2x(spans, allow_overlap=True):
                    ends[span.start, 0] = ends[span.end - 1, 1] = True
            gold = numpy.concatenate([numpy.zeros((0, 2)), *is_end])
            return IndependentLabels(self.columns, flat, gold).confidence(self.center)

        n_examples = numpy.repeat(count.n_examples, 2)
        options = (len(examples), n_examples, self.progress, confidence)
        return DecodedLabels(self.columns, decode, *options)
