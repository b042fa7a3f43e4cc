"""Tuning what labels tokens: tagger, morphologizer, senter, trainable_lemmatizer."""

from typing import Any, Dict, List, Sequence

import numpy
from spacy.training import Example

from dice_core.tuning.calibration import Confidence
from dice_core.tuning.competing import CompetingLabels
from dice_core.tuning.scored_labels import ScoredLabels

from ..components.per_token import aligned_morphs
from .pipe_part import BATCH, PipePart


class Tags(PipePart):
    """tagger and dice_tagger: the label with the highest score, of each token."""

    def gold(self, eg: Example) -> Sequence[Any]:
        """The label of each token; None, or one that there is not, where it is missing."""
        return [tag or None for tag in eg.get_aligned("TAG", as_string=True)]

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        column: Dict[Any, int] = {label: c for c, label in enumerate(self.columns)}
        scores = [numpy.zeros((0, len(column)))]
        gold, doc = [numpy.zeros(0, "int64")], [numpy.zeros(0, "int64")]
        model = self.pipe.model
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            if not any(len(eg.predicted) for eg in batch):
                continue
            of_batch = model.predict([eg.predicted for eg in batch])
            for i, (eg, of_doc) in enumerate(zip(batch, of_batch), start):
                ids = numpy.asarray([column.get(x, -1) for x in self.gold(eg)], dtype="int64")
                known = ids >= 0
                scores.append(model.ops.to_numpy(of_doc)[known])
                gold.append(ids[known])
                doc.append(numpy.full(int(known.sum()), i))
        Z = self.last.scores(numpy.concatenate(scores))
        ids, docs = numpy.concatenate(gold), numpy.concatenate(doc)
        return CompetingLabels(self.columns, Z, ids, docs, self.background)

    def confidence(self, labels: Any) -> Confidence:
        return labels.confidence("each token's label")


class Morphs(Tags):
    """morphologizer: parts of speech with features."""

    def gold(self, eg: Example) -> Sequence[Any]:
        return aligned_morphs(self.pipe, eg)


class Sentences(Tags):
    """senter: whether a sentence starts at a token."""

    background = 0

    @property
    def columns(self) -> List[str]:
        return ["I", "S"]

    def gold(self, eg: Example) -> Sequence[Any]:
        starts = eg.get_aligned("SENT_START")
        is_known = eg.reference.has_annotation("SENT_START")
        # 1 starts a sentence; None is misaligned.
        return [("S" if x == 1 else "I") if is_known and x is not None else None for x in starts]


class Lemmas(Tags):
    """trainable_lemmatizer: edit trees."""

    def gold(self, eg: Example) -> Sequence[Any]:
        lemmas = eg.get_aligned("LEMMA", as_string=True)
        trees = self.pipe.trees
        return [
            str(trees.add(token.text, lemma)) if lemma else None
            for token, lemma in zip(eg.predicted, lemmas)
        ]
