"""ner and dice_ner: entities that a decoder finds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy
from spacy.attrs import ENT_IOB
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from dice_core.thresholds.calibrate import Confidence, found_confidence, sigmoid
from dice_core.thresholds.component import DIGITS, Settings, TagTunable
from dice_core.thresholds.decisions import ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts, span_labels
from dice_core.thresholds.objectives import Array

from .. import biluo
from ..components.dice_ner import constrained_scores, label_shifts, log_odds, shift_scores
from ..components.transition import actions
from .labels import BATCH, PipeTunable, aligner, batch_scores
from .spans import Found


class Entities(TagTunable[Example], PipeTunable):
    """Entities that a decoder finds; a shift of each label, and one of all. Entities that are there
    before are kept, and count."""

    @property
    def labels(self) -> list[str]:
        return list(self.pipe.labels)

    def read(self, data: Sequence[Example], every_row: bool = False) -> ScoredLabels:
        usable = [eg for eg in data if eg.reference.has_annotation("ENT_IOB")]
        docs = [eg.predicted for eg in usable]
        iob = [eg.reference.to_array([ENT_IOB]).reshape(-1) for eg in usable]
        count = SpanCounts(
            self.labels,
            [spans_of(eg.reference) for eg in usable],
            [frozenset(numpy.flatnonzero(of == 0).tolist()) for of in iob],
            [aligner(eg, same_text=False) for eg in usable],
            others=[ent.label_ for doc in docs for ent in doc.ents],
        )
        return self.decoded(docs, count)

    def decoded(self, docs: list[Doc], count: SpanCounts) -> DecodedLabels:
        """What is found in docs. What does not change with a shift is computed once."""
        raise NotImplementedError


class TransitionEntities(Entities):
    """ner: actions of a transition system. The common shift is taken off O; a label's is added to
    its B- and U-. Each candidate is decoded anew; what comes before the last two layers is
    computed once."""

    prefixes = ("B-", "U-")
    what = "each predicted entity (product of its actions')"

    @property
    def columns(self) -> list[str]:
        return actions(self.pipe)

    def decoded(self, docs: list[Doc], count: SpanCounts) -> DecodedLabels:
        tok2vec = self.pipe.model.get_ref("tok2vec")
        vectors = {}
        for batch in minibatch(docs, BATCH):
            rows = tok2vec.predict(batch) if any(len(doc) for doc in batch) else numpy.zeros(0)
            check_scores(tok2vec.ops.to_numpy(rows))
            first = 0
            for doc in batch:
                vectors[id(doc)] = rows[first : first + len(doc)]
                first += len(doc)

        @contextmanager
        def known_vectors() -> Iterator[None]:
            """The component looks its tok2vec's output up."""
            func = tok2vec._func
            tok2vec._func = lambda model, X, is_train: (
                model.ops.xp.concatenate([vectors[id(doc)] for doc in X if len(doc)]),
                None,
            )
            try:
                yield
            finally:
                tok2vec._func = func

        def find(shift: Array, at: list[int]) -> Found:
            with self.last.shifted(self.to_columns(shift)), known_vectors():
                made = [
                    doc
                    for batch in minibatch([docs[d] for d in at], BATCH)
                    for doc in annotated(self.pipe, batch, self.pipe.predict(batch))
                ]
            return iter([(d, *span) for d, doc in zip(at, made) for span in spans_of(doc)])

        def confidence() -> Confidence:
            with known_vectors():
                batches = [path_scores(self.pipe, batch) for batch in minibatch(docs, BATCH)]
            found = [pair for batch in batches for pair in batch]
            scores = [rows for _, by_doc in found for rows in by_doc]
            return found_confidence(
                lambda temperature: path_probabilities(scores, temperature),
                count.is_right((d, *span) for d, (spans, _) in enumerate(found) for span in spans),
            )

        return span_labels(count, find, confidence, progress=self.progress)


