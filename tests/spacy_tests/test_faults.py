"""Bad and extreme input, through every component that can train with our losses."""

import os
import warnings

import numpy
import pytest
from spacy.tokens import Doc, Span
from spacy.training import Example

import spacy_dice
from spacy_dice import losses
from spacy_tests import test_stock_components as stock_components
from spacy_tests.helpers import params
from spacy_tests.test_stock_components import NAMES

COMPONENTS = (*NAMES, "dice_tagger", "dice_ner")
CONFIGS = {
    "spancat_singlelabel": {"negative_weight": 0.5},
    "span_finder": {"max_length": None},
    "dice_ner": {"spans_key": "scored"},
}
LOSSES = {
    "CrossEntropy": losses.CrossEntropy,
    "smoothed": lambda: losses.CrossEntropy(label_smoothing=0.1),
    "WeightedCrossEntropy": losses.WeightedCrossEntropy,
    "Focal": losses.Focal,
    "DL": losses.Dice,
    "Dice": lambda: losses.Dice(level="batch", log=True, smooth=0.01),
    "DSC": lambda: losses.SelfAdjustingDice(alpha=0.01),
    "set DSC": lambda: losses.SelfAdjustingDice(level="batch", average="micro", smooth=0.0),
    "Tversky": lambda: losses.Tversky(level="batch", alpha=0.3, beta=0.7),
    "EntityDice": lambda: losses.EntityDice(log=True),
    "Compound": lambda: losses.Compound([losses.Focal(), losses.Tversky()], [0.5, 1.0]),
    "DiceCE": losses.DiceCE,
}
WORDS = ["Ann", "Lee", "saw", "two", "dogs", "in", "Rome", ".", " ", "\n"]
LABELS = ["PER", "LOC"]


def random_doc(vocab, rng, n):
    """A document with some of everything annotated, and some of it missing or negative."""
    words = rng.choice(WORDS, size=n).tolist()
    spaces = (rng.random(n) < 0.7).tolist()
    pick = lambda *options: [options[i] for i in rng.integers(len(options), size=n)]  # noqa: E731
    heads = [int(rng.integers(max(i, 1))) for i in range(n)]
    annotation = {"heads": heads, "deps": pick("nsubj", "dobj", "prep")}
    if rng.random() < 0.5:
        annotation = {"sent_starts": pick(True, False, None)}
    doc = Doc(
        vocab,
        words=words,
        spaces=spaces,
        tags=pick("NNP", "VBD", "", "!NNP"),
        pos=pick("NOUN", "VERB", "X", ""),
        morphs=pick("Number=Sing", "Number=Plur", ""),
        lemmas=[str(rng.choice([word, word, "see", ""])) for word in words],
        ents=biluo(rng, n),
        **annotation,
    )
    starts = rng.integers(n, size=rng.integers(4)) if n else []
    doc.spans["sc"] = [
        Span(doc, int(i), min(int(i + rng.integers(1, 4)), n), label=str(rng.choice(LABELS)))
        for i in starts
    ]
    x, y = ({"ANIMALS": value} for value in (1.0, 0.0))
    doc.cats = [{}, x, y, {**x, "WORK": 0.0}, {**y, "WORK": 0.0}][rng.integers(5)]
    return doc


def biluo(rng, n):
    tags = []
    while len(tags) < n:
        kind = rng.integers(4)
        label = rng.choice(LABELS)
        if kind == 0 and len(tags) + 2 <= n:
            tags += [f"B-{label}", f"I-{label}"]
        else:
            tags.append(("O", "O", "", f"B-{label}")[kind])
    return tags


def retokenized(gold, rng):
    """The same text, with some neighbours made one token."""
    words, spaces = [], []
    glue = False
    for token in gold:
        if glue:
            words[-1] += token.text
            spaces[-1] = bool(token.whitespace_)
        else:
            words.append(token.text)
            spaces.append(bool(token.whitespace_))
        glue = not token.whitespace_ and rng.random() < 0.3
    return Doc(gold.vocab, words=words, spaces=spaces)


