"""The pipeline factories `dice_tagger`, `dice_ner` and `dice_qa`.

spaCy imports this module whenever any pipeline is made, so that it imports nothing of ours: what
a component needs is imported when one is made.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Optional

import spacy
from spacy.language import Language
from spacy.pipeline.tagger import DEFAULT_TAGGER_MODEL
from thinc.api import Model

if TYPE_CHECKING:
    from .components.dice_ner import DiceNER
    from .components.dice_qa import DiceQA
    from .components.per_token import DiceTagger

DEFAULT_LOSS = {"@losses": "spacy_dice.DiceCE.v1"}
NEEDS_OF_READING = "spacy-transformers>=1.3.8"


@Language.factory(
    "dice_tagger",
    assigns=["token.tag"],
    default_config={
        "model": DEFAULT_TAGGER_MODEL,
        "loss": DEFAULT_LOSS,
        "overwrite": False,
        "scorer": {"@scorers": "spacy.tagger_scorer.v1"},
        "neg_prefix": "!",
    },
    default_score_weights={
        "tag_acc": 1.0,
    },
)
def make_dice_tagger(
    nlp: Language,
    name: str,
    model: Model,
    loss: object,
    overwrite: bool,
    scorer: Optional[Callable],
    neg_prefix: str,
) -> "DiceTagger":
    """A `DiceTagger`, stock tagger with a loss in its own block."""
    DiceTagger = _component("per_token", "DiceTagger")
    return DiceTagger(
        nlp.vocab,
        model,
        name,
        loss=loss,
        overwrite=overwrite,
        scorer=scorer,
        neg_prefix=neg_prefix,
    )


@Language.factory(
    "dice_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": DEFAULT_TAGGER_MODEL,
        "loss": DEFAULT_LOSS,
        "threshold": 0.5,
        "thresholds": None,
        "spans_key": None,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
    },
)
def make_dice_ner(
    nlp: Language,
    name: str,
    model: Model,
    loss: object,
    threshold: float,
    thresholds: Optional[dict[str, float]],
    spans_key: Optional[str],
    scorer: Optional[Callable],
) -> "DiceNER":
    """A `DiceNER`."""
    DiceNER = _component("dice_ner", "DiceNER")
    return DiceNER(
        nlp.vocab,
        model,
        name,
        loss=loss,
        threshold=threshold,
        thresholds=thresholds,
        spans_key=spans_key,
        scorer=scorer,
    )


@Language.factory(
    "dice_qa",
    assigns=["doc.spans", "doc.ents"],
    default_config={
        "model": {
            "@architectures": "spacy_dice.QuestionAnswering.v1",
            "name": "bert-base-cased",
        },
        "loss": DEFAULT_LOSS,
        "questions": {},
        "activation": "softmax",
        "spans_key": "answers",
        "set_ents": False,
        "threshold": None,
        "no_answer": False,
        "max_answer_length": 30,
        "max_batch_items": 8192,
        "scorer": {"@scorers": "spacy_dice.qa_scorer.v1"},
    },
    default_score_weights={
        "qa_f1": 0.5,
        "qa_exact": 0.0,
        "qa_spans_f": 0.5,
        "qa_spans_p": 0.0,
        "qa_spans_r": 0.0,
        "qa_spans_per_type": None,
    },
)
def make_dice_qa(
    nlp: Language,
    name: str,
    model: Model,
    loss: object,
    questions: dict[str, str],
    activation: str,
    spans_key: str,
    set_ents: bool,
    threshold: Optional[float],
    no_answer: bool,
    max_answer_length: int,
    max_batch_items: int,
    scorer: Optional[Callable],
) -> "DiceQA":
    """A `DiceQA`."""
    DiceQA = _component("dice_qa", "DiceQA")
    # `spacy package` finds out on its own that a pipeline needs us, but not that it needs these.
    requirements = nlp.meta.setdefault("requirements", [])
    if NEEDS_OF_READING not in requirements:
        requirements.append(NEEDS_OF_READING)
    return DiceQA(
        nlp.vocab,
        model,
        name,
        loss=loss,
        questions=questions,
        activation=activation,
        spans_key=spans_key,
        set_ents=set_ents,
        threshold=threshold,
        no_answer=no_answer,
        max_answer_length=max_answer_length,
        max_batch_items=max_batch_items,
        scorer=scorer,
    )


def _component(module: str, name: str) -> type:
    """A component's class.

    What does not go together with the spaCy that is installed concerns the pipelines that use it,
    and no others.
    """
    try:
        return getattr(import_module(f".components.{module}", __package__), name)
    except Exception as error:
        raise ImportError(
            f"spacy_dice cannot make a {name} with spaCy {spacy.__version__}: {error}. It is made "
            "for spaCy 3.8 (pip install 'spacy>=3.8.7,<3.9')."
        ) from error
