"""Tuning ner and dice_ner."""

from typing import Any, Dict, FrozenSet, List, Sequence

import numpy
from spacy.attrs import ENT_IOB, ENT_TYPE
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from dice_core.tuning import calibration
from dice_core.tuning.calibration import Confidence, sigmoid
from dice_core.tuning.decoded import DecodedLabels, SpanCounts
from dice_core.tuning.part import DIGITS, TagPart
from dice_core.tuning.scored_labels import ScoredLabels

from .. import biluo
from ..components.dice_ner import constrained_scores, label_shifts, log_odds, shift_scores
from . import fold
from .pipe_part import BATCH, PipePart
from .transitions import actions, known_vectors, parsed, path_probabilities, path_scores, vectors_of


class Entities(TagPart, PipePart):
    """Entities that a decoder finds; a shift of each label, and one of all."""

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
        gold, lost, unknown = [], [], []
        for eg in usable:
            aligned = eg.get_aligned_spans_y2x(eg.reference.ents)
            gold.append({(ent.start, ent.end, ent.label_) for ent in aligned})
            left = [ent.label_ for ent in eg.reference.ents]
            for ent in aligned:
                left.remove(ent.label_)
            lost.append(left)
            unknown.append(_unknown(eg))
        self._count = SpanCounts(self.labels, gold, lost, unknown)
        self.prepare(self._docs)
        n_examples = self._count.n_examples
        return DecodedLabels(self.labels, self.counts, len(usable), n_examples, self.progress)


def _unknown(eg: Example) -> FrozenSet[int]:
    """The tokens without annotation of entities."""
    one_to_one = all((part.lengths == 1).all() for part in (eg.alignment.x2y, eg.alignment.y2x))
    iob, kind = eg.reference.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2).T
    # 0 is missing, and 3 without a type is blocked. Else all is known; reading tags is slow.
    if one_to_one and iob.all() and not ((iob == 3) & (kind == 0)).any():
        return frozenset()
    tags = enumerate(eg.get_aligned_ner())
    return frozenset(i for i, tag in tags if tag in (None, "-", ""))


class TransitionEntities(Entities):
    """ner: actions of a transition system. The common shift is taken off O; a label's is added to
    its B- and U-. Each candidate is decoded anew; what comes before the last two layers is
    computed once."""

    prefixes = ("B-", "U-")

    @property
    def columns(self) -> List[str]:
        return actions(self.pipe)

    def prepare(self, docs: Sequence[Doc]) -> None:
        self._vectors = vectors_of(self.pipe, docs)

    def counts(self, shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
        at = numpy.flatnonzero(mask).tolist()
        docs = parsed(self, [self._docs[i] for i in at], self._vectors, shift)
        found = ([(ent.start, ent.end, ent.label_) for ent in doc.ents] for doc in docs)
        return self._count(zip(at, found))

    def confidence(self, labels: Any) -> Confidence:
        with known_vectors(self.pipe, self._vectors):
            batches = [path_scores(self.pipe, docs) for docs in minibatch(self._docs, BATCH)]
        found = [spans for of_batch, _ in batches for spans in of_batch]
        scores = [rows for _, of_batch in batches for rows in of_batch]
        gold = self._count.gold
        right = [span in gold[i] for i, spans in enumerate(found) for span in spans]
        return calibration.of_found(
            "each predicted entity (product of its actions')",
            lambda temperature: path_probabilities(scores, temperature),
            numpy.asarray(right, dtype=bool),
        )


class BiluoEntities(Entities):
    """dice_ner: thresholds, in its cfg; the temperature is folded into the softmax."""

    @property
    def columns(self) -> List[str]:
        return list(self.pipe.tags)

    def prepare(self, docs: Sequence[Doc]) -> None:
        flat = [numpy.zeros((0, len(self.columns)))]
        for batch in minibatch(docs, BATCH):
            if any(len(doc) for doc in batch):
                flat.append(constrained_scores(self.pipe, batch).astype("float64"))
        self._scores = numpy.concatenate(flat)
        self._lengths = numpy.asarray([len(doc) for doc in docs], dtype="int64")
        column = {label: c for c, label in enumerate(self.labels)}
        preset = [
            (d, ent.start, ent.end, column[ent.label_])
            for d, doc in enumerate(docs)
            for ent in doc.ents
            if ent.label_ in column
        ]
        self._preset = numpy.asarray(preset, dtype="int64").reshape(-1, 4)

    def counts(self, shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
        scores, lengths = self._scores, self._lengths
        if not mask.all():
            scores, lengths = scores[numpy.repeat(mask, lengths)], lengths[mask]
        new = self._decoded(scores, lengths, shift)
        spans = numpy.stack([numpy.flatnonzero(mask)[new.doc], new.start, new.end, new.label], 1)
        preset = self._preset[mask[self._preset[:, 0]]]
        return self._count.of_arrays(*numpy.concatenate([spans, preset]).T)

    def _decoded(
        self, scores: numpy.ndarray, lengths: numpy.ndarray, shift: numpy.ndarray
    ) -> biluo.Spans:
        """New entities."""
        outside = log_odds(self.pipe.cfg["threshold"]) - float(shift[-1])
        shifts = label_shifts(self.pipe.cfg, self.labels) + shift[:-1]
        return biluo.decode(shift_scores(scores, outside, shifts), lengths)

    def confidence(self, labels: Any) -> Confidence:
        scores, lengths = self._scores, self._lengths
        found = self._decoded(scores, lengths, numpy.zeros(len(self.shift_names)))
        names, gold = self.labels, self._count.gold
        right = [
            (start, end, names[c]) in gold[d]
            for d, start, end, c in zip(*(part.tolist() for part in found))
        ]
        return calibration.of_found(
            "each predicted entity",
            lambda temperature: biluo.probabilities(scores / temperature, lengths, found),
            numpy.asarray(right, dtype=bool),
        )

    # The place of cuts is the cfg, so that they can be read and set there.

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        cfg, temperature = self.pipe.cfg, float(temperatures[0])
        before = {key: cfg.get(key) for key in ("threshold", "thresholds")}
        outside = log_odds(cfg["threshold"]) - shift[-1]
        of_labels = label_shifts(cfg, self.labels) + shift[:-1]
        nothing = numpy.zeros(len(temperatures))
        fold.fold(self.last, self.pipe, nothing, temperatures, 0.0, {**state, **before})
        # Divided as the logits are, so that a temperature changes no decision.
        cfg["threshold"] = round(float(sigmoid(outside / temperature)), DIGITS)
        cfg["thresholds"] = {
            label: round(float(sigmoid(-value / temperature)), DIGITS)
            for label, value in zip(self.labels, of_labels)
            if value
        } or None

    def clear(self) -> None:
        state = self.pipe.cfg.get(fold.KEY) or {}
        for key in ("threshold", "thresholds"):
            if key in state:
                self.pipe.cfg[key] = state[key]
        super().clear()
