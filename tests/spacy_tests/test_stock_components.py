"""Every stock component that `use_loss` takes: parity with stock, training, saving."""

import pickle

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import fix_random_seed

import spacy_dice
from spacy_dice.losses import CrossEntropy, DiceCE, WeightedCrossEntropy
from spacy_tests.helpers import assert_same_gradients, pipeline, update_gradients

PER_TOKEN = ("tagger", "morphologizer", "senter", "trainable_lemmatizer", "ner", "parser")
PER_DOC = ("textcat", "textcat_multilabel")
PER_SPAN = ("spancat", "spancat_singlelabel", "span_finder")
NAMES = PER_TOKEN + PER_DOC + PER_SPAN
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
CATS = ({"ANIMALS": 1.0, "WORK": 0.0}, {"ANIMALS": 0.0, "WORK": 1.0})
SPANS = [(0, 1, "PER"), (2, 4, "ANIMAL"), (8, 9, "LOC")]


def examples(nlp, cats=CATS, spans=SPANS, **changes):
    annotation = {**ANNOTATION, **changes}
    if "heads" in annotation and annotation["heads"]:
        annotation.pop("sent_starts", None)  # spaCy derives them from the heads
    annotation = {key: value for key, value in annotation.items() if value}
    made = [Example(Doc(nlp.vocab, words=WORDS), Doc(nlp.vocab, words=WORDS, **annotation))]
    gold = made[0].reference
    gold.spans["sc"] = [Span(gold, *span) for span in spans]
    if "textcat" in nlp.component_names[-1]:
        work = "She wrote code .".split()
        made.append(Example(Doc(nlp.vocab, words=work), Doc(nlp.vocab, words=work)))
        for eg, values in zip(made, cats):
            eg.reference.cats = values
    return made


def make(name, loss=None, **config):
    config = {**CONFIGS.get(name, {}), **config}
    return pipeline(name, examples, loss=loss, seed=1, **config)[0]


CONFIGS = {
    "parser": {"min_action_freq": 1},
    "trainable_lemmatizer": {"min_tree_freq": 1},
    "span_finder": {"max_length": 3, "min_length": 1, "spans_key": "sc"},
}


def train(nlp, steps, **changes):
    fix_random_seed(2)
    for _ in range(steps):
        losses = nlp.update(examples(nlp, **changes), drop=0.1)
    return losses


def annotated(nlp, name):
    """What the component set, and what is right."""
    gold = [eg.reference for eg in examples(nlp)]
    docs = [nlp(Doc(nlp.vocab, words=[t.text for t in doc])) for doc in gold]
    read = {
        "tagger": lambda d: [t.tag_ for t in d],
        "morphologizer": lambda d: [(t.pos_, str(t.morph)) for t in d],
        "senter": lambda d: [t.is_sent_start for t in d],
        "trainable_lemmatizer": lambda d: [t.lemma_ for t in d],
        "ner": lambda d: [(t.ent_iob_, t.ent_type_) for t in d],
        "parser": lambda d: [(t.head.i, t.dep_) for t in d],
        "textcat": lambda d: {label: score > 0.5 for label, score in d.cats.items()},
        "textcat_multilabel": lambda d: {label: score > 0.5 for label, score in d.cats.items()},
        "spancat": lambda d: {(s.start, s.end, s.label_) for s in d.spans["sc"]},
        "spancat_singlelabel": lambda d: {(s.start, s.end, s.label_) for s in d.spans["sc"]},
        # Its spans are from any start to any end.
        "span_finder": lambda d: (
            {s.start for s in d.spans["sc"]},
            {s.end for s in d.spans["sc"]},
        ),
    }[name]
    return [read(doc) for doc in docs], [read(doc) for doc in gold]


# Heads for which stock's gradient is that of a cross-entropy.
SOFTMAXES = (*PER_TOKEN, "textcat", "spancat_singlelabel")


@pytest.mark.parametrize("name", SOFTMAXES)
def test_cross_entropy_has_the_stock_gradients(name):
    stock, ours = make(name), make(name, CrossEntropy())
    assert type(ours.get_pipe(name)) is not type(stock.get_pipe(name))
    found, expected = (
        update_gradients(nlp, name, examples(nlp), drop=0.1) for nlp in (ours, stock)
    )
    assert_same_gradients(found, expected)


TRAINED = [(name, DiceCE) for name in NAMES] + [(name, CrossEntropy) for name in SOFTMAXES]
TRAINED += [("tagger", WeightedCrossEntropy), ("textcat_multilabel", WeightedCrossEntropy)]


@pytest.mark.parametrize("name, loss", TRAINED)
def test_trains_is_saved_as_stock_and_restored(name, loss, tmp_path):
    """With each loss it decides as it should, and so as stock does that has learned the same."""
    nlp = make(name)
    config = nlp.config.to_str()
    spacy_dice.use_loss(nlp, {name: loss()})
    train(nlp, 100 if name in PER_SPAN else 60)
    found, gold = annotated(nlp, name)
    assert found == gold
    nlp.to_disk(tmp_path)
    assert nlp.config.to_str() == config
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("spacy_dice" in path.read_text(errors="ignore") for path in files)
    for stock in (spacy.load(tmp_path), make(name).from_bytes(nlp.to_bytes())):
        assert type(stock.get_pipe(name)).__module__.startswith("spacy.pipeline")
        assert annotated(stock, name)[0] == gold
    if name != "span_finder":  # whose stock model does not pickle either
        copy = pickle.loads(pickle.dumps(nlp))
        assert copy.get_pipe(name).loss == loss().core and annotated(copy, name)[0] == gold
        train(copy, 1)
    spacy_dice.restore(nlp)
    assert type(nlp.get_pipe(name)).__module__.startswith("spacy.pipeline")
    train(nlp, 2)
    assert annotated(nlp, name)[0] == gold


@pytest.mark.parametrize("name", [name for name in PER_TOKEN if name != "senter"])
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


@pytest.mark.parametrize(
    "name, key, row, value",
    [("trainable_lemmatizer", "lemmas", 3, "zebra"), ("morphologizer", "pos", 0, "X")],
)
def test_an_unknown_class_is_masked(name, key, row, value):
    """An edit tree, which stock takes for its first label, and a combination of features."""
    nlp = make(name, CrossEntropy())
    pipe, values = nlp.get_pipe(name), list(ANNOTATION[key])
    values[row] = value
    data = examples(nlp, **{key: values})
    scores, _ = pipe.model.begin_update([eg.x for eg in data])
    _, (gradient,) = pipe.get_loss(data, scores)
    assert (gradient[row] == 0).all() and (gradient[[0, 1, 2]] != 0).any(axis=1).sum() >= 2


def test_the_background_of_the_sentence_recogniser():
    pipe = make("senter", DiceCE()).get_pipe("senter")
    labels = pipe.label_spec(pipe)
    assert labels.names == ("I", "S") and labels.background == ("I",)
    nlp = make("senter", DiceCE(background=None))
    assert numpy.isfinite(train(nlp, 3)["senter"])
