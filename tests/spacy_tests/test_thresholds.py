"""Thresholds for F1: `tune`, `calibrate`, what is written, what is saved."""

import json
import random
from inspect import getsource

import numpy
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from thinc.api import ConfigValidationError, fix_random_seed

import spacy_dice
from spacy_dice.thresholds import api, last_layer
from spacy_tests.helpers import TOK2VEC, without_us

KINDS = {
    "NAME": ["Ann", "Bob", "Cid", "Dan", "Eve", "Flo"],
    "PLACE": ["Rome", "Oslo", "Bern", "Kyiv", "Bonn"],
    "VERB": ["sees", "likes", "visits", "leaves"],
    "NOUN": ["dogs", "cars", "trees", "songs", "books"],
    "NUM": ["two", "three", "ten"],
}
ENTITY = {"NAME": "PER", "PLACE": "LOC"}
COMPONENTS = (
    "tagger ner dice_ner textcat textcat_multilabel spancat spancat_singlelabel span_finder"
).split()
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": 32}
# What spaCy's own evaluation calls what the reports call micro (or macro) F1.
SCORES = {
    "tagger": ("micro", "tag_acc"),
    "ner": ("micro", "ents_f"),
    "dice_ner": ("micro", "ents_f"),
    "textcat": ("macro", "cats_macro_f"),
    "textcat_multilabel": ("macro", "cats_macro_f"),
    "spancat": ("micro", "spans_sc_f"),
    "spancat_singlelabel": ("micro", "spans_single_f"),
    "span_finder": ("micro", "spans_found_f"),
}


def make_doc(vocab, rng):
    """A fifth of the words are wrongly annotated, so that nobody can be sure."""
    words, tags, ents = [], [], []
    for _ in range(2):
        for _ in range(rng.randint(3, 6)):
            kind = rng.choices(list(KINDS), [3, 1, 3, 3, 1])[0]
            words.append(rng.choice(KINDS[kind]))
            kind = rng.choice(list(KINDS)) if rng.random() < 0.2 else kind
            tags.append(kind)
            ents.append(f"B-{ENTITY[kind]}" if kind in ENTITY else "O")
    doc = Doc(vocab, words=words, tags=tags, ents=ents)
    spans = [Span(doc, ent.start, ent.end, ent.label_) for ent in doc.ents]
    for key in ("sc", "single", "found"):
        doc.spans[key] = spans
    kinds = set(tags)
    doc.cats = {
        "names": float("NAME" in kinds),
        "places": float("PLACE" in kinds),
        "numbers": float(tags.count("NUM") > 1),
        "one": float(tags.count("NAME") > tags.count("NOUN")),
    }
    doc.cats["other"] = 1.0 - doc.cats["one"]
    return doc


def copy_of(gold):
    return Example(Doc(gold.vocab, words=[t.text for t in gold]), gold)


def examples(nlp, n, seed):
    rng = random.Random(seed)
    return [copy_of(make_doc(nlp.vocab, rng)) for _ in range(n)]


def exclusive(egs):
    """The same with the categories of textcat."""
    made = []
    for eg in egs:
        eg = Example(eg.x.copy(), eg.y.copy())
        eg.y.cats = {key: eg.y.cats[key] for key in ("one", "other")}
        made.append(eg)
    return made


CONFIGS = {
    "tagger": {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}},
    "ner": {"model": {"tok2vec": LISTENER, "hidden_width": 16}},
    "spancat": {
        "suggester": {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]},
        "model": {"tok2vec": LISTENER},
    },
    "spancat_singlelabel": {
        "spans_key": "single",
        "suggester": {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]},
        "model": {"tok2vec": LISTENER},
    },
    "span_finder": {"spans_key": "found", "max_length": 2, "model": {"tok2vec": LISTENER}},
}
CONFIGS["dice_ner"] = CONFIGS["tagger"]
for _name in ("textcat", "textcat_multilabel"):
    _linear = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": _name == "textcat",
        "ngram_size": 1,
        "no_output_layer": False,
        "length": 4096,
    }
    CONFIGS[_name] = {
        "model": {
            "@architectures": "spacy.TextCatEnsemble.v2",
            "tok2vec": LISTENER,
            "linear_model": _linear,
        }
    }


