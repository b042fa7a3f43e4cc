"""The pipeline factories `dice_tagger` and `dice_ner`.

spaCy imports this module whenever any pipeline is made, so that it imports nothing of ours: what
a component needs is imported when one is made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

import spacy
from spacy.language import Language
from spacy.pipeline.tagger import DEFAULT_TAGGER_MODEL
from thinc.api import Model

if TYPE_CHECKING:
    from .components.dice_ner import DiceNER
    from .components.per_token import DiceTagger

DEFAULT_LOSS = {"@losses": "spacy_dice.DiceCE.v1"}


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
    loss: Any,
    overwrite: bool,
    scorer: Optional[Callable],
    neg_prefix: str,
) -> "DiceTagger":
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
    loss: Any,
    threshold: float,
    thresholds: Optional[Dict[str, float]],
    spans_key: Optional[str],
    scorer: Optional[Callable],
) -> "DiceNER":
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


def _component(module: str, name: str) -> Any:
    """A component's class. What does not go together with the spaCy that is installed concerns
    the pipelines that use it, and no others."""
    try:
        return getattr(import_module(f".components.{module}", __package__), name)
    except Exception as error:
        raise ImportError(
            f"spacy_dice cannot make a {name} with spaCy {spacy.__version__}: {error}. It is made "
            "for spaCy 3.8 (pip install 'spacy>=3.8.7,<3.9')."
        ) from error
