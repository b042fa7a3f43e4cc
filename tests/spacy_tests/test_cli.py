"""`python -m spacy dice ...`: each command on its input, and what it does with mistakes."""

import json
import subprocess
import sys

import catalogue
import numpy
import pytest
import spacy
from spacy.cli import app
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus, Example
from thinc.api import fix_random_seed
from thinc.util import has_gpu
from typer.testing import CliRunner

import spacy_dice
import spacy_dice.cli  # for users, the entry point does this
from spacy_dice.callbacks import chain_callback, score_labels_callback
from spacy_dice.cli.compare import resample
from spacy_tests.helpers import TOK2VEC, invoke

SENTENCES = [
    ("Ann met Bob in Rome", "B-PER O B-PER O B-LOC", "people"),
    ("Bob flew to New York", "B-PER O O B-LOC I-LOC", "places"),
    ("nothing happened here", "O O O", "none"),
    ("Ann likes Rome and Paris", "B-PER O B-LOC O B-LOC", "places"),
    ("the train was late again", "O O O O O", "none"),
    ("Ann sees Ann", "B-PER O B-PER", "people"),
]
# What a user's file of code does, and so a pipeline that cannot be loaded without it.
CODE = """
import spacy
from spacy.pipeline.spancat import build_ngram_suggester

@spacy.registry.misc("one_or_two_words.v1")
def suggester():
    return build_ngram_suggester([1, 2])
"""
exec(CODE)
COMMANDS = {
    "tune": "tune good data.spacy OUT",
    "calibrate": "calibrate good data.spacy OUT",
    "compare": "compare good bad data.spacy",
    "imbalance": "imbalance data.spacy",
}


def arguments(name, out):
    return ["dice", *COMMANDS[name].replace("OUT", str(out)).split()]


def gold_docs(vocab):
    """The sentences with entities, spans, tags and categories, some of which are missing."""
    docs = []
    for i, (text, ents, cat) in enumerate(SENTENCES):
        words = text.split()
        ents = [tag if i or k != 1 else "" for k, tag in enumerate(ents.split())]
        tags = ["NAME" if word[0].isupper() else "WORD" if i != 2 else "" for word in words]
        doc = Doc(vocab, words=words, ents=ents, tags=tags)
        if i != 4:
            doc.spans["sc"] = list(doc.ents)
            doc.cats = {name: float(name == cat) for name in ("people", "places", "none")}
        docs.append(doc)
    # Words that spaCy's tokenizer would split.
    docs.append(Doc(vocab, words=["Rome's", "sun"], ents=["B-LOC", "O"], tags=["NAME", "WORD"]))
    docs[-1].spans["sc"] = [Span(docs[-1], 0, 1, label="LOC")]
    return docs