@pytest.fixture(scope="session")
def trained():
    """A short-trained pipeline of one component each, by name; tuned by nobody."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = train(name)
        return made[name]

    return get


def train(*names, steps=20):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    for name in names:
        nlp.add_pipe(name, config=CONFIGS[name])
    egs = examples(nlp, 60, 1)
    egs = exclusive(egs) if "textcat" in names else egs
    nlp.initialize(lambda: egs)
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(egs, sgd=optimizer)
    return nlp.to_bytes(), nlp.config


def load(trained, name, spoil=True):
    """The pipeline, and dev and test examples; with a bias that costs F1, unless spoil is False."""
    data, config = trained(name)
    nlp = spacy.blank("en").from_config(config).from_bytes(data)
    dev, test = examples(nlp, 80, 2), examples(nlp, 50, 3)
    if name == "textcat":
        dev, test = exclusive(dev), exclusive(test)
    if spoil:
        add_bias(nlp, name)
    return nlp, dev, test


def add_bias(nlp, name):
    """A bias that costs F1, as a loss that has never seen rare labels would."""
    part = tunable_of(nlp, name)
    away = {"O", "I", "(none)", "other", "NAME", part.columns[0] if name == "tagger" else ""}
    shift = numpy.asarray([2.5 * (column in away) for column in part.columns])
    if name in ("textcat_multilabel", "spancat", "span_finder"):
        shift = numpy.full(len(part.columns), -1.5 if name != "span_finder" else -3.0)
    b = part.last.layer.get_param("b")
    part.last.set_bias(b + shift.reshape((-1,) + (1,) * (b.ndim - 1)))


def tunable_of(nlp, name):
    pipe = nlp.get_pipe(name)
    return api.tunable_type(pipe)(pipe, name)


def annotations(doc):
    """All that components set, as JSON can hold it."""
    spans = {key: [[s.start, s.end, s.label_] for s in doc.spans[key]] for key in doc.spans}
    cats = {key: round(value, 5) for key, value in doc.cats.items()}
    return [[t.tag_ for t in doc], [[e.start, e.end, e.label_] for e in doc.ents], spans, cats]


def predictions(nlp, egs):
    docs = nlp.pipe([Doc(nlp.vocab, words=[t.text for t in eg.reference]) for eg in egs])
    return json.loads(json.dumps([annotations(doc) for doc in docs]))


def params_of(nlp, name):
    layer = tunable_of(nlp, name).last.layer
    return {key: numpy.array(layer.get_param(key)) for key in layer.param_names}


# -- every component -----------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_is_tuned_reported_undone_and_redone(trained, name, tmp_path):
    nlp, dev, test = load(trained, name)
    before, bias = predictions(nlp, test), params_of(nlp, name)
    report = spacy_dice.tune(nlp, dev, [name])
    part = report[name]
    scores = nlp.evaluate(dev)
    assert part.tuned, str(part)
    average, key = SCORES[name]
    assert getattr(part.seen, average).f == pytest.approx(scores[key], abs=1e-9)
    assert part.gain.value > 0 and getattr(part.estimate, part.objective.split()[0]).f > 0
    after = predictions(nlp, test)
    assert after != before
    assert name in str(report) and json.loads(report.to_json())["components"][0]["name"] == name
    # Twice is once.
    once = nlp.get_pipe(name).to_bytes()
    assert spacy_dice.tune(nlp, dev, [name])[name].gain == part.gain
    assert nlp.get_pipe(name).to_bytes() == once
    # Round trips.
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert predictions(again, test) == after
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert predictions(again, test) == after
    tuning = spacy_dice.get_tuning(again)
    assert tuning == spacy_dice.get_tuning(nlp) and set(tuning) == {name}
    # Undone, and redone.
    assert spacy_dice.untune(again) is again
    assert predictions(again, test) == before and not spacy_dice.get_tuning(again)
    for key, value in params_of(again, name).items():
        assert (value == bias[key]).all()
    spacy_dice.set_tuning(again, tuning)
    assert predictions(again, test) == after


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_tuned_copy_leaves_the_pipeline_as_it_is(trained, name):
    """What `spacy train` saves at its end is tuned, and not what it has trained."""
    nlp, dev, _ = load(trained, name)
    before = nlp.to_bytes()
    saved, report = api.tune_copy(nlp, [name], lambda nlp: dev)
    assert report[name].tuned and saved.meta["spacy_dice"][name]["tuned"]
    assert spacy_dice.get_tuning(saved) and nlp.to_bytes() == before


def test_a_whole_pipeline_predicts_the_same_without_us(tmp_path):
    """Stock components with a shared tok2vec, saved, and loaded where the package is hidden."""
    names = [name for name in COMPONENTS if name not in ("dice_ner", "textcat")]
    data, config = train(*names, steps=12)
    nlp = spacy.blank("en").from_config(config).from_bytes(data)
    dev, shared = examples(nlp, 60, 2), examples(nlp, 60, 3)
    for name in names:
        add_bias(nlp, name)
    report = spacy_dice.tune(nlp, dev)
    assert [part.name for part in report] == names
    assert len(spacy_dice.get_tuning(nlp)) >= 4
    spacy_dice.calibrate(nlp, dev)
    nlp.to_disk(tmp_path / "model")
    words = [[t.text for t in eg.reference] for eg in shared[:20]]
    code = f"""
