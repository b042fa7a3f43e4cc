"""Tuning the parser's labels."""

from typing import List, Sequence

import numpy
from spacy.training import Example

from dice_core.tuning.decoded import DecodedLabels
from dice_core.tuning.objectives import FN, FP, TP
from dice_core.tuning.part import TagPart
from dice_core.tuning.scored_labels import ScoredLabels

from .pipe_part import PipePart
from .transitions import actions, parsed, vectors_of


class Attachments(TagPart, PipePart):
    """parser: labels of dependencies. A label's shift is of its L- and R- actions, that of ROOT is
    of B-ROOT, which begins a sentence. Punctuation and spaces do not count, as for spaCy."""

    prefixes = ("L-", "R-", "B-")
    ignored = ("p", "punct")
    by_default = has_probabilities = False

    @property
    def columns(self) -> List[str]:
        return actions(self.pipe)

    @property
    def labels(self) -> List[str]:
        return sorted({name[2:] for name in self.columns if name[:2] in self.prefixes} - {""})

    def read(self, examples: Sequence[Example]) -> ScoredLabels:
        usable = [eg for eg in examples if eg.reference.has_annotation("DEP")]
        docs, labels = [eg.predicted for eg in usable], self.labels
        vectors = vectors_of(self.pipe, docs)
        column = {label: c for c, label in enumerate(labels) if label.lower() not in self.ignored}
        golds = [list(zip(*eg.get_aligned_parse(projectivize=False))) for eg in usable]
        n_examples = numpy.zeros(len(labels), dtype="int64")
        for doc, gold in zip(docs, golds):
            for token, (head, dep) in zip(doc, gold):
                if head is not None and dep in column and not token.is_space:
                    n_examples[column[dep]] += 1

        def decode(shift: numpy.ndarray, mask: numpy.ndarray) -> numpy.ndarray:
            counts, at = numpy.zeros((len(docs), len(labels), 3)), numpy.flatnonzero(mask)
            for d, doc in zip(at, parsed(self, [docs[d] for d in at], vectors, shift)):
                for token, (head, dep) in zip(doc, golds[d]):
                    if head is None or not dep or token.is_space:
                        continue
                    right = token.head.i == head and token.dep_ == dep
                    if token.dep_ in column:
                        counts[d, column[token.dep_], TP if right else FP] += 1
                    if dep in column and not right:
                        counts[d, column[dep], FN] += 1
            return counts

        return DecodedLabels(labels, decode, len(docs), n_examples, self.progress, common=False)
