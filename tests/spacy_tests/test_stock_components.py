"""Every stock component that `use_loss` takes: parity with stock, training, saving."""

import pickle

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import fix_random_seed

import spacy_dice
from spacy_dice.losses import CrossEntropy, DiceCE, WeightedCrossEntropy
from spacy_tests.helpers import params

NAMES = ("tagger", "morphologizer", "senter", "trainable_lemmatizer", "ner", "parser")
WORDS = "Ann saw two dogs . They barked in Rome .".split()
ANNOTATION = {
    "tags": "NNP VBD CD NNS . PRP VBD IN NNP .".split(),
    "pos": "PROPN VERB NUM NOUN PUNCT PRON VERB ADP PROPN PUNCT".split(),
    "morphs": ["Number=Sing", "Tense=Past", "", "Number=Plur", "", "Number=Plur", "Tense=Past"]
    + ["", "Number=Sing", ""],
    "lemmas": "Ann see two dog . they bark in Rome .".split(),
    "heads": [1, 1, 3, 1, 1, 6, 6, 6, 7, 6],
    "deps": "nsubj ROOT nummod dobj punct nsubj ROOT prep pobj punct".split(),
    "sent_starts": [True] + [False] * 4 + [True] + [False] * 4,
    "ents": ["B-PER"] + ["O"] * 7 + ["B-LOC", "O"],
}


def examples(nlp, **changes):
    annotation = {**ANNOTATION, **changes}
    if "heads" in annotation and annotation["heads"]:
        annotation.pop("sent_starts", None)  # spaCy derives them from the heads
    annotation = {key: value for key, value in annotation.items() if value}
    return [Example(Doc(nlp.vocab, words=WORDS), Doc(nlp.vocab, words=WORDS, **annotation))]


def make(name, loss=None, seed=1):
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    config = {"min_action_freq": 1} if name == "parser" else {}
    config = {"min_tree_freq": 1} if name == "trainable_lemmatizer" else config
    nlp.add_pipe(name, config=config)
    nlp.initialize(lambda: examples(nlp))
    if loss is not None:
        spacy_dice.use_loss(nlp, {name: loss})
    return nlp


def train(nlp, steps, **changes):
    fix_random_seed(2)
    for _ in range(steps):
        losses = nlp.update(examples(nlp, **changes), drop=0.1)
    return losses


def annotated(nlp, name):
    """What the component set, and what is right."""
    doc = nlp(Doc(nlp.vocab, words=WORDS))
    gold = examples(nlp)[0].y
    read = {
        "tagger": lambda t: t.tag_,
        "morphologizer": lambda t: (t.pos_, str(t.morph)),
        "senter": lambda t: t.is_sent_start,
        "trainable_lemmatizer": lambda t: t.lemma_,
        "ner": lambda t: (t.ent_iob_, t.ent_type_),
        "parser": lambda t: (t.head.i, t.dep_),
    }[name]
    return [read(t) for t in doc], [read(t) for t in gold]


@pytest.mark.parametrize("name", NAMES)
def test_cross_entropy_trains_to_the_stock_weights(name):
    stock, ours = make(name), make(name, CrossEntropy())
    assert type(ours.get_pipe(name)) is not type(stock.get_pipe(name))
    for nlp in (stock, ours):
        train(nlp, 15)
    for expected, param in zip(params(stock.get_pipe(name)), params(ours.get_pipe(name))):
        assert_allclose(param, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loss", [DiceCE, WeightedCrossEntropy])
def test_trains_is_saved_as_stock_and_restored(name, loss, tmp_path):
    nlp = make(name, loss())
    train(nlp, 60)
    found, gold = annotated(nlp, name)
    assert found == gold
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert type(loaded.get_pipe(name)).__module__.startswith("spacy.pipeline")
    assert annotated(loaded, name)[0] == gold
    copy = pickle.loads(pickle.dumps(nlp))
    assert type(copy.get_pipe(name).loss) is loss and annotated(copy, name)[0] == gold
    spacy_dice.restore(nlp)
    assert type(nlp.get_pipe(name)).__module__.startswith("spacy.pipeline")
    train(nlp, 2)
    assert annotated(nlp, name)[0] == gold


@pytest.mark.parametrize("name", [name for name in NAMES if name != "senter"])
def test_nothing_annotated_teaches_nothing(name):
    """But for senter: to spaCy, a token without a mark starts no sentence."""
    nlp = make(name, DiceCE())
    pipe = nlp.get_pipe(name)
    losses = {}
    pipe.update(examples(nlp, **{key: None for key in ANNOTATION}), losses=losses)
    assert losses[name] == 0
    for node in pipe.model.walk():
        for grad in node.grad_names:
            assert not node.get_grad(grad).any()


def test_an_unknown_edit_tree_is_masked():
    """Stock takes it for its first label."""
    nlp = make("trainable_lemmatizer", CrossEntropy())
    pipe = nlp.get_pipe("trainable_lemmatizer")
    lemmas = list(ANNOTATION["lemmas"])
    lemmas[3] = "zebra"
    data = examples(nlp, lemmas=lemmas)
    scores, _ = pipe.model.begin_update([eg.x for eg in data])
    _, (gradient,) = pipe.get_loss(data, scores)
    assert (gradient[3] == 0).all() and (gradient[[0, 1, 2]] != 0).any(axis=1).all()


def test_an_unknown_combination_of_features_is_masked():
    nlp = make("morphologizer", CrossEntropy())
    pipe = nlp.get_pipe("morphologizer")
    data = examples(nlp, pos=["X"] + ANNOTATION["pos"][1:])
    scores, _ = pipe.model.begin_update([eg.x for eg in data])
    _, (gradient,) = pipe.get_loss(data, scores)
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).any(axis=1).all()


def test_the_background_of_the_sentence_recogniser():
    labels = make("senter", DiceCE()).get_pipe("senter").loss_labels()
    assert labels.names == ("I", "S") and labels.background == ("I",)
    nlp = make("senter", DiceCE(background=None))
    assert numpy.isfinite(train(nlp, 3)["senter"])
