"""spancat, spancat_singlelabel and span_finder. As for spaCy's scorer, documents without the spans
key are not annotated; gold spans that fit no candidate are missed, and what is predicted for tokens
that fit no gold ones does not count."""

import json
from collections.abc import Iterator, Sequence

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from dice_core.thresholds.calibrate import Confidence
from dice_core.thresholds.component import ALL
from dice_core.thresholds.decisions import LIMIT, ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts
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
    """spancat and spancat_singlelabel: labels of the suggester's candidates."""

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        self.is_sigmoid = self.last.activation != "softmax"
        self.what = "each label of each candidate" if self.is_sigmoid else "each candidate's label"
        if pipe.add_negative_label:
            self.background = len(pipe.labels)

    def check(self) -> None:
        super().check()
        # What takes away some of what the scores have decided, and its value that does not.
        restrictions: dict[str, bool | None] = {"allow_overlap": True}
        restrictions["max_positive" if self.is_sigmoid else "threshold"] = None
        for option, none in restrictions.items():
            value = self.pipe.cfg[option]
            if value != none:
                raise config_error(
                    f"{own(self)} cannot be tuned or calibrated: its {option}, {value}, takes away "
                    f"some of what the scores have decided. First set {option} = "
                    f"{json.dumps(none)} in its block, or, when it is trained, "
                    f'nlp.get_pipe("{self.name}").cfg["{option}"] = {none}.'
                )

    @property
    def columns(self) -> list[str]:
        return [*self.pipe.labels, *([NO_SPAN] if self.pipe.add_negative_label else [])]

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        examples = [eg for eg in data if self.pipe.key in eg.reference.spans]
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
