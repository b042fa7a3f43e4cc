"""Transition-based components, ner and parser, with one of our losses in place of their own."""

from typing import Any, Dict, Iterable, List, Optional, Tuple, Type

import numpy
from spacy.pipeline.dep_parser import DependencyParser
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from dice_core import arrays
from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.probabilities import Probabilities
from dice_core.targets import Targets

from ..errors import config_error, diverged_error, label_spec
from ..heads import Head
from .trainable import LossLike, LossMixin, own, warn_of_unknown

# The parser's model gives raw scores, on the host, and wants the gradient by them.
HEAD = Head("softmax", "logits")
# Gold probabilities below this have no accurate shares.
FLOOR = 1e-30


class Transition(LossMixin):
    """A component that `use_loss` gave a loss; only `get_batch_loss` differs.

    The classes are the parser's actions, and a batch is one transition step over all states
    that are still open. Where several actions are gold (the oracle is dynamic), their
    probabilities are added up into one class, that of the best-scored of them, as in the
    stock loss -log(sum of p over gold actions); set-level counts leave such states out, for
    their class is not known.
    """

    stock: Any
    # Constructor arguments, which are also the keys of cfg.
    options: Tuple[str, ...]
    # The actions as they are in this update, which has many steps.
    _spec: Optional[LabelSpec] = None

    @classmethod
    def from_stock(cls, pipe: TrainablePipe, loss: LossLike) -> TrainablePipe:
        """A component that shares everything with a stock one and trains with ``loss``.

        The stock one is not changed: it may be part of other pipelines, too.
        """
        new = _rebuild(cls, pipe, cls.options)
        new.set_loss(loss)
        return new

    def to_stock(self) -> TrainablePipe:
        """A stock component that shares everything with this one."""
        return _rebuild(self.stock, self, self.options)

    @classmethod
    def head_of(cls, pipe: TrainablePipe) -> Head:
        return HEAD

    @classmethod
    def check_trainable(cls, pipe: TrainablePipe) -> None:
        cfg = pipe.cfg
        if cfg["beam_width"] > 1 and cfg["beam_update_prob"] > 0:
            raise config_error(
                f"{own(pipe)}: beam_update_prob is {cfg['beam_update_prob']}, and beam updates "
                "do not go through the loss. Set beam_update_prob = 0.0 (decoding keeps its beam)."
            )

    def update(self, examples: Iterable[Example], **rest: Any) -> Dict[str, float]:
        """Learn from a batch, as the stock component does but for the loss."""
        self._spec = None
        return super().update(examples, **rest)  # type: ignore[misc]

    def get_batch_loss(
        self, states: Any, golds: Any, scores: numpy.ndarray, losses: Optional[Dict[str, float]]
    ) -> numpy.ndarray:
        """Gradient of the loss by scores, both floats ``(states, actions)``.

        The value is added to ``losses``.
        """
        scores = numpy.asarray(scores)
        # With equal scores the stock gradient is below 0 at just the gold actions.
        zeros = numpy.zeros(scores.shape, dtype="f")
        stock = super().get_batch_loss(states, golds, zeros, None)  # type: ignore[misc]
        if self._spec is None or len(self._spec.names or ()) != scores.shape[1]:
            self._spec = self.label_spec(self)
        gradient, value = merged_gold_loss(self._bound, scores, stock < 0, self._spec)
        if value != value:
            raise diverged_error(own(self))
        if losses is not None:
            name = self.name  # type: ignore[attr-defined]
            losses[name] = losses.get(name, 0.0) + value
        return gradient


class DiceEntityRecognizer(Transition, EntityRecognizer):
    """spaCy's EntityRecognizer.

    The background is O, and what blocked tokens need, U-. Entities of a label that it does not have
    are not learned, with a warning.
    """

    stock = EntityRecognizer
    factories = ("ner", "beam_ner")
    options = ("update_with_oracle_cut_size", "incorrect_spans_key")

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return _spec(pipe, background=("O", "U-"))

    def update(self, examples: Iterable[Example], **rest: Any) -> Dict[str, float]:
        """Learn from a batch; see EntityRecognizer.update."""
        examples = list(examples)
        in_data = {ent.label_ for eg in examples for ent in eg.reference.ents}
        warn_of_unknown(self, "entities of", in_data.difference(self.labels))
        return super().update(examples, **rest)