import json
from spacy.tokens import Doc
nlp = spacy.load({str(tmp_path / "model")!r})
{getsource(annotations)}
docs = nlp.pipe([Doc(nlp.vocab, words=words) for words in {words!r}])
print(json.dumps([annotations(doc) for doc in docs]))
"""
    assert json.loads(without_us(code)) == predictions(nlp, shared[:20])


# -- "before" is the toolkit's own evaluation ------------------------------------------------

# Settings that change what is predicted, or what counts.
VARIANTS = {
    "spancat": [{"threshold": 0.3}],
    "span_finder": [{"threshold": 0.1, "max_length": 3}],
    "textcat": [{"positive_label": "one"}],
    "textcat_multilabel": [{"threshold": 0.2}],
    "dice_ner": [{"threshold": 0.3, "thresholds": {"PER": 0.7}}],
}


def awkward(nlp, n, seed):
    """Gold docs of other tokens, white space, nothing at all; annotation that is missing, in part
    or altogether, of labels that nobody knows, of spans that fit no token, twice or overlapping.
    """
    rng, made = random.Random(seed), []
    for _ in range(n):
        words = [t.text for t in make_doc(nlp.vocab, rng)][: rng.choice([0, 1, 5, 9, 9, 9])]
        for _ in range(rng.choice([0, 0, 1])):
            words.insert(rng.randint(0, len(words)), rng.choice(["\n", " ", "\n\n"]))
        eg = Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=other_tokens(words, rng)))
        gold = eg.reference
        made.append(eg)
        if rng.random() < 0.2:
            continue
        by_word = {word: kind for kind, words in KINDS.items() for word in words}
        for token in gold:
            token.tag_ = rng.choice(["", "NEW", *[by_word.get(token.text, "NOUN")] * 4])
        spans = [
            Span(gold, token.i, token.i + 1, ENTITY[by_word[token.text]])
            for token in gold
            if by_word.get(token.text) in ENTITY and rng.random() < 0.8
        ]
        for _ in range(rng.choice([0, 1, 2]) if len(gold) else 0):
            start = rng.randrange(len(gold))
            end = rng.randint(start + 1, min(start + 3, len(gold)))
            spans.append(Span(gold, start, end, rng.choice(["PER", "LOC", "NEW"])))
        missing = [gold[i : i + 1] for i in range(len(gold)) if rng.random() < 0.1]
        taken = {span.start for span in missing}
        ents = [span for span in spans if not taken & set(range(span.start, span.end))]
        if rng.random() < 0.8:
            gold.set_ents(filter_spans(ents), missing=missing, default="outside")
        for key in ("sc", "single", "found"):
            if rng.random() < 0.8:
                gold.spans[key] = [*spans, *spans[:1]]
        labels = ["names", "places", "numbers", "one", "other", "NEW"]
        gold.cats = {x: float(rng.random() < 0.5) for x in labels if rng.random() < 0.8}
        if rng.random() < 0.2:
            gold.cats = {}
    return made


def other_tokens(words, rng):
    made = []
    for word in words:
        if made and word.strip() and made[-1].strip() and rng.random() < 0.1:
            made[-1] += word
        elif len(word) > 2 and rng.random() < 0.1:
            made += [word[:2], word[2:]]
        else:
            made.append(word)
    return made


@pytest.mark.parametrize(
    "name, cfg", [(name, cfg) for name in COMPONENTS for cfg in [{}, *VARIANTS.get(name, [])]]
)
def test_before_is_what_spacy_evaluates(trained, name, cfg):
    for seed in range(3):
        nlp, _, _ = load(trained, name, spoil=False)
        if seed % 2 and name in ("ner", "dice_ner"):  # entities that are there before
            ruler = nlp.add_pipe("entity_ruler", first=True)
            ruler.add_patterns([{"label": x, "pattern": "Rome"} for x in ("RULE", "LOC")[:seed]])
        nlp.get_pipe(name).cfg.update(cfg)
        egs = awkward(nlp, 40, seed)
        scores = nlp.evaluate(egs)
        part = spacy_dice.tune(nlp, egs, [name], min_examples=10_000)[name]
        assert not part.tuned
        average, key = SCORES[name]
        found = getattr(part.before, average)
        assert found.f > 0
        if cfg.get("positive_label"):
            assert found.f == pytest.approx(scores["cats_score"], abs=1e-12)
            continue
        expected = scores[key]
        assert found.f == pytest.approx(expected, abs=1e-12)
        if key.endswith("_f"):
            assert found.p == pytest.approx(scores[f"{key[:-1]}p"], abs=1e-12)
            assert found.r == pytest.approx(scores[f"{key[:-1]}r"], abs=1e-12)
        prefix = key.rpartition("_f")[0]
        by_label = scores.get("cats_f_per_type" if "cats" in key else f"{prefix}_per_type") or {}
        for row in part.labels:
            if row.label in by_label:
                assert row.before.f == pytest.approx(by_label[row.label]["f"], abs=1e-12)


@pytest.mark.parametrize("name", COMPONENTS)
def test_what_is_not_annotated_does_not_count(trained, name):
    """Missing is not empty: not for probabilities, either."""
    nlp, dev, _ = load(trained, name)
    bare = [Example(eg.x.copy(), Doc(nlp.vocab, words=[t.text for t in eg.x])) for eg in dev]
    expected = spacy_dice.calibrate(nlp, dev, [name], fit=False)[name]
    found = spacy_dice.calibrate(nlp, [*dev, *bare], [name], fit=False)[name]
    assert found.before == pytest.approx(expected.before) and found.before.n
    tuned = [spacy_dice.tune(nlp, egs, [name])[name] for egs in (dev, [*dev, *bare])]
    if name != "textcat":  # where spaCy's scorer counts what is predicted there as wrong
        assert tuned[0].before == tuned[1].before


# -- objectives ----------------------------------------------------------------------------


def test_precision_or_recall_on_demand(trained):
    for name, floor in (("spancat", 0.85), ("ner", 0.75)):
        nlp, dev, _ = load(trained, name)
        recall = spacy_dice.tune(nlp, dev, objective=f"recall>={floor}")[name]
        assert recall.estimate.micro.r > recall.before.micro.r
        assert recall.reached == (recall.estimate.micro.r >= floor)
        reached = "reached on" if recall.reached else "not reached, though nearly,"
        assert f"recall >= {floor} is {reached}" in str(recall)
        precision = spacy_dice.tune(nlp, dev, objective="precision>=0.85")[name]
        assert precision.estimate.micro.p > recall.estimate.micro.p or name == "ner"


@pytest.mark.parametrize("name", ["spancat", "ner", "textcat_multilabel", "tagger", "dice_ner"])
def test_a_floor_that_nothing_reaches_changes_nothing(trained, name):
    """Nor does it switch labels off: nothing predicted is no precision."""
    nlp, dev, _ = load(trained, name, spoil=False)
    before = nlp.get_pipe(name).to_bytes()
    rng = random.Random(0)
    for eg in dev:  # annotation that no model can know
        ents = [[ent.start, ent.end, rng.choice(["PER", "LOC"])] for ent in eg.reference.ents]
        keep = [Span(eg.reference, *ent) for ent in ents if rng.random() < 0.5]
        eg.reference.set_ents(keep)
        eg.reference.spans["sc"] = keep
        eg.reference.cats = {label: float(rng.random() < 0.5) for label in eg.reference.cats}
        for token in eg.reference:
            token.tag_ = rng.choice(list(KINDS))
    for average in ("micro", "macro"):
        part = spacy_dice.tune(nlp, dev, objective=f"{average} precision>=0.95")[name]
        assert not part.tuned and part.gain is None
        assert "precision >= 0.95 is not reached" in part.reason
        assert nlp.get_pipe(name).to_bytes() == before


@pytest.mark.parametrize("name", ["spancat", "textcat_multilabel"])
def test_an_objective_of_one_label_leaves_the_others_to_theirs(trained, name):
    """The gain test and max_loss are for them as if there were no other."""
    nlp, dev, _ = load(trained, name, spoil=False)
    label = nlp.get_pipe(name).labels[0]
    alone = spacy_dice.tune(nlp, dev, min_examples=1000, labels={label: "recall>=0.9"})[name]
    assert not alone.tuned  # too few examples, for it, too
    part = spacy_dice.tune(nlp, dev, max_loss=-1.0, labels={label: "recall>=0.9"})[name]
    rows = {row.label: row for row in part.labels}
    assert part.tuned and rows[label].shift != 0 and "recall >= 0.9" in rows[label].note
    assert all(row.shift == 0 for row in part.labels if row.label != label)
    # What is printed of the others' gain is in points, whatever is ranked.
    assert part.gain is None or abs(part.gain.value) <= 1
    assert "of the other labels" in part.objective


# -- edges ---------------------------------------------------------------------------------


def test_labels_without_examples_are_left_alone_and_unknown_ones_ignored(trained):
    nlp, dev, _ = load(trained, "spancat")
    for eg in dev:
        kept = [span for span in eg.reference.spans["sc"] if span.label_ != "LOC"]
        kept += [Span(eg.reference, s.start, s.end, "NEW") for s in kept[:1]]
        eg.reference.spans["sc"] = kept
    report = spacy_dice.tune(nlp, dev)
    rows = {row.label: row for row in report["spancat"].labels}
    assert set(rows) == {"PER", "LOC", "NEW"} and rows["PER"].shift != 0
    # It is missed, as for spaCy's scorer.
    assert rows["NEW"].n and rows["NEW"].shift == 0 and "no label" in rows["NEW"].note
    assert rows["LOC"].n == 0 and rows["LOC"].shift == 0 and rows["LOC"].note == "no examples"
    few = spacy_dice.tune(nlp, dev, min_examples=10_000)["spancat"]
    assert not few.tuned and "10000 examples" in few.reason


@pytest.mark.parametrize("name", COMPONENTS)
def test_nothing_to_learn_from_changes_nothing(trained, name):
    nlp, dev, test = load(trained, name)
    before = nlp.get_pipe(name).to_bytes()
    bare = [Example(eg.x.copy(), Doc(nlp.vocab, words=[t.text for t in eg.x])) for eg in dev[:20]]
    no_words = [Example(Doc(nlp.vocab), Doc(nlp.vocab))]
    for egs in ([], bare, no_words, dev[:1]):
        part = spacy_dice.tune(nlp, egs, [name])[name]
        assert not part.tuned and part.reason and part.reason in str(part)
        assert nlp.get_pipe(name).to_bytes() == before
        spacy_dice.calibrate(nlp, [] if egs is dev[:1] else bare, [name], fit=False)
    assert nlp.get_pipe(name).to_bytes() == before


def test_components_of_one_label():
    for name in ("textcat_multilabel", "spancat", "tagger"):
        fix_random_seed(0)
        nlp = spacy.blank("en")
        nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
        nlp.add_pipe(name, config=CONFIGS[name])
        egs = examples(nlp, 30, 1)
        for eg in egs:
            eg.reference.cats = {"names": eg.reference.cats["names"]}
            per = [s for s in eg.reference.spans["sc"] if s.label_ == "PER"]
            eg.reference.spans["sc"] = per
            for token in eg.reference:
                token.tag_ = "X"
        nlp.initialize(lambda: egs)
        part = spacy_dice.tune(nlp, egs)[name]
        assert len(part.labels) == 1
        if name == "tagger":
            assert not part.tuned and "one label" in part.reason


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("layer", ["first", "last"])
def test_scores_that_have_diverged_are_an_error(trained, name, layer):
    nlp, dev, _ = load(trained, name)
    if layer == "first":  # of the tok2vec that it listens to
        node = next(n for n in nlp.get_pipe("tok2vec").model.walk() if n.has_param("W"))
    else:
        node = tunable_of(nlp, name).last.layer
    param = node.param_names[0] if layer == "first" else "b"
    node.set_param(param, node.get_param(param) * numpy.nan)
    before = nlp.get_pipe(name).to_bytes()
    for call in (spacy_dice.tune, spacy_dice.calibrate):
        with pytest.raises(ValueError, match=f"{name}.*diverged"):
            call(nlp, dev, [name])
    assert nlp.get_pipe(name).to_bytes() == before


def other_weights(nlp, how, data, egs, tmp_path):
    """Give the components of a pipeline other weights than those that were tuned."""
    if how == "from_bytes":
        nlp.from_bytes(data)
    elif how == "from_disk":
        spacy.blank("en").from_config(nlp.config).from_bytes(data).to_disk(tmp_path)
        nlp.from_disk(tmp_path)
    elif how == "initialize":
        nlp.initialize(lambda: egs)
    elif how == "model":
        for name, pipe in nlp.pipeline:
            other = spacy.blank("en").from_config(nlp.config).from_bytes(data).get_pipe(name)
            pipe.model.from_bytes(other.model.to_bytes())
    else:
        optimizer = nlp.resume_training()
        nlp.update(egs, sgd=optimizer)


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("how", ["from_bytes", "from_disk", "initialize", "model", "update"])
def test_a_record_is_of_the_weights_that_were_tuned(trained, name, how, tmp_path):
    """Other weights: nothing is taken off them, and nothing is said to be tuned."""
    nlp, dev, _ = load(trained, name)
    shift = {tunable_of(nlp, name).shift_names[0]: 0.75}
    data = nlp.to_bytes()
    spacy_dice.set_tuning(nlp, {name: {"shift": shift, "temperature": 1.5}})
    assert spacy_dice.get_tuning(nlp)
    other_weights(nlp, how, data, dev, tmp_path)
    pipe = nlp.get_pipe(name)
    written = dict(pipe.cfg.get("thresholds") or {}) if name == "dice_ner" else {}
    assert not spacy_dice.get_tuning(nlp)
    expected, model = predictions(nlp, dev), pipe.model.to_bytes()
    with pytest.warns(UserWarning, match=f"'{name}' stays as it is.*not those that"):
        spacy_dice.untune(nlp)
    assert pipe.model.to_bytes() == model and last_layer.KEY not in pipe.cfg
    if written:  # thresholds of its own that are still there are taken back
        assert not pipe.cfg["thresholds"] and pipe.cfg["threshold"] == 0.5
    else:
        assert predictions(nlp, dev) == expected
    # What comes next begins with these weights.
    spacy_dice.set_tuning(nlp, {name: {"shift": shift}})
    spacy_dice.untune(nlp)
    assert pipe.model.to_bytes() == model


def test_mistakes_are_named_before_anything_changes(trained):
    nlp, dev, _ = load(trained, "textcat_multilabel")
    nlp.add_pipe("sentencizer")
    before = nlp.get_pipe("textcat_multilabel").to_bytes()
    for kwargs, message in (
        ({"components": ["nobody"]}, "no component 'nobody'.*textcat_multilabel"),
        ({"components": "textcat"}, "must be a list"),
        ({"components": ["sentencizer"]}, "sentencizer.*no scores"),
        ({"components": ["tok2vec"]}, "tok2vec.*no scores"),
        ({"labels": {"NOBODY": "f1"}}, "label 'NOBODY'.*names"),
        ({"objective": "accuracy"}, "'accuracy'"),
        ({"objective": "precision>=1.5"}, "between 0 and 1"),
        ({"n_folds": 1}, "n_folds"),
        ({"min_examples": 0}, "min_examples"),
    ):
        with pytest.raises(ValueError, match=message):
            spacy_dice.tune(nlp, dev, **kwargs)
    with pytest.raises(ValueError, match="Example"):
        spacy_dice.tune(nlp, [eg.reference for eg in dev])
    with pytest.raises(ValueError, match="no label 'x'"):
        spacy_dice.set_tuning(nlp, {"textcat_multilabel": {"shift": {"x": 1.0}}})
    nlp.disable_pipe("textcat_multilabel")
    with pytest.raises(ValueError, match="disabled"):
        spacy_dice.tune(nlp, dev, ["textcat_multilabel"])
    nlp.enable_pipe("textcat_multilabel")
    nlp.get_pipe("textcat_multilabel").cfg["threshold"] = 0.0
    with pytest.raises(ValueError, match="textcat_multilabel.*threshold"):
        spacy_dice.tune(nlp, dev, ["textcat_multilabel"])
    nlp.get_pipe("textcat_multilabel").cfg["threshold"] = 0.5
    assert nlp.get_pipe("textcat_multilabel").to_bytes() == before


@pytest.mark.parametrize(
    "name, option, value, none",
    [
        ("spancat_singlelabel", "threshold", 0.6, None),
        ("spancat_singlelabel", "allow_overlap", False, True),
        ("spancat", "max_positive", 1, None),
        ("spancat", "allow_overlap", False, True),
    ],
)
def test_what_takes_predicted_spans_away_is_refused(trained, name, option, value, none):
    """No shift can serve it, and a temperature might change what is taken away."""
    nlp, dev, _ = load(trained, name)
    pipe = nlp.get_pipe(name)
    pipe.cfg[option] = value
    before = pipe.to_bytes()
    in_block = json.dumps(none)
    remedy = f"'{name}'.* its {option}, {value}, takes.*{option} = {in_block} in its block.* {none}"
    for call in (spacy_dice.tune, spacy_dice.calibrate):
        with pytest.raises(ValueError, match=remedy):
            call(nlp, dev, [name])
        with pytest.warns(UserWarning, match=remedy):
            assert not len(call(nlp, dev))
    assert pipe.to_bytes() == before
    pipe.cfg[option] = none
    assert spacy_dice.tune(nlp, dev)[name].tuned


def test_labels_that_compete_have_no_threshold():
    nlp = spacy.blank("en")
    bow = {"@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": True, "ngram_size": 1}
    config = {"model": {**bow, "no_output_layer": False, "length": 512}}
    nlp.add_pipe("textcat_multilabel", config=config)
    egs = examples(nlp, 20, 1)
    nlp.initialize(lambda: egs)
    with pytest.raises(ValueError, match="textcat_multilabel.*softmax.*exclusive_classes = false"):
        spacy_dice.tune(nlp, egs, ["textcat_multilabel"])


def test_what_is_no_label_has_no_objective(trained):
    for name, label in (("ner", r"\(all\)"), ("spancat_singlelabel", r"\(none\)")):
        nlp, dev, _ = load(trained, name)
        with pytest.raises(ConfigValidationError, match=f"no label '{label}'"):
            spacy_dice.tune(nlp, dev, labels={label.replace("\\", ""): "f1"})


def test_a_label_that_is_never_scored(trained):
    """A bias of -inf: the label is never predicted, and all others are tuned."""
    for name in ("textcat_multilabel", "tagger"):
        nlp, dev, test = load(trained, name)
        layer = tunable_of(nlp, name).last.layer
        b = layer.get_param("b")
        b[1] = -numpy.inf
        layer.set_param("b", b)
        part = spacy_dice.tune(nlp, dev)[name]
        assert part.tuned and not numpy.isnan(part.gain.value)
        tuned = layer.get_param("b")
        assert tuned[1] == -numpy.inf and numpy.isfinite(numpy.delete(tuned, 1)).all()
        spacy_dice.untune(nlp)
        assert (layer.get_param("b") == b).all()


def test_training_goes_on_and_labels_may_be_added_after_tuning(trained):
    nlp, dev, _ = load(trained, "ner")
    shift = None
    spacy_dice.tune(nlp, dev)
    shift = spacy_dice.get_tuning(nlp)["ner"]["shift"]["(all)"]
    assert shift != 0
    ner = nlp.get_pipe("ner")
    ner.add_label("NEW")
    ner.model.attrs["unseen_classes"] = set()
    tuned = params_of(nlp, "ner")["b"]
    spacy_dice.untune(nlp)
    change = params_of(nlp, "ner")["b"] - tuned
    o = tunable_of(nlp, "ner").columns.index("O")
    assert change[o] == pytest.approx(shift, abs=1e-5)
    new = [i for i, name in enumerate(tunable_of(nlp, "ner").columns) if name.endswith("-NEW")]
    assert len(new) == 4 and not change[new].any()


def test_other_thresholds_and_heads(trained):
    """A threshold other than 0.5; raw scores; a transition system without its upper layer."""
    nlp, dev, _ = load(trained, "textcat_multilabel")
    nlp.get_pipe("textcat_multilabel").cfg["threshold"] = 0.2
    part = spacy_dice.tune(nlp, dev)["textcat_multilabel"]
    expected = nlp.evaluate(dev)["cats_macro_f"]
    assert part.seen.macro.f == pytest.approx(expected, abs=1e-6)
    raw = {"@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": False, "ngram_size": 1}
    no_activation = {"model": {**raw, "no_output_layer": True, "length": 512}}
    no_upper = {"model": {"tok2vec": TOK2VEC, "hidden_width": 16, "use_upper": False}}
    for name, config in (("textcat_multilabel", no_activation), ("ner", no_upper)):
        fix_random_seed(0)
        nlp = spacy.blank("en")
        nlp.add_pipe(name, config=config)
        egs = examples(nlp, 60, 1)
        nlp.initialize(lambda: egs)
        for _ in range(10):
            nlp.update(egs)
        if name == "ner":
            add_bias(nlp, name)
        part = spacy_dice.tune(nlp, egs)[name]
        average, key = SCORES[name]
        assert part.tuned, str(part)
        assert getattr(part.seen, average).f == pytest.approx(nlp.evaluate(egs)[key], abs=1e-6)


def test_components_whose_loss_we_switched(trained):
    nlp, dev, test = load(trained, "ner")
    spacy_dice.use_loss(nlp, {"ner": spacy_dice.DiceCE()})
    assert spacy_dice.tune(nlp, dev)["ner"].tuned
    tuned = predictions(nlp, test)
    spacy_dice.restore(nlp)
    assert predictions(nlp, test) == tuned and spacy_dice.get_tuning(nlp)


# -- calibration ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPONENTS)
def test_calibrating_changes_no_decision_and_can_be_undone(trained, name):
    nlp, dev, test = load(trained, name, spoil=False)

    def decisions(egs):
        made = predictions(nlp, egs)
        threshold = nlp.get_pipe(name).cfg.get("threshold") or 0.5
        return [
            [
                *rest,
                {k: v >= threshold for k, v in cats.items()} if name != "textcat" else max(cats),
            ]
            for *rest, cats in made
        ]

    part = tunable_of(nlp, name)
    part.last.layer.set_param("W", part.last.layer.get_param("W") * 4)  # far too sure
    part.last.layer.set_param("b", part.last.layer.get_param("b") * 4)
    before, bias = decisions(test), params_of(nlp, name)
    report = spacy_dice.calibrate(nlp, dev, [name])[name]
    assert report.temperature > 1.2 and report.after.nll < report.before.nll
    assert report.after.ece < report.before.ece
    assert decisions(test) == before
    again = spacy_dice.calibrate(nlp, dev, [name], fit=False)[name]
    assert again.before.nll == pytest.approx(report.after.nll, abs=1e-3)
    spacy_dice.untune(nlp)
    for key, value in params_of(nlp, name).items():
        numpy.testing.assert_allclose(value, bias[key], rtol=1e-6)


@pytest.mark.parametrize("name", ["textcat_multilabel", "dice_ner", "ner"])
def test_tuning_and_calibrating_go_in_either_order(trained, name):
    made = []
    for order in ("t", "tc", "ct"):
        nlp, dev, test = load(trained, name)
        for step in order:
            {"t": spacy_dice.tune, "c": spacy_dice.calibrate}[step](nlp, dev)
        docs = predictions(nlp, test)
        made.append([[ents, {k: v >= 0.5 for k, v in cats.items()}] for _, ents, _, cats in docs])
        assert (spacy_dice.get_tuning(nlp)[name]["temperature"] != 1.0) == (order != "t")
    assert made[0] == made[1] == made[2]


def test_entities_of_stock_ner_with_probabilities(trained):
    nlp, dev, test = load(trained, "ner", spoil=False)
    texts = [eg.reference.text for eg in test]
    plain = list(nlp.pipe(texts))
    scored = list(spacy_dice.score_entities(nlp, texts))
    assert all("scored" not in doc.spans for doc in plain)
    n = 0
    for doc, expected in zip(scored, plain):
        ents = [(e.start, e.end, e.label_) for e in doc.ents]
        assert ents == [(e.start, e.end, e.label_) for e in expected.ents]
        assert ents == [(s.start, s.end, s.label_) for s in doc.spans["scored"]]
        p = doc.spans["scored"].attrs["scores"]
        assert len(p) == len(ents) and ((p > 0) & (p <= 1)).all()
        n += len(p)
    assert n > 20
    # By hand, for an entity of one token at the beginning: the softmax of the first state.
    doc = next(doc for doc in scored if doc.ents and doc.ents[0].end == 1)
    ner = nlp.get_pipe("ner")
    fresh = nlp.get_pipe("tok2vec")(nlp.make_doc(doc.text))
    row = ner.model.predict([fresh]).predict(ner.moves.init_batch([fresh]))[0].astype("float64")
    p = numpy.exp(row) / numpy.exp(row).sum()
    column = tunable_of(nlp, "ner").columns.index(f"U-{doc.ents[0].label_}")
    assert doc.spans["scored"].attrs["scores"][0] == pytest.approx(p[column], rel=1e-5)
    with pytest.raises(ValueError, match="beam"):
        ner.cfg["beam_width"] = 4
        list(spacy_dice.score_entities(nlp, texts))
    with pytest.raises(ValueError, match="there are 0"):
        list(spacy_dice.score_entities(spacy.blank("en"), texts))
