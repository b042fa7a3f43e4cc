"""What each kind of component decides, and from which scores: one small class a kind.

A part reads a component's scores and gold annotation into the arrays of `dice_core.cuts`, says
which columns of the last layer a shift moves, and how sure the component is of what it predicts.
"""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type

import numpy
from spacy.pipeline.dep_parser import DependencyParser
from spacy.pipeline.edit_tree_lemmatizer import EditTreeLemmatizer
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.senter import SentenceRecognizer
from spacy.pipeline.span_finder import SpanFinder
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from dice_core import calibration
from dice_core.cuts import FN, FP, LIMIT, TP, CompetingLabels, DecodedLabels, IndependentLabels
from dice_core.cuts import Labels as Cuts

from .. import biluo
from ..components.dice_ner import (
    DiceNER,
    constrained_scores,
    label_shifts,
    log_odds,
    shift_scores,
)
from ..errors import config_error
from . import fold

BATCH = 128
DIGITS = 8
Progress = Optional[Callable[[int, int], None]]


class Confidence(NamedTuple):
    """what: which decisions. p, right: ``(N,)``, their probabilities and whether they are right.
    at: p at another temperature. fit: the best temperature."""

    what: str
    p: numpy.ndarray
    right: numpy.ndarray
    at: Callable[[Any], numpy.ndarray]
    fit: Callable[[], Any]


class Part:
    """A component that can be tuned. kind: its factory, for reports."""

    average = "micro"
    # Whether rows that no cut can matter to are read, too: calibration counts them.
    every_row = False
    # Whether components=None takes it in.
    by_default = True
    per_label_temperature = False

    def __init__(self, pipe: Any, kind: str):
        self.pipe, self.kind = pipe, kind
        self.name: str = pipe.name
        self.last = self.find_last()

    def find_last(self) -> Any:
        return fold.find_last_layer(self.pipe.model, self.name)

    # -- what a kind says ----------------------------------------------------------------------

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        """Scores and gold annotation of examples whose docs all earlier components have seen."""
        raise NotImplementedError

    def confidence(self, cuts: Any) -> Confidence:
        raise config_error(
            f"Component '{self.name}' ({self.kind}) cannot be calibrated: it shows no "
            "probabilities."
        )

    @property
    def center(self) -> float:
        """The log-odds, or the score, from which on a label is predicted; 0 if labels compete."""
        return 0.0

    @property
    def columns(self) -> List[str]:
        """The columns of the last layer."""
        return [str(label) for label in self.pipe.labels]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        """A shift of labels as one of columns."""
        return shift

    # -- what is folded ------------------------------------------------------------------------

    def get_state(self) -> Dict[str, Any]:
        return fold.get_state(self.pipe)

    def set_state(self, shift: Optional[Any], temperature: Any) -> None:
        """Fold. shift: of labels; None for none. temperature: one, or one for each label."""
        names = self.shift_names
        values = numpy.zeros(len(names)) if shift is None else numpy.asarray(shift, dtype="float64")
        # As they are when they come back from spaCy's JSON.
        values = numpy.round(values, DIGITS)
        if isinstance(temperature, dict):
            temperature = {key: round(value, DIGITS) for key, value in temperature.items()}
        else:
            temperature = round(temperature, DIGITS)
        temperatures = self._temperatures(temperature)
        if not values.any() and (temperatures == 1.0).all():
            self.clear()
            return
        readable = {"shift": dict(zip(names, values.tolist())), "temperature": temperature}
        columns = self.columns
        self._fold(columns, self.spread(values), temperatures, readable)

    def _fold(self, columns: Any, shift: Any, temperatures: Any, readable: Any) -> None:
        fold.fold(self.last, self.pipe, columns, shift, temperatures, self.center, readable)

    def _temperatures(self, temperature: Any) -> numpy.ndarray:
        columns = self.columns
        if isinstance(temperature, dict):
            return numpy.asarray([float(temperature.get(name, 1.0)) for name in columns])
        return numpy.full(len(columns), float(temperature))

    def clear(self) -> None:
        """Take back what was folded."""
        fold.unfold(self.last, self.pipe)

    @property
    def shift_names(self) -> List[str]:
        """What each number of a shift is of."""
        return self.columns

    def twin(self) -> "Part":
        """The same of a copy of the component, which can be folded without changing this one."""
        pipe = self.pipe
        twin = fold.copy_apart(pipe, self.last)
        return type(self)(twin, self.kind)


# -- documents -----------------------------------------------------------------------------