def random_examples(vocab, rng, largest=8):
    golds = [random_doc(vocab, rng, int(rng.integers(largest))) for _ in range(rng.integers(1, 5))]
    return [Example(retokenized(gold, rng), gold) for gold in golds]


def make(name, loss):
    nlp = stock_components.make(name, **CONFIGS.get(name, {}))
    pipe = nlp.get_pipe(name)
    if name in NAMES:
        spacy_dice.use_loss(nlp, {name: loss})
    else:
        pipe.check(pipe, loss.core)
        pipe.set_loss(loss)
    return nlp, nlp.get_pipe(name)


def fits(name, loss):
    return loss != "EntityDice" or name == "dice_ner"


PAIRS = [(name, loss) for name in COMPONENTS for loss in LOSSES if fits(name, loss)]


@pytest.mark.parametrize("name, loss", PAIRS)
def test_random_batches(name, loss):
    """Of models that are not sure, sure, and far too sure: value and gradients are finite, and most
    batches teach something. FUZZ_BATCHES in the environment makes them more."""
    n_batches = int(os.environ.get("FUZZ_BATCHES", 9))
    nlp, pipe = make(name, LOSSES[loss]())
    rng = numpy.random.default_rng(0)
    n_taught = 0
    for i in range(n_batches):
        scale = (0.1, 1.0, 30.0)[i % 3]
        for p in params(pipe):
            p[...] = rng.normal(size=p.shape) * scale
        value = nlp.update(random_examples(nlp.vocab, rng), sgd=False)[name]
        assert numpy.isfinite(value) and value >= -1e-3
        gradients = []
        for node in pipe.model.walk():
            for key in node.param_names:
                if node.has_grad(key):
                    gradients.append(node.get_grad(key).copy())
                    node.get_grad(key)[...] = 0.0
        assert all(numpy.isfinite(gradient).all() for gradient in gradients)
        n_taught += any((gradient != 0).any() for gradient in gradients)
    # Most of the lemmatizer's rows are masked, and bounded losses are flat where a softmax is sure:
    # their gradient is 0 there, not a number next to it.
    assert n_taught > n_batches / 5


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("loss", ["CrossEntropy", "DiceCE"])
def test_a_model_that_gives_nan_is_an_error(name, loss):
    nlp, pipe = make(name, LOSSES[loss]())
    for p in params(pipe):
        p[...] = numpy.nan
    with warnings.catch_warnings(), pytest.raises(ValueError) as error:
        warnings.simplefilter("ignore", RuntimeWarning)
        nlp.update(stock_components.examples(nlp))
    # Some stock components look for NaN themselves.
    expected = (f"Component '{name}': the model gives NaN", "[E940] Found NaN values in scores")
    assert any(message in str(error.value) for message in expected)


@pytest.mark.parametrize("name", COMPONENTS)
def test_nothing_but_white_space_or_nothing_at_all(name):
    nlp, pipe = make(name, losses.DiceCE())
    for words in ([], [" "], ["\n", " ", "\t"]):
        gold = Doc(nlp.vocab, words=words, ents=["O"] * len(words))
        for more in ([], stock_components.examples(nlp)):
            nlp.update([Example(Doc(nlp.vocab, words=words), gold), *more])
        doc = nlp(Doc(nlp.vocab, words=words))
        assert not doc.ents and not any(doc.spans.values())
    assert all(numpy.isfinite(p).all() for p in params(pipe))


def test_an_entity_label_that_ner_does_not_have_is_warned_of():
    nlp, _ = make("ner", losses.DiceCE())
    gold = Doc(nlp.vocab, words=["Ann", "saw"], ents=["B-NEW", "O"])
    with pytest.warns(UserWarning, match="Component 'ner' does not learn entities of NEW"):
        nlp.update([Example(Doc(nlp.vocab, words=["Ann", "saw"]), gold)])
