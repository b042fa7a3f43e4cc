"""dice_qa: answers to questions, found in the text."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Optional

import numpy
from spacy.attrs import ENT_IOB
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.targets import from_rows

from ..errors import config_error, label_spec
from ..heads import Head
from ..reading import answers as decoding
from ..reading.answers import Window, in_batches, sigmoid_targets, softmax_targets, text_mask
from ..reading.questions import Extent, fixed_answers, install_extension, read
from .settings import Setting, SettingsMixin, check_probability
from .trainable import LossLike, OwnMixin, own, warn_of_loss

ACTIVATIONS = ("softmax", "sigmoid")
# A CPU predicts large batches more slowly than small ones (1.5 times at 8192 pieces).
ITEMS_ON_CPU = 2048
# start x end of an answer whose start and end are as likely as not.
AS_LIKELY_AS_NOT = 0.25
# The label of answers to questions of a document; those to fixed questions have their own.
ANSWER = "ANSWER"


class Answer(NamedTuple):
    """An answer that was found.

    Attributes:
        start: Its first character.
        end: Past its last character.
        label: The label of the fixed question, or ANSWER.
        id: The id of the document's question, or "".
        score: start x end.
    """

    start: int
    end: int
    label: str
    id: str
    score: float


class Asked(NamedTuple):
    """A question that was asked of a doc.

    Attributes:
        doc: The doc's index.
        label: As in `Answer`.
        id: As in `Answer`.
        pair: The question and the text.
        gold: Where its answers are, None if that is not known.
    """

    doc: int
    label: str
    id: str
    pair: tuple[str, str]
    gold: Optional[list[Extent]] = None


class DiceQA(SettingsMixin, OwnMixin, TrainablePipe):
    """Extractive question answering: an encoder reads a question and a text together and predicts
    for each word piece how likely an answer starts and ends there.

    It asks every doc the fixed questions of the config, and each doc its own, ``doc._.questions``.
    Answers are spans of ``doc.spans[spans_key]``, with start x end of each in
    ``attrs["scores"]``: of a fixed question with its label, of a doc's question with its id in
    ``span.id_`` and the label ANSWER.

    Args:
        vocab: The pipeline's vocabulary.
        model: `spacy_dice.QuestionAnswering.v1`.
        name: The component's name.
        loss: A loss of spacy_dice. With a softmax its rows are the starts and the ends of
            windows, and its classes their positions, which are no labels: losses with class
            weights, and Dice over the batch with average = "macro", are refused. With a sigmoid
            its rows are word pieces, its classes "start" and "end".
        questions: Fixed questions, by the label of their answers.
        activation: "softmax", one answer in a window or none, as in SQuAD; or "sigmoid", any
            number of answers, each piece a start or not, an end or not.
        spans_key: Where in ``doc.spans`` answers are.
        set_ents: Whether answers to fixed questions also become ``doc.ents``; entities that are
            there already stay, and of overlapping answers the one with the best score.
        threshold: What start x end of an answer must be at least where there may be none, from 0
            to 1. None: 0.25 with a sigmoid, 0 with a softmax. `spacy find-threshold` finds the
            best value.
        no_answer: Whether a doc's question may have no answer, as in SQuAD 2.0. Fixed questions
            always may.
        max_answer_length: Word pieces of an answer at most.
        max_batch_items: Word pieces, padding included, that the encoder reads at once (2048 at
            most where a CPU predicts). In training, windows of a batch beyond that are another
            set for set-level losses.
        scorer: `spacy_dice.qa_scorer.v1`.

    Raises:
        ConfigValidationError: For values that do not fit, or do nothing, here or when they are
            set.
    """

    own_factory = "dice_qa"
    questions = Setting[dict[str, str]]({})
    spans_key = Setting[str]("answers")
    set_ents = Setting[bool](False)
    threshold = Setting[Optional[float]](None)
    no_answer = Setting[bool](False)
    max_answer_length = Setting[int](30)
    max_batch_items = Setting[int](8192)

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str = "dice_qa",
        *,
        loss: LossLike,
        activation: str = "softmax",
        scorer: Optional[Callable] = None,
        **settings: object,
    ):
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self._rehearsal_model = None
        install_extension()
        self.set_loss(loss)
        if activation not in ACTIVATIONS:
            raise config_error(
                f"{own(self)}: activation must be one of {', '.join(ACTIVATIONS)}, got "
                f"{activation!r}."
            )
        self.cfg = {"activation": activation}
        self.init_settings(settings)
        if "encode" not in model.attrs:
            raise config_error(
                f"{own(self)}: the model must encode questions and texts together. Use "
                "spacy_dice.QuestionAnswering.v1."
            )
        self.check(self, self.loss)

    @property
    def is_sigmoid(self) -> bool:
        """Whether each piece is a start or not, an end or not; else one of a window is."""
        return self.cfg["activation"] == "sigmoid"

    def check_settings(self) -> None:
        if self.threshold is not None:
            check_probability(self, "threshold", self.threshold)
        empty = [k for k, v in self.questions.items() if not isinstance(v, str) or not v.strip()]
        always_answers = not (self.is_sigmoid or self.no_answer or self.questions)
        wrong = {
            f"the question {''.join(empty[:1])!r} is empty": bool(empty),
            f"{ANSWER} is the label of answers to questions of docs. Give the fixed question "
            "another one": ANSWER in self.questions,
            f"spans_key must be a name, got {self.spans_key!r}": not self.spans_key,
            "max_answer_length must be 1 at least": self.max_answer_length < 1,
            "max_batch_items must be 1 at least": self.max_batch_items < 1,
            "threshold does nothing where every question is given an answer. Set no_answer = true, "
            "or leave it out": self.threshold is not None and always_answers,
            "set_ents does nothing without fixed questions. Give it questions, or leave it "
            "out": self.set_ents and not self.questions,
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise config_error(f"{own(self)}: {message}.")

    # -- labels and the loss ------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the fixed questions."""
        return tuple(self.questions)

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        names = ("start", "end") if pipe.is_sigmoid else None
        return label_spec(own(pipe), names, sequence=False, positions=names is None)

    @classmethod
    def head_of(cls, pipe: TrainablePipe) -> Head:
        return Head("sigmoid" if pipe.is_sigmoid else "softmax", "logits")

    # -- predicting ---------------------------------------------------------------------

    def predict(self, docs: Iterable[Doc]) -> list[list[Answer]]:
        """Find the answers of each doc, in the order of its questions; several answers to one
        question best first. Windows go through the encoder in the order of their lengths.
        """
        docs = list(docs)
        found: list[list[Answer]] = [[] for _ in docs]
        asked = self._ask(docs)
        windows, on_cpu = self._encode(asked), self.model.ops.device_type == "cpu"
        n_items = min(self.max_batch_items, ITEMS_ON_CPU) if on_cpu else self.max_batch_items
        scores: dict[int, numpy.ndarray] = {}
        for batch in in_batches(windows, n_items):
            logits = self.model.predict([windows[i] for i in batch])
            scores.update(zip(batch, self.model.ops.to_numpy(logits)))
        indices: list[list[int]] = [[] for _ in asked]
        for i, window in enumerate(windows):
            indices[window.pair].append(i)
        for one, rows in zip(asked, indices):
            answers = self._decode(one, [windows[i] for i in rows], [scores[i] for i in rows])
            found[one.doc] += [Answer(*span, one.label, one.id, score) for span, score in answers]
        return found

    def set_annotations(self, docs: Iterable[Doc], batch: Sequence[list[Answer]]) -> None:
        """Set doc.spans, and doc.ents if asked for."""
        for doc, found in zip(docs, batch):
            spans: list[Any] = [
                doc.char_span(start, end, label, span_id=id_, alignment_mode="expand")
                for start, end, label, id_, _ in found
            ]
            group = SpanGroup(doc, name=self.spans_key, spans=spans)
            group.attrs["scores"] = numpy.asarray([one.score for one in found], dtype="float32")
            doc.spans[self.spans_key] = group
            if self.set_ents:
                scored = [(one.score, span) for one, span in zip(found, spans) if not one.id]
                _set_ents(doc, scored)

    def _ask(self, docs: Iterable[Doc]) -> list[Asked]:
        """The questions to docs, with their answers where docs have those."""
        asked = []

        def add(i: int, label: str, id: str, pair: tuple[str, str], gold: Optional[list]) -> None:
            stripped = None if gold is None else [_strip(extent, pair[1]) for extent in gold]
            asked.append(Asked(i, label, id, pair, stripped))

        for i, doc in enumerate(docs):
            spans = fixed_answers(doc, self.spans_key)
            for label, question in self.questions.items():
                gold = None
                if spans is not None:
                    gold = [(s.start_char, s.end_char) for s in spans if s.label_ == label]
                add(i, label, "", (question, doc.text), gold)
            for one in read(doc, own(self)):
                gold = one.answers
                if gold and not self.is_sigmoid:
                    gold = gold[:1]  # The others are what other annotators marked.
                add(i, ANSWER, one.id, (one.text, doc.text), gold)
        return asked

    def _encode(self, asked: Sequence[Asked]) -> list[Window]:
        return self.model.attrs["encode"](self.model, [one.pair for one in asked], own(self))

    def _decode(
        self, asked: Asked, windows: Sequence[Window], scores: Sequence[numpy.ndarray]
    ) -> list[tuple[Extent, float]]:
        """Answers and their scores, without white space at their ends; none that is that alone."""
        length, may_lack = self.max_answer_length, self.no_answer or not asked.id
        if self.is_sigmoid:
            least = AS_LIKELY_AS_NOT if self.threshold is None else self.threshold
            found = decoding.several(windows, scores, length, least, may_lack)
        else:
            best, null = decoding.best(windows, scores, length)
            least = max(null, self.threshold or 0.0) if may_lack else 0.0
            found = [best] if best and best.score >= least else []
        text = asked.pair[1]
        stripped = [(_strip((one.start, one.end), text), one.score) for one in found]
        return [(extent, score) for extent, score in stripped if extent[0] < extent[1]]

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
        asked = [one for example in get_examples() for one in self.gold([example])]
        known = [one for one in asked if one.gold is not None]
        if not known:
            raise config_error(
                f"{own(self)}: the training data has no question with known answers. Give the "
                f"component fixed questions ([components.{self.name}.questions]) whose answers are "
                f"in doc.spans[{self.spans_key!r}] or doc.ents, or docs with questions of their "
                "own (the corpus reader spacy_dice.squad.v1)."
            )
        n_several = sum(not one.id and len(one.gold or ()) > 1 for one in known)
        if n_several and not self.is_sigmoid:
            warnings.warn(
                f"{own(self)}: {n_several} fixed questions of the training data have several "
                "answers in a doc, and a softmax predicts one at most. Set activation = "
                '"sigmoid" for all of them.',
                stacklevel=2,
            )
        n_lacking = sum(bool(one.id) and not one.gold for one in known)
        if n_lacking and not self.no_answer:
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
        for value in self._learn(asked, partial(self._compute_loss, gold=gold)):
            losses[self.name] += value
        if sgd not in (None, False):
            self.finish_update(sgd)
        return losses

    def rehearse(
        self, examples: Iterable[Example], *, sgd: Optional[Callable] = None, **rest: Any
    ) -> dict[str, float]:
        """Learn to predict what the component predicted when training was resumed."""

        def copying(key: tuple[int, str], weights: Array, gradient: numpy.ndarray) -> tuple:
            # nlp.rehearse uses gradients later, when torch has set these arrays to 0.
            return sgd(key, weights, gradient.copy())  # type: ignore[misc]

        optimizer: Any = copying if sgd else sgd
        return super().rehearse(examples, sgd=optimizer, **rest)

    def rehearsal(self, examples: Sequence[Example]) -> Iterator[float]:
        """Learn, one batch of windows after another, what the former model predicts."""
        asked = self._ask([eg.predicted for eg in examples])
        return self._learn(asked, self._compute_distance)

    def _learn(
        self,
        asked: Sequence[Asked],
        compute: Callable[[list[Window], Array], tuple[float, Array]],
    ) -> Iterator[float]:
        """Back-propagate, one batch of windows after another, what ``compute`` makes of it."""
        windows = self._encode(asked)
        for batch in in_batches(windows, self.max_batch_items):
            chosen = [windows[i] for i in batch]
            logits, backprop = self.model.begin_update(chosen)
            value, gradient = compute(chosen, logits)
            backprop(gradient)
            yield value

    def _compute_distance(self, windows: Sequence[Window], logits: Array) -> tuple[float, Array]:
        """As `_compute_loss`, of what the former model predicts."""
        p, mask, to_logits = self._probabilities(windows, logits)
        former, *_ = self._probabilities(windows, self._rehearsal_model.predict(windows))
        gradient = (p - former) * mask
        return float((gradient**2).sum()), to_logits(gradient)

    def _compute_loss(
        self, windows: Sequence[Window], logits: Array, gold: Sequence[list[Extent]]
    ) -> tuple[float, Array]:
        """Value, and gradient by logits ``(windows, pieces, 2)``. gold: of each pair."""
        xp = self.model.ops.xp
        p, mask, to_logits = self._probabilities(windows, logits)
        if self.is_sigmoid:
            y, known = sigmoid_targets(windows, gold)
            mask = xp.asarray(known)
        else:
            y = softmax_targets(windows, gold, logits.shape[1])
            mask = mask * xp.asarray(y.any(axis=1, keepdims=True))
        targets = from_rows(xp.asarray(y), None if mask.all() else mask, self.label_spec(self))
        value, gradient = self.compute(p, targets)
        return value, to_logits(gradient)

    def _probabilities(self, windows: Sequence[Window], logits: Array) -> tuple[Any, Any, Callable]:
        """What the loss is of, rows of classes, and their mask: with a softmax the starts and then
        the ends of windows, of positions; with a sigmoid pieces of texts, of start and end. And
        what puts a gradient of such rows at the places of their logits.
        """
        ops, n_pieces = self.model.ops, logits.shape[1]
        xp = ops.xp
        if self.is_sigmoid:
            in_text = xp.asarray(text_mask(windows, n_pieces))

            def to_logits(rows: Array) -> Array:
                gradient = xp.zeros_like(logits)
                gradient[in_text] = rows
                return gradient

            rows: Any = logits[in_text]
            return ops.sigmoid(rows), xp.ones_like(rows), to_logits
        lengths = xp.asarray([len(window.ids) for window in windows] * 2)
        mask = xp.arange(n_pieces) < lengths[:, None]
        rows = xp.transpose(logits, (2, 0, 1)).reshape(-1, n_pieces)
        p = ops.softmax(xp.where(mask, rows, -xp.inf))
        back = lambda rows: rows.reshape(2, -1, n_pieces).transpose(1, 2, 0)  # noqa: E731
        return p, mask.astype("float32"), back

    def gold(self, examples: Iterable[Example]) -> list[Asked]:
        """The questions of examples and where their answers are, None if that is not known."""
        examples = list(examples)
        for example in examples:
            if example.reference.text != example.predicted.text:
                raise config_error(
                    f"{own(self)}: the texts of an example differ, so that answers have no place "
                    f"in what is predicted: {example.reference.text[:60]!r} and "
                    f"{example.predicted.text[:60]!r}."
                )
        return self._ask([example.reference for example in examples])


def _strip(extent: Extent, text: str) -> Extent:
    """An extent without white space at its ends: tokenizers have no pieces for that."""
    answer = text[slice(*extent)]
    start = extent[0] + len(answer) - len(answer.lstrip())
    return start, start + len(answer.strip())


def _set_ents(doc: Doc, scored: list[tuple[float, Span]]) -> None:
    is_annotated, iob = doc.has_annotation("ENT_IOB"), doc.to_array([ENT_IOB])
    covered, chosen = (iob == 3) | (iob == 1), []
    for _, span in sorted(scored, key=lambda pair: (-pair[0], pair[1].start)):
        if not covered[span.start : span.end].any():
            covered[span.start : span.end] = True
            chosen.append(span)
    doc.set_ents(chosen, default="unmodified" if is_annotated else "outside")