class _OfDocs(Part):
    average = "macro"
    # The score of each label for a doc without words.
    of_no_words = 0.0

    def _scores(self, examples: Sequence[Example]) -> numpy.ndarray:
        model, scores = self.pipe.model, []
        for batch in minibatch(examples, BATCH):
            docs = [eg.predicted for eg in batch]
            if any(len(doc) for doc in docs):
                with self.last.raw():
                    scores.append(model.ops.to_numpy(model.predict(docs)))
            else:
                scores.append(numpy.full((len(docs), len(self.columns)), self.of_no_words))
        return numpy.concatenate(scores) if scores else numpy.zeros((0, len(self.columns)))


class MultiLabelText(_OfDocs):
    """textcat_multilabel: each label by itself, at the component's threshold."""

    of_no_words = -numpy.inf
    per_label_temperature = True

    @property
    def center(self) -> float:
        return _center(self, self.pipe.cfg["threshold"])

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        labels = list(self.pipe.labels)
        gold = numpy.zeros((len(examples), len(labels)), dtype=bool)
        known = numpy.zeros_like(gold)
        for row, eg in enumerate(examples):
            for c, label in enumerate(labels):
                value = eg.reference.cats.get(label)
                if value is not None:
                    known[row, c], gold[row, c] = True, value > 0
        scores = _log_odds(self.last, self._scores(examples)) - self.center
        return IndependentLabels(labels, scores, gold, known=known)

    def confidence(self, cuts: Any) -> Confidence:
        return _of_cells(cuts, self.center, "each label of each document")


class ExclusiveText(_OfDocs):
    """textcat: the label with the highest score. With positive_label, only that one counts."""

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        labels = list(self.pipe.labels)
        column = {label: i for i, label in enumerate(labels)}
        rows, gold = [], []
        for row, eg in enumerate(examples):
            cats = {k: v for k, v in eg.reference.cats.items() if k in column}
            if cats and max(cats.values()) > 0:
                rows.append(row)
                gold.append(column[max(cats, key=lambda label: cats[label])])
        positive = self.pipe.cfg.get("positive_label")
        background = None
        if positive in column and len(labels) == 2:
            background = 1 - column[positive]
        scores = _logs(self.last, self._scores(examples))[rows]
        return CompetingLabels(labels, scores, gold, background=background)

    def confidence(self, cuts: Any) -> Confidence:
        return _of_rows(cuts, "the predicted label")


# -- tokens --------------------------------------------------------------------------------


class _OfTokens(Part):
    background: Optional[int] = None

    def gold(self, eg: Example) -> List[int]:
        """The column of each token; -1 where it is missing."""
        raise NotImplementedError

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        model, scores, gold, doc = self.pipe.model, [], [], []
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            if not any(len(eg.predicted) for eg in batch):
                continue
            of_batch = model.predict([eg.predicted for eg in batch])
            for i, (eg, of_doc) in enumerate(zip(batch, of_batch), start):
                ids = numpy.asarray(self.gold(eg), dtype="int64")
                known = ids >= 0
                scores.append(model.ops.to_numpy(of_doc)[known])
                gold.append(ids[known])
                doc.append(numpy.full(int(known.sum()), i))
        if not scores:
            return CompetingLabels(self.columns, numpy.zeros((0, len(self.columns))), [])
        return CompetingLabels(
            self.columns,
            _logs(self.last, numpy.concatenate(scores)),
            numpy.concatenate(gold),
            numpy.concatenate(doc),
            self.background,
        )

    def confidence(self, cuts: Any) -> Confidence:
        return _of_rows(cuts, "each token's label")


class Tags(_OfTokens):
    """tagger and dice_tagger."""

    def gold(self, eg: Example) -> List[int]:
        column = {label: i for i, label in enumerate(self.pipe.labels)}
        return [column.get(tag, -1) if tag else -1 for tag in eg.get_aligned("TAG", as_string=True)]


class Morphs(_OfTokens):
    """morphologizer: parts of speech with features."""

    def gold(self, eg: Example) -> List[int]:
        column = {label: i for i, label in enumerate(self.pipe.labels)}
        morphology, strings = self.pipe.vocab.morphology, self.pipe.vocab.strings
        ids = []
        pairs = zip(eg.get_aligned("POS", as_string=True), eg.get_aligned("MORPH", as_string=True))
        for pos, morph in pairs:
            if pos is None or morph is None or not (pos or morph):
                ids.append(-1)
                continue
            features = morphology.feats_to_dict(morph)
            if pos:
                features[self.pipe.POS_FEAT] = pos
            ids.append(column.get(strings[morphology.add(features)], -1))
        return ids


