"""What each kind of component decides, and from which scores: one small class a kind.

A part reads a component's scores and gold annotation into the arrays of `dice_core.cuts`, says
which columns of the last layer a shift moves, and how sure the component is of what it predicts.
"""

from contextlib import contextmanager
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Type,
)

import numpy
from spacy.attrs import ENT_IOB, ENT_TYPE
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
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import Model

from dice_core import calibration
from dice_core.calibration import Confidence, logit, sigmoid
from dice_core.cuts import (
    LIMIT,
    CompetingLabels,
    DecodedLabels,
    IndependentLabels,
    Progress,
    Span,
    SpanCounts,
)
from dice_core.cuts import Labels as Cuts
from dice_core.objectives import FN, FP, TP
from dice_core.tuning import DIGITS, Part, TagPart

from .. import biluo
from ..components.dice_ner import (
    DiceNER,
    constrained_scores,
    label_shifts,
    log_odds,
    shift_scores,
)
from ..components.per_span import NO_SPAN
from ..components.per_token import aligned_morphs
from ..components.trainable import own
from ..errors import config_error
from . import fold

BATCH = 128


class PipePart(Part):
    """A component that can be tuned. kind: its factory. by_default: whether components=None takes
    it in. progress: told how many decodings are done."""

    by_default = True
    has_probabilities = True
    # Whether each label is decided by itself, at the component's threshold.
    is_sigmoid = False
    # The column that stands for "none of them".
    background: Optional[int] = None
    progress: Progress = None

    def __init__(self, pipe: TrainablePipe, kind: str):
        self.pipe, self.kind, self.name = pipe, kind, pipe.name
        self.last = fold.find_last_layer(pipe.model, pipe.name)

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
                f"{own(self)} cannot be tuned: its labels are decided by themselves, and its model "
                "ends in a softmax, where they compete. Set exclusive_classes = false."
            )

    @property
    def center(self) -> float:
        """The score from which on a label is predicted; 0 where labels compete."""
        if not self.is_sigmoid:
            return 0.0
        threshold = float(self.pipe.cfg["threshold"])
        return threshold if self.last.activation == "none" else float(logit(threshold))

    @property
    def odds(self) -> Optional[float]:
        return None if self.last.activation == "none" else self.center

    @property
    def columns(self) -> List[str]:
        return [str(label) for label in self.pipe.labels]

    @property
    def labels(self) -> List[str]:
        return [name for c, name in enumerate(self.columns) if c != self.background]

    def predict(self, X: Any) -> numpy.ndarray:
        """Scores beyond the threshold."""
        with self.last.raw():
            return self.last.scores(self.pipe.model.predict(X)) - self.center

    @property
    def state(self) -> Dict[str, Any]:
        return fold.get_state(self.pipe)

    def fold(self, shift: numpy.ndarray, temperatures: numpy.ndarray, state: Dict) -> None:
        fold.fold(self.last, self.pipe, self.spread(shift), temperatures, self.center, state)

    def clear(self) -> None:
        fold.unfold(self.last, self.pipe)

    def twin(self) -> Any:
        """A copy of the component, which can be folded without changing this one."""
        return fold.copy_apart(self.pipe, self.last)


# -- documents -----------------------------------------------------------------------------


class ExclusiveText(PipePart):
    """textcat: the label with the highest score. With positive_label, only that one counts."""

    average = "macro"
    # The score of each label for a doc without words.
    of_no_words = 0.0

    def __init__(self, pipe: TrainablePipe, kind: str):
        super().__init__(pipe, kind)
        positive, columns = pipe.cfg.get("positive_label"), self.columns
        if positive in columns and len(columns) == 2 and not self.is_sigmoid:
            self.background = 1 - columns.index(positive)

    def scores(self, examples: Sequence[Example]) -> numpy.ndarray:
        """``(docs, C)``."""
        made = [numpy.zeros((0, len(self.columns)))]
        for batch in minibatch([eg.predicted for eg in examples], BATCH):
            if any(len(doc) for doc in batch):
                made.append(self.predict(batch))
            else:
                made.append(numpy.full((len(batch), len(self.columns)), self.of_no_words))
        return numpy.concatenate(made)

    def read(self, examples: Sequence[Example]) -> Cuts:
        columns, rows, gold = self.columns, [], []
        for row, eg in enumerate(examples):
            of = [eg.reference.cats.get(label, 0.0) for label in columns]
            if max(of, default=0.0) > 0:
                rows.append(row)
                gold.append(int(numpy.argmax(of)))
        scores = self.scores(examples)[rows]
        return CompetingLabels(columns, scores, gold, background=self.background)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("the predicted label")


