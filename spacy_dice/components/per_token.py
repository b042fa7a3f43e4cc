"""Components that classify each token, with one of our losses in place of their own."""

from collections.abc import Callable, Iterable, Sequence
from typing import Optional

from spacy.language import Language
from spacy.morphology import Morphology
from spacy.pipeline.edit_tree_lemmatizer import EditTreeLemmatizer
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.senter import SentenceRecognizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from dice_core.arrays import Array
from dice_core.labels import LabelSpec
from dice_core.targets import MISSING, Targets, from_ids, from_labels

from ..errors import label_spec
from ..losses import at_least_float32
from .trainable import LossLike, LossMixin, StockLossMixin, own, warn_of_loss


class PerToken(LossMixin):
    """A component whose model gives probabilities ``(tokens, classes)`` for each doc."""

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        smoothing = pipe.cfg.get("label_smoothing", 0.0)
        return label_spec(own(pipe), tuple(pipe.labels), label_smoothing=smoothing)

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        """The label of each predicted token; None where it is missing or misaligned."""
        raise NotImplementedError

    def targets(self, examples: Iterable[Example], like: Array) -> Targets:
        """The batch's targets, as arrays like ``like``."""
        docs = [self.get_aligned_labels(eg) for eg in examples]
        neg_prefix = self.cfg.get("neg_prefix")  # type: ignore[attr-defined]
        return from_labels(docs, self.label_spec(self), like, neg_prefix=neg_prefix)

    def get_loss(
        self, examples: Iterable[Example], scores: list[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Value and gradient of the loss. scores: floats ``(tokens, classes)`` for each doc."""
        validate_examples(examples, f"{type(self).__name__}.get_loss")
        targets = self.targets(examples, at_least_float32(scores[0]))
        return self.compute(scores, targets)


class DiceTagger(StockLossMixin, PerToken, Tagger):
    """spaCy's Tagger.

    A missing tag ("" or misaligned) is masked, and neg_prefix + tag means "not this tag".
    """

    stock = Tagger
    factories = ("tagger",)
    own_factory, stock_factory = "dice_tagger", "tagger"

    def __init__(
        self, vocab: Vocab, model: Model, name: str = "tagger", *, loss: LossLike, **cfg: object
    ):
        super().__init__(vocab, model, name, **cfg)
        self.set_loss(loss)
        self.check_trainable(self)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[list[str]] = None,
    ) -> None:
        super().initialize(get_examples, nlp=nlp, labels=labels)
        self.check(self, self.loss)
        warn_of_loss(self, self.loss, nlp)

    def stock_copy(self) -> Tagger:
        """A stock tagger that shares everything with this one."""
        twin = Tagger(self.vocab, self.model, self.name, scorer=self.scorer)
        twin.cfg = self.cfg
        return twin

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        return [tag or None for tag in example.get_aligned("TAG", as_string=True)]


class DiceMorphologizer(StockLossMixin, PerToken, Morphologizer):
    """spaCy's Morphologizer.

    A missing feature or part of speech is masked, and so is a combination that it has no label for,
    as in the stock component.
    """

    stock = Morphologizer
    factories = ("morphologizer",)

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        return aligned_morphs(self, example)


def aligned_morphs(pipe: TrainablePipe, example: Example) -> list[Optional[str]]:
    """The label of each token, of a morphologizer, ours or stock."""
    known, morphology = pipe.cfg["labels_morph"], pipe.vocab.morphology

    def label(pos: Optional[str], morph: Optional[str]) -> Optional[str]:
        if pos is None or morph is None or (pos == "" and morph == ""):
            return None
        features = Morphology.feats_to_dict(morph)
        if pos:
            features[pipe.POS_FEAT] = pos
        found = pipe.vocab.strings[morphology.add(features)]
        return found if found in known else None

    pos_tags = example.get_aligned("POS", as_string=True)
    morphs = example.get_aligned("MORPH", as_string=True)
    return [label(*pair) for pair in zip(pos_tags, morphs)]


class DiceSentenceRecognizer(StockLossMixin, PerToken, SentenceRecognizer):
    """spaCy's SentenceRecognizer. Its label I, "no sentence starts here", is the background."""

    stock = SentenceRecognizer
    factories = ("senter",)

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        return label_spec(own(pipe), tuple(pipe.labels), ("I",))

    def get_aligned_labels(self, example: Example) -> Sequence[Optional[str]]:
        # 1 starts a sentence; 0 and -1 (as uint64, too) do not; None is misaligned.
        starts = example.get_aligned("SENT_START")
        return [None if x is None else "S" if x == 1 else "I" for x in starts]


class DiceEditTreeLemmatizer(StockLossMixin, PerToken, EditTreeLemmatizer):
    """spaCy's EditTreeLemmatizer.

    A missing lemma is masked, and so is one whose edit tree is none of its labels; the stock
    component reads that as its first label.
    """

    stock = EditTreeLemmatizer
    factories = ("trainable_lemmatizer",)

    @classmethod
    def label_spec(cls, pipe: TrainablePipe) -> LabelSpec:
        # The labels are numbers of edit trees, which are of no use to users.
        return label_spec(own(pipe))

    def targets(self, examples: Iterable[Example], like: Array) -> Targets:
        docs = [self.get_aligned_labels(eg) for eg in examples]
        ids = [column for doc in docs for column in doc]
        lengths = [len(doc) for doc in docs]
        return from_ids(ids, like.shape[1], self.label_spec(self), like, lengths=lengths)

    def get_aligned_labels(self, example: Example) -> Sequence[int]:  # type: ignore[override]
        """The column of each token's edit tree, or MISSING."""
        lemmas = example.get_aligned("LEMMA", as_string=True)
        return [
            self.tree2label.get(self.trees.add(token.text, lemma), MISSING) if lemma else MISSING
            for token, lemma in zip(example.predicted, lemmas)
        ]