class Sentences(_OfTokens):
    """senter: whether a sentence starts at a token."""

    background = 0

    @property
    def columns(self) -> List[str]:
        return ["I", "S"]

    def gold(self, eg: Example) -> List[int]:
        if not eg.reference.has_annotation("SENT_START"):
            return [-1] * len(eg.predicted)
        return [-1 if x is None else int(x == 1) for x in eg.get_aligned("SENT_START")]


class Lemmas(_OfTokens):
    """trainable_lemmatizer: edit trees."""

    def gold(self, eg: Example) -> List[int]:
        lemmas = eg.get_aligned("LEMMA", as_string=True)
        # Not its tree2label, which is empty in a component that was loaded.
        column = {tree: c for c, tree in enumerate(self.pipe.labels)}
        trees = self.pipe.trees
        return [
            column.get(trees.add(token.text, lemma), -1) if lemma else -1
            for token, lemma in zip(eg.predicted, lemmas)
        ]


# -- spans ---------------------------------------------------------------------------------


class SpanLabels(Part):
    """spancat and spancat_singlelabel: labels of the suggester's candidates. Gold spans that are
    no candidates are missed, whatever the cut."""

    def __init__(self, pipe: Any, kind: str):
        super().__init__(pipe, kind)
        self.exclusive = self.last.activation == "softmax"
        self.per_label_temperature = not self.exclusive
        if self.exclusive and pipe.cfg["threshold"] is not None:
            raise config_error(
                f"Component '{pipe.name}' cannot be tuned: its threshold cuts off what the softmax "
                "has decided. Set threshold = null."
            )

    @property
    def center(self) -> float:
        return 0.0 if self.exclusive else _center(self, self.pipe.cfg["threshold"])

    @property
    def columns(self) -> List[str]:
        labels = list(self.pipe.labels)
        return [*labels, "(none)"] if self.pipe.add_negative_label else labels

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        pipe, columns = self.pipe, self.columns
        column = {label: i for i, label in enumerate(pipe.labels)}
        scores, gold, doc = [], [], []
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            with self.last.raw():
                indices, of_batch = pipe.predict([eg.predicted for eg in batch])
            of_batch = numpy.asarray(pipe.model.ops.to_numpy(of_batch), dtype="float64")
            starts_ends = pipe.model.ops.to_numpy(indices.dataXd).tolist()
            of_batch = self._as_scores(of_batch).reshape(-1, len(columns))
            first = 0
            for i, (eg, n) in enumerate(zip(batch, indices.lengths.tolist()), start):
                rows = {tuple(pair): r for r, pair in enumerate(starts_ends[first : first + n])}
                y = numpy.zeros((n, len(columns)), dtype=bool)
                missed = []
                aligned = eg.get_aligned_spans_y2x(
                    eg.reference.spans.get(pipe.key, []), allow_overlap=True
                )
                for span in aligned:
                    c = column.get(span.label_)
                    at = rows.get((span.start, span.end))
                    if c is not None and at is not None:
                        y[at, c] = True
                    elif c is not None:
                        missed.append(c)
                z = of_batch[first : first + n]
                first += n
                # Candidates that no cut could turn into spans are left out: most of them.
                near = y.any(axis=1) | self.every_row | self._is_near(z)
                scores.append(z[near])
                gold.append(y[near])
                if missed:
                    never = numpy.full((len(missed), len(columns)), -numpy.inf)
                    if self.exclusive and pipe.add_negative_label:
                        never[:, -1] = 0.0
                    scores.append(never)
                    gold.append(numpy.eye(len(columns), dtype=bool)[missed])
                doc.append(numpy.full(int(near.sum()) + len(missed), i))
        if not doc:
            scores, gold, doc = [numpy.zeros((0, len(columns)))], [], [numpy.zeros(0, "int64")]
            gold = [numpy.zeros((0, len(columns)), dtype=bool)]
        Z, Y, D = numpy.concatenate(scores), numpy.concatenate(gold), numpy.concatenate(doc)
        if not self.exclusive:
            return IndependentLabels(columns, Z, Y, D)
        background = len(columns) - 1 if pipe.add_negative_label else None
        of_none = 0 if background is None else background
        ids = numpy.where(Y.any(axis=1), Y.argmax(axis=1), of_none)
        return CompetingLabels(columns, Z, ids, D, background)

    def _as_scores(self, p: numpy.ndarray) -> numpy.ndarray:
        if self.exclusive:
            return _logs(self.last, p)
        return _log_odds(self.last, p) - self.center

    def _is_near(self, z: numpy.ndarray) -> Any:
        if not self.exclusive:
            return (z > -LIMIT).any(axis=1)
        if not self.pipe.add_negative_label:
            return numpy.ones(len(z), dtype=bool)
        return (z[:, :-1] > z[:, -1:] - LIMIT).any(axis=1)

    def confidence(self, cuts: Any) -> Confidence:
        if self.exclusive:
            return _of_rows(cuts, "each candidate's label")
        return _of_cells(cuts, self.center, "each label of each candidate")


