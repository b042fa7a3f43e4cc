"""dice_ner: trains, decodes only what is valid, and keeps what is there already."""

import pickle

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example, biluo_tags_to_spans
from thinc.api import fix_random_seed

from spacy_dice.components import dice_ner
from spacy_dice.losses import Compound, CrossEntropy, DiceCE, EntityDice
from spacy_tests.helpers import NER_SENTENCES as SENTENCES
from spacy_tests.helpers import TOK2VEC
from spacy_tests.helpers import ner_examples as examples


def make(steps=0, sentences=SENTENCES, seed=0, **config):
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    nlp.add_pipe("dice_ner", config=config)
    data = examples(nlp, sentences)
    nlp.initialize(lambda: data)
    for _ in range(steps):
        nlp.update(data)
    return nlp, data


@pytest.fixture(scope="module")
def trained():
    return make(60)[0]


def ents(doc):
    return [(e.text, e.label_) for e in doc.ents]


EXPECTED = [("New York City", "LOC"), ("Bob", "PER")]


LOSSES = [
    {"@losses": "spacy_dice.DiceCE.v1"},
    {"@losses": "spacy_dice.DiceCE.v1", "log": True, "average": "micro"},
    {"@losses": "spacy_dice.CrossEntropy.v1", "class_weights": {"O": 0.5}},
    {
        "@losses": "spacy_dice.Compound.v1",
        "losses": {
            "ce": {"@losses": "spacy_dice.CrossEntropy.v1"},
            "entities": {"@losses": "spacy_dice.EntityDice.v1"},
        },
    },
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["@losses"])
def test_trains_with_losses_from_the_config(loss):
    nlp, _ = make(60, loss=loss)
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED
    assert nlp.pipe_labels["dice_ner"] == ["LOC", "PER"]


def test_entity_dice_sees_docs_one_by_one():
    """The value through the component is that of the loss on the same probabilities."""
    nlp, data = make(3)
    ner = nlp.get_pipe("dice_ner")
    ner.loss = Compound([EntityDice(), CrossEntropy()])
    scores, _ = ner.model.begin_update([eg.x for eg in data])
    value, gradient = ner.get_loss(data, scores)
    truths = [tags.split() for _, tags in SENTENCES]
    direct = sum(type(x)(names=ner.tags).get_loss(scores, truths) for x in ner.loss.losses.values())
    assert value == pytest.approx(direct, rel=1e-5)
    assert [g.shape for g in gradient] == [s.shape for s in scores]


def test_every_doc_gets_annotation(trained):
    docs = list(trained.pipe(["", "Rome", "   ", "nothing"] * 3, batch_size=5))
    assert all(doc.has_annotation("ENT_IOB") for doc in docs if len(doc))
    assert all(t.ent_iob_ in "BIO" for doc in docs for t in doc)


def test_existing_entities_and_blocked_tokens_are_kept(trained):
    words = "I like New York City and Bob .".split()
    ner = trained.get_pipe("dice_ner")

    doc = Doc(trained.vocab, words=words)
    doc.set_ents([Span(doc, 3, 4, label="TEAM", kb_id="Q1")])
    doc = ner(doc)
    assert ("York", "TEAM") in ents(doc) and ("Bob", "PER") in ents(doc)
    assert doc.ents[[e.label_ for e in doc.ents].index("TEAM")].kb_id_ == "Q1"
    assert all(e.end <= 3 or e.start >= 4 for e in doc.ents if e.label_ != "TEAM")

    doc = Doc(trained.vocab, words=words)
    doc.set_ents([], blocked=[doc[3:4]], default="missing")
    doc = ner(doc)
    assert all(not (e.start <= 3 < e.end) for e in doc.ents) and ("Bob", "PER") in ents(doc)
    assert doc[3].ent_iob_ == "B" and not doc[3].ent_type_

    # Marked as outside is no ban, as in stock ner.
    doc = Doc(trained.vocab, words=words)
    doc.set_ents([], default="outside")
    assert ents(ner(doc)) == EXPECTED


