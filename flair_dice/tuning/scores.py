"""Gold annotation and scores of Flair's models, and decoding them."""

from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import flair.models as stock
import numpy
import torch
from flair.data import DataPoint, Sentence
from flair.models.sequence_tagger_utils.viterbi import START_TAG, STOP_TAG
from flair.nn import Model

from dice_core.tuning.decoded import Span

OUTSIDE = "O"
SPECIAL = (START_TAG, STOP_TAG)


def gold_spans(model: Model, sentence: Sentence) -> List[Span]:
    """Gold annotation as spans of tokens, the end not included."""
    return [
        (label.data_point[0].idx - 1, label.data_point[-1].idx, label.value)
        for label in sentence.get_labels(model.label_type)
    ]


def gold_tags(model: Model, sentence: Sentence) -> List[str]:
    """A gold tag for each token, in the model's scheme."""
    if isinstance(model, stock.SequenceTagger):
        return list(model._get_gold_labels([sentence]))
    tags = [OUTSIDE] * len(sentence)
    for start, end, label in gold_spans(model, sentence):
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
        if model.span_encoding == "BIOES":
            tags[end - 1] = f"{'S' if end - start == 1 else 'E'}-{label}"
    return tags


@contextmanager
def predicting(model: Model) -> Iterator[None]:
    """Neither dropout nor gradients."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def points_of(
    model: Any, sentences: Sequence[DataPoint], size: int
) -> Tuple[numpy.ndarray, List[Any], numpy.ndarray]:
    """Of all data points of a classifier: scores ``(N, C)``, themselves, and their sentences."""
    scores = [numpy.zeros((0, len(model.label_dictionary)))]
    points: List[DataPoint] = []
    doc: List[int] = []
    with predicting(model):
        for start in range(0, len(sentences), size):
            batch, first = [], len(points)
            for d, sentence in enumerate(sentences[start : start + size], start):
                if model._filter_data_point(sentence):
                    batch.append(sentence)
                    found = model._get_data_points_for_batch([sentence])
                    points.extend(found)
                    doc.extend([d] * len(found))
            if first == len(points):
                continue
            encoded = model._encode_data_points(batch, points[first:])
            logits = model._mask_scores(model.decoder(encoded), points[first:])
            scores.append(logits.float().cpu().numpy())
            for sentence in batch:
                sentence.clear_embeddings()
    return numpy.concatenate(scores), points, numpy.asarray(doc, dtype="int64")


def emissions_of(model: Any, sentences: Sequence[Sentence], size: int) -> List[numpy.ndarray]:
    """Of a SequenceTagger, what its linear layer gives: floats ``(tokens, C)`` a sentence."""
    caught: List[torch.Tensor] = []
    hook = model.linear.register_forward_hook(lambda _, __, out: caught.append(out))
    found = [numpy.zeros((0, len(model.label_dictionary)))] * len(sentences)
    # Flair wants the longest first.
    order = sorted((i for i, s in enumerate(sentences) if len(s)), key=lambda i: -len(sentences[i]))
    try:
        with predicting(model):
            for start in range(0, len(order), size):
                places = order[start : start + size]
                batch = [sentences[i] for i in places]
                model.forward(*model._prepare_tensors(batch))
                out = caught.pop().float().cpu().numpy().astype("float64")
                flat, first = out.reshape(-1, out.shape[-1]), 0
                for row, i in enumerate(places):
                    n = len(sentences[i])
                    found[i] = out[row, :n] if out.ndim == 3 else flat[first : first + n]
                    first += n
                for sentence in batch:
                    sentence.clear_embeddings()
    finally:
        hook.remove()
    return found


def decoder_of(model: Any) -> Callable[[List[numpy.ndarray]], List[numpy.ndarray]]:
    """From scores of sentences ``(tokens, C)`` to the tags' columns ``(tokens,)``."""
    if not getattr(model, "use_crf", False):
        return lambda scores: [of_tokens.argmax(axis=1) for of_tokens in scores]
    transitions = model.crf.transitions.detach().cpu().numpy().astype("float64")
    start, stop = (model.label_dictionary.get_idx_for_item(tag) for tag in SPECIAL)
    return lambda scores: viterbi(scores, transitions, start, stop)


def viterbi(
    scores: List[numpy.ndarray], transitions: numpy.ndarray, start: int, stop: int
) -> List[numpy.ndarray]:
    """The best sequence of tags of each sentence, all sentences at once.

    Flair's own decoder makes an object of each tag, which is too slow for tens of runs.

    scores: emissions ``(tokens, C)`` of each; transitions: ``(C, C)``, ``[to, from]``.
    """
    lengths = numpy.asarray([len(of_tokens) for of_tokens in scores], dtype="int64")
    # The longest come first, so that those that have a token t are a prefix.
    order = numpy.argsort(-lengths, kind="stable")
    n_with = [int((lengths > t).sum()) for t in range(lengths.max(initial=0))]
    came_from: List[numpy.ndarray] = []
    best = numpy.tile(transitions[:, start], (len(scores), 1))
    for t, n in enumerate(n_with):
        if t:
            paths = best[:n, None, :] + transitions
            came_from.append(paths.argmax(axis=2))
            best[:n] = paths.max(axis=2)
        best[:n] += [scores[i][t] for i in order[:n]]
    state = (best + transitions[stop]).argmax(axis=1)
    tags = [numpy.zeros(len(of_tokens), dtype="int64") for of_tokens in scores]
    for t in reversed(range(len(n_with))):
        for row in range(n_with[t]):
            tags[order[row]][t] = state[row]
        if t:
            n = n_with[t]
            state[:n] = came_from[t - 1][numpy.arange(n), state[:n]]
    return tags
