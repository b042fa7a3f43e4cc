"""All of Flair's models that take a loss of ours.

`Classifier.load` finds a file's class among those that are imported, so that importing one is
importing all.
"""

from typing import Any, Dict

from flair import models as stock

from .classifiers import (
    RelationClassifier,
    RelationExtractor,
    SpanClassifier,
    TextClassifier,
    TextPairClassifier,
    TextTripleClassifier,
    TokenClassifier,
)
from .sequence_tagger import SequenceTagger
from .tars import TARSClassifier, TARSTagger

# Which of ours takes the place of which stock model. Looked up by the exact type.
STOCK_TO_DICE: Dict[type, Any] = {
    ours.stock: ours
    for ours in (
        SequenceTagger,
        TextClassifier,
        TextPairClassifier,
        TextTripleClassifier,
        TokenClassifier,
        SpanClassifier,
        RelationClassifier,
        RelationExtractor,
        TARSTagger,
        TARSClassifier,
    )
}
# Why some others have no loss that could be replaced.
UNSUPPORTED: Dict[type, str] = {
    stock.TextRegressor: "it predicts a number, and these losses are of classes",
    stock.TextPairRegressor: "it predicts numbers, and these losses are of classes",
    stock.EntityMentionLinker: "it links by similarity and is not trained",
    stock.Lemmatizer: "it generates lemmas character by character",
    stock.RegexpTagger: "it is not trained",
    stock.LanguageModel: "it predicts the next character",
}