class SpanEnds(Part):
    """span_finder: tokens that start, and tokens that end, a span; scored by whole spans."""

    @property
    def center(self) -> float:
        return _center(self, self.pipe.cfg["threshold"])

    @property
    def columns(self) -> List[str]:
        return ["start", "end"]

    @property
    def shift_names(self) -> List[str]:
        return ["start", "end", "both"]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        return shift[:2] + shift[2]

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        model, cfg = self.pipe.model, self.pipe.cfg
        scores: List[numpy.ndarray] = []
        gold, lost = [], []
        for batch in minibatch(examples, BATCH):
            docs = [eg.predicted for eg in batch]
            if any(len(doc) for doc in docs):
                with self.last.raw():
                    flat = _log_odds(self.last, model.ops.to_numpy(model.predict(docs)))
            else:
                flat = numpy.zeros((0, 2))
            flat = flat - self.center
            scores.extend(numpy.split(flat, numpy.cumsum([len(doc) for doc in docs])[:-1]))
            for eg in batch:
                spans = eg.reference.spans.get(cfg["spans_key"], [])
                aligned = eg.get_aligned_spans_y2x(spans, allow_overlap=True)
                gold.append({(span.start, span.end) for span in aligned})
                lost.append(len({(s.start, s.end) for s in spans}) - len(gold[-1]))
        self._tokens = numpy.concatenate(scores) if scores else numpy.zeros((0, 2))
        is_end = numpy.zeros(self._tokens.shape, dtype=bool)
        first = 0
        for of_doc, spans_ in zip(scores, gold):
            for start, end in spans_:
                is_end[first + start, 0] = is_end[first + end - 1, 1] = True
            first += len(of_doc)
        self._is_end = is_end
        low, high = cfg["min_length"] or 1, cfg["max_length"]

        def decode(shift: numpy.ndarray, docs: numpy.ndarray) -> numpy.ndarray:
            counts = numpy.zeros((len(examples), 2, 3))
            columns = self.spread(shift)
            for d in numpy.flatnonzero(docs):
                starts, ends = (
                    numpy.flatnonzero(scores[d][:, c] + columns[c] >= 0) for c in (0, 1)
                )
                length = ends[None] + 1 - starts[:, None]
                ok = length >= low
                if high is not None:
                    ok &= length <= high
                rows, cols = numpy.nonzero(ok)
                found = set(zip(starts[rows].tolist(), (ends[cols] + 1).tolist()))
                tp = len(found & gold[d])
                # Both labels have the counts of whole spans.
                counts[d] = (tp, len(found) - tp, len(gold[d]) + lost[d] - tp)
            return counts

        n = sum(map(len, gold))
        return DecodedLabels(self.columns, decode, len(examples), [n, n], progress)

    def confidence(self, cuts: Any) -> Confidence:
        of_tokens = IndependentLabels(self.columns, self._tokens, self._is_end)
        return _of_cells(of_tokens, self.center, "whether a span starts, and ends, at each token")


# -- entities ------------------------------------------------------------------------------


class GoldSpans(NamedTuple):
    """Of one example: spans ``(start, end, label)`` in predicted tokens; how many more there are of
    each label, that no tokens could match; and the tokens without annotation."""

    spans: frozenset
    lost: Dict[str, int]
    missing: frozenset


def _gold_entities(eg: Example) -> Optional[GoldSpans]:
    if not eg.reference.has_annotation("ENT_IOB"):
        return None
    aligned = eg.get_aligned_spans_y2x(eg.reference.ents)
    lost: Dict[str, int] = {}
    for label in [ent.label_ for ent in eg.reference.ents]:
        lost[label] = lost.get(label, 0) + 1
    for ent in aligned:
        lost[ent.label_] -= 1
    tags = eg.get_aligned_ner()
    missing = frozenset(i for i, tag in enumerate(tags) if tag in (None, "-", ""))
    return GoldSpans(frozenset((ent.start, ent.end, ent.label_) for ent in aligned), lost, missing)


