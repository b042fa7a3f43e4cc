"""The flag in `spacy train`: while it trains, at the end, and what it leaves behind."""

import random
import re
import warnings

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from thinc.api import Config

import spacy_dice
from spacy_tests.helpers import TOK2VEC, invoke, params, paths, without_us

FLAG = '{"@callbacks": "spacy_dice.use_loss.v1"%s}'
TUNE = FLAG % ', "tune": true'
# The score of each, and what it trains with.
COMPONENTS = {
    "textcat_multilabel": ("cats_macro_f", "DiceCE(class_weights='balanced')"),
    "textcat": ("cats_macro_f", "DiceCE(class_weights='balanced')"),
    "spancat": ("spans_sc_f", "CrossEntropy(class_weights='balanced')"),
    "ner": ("ents_f", "spaCy's own loss"),
    "dice_ner": ("ents_f", "DiceCE()"),
}
SHORT = {"max_steps": 24, "eval_frequency": 12, "seed": 0}


@spacy.registry.callbacks("tests.stamp.v1")
def stamp(text):
    def put(nlp):
        nlp.meta["stamp"] = nlp.meta.get("stamp", "") + text
        return nlp

    return put


def make_doc(vocab, rng, kinds):
    words = rng.choices("the on met saw in with and red blue Eva".split(), k=6)
    ents = ["O"] * len(words)
    for kind in kinds:
        words.append(rng.choice({"PER": ["Ann", "Eva", "Bo"], "LOC": ["Oslo", "Eva"]}[kind]))
        ents.append(f"B-{kind}")
    doc = Doc(vocab, words=words, ents=ents)
    doc.spans["sc"] = list(doc.ents)
    return doc


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder for texts of any number of labels, and one for texts of exactly one."""
    folder, vocab = tmp_path_factory.mktemp("data"), spacy.blank("en").vocab
    for split, seed in (("train", 1), ("dev", 2)):
        rng, many, one = random.Random(seed), DocBin(), DocBin()
        for _ in range(70):
            kinds = [kind for kind, p in (("PER", 0.4), ("LOC", 0.2)) if rng.random() < p]
            doc = make_doc(vocab, rng, kinds)
            doc.cats = {kind: float(kind in kinds) for kind in ("PER", "LOC")}
            many.add(doc)
            found = "-".join(kinds) or "NONE"
            doc.cats = {kind: float(kind == found) for kind in ("PER", "LOC", "PER-LOC", "NONE")}
            one.add(doc)
        for name, docs in (("many", many), ("one", one)):
            (folder / name).mkdir(exist_ok=True)
            docs.to_disk(folder / name / f"{split}.spacy")
    return folder


def write_config(path, *names, sourced=None, **training):
    """A config of small components. sourced: the folder of a pipeline by component."""
    nlp = spacy.blank("en")
    for name in names:
        model = {"tok2vec": TOK2VEC}
        if name.startswith("textcat"):
            model = {
                "@architectures": "spacy.TextCatBOW.v3",
                "exclusive_classes": name == "textcat",
                "ngram_size": 1,
                "no_output_layer": False,
                "length": 512,
            }
        if name not in (sourced or {}):
            nlp.add_pipe(name, config={"model": model})
    config = nlp.config.copy()
    config["nlp"]["pipeline"] = list(names)
    for name, folder in (sourced or {}).items():
        config["components"][name] = {"source": str(folder)}
    config["paths"] = {"train": None, "dev": None, "vectors": None, "init_tok2vec": None}
    config["training"].update({**SHORT, **training})
    config["training"]["optimizer"]["learn_rate"] = 0.01
    config.to_disk(path)
    return path


def train(config, out, folder, flag=TUNE, *more):
    """RETURNS what `spacy train` prints, in one line."""
    flags = ("--initialize.after_init", flag) if flag else ()
    status, output = invoke("train", config, "-o", out, *paths(folder), *flags, *more)
    assert status == 0, output
    return " ".join(output.split())


@pytest.mark.parametrize("name", COMPONENTS)
def test_what_is_saved_is_tuned_on_dev_and_the_last_lines_say_so(name, data, tmp_path):
    folder = data / ("one" if name == "textcat" else "many")
    said = train(write_config(tmp_path / "c.cfg", name), tmp_path / "out", folder)
    key, loss = COMPONENTS[name]
    last = said[said.index("Choosing thresholds on dev: ") :]
    assert f"{name}: {loss}; m" in last
    for best, saved in ((True, "model-best"), (False, "model-last")):
        nlp = spacy.load(tmp_path / "out" / saved)
        dev = list(Corpus(folder / "dev.spacy")(nlp))
        tuning, after = spacy_dice.get_tuning(nlp), nlp.evaluate(dev)[key]
        spacy_dice.untune(nlp)
        before = nlp.evaluate(dev)[key]
        report = spacy_dice.tune(nlp, dev)[name]
        assert spacy_dice.get_tuning(nlp) == tuning
        if best:
            assert f"F1 on dev {100 * before:.1f}, " in last
            if report.tuned:
                expected = f"with thresholds {100 * after:.1f}; expect"
                assert expected in last and "(95 % interval" in last
            else:
                assert f"thresholds left as they are: {report.reason}" in last
        assert nlp.meta["spacy_dice"][name]["tuned"] == report.tuned
        assert "spacy_dice" not in nlp.config["training"]["logger"]["@loggers"]
        assert nlp.config["training"]["before_to_disk"] is None
        assert nlp.config["initialize"]["after_init"] is None
    weights = nlp.config["training"]["score_weights"]
    if name == "textcat_multilabel":
        assert "The checkpoint is chosen by macro F1 (cats_macro_f)" in said
        assert (weights["cats_macro_f"], weights["cats_score"]) == (None, 1.0)
    else:
        assert "The checkpoint is chosen" not in said


def test_a_config_with_weights_of_its_own_keeps_them(data, tmp_path):
    weights = {"cats_macro_auc": 1.0, "cats_score": 0.0}
    config = write_config(tmp_path / "c.cfg", "textcat_multilabel", score_weights=weights)
    said = train(config, tmp_path / "out", data / "many")
    assert "The checkpoint is chosen" not in said
    made = spacy.load(tmp_path / "out/model-best").config["training"]["score_weights"]
    assert weights == {key: value for key, value in made.items() if value is not None}


def test_places_that_are_taken_and_options(data, tmp_path):
    """The user's callbacks are called, and stay in the config; objective and labels are heeded."""
    block = {"@callbacks": "tests.stamp.v1", "text": "b"}
    config = write_config(tmp_path / "c.cfg", "textcat_multilabel", before_to_disk=block)
    flag = FLAG % ', "tune": true, "objective": "micro", "labels": {"LOC": "recall>=0.6"}, %s'
    flag %= '"losses": "CrossEntropy"'
    chain = (
        '{"@callbacks": "spacy_dice.chain.v1", "callbacks": {"theirs": '
        f'{{"@callbacks": "tests.stamp.v1", "text": "a"}}, "ours": {flag}}}}}'
    )
    said = train(config, tmp_path / "out", data / "many", chain)
    assert "chosen by micro F1 (cats_micro_f)" in said and "micro F1 on dev" in said
    nlp = spacy.load(tmp_path / "out/model-best")
    assert re.fullmatch("ab+", nlp.meta["stamp"])
    assert nlp.config["training"]["before_to_disk"] == block
    assert nlp.config["initialize"]["after_init"] == {**block, "text": "a"}
    tuning = spacy_dice.get_tuning(nlp)
    dev = list(Corpus(data / "many/dev.spacy")(nlp))
    report = spacy_dice.tune(nlp, dev, objective="micro", labels={"LOC": "recall>=0.6"})
    assert spacy_dice.get_tuning(nlp) == tuning != {}
    (loc,) = [row for row in report["textcat_multilabel"].labels if row.label == "LOC"]
    assert f"floors reached on documents that played no part: {loc.reached:d} of 1" in said


