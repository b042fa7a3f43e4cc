"""dice_qa: answers to questions, found in the text."""

import warnings
from itertools import islice
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy
from spacy.attrs import ENT_IOB
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from dice_core.labels import LabelSpec
from dice_core.targets import from_rows

from ..errors import config_error, label_spec
from ..heads import Head
from ..losses import EntityDice, LogitAdjustedCE, Loss, WeightedCrossEntropy
from ..reading import answers as decoding
from ..reading import questions as of_docs
from ..reading.questions import Extent
from ..reading.windows import Pair, Window, in_batches, sigmoid_targets, softmax_targets
from .trainable import OwnMixin, check_is_loss, own, warn_of_loss

ACTIVATIONS = ("softmax", "sigmoid")
# A CPU predicts large batches more slowly than small ones (1.5 times at 8192 pieces).
ITEMS_ON_CPU = 2048
# start x end of an answer whose start and end are as likely as not.
AS_LIKELY_AS_NOT = 0.25
# The label of answers to questions of a document; those to fixed questions have their own.
ANSWER = "ANSWER"


class Answer(NamedTuple):
    """An answer that was found: its first and last character (exclusive), the label of the fixed
    question or ANSWER, the id of the document's question or "", and start x end.
    """

    start: int
    end: int
    label: str
    id: str
    score: float


class Asked(NamedTuple):
    """A question that was asked of a doc. label and id: as in Answer. gold: where its answers are,
    None if that is not known.
    """

    doc: int
    label: str
    id: str
    pair: Pair
    gold: Optional[List[Extent]] = None


