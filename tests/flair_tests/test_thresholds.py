"""Thresholds for F1 with Flair's models: `tune`, `calibrate`, what is saved."""

import random
from itertools import product

import flair.models as stock
import numpy
import pytest
import torch
from flair.data import Corpus, Relation, Sentence, TextPair
from flair.datasets import FlairDatapointDataset
from flair.nn import Classifier

import flair_dice
from flair_dice.thresholds.models import viterbi
from flair_tests import helpers
from flair_tests.helpers import dictionary

SIZES = {"hidden_size": 16, "rnn_layers": 1, "reproject_embeddings": False}
KINDS = {"PER": ["Ann", "Bob", "Cid"], "LOC": ["Rome", "Oslo", "Bern"]}
OTHER = ["sees", "two", "dogs", "in", "the", "park"]


def sentences(n, seed, label_type="ner"):
    """Names are entities three times out of four, so that nobody can be sure."""
    rng, made = random.Random(seed), []
    for _ in range(n):
        words, labels, spans = [], [], []
        for _ in range(rng.randint(3, 7)):
            kind = rng.choices([None, "PER", "LOC"], [4, 1, 1])[0]
            word = rng.choice(KINDS[kind] if kind else OTHER)
            if kind and rng.random() < 0.75:
                spans.append((len(words), kind))
            words.append(word)
            labels.append(kind or "X")
        sentence = Sentence(words)
        if label_type == "ner":
            for at, kind in spans:
                sentence[at : at + 1].add_label("ner", kind)
        elif label_type == "tag":
            for token, label in zip(sentence, labels):
                token.add_label("tag", label)
        else:
            classes = {kind for _, kind in spans} or {"none"}
            for value in sorted(classes) if label_type == "classes" else [sorted(classes)[0]]:
                sentence.add_label(label_type, value)
        made.append(sentence)
    return made


def corpus_of(label_type):
    parts = [FlairDatapointDataset(sentences(n, n, label_type)) for n in (80, 70, 71)]
    return Corpus(*parts, name="made", sample_missing_splits=False)


LABEL_TYPES = {"tags": "tag", "crf_tags": "tag", "text": "class", "texts": "classes"}


def make(kind, spoil=True):
    """A model whose bias costs F1, unless spoil is False, and its corpus."""
    helpers.seed()
    name = LABEL_TYPES.get(kind, "ner")
    corpus = corpus_of(name)
    words = helpers.words(corpus, 12)
    if kind in ("text", "texts"):
        labels = dictionary("LOC", "PER", "none")
        model = stock.TextClassifier(
            helpers.texts(corpus, 12),
            label_type=name,
            label_dictionary=labels,
            multi_label=kind == "texts",
        )
        layer = model.decoder
    elif kind == "token":
        labels = corpus.make_label_dictionary("ner", add_unk=False)
        model = stock.TokenClassifier(words, label_dictionary=labels, label_type="ner")
        layer = model.decoder
    else:
        labels = corpus.make_label_dictionary(name, add_unk=False)
        crf = kind in ("crf", "crf_tags")
        model = stock.SequenceTagger(words, labels, name, use_crf=crf, **SIZES)
        layer = model.linear
    with torch.no_grad():
        fit(model, corpus)
        if not spoil:
            return model, corpus
        items = model.label_dictionary.get_items()
        away = [tag in ("O", "X", "none") for tag in items]
        if kind == "texts":
            layer.bias -= 2.0
        layer.bias += 2.5 * torch.tensor(away, dtype=torch.float32)
    return model, corpus


def fit(model, corpus, steps=25):
    """Plain updates: no files."""
    model.train()
    with torch.enable_grad():
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(steps):
            optimizer.zero_grad()
            loss, count = model.forward_loss(list(corpus.train))
            (loss / count).backward()
            optimizer.step()
            for sentence in corpus.train:
                sentence.clear_embeddings()
    model.eval()


def f1(model, data, average="micro avg"):
    result = model.evaluate([s for s in data], gold_label_type=model.label_type, mini_batch_size=32)
    return result.classification_report[average]["f1-score"]


def predictions(model, data):
    made = []
    for sentence in data:
        copy = Sentence([token.text for token in sentence])
        model.predict(copy, label_name="predicted")
        made.append(
            [(x.data_point.unlabeled_identifier, x.value) for x in copy.get_labels("predicted")]
        )
    return made


KINDS_OF_MODEL = ("ner", "crf", "tags", "crf_tags", "token", "text", "texts")