class BiluoEntities(Entities):
    """dice_ner: thresholds, in its cfg; the temperature is written into the softmax."""

    what = "each predicted entity"

    @property
    def columns(self) -> list[str]:
        return list(self.pipe.tags)

    def decoded(self, docs: list[Doc], count: SpanCounts) -> DecodedLabels:
        names, lengths = self.labels, numpy.asarray([len(doc) for doc in docs], dtype="int64")
        scores = batch_scores(
            docs, len(self.columns), lambda batch: constrained_scores(self.pipe, batch)
        )
        check_scores(scores)
        preset = [spans_of(doc) for doc in docs]

        def decode(shift: Array, scores: Array, lengths: Array) -> biluo.Spans:
            outside = log_odds(self.pipe.cfg["threshold"]) - float(shift[-1])
            shifts = label_shifts(self.pipe.cfg, names) + shift[:-1]
            return biluo.decode(shift_scores(scores, outside, shifts), lengths)

        def find(shift: Array, at: list[int]) -> Found:
            mask = numpy.isin(numpy.arange(len(docs)), at)
            found = decode(shift, scores[numpy.repeat(mask, lengths)], lengths[mask])
            for d, start, end, c in zip(*(column.tolist() for column in found)):
                yield at[d], start, end, names[c]
            for d in at:
                yield from ((d, *span) for span in preset[d])

        def confidence() -> Confidence:
            found = decode(numpy.zeros(len(self.shift_names)), scores, lengths)
            spans = zip(*(column.tolist() for column in found))
            return found_confidence(
                lambda temperature: biluo.probabilities(scores / temperature, lengths, found),
                count.is_right((d, start, end, names[c]) for d, start, end, c in spans),
            )

        return span_labels(count, find, confidence, progress=self.progress)

    # Thresholds are in the cfg, so that they can be read and set there.

    def to_columns(self, shift: Array) -> Array:
        return numpy.zeros(len(self.columns))

    @property
    def settings(self) -> Settings:
        return {key: self.pipe.cfg.get(key) for key in ("threshold", "thresholds")}

    def set_settings(self, settings: Settings) -> None:
        self.pipe.cfg.update(settings)

    def shifted(self, shift: Array, temperature: float) -> Settings:
        # Divided as the logits are, so that a temperature changes no decision.
        outside = (log_odds(self.pipe.cfg["threshold"]) - shift[-1]) / temperature
        by_label = label_shifts(self.pipe.cfg, self.labels) + shift[:-1]
        thresholds = {
            label: round(float(sigmoid(-value / temperature)), DIGITS)
            for label, value in zip(self.labels, by_label)
            if value
        }
        return {
            "threshold": round(float(sigmoid(outside)), DIGITS),
            "thresholds": thresholds or None,
        }


# -- what a transition system does -----------------------------------------------------------


def spans_of(doc: Doc) -> list[Span]:
    """The entities of a doc."""
    return [(ent.start, ent.end, ent.label_) for ent in doc.ents]


def annotated(pipe: TrainablePipe, docs: Sequence[Doc], states: Sequence[object]) -> list[Doc]:
    """Copies of docs with what states say."""
    copies = [doc.copy() for doc in docs]
    pipe.set_annotations(copies, states)
    return copies


def path_scores(pipe: TrainablePipe, docs: Sequence[Doc]) -> list[tuple[list[Span], list[Array]]]:
    """What a stock ner predicts, greedily, and the scores of the actions that led there.

    Returns:
        Of each doc, the entities that it had not before, and for each of them floats ``(length,
        actions)``: the scores at each of its tokens, that of the action that was taken first.
    """
    column = {name: c for c, name in enumerate(actions(pipe))}
    rows: list[list[Array]] = [[] for _ in docs]
    states = pipe.moves.init_batch(docs)
    is_open = [(i, state) for i, state in enumerate(states) if not state.is_final()]
    if is_open:
        step = pipe.model.predict(list(docs))
    while is_open:
        scores = numpy.ascontiguousarray(step.predict([state for _, state in is_open]))
        for (i, _), row in zip(is_open, scores):
            rows[i].append(row.astype("float64"))
        pipe.transition_states([state for _, state in is_open], scores)
        is_open = [(i, state) for i, state in is_open if not state.is_final()]
    found = []
    for doc, before, doc_rows in zip(annotated(pipe, docs, states), docs, rows):
        preset = {(ent.start, ent.end) for ent in before.ents}
        spans, chosen = [span for span in spans_of(doc) if span[:2] not in preset], []
        for start, end, label in spans:
            tags = ["U"] if end == start + 1 else ["B", *"I" * (end - start - 2), "L"]
            pairs = zip(doc_rows[start:end], [column[f"{tag}-{label}"] for tag in tags])
            first = [numpy.concatenate([row[[c]], numpy.delete(row, c)]) for row, c in pairs]
            chosen.append(numpy.stack(first))
        found.append((spans, chosen))
    return found


def path_probabilities(scores: list[Array], temperature: float = 1.0) -> Array:
    """``(entities,)``: the product of the probabilities of each entity's actions, from scores as
    `path_scores` gives."""
    if not scores:
        return numpy.zeros(0)
    flat = numpy.concatenate(scores) / temperature
    of = numpy.repeat(numpy.arange(len(scores)), [len(rows) for rows in scores])
    log_p = flat[:, 0] - numpy.logaddexp.reduce(flat, axis=1)
    return numpy.exp(numpy.bincount(of, weights=log_p, minlength=len(scores)))
