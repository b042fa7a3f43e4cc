"""The tagger, with one of our losses in place of its own."""

from typing import Any, Iterable, Tuple

from spacy.pipeline.tagger import Tagger
from spacy.training import Example, validate_examples

from ..errors import mistake
from ..heads import find_head
from ..losses import Loss
from ..targets import Labels, from_labels
from .trainable import WithLoss, check_is_loss, own


class DiceTagger(WithLoss, Tagger):
    """spaCy's Tagger; only `get_loss` differs.

    Missing tags ("" or misaligned tokens) are masked, and neg_prefix + tag says "not this
    tag", as in the stock tagger.
    """

    def __init__(self, vocab: Any, model: Any, name: str = "tagger", *, loss: Loss, **cfg: Any):
        super().__init__(vocab, model, name, **cfg)
        check_is_loss(name, loss)
        find_head(model, name)
        self.loss = loss

    @classmethod
    def adopt(cls, tagger: Tagger, loss: Loss) -> "DiceTagger":
        """Turn a stock tagger, in place, into one that trains with ``loss``."""
        tagger.__class__ = cls
        tagger.loss = loss
        return tagger  # type: ignore[return-value]

    def release(self) -> Tagger:
        """Turn it back, in place."""
        del self.loss
        self.__class__ = Tagger  # type: ignore[assignment]
        return self

    @staticmethod
    def check_stock(tagger: Tagger, loss: Loss) -> None:
        """Raise a ConfigValidationError if this stock tagger cannot train with ``loss``."""
        find_head(tagger.model, tagger.name)
        loss.check(_labels(tagger))
        if tagger.cfg.get("label_smoothing"):
            raise mistake(
                f"{own(tagger)}: label_smoothing belongs to its stock loss. Set it to 0 there, and "
                "give label_smoothing to spacy_dice.CrossEntropy.v1 instead."
            )

    def loss_labels(self) -> Labels:
        return _labels(self)

    def initialize(self, get_examples: Any, *, nlp: Any = None, labels: Any = None) -> None:
        super().initialize(get_examples, nlp=nlp, labels=labels)
        self.check_loss(self.loss)

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Tuple[float, Any]:
        """Value and gradient of the loss. scores: floats ``(tokens, tags)`` for each doc."""
        validate_examples(examples, "DiceTagger.get_loss")
        truths = [eg.get_aligned("TAG", as_string=True) for eg in examples]
        targets = from_labels(
            truths, self.loss_labels(), scores[0], (None, ""), self.cfg["neg_prefix"]
        )
        gradient, value = self.loss.compute(scores, targets, find_head(self.model, self.name))
        return value, gradient


def _labels(tagger: Tagger) -> Labels:
    return Labels(own(tagger), tagger.labels)