def trained(updates):
    """A pipeline of all that can be compared, trained for so many updates."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}
    nlp.add_pipe("tagger", config={"model": model})
    nlp.add_pipe("dice_ner", config={"model": model})
    spancat = {
        "@architectures": "spacy.SpanCategorizer.v1",
        "tok2vec": TOK2VEC,
        "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 16},
        "scorer": {"@layers": "spacy.LinearLogistic.v1"},
    }
    suggester = {"@misc": "one_or_two_words.v1"}
    nlp.add_pipe("spancat", config={"model": spancat, "suggester": suggester})
    textcat = {"@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": True, "length": 1000}
    textcat.update(ngram_size=1, no_output_layer=False)
    nlp.add_pipe("textcat", config={"model": textcat})
    examples = [Example(Doc(d.vocab, words=[t.text for t in d]), d) for d in gold_docs(nlp.vocab)]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(updates):
        nlp.update(examples, sgd=optimizer)
    return nlp


def ruler(folder, name, *patterns):
    """Save a pipeline that predicts entities by rules."""
    nlp = spacy.blank("en")
    rules = [{"pattern": words, "label": label} for words, label in patterns]
    nlp.add_pipe("entity_ruler").add_patterns(rules)
    nlp.to_disk(folder / name)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with pipelines and data."""
    folder = tmp_path_factory.mktemp("cli")
    for name, updates in (("good", 30), ("bad", 1)):
        nlp = trained(updates)
        nlp.to_disk(folder / name)
    DocBin(docs=gold_docs(nlp.vocab), store_user_data=True).to_disk(folder / "data.spacy")
    (folder / "code.py").write_text(CODE)
    words = ["the", "x", "of", "New", "York", "is", "red"]
    long = "a label that is longer than any table would like it to be, of the kind "
    ents = ["O", f"B-{long}1", "O", "B-LOC", "I-LOC", "O", f"B-{long}2"]
    DocBin(docs=[Doc(nlp.vocab, words=words, ents=ents)] * 3).to_disk(folder / "rules.spacy")
    ruler(folder, "right", ("x", f"{long}1"), ("red", f"{long}2"), ("New York", "LOC"))
    ruler(folder, "wrong", ("x", f"{long}2"), ("York", "LOC"), ("the", "LOC"))
    (folder / "text.conll").write_text("Ann\tB-PER\n")
    (folder / "broken.spacy").write_text("no")
    DocBin().to_disk(folder / "empty.spacy")
    DocBin(docs=[Doc(nlp.vocab, words=["a"])]).to_disk(folder / "plain.spacy")
    (folder / "folder").mkdir()
    return folder


@pytest.fixture
def dice(room, monkeypatch):
    """Run `spacy dice ...` in the folder. RETURNS (exit status, stdout, stderr)."""
    monkeypatch.chdir(room)
    monkeypatch.setenv("ANSI_COLORS_DISABLED", "1")

    def run(*args):
        done = CliRunner().invoke(app, ["dice", *map(str, args)], prog_name="python -m spacy")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


# -- what all commands have in common --------------------------------------------------------


def test_help_lists_the_commands(run_spacy):
    status, output = run_spacy("dice", "--help")
    assert status == 0 and all(f"\n  {name} " in output for name in COMMANDS)


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, spacy.cli; before = set(sys.modules); import spacy_dice.cli; "
        "new = set(sys.modules) - before;"
        "print([m for m in new if m.partition('.')[0] != 'spacy_dice'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done


@pytest.mark.parametrize("name", ["tune", "calibrate", "compare"])
def test_code_of_a_user(name, dice, tmp_path, monkeypatch):
    """A pipeline with a suggester of the user's own needs --code, as in spaCy's commands."""
    monkeypatch.delitem(catalogue.REGISTRY, ("spacy", "misc", "one_or_two_words.v1"))
    command = arguments(name, tmp_path / "out")[1:]
    status, out, err = dice(*command)
    assert status == 1 and out == "" and "one_or_two_words.v1" in err
    assert not (tmp_path / "out").exists()
    status, _, err = dice(*command, "--code", "code.py")
    assert status == 0, err


@pytest.mark.skipif(has_gpu, reason="there is a GPU, which the tests after this would be on")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_gpu_that_is_not_there(name, dice, tmp_path):
    status, out, err = dice(*arguments(name, tmp_path / "out")[1:], "--gpu-id", 0)
    assert status == 1 and out == "" and "GPU" in err
    assert not (tmp_path / "out").exists()