def awkward(kind, seed):
    """Sentences without words or without labels, labels that the model does not know, two labels
    where there is one, spans that overlap.
    """
    label_type = LABEL_TYPES.get(kind, "ner")
    rng, made = random.Random(seed), []
    for sentence in sentences(40, seed, label_type):
        if rng.random() < 0.1:
            sentence = Sentence([])
            if label_type.startswith("class"):
                sentence.add_label(label_type, "PER")
        elif rng.random() < 0.2:
            sentence = Sentence([token.text for token in sentence])
        else:
            for value in ("NEW", "PER", "O"):
                if rng.random() < 0.2:
                    start = rng.randrange(len(sentence))
                    span = sentence[start : start + rng.randint(1, 3)]
                    where = {"ner": span, "tag": sentence[start]}.get(label_type, sentence)
                    where.add_label(label_type, value)
        made.append(sentence)
    return made


def check_before(model, data):
    result = model.evaluate(data, gold_label_type=model.label_type, return_loss=False)
    expected = result.classification_report
    part = flair_dice.tune(model, data, min_examples=10_000)[model.label_type]
    assert not part.tuned and part.before.micro.f > 0
    assert not {"<START>", "<STOP>"} & {row.label for row in part.labels}
    keys = ("precision", "recall", "f1-score")
    for average, found in (("micro avg", part.before.micro), ("macro avg", part.before.macro)):
        assert found == pytest.approx([expected[average][key] for key in keys], abs=1e-12)
    for row in part.labels:
        if row.label in expected:
            assert row.before.f == pytest.approx(expected[row.label]["f1-score"], abs=1e-12)


@pytest.mark.parametrize("kind", KINDS_OF_MODEL)
def test_before_is_what_flair_evaluates(kind):
    model, _ = make(kind, spoil=False)
    for seed in range(3):
        check_before(model, awkward(kind, seed))


def test_before_is_what_flair_evaluates_of_pairs_spans_and_relations():
    """Relations in the other direction are gold that no data point could find."""
    helpers.seed()
    rng, pairs, made = random.Random(0), [], []
    for _ in range(40):
        words = [rng.choice(["Ann", "Bob", "Rome"]) for _ in range(2)]
        pairs.append(TextPair(*(Sentence([word, "sleeps"]) for word in words)))
        if rng.random() < 0.8:
            pairs[-1].add_label("same", rng.choice(["yes", "no", "NEW"]))
        sentence = Sentence([words[0], "sees", words[1], "in", "town"])
        sentence[0:1].add_label("ner", "PER")
        sentence[2:3].add_label("ner", "LOC")
        sentence[0:1].add_label("link", rng.choice(["Q1", "Q2", "NEW"]))
        ends = rng.sample([sentence[0:1], sentence[2:3], sentence[3:4]], 2)
        Relation(*ends).add_label("rel", rng.choice(["a", "b"]))
        made.append(sentence)
    corpus = Corpus(FlairDatapointDataset(made), sample_missing_splits=False)
    words = helpers.words(corpus, 8)
    texts = helpers.texts(corpus, 8)
    models = [
        stock.TextPairClassifier(texts, "same", label_dictionary=dictionary("yes", "no")),
        stock.SpanClassifier(
            words, dictionary("Q1", "Q2", add_unk=True), label_type="link", span_label_type="ner"
        ),
        stock.RelationExtractor(
            words, "rel", entity_label_type="ner", label_dictionary=dictionary("O", "a", "b")
        ),
    ]
    for model, data in zip(models, (pairs, made, made)):
        model.eval()
        check_before(model, data)


@pytest.mark.parametrize("kind", ["ner", "crf", "texts"])
def test_a_record_is_of_the_weights_that_were_tuned(kind, tmp_path):
    """Other weights: nothing is taken off them, and nothing is said to be tuned."""
    model, corpus = make(kind)
    dev = list(corpus.dev)
    flair_dice.calibrate(model, dev) if kind != "crf" else None
    other = {name: value + 0.01 for name, value in helpers.parameters(model).items()}
    clean = helpers.parameters(model)
    for weights in (other, clean):
        flair_dice.tune(model, dev, min_examples=1)
        flair_dice.set_tuning(model, {"shift": {"PER": 0.75}, "temperature": 1.5})
        model.load_state_dict(weights)
        if kind == "texts":
            model.multi_label_threshold = {"default": 0.5}
        with pytest.warns(UserWarning, match="not those that were tuned"):
            flair_dice.untune(model)
        assert not flair_dice.get_tuning(model)
        for name, value in helpers.parameters(model).items():
            assert (value == weights[name]).all(), name
    flair_dice.set_tuning(model, {"shift": {"PER": 0.75}})
    with torch.no_grad():
        (model.decoder if kind == "texts" else model.linear).bias += 0.25  # trained on
    if kind != "texts":  # there the record is of thresholds, which are still what they were
        assert not flair_dice.get_tuning(model)
    before = helpers.parameters(model)
    flair_dice.set_tuning(model, {})
    assert all((value == before[name]).all() for name, value in helpers.parameters(model).items())


