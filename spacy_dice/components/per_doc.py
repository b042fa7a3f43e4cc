"""Components that classify each document, with one of our losses in place of their own."""

from collections.abc import Iterable
from typing import Any, Optional

import numpy
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example, validate_examples

from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.options import Activation, listed
from dice_core.targets import Targets, from_rows

from ..errors import config_error, label_spec
from ..heads import Head, find_head
from .trainable import BALANCED, StockLossMixin, own, warn_of_unknown


class PerDoc(StockLossMixin):
    """A component whose model gives probabilities ``(docs, classes)``; or logits, with
    no_output_layer = true, which are then in doc.cats as spaCy puts them there.
    """

    # What raw scores are logits of.
    raw_activation: Activation

    @classmethod
    def head_of(cls, pipe: TrainablePipe) -> Head:
        return find_head(pipe.model, pipe.name, cls.raw_activation)

    def targets(self, examples: list[Example], like: Array) -> Targets:
        """The batch's targets, as arrays like ``like``."""
        raise NotImplementedError

    def get_loss(self, examples: Iterable[Example], scores: Array) -> tuple[float, Any]:
        """Value and gradient of the loss. scores: floats ``(docs, classes)``."""
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        self._validate_categories(examples)  # type: ignore[attr-defined]
        targets = self.targets(examples, scores)
        return self.compute(scores, targets)

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return label_spec(own(pipe), tuple(pipe.labels), sequence=False)

    def _as_targets(self, y: numpy.ndarray, mask: numpy.ndarray) -> Targets:
        xp = self.model.ops.xp  # type: ignore[attr-defined]
        known = None if mask.all() else xp.asarray(mask)
        return from_rows(xp.asarray(y), known, self.label_spec(self))

    def _known(self, examples: list[Example]) -> tuple[numpy.ndarray, numpy.ndarray, list[str]]:
        """What is annotated, floats ``(docs, classes)``: values and where there are any; and
        the categories that a doc has and the component does not.
        """
        labels = self.labels  # type: ignore[attr-defined]
        index = {label: i for i, label in enumerate(labels)}
        y = numpy.zeros((len(examples), len(labels)), dtype="float32")
        mask = numpy.zeros_like(y)
        strange = set()
        for row, eg in enumerate(examples):
            for label, value in eg.reference.cats.items():
                if label in index:
                    y[row, index[label]] = value
                    mask[row, index[label]] = 1.0
                elif value:
                    strange.add(label)
        return y, mask, sorted(strange)


class DiceTextCategorizer(PerDoc, TextCategorizer):
    """spaCy's TextCategorizer.

    A document without any category at 1 says at most what it is not: categories at 0 are known not
    to be it, and all others are masked. (Stock takes it for a document of no category, which a
    softmax cannot give.) A document of a category that the component does not have is an error.
    """

    stock = TextCategorizer
    factories = ("textcat",)
    raw_activation: Activation = "softmax"

    @classmethod
    def recommended(cls, pipe: TrainablePipe) -> Optional[dict[str, str]]:
        return None if len(pipe.labels) == 2 else {"name": "DiceCE", **BALANCED}

    def targets(self, examples: list[Example], like: Array) -> Targets:
        y, mask, strange = self._known(examples)
        if strange:
            raise config_error(
                f"{own(self)}: the data has the category {strange[0]!r}, which is none of its "
                f"labels: {listed(self.labels)}. Add it before training (labels in "
                f"[initialize.components.{self.name}]), or correct the data."
            )
        is_one, is_all = y.any(axis=1), mask.all(axis=1)
        mask[is_one] = 1.0
        mask[~is_one & is_all] = 0.0  # none of all: nothing to learn
        return self._as_targets(y, mask)


class DiceMultiLabelTextCategorizer(PerDoc, MultiLabel_TextCategorizer):
    """spaCy's MultiLabel_TextCategorizer.

    A category that a document does not name is masked. One that the component does not have is not
    learned, with a warning: another component may have it.
    """

    stock = MultiLabel_TextCategorizer
    factories = ("textcat_multilabel",)
    raw_activation: Activation = "sigmoid"

    @classmethod
    def recommended(cls, pipe: TrainablePipe) -> Optional[dict[str, str]]:
        return {"name": "DiceCE", **BALANCED}

    def targets(self, examples: list[Example], like: Array) -> Targets:
        y, mask, strange = self._known(examples)
        warn_of_unknown(self, "the categories", strange)
        return self._as_targets(y, mask)
