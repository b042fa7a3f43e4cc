"""What choosing a cut needs to know of a model's scores: the ground of three kinds of decision."""

from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy
from numpy.typing import ArrayLike

from .objectives import Objective

# Beyond these log-odds a label is predicted never, or always.
LIMIT = 8.0
# How many examples of a label its own cut needs to weigh as much as the common one.
SHRINKAGE = (10.0, 50.0)
# How much macro F1 counts beside micro F1 where cuts of single labels are chosen.
MIXTURES = {"micro": (0.25, 0.5), "macro": (1.0, 0.75, 0.5, 0.25)}

Array = numpy.ndarray


class Rule(NamedTuple):
    """A way to choose shifts. kind: "as it is", "common" (one shift) or "labels" (one for each
    label). mixture: how much macro counts beside micro. shrinkage: as SHRINKAGE. margin: by how
    much a floor is raised in choosing, so that it is kept on other examples.
    """

    kind: str
    mixture: float = 0.0
    shrinkage: float = 0.0
    margin: float = 0.0

    def __str__(self) -> str:
        if self.kind == "labels":
            how = f"macro weight {self.mixture:g}, shrinkage {self.shrinkage:g}"
            return f"a cut for each label ({how})"
        return "one cut for all labels" if self.kind == "common" else self.kind


class Task(NamedTuple):
    """objective: of all labels. own: of single labels, by index. free: bools ``(C,)``, the
    labels that have enough examples for a cut of their own.
    """

    objective: Objective
    own: Mapping[int, Objective]
    free: Array


class ScoredLabels:
    """What `choose` needs to know of a component: common ground of the three kinds.

    names: of the labels, C of them. n_docs: D. n_examples: ints ``(C,)``, gold examples of each.
    size: how many numbers a shift has: C, or one more, the last, that all labels share against
    "none of them". background: the label that stands for "none of them", which is not counted.
    n_decodings: how often a decoder was run over all documents.
    """

    names: List[str]
    n_docs: int
    n_examples: Array
    size: int
    background: Optional[int] = None
    n_decodings = 0.0

    def rules(self, objective: Objective) -> List[Rule]:
        """The rules to try; the first of equally good ones wins."""
        if len(self.names) == 1:
            return [Rule("common"), Rule("labels")]
        return [Rule("common"), *rules_of(MIXTURES[objective.average], SHRINKAGE)]

    def counts(self, shift: Array, docs: Array) -> Array:
        """``(C, 3)``: true positives, false positives and false negatives in these documents, a
        mask ``(D,)``, with this shift.
        """
        raise NotImplementedError

    def fit(self, rule: Rule, docs: Array, task: Task) -> Array:
        """The shift that a rule chooses on these documents, a mask ``(D,)``."""
        seen = self.look_at(docs)
        shift = self.common(seen, task)
        if rule.kind == "labels":
            # Cuts of labels with few examples are drawn towards the common one.
            weight = self.n_examples / (self.n_examples + rule.shrinkage)
            common = shift[: len(self.names)]
            drawn = weight * self.of_labels(seen, rule.mixture, shift, task) + (1 - weight) * common
            shift[: len(self.names)] = numpy.where(task.free, drawn, common)
        for c, objective in task.own.items():
            shift[c] = self.of_label(seen, c, objective, shift, task)
        return shift

    def look_at(self, docs: Array) -> Any:
        """What the three that follow need of these documents."""
        return docs

    def common(self, seen: Any, task: Task) -> Array:
        """``(size,)``: a shift that has one number to choose."""
        raise NotImplementedError

    def of_labels(self, seen: Any, mixture: float, common: Array, task: Task) -> Array:
        """``(C,)``: the best shift of each label."""
        raise NotImplementedError

    def of_label(self, seen: Any, c: int, objective: Objective, shift: Array, task: Task) -> float:
        """The shift of one label that is best for an objective of its own."""
        raise NotImplementedError

    def curve(self, c: int) -> Array:
        """``(n, 2)``: recall and precision of one label at its cuts, where they are known."""
        return numpy.zeros((0, 2))


def rules_of(mixtures: Iterable[float], shrinkages: Iterable[float]) -> List[Rule]:
    """A cut for each label, by each of these mixtures and shrinkages."""
    shrinkages = list(shrinkages)
    return [Rule("labels", mixture, shrinkage) for mixture in mixtures for shrinkage in shrinkages]


def smooth(values: Array, objective: Objective) -> Array:
    """Each value averaged with its neighbours, so that a lucky cut does not win. A floor is kept
    or is not: there is nothing to average.
    """
    if len(values) < 5 or not objective.is_f:
        return values
    padded = numpy.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def documents(doc: Optional[ArrayLike], n_rows: int) -> Tuple[Array, int]:
    """The document of each row, and how many there are."""
    doc = numpy.arange(n_rows) if doc is None else numpy.asarray(doc, dtype="int64")
    return doc, int(doc.max(initial=-1)) + 1


def checked(scores: ArrayLike, n_labels: int) -> Array:
    """``(N, C)``, in float64; a ValueError for what no cut can be found in."""
    scores = numpy.asarray(scores, dtype="float64").reshape(-1, n_labels)
    if numpy.isnan(scores).any() or (scores == numpy.inf).any():
        raise ValueError("the model gives scores that are NaN or infinite: it has diverged.")
    return scores