class MultiLabelText(ExclusiveText):
    """textcat_multilabel: each label by itself, at the component's threshold."""

    of_no_words = -numpy.inf
    per_label = True
    is_sigmoid = True

    def read(self, examples: Sequence[Example]) -> Cuts:
        values = [[eg.reference.cats.get(x) for x in self.columns] for eg in examples]
        known = numpy.asarray([[v is not None for v in row] for row in values], dtype=bool)
        gold = numpy.asarray([[(v or 0) > 0 for v in row] for row in values], dtype=bool)
        scores = self.scores(examples)
        return IndependentLabels(self.columns, scores, gold, known=known.reshape(scores.shape))

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each label of each document", self.center)


# -- tokens --------------------------------------------------------------------------------


class Tags(PipePart):
    """tagger and dice_tagger: the label with the highest score, of each token."""

    def gold(self, eg: Example) -> Sequence[Any]:
        """The label of each token; None, or one that there is not, where it is missing."""
        return [tag or None for tag in eg.get_aligned("TAG", as_string=True)]

    def read(self, examples: Sequence[Example]) -> Cuts:
        column: Dict[Any, int] = {label: c for c, label in enumerate(self.columns)}
        scores = [numpy.zeros((0, len(column)))]
        gold, doc = [numpy.zeros(0, "int64")], [numpy.zeros(0, "int64")]
        model = self.pipe.model
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            if not any(len(eg.predicted) for eg in batch):
                continue
            of_batch = model.predict([eg.predicted for eg in batch])
            for i, (eg, of_doc) in enumerate(zip(batch, of_batch), start):
                ids = numpy.asarray([column.get(x, -1) for x in self.gold(eg)], dtype="int64")
                known = ids >= 0
                scores.append(model.ops.to_numpy(of_doc)[known])
                gold.append(ids[known])
                doc.append(numpy.full(int(known.sum()), i))
        Z = self.last.scores(numpy.concatenate(scores))
        ids, docs = numpy.concatenate(gold), numpy.concatenate(doc)
        return CompetingLabels(self.columns, Z, ids, docs, self.background)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each token's label")


class Morphs(Tags):
    """morphologizer: parts of speech with features."""

    def gold(self, eg: Example) -> Sequence[Any]:
        return aligned_morphs(self.pipe, eg)


class Sentences(Tags):
    """senter: whether a sentence starts at a token."""

    background = 0

    @property
    def columns(self) -> List[str]:
        return ["I", "S"]

    def gold(self, eg: Example) -> Sequence[Any]:
        starts = eg.get_aligned("SENT_START")
        is_known = eg.reference.has_annotation("SENT_START")
        # 1 starts a sentence; None is misaligned.
        return [("S" if x == 1 else "I") if is_known and x is not None else None for x in starts]


class Lemmas(Tags):
    """trainable_lemmatizer: edit trees."""

    def gold(self, eg: Example) -> Sequence[Any]:
        lemmas = eg.get_aligned("LEMMA", as_string=True)
        trees = self.pipe.trees
        return [
            str(trees.add(token.text, lemma)) if lemma else None
            for token, lemma in zip(eg.predicted, lemmas)
        ]


# -- spans ---------------------------------------------------------------------------------


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

    def read(self, examples: Sequence[Example]) -> Cuts:
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

    def read(self, examples: Sequence[Example]) -> Cuts:
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


# -- entities ------------------------------------------------------------------------------


