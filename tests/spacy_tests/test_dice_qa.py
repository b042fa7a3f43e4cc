"""dice_qa: learns to read, predicts, is saved whole, and refuses what it cannot read."""

import json
import pickle
import warnings

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import ConfigValidationError

import spacy_dice
from spacy_dice.reading import answers as decoding
from spacy_dice.reading.answers import (
    Window,
    in_batches,
    pad,
    sigmoid_targets,
    softmax_targets,
)
from spacy_dice.reading.encoder import hf_objects
from spacy_dice.reading.questions import install_extension
from spacy_dice.reading.squad import answers
from spacy_tests import reading
from spacy_tests.helpers import TOK2VEC, assert_same_gradients, invoke, scores, without
from spacy_tests.reading import BERT, QUESTIONS, ask, examples_of, make

TEXT = "For many years now Greta has lived in Lima, near the old harbour."


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def squad_file(tmp_path_factory):
    return reading.write(tmp_path_factory.mktemp("squad") / "train.json", impossible=True)


@pytest.fixture(scope="session")
def trained(squad_file):
    """Questions of docs, with a softmax."""
    nlp = make("DiceCE", no_answer=True)
    reading.train(nlp, examples_of(nlp, squad_file, per_question=True), 30)
    return nlp


def ner_examples(nlp, n=24):
    """Docs whose answers to fixed questions are in doc.ents."""
    made = []
    for i in range(n):
        name, city = reading.NAMES[i % 12], reading.CITIES[(5 * i) % 12]
        other = reading.NAMES[(i + 3) % 12]
        words = f"{name} and {other} live in {city} now .".split()
        ents = "B-PERSON O B-PERSON O O B-CITY O O".split()
        if i % 4 == 0:
            words, ents = "nothing else happened here today .".split(), ["O"] * 6
        made.append(Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words, ents=ents)))
    return made


@pytest.fixture(scope="session")
def fixed():
    """Fixed questions, with a sigmoid: entities by reading."""
    nlp = make("DiceCE", questions=QUESTIONS, activation="sigmoid", set_ents=True)
    reading.train(nlp, ner_examples(nlp), 40)
    return nlp


@pytest.fixture(scope="session")
def untrained(squad_file):
    nlp = make(layers=1)
    examples = examples_of(nlp, squad_file)
    nlp.initialize(lambda: examples)
    return nlp


def untrained_pipe(nlp, **config):
    """Another component on the same encoder, of other options."""
    pipe = nlp.get_pipe("dice_qa")
    options = {
        "activation": pipe.cfg["activation"],
        **pipe.cfg["made_with"],
        "loss": spacy_dice.CrossEntropy(),
        **config,
    }
    return type(pipe)(nlp.vocab, pipe.model, **options)


# -- learning and predicting ------------------------------------------------------------


def test_answers_questions_of_docs(trained):
    asked = {"who": "Who lives there?", "where": "Which city is it?", "what": "What did he eat?"}
    doc = trained(ask(trained, TEXT, *({"id": k, "text": text} for k, text in asked.items())))
    assert answers(doc) == {"who": "Greta", "where": "Lima", "what": ""}
    spans = [(s.text, s.label_, s.id_) for s in doc.spans["answers"]]
    assert spans == [("Greta", "ANSWER", "who"), ("Lima", "ANSWER", "where")]
    found = doc.spans["answers"].attrs["scores"]
    assert found.shape == (2,) and (found > 0.3).all() and (found <= 1).all()


def test_scores_of_an_evaluation(trained, tmp_path):
    examples = examples_of(trained, reading.write(tmp_path / "a.json", 8, 1, impossible=True))
    found = trained.evaluate(examples)
    assert found["qa_f1"] > 0.9 and found["qa_exact"] > 0.9
    assert found["qa_no_answer_f1"] > 0.9 and found["qa_spans_f"] is None
    # Without an answer where there is one, or with one where there is none.
    for eg in examples:
        eg.predicted.spans["answers"] = []
    found = trained.get_pipe("dice_qa").score(examples)
    assert (found["qa_has_answer_exact"], found["qa_no_answer_exact"]) == (0.0, 1.0)
    assert found["qa_exact"] == pytest.approx(1 / 3)