def test_no_entity_crosses_a_sentence_or_starts_on_white_space(trained):
    ner = trained.get_pipe("dice_ner")
    words = "I like New York City and Bob .".split()
    doc = Doc(trained.vocab, words=words, sent_starts=[True, 0, 0, True, 0, 0, 0, 0])
    assert all(not (e.start < 3 < e.end) for e in ner(doc).ents)
    spaced = Doc(trained.vocab, words=["\n", "Rome", "\n\n", "Bob", " "])
    assert all(not token.is_space for e in ner(spaced).ents for token in [e[0]])


def test_missing_annotation_is_masked():
    nlp, _ = make()
    ner = nlp.get_pipe("dice_ner")
    partial = examples(nlp, [("Ann met Bob .", "- O - -"), ("Rome is far", "- - -")])
    scores, _ = ner.model.begin_update([eg.x for eg in partial])
    for loss in (DiceCE(), Compound([CrossEntropy(), EntityDice()])):
        ner.loss = loss
        _, (first, second) = ner.get_loss(partial, scores)
        assert (first[[0, 2, 3]] == 0).all() and (first[1] != 0).any()
        assert (second == 0).all()
    # Misaligned tokens are missing as well.
    doc = Doc(nlp.vocab, words=["NewYork", "is", "big"])
    gold = Doc(
        nlp.vocab,
        words=["New", "York", "is", "big"],
        spaces=[False, True, True, False],
        ents=["B-LOC", "O", "O", "O"],
    )
    scores, _ = ner.model.begin_update([doc])
    _, (gradient,) = ner.get_loss([Example(doc, gold)], scores)
    assert (gradient[0] == 0).all() and (gradient[1:] != 0).any()


def test_a_label_that_it_does_not_have_is_named():
    nlp, _ = make()
    with pytest.raises(ValueError, match="'dice_ner': the data has the label 'U-NEW'.*add_label"):
        nlp.update(examples(nlp, [("Bob", "U-NEW")]))


def test_add_label_before_and_after_training():
    nlp, data = make(60)
    ner = nlp.get_pipe("dice_ner")
    before = ner.model.predict([data[0].x])[0]
    assert ner.add_label("NEW") == 1 and ner.add_label("NEW") == 0
    after = ner.model.predict([data[0].x])[0]
    assert after.shape[1] == before.shape[1] + 4 == len(ner.tags)
    numpy.testing.assert_allclose(after[:, : before.shape[1]], before, atol=1e-6)
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED
    more = data + examples(nlp, [("my Zorb broke", "O U-NEW O")])
    for _ in range(60):
        nlp.update(more)
    assert ents(nlp("my Zorb broke")) == [("Zorb", "NEW")]
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED
    copy = pickle.loads(pickle.dumps(nlp))
    assert ents(copy("my Zorb broke")) == [("Zorb", "NEW")]

    nlp = spacy.blank("en")
    ner = nlp.add_pipe("dice_ner")
    ner.add_label("A")
    ner.add_label("B")
    nlp.initialize()
    assert nlp("anything at all").has_annotation("ENT_IOB")
    with pytest.raises(ValueError):
        ner.add_label(3)


def test_initialize_from_labels_and_without_any():
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("dice_ner")
    data = examples(nlp)
    ner.initialize(lambda: data, nlp=nlp, labels=["PER", "LOC", "ORG"])
    assert ner.label_data == ("PER", "LOC", "ORG") and ner.tags[1] == "B-PER"
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("dice_ner")
    with pytest.raises(ValueError, match="'dice_ner': the training data has no entities"):
        nlp.initialize(lambda: examples(nlp, [("nothing here", "O O")]))


