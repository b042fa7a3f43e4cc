"""dice_ner: trains, decodes only what is valid, and keeps what is there already."""

import pickle

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import fix_random_seed

from spacy_dice import biluo
from spacy_dice.components import dice_ner
from spacy_dice.losses import Compound, CrossEntropy, DiceCE, EntityDice, as_thinc
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
    ner.set_loss(Compound([EntityDice(), CrossEntropy()]))
    scores, _ = ner.model.begin_update([eg.x for eg in data])
    value, gradient = ner.get_loss(data, scores)
    gold = [tags.split() for _, tags in SENTENCES]
    losses = [as_thinc(loss, names=ner.tags) for loss in ner.loss.losses.values()]
    direct = sum(loss.get_loss(scores, gold) for loss in losses)
    assert value == pytest.approx(direct, rel=1e-5)
    assert [g.shape for g in gradient] == [s.shape for s in scores]


def test_every_doc_gets_annotation(trained):
    docs = list(trained.pipe(["", "Rome", "   ", "nothing"] * 3, batch_size=5))
    assert all(doc.has_annotation("ENT_IOB") for doc in docs if len(doc))
    assert all(t.ent_iob_ in "BIO" for doc in docs for t in doc)


def test_existing_entities_are_kept(trained):
    ner, words = trained.get_pipe("dice_ner"), "I like New York City and Bob .".split()
    doc = Doc(trained.vocab, words=words)
    doc.set_ents([Span(doc, 3, 4, label="TEAM", kb_id="Q1")])
    doc = ner(doc)
    assert ("York", "TEAM") in ents(doc) and ("Bob", "PER") in ents(doc)
    assert doc.ents[[e.label_ for e in doc.ents].index("TEAM")].kb_id_ == "Q1"
    # Marked as outside is no ban, as in stock ner.
    doc = Doc(trained.vocab, words=words)
    doc.set_ents([], default="outside")
    assert ents(ner(doc)) == EXPECTED


def test_missing_annotation_is_masked():
    nlp, _ = make()
    ner = nlp.get_pipe("dice_ner")
    partial = examples(nlp, [("Ann met Bob .", "- O - -"), ("Rome is far", "- - -")])
    scores, _ = ner.model.begin_update([eg.x for eg in partial])
    for loss in (DiceCE(), Compound([CrossEntropy(), EntityDice()])):
        ner.set_loss(loss)
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
    numpy.testing.assert_allclose(after[:, : before.shape[1]], before, rtol=1e-5, atol=1e-5)
    assert (after[:, before.shape[1] :].max(axis=1) <= before.max(axis=1) - 10).all()
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
        assert other.get_pipe("dice_ner").loss == DiceCE().core
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
    model = {"@architectures": "spacy.Tagger.v2", "normalize": True, "tok2vec": TOK2VEC}
    nlp, _ = make(60, model=model)
    assert ents(nlp(SENTENCES[0][0])) == EXPECTED


def test_a_model_without_a_softmax_is_refused():
    scorer = {"@layers": "spacy.LinearLogistic.v1"}
    model = {"@architectures": "spacy.SpanFinder.v1", "scorer": scorer, "tok2vec": TOK2VEC}
    with pytest.raises(ValueError, match="Component 'dice_ner': the model"):
        spacy.blank("en").add_pipe("dice_ner", config={"model": model})


def test_thresholds_trade_recall_for_precision():
    nlp, _ = make(12)
    ner = nlp.get_pipe("dice_ner")

    def count(labels=("LOC", "PER")):
        docs = nlp.pipe([words for words, _ in SENTENCES] * 2)
        return sum(ent.label_ in labels for doc in docs for ent in doc.ents)

    found, n_loc = [], []
    for ner.threshold in (0.0, 0.01, 0.5, 0.99, 1.0):
        found.append(count())
    ner.threshold = 0.5
    for value in (0.01, 0.5, 0.99, 1.0):
        ner.thresholds = {"LOC": value}
        n_loc.append(count(["LOC"]))
    assert found == sorted(found, reverse=True) and found[0] > found[2] > found[-1] == 0
    assert n_loc == sorted(n_loc, reverse=True) and n_loc[0] > n_loc[-1] == 0
    with pytest.raises(ValueError, match="'dice_ner': threshold must be from 0 to 1"):
        spacy.blank("en").add_pipe("dice_ner", config={"threshold": 1.1})