def test_no_answer_is_given_only_where_it_may_be(trained):
    must_answer = untrained_pipe(trained, no_answer=False)
    (found,) = must_answer.predict([ask(trained, TEXT, "What did the painter eat?")])
    assert len(found) == 1
    by_pieces = {"activation": "sigmoid", "threshold": 1.0}  # which no answer reaches
    for no_answer, n in ((True, 0), (False, 1)):
        pipe = untrained_pipe(trained, no_answer=no_answer, **by_pieces)
        assert len(*pipe.predict([ask(trained, TEXT, "Who lives there?")])) == n
    sure = untrained_pipe(trained, threshold=1.0)
    assert sure.predict([ask(trained, TEXT, "Who lives there?")]) == [[]]


def test_entities_by_reading(fixed):
    text = "Ada and Hugo live in Oslo now ."
    doc = fixed(text)
    spans = sorted((s.start, s.text, s.label_, s.id_) for s in doc.spans["answers"])
    assert spans == [(0, "Ada", "PERSON", ""), (2, "Hugo", "PERSON", ""), (5, "Oslo", "CITY", "")]
    assert [(e.start, e.text, e.label_, "") for e in doc.ents] == spans
    assert (doc.spans["answers"].attrs["scores"] >= 0.25).all()
    found = fixed.evaluate(ner_examples(fixed, 8))
    assert found["qa_spans_f"] > 0.9 and set(found["qa_spans_per_type"]) == {"PERSON", "CITY"}
    assert found["qa_f1"] is None
    assert not fixed("nothing else happened here today .").ents


def test_entities_that_are_there_stay(fixed):
    doc = fixed.make_doc("Ada and Hugo live in Oslo now .")
    doc.set_ents([Span(doc, 2, 4, label="TEAM")], blocked=[doc[5:6]], default="outside")
    doc = fixed.get_pipe("dice_qa")(doc)
    assert [(e.text, e.label_) for e in doc.ents] == [("Ada", "PERSON"), ("Hugo live", "TEAM")]
    assert len(doc.spans["answers"]) == 3


def test_more_questions_and_questions_of_docs_together(fixed):
    copy = pickle.loads(pickle.dumps(fixed))
    pipe = copy.get_pipe("dice_qa")
    pipe.questions = {**QUESTIONS, "CITY2": QUESTIONS["CITY"]}
    doc = copy(ask(copy, "Ada and Hugo live in Oslo now .", QUESTIONS["CITY"]))
    labels = [s.label_ for s in doc.spans["answers"] if s.text == "Oslo"]
    assert labels == ["CITY", "CITY2", "ANSWER"]
    with pytest.raises(ValueError, match="the question 'X' is empty"):
        pipe.questions = {"X": " "}
    assert pipe.labels == ("PERSON", "CITY", "CITY2")