def test_to_disk_to_bytes_and_pickle(trained, tmp_path):
    trained.to_disk(tmp_path)
    blank = spacy.blank("en")
    blank.add_pipe("dice_ner")
    others = [
        spacy.load(tmp_path),
        blank.from_bytes(trained.to_bytes()),
        pickle.loads(pickle.dumps(trained)),
    ]
    for other in others:
        assert ents(other(SENTENCES[0][0])) == EXPECTED
        assert isinstance(other.get_pipe("dice_ner").loss, DiceCE)
        other.update(examples(other))
    text = SENTENCES[0][0]
    for method in ("fork", "spawn"):
        docs = list(pipe_in_processes(others[0], [text] * 8, method))
        assert [ents(doc) for doc in docs] == [EXPECTED] * 8


def pipe_in_processes(nlp, texts, method):
    import multiprocessing

    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        yield from nlp.pipe(texts, n_process=2, batch_size=2)
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_rehearsal_keeps_what_was_learnt():
    nlp, data = make(60)
    optimizer = nlp.resume_training()
    other = examples(nlp, [("Rome is a name", "U-PER O O O")])
    losses = {}
    for _ in range(20):
        nlp.update(other, sgd=optimizer)
        nlp.rehearse(data, sgd=optimizer, losses=losses)
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED and losses["dice_ner"] > 0


def test_normalised_outputs_decode_alike():
    model = {
        "@architectures": "spacy.Tagger.v2",
        "normalize": True,
        "tok2vec": TOK2VEC,
    }
    nlp, _ = make(60, model=model)
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED


def test_a_model_without_a_softmax_is_refused():
    model = {
        "@architectures": "spacy.SpanFinder.v1",
        "scorer": {"@layers": "spacy.LinearLogistic.v1"},
        "tok2vec": TOK2VEC,
    }
    with pytest.raises(ValueError, match="Component 'dice_ner': the model"):
        spacy.blank("en").add_pipe("dice_ner", config={"model": model})


def test_the_threshold_trades_recall_for_precision():
    nlp, _ = make(12)
    ner = nlp.get_pipe("dice_ner")
    texts = [words for words, _ in SENTENCES] * 2
    counts = []
    for threshold in (0.0, 0.01, 0.5, 0.99, 1.0):
        ner.cfg["threshold"] = threshold
        counts.append(sum(len(doc.ents) for doc in nlp.pipe(texts)))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2] > counts[-1] == 0
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="'dice_ner': threshold must be from 0 to 1"):
            spacy.blank("en").add_pipe("dice_ner", config={"threshold": wrong})


def test_random_models_only_predict_valid_entities():
    """Untrained weights give every kind of invalid argmax; what is set is always well-formed."""
    nlp, data = make()
    ner = nlp.get_pipe("dice_ner")
    layer = ner.model.get_ref("output_layer")
    rng = numpy.random.default_rng(0)
    texts = ["a b c d e f g", "h", "i j k", "l m n o p q r s t u v"]
    found = 0
    for _ in range(20):
        layer.set_param("W", rng.normal(size=layer.get_param("W").shape).astype("f") * 5)
        for doc in nlp.pipe(texts):
            found += len(doc.ents)
            tags = spacy.training.offsets_to_biluo_tags(
                doc, [(e.start_char, e.end_char, e.label_) for e in doc.ents]
            )
            assert [(s.start, s.end, s.label_) for s in biluo_tags_to_spans(doc, tags)] == [
                (e.start, e.end, e.label_) for e in doc.ents
            ]
    assert found > 50


