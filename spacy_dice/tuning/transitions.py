"""What tuning needs of transition systems: of ner and of the parser."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.util import minibatch
from thinc.api import Model

from dice_core.tuning.decoded import Span

from .pipe_part import BATCH, PipePart


def actions(pipe: TrainablePipe) -> List[str]:
    """The names of all actions, in the order of their scores."""
    return [pipe.moves.get_class_name(i) for i in range(pipe.moves.n_moves)]


def vectors_of(pipe: TrainablePipe, docs: Sequence[Doc]) -> Dict[int, Any]:
    """What a transition-based component's tok2vec makes of each doc, by the doc's id()."""
    tok2vec = pipe.model.get_ref("tok2vec")
    vectors = {}
    for batch in minibatch(docs, BATCH):
        rows = tok2vec.predict(batch) if any(len(doc) for doc in batch) else []
        first = 0
        for doc in batch:
            vectors[id(doc)] = rows[first : first + len(doc)]
            first += len(doc)
    return vectors


@contextmanager
def known_vectors(pipe: TrainablePipe, vectors: Dict[int, Any]) -> Iterator[None]:
    """Let the component look its tok2vec's output up."""
    tok2vec = pipe.model.get_ref("tok2vec")
    func = tok2vec._func

    def look_up(model: Model, docs: Sequence[Doc], is_train: bool) -> Any:
        return model.ops.xp.concatenate([vectors[id(doc)] for doc in docs if len(doc)]), None

    tok2vec._func = look_up
    try:
        yield
    finally:
        tok2vec._func = func


def parsed(
    part: PipePart, docs: Sequence[Doc], vectors: Dict[int, Any], shift: numpy.ndarray
) -> Iterator[Doc]:
    """Copies of docs with what a transition-based component predicts with a shift."""
    with part.last.shifts() as add, known_vectors(part.pipe, vectors):
        add(part.spread(shift))
        for batch in minibatch(docs, BATCH):
            yield from annotated(part.pipe, batch, part.pipe.predict(batch))


def annotated(pipe: TrainablePipe, docs: Sequence[Doc], states: Any) -> List[Doc]:
    """Copies of docs with what states say."""
    copies = [doc.copy() for doc in docs]
    pipe.set_annotations(copies, states)
    return copies


def path_scores(
    pipe: TrainablePipe, docs: Sequence[Doc]
) -> Tuple[List[List[Span]], List[numpy.ndarray]]:
    """What a stock ner predicts, greedily, and the scores of the actions that led there.

    Returns:
        The entities of each doc that it had not before, and for each entity, one after another,
        floats ``(length, actions)``: the scores at each of its tokens, that of the action that was
        taken first.
    """
    column = {name: c for c, name in enumerate(actions(pipe))}
    rows: List[List[numpy.ndarray]] = [[] for _ in docs]
    states = pipe.moves.init_batch(docs)
    is_open = [(i, state) for i, state in enumerate(states) if not state.is_final()]
    step: Any = pipe.model.predict(list(docs)) if is_open else None
    while is_open:
        scores = numpy.ascontiguousarray(step.predict([state for _, state in is_open]))
        for (i, _), row in zip(is_open, scores):
            rows[i].append(row.astype("float64"))
        pipe.transition_states([state for _, state in is_open], scores)
        is_open = [(i, state) for i, state in is_open if not state.is_final()]
    found: List[List[Span]] = []
    of_found: List[numpy.ndarray] = []
    for doc, before, of_doc in zip(annotated(pipe, docs, states), docs, rows):
        preset = {(ent.start, ent.end) for ent in before.ents}
        ents = [ent for ent in doc.ents if (ent.start, ent.end) not in preset]
        found.append([(ent.start, ent.end, ent.label_) for ent in ents])
        for ent in ents:
            tags = ["U"] if len(ent) == 1 else ["B", *"I" * (len(ent) - 2), "L"]
            taken = []
            for row, tag in zip(of_doc[ent.start : ent.end], tags):
                c = column[f"{tag}-{ent.label_}"]
                taken.append(numpy.concatenate([row[c : c + 1], numpy.delete(row, c)]))
            of_found.append(numpy.stack(taken))
    return found, of_found


def path_probabilities(scores: List[numpy.ndarray], temperature: float = 1.0) -> numpy.ndarray:
    """``(entities,)``: the product of the probabilities of each entity's actions, from what
    `path_scores` gives."""
    if not scores:
        return numpy.zeros(0)
    flat = numpy.concatenate(scores) / temperature
    of = numpy.repeat(numpy.arange(len(scores)), [len(rows) for rows in scores])
    log_p = flat[:, 0] - numpy.logaddexp.reduce(flat, axis=1)
    return numpy.exp(numpy.bincount(of, weights=log_p, minlength=len(scores)))
