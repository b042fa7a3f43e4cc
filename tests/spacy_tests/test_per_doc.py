"""Text classification with our losses: every architecture, and what cats do not say."""

import numpy
import pytest
from numpy.testing import assert_allclose
from spacy.tokens import Doc
from spacy.training import Example

from spacy_dice.heads import find_head
from spacy_dice.losses import CrossEntropy, Dice, DiceCE
from spacy_tests.helpers import TOK2VEC, assert_same_gradients, params, pipeline, update_gradients

TEXTS = [
    ("win a free prize now", {"spam": 1.0, "ham": 0.0}),
    ("see you at home", {"spam": 0.0, "ham": 1.0}),
    ("free money for you", {"spam": 1.0, "ham": 0.0}),
    ("I am late again", {"spam": 0.0, "ham": 1.0}),
]
BOW = {"@architectures": "spacy.TextCatBOW.v3", "ngram_size": 1, "no_output_layer": False}
REDUCE = {f"use_reduce_{kind}": kind == "mean" for kind in ("first", "last", "max", "mean")}


def architecture(name, exclusive):
    bow = {**BOW, "exclusive_classes": exclusive}
    of = {"@architectures": f"spacy.{name}", "tok2vec": TOK2VEC, "exclusive_classes": exclusive}
    return {
        "TextCatBOW.v3": bow,
        "TextCatEnsemble.v2": {**of, "linear_model": bow, "exclusive_classes": None},
        "TextCatReduce.v1": {**of, **REDUCE},
        "TextCatParametricAttention.v1": of,
    }[name]


def examples(nlp, texts=TEXTS):
    return [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in texts]


def make(factory="textcat", loss=None, model=None):
    given = {"model": {k: v for k, v in model.items() if v is not None}} if model else {}
    return pipeline(factory, examples, "cat", loss, **given)


def gradient(nlp, texts):
    pipe = nlp.get_pipe("cat")
    data = examples(nlp, texts)
    scores, _ = pipe.model.begin_update([eg.x for eg in data])
    return pipe.get_loss(data, scores)[1]


ARCHITECTURES = (
    "TextCatBOW.v3",
    "TextCatEnsemble.v2",
    "TextCatReduce.v1",
    "TextCatParametricAttention.v1",
)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_every_architecture_has_a_head_and_stock_parity_and_trains(name, factory):
    exclusive = factory == "textcat"
    model = architecture(name, exclusive)
    found = []
    for loss in (None, CrossEntropy(), DiceCE(average="macro")):
        nlp, data = make(factory, loss, model)
        head = find_head(nlp.get_pipe("cat").model, "cat")
        nlp.update(data)
        found.append(update_gradients(nlp, "cat", data))
        for _ in range(30):
            nlp.update(data)
    activation = "softmax" if exclusive else "sigmoid"
    logits = exclusive and name != "TextCatBOW.v3"
    assert head[:2] == (activation, "logits" if logits else "probabilities")
    if logits:
        assert_same_gradients(found[1], found[0])
    docs = list(nlp.pipe(text for text, _ in TEXTS))
    assert [max(doc.cats, key=doc.cats.get) for doc in docs] == ["spam", "ham", "spam", "ham"]


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_raw_scores_are_logits(factory):
    """The gradient is that of the same model with an output layer, before it."""
    exclusive = factory == "textcat"
    model = {**BOW, "exclusive_classes": exclusive, "no_output_layer": True}
    nlp, data = make(factory, CrossEntropy(), model)
    pipe = nlp.get_pipe("cat")
    assert pipe.head() == ("softmax" if exclusive else "sigmoid", "logits", True)
    z = numpy.random.default_rng(0).normal(size=(len(data), 2)).astype("f") * 3
    value, gradient = pipe.get_loss(data, z)
    y = numpy.asarray([[eg.reference.cats[label] for label in pipe.labels] for eg in data])
    e = numpy.exp(z)
    p = e / e.sum(axis=1, keepdims=True) if exclusive else e / (1 + e)
    assert_allclose(gradient, p - y, atol=1e-6)
    for _ in range(30):
        nlp.update(data)
    docs = list(nlp.pipe(text for text, _ in TEXTS))
    assert [max(doc.cats, key=doc.cats.get) for doc in docs] == ["spam", "ham", "spam", "ham"]
    with pytest.raises(ValueError, match="the model gives NaN"):
        pipe.get_loss(data, z * numpy.nan)