@pytest.mark.parametrize("cells", [1, 60, 120])
def test_a_batch_in_parts_gives_what_it_gives_at_once(monkeypatch, cells):
    """Of many labels few texts are scored at a time, in their order, also long and empty ones."""
    nlp, _ = make(40, spans_key="found")
    sentences = [words if isinstance(words, str) else " ".join(words) for words, _ in SENTENCES]
    texts = ["", *sentences, " ".join(sentences), "", "", sentences[0], ""] * 2

    def found():
        return [(ents(doc), doc.spans["found"].attrs["scores"].tolist()) for doc in nlp.pipe(texts)]

    at_once = found()
    n_parts = len(list(dice_ner._in_parts([nlp.make_doc(t) for t in texts], cells // 9)))
    assert n_parts > 2 and sum(len(entities) for entities, _ in at_once) > 10
    monkeypatch.setattr(dice_ner, "CELLS", cells)
    for (entities, scores), (expected, expected_scores) in zip(found(), at_once):
        assert entities == expected
        assert scores == pytest.approx(expected_scores, rel=1e-4)


def test_probabilities_go_where_spancat_puts_scores(trained, tmp_path):
    text = SENTENCES[0][0]
    assert not trained(text).spans
    make(60, spans_key="found")[0].to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    docs = [loaded(text), loaded("nothing happened here today"), loaded("")]
    for doc in docs:
        group = doc.spans["found"]
        assert [(s.start, s.end, s.label_) for s in group] == [
            (e.start, e.end, e.label_) for e in doc.ents
        ]
        scores = group.attrs["scores"]
        assert len(scores) == len(group) and all(0 < score <= 1 for score in scores)
    assert len(docs[0].ents) == 2 and min(docs[0].spans["found"].attrs["scores"]) > 0.5
    # An entity that was there has no probability, and the threshold changes none.
    doc = loaded.make_doc(text)
    doc.ents = [Span(doc, 6, 7, label="LOC")]
    loaded.get_pipe("dice_ner").cfg["threshold"] = 0.6
    doc = loaded(doc)
    assert len(doc.ents) == 2 and [s.text for s in doc.spans["found"]] == ["New York City"]
    expected = docs[0].spans["found"].attrs["scores"][0]
    assert doc.spans["found"].attrs["scores"][0] == pytest.approx(expected, rel=0.05)
    read = Doc(loaded.vocab).from_bytes(doc.to_bytes())
    assert len(read.spans["found"].attrs["scores"]) == 1


def test_settings_are_attributes_that_are_saved_and_that_loading_can_override(trained, tmp_path):
    nlp, text = trained, SENTENCES[0][0]
    ner = nlp.get_pipe("dice_ner")
    before = ner.threshold, ner.thresholds, ner.spans_key
    assert before == (0.5, None, None)
    try:
        ner.threshold, ner.spans_key = 1.0, "scored"
        doc = nlp(text)
        assert not doc.ents and "scored" in doc.spans
        for value, message in ((1.5, "from 0 to 1, got 1.5"), ("high", "got 'high'")):
            with pytest.raises(ValueError, match=f"'dice_ner': threshold must be.*{message}"):
                ner.threshold = value
        with pytest.raises(ValueError, match="thresholds of 'LOC' must be from 0 to 1, got 2"):
            ner.thresholds = {"LOC": 2}
        with pytest.raises(ValueError, match="spans_key must be a name or null"):
            ner.spans_key = 1
        nlp.to_disk(tmp_path)
    finally:
        ner.threshold, ner.thresholds, ner.spans_key = before
    # What was set is there again, though the config was not told; the config's own change counts.
    assert spacy.load(tmp_path).get_pipe("dice_ner").threshold == 1.0
    override = {"components": {"dice_ner": {"threshold": 0.4}}}
    loaded = spacy.load(tmp_path, config=override)
    assert loaded.get_pipe("dice_ner").threshold == 0.4
    assert loaded.get_pipe("dice_ner").spans_key == "scored"
    assert ents(loaded(text)) == EXPECTED
    # And stays, when it is saved and loaded again.
    loaded.to_disk(tmp_path / "again")
    assert spacy.load(tmp_path / "again").get_pipe("dice_ner").threshold == 0.4
    as_bytes = spacy.load(tmp_path / "again").to_bytes()
    assert spacy.load(tmp_path).from_bytes(as_bytes).get_pipe("dice_ner").spans_key == "scored"


def test_spans_key_must_be_a_name():
    with pytest.raises(ValueError, match="spans_key"):
        make(spans_key=3)