def test_what_is_not_sentences_is_refused_with_the_remedy():
    model, corpus = make("ner", spoil=False)
    for wrong in (corpus, corpus.dev[0], "dev", None, [corpus], 3):
        for call in (flair_dice.tune, flair_dice.calibrate):
            with pytest.raises(ValueError, match=r"got a .*corpus\.dev"):
                call(model, wrong)
    assert flair_dice.tune(model, corpus.dev)["ner"].n_docs == 70


@pytest.mark.parametrize("kind", KINDS_OF_MODEL)
def test_scores_that_have_diverged_are_an_error(kind):
    model, corpus = make(kind, spoil=False)
    layer = model.linear if isinstance(model, stock.SequenceTagger) else model.decoder
    with torch.no_grad():
        layer.weight[1] = float("nan")
    with pytest.raises(ValueError, match="diverged"):
        flair_dice.tune(model, list(corpus.dev))


@pytest.mark.parametrize("kind", KINDS_OF_MODEL)
def test_every_model_is_tuned_saved_undone_and_redone(kind, tmp_path):
    model, corpus = make(kind)
    dev, test = list(corpus.dev), list(corpus.test)
    parameters = helpers.parameters(model)
    before = predictions(model, test)
    report = flair_dice.tune(model, dev)
    part = report[model.label_type]
    assert part.tuned and part.gain.value > 0, str(part)
    after = predictions(model, test)
    assert after != before and "->" in str(report)
    if kind in ("ner", "crf", "token"):
        # Flair's own evaluation agrees on what was predicted for dev.
        assert part.seen.micro.f == pytest.approx(f1(model, dev), abs=1e-6)
    if kind == "texts":
        assert part.seen.macro.f == pytest.approx(f1(model, dev, "macro avg"), abs=1e-6)
    # Twice is once.
    once = helpers.parameters(model)
    tuning = flair_dice.get_tuning(model)
    assert flair_dice.tune(model, dev)[model.label_type].gain == part.gain
    assert flair_dice.get_tuning(model) == tuning
    assert all((value == once[name]).all() for name, value in helpers.parameters(model).items())
    # A file.
    model.save(tmp_path / "model.pt")
    again = type(model).load(tmp_path / "model.pt")
    assert predictions(again, test) == after and flair_dice.get_tuning(again) == tuning
    # Undone, bit for bit, and redone.
    assert flair_dice.untune(again) is again and not flair_dice.get_tuning(again)
    for name, value in helpers.parameters(again).items():
        assert (value == parameters[name]).all(), name
    assert predictions(again, test) == before
    flair_dice.set_tuning(again, tuning)
    assert predictions(again, test) == after


def test_our_own_class_keeps_its_loss(tmp_path):
    model, corpus = make("ner")
    flair_dice.use_loss(model, "DiceCE")
    assert flair_dice.tune(model, list(corpus.dev))["ner"].tuned
    model.save(tmp_path / "model.pt")
    again = Classifier.load(tmp_path / "model.pt")
    assert isinstance(again, flair_dice.SequenceTagger) and again.loss is not None
    assert flair_dice.get_tuning(again) == flair_dice.get_tuning(model)


def test_precision_on_demand_and_of_single_labels():
    model, corpus = make("ner")
    dev = list(corpus.dev)
    high = flair_dice.tune(model, dev, objective="recall>=0.9")["ner"]
    assert high.reached == (high.estimate.micro.r >= 0.9) and high.before.micro.r < 0.9
    single = flair_dice.tune(model, dev, labels={"PER": "recall>=0.95"})["ner"]
    row = {row.label: row for row in single.labels}["PER"]
    assert row.estimate.r > row.before.r and "precision at recall >= 0.95" in row.note


@pytest.mark.parametrize("kind", ["ner", "tags", "token", "text", "texts"])
def test_calibrating_changes_no_decision(kind):
    model, corpus = make(kind)
    dev, test = list(corpus.dev), list(corpus.test)
    flair_dice.tune(model, dev)
    layer = model.linear if isinstance(model, stock.SequenceTagger) else model.decoder
    before, weight = predictions(model, test), layer.weight.detach().clone()
    report = flair_dice.calibrate(model, dev)[model.label_type]
    assert report.after.nll <= report.before.nll and report.temperature != 1.0
    assert predictions(model, test) == before
    again = flair_dice.calibrate(model, dev, fit=False)[model.label_type]
    assert again.before.nll == pytest.approx(report.after.nll, abs=1e-4)
    # Tuning keeps the temperature, and decides as before.
    flair_dice.tune(model, dev)
    kept = flair_dice.get_tuning(model)["temperature"]
    assert kept == pytest.approx(report.temperature, abs=1e-7)
    assert predictions(model, test) == before
    flair_dice.untune(model)
    torch.testing.assert_close(layer.weight.detach(), weight, rtol=1e-5, atol=1e-6)