def test_a_closed_pipe_loses_nothing_and_is_no_error(room, tmp_path):
    """As `| head` closes it, here before anything is printed, and nothing is buffered."""
    code = """
import io, os, sys
from spacy.cli import app
from spacy.util import registry
registry.cli.get_all()  # commands of other packages
for name, *command in COMMANDS:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    sys.stdout = io.TextIOWrapper(open(1, "wb", buffering=0, closefd=False), write_through=True)
    try:
        app(command, prog_name="python -m spacy")
    except SystemExit as error:
        print(name, error.code, file=sys.stderr)
"""
    commands = [
        [name, *arguments(name, tmp_path / name), "--json", str(tmp_path / f"{name}.json")]
        + ["--code", "code.py"]
        for name in COMMANDS
    ]
    code = code.replace("COMMANDS", repr(commands))
    done = subprocess.run([sys.executable, "-c", code], cwd=room, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr and "Traceback" not in done.stderr
    for name in COMMANDS:
        assert f"{name} 0\n" in done.stderr and json.loads((tmp_path / f"{name}.json").read_text())
        if name in ("tune", "calibrate"):
            assert spacy.load(tmp_path / name).pipe_names == spacy.load(room / "good").pipe_names


@pytest.mark.parametrize(
    "args, message",
    [
        (("tune", "nowhere", "data.spacy"), "nowhere"),
        (("tune", "folder", "data.spacy"), "[E053] Could not read"),
        (("tune", "good", "data.spacy", "bad"), "bad is there already and not empty. Use --force"),
        (("tune", "good", "data.spacy", "code.py"), "code.py is a file"),
        (("tune", "good", "data.spacy", "--component", "nre"), "'nre'"),
        (("tune", "good", "data.spacy", "-l", "PER"), "write it as LABEL:OBJECTIVE"),
        (("tune", "good", "data.spacy", "-l", "PRE:recall>=0.5"), "'PRE'"),
        (("tune", "good", "data.spacy", "--objective", "best"), "best"),
        (("tune", "right", "rules.spacy", "never"), "has no component for this command"),
        (("tune", "good", "text.conll"), "text.conll is not a .spacy file. Make one of it with"),
        (("calibrate", "good", "data.spacy", "bad"), "bad is there already and not empty"),
        (("calibrate", "right", "rules.spacy", "never"), "has no component for this command"),
        (("calibrate", "good", "empty.spacy", "never"), "empty.spacy has no documents"),
        (("compare", "nowhere", "bad", "data.spacy"), "nowhere"),
        (("compare", "good,good", "bad", "data.spacy"), "named twice"),
        (("compare", "good", "right", "plain.spacy"), "no annotation that the documents have"),
        (("compare", "good", "bad", "broken.spacy"), "[E1014] Error loading DocBin"),
        (("imbalance", "text.conll"), "spacy convert"),
        (("imbalance", "folder"), "The folder folder has no .spacy files"),
        (("imbalance", "plain.spacy"), "have no entities, spans, categories or tags"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(room, dice, args, message):
    status, out, err = dice(*args)
    assert status == 1 and out == "" and message in err
    assert err.count("✘") == 1 and message in err.splitlines()[-1]
    assert not (room / "never").exists()


# -- tune, calibrate -------------------------------------------------------------------------


def test_tune_and_calibrate(room, dice):
    args = ("tune", "good", "data.spacy", "tuned", "--component", "spancat", "-n", 3)
    status, out, err = dice(*args)
    assert status == 0 and "spancat (spancat), for " in out and "Saved tuned" in err
    assert spacy.load(room / "tuned").pipe_names == spacy.load(room / "good").pipe_names
    assert dice(*args)[0] == 1 and dice(*args, "--force")[0] == 0
    args = ("calibrate", "good", "data.spacy", "--component", "textcat", "--json", "-")
    status, out, _ = dice(*args)
    report = json.loads(out)["components"][0]
    assert status == 0 and report["name"] == "textcat" and report["temperature"] == 1.0
    status, out, _ = dice(*args[:3], "fitted", *args[3:5])
    assert status == 0 and "textcat" in out
    assert set(spacy_dice.get_tuning(spacy.load(room / "fitted"))) == {"textcat"}


@pytest.mark.parametrize("command", ["tune", "calibrate"])
def test_data_without_annotation_for_the_pipeline_are_an_error(command, room, dice):
    DocBin(docs=[spacy.blank("en")("no annotation here")]).to_disk(room / "bare.spacy")
    args = (command, "good", "bare.spacy", "never", "--component", "textcat")
    status, out, err = dice(*args)
    assert status == 1 and not out and not (room / "never").exists()
    err = " ".join(err.split())
    assert "Nothing was done. textcat: the examples have no gold annotation for it" in err


# -- compare ---------------------------------------------------------------------------------


def test_compare_scores_as_spacy_evaluate_does(room, dice):
    status, out, err = dice("compare", "good", "bad", "data.spacy", "--json", "-", "-n", 100)
    assert status == 0, err
    tasks = {task["kind"]: task["rows"] for task in json.loads(out)["tasks"]}
    assert list(tasks) == ["tags", "ents", "spans:sc", "cats"]
    for side, name in zip("ab", ("good", "bad")):
        nlp = spacy.load(room / name)
        scores = nlp.evaluate(list(Corpus(room / "data.spacy")(nlp)))
        keys = {"ents": "ents_f", "spans:sc": "spans_sc_f", "cats": "cats_micro_f"}
        for kind, score in {**keys, "tags": "tag_acc"}.items():
            assert tasks[kind][0][side]["f"] == pytest.approx(scores[score], abs=1e-12), kind
        for kind, score in (("ents", "ents_per_type"), ("spans:sc", "spans_sc_per_type")):
            by_label = {row["label"]: row[side] for row in tasks[kind] if "all" not in row["label"]}
            for label, expected in scores[score].items():
                assert by_label[label] == pytest.approx(expected), label


def test_compare_says_what_is_confused(room, dice):
    status, out, _ = dice("compare", "right", "wrong", "rules.spacy")
    assert status == 0
    lines = [line.split() for line in out.splitlines() if line.endswith("   0  3")]
    table = out.partition("predicted")[2]
    assert "other seeds of the training are not in them" in out
    assert table.count("of the kind 1  ") == 1 and table.count("of the kind 2  ") == 2, out
    assert ["LOC", "(other", "boundaries)", "0", "3"] in lines
    assert ["(nothing)", "LOC", "0", "3"] in lines
    status, out, _ = dice("compare", "right", "right", "rules.spacy", "--json", "-")
    (task,) = json.loads(out)["tasks"]
    assert task["confusions"] == []
    for row in task["rows"]:
        assert row["low"] == row["high"] == row["difference"] == 0 and not row["significant"]


def test_compare_over_seeds(room, dice):
    args = ("compare", "right,wrong", "wrong,right", "rules.spacy")
    status, out, _ = dice(*args, "--json", "-")
    found = json.loads(out)
    micro = found["tasks"][0]["rows"][0]
    assert (found["a"], found["b"]) == (["right", "wrong"], ["wrong", "right"])
    assert micro["a"] == micro["b"] and micro["difference"] == 0
    # The texts are all alike, so that seeds alone make the interval.
    assert micro["low"] < -0.5 and micro["high"] > 0.5 and not micro["significant"]
    assert "over texts and seeds (A: 2, B: 2)" in dice(*args)[1]


def test_the_interval_covers_seeds_and_texts():
    """Of many experiments whose true difference is 0, the interval leaves 0 out in few; without
    seeds in it, it would leave 0 out in most."""
    rng, covered, narrow = numpy.random.default_rng(0), [], []
    for seed in range(150):
        chance = numpy.clip(rng.normal(0.5, 0.08, size=(2, 5, 1)), 0.05, 0.95)
        hits = (rng.random((2, 5, 200)) < chance).astype("float32")
        zero = numpy.zeros_like(hits)
        counts = numpy.stack([hits, zero, 1 - hits], axis=-1)[..., None, :]
        for intervals, a, b in ((covered, *counts), (narrow, counts[0, :1], counts[1, :1])):
            micro, macro, by_label = resample([a, b], numpy.asarray([True]), 300, seed).T
            assert (micro == by_label).all() and macro == pytest.approx(micro)
            low, high = numpy.percentile(micro, [2.5, 97.5])
            intervals.append(low <= 0 <= high)
    assert numpy.mean(covered) > 0.85 > 0.8 > numpy.mean(narrow)


# -- imbalance -------------------------------------------------------------------------------


def test_imbalance(dice):
    status, out, err = dice("imbalance", "data.spacy", "--json", "-")
    assert status == 0, err
    ents, spans, cats, tags = json.loads(out)
    n_tokens = sum(len(text.split()) for text, _, _ in SENTENCES) + 2
    assert [part["kind"] for part in (ents, spans, cats, tags)] == [
        *("ents", "spans:sc"),
        *("cats", "tags"),
    ]
    assert ents["n_units"] == n_tokens and ents["background"] == pytest.approx(1 - 12 / n_tokens)
    assert {row["label"]: row["n"] for row in ents["labels"]} == {"PER": 6, "LOC": 5}
    assert ents["ratio"] == 1.2 and spans["coverage"]["1"] == pytest.approx(10 / 11)
    assert spans["coverage"]["2"] == 1.0 and cats["background"] is None
    assert "balanced" in spans["losses"]["spancat"] and "DiceCE" in cats["losses"]["textcat"]
    status, out, _ = dice("imbalance", "data.spacy")
    assert status == 0 and "cats: 5 texts" in out and "spans suggested" in out


def test_imbalance_shortens_no_label(dice):
    _, out, _ = dice("imbalance", "rules.spacy")
    assert "of the kind 1  " in out and "of the kind 2  " in out


# -- callbacks -------------------------------------------------------------------------------


def test_training_with_a_chain_and_scores_of_labels(room, tmp_path):
    """F1 of a rare label counts for the checkpoint, and what is saved is stock."""
    config = spacy.load(room / "good").config
    config["nlp"]["pipeline"] = ["spancat"]
    config["components"] = {"spancat": config["components"]["spancat"]}
    after_init = {
        "@callbacks": "spacy_dice.chain.v1",
        "callbacks": {
            "loss": {"@callbacks": "spacy_dice.use_loss.v1"},
            "scores": {"@callbacks": "spacy_dice.score_labels.v1", "labels": {"spancat": ["LOC"]}},
        },
    }
    config["initialize"]["after_init"] = after_init
    config["training"]["score_weights"] = {"spans_sc_f_LOC": 1.0}
    config.to_disk(tmp_path / "config.cfg")
    status, output = invoke(
        *("train", tmp_path / "config.cfg", "-o", tmp_path / "out", "--code", room / "code.py"),
        *("--paths.train", room / "data.spacy", "--paths.dev", room / "data.spacy"),
        *("--training.max_steps", 30, "--training.eval_frequency", 10),
        *("--training.optimizer.learn_rate", 0.02),
    )
    assert status == 0 and "Component 'spancat' trains with" in output, output
    nlp = spacy.load(tmp_path / "out" / "model-best")
    scores = nlp.evaluate(list(Corpus(room / "data.spacy")(nlp)))
    f = scores["spans_sc_per_type"]["LOC"]["f"]
    assert nlp.meta["performance"]["spans_sc_f_LOC"] == pytest.approx(f) and f > 0
    assert type(nlp.get_pipe("spancat")).__module__ == "spacy.pipeline.spancat"


def test_callbacks_say_what_is_wrong(room):
    nlp = spacy.load(room / "good")
    for labels, message in (
        ({"nre": ["PER"]}, "there is no component 'nre'"),
        ({"spancat": ["PRE"]}, "'PRE', which is none of its labels: "),
    ):
        with pytest.raises(ValueError, match=message):
            score_labels_callback(labels)(nlp)
    score_labels_callback({"tagger": ["NAME"]})(nlp)
    with pytest.raises(ValueError, match="'tagger': its scores .tag_acc. are not by label"):
        nlp.evaluate(list(Corpus(room / "data.spacy")(nlp)))
    for callbacks, message in (
        ({"first": "use_loss"}, "callbacks.first must be a block with @callbacks"),
        ({}, "callbacks is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            chain_callback(callbacks)
    many = spacy.blank("en")
    many.add_pipe("textcat").cfg["labels"] = [f"x{i}" for i in range(5000)]
    with pytest.raises(ValueError, match="x9 ... and 4,990 more") as error:
        score_labels_callback({"textcat": ["y"]})(many)
    assert len(str(error.value)) < 300