class _OfEntities(Part):
    """Entities that a decoder finds; a shift of each label, and one of all."""

    @property
    def labels(self) -> List[str]:
        return list(self.pipe.labels)

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, "(all)"]

    def spans(
        self, docs: Sequence[Doc], shift: numpy.ndarray, at: Sequence[int]
    ) -> List[List[Tuple[int, int, str]]]:
        """What is predicted with a shift in the docs at these places."""
        raise NotImplementedError

    def prepare(self, docs: Sequence[Doc]) -> Any:
        """A context in which `spans` is cheap."""
        raise NotImplementedError

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        usable = [(eg, gold) for eg in examples if (gold := _gold_entities(eg)) is not None]
        self._docs = docs = [eg.predicted for eg, _ in usable]
        self._gold = golds = [gold for _, gold in usable]
        labels = self.labels
        column = {label: c for c, label in enumerate(labels)}
        n = numpy.zeros(len(labels), dtype="int64")
        base = numpy.zeros((len(docs), len(labels), 3))
        for d, gold in enumerate(golds):
            for _, _, label in gold.spans:
                if label in column:
                    base[d, column[label], FN] += 1
            for label, count in gold.lost.items():
                if label in column:
                    base[d, column[label], FN] += count
        n = base[:, :, FN].sum(axis=0).astype("int64")

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            at = numpy.flatnonzero(mask).tolist()
            counts = base.copy()
            for d, found in zip(at, self.spans(docs, shift, at)):
                gold = golds[d]
                for start, end, label in found:
                    if label not in column:  # of a component before it
                        continue
                    if (start, end, label) in gold.spans:
                        counts[d, column[label], TP] += 1
                        counts[d, column[label], FN] -= 1
                    elif not gold.missing.intersection(range(start, end)):
                        counts[d, column[label], FP] += 1
            return counts

        self.prepare(docs)
        return DecodedLabels(labels, decode, len(docs), n, progress)


class TransitionEntities(_OfEntities):
    """ner: actions of a transition system. The common shift is taken off O; a label's is added to
    its B- and U-. Each candidate is decoded anew; what comes before the last two layers is
    computed once."""

    @property
    def columns(self) -> List[str]:
        moves = self.pipe.moves
        return [moves.get_class_name(i) for i in range(moves.n_moves)]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        of_label = dict(zip(self.labels, shift))
        return numpy.asarray(
            [
                -shift[-1]
                if name == "O"
                else of_label.get(name[2:], 0.0)
                if name[:2] in ("B-", "U-")
                else 0.0
                for name in self.columns
            ]
        )

    def prepare(self, docs: Sequence[Doc]) -> None:
        self._vectors = _vectors(self.pipe, docs)
        self._fresh = [not doc.has_annotation("ENT_IOB") for doc in docs]

    def spans(
        self, docs: Sequence[Doc], shift: numpy.ndarray, at: Sequence[int]
    ) -> List[List[Tuple[int, int, str]]]:
        found: List[List[Tuple[int, int, str]]] = []
        with fold.Shifted(self.last) as shifted, _known_vectors(self.pipe, self._vectors):
            shifted(self.spread(shift))
            for places in minibatch(at, BATCH):
                batch = [docs[i] for i in places]
                states = self.pipe.predict(batch)
                fresh = [self._fresh[i] for i in places]
                found.extend(_entities(self.pipe, batch, states, fresh))
        return found

    def confidence(self, cuts: Any) -> Confidence:
        scores: List[numpy.ndarray] = []
        gold: List[bool] = []
        for places in minibatch(range(len(self._docs)), BATCH):
            batch = [self._docs[i] for i in places]
            with _known_vectors(self.pipe, self._vectors):
                found, of_found = path_scores(self.pipe, batch)
            scores.extend(of_found)
            gold.extend(
                span in self._gold[i].spans for i, of_doc in zip(places, found) for span in of_doc
            )
        return _of_paths(scores, gold, "each predicted entity (product of its actions')")