@pytest.mark.parametrize("loss", ["Dice", "SelfAdjustingDice", "Focal", "Tversky"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_every_loss_gives_a_gradient_that_its_value_falls_along(
    loss, activation, untrained, squad_file
):
    pipe = untrained_pipe(untrained, activation=activation, loss=getattr(spacy_dice, loss)())
    asked = pipe.gold(examples_of(untrained, squad_file, limit=2))
    gold, windows = [one.gold for one in asked], pipe._encode(asked)
    logits = pipe.model.predict(windows)
    value, gradient = pipe._compute_loss(windows, logits, gold)
    assert gradient.shape == logits.shape and numpy.isfinite(gradient).all()
    outside = pad(windows, 0)["attention_mask"] == 0
    assert (gradient[outside] == 0).all() and outside.any()
    step = 0.05 * gradient / numpy.linalg.norm(gradient)
    lower, _ = pipe._compute_loss(windows, (logits - step).astype("float32"), gold)
    expected = 0.05 * float(numpy.linalg.norm(gradient))
    assert value - lower == pytest.approx(expected, rel=0.05)


def test_cross_entropy_is_that_of_transformers(untrained, squad_file):
    """Value and gradients of a batch of windows of one length, where transformers has no padding
    among its positions."""
    pipe = untrained.get_pipe("dice_qa")
    asked = pipe.gold(examples_of(untrained, squad_file))
    gold, windows = [one.gold for one in asked], pipe._encode(asked)
    length = len(windows[0].ids)
    windows = [window for window in windows if len(window.ids) == length]
    assert len(windows) > 8
    logits, backprop = pipe.model.begin_update(windows)
    value, gradient = pipe._compute_loss(windows, logits, gold)
    model = hf_objects(pipe.model).transformer
    model.zero_grad()
    backprop(gradient)
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    places = [(w.find(gold[w.pair][0]) if gold[w.pair] else (0, 0)) for w in windows]
    starts, ends = torch.tensor(places).T
    inputs = {name: torch.as_tensor(values) for name, values in pad(windows, 0).items()}
    output = model(**inputs, start_positions=starts, end_positions=ends)
    output.loss.backward()
    n = 2 * len(windows)
    assert value / n == pytest.approx(output.loss.item(), rel=1e-6)
    assert len(ours) > 15
    theirs = {name: p.grad.numpy() for name, p in model.named_parameters() if name in ours}
    found = [value.numpy() / n for value in ours.values()]
    assert_same_gradients(found, [theirs[name] for name in ours])
    model.zero_grad()


def test_predicts_as_the_pipeline_of_transformers(trained, squad_file, tmp_path):
    from transformers import pipeline

    objects = hf_objects(trained.get_pipe("dice_qa").model)
    objects.transformer.save_pretrained(tmp_path)
    objects.tokenizer.save_pretrained(tmp_path)
    theirs = pipeline("question-answering", model=str(tmp_path), device="cpu")
    pipe = untrained_pipe(trained, no_answer=False, max_answer_length=15)
    examples = examples_of(trained, squad_file, per_question=True, limit=12)
    for eg, (ours,) in zip(examples, pipe.predict([eg.predicted for eg in examples])):
        (question,) = eg.predicted._.questions
        found = theirs(question=question["text"], context=eg.predicted.text)
        assert (ours.start, ours.end) == (found["start"], found["end"])
        assert ours.score == pytest.approx(found["score"], rel=1e-4)


def test_training_goes_on_and_rehearses(trained, squad_file):
    nlp = make().from_bytes(trained.to_bytes())
    pipe = nlp.get_pipe("dice_qa")
    examples = examples_of(nlp, squad_file, limit=3)
    sgd = nlp.resume_training()
    distances, output = [], hf_objects(pipe.model).transformer.qa_outputs
    for change in (0.0, 0.5):  # it is its own tutor, until its weights are others
        with torch.no_grad():
            output.bias += torch.tensor([0.3, 0.0])  # a softmax does not see it
            output.weight *= 1 + change
        losses = {}
        pipe.rehearse(examples, losses=losses)
        distances.append(losses["dice_qa"])
    assert distances[0] < 1e-3 * distances[1]
    # Smaller weights are nearer to what was learned.
    assert (output.weight.grad * output.weight).sum() > 0
    losses = {}
    nlp.update(examples, sgd=sgd, losses=losses)
    assert losses["dice_qa"] > 0


# -- windows, long texts, batches -------------------------------------------------------


def test_windows_cover_a_text_and_overlap(untrained):
    pipe = untrained.get_pipe("dice_qa")
    words = " ".join(f"word{i}" for i in range(100))
    pairs = [("Who came?", words), ("Why?", "short"), ("Why?", " ")]
    windows = pipe.model.attrs["encode"](pipe.model, pairs, "test")
    assert {w.pair for w in windows} == {0, 1}
    covered = numpy.zeros(len(words), dtype=int)
    long = [w for w in windows if w.pair == 0]
    for window in long:
        assert len(window.ids) <= 64 and window.cls == 0
        for start, end in window.offsets:
            covered[start:end] += 1
    assert (covered[[not c.isspace() for c in words]] >= 1).all() and covered.max() == 2
    shared = set(map(tuple, long[0].offsets)) & set(map(tuple, long[1].offsets))
    assert len(shared) == 16
    # An answer in the part that windows share is found in both; one over an edge in neither.
    first, second = long[0].offsets[-16], long[0].offsets[-1]
    assert all(None not in window.find((first[0], second[1])) for window in long[:2])
    beyond = (int(second[0]), int(long[1].offsets[20][1]))
    assert long[0].find(beyond)[0] is not None and long[0].find(beyond)[1] is None


def test_what_is_known_of_an_answer_at_the_edge_of_a_window(untrained):
    """Its visible end is neither an end of an answer nor none, unless another one ends there."""
    offsets = numpy.stack([numpy.arange(6) * 2, numpy.arange(6) * 2 + 1], axis=1)
    first = Window(0, numpy.zeros(6), None, 1, 5, offsets[:4], 0)
    second = Window(1, numpy.zeros(6), None, 1, 5, offsets[2:], 0)
    gold = [[(4, 9), (0, 3)], [(4, 9), (2, 5), (8, 9)]]
    y, mask = sigmoid_targets([first, second], gold)
    assert y.T.tolist() == [[1, 0, 0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1, 0]]
    assert mask.T.tolist() == [[1, 1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1]]
    pipe = untrained_pipe(untrained, activation="sigmoid")
    logits = numpy.zeros((2, 6, 2), dtype="float32")
    _, gradient = pipe._compute_loss([first, second], logits, gold)
    assert ((gradient[:, 1:5] != 0).reshape(8, 2) == (mask > 0)).all()
    assert (gradient[:, [0, 5]] == 0).all()
    shares = softmax_targets([first, second], gold, 6).reshape(2, 2, 6)
    assert shares[:, 0].tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert shares[:, 1].tolist() == [[0, 0.5, 0, 0.5, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_a_window_teaches_nothing_without_an_answer_and_a_piece_for_none(untrained):
    """Some encoders have no such piece."""
    offsets = numpy.stack([numpy.arange(4) * 2, numpy.arange(4) * 2 + 1], axis=1)
    windows = [Window(pair, numpy.zeros(6), None, 1, 5, offsets, None) for pair in (0, 1)]
    logits = numpy.zeros((2, 6, 2), dtype="float32")
    pipe = untrained_pipe(untrained)
    _, gradient = pipe._compute_loss(windows, logits, [[], [(2, 5)]])
    assert (gradient[0] == 0).all() and (gradient[1] != 0).all()


def test_batches_are_of_like_length_and_bounded():
    lengths = [5, 60, 7, 61, 6, 64, 200]
    windows = [
        Window(i, numpy.zeros(n, dtype=int), None, 0, n, numpy.zeros((n, 2)), 0)
        for i, n in enumerate(lengths)
    ]
    batches = in_batches(windows, 128)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert batches == [[6], [5, 3], [1, 2], [4, 0]]
    assert in_batches([], 128) == []


def test_pipe_gives_what_one_by_one_gives(trained):
    texts = [TEXT, "", "Rome.", TEXT + " " + "It rained again. " * 30, "   ", TEXT[:20]] * 2
    one_by_one = [trained(ask(trained, text, "Who lives there?", "Why?")) for text in texts]
    docs = [ask(trained, text, "Who lives there?", "Why?") for text in texts]
    together = list(trained.pipe(docs, batch_size=5))
    small = untrained_pipe(trained, max_batch_items=1)
    for a, b in zip(one_by_one, together):
        assert a.text == b.text and answers(a) == answers(b)
        numpy.testing.assert_allclose(
            a.spans["answers"].attrs["scores"], b.spans["answers"].attrs["scores"], rtol=1e-3
        )
        spans = [(found.start, found.id) for found in small.predict([b])[0]]
        assert [i for _, i in spans] == [s.id_ for s in a.spans["answers"]]
    assert answers(together[1]) == {"0": "", "1": ""}


def test_pipe_with_processes(trained):
    docs = [ask(trained, text, "Who lives there?") for text in [TEXT, "Rome is far.", TEXT] * 2]
    found = list(trained.pipe(docs, n_process=2, batch_size=2))
    assert [answers(found[i])["0"] for i in (0, 2, 3, 5)] == ["Greta"] * 4
    assert found[0].spans["answers"].attrs["scores"].shape == (1,)


def test_a_long_text(trained):
    """The answer is the best of all windows, each read alone."""
    n, filler = 500, ["rain"] * 500
    doc = Doc(trained.vocab, words=[*filler, *TEXT.split(), *filler])
    doc._.questions = ["Which city is it?"]
    pipe = untrained_pipe(trained, no_answer=False)
    ((found,),) = pipe.predict([doc])
    windows = pipe._encode(pipe._ask([doc]))
    assert len(windows) > n / 25
    alone = [pipe.model.predict([window])[0] for window in windows]
    best = max(
        (decoding.best([w], [logits], 30)[0] for w, logits in zip(windows, alone)),
        key=lambda one: one.score,
    )
    assert (found.start, found.end) == (best.start, best.end)
    assert found.score == pytest.approx(best.score, rel=1e-3)


def test_a_batch_beyond_the_limit_is_split(squad_file):
    """The gradient of a cross-entropy is the same, however a batch is split."""
    gradients = []
    for items in (8192, 70):
        nlp = make(layers=1, max_batch_items=items)
        examples = examples_of(nlp, squad_file, limit=3)
        nlp.initialize(lambda: examples)
        losses = {}
        nlp.update(examples, losses=losses, sgd=False)
        model = hf_objects(nlp.get_pipe("dice_qa").model).transformer
        gradients.append((losses["dice_qa"], model.qa_outputs.weight.grad.numpy().copy()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    assert_same_gradients([gradients[0][1]], [gradients[1][1]])


# -- decoding, against all spans tried out ----------------------------------------------


def random_windows(rng, n=2):
    windows, logits = [], []
    for i in range(n):
        length = rng.integers(5, 12)
        starts = numpy.arange(length - 3) * 4 + i * 100
        offsets = numpy.stack([starts, starts + 3], axis=1)
        windows.append(Window(0, numpy.zeros(length), None, 2, length - 1, offsets, 0))
        logits.append(rng.normal(size=(length, 2)).astype("float32") * 2)
    return windows, logits


@pytest.mark.parametrize("seed", range(5))
def test_best_span_is_the_best_of_all(seed):
    rng = numpy.random.default_rng(seed)
    windows, logits = random_windows(rng)
    found, null = decoding.best(windows, logits, 3)
    tried, nulls = [], []
    for window, rows in zip(windows, logits):
        pieces = [0, *range(window.first, window.last)]
        p = torch.softmax(torch.tensor(rows[pieces]), dim=0).numpy()
        nulls.append(p[0, 0] * p[0, 1])
        for s in range(1, len(pieces)):
            for e in range(s, min(s + 3, len(pieces))):
                place = (window.offsets[s - 1, 0], window.offsets[e - 1, 1])
                tried.append((p[s, 0] * p[e, 1], *place))
    score, start, end = max(tried)
    assert found[:2] == (start, end) and found.score == pytest.approx(score, rel=1e-5)
    assert null == pytest.approx(min(nulls), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_several_spans_do_not_overlap_and_reach_the_threshold(seed):
    rng = numpy.random.default_rng(seed)
    windows, logits = random_windows(rng)
    found = decoding.several(windows, logits, 3, 0.2)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert all(f.score >= 0.2 for f in found)
    for a in found:
        assert not any(a.start < b.end and b.start < a.end for b in found if a is not b)
    # None that could be added is left out.
    for window, rows in zip(windows, logits):
        p = 1 / (1 + numpy.exp(-rows[window.first : window.last]))
        for s in range(len(p)):
            for e in range(s, min(s + 3, len(p))):
                start, end = window.offsets[s, 0], window.offsets[e, 1]
                if p[s, 0] * p[e, 1] >= 0.2:
                    assert any(start < f.end and f.start < end for f in found)


def test_neighbouring_answers_stay_apart():
    """Of A, B and "A ... B", whose ends are all certain, A and B are taken."""
    logits = numpy.full((10, 2), -9.0)
    logits[[2, 6], 0] = logits[[3, 7], 1] = 9.0
    offsets = numpy.stack([numpy.arange(10) * 2, numpy.arange(10) * 2 + 1], axis=1)
    window = Window(0, numpy.zeros(10), None, 0, 10, offsets, None)
    found = decoding.several([window], [logits], 10, 0.25)
    assert sorted((f.start, f.end) for f in found) == [(4, 7), (12, 15)]


def test_a_piece_of_two_windows_is_read_where_it_has_most_text_around_it():
    offsets = numpy.stack([numpy.arange(10) * 2, numpy.arange(10) * 2 + 1], axis=1)
    first = Window(0, numpy.zeros(8), None, 0, 8, offsets[:8], None)
    second = Window(0, numpy.zeros(6), None, 0, 6, offsets[4:], None)
    low, high = numpy.full((8, 2), -9.0), numpy.full((6, 2), -9.0)
    low[7] = 9.0  # at the edge of the first, well inside the second, which says no
    assert decoding.several([first, second], [low, high], 5, 0.25) == []
    high[3] = 9.0
    (found,) = decoding.several([first, second], [low, high], 5, 0.25)
    assert (found.start, found.end) == (14, 15)


# -- saving and loading -----------------------------------------------------------------


def test_what_is_saved_needs_neither_hub_nor_folder(trained, tmp_path):
    trained.to_disk(tmp_path / "model")
    config = (tmp_path / "model/config.cfg").read_text()
    assert BERT in config
    (tmp_path / "model/config.cfg").write_text(config.replace(BERT, "/gone/away"))
    nlp = spacy.load(tmp_path / "model")
    assert answers(nlp(ask(nlp, TEXT, "Who lives there?"))) == {"0": "Greta"}
    assert nlp.get_pipe("dice_qa").cfg == trained.get_pipe("dice_qa").cfg
    changed = {"components": {"dice_qa": {"max_answer_length": 5}}}
    pipe = spacy.load(tmp_path / "model", config=changed).get_pipe("dice_qa")
    assert (pipe.max_answer_length, pipe.no_answer) == (5, True)
    assert "spacy-transformers>=1.3.8" in nlp.meta["requirements"]
    json.dumps(nlp.get_pipe("dice_qa").cfg)
    again = make().from_bytes(trained.to_bytes())
    assert answers(again(ask(again, TEXT, "Who lives there?"))) == {"0": "Greta"}
    pipe = pickle.loads(pickle.dumps(trained.get_pipe("dice_qa")))
    (found,) = pipe.predict([ask(trained, TEXT, "Who lives there?")])
    assert TEXT[found[0].start : found[0].end] == "Greta"


def test_command_line(configs, small_bert, tmp_path):
    """spacy train on files of SQuAD 2.0, with questions that have no answer."""
    reading.write(tmp_path / "train.json", 24, impossible=True)
    dev = reading.write(tmp_path / "dev.json", 8, seed=1, impossible=True)
    limits = {"hidden_dropout_prob": 0.0}
    status, output = invoke(
        *("train", configs / "dice_qa.cfg", "-o", tmp_path),
        *("--paths.train", tmp_path / "train.json", "--paths.dev", dev),
        *("--paths.transformer", small_bert),
        *("--training.max_epochs", 12, "--training.eval_frequency", 12),
        *("--training.optimizer.learn_rate.initial_rate", 0.001),
        *("--training.optimizer.learn_rate.warmup_steps", 2),
        *("--components.dice_qa.no_answer", "true"),
        *("--components.dice_qa.model.max_length", 64, "--components.dice_qa.model.stride", 16),
        *("--components.dice_qa.model.transformer_config", json.dumps(limits)),
    )
    assert status == 0, output
    assert scores(output)[-1] > 0.9, output
    nlp = spacy.load(tmp_path / "model-best")
    doc = nlp(ask(nlp, TEXT, "Which city is it?", "What did the painter eat?"))
    assert answers(doc) == {"0": "Lima", "1": ""}
    found = nlp.evaluate(examples_of(nlp, dev))
    assert found["qa_has_answer_exact"] > 0.9 and found["qa_no_answer_exact"] > 0.9


# -- what cannot be read ----------------------------------------------------------------


@pytest.mark.parametrize(
    "config, message",
    [
        ({"questions": {"A": " "}}, "question 'A' is empty"),
        ({"questions": {"ANSWER": "Who?"}}, "ANSWER is the label of answers"),
        ({"activation": "tanh"}, "activation must be one of softmax, sigmoid"),
        ({"threshold": 1.5}, "threshold must be from 0 to 1"),
        ({"threshold": 0.5}, "threshold does nothing where every question is given an answer"),
        ({"set_ents": True}, "set_ents does nothing without fixed questions"),
        ({"spans_key": ""}, "spans_key must be a name"),
        ({"max_answer_length": 0}, "max_answer_length must be 1 at least"),
        ({"loss": spacy_dice.EntityDice()}, "EntityDice needs a head of tags of entities"),
        ({"loss": spacy_dice.DiceCE(average="macro")}, "over which a mean means nothing"),
        (
            {"loss": spacy_dice.CrossEntropy(class_weights={"start": 2.0})},
            "class_weights means nothing",
        ),
        ({"loss": spacy_dice.WeightedCrossEntropy()}, "weights of classes"),
        ({"loss": spacy_dice.LogitAdjustedCE()}, "LogitAdjustedCE are positions"),
        ({"loss": 3}, "loss must be a loss, the name of one"),
    ],
)
def test_options_that_do_not_fit(config, message, untrained):
    with pytest.raises(ConfigValidationError, match=message) as error:
        untrained_pipe(untrained, **config)
    assert "Component 'dice_qa'" in str(error.value)


def test_losses_that_a_sigmoid_can_have(untrained):
    for loss in (
        spacy_dice.DiceCE(average="macro"),
        spacy_dice.CrossEntropy(class_weights={"start": 2.0}),
        spacy_dice.WeightedCrossEntropy(),
    ):
        assert untrained_pipe(untrained, activation="sigmoid", loss=loss).loss == loss.core


def test_a_model_that_does_not_read_pairs():
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}
    with pytest.raises(ConfigValidationError, match="Use spacy_dice.QuestionAnswering.v1"):
        spacy.blank("en").add_pipe("dice_qa", config={"model": model})


@pytest.mark.parametrize(
    "model, message",
    [
        ({"name": "/no/such/folder"}, "cannot read the encoder"),
        ({"max_length": 1000}, "reads 512 pieces at most"),
        ({"tokenizer_config": {"use_fast": False}}, "is a slow one"),
        ({"max_length": 4}, "max_length must be a whole number from 8 on"),
        ({"stride": 60}, "leaves no room for new text"),
    ],
)
def test_models_that_do_not_fit(model, message, squad_file):
    with pytest.raises(ConfigValidationError, match=message):
        nlp = make(layers=1, model=model)
        nlp.initialize(lambda: examples_of(nlp, squad_file, limit=1))


def test_encoders_without_what_it_takes(squad_file, tmp_path):
    from tokenizers import Tokenizer
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertModel,
        PreTrainedTokenizerFast,
        ViTConfig,
    )

    tokenizer = AutoTokenizer.from_pretrained(BERT)
    ViTConfig().save_pretrained(tmp_path / "images")
    tokenizer.save_pretrained(tmp_path / "images")
    no_pairs = json.loads(tokenizer.backend_tokenizer.to_str())
    no_pairs["post_processor"] = None
    single = Tokenizer.from_str(json.dumps(no_pairs))
    small = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    BertModel(BertConfig(**small, intermediate_size=8)).save_pretrained(tmp_path / "single")
    PreTrainedTokenizerFast(tokenizer_object=single, pad_token="[PAD]").save_pretrained(
        tmp_path / "single"
    )
    cases = {"images": "has no head for questions", "single": "no encoding of pairs"}
    for name, message in cases.items():
        nlp = make(layers=1, model={"name": str(tmp_path / name), "transformer_config": {}})
        with pytest.raises(ConfigValidationError, match=message):
            nlp.initialize(lambda: examples_of(nlp, squad_file, limit=1))


@pytest.mark.parametrize(
    "questions, message",
    [
        ("Who?", "must be a list of questions"),
        ([3], "must be a string or a dict"),
        ([{"id": "q", "text": "  "}], "question 'q' of a doc is empty"),
        ([{"id": 7, "text": "Who?"}], "id of a question must be a string"),
        ([{"id": "q", "text": "Who?"}] * 2, "two questions of a doc have the id 'q'"),
        (["word " * 60], "leaves no room for text"),
    ],
)
def test_questions_that_cannot_be_asked(questions, message, untrained):
    doc = untrained.make_doc(TEXT)
    doc._.questions = questions
    with pytest.raises(ConfigValidationError, match=message) as error:
        untrained(doc)
    assert "Component 'dice_qa'" in str(error.value)


def test_answers_that_cannot_be_learned(untrained):
    install_extension()
    doc = untrained.make_doc(TEXT)
    doc._.questions = [{"id": "q", "text": "Who?", "answers": [{"text": "Bob", "answer_start": 0}]}]
    example = Example(untrained.make_doc(TEXT), doc)
    with pytest.raises(ConfigValidationError, match="'Bob' of question 'q' is not in the text"):
        untrained.update([example])
    doc._.questions = [{"id": "q", "text": "Who?", "answers": [{"text": " ", "answer_start": 3}]}]
    with pytest.raises(ConfigValidationError, match="an answer of question 'q' is empty"):
        untrained.update([example])
    other = Example(untrained.make_doc("Another text"), untrained.make_doc("Another  text"))
    with pytest.raises(ConfigValidationError, match="the texts of an example differ"):
        untrained.update([other])


def test_answers_of_several_annotators(untrained):
    """A softmax learns the first, as one does with SQuAD; a sigmoid all of them."""
    doc = untrained.make_doc(TEXT)
    spans = [{"text": " Greta", "answer_start": 18}, {"text": "Lima", "answer_start": 38}]
    doc._.questions = [{"id": "q", "text": "Who?", "answers": spans}]
    for activation, expected in (("softmax", [(19, 24)]), ("sigmoid", [(19, 24), (38, 42)])):
        pipe = untrained_pipe(untrained, activation=activation)
        (asked,) = pipe.gold([Example(untrained.make_doc(TEXT), doc)])
        assert asked.gold == expected


def test_data_that_teaches_nothing(untrained):
    examples = [Example(untrained.make_doc("a b"), untrained.make_doc("a b"))]
    pipe = untrained_pipe(untrained)
    with pytest.raises(ConfigValidationError, match="no question with known answers"):
        pipe.initialize(lambda: examples)


def test_warnings_of_what_cannot_be_predicted(untrained, squad_file):
    asks = untrained_pipe(untrained, questions=QUESTIONS)
    with pytest.warns(UserWarning, match="18 fixed questions .* have several answers"):
        asks.initialize(lambda: ner_examples(untrained))
    answering = untrained_pipe(untrained)
    with pytest.warns(UserWarning, match="24 questions of the training data have no answer"):
        answering.initialize(lambda: examples_of(untrained, squad_file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({"no_answer": True}, {"no_answer": True, "activation": "sigmoid"}):
            pipe = untrained_pipe(untrained, **options)
            pipe.initialize(lambda: examples_of(untrained, squad_file))


def test_what_it_does_not_serve_says_why(untrained):
    with pytest.raises(ValueError, match="tune: component 'dice_qa' .dice_qa. has no scores of la"):
        spacy_dice.tune(untrained, ner_examples(untrained), ["dice_qa"])
    with pytest.raises(ValueError, match=r"is a dice_qa, which takes its loss from \[components"):
        spacy_dice.use_loss(untrained, {"dice_qa": spacy_dice.DiceCE()})


def test_without_the_extra_it_says_so():
    code = """
nlp = spacy.blank("en")
nlp.add_pipe("dice_ner")
assert "spacy_dice.components.dice_qa" not in sys.modules
assert "spacy_dice.reading.encoder" not in sys.modules
try:
    nlp.add_pipe("dice_qa")
except ValueError as error:
    print(error)
"""
    found = without("spacy_transformers", "spacy-transformers", code)
    assert "spacy-flair-dice[transformers]" in found