@pytest.mark.parametrize("n", [0, 7, 13])
def test_docs_in_batches_get_what_they_get_at_once(monkeypatch, n):
    """Of many labels few texts are scored at a time, in their order, also long and empty ones."""
    nlp, _ = make(40, spans_key="found")
    sentences = [words for words, _ in SENTENCES]
    texts = ["", *sentences, " ".join(sentences), "", "", sentences[0], ""] * 2

    def found():
        return [(ents(doc), doc.spans["found"].attrs["scores"].tolist()) for doc in nlp.pipe(texts)]

    at_once, docs = found(), [nlp.make_doc(text) for text in texts]
    batches = list(dice_ner.batch_by_tokens(docs, n))
    assert len(batches) > 4 and [doc for batch in batches for doc in batch] == docs
    assert all(len(batch) == 1 or sum(map(len, batch[1:])) <= max(1, n) for batch in batches)
    assert sum(len(entities) for entities, _ in at_once) > 10
    monkeypatch.setattr(dice_ner, "MAX_SCORES", 9 * n)
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
        with pytest.raises(ValueError, match="'PET', which is none of its labels: LOC, PER"):
            ner.thresholds = {"LOC": 0.4, "PET": 0.4}
        with pytest.raises(ValueError, match="spans_key must be a name or null"):
            ner.spans_key = 1
        assert (ner.threshold, ner.thresholds, ner.spans_key) == (1.0, None, "scored")
        nlp.to_disk(tmp_path)
    finally:
        ner.threshold, ner.thresholds, ner.spans_key = before
    # What was set is there again, though the config was not told; the config's own change counts.
    assert spacy.load(tmp_path).get_pipe("dice_ner").threshold == 1.0
    override = {"components": {"dice_ner": {"threshold": 0.4}}}
    config = (tmp_path / "config.cfg").read_text()
    unknown = config.replace("thresholds = null", 'thresholds = {"PET": 0.4}')
    (tmp_path / "config.cfg").write_text(unknown)
    with pytest.raises(ValueError, match="thresholds has the label 'PET'"):
        spacy.load(tmp_path)
    (tmp_path / "config.cfg").write_text(config)
    loaded = spacy.load(tmp_path, config=override)
    assert loaded.get_pipe("dice_ner").threshold == 0.4
    assert loaded.get_pipe("dice_ner").spans_key == "scored"
    assert ents(loaded(text)) == EXPECTED
    # And stays, when it is saved and loaded again.
    loaded.to_disk(tmp_path / "again")
    assert spacy.load(tmp_path / "again").get_pipe("dice_ner").threshold == 0.4
    as_bytes = spacy.load(tmp_path / "again").to_bytes()
    assert spacy.load(tmp_path).from_bytes(as_bytes).get_pipe("dice_ner").spans_key == "scored"


def test_thresholds_n_locs_that_the_data_does_not_have():
    with pytest.raises(ValueError, match="thresholds has the label 'PET', .*: LOC, PER."):
        make(thresholds={"PET": 0.4})
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("dice_ner", config={"thresholds": {"PET": 0.4}})
    labels = [f"L{i}" for i in range(5000)]
    with pytest.raises(ValueError, match="L0, .*, L9 ... and 4,990 more.") as error:
        ner.initialize(lambda: examples(nlp), labels=labels)
    assert "L10" not in str(error.value)


# -- what can be predicted, as in stock ner -----------------------------------------------


@st.composite
def spans(draw, n):
    """Spans (start, end, label) of n tokens, none of which overlap."""
    bounds = sorted(draw(st.sets(st.integers(0, n), max_size=8)))
    pairs = zip(bounds, bounds[1:])
    return [(s, e, draw(st.sampled_from("XY"))) for s, e in pairs if draw(st.booleans())]