class BiluoEntities(_OfEntities):
    """dice_ner: thresholds, in its cfg; the temperature is folded into the softmax."""

    @property
    def columns(self) -> List[str]:
        return list(self.pipe.tags)

    def prepare(self, docs: Sequence[Doc]) -> None:
        lengths = [len(doc) for doc in docs]
        scores = [
            constrained_scores(self.pipe, batch)
            for batch in minibatch(docs, BATCH)
            if any(len(doc) for doc in batch)
        ]
        empty = numpy.zeros((0, len(self.columns)))
        flat = numpy.concatenate(scores).astype("float64") if scores else empty
        self._scores = numpy.split(flat, numpy.cumsum(lengths)[:-1]) if docs else []

    def spans(
        self, docs: Sequence[Doc], shift: numpy.ndarray, at: Sequence[int]
    ) -> List[List[Tuple[int, int, str]]]:
        found = [[(e.start, e.end, e.label_) for e in docs[i].ents] for i in at]
        lengths = [len(docs[i]) for i in at]
        if not sum(lengths):
            return found
        shifts = label_shifts(self.pipe.cfg, self.labels) + shift[:-1]
        decoded = self._decode(at, shifts, float(shift[-1]))
        labels = self.labels
        for d, start, end, label in zip(*(part.tolist() for part in decoded)):
            found[d].append((start, end, labels[label]))
        return found

    def _decode(self, at: Sequence[int], shifts: numpy.ndarray, common: float) -> biluo.Spans:
        flat = numpy.concatenate([self._scores[i] for i in at])
        outside = log_odds(self.pipe.cfg["threshold"]) - common
        return biluo.decode(shift_scores(flat, outside, shifts), [len(self._scores[i]) for i in at])

    def confidence(self, cuts: Any) -> Confidence:
        at = [i for i in range(len(self._docs)) if len(self._docs[i])]
        labels = self.labels
        if not at:
            return _of_paths([], [], "each predicted entity")
        decoded = self._decode(at, label_shifts(self.pipe.cfg, labels), 0.0)
        right = numpy.asarray(
            [
                (start, end, labels[label]) in self._gold[at[d]].spans
                for d, start, end, label in zip(*(part.tolist() for part in decoded))
            ],
            dtype=bool,
        )
        flat = numpy.concatenate([self._scores[i] for i in at])
        lengths = [len(self._scores[i]) for i in at]

        def p_at(temperature: float) -> numpy.ndarray:
            return biluo.probabilities(flat / temperature, lengths, decoded)

        def fit() -> float:
            return calibration.minimum(lambda t: calibration.measure(p_at(t), right).nll)

        return Confidence("each predicted entity", p_at(1.0), right, p_at, fit)

    # The threshold's place is the cfg, so that it can be read and set there.

    def _fold(self, columns: Any, shift: Any, temperatures: Any, readable: Any) -> None:
        pipe, cfg = self.pipe, self.pipe.cfg
        self.clear()
        before = {"threshold": cfg["threshold"], "thresholds": cfg.get("thresholds")}
        values = list(readable["shift"].values())
        outside = log_odds(cfg["threshold"]) - values[-1]
        of_labels = label_shifts(cfg, self.labels) + numpy.asarray(values[:-1])
        temperature = float(temperatures[0])
        nothing = numpy.zeros(len(columns))
        fold.fold(self.last, pipe, columns, nothing, temperatures, 0.0, {**readable, **before})
        # Divided as the logits are, so that a temperature changes no decision.
        cfg["threshold"] = round(float(calibration.sigmoid(outside / temperature)), DIGITS)
        cfg["thresholds"] = {
            label: round(float(calibration.sigmoid(-value / temperature)), DIGITS)
            for label, value in zip(self.labels, of_labels)
            if value
        } or None

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        return numpy.zeros(len(self.columns))

    def clear(self) -> None:
        state = self.pipe.cfg.get(fold.KEY) or {}
        if "threshold" in state:
            self.pipe.cfg["threshold"] = state["threshold"]
            self.pipe.cfg["thresholds"] = state["thresholds"]
        super().clear()


# -- the parser ----------------------------------------------------------------------------


class Attachments(Part):
    """parser: labels of dependencies. A label's shift is of its L- and R- actions, that of ROOT is
    of B-ROOT, which begins a sentence. Punctuation and spaces do not count, as for spaCy."""

    ignored = ("p", "punct")

    by_default = False

    @property
    def columns(self) -> List[str]:
        moves = self.pipe.moves
        return [moves.get_class_name(i) for i in range(moves.n_moves)]

    @property
    def labels(self) -> List[str]:
        return sorted({name[2:] for name in self.columns if name[:2] in ("L-", "R-", "B-")} - {""})

    @property
    def shift_names(self) -> List[str]:
        return [*self.labels, "(all)"]

    def spread(self, shift: numpy.ndarray) -> numpy.ndarray:
        of_label = dict(zip(self.labels, shift))
        return numpy.asarray(
            [
                of_label.get(name[2:], 0.0) if name[:2] in ("L-", "R-", "B-") else 0.0
                for name in self.columns
            ]
        )

    def read(self, examples: Sequence[Example], progress: Progress = None) -> Cuts:
        usable = [eg for eg in examples if eg.reference.has_annotation("DEP")]
        docs = [eg.predicted for eg in usable]
        vectors = _vectors(self.pipe, docs)
        labels = self.labels
        column = {label: c for c, label in enumerate(labels)}
        golds = [list(zip(*eg.get_aligned_parse(projectivize=False))) for eg in usable]
        n = numpy.zeros(len(labels), dtype="int64")
        for doc, gold in zip(docs, golds):
            for token, (head, dep) in zip(doc, gold):
                if head is not None and dep in column and dep.lower() not in self.ignored:
                    n[column[dep]] += not token.is_space

        def counted(token: Any, dep: str) -> bool:
            return dep in column and dep.lower() not in self.ignored and not token.is_space

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            counts = numpy.zeros((len(docs), len(labels), 3))
            with fold.Shifted(self.last) as shifted, _known_vectors(self.pipe, vectors):
                shifted(self.spread(shift))
                for places in minibatch(numpy.flatnonzero(mask).tolist(), BATCH):
                    batch = [docs[i] for i in places]
                    states = self.pipe.predict(batch)
                    for d, doc in zip(places, annotated(self.pipe, batch, states)):
                        for token, (head, dep) in zip(doc, golds[d]):
                            if head is None or not dep:
                                continue
                            right = token.head.i == head and token.dep_ == dep
                            if counted(token, token.dep_):
                                counts[d, column[token.dep_], TP if right else FP] += 1
                            if counted(token, dep) and not right:
                                counts[d, column[dep], FN] += 1
            return counts

        return DecodedLabels(labels, decode, len(docs), n, progress, common=False)