@pytest.mark.parametrize("objective", ["recall>=0.6", "micro recall>=0.6", "precision>=0.999"])
def test_the_last_lines_say_whether_a_floor_is_reached(objective, data, tmp_path):
    config = write_config(tmp_path / "c.cfg", "textcat_multilabel")
    flag = FLAG % f', "tune": true, "objective": "{objective}"'
    said = train(config, tmp_path / "out", data / "many", flag)
    nlp = spacy.load(tmp_path / "out/model-best")
    spacy_dice.untune(nlp)
    dev = list(Corpus(data / "many/dev.spacy")(nlp))
    report = spacy_dice.tune(nlp, dev, objective=objective)["textcat_multilabel"]
    rows = {row.label: row for row in report.labels}
    if report.reached is None:
        for row in rows.values():
            floor = 0.6 if "recall" in objective else 0.999
            scored = row.estimate.r if "recall" in objective else row.estimate.p
            assert row.reached == (scored >= floor)
    assert (report.floors if report.tuned else report.reason) in said
    assert report.floors


def test_sourced_and_frozen_components(data, tmp_path):
    """A frozen one is not touched; one that is trained on is tuned as a new one is. Gradients are
    accumulated."""
    base = tmp_path / "base/model-last"
    train(
        write_config(tmp_path / "a.cfg", "spancat", "ner"), tmp_path / "base", data / "many", None
    )
    config = write_config(
        *(tmp_path / "c.cfg", "spancat", "ner", "textcat_multilabel"),
        sourced={"spancat": base, "ner": base},
        frozen_components=["spancat"],
        accumulate_gradient=2,
    )
    flag = FLAG % ', "tune": true, "losses": {"*": {"name": "CrossEntropy"}}'
    said = train(config, tmp_path / "out", data / "many", flag)
    assert "Choosing thresholds on dev: ner, textcat_multilabel" in said
    assert " ner: CrossEntropy(); " in said and " textcat_multilabel: CrossEntropy(); " in said
    for saved in ("model-best", "model-last"):
        nlp, before = spacy.load(tmp_path / "out" / saved), spacy.load(base)
        assert "spancat" not in spacy_dice.get_tuning(nlp)
        same = zip(params(nlp.get_pipe("spancat")), params(before.get_pipe("spancat")))
        assert all((a == b).all() for a, b in same)


