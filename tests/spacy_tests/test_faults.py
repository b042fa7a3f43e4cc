"""Bad and extreme input, through every component that can train with our losses."""

import os
import signal
import subprocess
import sys
import time
import warnings

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import fix_random_seed

import spacy_dice
from spacy_dice import losses
from spacy_tests.helpers import params, paths

STOCK = (
    *("tagger", "morphologizer", "senter", "trainable_lemmatizer", "ner", "parser"),
    *("textcat", "textcat_multilabel", "spancat", "spancat_singlelabel", "span_finder"),
)
COMPONENTS = (*STOCK, "dice_tagger", "dice_ner")
CONFIGS = {
    "parser": {"min_action_freq": 1},
    "trainable_lemmatizer": {"min_tree_freq": 1},
    "spancat_singlelabel": {"negative_weight": 0.5},
    "span_finder": {"spans_key": "sc"},
    "dice_ner": {"spans_key": "scored"},
}
LOSSES = {
    "CrossEntropy": losses.CrossEntropy,
    "smoothed": lambda: losses.CrossEntropy(label_smoothing=0.1),
    "WeightedCrossEntropy": losses.WeightedCrossEntropy,
    "Focal": losses.Focal,
    "DL": losses.Dice,
    "Dice": lambda: losses.Dice(level="batch", log=True, smooth=0.0),
    "DSC": lambda: losses.SelfAdjustingDice(alpha=0.01),
    "set DSC": lambda: losses.SelfAdjustingDice(level="batch", average="micro", smooth=0.0),
    "Tversky": lambda: losses.Tversky(level="batch", alpha=0.3, beta=0.7),
    "EntityDice": lambda: losses.EntityDice(log=True),
    "Compound": lambda: losses.Compound([losses.Focal(), losses.Tversky()], [0.5, 1.0]),
    "DiceCE": losses.DiceCE,
}
WORDS = ["Ann", "Lee", "saw", "two", "dogs", "in", "Rome", ".", " ", "\n"]
LABELS = ["PER", "LOC"]