# -- what several share --------------------------------------------------------------------

# Looked up by the exact type, or the nearest of its bases.
PARTS: Dict[type, Type[Part]] = {
    MultiLabel_TextCategorizer: MultiLabelText,
    TextCategorizer: ExclusiveText,
    Morphologizer: Morphs,
    SentenceRecognizer: Sentences,
    EditTreeLemmatizer: Lemmas,
    Tagger: Tags,
    SpanCategorizer: SpanLabels,
    SpanFinder: SpanEnds,
    EntityRecognizer: TransitionEntities,
    DependencyParser: Attachments,
    DiceNER: BiluoEntities,
}


def part_type(pipe: Any) -> Optional[Type[Part]]:
    """The class for a component; None if there is none."""
    for kind in type(pipe).__mro__:
        if kind in PARTS:
            return PARTS[kind]
    return None


def _center(part: Part, threshold: Any) -> float:
    if threshold is None or not 0 < threshold < 1:
        raise config_error(
            f"Component '{part.name}' cannot be tuned: its threshold is {threshold}, which no "
            "shift of scores can reach. Set one between 0 and 1, such as 0.5."
        )
    if part.last.activation == "none":
        return float(threshold)
    return float(calibration.logit(threshold))


def _logs(last: fold.LastLayer, scores: numpy.ndarray) -> numpy.ndarray:
    """Scores that compete: logits, or the logarithms of probabilities."""
    scores = scores.astype("float64")
    if last.emits_logits:
        return scores
    return numpy.log(numpy.maximum(scores, numpy.finfo("float32").tiny))


def _log_odds(last: fold.LastLayer, scores: numpy.ndarray) -> numpy.ndarray:
    scores = scores.astype("float64")
    return scores if last.emits_logits else calibration.logit(scores)


def _of_cells(cuts: IndependentLabels, center: float, what: str) -> Confidence:
    known = cuts.known & numpy.isfinite(cuts.scores)
    gold, z = cuts.gold, cuts.scores

    def p_at(temperature: Any) -> numpy.ndarray:
        if isinstance(temperature, dict):
            temperature = numpy.asarray([temperature.get(name, 1.0) for name in cuts.names])
        return calibration.sigmoid(z / temperature + center)[known]

    def fit(of_label: Optional[int] = None) -> Any:
        if of_label is None:
            return calibration.fit_sigmoid(z + center, gold, known, center)
        c = slice(of_label, of_label + 1)
        return calibration.fit_sigmoid(z[:, c] + center, gold[:, c], known[:, c], center)

    return Confidence(what, p_at(1.0), gold[known], p_at, fit)


def _of_rows(cuts: CompetingLabels, what: str) -> Confidence:
    usable = numpy.isfinite(cuts.scores[numpy.arange(len(cuts.gold)), cuts.gold])
    scores, gold = cuts.scores[usable], cuts.gold[usable]
    found = scores.argmax(axis=1) if len(scores) else gold

    def p_at(temperature: Any) -> numpy.ndarray:
        return calibration.softmax(scores / temperature).max(axis=1, initial=0.0)

    return Confidence(
        what, p_at(1.0), found == gold, p_at, lambda: calibration.fit_softmax(scores, gold)
    )


