"""What each kind of component decides, and from which scores: one small class a kind.

A part reads a component's scores and gold annotation into the arrays of `dice_core.tuning`, says
which columns of the last layer a shift moves, and how sure the component is of what it predicts.
"""

from typing import Dict, Optional, Type

from spacy.pipeline.dep_parser import DependencyParser
from spacy.pipeline.edit_tree_lemmatizer import EditTreeLemmatizer
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.senter import SentenceRecognizer
from spacy.pipeline.span_finder import SpanFinder
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.pipeline.trainable_pipe import TrainablePipe

from ..components.dice_ner import DiceNER
from ..components.dice_qa import DiceQA
from .answers import Answers
from .entities import BiluoEntities, TransitionEntities
from .parser import Attachments
from .pipe_part import PipePart
from .spans import SpanEnds, SpanLabels
from .texts import ExclusiveText, MultiLabelText
from .tokens import Lemmas, Morphs, Sentences, Tags

# Looked up by the exact type, or the nearest of its bases.
PARTS: Dict[type, Type[PipePart]] = {
    MultiLabel_TextCategorizer: MultiLabelText,
    TextCategorizer: ExclusiveText,
    Morphologizer: Morphs,
    SentenceRecognizer: Sentences,
    EditTreeLemmatizer: Lemmas,
    Tagger: Tags,
    SpanCategorizer: SpanLabels,
    SpanFinder: SpanEnds,
    EntityRecognizer: TransitionEntities,
    DependencyParser: Attachments,
    DiceNER: BiluoEntities,
    DiceQA: Answers,
}


def part_type(pipe: TrainablePipe) -> Optional[Type[PipePart]]:
    """The class for a component; None if there is none."""
    return next((PARTS[kind] for kind in type(pipe).__mro__ if kind in PARTS), None)