def random_doc(vocab, rng, n, annotated=True):
    """A document with some of everything annotated, and some of it missing or negative."""
    words = rng.choice(WORDS, size=n).tolist()
    spaces = (rng.random(n) < 0.7).tolist()
    if not annotated:
        return Doc(vocab, words=words, spaces=spaces)
    pick = lambda *options: [options[i] for i in rng.integers(len(options), size=n)]  # noqa: E731
    heads = [int(rng.integers(max(i, 1))) for i in range(n)]
    annotation = {"heads": heads, "deps": pick("nsubj", "obj", "det")}
    if rng.random() < 0.5:
        annotation = {"sent_starts": pick(True, False, None)}
    doc = Doc(
        vocab,
        words=words,
        spaces=spaces,
        tags=pick("A", "B", "", "!A"),
        pos=pick("NOUN", "VERB", "X", ""),
        morphs=pick("Number=Sing", "Number=Plur", ""),
        lemmas=pick("Ann", "see", "dog", ""),
        ents=biluo(rng, n),
        **annotation,
    )
    starts = rng.integers(n, size=rng.integers(4)) if n else []
    doc.spans["sc"] = [
        Span(doc, int(i), min(int(i + rng.integers(1, 4)), n), label=str(rng.choice(LABELS)))
        for i in starts
    ]
    doc.cats = [{}, {"x": 1.0}, {"x": 0.0}, {"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 0.0}][
        rng.integers(5)
    ]
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


def full_example(vocab):
    """One that has every label."""
    words = "Ann saw dogs in Rome .".split()
    gold = Doc(
        vocab,
        words=words,
        tags=list("ABABAB"),
        pos=["NOUN", "VERB"] * 3,
        morphs=["Number=Sing", "Number=Plur"] * 3,
        lemmas="Ann see dog in Rome .".split(),
        ents=["B-PER", "O", "O", "O", "B-LOC", "O"],
        heads=[1, 1, 1, 1, 3, 1],
        deps=["nsubj", "ROOT", "obj", "det", "obj", "det"],
    )
    gold.spans["sc"] = [Span(gold, 0, 1, label="PER"), Span(gold, 4, 5, label="LOC")]
    gold.cats = {"x": 1.0, "y": 0.0}
    return Example(Doc(vocab, words=words), gold)


def make(name, loss):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(name, config=CONFIGS.get(name, {}))
    nlp.initialize(lambda: [full_example(nlp.vocab)])
    pipe = nlp.get_pipe(name)
    if name in STOCK:
        spacy_dice.use_loss(nlp, {name: loss})
    else:
        pipe.check(pipe, loss)
        pipe.loss = loss
    return nlp, nlp.get_pipe(name)


def fits(name, loss):
    return loss != "EntityDice" or name == "dice_ner"


PAIRS = [(name, loss) for name in COMPONENTS for loss in LOSSES if fits(name, loss)]


def random_probabilities(rng, shape, softmax):
    """Of models that know nothing, of sure ones, and of those that overflowed."""
    z = rng.normal(size=shape) * rng.choice([0.1, 3.0, 30.0, 1000.0])
    if not softmax:
        return (1 / (1 + numpy.exp(-numpy.clip(z, -500, 500)))).astype("float32")
    e = numpy.exp(z - z.max(axis=1, keepdims=True)) if z.size else z
    return (e / e.sum(axis=1, keepdims=True)).astype("float32")


def loss_of_random_scores(name, pipe, examples, rng):
    """(value, gradients, shapes) of the component's loss."""
    docs = [eg.x for eg in examples]
    lengths = [len(doc) for doc in docs]
    softmax = pipe.head().activation == "softmax"
    if name in ("ner", "parser"):
        states, golds, _ = pipe.moves.init_gold_batch(examples)
        if not states:
            return 0.0, [], []
        scores = (rng.normal(size=(len(states), pipe.moves.n_moves)) * 10).astype("f")
        reported = {}
        gradient = pipe.get_batch_loss(states, golds, scores, reported)
        return reported[name], [gradient], [scores.shape]
    if name.startswith("textcat"):
        scores = random_probabilities(rng, (len(docs), len(pipe.labels)), softmax)
        value, gradient = pipe.get_loss(examples, scores)
        return value, [gradient], [scores.shape]
    if name.startswith("spancat"):
        spans = pipe.suggester(docs, ops=pipe.model.ops)
        scores = random_probabilities(rng, (len(spans.dataXd), pipe._n_labels), softmax)
        value, gradient = pipe.get_loss(examples, (spans, scores))
        return value, [gradient], [scores.shape]
    if name == "span_finder":
        scores = random_probabilities(rng, (sum(lengths), 2), softmax)
        value, gradient = pipe.get_loss(examples, scores)
        return value, [gradient], [scores.shape]
    n = len(pipe.tags) if name == "dice_ner" else len(pipe.labels)
    scores = [random_probabilities(rng, (length, n), softmax) for length in lengths]
    value, gradients = pipe.get_loss(examples, scores)
    return value, gradients, [part.shape for part in scores]


def fuzz(name, loss, n_batches, seed=0):
    nlp, pipe = make(name, LOSSES[loss]())
    rng = numpy.random.default_rng(seed)
    learned = 0
    for _ in range(n_batches):
        examples = random_examples(nlp.vocab, rng)
        value, gradients, shapes = loss_of_random_scores(name, pipe, examples, rng)
        assert numpy.isfinite(value) and value >= -1e-3
        assert [g.shape for g in gradients] == shapes
        for gradient in gradients:
            assert gradient.dtype == "float32" and numpy.isfinite(gradient).all()
            learned += bool((gradient != 0).any())
    # Most of the lemmatizer's rows are masked, and where its softmax is sure bounded losses are
    # flat: their gradient is 0 there, not a number next to it.
    assert learned > n_batches / (5 if name == "trainable_lemmatizer" else 3)


@pytest.mark.parametrize("name, loss", PAIRS)
def test_random_batches(name, loss):
    fuzz(name, loss, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name, loss", PAIRS)
def test_more_random_batches(name, loss):
    """More than 10,000 over all pairs."""
    fuzz(name, loss, int(os.environ.get("FUZZ_BATCHES", 100)), seed=1)


def use_params(pipe, value):
    for node in pipe.model.walk():
        for name in node.param_names:
            node.get_param(name)[...] = value


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("loss", ["CrossEntropy", "DiceCE"])
def test_a_model_that_gives_nan_is_an_error(name, loss):
    nlp, pipe = make(name, LOSSES[loss]())
    use_params(pipe, numpy.nan)
    with warnings.catch_warnings(), pytest.raises(ValueError) as error:
        warnings.simplefilter("ignore", RuntimeWarning)
        nlp.update([full_example(nlp.vocab)])
    # Some stock components look for NaN themselves.
    expected = (f"Component '{name}': the model gives NaN", "[E940] Found NaN values in scores")
    assert any(message in str(error.value) for message in expected)


def examples_of(nlp, *words):
    return [
        Example(Doc(nlp.vocab, words=w), Doc(nlp.vocab, words=w, ents=["O"] * len(w)))
        for w in words
    ]


@pytest.mark.parametrize("name", COMPONENTS)
def test_nothing_but_white_space_or_nothing_at_all(name):
    nlp, pipe = make(name, losses.DiceCE())
    for words in ([], [" "], ["\n", " ", "\t"]):
        nlp.update(examples_of(nlp, words))
        nlp.update([*examples_of(nlp, words), full_example(nlp.vocab)])
        doc = nlp(Doc(nlp.vocab, words=words))
        assert not doc.ents
    assert all(numpy.isfinite(p).all() for p in params(pipe))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPONENTS)
def test_a_hundred_thousand_tokens(name):
    nlp, pipe = make(name, losses.DiceCE())
    # The stock parser's oracle takes time quadratic in the length of a document.
    n = 100_000 if name != "parser" else 5_000
    words = ["Ann", "saw", "dogs", "in", "Rome", "."] * (n // 6 + 1)
    words = words[:n]
    gold = Doc(
        nlp.vocab,
        words=words,
        tags=(["A", "B"] * n)[:n],
        pos=(["NOUN", "VERB"] * n)[:n],
        morphs=(["Number=Sing", "Number=Plur"] * n)[:n],
        lemmas=words,
        ents=(["B-PER", "O", "O", "O", "B-LOC", "O"] * n)[:n],
        heads=[max(i - 1, 0) for i in range(n)],
        deps=["ROOT"] + ["obj"] * (n - 1),
    )
    gold.spans["sc"] = [Span(gold, i, i + 1, label="PER") for i in range(0, n, 6)]
    gold.cats = {"x": 1.0, "y": 0.0}
    nlp.update([Example(Doc(nlp.vocab, words=words), gold)])
    assert all(numpy.isfinite(p).all() for p in params(pipe))
    assert len(nlp(Doc(nlp.vocab, words=words))) == n


def test_only_outside_for_many_batches():
    """The background alone neither breaks nor divides by nothing; entities come back after."""
    nlp, pipe = make("dice_ner", losses.DiceCE())
    outside = examples_of(nlp, ["Ann", "saw"], ["dogs", "."])
    for _ in range(20):
        nlp.update(outside)
    assert all(numpy.isfinite(p).all() for p in params(pipe))
    for _ in range(40):
        nlp.update([full_example(nlp.vocab)])
    assert [e.label_ for e in nlp("Ann saw dogs in Rome .").ents] == ["PER", "LOC"]


@pytest.mark.parametrize("name", ["ner", "dice_ner"])
def test_misaligned_entities_are_missing_and_overlapping_ones_an_error(name):
    nlp, _ = make(name, losses.DiceCE())
    gold = Doc(nlp.vocab, words=["Ann", "Lee", "saw"], spaces=[False, True, False])
    gold.ents = [Span(gold, 0, 1, label="PER")]
    misaligned = Example(Doc(nlp.vocab, words=["AnnLee", "saw"]), gold)
    assert misaligned.get_aligned_ner() == [None, "O"]
    nlp.update([misaligned])
    with pytest.raises(ValueError, match="E103"):
        offsets = {"entities": [(0, 3, "PER"), (0, 7, "LOC")]}
        Example.from_dict(nlp.make_doc("Ann Lee saw"), offsets)


def test_an_entity_label_that_ner_does_not_have_is_warned_of():
    nlp, _ = make("ner", losses.DiceCE())
    gold = Doc(nlp.vocab, words=["Ann", "saw"], ents=["B-NEW", "O"])
    with pytest.warns(UserWarning, match="Component 'ner' does not learn entities of NEW"):
        nlp.update([Example(Doc(nlp.vocab, words=["Ann", "saw"]), gold)])


@pytest.mark.parametrize("name", ["ner", "dice_ner"])
def test_killed_training_leaves_what_was_saved(name, configs, corpus, tmp_path):
    """Killed while it trains. (spaCy writes files in place: killed while it saves, it leaves
    model-last cut short, and model-best whole.)"""
    command = [sys.executable, "-m", "spacy", "train", configs / f"{name}.cfg", "-o", tmp_path]
    command += [*paths(corpus), "--training.eval_frequency", 1000, "--training.patience", 0]
    saved = [tmp_path / folder / "tokenizer" for folder in ("model-last", "model-best")]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as process:
        while not (all(path.exists() for path in saved) and settled(tmp_path)):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for folder in ("model-best", "model-last"):
        nlp = spacy.load(tmp_path / folder)
        assert nlp("the flight from Barento was full").has_annotation("ENT_IOB")


def settled(folder, seconds=2.0):
    """Whether nothing was written there for a while."""
    newest = max((path.stat().st_mtime for path in folder.rglob("*")), default=time.time())
    return time.time() - newest > seconds