def _of_paths(scores: List[numpy.ndarray], right: Any, what: str) -> Confidence:
    """Of decisions that are several rows each: scores ``(rows, C)`` with the one that was taken
    in the first column."""
    right = numpy.asarray(right, dtype=bool)
    flat = numpy.concatenate(scores) if len(scores) else numpy.zeros((0, 1))
    of = numpy.repeat(numpy.arange(len(scores)), [len(rows) for rows in scores])

    def p_at(temperature: float) -> numpy.ndarray:
        scaled = flat / temperature
        log_z = numpy.logaddexp.reduce(scaled, axis=1) if len(flat) else numpy.zeros(0)
        log_p = scaled[:, 0] - log_z
        return numpy.exp(numpy.bincount(of, weights=log_p, minlength=len(scores)))

    def fit() -> float:
        return calibration.minimum(lambda t: calibration.measure(p_at(t), right).nll)

    return Confidence(what, p_at(1.0), right, p_at, fit)


def _vectors(pipe: Any, docs: Sequence[Doc]) -> Dict[int, Any]:
    """What a transition-based component's tok2vec makes of each doc, by the doc's id()."""
    tok2vec = pipe.model.get_ref("tok2vec")
    vectors = {}
    for batch in minibatch(docs, BATCH):
        if any(len(doc) for doc in batch):
            rows = tok2vec.predict(batch)
            first = 0
            for doc in batch:
                vectors[id(doc)] = rows[first : first + len(doc)]
                first += len(doc)
    return vectors


@contextmanager
def _known_vectors(pipe: Any, vectors: Dict[int, Any]) -> Iterator[None]:
    """Let the component look its tok2vec's output up."""
    tok2vec = pipe.model.get_ref("tok2vec")
    func = tok2vec._func

    def look_up(model: Any, docs: Any, is_train: bool) -> Any:
        return model.ops.xp.concatenate([vectors[id(doc)] for doc in docs if len(doc)]), None

    tok2vec._func = look_up
    try:
        yield
    finally:
        tok2vec._func = func


def annotated(pipe: Any, docs: Sequence[Doc], states: Any) -> Iterator[Doc]:
    """Docs with what a transition-based component predicts; what was given stays as it is."""
    copies = [doc.copy() for doc in docs]
    pipe.set_annotations(copies, states)
    yield from copies


def _entities(
    pipe: Any, docs: Sequence[Doc], states: Any, fresh: Sequence[bool]
) -> Iterator[List[Tuple[int, int, str]]]:
    """The same for entities alone, at less cost. fresh: which docs have no entities before."""
    writable = [doc if is_fresh else doc.copy() for doc, is_fresh in zip(docs, fresh)]
    pipe.set_annotations(writable, states)
    for doc, is_fresh in zip(writable, fresh):
        yield [(ent.start, ent.end, ent.label_) for ent in doc.ents]
        if is_fresh:
            doc.set_ents([], default="missing")


def path_scores(
    pipe: Any, docs: Sequence[Doc]
) -> Tuple[List[List[Tuple[int, int, str]]], List[numpy.ndarray]]:
    """What a stock ner predicts, greedily, and the scores of the actions that led there.

    RETURNS the entities of each doc, and for each entity, one after another, floats ``(length,
    actions)``: the scores at each of its tokens, that of the action that was taken first.
    """
    found: List[List[Tuple[int, int, str]]] = []
    of_found: List[numpy.ndarray] = []
    column = {pipe.moves.get_class_name(i): i for i in range(pipe.moves.n_moves)}
    with_words = [i for i, doc in enumerate(docs) if len(doc)]
    rows: List[List[numpy.ndarray]] = [[] for _ in docs]
    states = pipe.moves.init_batch(docs)
    if with_words:
        step = pipe.model.predict(list(docs))
        is_open = [(i, state) for i, state in enumerate(states) if not state.is_final()]
        while is_open:
            scores = numpy.ascontiguousarray(step.predict([state for _, state in is_open]))
            for (i, _), row in zip(is_open, scores):
                rows[i].append(row.copy())
            pipe.transition_states([state for _, state in is_open], scores)
            is_open = [(i, state) for i, state in is_open if not state.is_final()]
    for i, doc in enumerate(annotated(pipe, docs, states)):
        preset = {(e.start, e.end) for e in docs[i].ents}
        ents = [e for e in doc.ents if (e.start, e.end) not in preset]
        found.append([(e.start, e.end, e.label_) for e in ents])
        for ent in ents:
            tags = ["U"] if len(ent) == 1 else ["B", *"I" * (len(ent) - 2), "L"]
            taken = []
            for token, tag in enumerate(tags, ent.start):
                row = rows[i][token].astype("float64")
                c = column[f"{tag}-{ent.label_}"]
                taken.append(numpy.concatenate([row[c : c + 1], numpy.delete(row, c)]))
            of_found.append(numpy.stack(taken))
    return found, of_found