class DiceDependencyParser(Transition, DependencyParser):
    """spaCy's DependencyParser."""

    stock = DependencyParser
    factories = ("parser", "beam_parser")
    options = ("update_with_oracle_cut_size", "learn_tokens", "min_action_freq")

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return _spec(pipe)


def merged_gold_loss(
    bound: BoundLoss, scores: numpy.ndarray, gold: numpy.ndarray, spec: LabelSpec
) -> Tuple[numpy.ndarray, float]:
    """Gradient by scores, and value, where each row has a set of gold columns.

    The gold probabilities of a row are merged into its best-scored gold column, and the gradient
    is shared out among them again in proportion, so that it is exact for the function of the
    scores that is being computed. It is called for each step of each update, on arrays so small
    that the number of calls of NumPy is what it costs.

    Args:
        bound: The loss and the state of its training.
        scores: Floats ``(S, A)``, of states and actions.
        gold: Bools ``(S, A)``; a row without gold has none to learn from.
        spec: The actions.
    """
    n_rows, n_columns = scores.shape
    rows, ones = numpy.arange(n_rows), numpy.ones(n_columns, dtype=scores.dtype)
    # argmax and a look-up, and products with ones: faster here than max and sum.
    p = numpy.exp(scores - scores[rows, scores.argmax(axis=1)][:, None])
    p /= (p @ ones)[:, None]
    best, share = gold.argmax(axis=1), None
    weights: Any = None
    counted: Any = None
    if numpy.count_nonzero(gold) != n_rows or not gold[rows, best].all():
        share = gold.astype(p.dtype)
        gold_p, n_gold = (p * share) @ ones, share @ ones
        if gold_p.min() < FLOOR:
            weights, share = (n_gold > 0).astype(p.dtype), _shares(scores, gold)
        else:
            share *= p / gold_p[:, None]
        best, counted = share.argmax(axis=1), (n_gold == 1).astype(p.dtype)
        others = ~gold
        p *= others  # faster than an assignment by a mask
        p[rows, best] = (
            gold_p if weights is None else numpy.where(n_gold > 0, gold_p, p[rows, best])
        )
    targets = Targets(spec, n_columns, p, ids=best, weights=weights, counted=counted)
    value, gradient = bound.compute(Probabilities("softmax", p, reusable=True), targets)
    if share is not None:
        best_gradient = gradient[rows, best][:, None]
        gradient *= others
        gradient += share * best_gradient
    return arrays.to_numpy(gradient), float(arrays.total(value))


def _shares(scores: numpy.ndarray, gold: numpy.ndarray) -> numpy.ndarray:
    """Of each gold column in its row's gold probability, also where that is next to 0."""
    in_gold = numpy.where(gold, scores, -numpy.inf)
    highest = in_gold.max(axis=1, keepdims=True)
    exp = numpy.exp(in_gold - numpy.where(numpy.isfinite(highest), highest, 0.0))
    return exp / numpy.maximum(exp.sum(axis=1, keepdims=True), 1.0)


def actions(pipe: TrainablePipe) -> List[str]:
    """The names of all actions, in the order of their scores."""
    return [pipe.moves.get_class_name(i) for i in range(pipe.moves.n_moves)]


def _spec(pipe: TrainablePipe, background: Tuple[str, ...] = ()) -> LabelSpec:
    names = actions(pipe)
    background = tuple(name for name in background if name in names)
    return label_spec(own(pipe), tuple(names), background, sequence=False)


def _rebuild(
    cls: Type[TrainablePipe], old: TrainablePipe, options: Tuple[str, ...]
) -> TrainablePipe:
    # The stock classes are C types: their instances cannot change their class.
    cfg = dict(old.cfg)
    kwargs = {key: cfg[key] for key in options}
    new = cls(old.vocab, old.model, old.name, moves=old.moves, scorer=old.scorer, **kwargs)
    new.cfg = cfg  # moves= above put an object into cfg, which must stay JSON
    new._rehearsal_model = old._rehearsal_model
    new._multitasks = list(old._multitasks)
    return new