def test_a_bag_of_words_trains_on_cross_entropy():
    """Its softmax_activation multiplies by the derivative: what arrives before it is p - y."""
    nlp, data = make(loss=CrossEntropy(), model={**BOW, "exclusive_classes": True})
    pipe = nlp.get_pipe("cat")
    p = numpy.asarray([[0.999, 0.001], [0.3, 0.7], [0.5, 0.5], [0.2, 0.8]], dtype="f")
    _, by_p = pipe.get_loss(data, p)
    y = numpy.asarray([[eg.reference.cats[label] for label in pipe.labels] for eg in data])
    assert_allclose(p * (by_p - (by_p * p).sum(axis=1, keepdims=True)), p - y, atol=1e-6)


@pytest.mark.parametrize("loss", [CrossEntropy(), DiceCE(), Dice(level="batch", background=None)])
def test_a_document_that_no_category_is_said_of_teaches_nothing(loss):
    """Stock takes it for a document of no category, and pushes all of them down."""
    nlp, _ = make(loss=loss)
    known = gradient(nlp, [*TEXTS, ("free home", {})])
    assert (known[:4] != 0).all() and (known[4] == 0).all()
    assert (gradient(nlp, [*TEXTS, ("free home", {"spam": 0.0, "ham": 0.0})])[4] == 0).all()
    assert_allclose(known[:4], gradient(nlp, TEXTS), atol=1e-5)


def test_a_category_that_a_document_is_not():
    nlp, _ = make(loss=CrossEntropy())
    found = gradient(nlp, [*TEXTS, ("free home", {"spam": 0.0})])[4]
    assert found[0] > 0 and found[1] == 0
    # One at 1 says all others are 0.
    assert_allclose(gradient(nlp, [("free home", {"spam": 1.0})])[0], [-0.5, 0.5], atol=0.2)


def test_an_absent_category_of_several_is_masked():
    nlp, _ = make("textcat_multilabel", DiceCE())
    found = gradient(nlp, [*TEXTS, ("free home", {"spam": 1.0}), ("no", {})])
    assert found[4, 0] < 0 and found[4, 1] == 0 and (found[5] == 0).all()


def test_unknown_categories_are_named():
    nlp, _ = make(loss=DiceCE())
    with pytest.raises(ValueError, match="Component 'cat': the data has the category 'new'"):
        nlp.update(examples(nlp, [("a text", {"new": 1.0})]))
    gradient(nlp, [("a text", {"new": 0.0, "spam": 1.0})])  # says nothing of ours
    nlp, _ = make("textcat_multilabel", DiceCE())
    with pytest.warns(UserWarning, match="Component 'cat' does not learn the categories new"):
        nlp.update(examples(nlp, [("a text", {"new": 1.0})]))


def test_more_than_one_exclusive_category_is_an_error_as_in_stock():
    nlp, _ = make(loss=DiceCE())
    with pytest.raises(ValueError, match="E895"):
        nlp.update(examples(nlp, [("a text", {"spam": 1.0, "ham": 1.0})]))


def test_documents_without_tokens():
    nlp, data = make(loss=DiceCE())
    assert nlp.update(examples(nlp, [("", {"spam": 1.0, "ham": 0.0})]))["cat"] == 0
    nlp.update(data + examples(nlp, [("", {"spam": 1.0, "ham": 0.0}), (" ", {"ham": 1.0})]))
    assert all(numpy.isfinite(p).all() for p in params(nlp.get_pipe("cat")))
    assert set(nlp(Doc(nlp.vocab)).cats) == {"spam", "ham"}
