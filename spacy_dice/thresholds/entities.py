"""ner, dice_ner and dice_qa: spans that a decoder finds."""

import copy
from contextlib import contextmanager
from typing import Any, Dict, FrozenSet, Iterator, List, Sequence, Tuple

import numpy
from spacy.attrs import ENT_IOB
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Model

from dice_core.thresholds import calibrate
from dice_core.thresholds.calibrate import Confidence, logit, sigmoid
from dice_core.thresholds.component import ALL, DIGITS, TagTunable
from dice_core.thresholds.decisions import ScoredLabels, check_scores
from dice_core.thresholds.decoded import DecodedLabels, Span, SpanCounts

from .. import biluo
from ..components.dice_ner import constrained_scores, label_shifts, log_odds, shift_scores
from ..components.trainable import own
from ..errors import config_error
from ..reading import answers
from . import last_layer
from .labels import BATCH, PipeTunable, aligner, others

# Of dice_qa, less is never asked for: any two pieces have some start x end.
LEAST = 0.005


def unknown_tokens(doc: Doc) -> FrozenSet[int]:
    """The tokens of a gold doc without annotation of entities."""
    return frozenset(numpy.flatnonzero(doc.to_array([ENT_IOB]).reshape(-1) == 0).tolist())


class Entities(TagTunable, PipeTunable):
    """Entities that a decoder finds; a shift of each label, and one of all. Entities that are there
    before are kept, and count."""

    @property
    def labels(self) -> List[str]:
        return list(self.pipe.labels)

    def prepare(self, docs: Sequence[Doc]) -> None:
        """Compute what does not change with a shift."""
        raise NotImplementedError

    def counts(self, shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
        """``(D, C, 3)`` of what is predicted with a shift in these docs, a mask ``(D,)``."""
        raise NotImplementedError

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        usable = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
        self._docs = [eg.predicted for eg in usable]
        gold = [[(e.start, e.end, e.label_) for e in eg.reference.ents] for eg in usable]
        there = [ent.label_ for doc in self._docs for ent in doc.ents]
        more = others(self.labels, there, *([label for *_, label in ents] for ents in gold))
        self._names = [*self.labels, *more]
        unknown = [unknown_tokens(eg.reference) for eg in usable]
        aligners = [aligner(eg, same_text=False) for eg in usable]
        self._count = SpanCounts(self._names, gold, unknown, aligners)
        self.prepare(self._docs)
        return DecodedLabels(
            *(self._names, self.counts, len(usable), self._count.n_examples, self.progress),
            n_fixed=len(more),
        )


class TransitionEntities(Entities):
    """ner: actions of a transition system. The common shift is taken off O; a label's is added to
    its B- and U-. Each candidate is decoded anew; what comes before the last two layers is
    computed once."""

    prefixes = ("B-", "U-")

    @property
    def columns(self) -> List[str]:
        return actions(self.pipe)

    def prepare(self, docs: Sequence[Doc]) -> None:
        tok2vec = self.pipe.model.get_ref("tok2vec")
        self._vectors: Dict[int, Any] = {}
        for batch in minibatch(docs, BATCH):
            rows: Any = tok2vec.predict(batch) if any(len(doc) for doc in batch) else []
            check_scores(tok2vec.ops.to_numpy(rows) if len(rows) else numpy.zeros(0))
            first = 0
            for doc in batch:
                self._vectors[id(doc)] = rows[first : first + len(doc)]
                first += len(doc)

    @contextmanager
    def _known_vectors(self) -> Iterator[None]:
        """Let the component look its tok2vec's output up."""
        tok2vec = self.pipe.model.get_ref("tok2vec")
        func, vectors = tok2vec._func, self._vectors

        def look_up(model: Model, docs: Sequence[Doc], is_train: bool) -> Any:
            return model.ops.xp.concatenate([vectors[id(doc)] for doc in docs if len(doc)]), None

        tok2vec._func = look_up
        try:
            yield
        finally:
            tok2vec._func = func

    def counts(self, shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
        at = numpy.flatnonzero(mask).tolist()
        with self.last.shifts() as add, self._known_vectors():
            add(self.to_columns(shift))
            docs = [
                doc
                for batch in minibatch([self._docs[i] for i in at], BATCH)
                for doc in annotated(self.pipe, batch, self.pipe.predict(batch))
            ]
        found = ([(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in docs)
        return self._count(zip(at, found))

    def confidence(self, labels: Any) -> Confidence:
        with self._known_vectors():
            batches = [path_scores(self.pipe, docs) for docs in minibatch(self._docs, BATCH)]
        found = [spans for of_batch, _ in batches for spans in of_batch]
        scores = [rows for _, of_batch in batches for rows in of_batch]
        return calibrate.found_confidence(
            "each predicted entity (product of its actions')",
            lambda temperature: path_probabilities(scores, temperature),
            self._count.is_right(enumerate(found)),
        )


class BiluoEntities(Entities):
    """dice_ner: thresholds, in its cfg; the temperature is written into the softmax."""

    keys = ("threshold", "thresholds")

    @property
    def columns(self) -> List[str]:
        return list(self.pipe.tags)

    def prepare(self, docs: Sequence[Doc]) -> None:
        flat = [numpy.zeros((0, len(self.columns)))]
        for batch in minibatch(docs, BATCH):
            if any(len(doc) for doc in batch):
                flat.append(constrained_scores(self.pipe, batch).astype("float64"))
        self._scores = numpy.concatenate(flat)
        check_scores(self._scores)
        self._lengths = numpy.asarray([len(doc) for doc in docs], dtype="int64")
        column = {label: c for c, label in enumerate(self._names)}
        preset = [
            (d, ent.start, ent.end, column[ent.label_])
            for d, doc in enumerate(docs)
            for ent in doc.ents
        ]
        self._preset = numpy.asarray(preset, dtype="int64").reshape(-1, 4)

    def counts(self, shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
        scores, lengths = self._scores, self._lengths
        if not mask.all():
            scores, lengths = scores[numpy.repeat(mask, lengths)], lengths[mask]
        new = self._decode(scores, lengths, shift)
        spans = numpy.stack([numpy.flatnonzero(mask)[new.doc], new.start, new.end, new.label], 1)
        preset = self._preset[mask[self._preset[:, 0]]]
        return self._count.count_arrays(*numpy.concatenate([spans, preset]).T)

    def _decode(
        self, scores: numpy.ndarray, lengths: numpy.ndarray, shift: numpy.ndarray
    ) -> biluo.Spans:
        """New entities."""
        outside = log_odds(self.pipe.cfg["threshold"]) - float(shift[-1])
        shifts = label_shifts(self.pipe.cfg, self.labels) + shift[:-1]
        return biluo.decode(shift_scores(scores, outside, shifts), lengths)

    def confidence(self, labels: Any) -> Confidence:
        scores, lengths = self._scores, self._lengths
        found = self._decode(scores, lengths, numpy.zeros(len(self.shift_names)))
        spans = zip(*(column.tolist() for column in found))
        names = self.labels
        return calibrate.found_confidence(
            "each predicted entity",
            lambda temperature: biluo.probabilities(scores / temperature, lengths, found),
            self._count.is_right((d, [(start, end, names[c])]) for d, start, end, c in spans),
        )

    # Thresholds are in the cfg, so that they can be read and set there. They and the temperature
    # are each taken back where they are still there.

    def _has_thresholds(self) -> bool:
        written = (self.pipe.cfg.get(last_layer.KEY) or {}).get("written")
        return written == [self.pipe.cfg.get(key) for key in self.keys]

    @property
    def record(self) -> Dict[str, Any]:
        return super().record if self._has_thresholds() else {}

    def write(self, shift: numpy.ndarray, temperatures: numpy.ndarray, record: Dict) -> None:
        cfg, temperature = self.pipe.cfg, float(temperatures[0])
        outside = log_odds(cfg["threshold"]) - shift[-1]
        by_label = label_shifts(cfg, self.labels) + shift[:-1]
        before = [cfg.get(key) for key in self.keys]
        # Divided as the logits are, so that a temperature changes no decision.
        cfg["threshold"] = round(float(sigmoid(outside / temperature)), DIGITS)
        cfg["thresholds"] = {
            label: round(float(sigmoid(-value / temperature)), DIGITS)
            for label, value in zip(self.labels, by_label)
            if value
        } or None
        written = [cfg[key] for key in self.keys]
        record = {**record, "before": before, "written": written}
        nothing = numpy.zeros(len(temperatures))
        last_layer.write(self.last, self.pipe, nothing, temperatures, 0.0, record)

    def undo(self) -> None:
        if self._has_thresholds():
            self.pipe.cfg.update(zip(self.keys, self.pipe.cfg[last_layer.KEY]["before"]))
        super().undo()


class Answers(PipeTunable):
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
    def shift_names(self) -> List[str]:
        return [*self.columns, ALL]

    def thresholds(self, shift: numpy.ndarray) -> Dict[str, float]:
        """With a shift, by label."""
        before = numpy.asarray([self.pipe.threshold_of(label) for label in self.columns])
        values = sigmoid(logit(before) - shift[:-1] - shift[-1])
        return dict(zip(self.columns, numpy.maximum(values, LEAST).tolist()))

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        pipe, key = self.pipe, self.pipe.cfg["spans_key"]
        asked = [one for one in pipe.gold(examples) if not one.id and one.gold is not None]
        place = {d: i for i, d in enumerate(sorted({one.doc for one in asked}))}
        docs, gold = [examples[d].predicted for d in place], []
        for d in place:
            doc = examples[d].reference
            spans = doc.spans[key] if key in doc.spans else doc.ents
            gold.append([(s.start_char, s.end_char, s.label_) for s in spans if not s.id])
        more = others(self.columns, *([label for *_, label in spans] for spans in gold))
        by_doc: List[List[Any]] = [[] for _ in place]
        length = pipe.cfg["max_answer_length"]
        for one, windows, scores in pipe.read(asked):
            check_scores(*scores)
            candidates = answers.candidates(windows, scores, length, LEAST)
            by_doc[place[one.doc]].append((one, candidates))
        count = SpanCounts([*self.columns, *more], gold)

        def spans_of(d: int, least: Dict[str, float]) -> Iterator[Span]:
            """Of whole tokens, as they are annotated, each once."""
            found = {
                (answer.start, answer.end, one.label)
                for one, candidates in by_doc[d]
                for answer in pipe.stripped(one, answers.several(candidates, least[one.label]))
            }
            made = set()
            for start, end, label in found:
                span: Any = docs[d].char_span(start, end, alignment_mode="expand")
                made.add((span.start_char, span.end_char, label))
            yield from made

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            least = self.thresholds(shift)
            return count((d, spans_of(d, least)) for d in numpy.flatnonzero(mask).tolist())

        return DecodedLabels(
            *([*self.columns, *more], decode, len(gold), count.n_examples, self.progress),
            n_fixed=len(more),
        )

    @property
    def record(self) -> Dict[str, Any]:
        record = self.pipe.cfg.get(last_layer.KEY) or {}
        if not record or record["written"] != self.pipe.cfg["thresholds"]:
            return {}
        return {key: record[key] for key in ("shift", "temperature")}

    def write(self, shift: numpy.ndarray, temperatures: numpy.ndarray, record: Dict) -> None:
        cfg = self.pipe.cfg
        written = {label: round(value, DIGITS) for label, value in self.thresholds(shift).items()}
        cfg[last_layer.KEY] = {**record, "before": cfg["thresholds"], "written": written}
        cfg["thresholds"] = written

    def undo(self) -> None:
        is_there = bool(self.record)
        record = self.pipe.cfg.pop(last_layer.KEY, None)
        if is_there:
            self.pipe.cfg["thresholds"] = record["before"]

    def twin(self) -> TrainablePipe:
        twin = copy.copy(self.pipe)
        twin.cfg = copy.deepcopy(self.pipe.cfg)
        return twin


# -- what a transition system does -----------------------------------------------------------


def actions(pipe: TrainablePipe) -> List[str]:
    """The names of all actions, in the order of their scores."""
    return [pipe.moves.get_class_name(i) for i in range(pipe.moves.n_moves)]


def annotated(pipe: TrainablePipe, docs: Sequence[Doc], states: Any) -> List[Doc]:
    """Copies of docs with what states say."""
    copies = [doc.copy() for doc in docs]
    pipe.set_annotations(copies, states)
    return copies


def path_scores(
    pipe: TrainablePipe, docs: Sequence[Doc]
) -> Tuple[List[List[Span]], List[numpy.ndarray]]:
    """What a stock ner predicts, greedily, and the scores of the actions that led there.

    Returns:
        The entities of each doc that it had not before, and for each entity, one after another,
        floats ``(length, actions)``: the scores at each of its tokens, that of the action that was
        taken first.
    """
    column = {name: c for c, name in enumerate(actions(pipe))}
    rows: List[List[numpy.ndarray]] = [[] for _ in docs]
    states = pipe.moves.init_batch(docs)
    is_open = [(i, state) for i, state in enumerate(states) if not state.is_final()]
    step: Any = pipe.model.predict(list(docs)) if is_open else None
    while is_open:
        scores = numpy.ascontiguousarray(step.predict([state for _, state in is_open]))
        for (i, _), row in zip(is_open, scores):
            rows[i].append(row.astype("float64"))
        pipe.transition_states([state for _, state in is_open], scores)
        is_open = [(i, state) for i, state in is_open if not state.is_final()]
    found: List[List[Span]] = []
    found_rows: List[numpy.ndarray] = []
    for doc, before, of_doc in zip(annotated(pipe, docs, states), docs, rows):
        preset = {(ent.start, ent.end) for ent in before.ents}
        ents = [ent for ent in doc.ents if (ent.start, ent.end) not in preset]
        found.append([(ent.start, ent.end, ent.label_) for ent in ents])
        for ent in ents:
            tags = ["U"] if len(ent) == 1 else ["B", *"I" * (len(ent) - 2), "L"]
            chosen = []
            for row, tag in zip(of_doc[ent.start : ent.end], tags):
                c = column[f"{tag}-{ent.label_}"]
                chosen.append(numpy.concatenate([row[c : c + 1], numpy.delete(row, c)]))
            found_rows.append(numpy.stack(chosen))
    return found, found_rows


def path_probabilities(scores: List[numpy.ndarray], temperature: float = 1.0) -> numpy.ndarray:
    """``(entities,)``: the product of the probabilities of each entity's actions, from what
    `path_scores` gives."""
    if not scores:
        return numpy.zeros(0)
    flat = numpy.concatenate(scores) / temperature
    of = numpy.repeat(numpy.arange(len(scores)), [len(rows) for rows in scores])
    log_p = flat[:, 0] - numpy.logaddexp.reduce(flat, axis=1)
    return numpy.exp(numpy.bincount(of, weights=log_p, minlength=len(scores)))