@pytest.mark.parametrize("name", ["textcat_multilabel", "spancat"])
def test_an_untrained_checkpoint_is_never_the_best(name, tmp_path):
    """It predicts a lot, which is right here, and never again, since no label is in the
    training data. What was sourced is not untrained.
    """
    rng, vocab = random.Random(0), spacy.blank("en").vocab
    for split in ("train", "dev"):
        docs = [make_doc(vocab, rng, []) for _ in range(20)]
        for doc in docs:
            doc.cats = {"PER": float(split == "dev")}
            spans = [Span(doc, i, i + 1, "PER") for i in range(len(doc) * (split == "dev"))]
            doc.spans["sc"] = spans
        DocBin(docs=docs).to_disk(tmp_path / f"{split}.spacy")
    config = Config().from_disk(write_config(tmp_path / "new.cfg", name), interpolate=False)
    config["initialize"]["components"] = {name: {"labels": ["PER"]}}
    warmup = {"warmup_steps": 4, "total_steps": 100, "initial_rate": 0.1}
    rate = {"@schedules": "warmup_linear.v1", **warmup}  # 0 in the first update
    config["training"]["optimizer"]["learn_rate"] = rate
    config["training"]["score_weights"] = {COMPONENTS[name][0]: 1.0, "cats_score": 0.0}
    if name == "spancat":
        suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1]}
        config["components"][name]["suggester"] = suggester
    config.to_disk(tmp_path / "new.cfg")
    ours, found = FLAG % ', "losses": "CrossEntropy"', []
    for case, flag in (("new", None), ("new", ours), ("sourced", ours)):
        out = tmp_path / f"{case}-{flag is None}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing is predicted, or learnt
            train(tmp_path / f"{case}.cfg", out, tmp_path, flag)
        nlp = spacy.load(out / "model-best")
        found.append(nlp.evaluate(list(Corpus(tmp_path / "dev.spacy")(nlp)))[COMPONENTS[name][0]])
        if flag is None:
            config["components"] = {name: {"source": str(out / "model-best")}}
            config["initialize"]["components"] = {}
            config.to_disk(tmp_path / "sourced.cfg")
    assert found[0] > 0.2 and found[2] == pytest.approx(found[0]) and not found[1]


def test_what_is_saved_trains_without_us_and_with_the_same_losses_with_us(data, tmp_path):
    config = write_config(tmp_path / "c.cfg", "textcat_multilabel")
    flag = FLAG % ', "losses": {"textcat_multilabel": {"name": "Focal", "gamma": 1.5}}'
    train(config, tmp_path / "out", data / "many", flag)
    saved = tmp_path / "out/model-best"
    nlp = spacy.load(saved)
    spacy_dice.resume_training(nlp)
    assert nlp.get_pipe("textcat_multilabel").loss.gamma == 1.5
    code = f"""
from pathlib import Path
from spacy.cli.train import train
train(Path({str(saved / "config.cfg")!r}), Path({str(tmp_path / "again")!r}), overrides={{
    "training.max_steps": 1}})
print(type(spacy.load({str(tmp_path / "again/model-last")!r})).__name__)
"""
    assert without_us(code).split()[-1] == "English"


@pytest.mark.parametrize(
    "options, message",
    [
        (', "objective": "macro"', "objective and labels are for tuning. Set tune = true"),
        (', "tune": true, "objective": "accuracy"', "use_loss: objective"),
        (', "tune": true, "labels": {"LOC": "best"}', "tune: objective"),
        (', "tune": true, "labels": {"LOK": "micro"}', "tune: there is no label 'LOK'"),
    ],
)
def test_mistakes_are_found_before_training(options, message, data, tmp_path):
    config = write_config(tmp_path / "c.cfg", "textcat_multilabel")
    flag = ("--initialize.after_init", FLAG % options)
    status, output = invoke("train", config, "-o", tmp_path / "out", *paths(data / "many"), *flag)
    assert status == 1 and message in " ".join(output.split()), output
    assert not (tmp_path / "out/model-best").exists()
