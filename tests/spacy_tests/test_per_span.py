"""spancat, spancat_singlelabel and span_finder: which candidates are gold, and what is masked."""

import numpy
import pytest
from numpy.testing import assert_allclose
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_dice.losses import CrossEntropy, DiceCE
from spacy_tests.helpers import assert_same_gradients, pipeline, update_gradients

WORDS = "Ann Lee met Bob in Rome .".split()
SPANS = [(0, 2, "PER"), (3, 4, "PER"), (5, 6, "LOC")]
KEYS = {"spans_key": "sc"}


def example(nlp, spans=SPANS, words=WORDS):
    predicted = Doc(nlp.vocab, words=words)
    gold = Doc(nlp.vocab, words=WORDS)
    if spans is not None:
        gold.spans["sc"] = [Span(gold, *span) for span in spans]
    return Example(predicted, gold)


def make(factory, loss=None, **config):
    nlp, _ = pipeline(factory, lambda nlp: [example(nlp)], "spans", loss, **KEYS, **config)
    return nlp, nlp.get_pipe("spans")


def targets(pipe, *examples):
    spans = pipe.suggester([eg.x for eg in examples], ops=pipe.model.ops)
    scores, _ = pipe.model.begin_update(([eg.x for eg in examples], spans))
    return spans.dataXd.tolist(), pipe.targets(examples, spans, scores)


def test_targets_of_candidates():
    nlp, pipe = make("spancat", DiceCE())
    spans, found = targets(pipe, example(nlp), example(nlp))
    per, loc = pipe.labels.index("PER"), pipe.labels.index("LOC")
    half = len(spans) // 2
    expected = numpy.zeros((len(spans), 2))
    for start, end, label in SPANS:
        row = spans[:half].index([start, end])
        expected[[row, row + half], per if label == "PER" else loc] = 1
    assert_allclose(found.y, expected)
    assert found.weights is None and found.spec.background == ()


def test_a_single_label_has_the_negative_class_as_its_background():
    nlp, pipe = make("spancat_singlelabel", DiceCE(), negative_weight=0.25)
    spans, found = targets(pipe, example(nlp, [*SPANS, (5, 6, "PER")]))
    assert found.spec.names[2] == "(none)" and found.spec.background == ("(none)",)
    assert_allclose(found.y.sum(axis=1), 1)
    assert_allclose(found.y[spans.index([5, 6])], [0.5, 0.5, 0])
    none = found.y[:, 2] == 1
    assert none.sum() == len(spans) - 3
    assert_allclose(found.weights, numpy.where(none, 0.25, 1))


@pytest.mark.parametrize("negative_weight", [0.0, 0.25, 1.0, 3.0])
def test_negative_weight_is_that_of_stock(negative_weight):
    found = []
    for loss in (None, CrossEntropy()):
        nlp, pipe = make("spancat_singlelabel", loss, negative_weight=negative_weight)
        nlp.update([example(nlp)])
        found.append(update_gradients(nlp, pipe.name, [example(nlp)]))
    assert_same_gradients(found[1], found[0])


def test_negative_weight_reaches_the_dice_term():
    gradients = []
    for weight in (1.0, 0.1):
        nlp, pipe = make("spancat_singlelabel", DiceCE(background=None), negative_weight=weight)
        data = [example(nlp)]
        spans = pipe.suggester([eg.x for eg in data], ops=pipe.model.ops)
        scores = numpy.full((len(spans.dataXd), 3), 1 / 3, dtype="f")
        gradients.append(pipe.get_loss(data, (spans, scores))[1])
    negative = gradients[0][:, 2] < 0
    assert (abs(gradients[1][negative]) < abs(gradients[0][negative])).all()


def test_no_spans_at_all_are_all_negative_as_in_stock():
    nlp, pipe = make("spancat", DiceCE())
    _, found = targets(pipe, example(nlp, None))
    assert (found.y == 0).all() and found.mask is None
    assert nlp.update([example(nlp, None)])["spans"] > 0


@pytest.mark.parametrize("factory", ["spancat", "spancat_singlelabel"])
def test_an_unknown_label_is_named_and_not_learned(factory):
    nlp, pipe = make(factory, DiceCE())
    with pytest.warns(UserWarning, match="Component 'spans' does not learn spans of X"):
        nlp.update([example(nlp, [(0, 1, "X")])])
    with pytest.warns(UserWarning):
        _, found = targets(pipe, example(nlp, [(0, 1, "X"), (0, 2, "PER")]))
    assert (found.y[:, :2]).sum() == 1


def test_boundaries_inside_of_tokens_are_masked():
    """The end of "Ann" is inside of the token "AnnLee"; its start is not."""
    nlp, pipe = make("span_finder", CrossEntropy())
    words = ["AnnLee", *WORDS[2:]]
    predicted = Doc(nlp.vocab, words=words, spaces=[True] * 5 + [False])
    gold = Doc(nlp.vocab, words=WORDS, spaces=[False] + [True] * 5 + [False])
    gold.spans["sc"] = [Span(gold, 0, 1)]
    data = [Example(predicted, gold)]
    scores = numpy.full((6, 2), 0.5, dtype="f")
    value, gradient = pipe.get_loss(data, scores)
    assert gradient[0, 0] == -2 and gradient[0, 1] == 0 and (gradient[1:] == 2).all()
    assert value == pytest.approx(11 * numpy.log(2), rel=1e-5)


def test_gold_in_other_tokens_than_the_prediction():
    nlp, pipe = make("spancat", DiceCE())
    words = ["AnnLee", *WORDS[2:]]
    predicted = Doc(nlp.vocab, words=words, spaces=[True] * 5 + [False])
    gold = Doc(nlp.vocab, words=WORDS, spaces=[False] + [True] * 5 + [False])
    gold.spans["sc"] = [Span(gold, 0, 2, "PER"), Span(gold, 0, 1, "PER"), Span(gold, 5, 6, "LOC")]
    spans, found = targets(pipe, Example(predicted, gold))
    gold_rows = sorted((spans[row], pipe.labels[column]) for row, column in zip(*found.y.nonzero()))
    assert gold_rows == [([0, 1], "PER"), ([4, 5], "LOC")]
