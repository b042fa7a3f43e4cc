"""The transition-based ner, with one of our losses in place of its own."""

from typing import Any, Dict, List, Optional

import numpy
from spacy.pipeline.ner import EntityRecognizer

from ..errors import mistake
from ..heads import Head
from ..losses import Loss
from ..targets import Labels, Targets
from .trainable import WithLoss, own

# The parser's model gives raw scores, on the host, and wants the gradient by them.
HEAD = Head("softmax", "logits")
# How the transition system calls "outside", and the unit that a blocked token needs.
BACKGROUND = ("O", "U-")


class DiceEntityRecognizer(WithLoss, EntityRecognizer):
    """spaCy's EntityRecognizer; only `get_batch_loss` differs.

    The classes are the parser's actions, and a batch is one transition step over all states
    that are still open. Where several actions are gold (the oracle is dynamic), their
    probabilities are added up into one class, that of the best-scored of them, as in the
    stock loss -log(sum of p over gold actions); set-level counts leave such states out, for
    their class is not known.
    """

    @classmethod
    def adopt(cls, ner: EntityRecognizer, loss: Loss) -> "DiceEntityRecognizer":
        """A recogniser that shares everything with a stock one and trains with ``loss``."""
        new = _rebuild(cls, ner)
        new.loss = loss
        return new

    def release(self) -> EntityRecognizer:
        """A stock recogniser that shares everything with this one."""
        return _rebuild(EntityRecognizer, self)

    @staticmethod
    def check_stock(ner: EntityRecognizer, loss: Loss) -> None:
        """Raise a ConfigValidationError if this stock ner cannot train with ``loss``."""
        if ner.cfg["beam_width"] > 1 and ner.cfg["beam_update_prob"] > 0:
            raise mistake(
                f"{own(ner)}: beam_update_prob is {ner.cfg['beam_update_prob']}, and beam updates "
                "do not go through the loss. Set beam_update_prob = 0.0 (decoding keeps its beam)."
            )
        loss.check(_labels(ner))

    def loss_labels(self) -> Labels:
        return _labels(self)

    def get_batch_loss(
        self, states: Any, golds: Any, scores: Any, losses: Optional[Dict[str, float]]
    ) -> numpy.ndarray:
        """Gradient of the loss by scores, both floats ``(states, actions)``.

        The value is added to ``losses``.
        """
        scores = numpy.asarray(scores)
        # With equal scores the stock gradient is below 0 at just the gold actions.
        stock = super().get_batch_loss(states, golds, numpy.zeros_like(scores), None)
        gradient, value = merged_gold_loss(self.loss, scores, stock < 0, self.loss_labels())
        if losses is not None:
            losses[self.name] = losses.get(self.name, 0.0) + value
        return gradient


def merged_gold_loss(loss: Loss, scores: Any, gold: Any, labels: Labels) -> Any:
    """Gradient by scores, and value, where each row has a set of gold columns.

    scores: floats ``(S, A)``. gold: bools ``(S, A)``; a row without gold has none to learn
    from. The gold probabilities of a row are merged into its best-scored gold column, and
    the gradient is shared out among them again in proportion, so that it is exact for the
    function of the scores that is being computed.
    """
    rows = numpy.arange(len(scores))
    n_gold = gold.sum(axis=1)
    exp = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    p = exp / exp.sum(axis=1, keepdims=True)
    in_gold = numpy.where(gold, scores, -numpy.inf)
    best = in_gold.argmax(axis=1)
    in_gold = numpy.exp(in_gold - numpy.where(n_gold, in_gold[rows, best], 0.0)[:, None])
    share = in_gold / numpy.maximum(in_gold.sum(axis=1, keepdims=True), 1.0)
    merged = numpy.where(gold, 0.0, p)
    merged[rows, best] += numpy.where(gold, p, 0.0).sum(axis=1)
    y = numpy.zeros_like(scores)
    y[rows, best] = n_gold > 0
    mask = None if n_gold.all() else numpy.broadcast_to(y.any(1)[:, None], y.shape) * 1.0
    counted = (n_gold == 1).astype(scores.dtype)
    targets = Targets(y, labels, mask, counted=counted)
    gradient, value = loss.compute(merged.astype(scores.dtype), targets, HEAD)
    gradient = numpy.where(gold, share * gradient[rows, best][:, None], gradient)
    return numpy.ascontiguousarray(gradient, dtype=scores.dtype), value


def _labels(ner: EntityRecognizer) -> Labels:
    moves = ner.moves
    names: List[str] = [moves.get_class_name(i) for i in range(moves.n_moves)]
    background = tuple(name for name in BACKGROUND if name in names)
    return Labels(own(ner), tuple(names), background, sequence=False)


def _rebuild(cls: Any, old: EntityRecognizer) -> Any:
    # The stock class is a C type: its instances cannot change their class.
    cfg = dict(old.cfg)
    kwargs = {key: cfg[key] for key in ("update_with_oracle_cut_size", "incorrect_spans_key")}
    new = cls(old.vocab, old.model, old.name, moves=old.moves, scorer=old.scorer, **kwargs)
    new.cfg = cfg  # moves= above put an object into cfg, which must stay JSON
    new._rehearsal_model = old._rehearsal_model
    new._multitasks = list(old._multitasks)
    if hasattr(old, "error_handler"):
        new.set_error_handler(old.error_handler)
    return new