class Entities(TagPart, PipePart):
    """Entities that a decoder finds; a shift of each label, and one of all."""

    @property
    def labels(self) -> List[str]:
        return list(self.pipe.labels)

    def prepare(self, docs: Sequence[Doc]) -> None:
        """Compute what does not change with a shift."""
        raise NotImplementedError

    def spans(self, at: Sequence[int], shift: numpy.ndarray) -> Iterator[List[Span]]:
        """What is predicted with a shift in the docs at these places."""
        raise NotImplementedError

    def read(self, examples: Sequence[Example]) -> Cuts:
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

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            at = numpy.flatnonzero(mask).tolist()
            return self._count(zip(at, self.spans(at, shift)))

        n_examples = self._count.n_examples
        return DecodedLabels(self.labels, decode, len(usable), n_examples, self.progress)


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
        return _actions(self.pipe)

    def prepare(self, docs: Sequence[Doc]) -> None:
        self._vectors = _vectors(self.pipe, docs)

    def spans(self, at: Sequence[int], shift: numpy.ndarray) -> Iterator[List[Span]]:
        docs = [self._docs[i] for i in at]
        for doc in _parsed(self, docs, self._vectors, shift):
            yield [(ent.start, ent.end, ent.label_) for ent in doc.ents]

    def confidence(self, labels: Any) -> Confidence:
        with _known_vectors(self.pipe, self._vectors):
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
        lengths = [len(doc) for doc in docs]
        self._scores = numpy.split(numpy.concatenate(flat), numpy.cumsum(lengths)[:-1])
        self._preset = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in docs]

    def spans(self, at: Sequence[int], shift: numpy.ndarray) -> Iterator[List[Span]]:
        found = [list(self._preset[i]) for i in at]
        for d, *span in self._decoded(at, shift)[0]:
            found[d].append(tuple(span))
        yield from found

    def _decoded(self, at: Sequence[int], shift: numpy.ndarray) -> Any:
        """New entities, ``(place in at, start, end, label)``; the same as arrays; the scores, and
        the lengths of the docs."""
        flat = numpy.concatenate(
            [numpy.zeros((0, len(self.columns))), *(self._scores[i] for i in at)]
        )
        lengths = [len(self._scores[i]) for i in at]
        outside = log_odds(self.pipe.cfg["threshold"]) - float(shift[-1])
        shifts = label_shifts(self.pipe.cfg, self.labels) + shift[:-1]
        arrays = biluo.decode(shift_scores(flat, outside, shifts), lengths)
        columns = (part.tolist() for part in arrays)
        labels = self.labels
        found = [(d, start, end, labels[c]) for d, start, end, c in zip(*columns)]
        return found, arrays, flat, lengths

    def confidence(self, labels: Any) -> Confidence:
        nothing = numpy.zeros(len(self.shift_names))
        found, arrays, flat, lengths = self._decoded(range(len(self._docs)), nothing)
        right = [tuple(span) in self._count.gold[d] for d, *span in found]
        return calibration.of_found(
            "each predicted entity",
            lambda temperature: biluo.probabilities(flat / temperature, lengths, arrays),
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


# -- the parser ----------------------------------------------------------------------------


class Attachments(TagPart, PipePart):
    """parser: labels of dependencies. A label's shift is of its L- and R- actions, that of ROOT is
    of B-ROOT, which begins a sentence. Punctuation and spaces do not count, as for spaCy."""

    prefixes = ("L-", "R-", "B-")
    ignored = ("p", "punct")
    by_default = has_probabilities = False

    @property
    def columns(self) -> List[str]:
        return _actions(self.pipe)

    @property
    def labels(self) -> List[str]:
        return sorted({name[2:] for name in self.columns if name[:2] in self.prefixes} - {""})

    def read(self, examples: Sequence[Example]) -> Cuts:
        usable = [eg for eg in examples if eg.reference.has_annotation("DEP")]
        docs, labels = [eg.predicted for eg in usable], self.labels
        vectors = _vectors(self.pipe, docs)
        column = {label: c for c, label in enumerate(labels) if label.lower() not in self.ignored}
        golds = [list(zip(*eg.get_aligned_parse(projectivize=False))) for eg in usable]
        n_examples = numpy.zeros(len(labels), dtype="int64")
        for doc, gold in zip(docs, golds):
            for token, (head, dep) in zip(doc, gold):
                if head is not None and dep in column and not token.is_space:
                    n_examples[column[dep]] += 1

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            counts, at = numpy.zeros((len(docs), len(labels), 3)), numpy.flatnonzero(mask)
            for d, doc in zip(at, _parsed(self, [docs[d] for d in at], vectors, shift)):
                for token, (head, dep) in zip(doc, golds[d]):
                    if head is None or not dep or token.is_space:
                        continue
                    right = token.head.i == head and token.dep_ == dep
                    if token.dep_ in column:
                        counts[d, column[token.dep_], TP if right else FP] += 1
                    if dep in column and not right:
                        counts[d, column[dep], FN] += 1
            return counts

        return DecodedLabels(labels, decode, len(docs), n_examples, self.progress, common=False)


# -- transition systems --------------------------------------------------------------------


def _actions(pipe: TrainablePipe) -> List[str]:
    return [pipe.moves.get_class_name(i) for i in range(pipe.moves.n_moves)]


def _vectors(pipe: TrainablePipe, docs: Sequence[Doc]) -> Dict[int, Any]:
    """What a transition-based component's tok2vec makes of each doc, by the doc's id()."""
    tok2vec = pipe.model.get_ref("tok2vec")
    vectors = {}
    for batch in minibatch(docs, BATCH):
        rows = tok2vec.predict(batch) if any(len(doc) for doc in batch) else []
        first = 0
        for doc in batch:
            vectors[id(doc)] = rows[first : first + len(doc)]
            first += len(doc)
    return vectors


@contextmanager
def _known_vectors(pipe: TrainablePipe, vectors: Dict[int, Any]) -> Iterator[None]:
    """Let the component look its tok2vec's output up."""
    tok2vec = pipe.model.get_ref("tok2vec")
    func = tok2vec._func

    def look_up(model: Model, docs: Sequence[Doc], is_train: bool) -> Any:
        return model.ops.xp.concatenate([vectors[id(doc)] for doc in docs if len(doc)]), None

    tok2vec._func = look_up
    try:
        yield
    finally:
        tok2vec._func = func


def _parsed(
    part: PipePart, docs: Sequence[Doc], vectors: Dict[int, Any], shift: numpy.ndarray
) -> Iterator[Doc]:
    """Copies of docs with what a transition-based component predicts with a shift."""
    with part.last.shifts() as add, _known_vectors(part.pipe, vectors):
        add(part.spread(shift))
        for batch in minibatch(docs, BATCH):
            yield from _annotated(part.pipe, batch, part.pipe.predict(batch))


def _annotated(pipe: TrainablePipe, docs: Sequence[Doc], states: Any) -> List[Doc]:
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
    column = {name: c for c, name in enumerate(_actions(pipe))}
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
    of_found: List[numpy.ndarray] = []
    for doc, before, of_doc in zip(_annotated(pipe, docs, states), docs, rows):
        preset = {(ent.start, ent.end) for ent in before.ents}
        ents = [ent for ent in doc.ents if (ent.start, ent.end) not in preset]
        found.append([(ent.start, ent.end, ent.label_) for ent in ents])
        for ent in ents:
            tags = ["U"] if len(ent) == 1 else ["B", *"I" * (len(ent) - 2), "L"]
            taken = []
            for row, tag in zip(of_doc[ent.start : ent.end], tags):
                c = column[f"{tag}-{ent.label_}"]
                taken.append(numpy.concatenate([row[c : c + 1], numpy.delete(row, c)]))
            of_found.append(numpy.stack(taken))
    return found, of_found


def path_probabilities(scores: List[numpy.ndarray], temperature: float = 1.0) -> numpy.ndarray:
    """``(entities,)``: the product of the probabilities of each entity's actions, from what
    `path_scores` gives."""
    if not scores:
        return numpy.zeros(0)
    flat = numpy.concatenate(scores) / temperature
    of = numpy.repeat(numpy.arange(len(scores)), [len(rows) for rows in scores])
    log_p = flat[:, 0] - numpy.logaddexp.reduce(flat, axis=1)
    return numpy.exp(numpy.bincount(of, weights=log_p, minlength=len(scores)))


# -- which part is whose -------------------------------------------------------------------

# Looked up by the exact type, or the nearest of its bases.
PARTS: Dict[type, Type[PipePart]] = {
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


def part_type(pipe: TrainablePipe) -> Optional[Type[PipePart]]:
    """The class for a component; None if there is none."""
    return next((PARTS[kind] for kind in type(pipe).__mro__ if kind in PARTS), None)