def test_the_threshold_is_the_probability_from_which_on_a_label_is_predicted():
    model, corpus = make("texts")
    model.multi_label_threshold["PER"] = 0.2
    part = flair_dice.tune(model, list(corpus.dev))["classes"]
    assert part.tuned
    for row in part.labels:
        assert row.threshold == pytest.approx(model.multi_label_threshold[row.label], abs=1e-6)


def test_what_fails_changes_nothing():
    model, corpus = make("texts")
    dev = list(corpus.dev)
    flair_dice.tune(model, dev)
    flair_dice.calibrate(model, dev)
    tuning, embeddings = flair_dice.get_tuning(model), model.embeddings
    assert tuning["temperature"] != 1.0
    model.embeddings = None
    for call in (flair_dice.tune, flair_dice.calibrate):
        with pytest.raises(Exception):  # noqa: B017
            call(model, dev)
        assert flair_dice.get_tuning(model) == tuning
    model.embeddings = embeddings


def test_nothing_to_learn_from_and_mistakes():
    model, corpus = make("ner")
    dev = list(corpus.dev)
    parameters = helpers.parameters(model)
    for data in ([], [Sentence("no gold here")] * 3, dev[:1], [Sentence([])]):
        part = flair_dice.tune(model, data)["ner"]
        assert not part.tuned and part.reason
    for kwargs, message in (
        ({"labels": {"NOBODY": "f1"}}, "no label 'NOBODY'.*PER"),
        ({"objective": "accuracy"}, "accuracy"),
        ({"n_folds": 1}, "n_folds"),
    ):
        with pytest.raises(ValueError, match=message):
            flair_dice.tune(model, dev, **kwargs)
    with pytest.raises(ValueError, match="no label 'x'"):
        flair_dice.set_tuning(model, {"shift": {"x": 1.0}})
    assert all((v == parameters[name]).all() for name, v in helpers.parameters(model).items())


def test_models_with_nothing_to_shift_are_refused_with_the_reason():
    crf, corpus = make("crf")
    with pytest.raises(ValueError, match="CRF.*no probabilities"):
        flair_dice.calibrate(crf, list(corpus.dev))
    multitask = stock.MultitaskModel([crf], use_all_tasks=True)
    with pytest.raises(ValueError, match="several tasks"):
        flair_dice.tune(multitask, list(corpus.dev))
    text, corpus = make("text")
    text.decoder = torch.nn.Sequential(text.decoder)
    with pytest.raises(ValueError, match="decoder is a Sequential"):
        flair_dice.tune(text, list(corpus.dev))
    with pytest.raises(ValueError, match="RegexpTagger"):
        flair_dice.tune(stock.RegexpTagger(mapping=(r"\d+", "N")), [])


def test_viterbi_is_the_best_of_all_sequences():
    rng = numpy.random.default_rng(0)
    transitions = rng.normal(size=(4, 4))
    scores = [rng.normal(size=(n, 4)) for n in (3, 1, 0, 4)]
    found = viterbi(scores, transitions, 2, 3)
    for of, tags in zip(scores, found):
        assert len(tags) == len(of)
        if not len(of):
            continue

        def total(path, of=of):
            steps = [transitions[b, a] for a, b in zip((2, *path), (*path, 3))]
            return sum(steps) + sum(row[t] for row, t in zip(of, path))

        best = max(product(range(4), repeat=len(of)), key=total)
        assert tuple(tags) == best


def test_thresholds_of_tensors_are_those_of_arrays():
    rng = numpy.random.default_rng(0)
    targets = rng.random((200, 3)) < 0.3
    logits = torch.tensor(rng.normal(size=(200, 3)) + 2 * targets - 2, requires_grad=True)
    expected = flair_dice.tune_scores(logits.detach().numpy(), targets)
    found = flair_dice.tune_scores(logits, torch.tensor(targets))
    assert found.shifts == expected.shifts and found.report.tuned
    half = flair_dice.tune_scores(logits.bfloat16(), torch.tensor(targets).int())
    assert half.report.tuned
    assert (found.predict(logits) == expected.predict(logits.detach().numpy())).all()
    # As part of the last layer's bias.
    shifted = logits + torch.tensor(list(found.shifts.values()))
    assert (found.predict(logits) == (shifted.sigmoid() >= 0.5).numpy()).all()
    report = flair_dice.calibrate_scores(3 * logits, torch.tensor(targets))
    assert report.after.nll < report.before.nll