@st.composite
def documents(draw):
    """Words, sentence starts, and entities and blocked tokens that are there; gold entities."""
    n = draw(st.integers(1, 8))
    words = draw(st.lists(st.sampled_from(["a", "b", "c", "\n", "  "]), min_size=n, max_size=n))
    starts = [bool(i == 0 or draw(st.integers(0, 3)) == 0) for i in range(n)]
    preset = draw(spans(n)) if draw(st.booleans()) else []
    kept = [span for span in preset if span[1] - span[0] > 1 or span[2] == "X"]
    blocked = [span[0] for span in preset if span not in kept]
    return words, starts, kept, blocked, draw(spans(n))


@pytest.fixture(scope="module")
def both():
    """Untrained, of the same labels: dice_ner and stock ner."""
    nlp = spacy.blank("en")
    for pipe in (nlp.add_pipe("dice_ner"), nlp.add_pipe("ner")):
        pipe.add_label("X")
        pipe.add_label("Y")
    nlp.initialize()
    return nlp


def make_doc(nlp, words, starts, kept, blocked):
    doc = Doc(nlp.vocab, words=words, sent_starts=starts)
    spans = [Span(doc, *span) for span in kept]
    doc.set_ents(spans, blocked=[doc[i : i + 1] for i in blocked], default="missing")
    return doc


def stock_allows(nlp, doc, entities, blocked):
    """Whether stock ner has a sequence of valid actions for these entities of a doc."""
    moves = nlp.get_pipe("ner").moves
    (state,) = moves.init_batch([doc])
    actions = ["U-" if i in blocked else "O" for i in range(len(doc))]
    for start, end, label in entities:
        kinds = "U" if end - start == 1 else "B" + "I" * (end - start - 2) + "L"
        actions[start:end] = [f"{kind}-{label}" for kind in kinds]
    for action in actions:
        if not moves.is_valid(state, action):
            return False
        moves.apply_transition(state, action)
    return True


def decoded(ner, doc, scores):
    """The doc with what is decoded from scores ``(tokens, tags)``."""
    allowed = biluo.constrain(scores, *dice_ner.constraints([doc]))
    found = biluo.decode(allowed, [len(doc)])
    strings = [ner.vocab.strings[label] for label in ner.labels]
    found = [
        dice_ner.Entity(s, e, strings[k], 1.0) for _, s, e, k in zip(*(x.tolist() for x in found))
    ]
    ner.set_annotations([doc], [found])
    return [(e.start, e.end, e.label_) for e in doc.ents]


@settings(max_examples=300, deadline=None)
@given(documents())
def test_gold_is_taught_where_stock_could_predict_it(both, document):
    """A perfect model predicts all that it was taught; the rest, which stock ner cannot predict
    together with what the doc has, is masked."""
    *parts, gold = document
    _, _, kept, blocked = parts
    ner, doc = both.get_pipe("dice_ner"), make_doc(both, *parts)
    reference = make_doc(both, parts[0], parts[1], [], [])
    reference.set_ents([Span(reference, *span) for span in gold])
    tags = ner.get_aligned_labels(Example(doc, reference))
    taught = [span for span in gold if all(tags[span[0] : span[1]])]
    assert [tag for tag in tags if tag is None] == [
        None for s, e, _ in gold if (s, e, _) not in taught for _ in range(e - s)
    ]
    for span in gold:
        together = sorted({*kept, span})
        apart = all(a[1] <= b[0] for a, b in zip(together, together[1:]))
        free = not any(span[0] <= i < span[1] for i in blocked)
        possible = apart and free and stock_allows(both, doc, together, blocked)
        assert (span in taught) == possible
    perfect = numpy.asarray([[tag == other for other in ner.tags] for tag in tags], dtype="f")
    assert decoded(ner, doc, perfect) == sorted({*kept, *taught})


@settings(max_examples=300, deadline=None)
@given(documents(), st.integers(0, 2**32 - 1))
def test_what_is_decoded_stock_could_have_predicted(both, document, seed):
    *parts, _ = document
    ner, doc = both.get_pipe("dice_ner"), make_doc(both, *parts)
    scores = numpy.random.default_rng(seed).normal(size=(len(doc), len(ner.tags)))
    entities = decoded(ner, doc, scores)
    assert {*parts[2]} <= {*entities}
    assert stock_allows(both, make_doc(both, *parts), entities, parts[3])