class DiceQA(OwnMixin, TrainablePipe):
    """Extractive question answering: an encoder reads a question and a text together and says of
    each word piece how likely an answer starts and ends there.

    It asks every doc the fixed questions of the config, and each doc its own, ``doc._.questions``.
    Answers are spans of ``doc.spans[spans_key]``, with start x end of each in
    ``attrs["scores"]``: of a fixed question with its label, of a doc's question with its id in
    ``span.id_`` and the label ANSWER.
    """

    own_factory = "dice_qa"

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "dice_qa",
        *,
        loss: Loss,
        questions: Optional[Dict[str, str]] = None,
        activation: str = "softmax",
        spans_key: str = "answers",
        set_ents: bool = False,
        threshold: Optional[float] = None,
        thresholds: Optional[Dict[str, float]] = None,
        no_answer: bool = False,
        max_answer_length: int = 30,
        max_batch_items: int = 8192,
        scorer: Optional[Callable] = None,
    ):
        """Make the component.

        Args:
            vocab: The pipeline's vocabulary.
            model: `spacy_dice.QuestionAnswering.v1`.
            name: The component's name.
            loss: Any loss of spacy_dice. With a softmax its rows are the starts and the ends of
                windows, and its classes their positions, which are no labels: losses with class
                weights, and Dice over the batch with average = "macro", are refused. With a
                sigmoid its rows are word pieces, its classes "start" and "end".
            questions: Fixed questions, by the label of their answers.
            activation: "softmax", one answer in a window or none, as in SQuAD; or "sigmoid", any
                number of answers, each piece a start or not, an end or not.
            spans_key: Where in ``doc.spans`` answers are.
            set_ents: Whether answers to fixed questions also become ``doc.ents``; entities that
                are there already stay, and of overlapping answers the one with the best score.
            threshold: What start x end of an answer must be at least where there may be none, from
                0 to 1. None: 0.25 with a sigmoid, 0 with a softmax. `spacy find-threshold` finds
                the best value.
            thresholds: The same of single fixed questions, by label, with a sigmoid, in place of
                ``threshold``. `tune` sets them.
            no_answer: Whether a doc's question may have no answer, as in SQuAD 2.0. Fixed
                questions always may.
            max_answer_length: Word pieces of an answer at most.
            max_batch_items: Word pieces, padding included, that the encoder reads at once (2048
                at most where a CPU predicts). In training, windows of a batch beyond that are
                another set for set-level losses.
            scorer: `spacy_dice.qa_scorer.v1`.

        Raises:
            ConfigValidationError: For values that do not fit.
        """
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {
            "questions": {} if questions is None else dict(questions),
            "activation": activation,
            "spans_key": spans_key,
            "set_ents": set_ents,
            "threshold": threshold,
            "thresholds": thresholds,
            "no_answer": no_answer,
            "max_answer_length": max_answer_length,
            "max_batch_items": max_batch_items,
        }
        self._rehearsal_model = None
        of_docs.install_extension()
        self.set_loss(loss)
        self._check_options()
        if "encode" not in model.attrs:
            raise config_error(
                f"{own(self)}: the model must encode questions and texts together. Use "
                "spacy_dice.QuestionAnswering.v1."
            )
        self.check(self, loss)

    def _check_options(self) -> None:
        cfg = self.cfg
        for label, question in cfg["questions"].items():
            if not isinstance(question, str) or not question.strip():
                raise config_error(f"{own(self)}: the question {label!r} is empty: {question!r}.")
            if label == ANSWER:
                raise config_error(
                    f"{own(self)}: {ANSWER} is the label of answers to questions of docs. Give the "
                    "fixed question another one."
                )
        if cfg["activation"] not in ACTIVATIONS:
            raise config_error(
                f"{own(self)}: activation must be one of {', '.join(ACTIVATIONS)}, got "
                f"{cfg['activation']!r}."
            )
        if not isinstance(cfg["spans_key"], str) or not cfg["spans_key"]:
            raise config_error(f"{own(self)}: spans_key must be a name, got {cfg['spans_key']!r}.")
        threshold = cfg["threshold"]
        if threshold is not None and not 0 <= threshold <= 1:
            raise config_error(
                f"{own(self)}: threshold must be from 0 to 1, or null, got {threshold!r}."
            )
        for label, value in (cfg["thresholds"] or {}).items():
            if label not in cfg["questions"] or cfg["activation"] != "sigmoid":
                known = ", ".join(cfg["questions"]) or "none"
                raise config_error(
                    f"{own(self)}: thresholds are of fixed questions, with a sigmoid; there is no "
                    f"{label!r}. The questions are: {known}; activation is {cfg['activation']!r}."
                )
            if not 0 <= value <= 1:
                raise config_error(
                    f"{own(self)}: the threshold of {label!r} must be from 0 to 1, got {value!r}."
                )
        for option in ("max_answer_length", "max_batch_items"):
            if cfg[option] < 1:
                raise config_error(
                    f"{own(self)}: {option} must be 1 at least, got {cfg[option]!r}."
                )

    # -- labels and the loss ------------------------------------------------------------

    @property
    def questions(self) -> Dict[str, str]:
        """The fixed questions, by label."""
        return dict(self.cfg["questions"])

    @property
    def labels(self) -> Tuple[str, ...]:
        """The labels of the fixed questions."""
        return tuple(self.cfg["questions"])

    def add_question(self, label: str, question: str) -> None:
        """Ask every doc one more question, or another one for a label that is there."""
        before = self.cfg["questions"]
        self.cfg["questions"] = {**before, label: question}
        try:
            self._check_options()
        except ValueError:
            self.cfg["questions"] = before
            raise

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        names = ("start", "end") if pipe.cfg["activation"] == "sigmoid" else None
        return label_spec(own(pipe), names, sequence=False, positions=names is None)

    def head(self) -> Head:
        return Head(self.cfg["activation"], "logits")

    @classmethod
    def check_trainable(cls, pipe: TrainablePipe) -> None:
        pass  # the constructor has seen to that

    @classmethod
    def check(cls, pipe: TrainablePipe, loss: Any) -> None:
        check_is_loss(pipe, loss)
        for term in _terms(loss):
            if isinstance(term, EntityDice):
                raise config_error(
                    f"{own(pipe)}: EntityDice needs a head of tags of entities, as dice_ner has. "
                    "Use another loss here, e.g. spacy_dice.DiceCE.v1."
                )
            if pipe.cfg["activation"] == "softmax":
                _check_positions(pipe, term)
        super().check(pipe, loss)

    # -- predicting ---------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> List[List[Answer]]:
        """The answers of each doc, in the order of its questions; several answers to one question
        best first. Windows go through the encoder in the order of their lengths.
        """
        docs = list(docs)
        found: List[List[Answer]] = [[] for _ in docs]
        for question, windows, scores in self.read(self._ask(docs)):
            for one in self._decode(question, windows, scores):
                answer = Answer(one.start, one.end, question.label, question.id, one.score)
                found[question.doc].append(answer)
        return found

    def read(
        self, asked: Sequence[Asked]
    ) -> Iterator[Tuple[Asked, List[Window], List[numpy.ndarray]]]:
        """Each question with its windows, and their logits ``(pieces, 2)``."""
        windows = self._encode(asked)
        scores: List[Any] = [None] * len(windows)
        items = self.cfg["max_batch_items"]
        if self.model.ops.device_type == "cpu":
            items = min(items, ITEMS_ON_CPU)
        for batch in in_batches(windows, items):
            logits = self.model.predict([windows[i] for i in batch])
            for i, of_window in zip(batch, self.model.ops.to_numpy(logits)):
                scores[i] = of_window
        first = 0
        for number, question in enumerate(asked):
            last = first
            while last < len(windows) and windows[last].pair == number:
                last += 1
            yield question, windows[first:last], scores[first:last]
            first = last

    def set_annotations(self, docs: Iterable[Doc], batch: Sequence[List[Answer]]) -> None:
        """Set doc.spans, and doc.ents if asked for."""
        key = self.cfg["spans_key"]
        for doc, found in zip(docs, batch):
            spans, scores = [], []
            for answer in found:
                span: Any = doc.char_span(answer.start, answer.end, alignment_mode="expand")
                label, number = answer.label, answer.id
                spans.append(Span(doc, span.start, span.end, label=label, span_id=number))
                scores.append(answer.score)
            group = SpanGroup(doc, name=key, spans=spans)
            group.attrs["scores"] = numpy.asarray(scores, dtype="float32")
            doc.spans[key] = group
            if self.cfg["set_ents"]:
                fixed = [(score, span) for score, span in zip(scores, spans) if not span.id]
                _set_ents(doc, fixed)

    def _ask(self, docs: Sequence[Doc]) -> List[Asked]:
        asked = []
        for i, doc in enumerate(docs):
            text = doc.text
            for label, question in self.cfg["questions"].items():
                asked.append(Asked(i, label, "", Pair(question, text)))
            for own_question in of_docs.read(doc, own(self)):
                pair = Pair(own_question.text, text)
                asked.append(Asked(i, ANSWER, own_question.id, pair))
        return asked

    def _encode(self, asked: Sequence[Asked]) -> List[Window]:
        return self.model.attrs["encode"](self.model, [one.pair for one in asked], own(self))

    def threshold_of(self, label: str) -> float:
        """What start x end of an answer must be at least, with a sigmoid."""
        common = self.cfg["threshold"]
        least = AS_LIKELY_AS_NOT if common is None else common
        return (self.cfg["thresholds"] or {}).get(label, least)

    def stripped(self, asked: Asked, found: Iterable[decoding.Found]) -> List[decoding.Found]:
        """Answers without white space at their ends."""
        made = (_stripped(one, asked.pair.text) for one in found)
        return [one for one in made if one is not None]

    def _decode(
        self, asked: Asked, windows: Sequence[Window], scores: Sequence[numpy.ndarray]
    ) -> List[decoding.Found]:
        length, threshold = self.cfg["max_answer_length"], self.cfg["threshold"]
        may_lack = self.cfg["no_answer"] or not asked.id
        if self.cfg["activation"] == "softmax":
            best, null = decoding.best(windows, scores, length)
            lacks = may_lack and best is not None and best.score < max(null, threshold or 0.0)
            found = [] if best is None or lacks else [best]
        else:
            least = self.threshold_of(asked.label)
            found = decoding.several(decoding.candidates(windows, scores, length, least), least)
            if not found and not may_lack:
                best = decoding.best_alone(windows, scores, length)
                found = [] if best is None else [best]
        return self.stripped(asked, found)

    # -- training -----------------------------------------------------------------------

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
    ) -> None:
        """Read the encoder, and look through the data for what cannot be learned from it."""
        validate_get_examples(get_examples, "DiceQA.initialize")
        self.check(self, self.loss)
        warn_of_loss(self, self.loss, nlp)
        if not list(islice(get_examples(), 1)):
            raise ValueError(Errors.E923.format(name=self.name))
        n_known = n_several = n_lacking = 0
        for example in get_examples():
            for asked in self.gold([example]):
                if asked.gold is not None:
                    n_known += 1
                    n_several += not asked.id and len(asked.gold) > 1
                    n_lacking += bool(asked.id) and not asked.gold
        if not n_known:
            raise config_error(
                f"{own(self)}: the training data has no question with known answers. Give the "
                f"component fixed questions ([components.{self.name}.questions]) whose answers are "
                f"in doc.spans[{self.cfg['spans_key']!r}] or doc.ents, or docs with questions of "
                "their own (the corpus reader spacy_dice.squad.v1)."
            )
        if n_several and self.cfg["activation"] == "softmax":
            warnings.warn(
                f"{own(self)}: {n_several} fixed questions of the training data have several "
                "answers in a doc, and a softmax predicts one at most. Set activation = "
                '"sigmoid" for all of them.',
                stacklevel=2,
            )
        if n_lacking and not self.cfg["no_answer"]:
            warnings.warn(
                f"{own(self)}: {n_lacking} questions of the training data have no answer, but each "
                "question will be given one. Set no_answer = true to allow for none.",
                stacklevel=2,
            )
        self.model.initialize(X=[])

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[dict] = None,
    ) -> dict:
        """Learn from a batch; see TrainablePipe.update.

        Questions without known answers teach nothing. The encoder has a dropout of its own
        (transformer_config).
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "DiceQA.update")
        set_dropout_rate(self.model, drop)
        asked = [one for one in self.gold(examples) if one.gold is not None]
        gold = [one.gold or [] for one in asked]
        windows = self._encode(asked)
        for batch in in_batches(windows, self.cfg["max_batch_items"]):
            chosen = [windows[i] for i in batch]
            logits, backprop = self.model.begin_update(chosen)
            value, gradient = self._loss_of(chosen, gold, logits)
            backprop(gradient)
            losses[self.name] += value
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def rehearsal(self, examples: Sequence[Example]) -> Iterator[float]:
        """Learn, one batch of windows after another, what the former model predicts."""
        windows = self._encode(self._ask([eg.predicted for eg in examples]))
        for batch in in_batches(windows, self.cfg["max_batch_items"]):
            chosen = [windows[i] for i in batch]
            logits, backprop = self.model.begin_update(chosen)
            p, mask = self._probabilities(chosen, logits)
            tutor, _ = self._probabilities(chosen, self._rehearsal_model.predict(chosen))
            gradient = (p - tutor) * mask
            backprop(self._to_logits(chosen, logits, gradient))
            yield float((gradient**2).sum())

    def _loss_of(
        self, windows: Sequence[Window], gold: Sequence[List[Extent]], logits: Any
    ) -> Tuple[float, Any]:
        """Value, and gradient by logits ``(windows, pieces, 2)``. gold: of each pair."""
        xp = self.model.ops.xp
        p, mask = self._probabilities(windows, logits)
        if self.cfg["activation"] == "softmax":
            y = softmax_targets(windows, gold, logits.shape[1])
        else:
            y, known = sigmoid_targets(windows, gold)
            mask = xp.asarray(known)
        mask = None if mask.all() else mask
        targets = from_rows(xp.asarray(y), mask, self.label_spec(self))
        gradient, value = self.loss.compute(p, targets, self.head())
        return value, self._to_logits(windows, logits, gradient)

    def _probabilities(self, windows: Sequence[Window], logits: Any) -> Tuple[Any, Any]:
        """What the loss reads, rows of classes, and where there are any: with a softmax starts and
        ends of windows, of positions; with a sigmoid pieces of texts, of start and end.
        """
        xp = self.model.ops.xp
        if self.cfg["activation"] == "softmax":
            lengths = xp.asarray([len(window.ids) for window in windows])
            mask = xp.arange(logits.shape[1])[None, :] < lengths[:, None]
            rows = xp.concatenate([logits[:, :, 0], logits[:, :, 1]])
            mask = xp.concatenate([mask, mask])
            rows = xp.where(mask, rows, -xp.inf)
            exp = xp.exp(rows - rows.max(axis=1, keepdims=True))
            return exp / exp.sum(axis=1, keepdims=True), mask.astype("float32")
        rows = xp.concatenate([logits[i, w.first : w.last] for i, w in enumerate(windows)])
        p = 1.0 / (1.0 + xp.exp(-xp.clip(rows, -50.0, 50.0)))
        return p, xp.ones_like(p)

    def _to_logits(self, windows: Sequence[Window], logits: Any, gradient: Any) -> Any:
        """The gradient of rows of `_probabilities`, at the places of their logits."""
        xp = self.model.ops.xp
        placed = xp.zeros_like(logits)
        if self.cfg["activation"] == "softmax":
            n = len(windows)
            placed[:, :, 0], placed[:, :, 1] = gradient[:n], gradient[n:]
            return placed
        row = 0
        for i, window in enumerate(windows):
            n = window.last - window.first
            placed[i, window.first : window.last] = gradient[row : row + n]
            row += n
        return placed

    def gold(self, examples: Iterable[Example]) -> List[Asked]:
        """The questions of examples and where their answers are, None if that is not known."""
        asked = []
        for i, example in enumerate(examples):
            doc, text = example.reference, example.reference.text
            if text != example.predicted.text:
                raise config_error(
                    f"{own(self)}: the texts of an example differ, so that answers have no place "
                    f"in what is predicted: {text[:60]!r} and {example.predicted.text[:60]!r}."
                )
            spans = _fixed_answers(doc, self.cfg["spans_key"])
            for label, question in self.cfg["questions"].items():
                gold = None
                if spans is not None:
                    extents = [(s.start_char, s.end_char) for s in spans if s.label_ == label]
                    gold = [_strip(extent, text) for extent in extents]
                asked.append(Asked(i, label, "", Pair(question, text), gold))
            for one in of_docs.read(doc, own(self), self.cfg["spans_key"]):
                gold = None
                if one.answers is not None:
                    gold = [_strip(extent, text) for extent in one.answers]
                    if self.cfg["activation"] == "softmax":
                        gold = gold[:1]  # the others are what other annotators marked
                asked.append(Asked(i, ANSWER, one.id, Pair(one.text, text), gold))
        return asked


def _fixed_answers(doc: Doc, key: str) -> Optional[List[Span]]:
    """Spans with the answers to fixed questions: doc.spans, or else doc.ents; None for a doc
    without this annotation.
    """
    if key in doc.spans:
        return [span for span in doc.spans[key] if not span.id]
    return list(doc.ents) if doc.has_annotation("ENT_IOB") else None


def _terms(loss: Any) -> Iterator[Any]:
    yield loss
    for term in getattr(loss, "losses", {}).values():
        yield from _terms(term)


def _check_positions(pipe: TrainablePipe, term: Any) -> None:
    """Refuse a loss that takes the positions of a softmax for labels."""
    macro = getattr(term, "level", None) == "batch" and getattr(term, "average", None) == "macro"
    weighted = getattr(term, "class_weights", None) is not None
    if isinstance(term, (WeightedCrossEntropy, LogitAdjustedCE)) or weighted or macro:
        what = 'average = "macro"' if macro else "weights of classes"
        raise config_error(
            f"{own(pipe)}: with a softmax the classes of spacy_dice.{type(term).__name__}.v1 are "
            f"positions in a text, for which {what} means nothing. "
            + ('Set average = "micro", or ' if macro else "Take another loss, or ")
            + 'activation = "sigmoid" in the component, whose classes are start and end.'
        )


def _strip(extent: Extent, text: str) -> Extent:
    """An extent without white space at its ends: tokenizers have no pieces for that."""
    start, end = extent
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _stripped(found: decoding.Found, text: str) -> Optional[decoding.Found]:
    start, end = _strip((found.start, found.end), text)
    return None if start == end else decoding.Found(start, end, found.score)


def _set_ents(doc: Doc, scored: List[Tuple[float, Span]]) -> None:
    iob = doc.to_array([ENT_IOB])
    is_annotated = doc.has_annotation("ENT_IOB")
    taken = (iob == 3) | (iob == 1)
    chosen = []
    for _, span in sorted(scored, key=lambda pair: (-pair[0], pair[1].start)):
        if not taken[span.start : span.end].any():
            taken[span.start : span.end] = True
            chosen.append(span)
    doc.set_ents(chosen, default="unmodified" if is_annotated else "outside")
