"""`python -m spacy dice ...`: each command on its inputs, and what it says to misuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Config, fix_random_seed
from typer.testing import CliRunner

import spacy_dice
import spacy_dice.cli  # for users, the entry point does this
from dice_core.comparison import resample
from dice_core.error_kinds import count_errors
from spacy_dice import callbacks
from spacy_dice.commands import apply, check, curves, formats, imbalance
from spacy_dice.commands.config import read_config
from spacy_dice.commands.losses import WHEN, describe_losses
from spacy_dice.losses import __all__ as LOSSES
from spacy_tests.helpers import TOK2VEC

ROOT = Path(__file__).resolve().parent.parent.parent
PNG = b"\x89PNG"

SENTENCES = [
    ("Ann met Bob in Rome", "B-PER O B-PER O B-LOC", "people"),
    ("Bob flew to New York", "B-PER O O B-LOC I-LOC", "places"),
    ("nothing happened here", "O O O", "none"),
    ("Ann likes Rome and Paris", "B-PER O B-LOC O B-LOC", "places"),
    ("the train was late again", "O O O O O", "none"),
    ("Ann sees Ann", "B-PER O B-PER", "people"),
]


def gold_docs(vocab):
    """The sentences with entities, spans, tags, and categories of which each has one."""
    docs = []
    for text, ents, cat in SENTENCES:
        words = text.split()
        spaces = [True] * (len(words) - 1) + [False]
        tags = ["NAME" if word[0].isupper() else "WORD" for word in words]
        doc = Doc(vocab, words=words, spaces=spaces, ents=ents.split(), tags=tags)
        doc.spans["sc"] = list(doc.ents)
        doc.cats = {name: float(name == cat) for name in ("people", "places", "none")}
        docs.append(doc)
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
    suggester = {"@misc": "spacy.ngram_suggester.v1", "sizes": [1, 2]}
    nlp.add_pipe("spancat", config={"model": spancat, "suggester": suggester})
    textcat = {"@architectures": "spacy.TextCatBOW.v3", "exclusive_classes": True, "length": 1000}
    textcat.update(ngram_size=1, no_output_layer=False)
    nlp.add_pipe("textcat", config={"model": textcat})
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in gold_docs(nlp.vocab)]
    optimizer = nlp.initialize(lambda: examples)
    spacy_dice.use_loss(nlp, {"spancat": "CrossEntropy"})
    optimizer.learn_rate = 0.02
    for _ in range(updates):
        nlp.update(examples, sgd=optimizer)
    return nlp


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with two pipelines, good and bad, data in all formats, and configs."""
    folder = tmp_path_factory.mktemp("cli")
    for name, updates in (("good", 30), ("bad", 1)):
        nlp = trained(updates)
        nlp.to_disk(folder / name)
    docs = gold_docs(nlp.vocab)
    DocBin(docs=docs, store_user_data=True).to_disk(folder / "data.spacy")
    lines = [zip(text.split(), ents.split()) for text, ents, _ in SENTENCES]
    sentences = ["\n".join(f"{word}\t{tag}" for word, tag in line) for line in lines]
    (folder / "data.conll").write_text("\n\n".join(sentences) + "\n")
    (folder / "data.iob").write_text("\n\n".join(sentences).replace("\t", " ") + "\n")
    table = "".join(f"{cat}\t{text}\n" for text, _, cat in SENTENCES)
    (folder / "data.tsv").write_text("label\ttext\n" + table)
    (folder / "bare.tsv").write_text(table)
    (folder / "several.csv").write_text('text,labels\n"a, b","x,y"\nc d,x\ne f,\n')
    spans = [[[0, 3, "PER"], [8, 11, "PER"], [15, 19, "LOC"]], [[0, 3, "PER"]]]
    rows = [{"text": SENTENCES[i][0], "entities": spans[i]} for i in (0, 1)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = {"text": "Bob", "answer_start": 8}
    qas = [{"id": "1", "question": "Whom?", "answers": [answer]}]
    squad = {"data": [{"paragraphs": [{"context": SENTENCES[0][0], "qas": qas}]}]}
    (folder / "data.json").write_text(json.dumps(squad))
    conllu = "1\tAnn\tAnn\tPROPN\tNNP\t_\t0\troot\t_\t_\n2\tsees\tsee\tVERB\tVBZ\t_\t1\tx\t_\t_\n\n"
    (folder / "data.conllu").write_text(conllu)
    for out, pipes, *gpu in (
        ("cpu.cfg", "ner,spancat"),
        ("gpu.cfg", "ner,textcat_multilabel", "-G"),
    ):
        made = CliRunner().invoke(app, ["init", "config", str(folder / out), "-p", pipes, *gpu])
        assert made.exit_code == 0, made.output
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


def changed(room, name, text, **replace):
    """A config with some of its text replaced, as a file."""
    config = (room / "cpu.cfg").read_text()
    for old, new in text.items():
        assert old in config
        config = config.replace(old, new)
    (room / name).write_text(config)
    return name


# -- apply ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cpu.cfg", "gpu.cfg"])
def test_apply_to_what_init_config_writes(room, dice, name):
    status, out, err = dice("apply", name, "new.cfg")
    assert (status, err) == (0, "")
    assert "-after_init = null" in out and '+@callbacks = "spacy_dice.use_loss.v1"' in out
    before, new = (Config().from_disk(room / f, interpolate=False) for f in (name, "new.cfg"))
    assert new["initialize"].pop("after_init") == {"@callbacks": "spacy_dice.use_loss.v1"}
    assert before["initialize"].pop("after_init") is None
    assert new == before  # and nothing else
    status, out, err = dice("apply", "new.cfg", "--check")
    assert status == 0 and "ner: spaCy's own loss" in out


def test_apply_keeps_comments_and_variables(room, dice):
    text = {"[training]\n": "# a comment\n[training]\n", "dropout = 0.1": "dropout = ${vars.drop}"}
    changed(room, "vars.cfg", {**text, "[paths]": "[vars]\ndrop = 0.2\nweight = 0.5\n\n[paths]"})
    status, out, _ = dice(
        *("apply", "vars.cfg", "-", "-c", "ner", "-l", "DiceCE", "-s", "weight=${vars.weight}")
    )
    assert status == 0
    assert "# a comment\n[training]" in out and "dropout = ${vars.drop}" in out
    (room / "new.cfg").write_text(out)
    status, out, _ = dice("apply", "new.cfg", "--check")
    assert status == 0 and "ner: DiceCE(weight=0.5)" in out and "spancat: spaCy's own loss" in out
    status, out, err = dice("apply", "vars.cfg", "new.cfg", "-c", "ner", "-l", "Tversky")
    assert status == 0 and "ner: Tversky without a cross-entropy hardly trains" in err
    status, out, err = dice("apply", "new.cfg", "--check")
    assert status == 0 and "Take DiceCE, or a Compound" in err
    assert "after spacy.load, call spacy_dice.resume_training(nlp)" in " ".join(out.split())


def test_apply_chains_callbacks_and_can_be_repeated(room, dice):
    block = '[initialize.after_init]\n@callbacks = "spacy.copy_from_base_model.v1"\n'
    block += 'tokenizer = "en"\n\n[components]'
    changed(room, "taken.cfg", {"after_init = null\n": "", "[components]": block})
    assert dice("apply", "taken.cfg", "new.cfg", "--tune", "--rare", "ner=PER")[0] == 0
    once = (room / "new.cfg").read_text()
    assert dice("apply", "new.cfg", "new.cfg", "--tune", "--rare", "ner=PER")[0] == 0
    assert (room / "new.cfg").read_text() == once
    config = Config().from_disk(room / "new.cfg")
    chain = config["initialize"]["after_init"]
    assert chain["@callbacks"] == "spacy_dice.chain.v1"
    assert list(chain["callbacks"]) == ["copy_from_base_model", "use_loss", "score_labels"]
    assert config["training"]["before_to_disk"] == {"@callbacks": "spacy_dice.tune.v1"}
    assert config["training"]["score_weights"]["ents_f_PER"] == 1.0
    # One component's loss is changed, and the others' stay.
    assert dice("apply", "new.cfg", "new.cfg", "-c", "spancat", "-l", "Focal")[0] == 0
    config = Config().from_disk(room / "new.cfg")
    losses = config["initialize"]["after_init"]["callbacks"]["use_loss"]["losses"]
    assert losses == {"*": "auto", "spancat": {"@losses": "spacy_dice.Focal.v1"}}


def test_apply_to_sourced_and_frozen_components_and_our_own(room, dice):
    sourced = Config().from_disk(room / "cpu.cfg", interpolate=False)
    sourced["nlp"]["pipeline"] = ["spancat", "tagger", "dice_ner"]
    sourced["components"] = {
        name: {"source": str(room / "good"), "component": name} for name in ("spancat", "tagger")
    }
    sourced["components"]["dice_ner"] = {"factory": "dice_ner"}
    sourced["training"]["frozen_components"] = ["tagger"]
    sourced.to_disk(room / "sourced.cfg")
    status, _, err = dice("apply", "sourced.cfg", "new.cfg", "-l", "CrossEntropy")
    assert status == 0, err
    new = Config().from_disk(room / "new.cfg")
    losses = {"spancat": {"@losses": "spacy_dice.CrossEntropy.v1"}}
    assert new["initialize"]["after_init"]["losses"] == losses
    assert new["components"]["dice_ner"]["loss"] == {"@losses": "spacy_dice.CrossEntropy.v1"}
    status, out, _ = dice("apply", "new.cfg", "--check")
    assert status == 0 and "tagger: it is frozen" in out
    status, _, err = dice("apply", "sourced.cfg", "new.cfg", "-c", "tagger")
    assert status == 1 and "'tagger' is frozen" in err
    new["initialize"]["after_init"]["losses"]["tagger"] = "DiceCE"
    new.to_disk(room / "frozen.cfg")
    status, out, err = dice("apply", "frozen.cfg", "--check")
    assert status == 1 and "its loss is for nothing" in out


@pytest.mark.parametrize(
    "args, message",
    [
        (("-c", "nre"), "There is no component 'nre'. The pipeline has: tok2vec, ner, spancat."),
        (("-c", "tok2vec"), "Component 'tok2vec' (tok2vec) cannot train with these losses"),
        (("-l", "DiceXE"), "Did you mean DiceCE?"),
        (("-l", "DiceCE", "-s", "weigth=1"), "DiceCE has no option weigth. Did you mean weight?"),
        (("-l", "DiceCE", "-s", "weight=much"), "the weight of 'dice' must be a number"),
        (("-l", "DiceCE", "-s", "weight"), "write it as key=value"),
        (("-s", "weight=1"), 'The loss "auto" has no options (weight)'),
        (("--rare", "PER"), "say whose label it is, as COMPONENT=LABEL"),
        (("--check",), "leave OUT out"),
    ],
)
def test_misuse_of_apply_is_one_line(dice, args, message):
    status, out, err = dice("apply", "cpu.cfg", "never.cfg", *args)
    assert status == 1 and out == "" and message in err
    assert len(err.strip().splitlines()) == 1 and not Path("never.cfg").exists()


def test_configs_that_are_none(room, dice):
    assert "Say where to write" in dice("apply", "cpu.cfg")[2]
    assert "cannot be read as a config" in dice("apply", "data.tsv", "-")[2]
    (room / "part.cfg").write_text("[paths]\ntrain = null\n")
    assert "no complete config" in dice("apply", "part.cfg", "-")[2]
    twice = '[initialize.after_init]\n@callbacks = "spacy_dice.use_loss.v1"\n\n[components]'
    changed(room, "twice.cfg", {"[components]": twice})
    status, _, err = dice("apply", "twice.cfg", "--check")
    assert status == 1 and "Delete the line (after_init = null)" in err
    status, _, err = dice("apply", "absent.cfg", "-")
    assert status == 2 and "does not exist" in err


def test_apply_trains_with_rare_labels_in_the_score(room, dice, run_spacy):
    """From apply to a saved pipeline: the loss, the label's F1 in the checkpoint's score, the
    logger's columns and file, the curve."""
    config = Config().from_disk(room / "good" / "config.cfg", interpolate=False)
    config["nlp"]["pipeline"] = ["dice_ner", "spancat"]
    config["components"] = {k: config["components"][k] for k in config["nlp"]["pipeline"]}
    config["training"]["logger"] = {"@loggers": "spacy_dice.console_logger.v1", "rare": 1}
    config["training"]["logger"]["output_file"] = str(room / "log.jsonl")
    config.to_disk(room / "small.cfg")
    status, _, err = dice("apply", "small.cfg", "new.cfg", "-l", "DiceCE", "-r", "spancat=LOC")
    assert status == 0, err
    status, output = run_spacy(
        *("train", room / "new.cfg", "-o", room / "out", "--paths.train", room / "data.spacy"),
        *("--paths.dev", room / "data.spacy", "--training.max_steps", 4),
        *("--training.eval_frequency", 2),
    )
    assert status == 0, output
    assert "Component 'spancat' trains with DiceCE" in output
    header = next(line for line in output.splitlines() if line.startswith("E  "))
    assert "LOSS DICE_ CE" in header and "LOSS SPA DICE" in header
    assert "F PER" not in header and "F LOC" not in header  # the rarest has a column already
    rows = curves.read_log(room / "log.jsonl")
    last = rows[-1]
    terms = ("dice_ner:cross_entropy", "dice_ner:dice", "spancat:cross_entropy", "spancat:dice")
    assert all(term in last["losses"] for term in terms)
    assert last["losses"]["dice_ner"] == pytest.approx(
        sum(last["losses"][t] for t in terms[:2]), rel=1e-3
    )
    assert "ents_f_LOC" in last["scores"] and "spans_sc_f_LOC" in last["scores"]
    weights = spacy.load(room / "out" / "model-last").config["training"]["score_weights"]
    expected = sum(last["scores"].get(key, 0) / 100 * (w or 0) for key, w in weights.items())
    assert last["score"] == pytest.approx(expected, abs=0.02)
    status, _, err = dice("curve", "log.jsonl", "log.jsonl", "curve.png", "-s", "ents_f")
    assert status == 0, err
    assert (room / "curve.png").read_bytes()[:4] == PNG
    assert "has no score 'f'. It has: " in dice("curve", "log.jsonl", "c.png", "-s", "f")[2]
    assert "the picture to write last" in dice("curve", "log.jsonl", "log.jsonl")[2]
    assert "line 1: this is no training log" in dice("curve", "data.jsonl", "c.png")[2]


def test_apply_with_tune_trains_and_tunes_what_is_saved(room, dice, run_spacy):
    config = Config().from_disk(room / "good" / "config.cfg", interpolate=False)
    config["nlp"]["pipeline"] = ["ner", "spancat"]
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner"}
    parser.update(extra_state_tokens=False, hidden_width=16, maxout_pieces=1, use_upper=True)
    config["components"] = {
        "ner": {"factory": "ner", "model": {**parser, "tok2vec": TOK2VEC}},
        "spancat": config["components"]["spancat"],
    }
    config.to_disk(room / "untuned.cfg")
    status, _, err = dice("apply", "untuned.cfg", "tuned.cfg", "-l", "DiceCE", "--tune")
    assert status == 0, err
    status, output = run_spacy(
        *("train", room / "tuned.cfg", "-o", room / "tuned_out"),
        *("--paths.train", room / "data.spacy", "--paths.dev", room / "data.spacy"),
        *("--training.max_steps", 6, "--training.eval_frequency", 3),
        *("--training.optimizer.learn_rate", 0.02),
    )
    assert status == 0, output
    assert all(f"Component '{name}' trains with DiceCE" in output for name in ("ner", "spancat"))
    nlp = spacy.load(room / "tuned_out" / "model-last")
    said = nlp.meta["spacy_dice"]
    assert set(said) == {"ner", "spancat"} and all("tuned" in of for of in said.values())
    assert set(spacy_dice.get_tuning(nlp)) == {name for name in said if said[name]["tuned"]}
    assert "loss" not in vars(nlp.get_pipe("spancat"))  # it is stock


@pytest.mark.slow  # and mlflow-skinny, which brings many packages, is no requirement of the tests
@pytest.mark.parametrize("chained", [False, True])
def test_training_with_mlflow(room, run_spacy, tmp_path, monkeypatch, chained):
    """spacy-loggers' MLflow logger, alone and beside ours, with MLflow's store of files."""
    mlflow = pytest.importorskip("mlflow", reason="pip install mlflow-skinny")
    for key in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(key, (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    config = Config().from_disk(room / "good" / "config.cfg", interpolate=False)
    config["nlp"]["pipeline"] = ["spancat"]
    config["components"] = {"spancat": config["components"]["spancat"]}
    config["initialize"]["after_init"] = {
        "@callbacks": "spacy_dice.use_loss.v1",
        "losses": {"spancat": "DiceCE"},
    }
    to_mlflow = {"@loggers": "spacy.MLflowLogger.v2", "run_name": "dice"}
    ours = {"@loggers": "spacy_dice.console_logger.v1", "output_file": str(tmp_path / "log.jsonl")}
    chain = {"@loggers": "spacy.ChainLogger.v1", "logger1": ours, "logger2": to_mlflow}
    config["training"]["logger"] = chain if chained else to_mlflow
    config.to_disk(tmp_path / "config.cfg")
    status, output = run_spacy(
        *("train", tmp_path / "config.cfg", "--paths.train", room / "data.spacy"),
        *("--paths.dev", room / "data.spacy", "--training.max_steps", 4),
        *("--training.eval_frequency", 2),
    )
    assert status == 0, output
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.run_name == "dice" and run.info.status == "FINISHED"
    logged = run.data.params
    assert logged["initialize.after_init.callbacks"] == "spacy_dice.use_loss.v1"
    assert run.data.metrics["loss_spancat"] > 0 and "spans_sc_f" in run.data.metrics
    if chained:
        last = curves.read_log(tmp_path / "log.jsonl")[-1]
        assert last["losses"]["spancat"] == pytest.approx(
            run.data.metrics["loss_spancat"], abs=0.01
        )
        assert "LOSS DICE" in output


# -- callbacks ------------------------------------------------------------------------------


def test_score_labels_says_what_is_wrong(room):
    nlp = spacy.load(room / "good")
    for labels, message in (
        ({"nre": ["PER"]}, "there is no component 'nre'"),
        ({"spancat": ["PRE"]}, "'PRE', which is none of its labels: "),
    ):
        with pytest.raises(ValueError, match=message):
            callbacks.score_labels_callback(labels)(nlp)
    callbacks.score_labels_callback({"tagger": ["NAME"]})(nlp)
    examples = formats.read_examples(room / "data.spacy", nlp)
    with pytest.raises(ValueError, match="'tagger': its scores .tag_acc. are not by label"):
        nlp.evaluate(examples)


def test_a_chain_takes_callbacks_alone():
    with pytest.raises(ValueError, match="callbacks.first must be a block with @callbacks"):
        callbacks.chain_callback({"first": "use_loss"})
    with pytest.raises(ValueError, match="callbacks is empty"):
        callbacks.chain_callback({})


# -- losses ---------------------------------------------------------------------------------


def test_losses(dice):
    status, out, _ = dice("losses")
    assert status == 0 and max(map(len, out.splitlines())) <= 80
    names = [name for name in LOSSES if name != "Loss" and name[0].isupper()]
    assert (
        sorted(WHEN)
        == sorted(names)
        == sorted(name for name in describe_losses() if "." not in name)
    )
    assert all(f"\n{name}\n" in out for name in names)
    status, out, _ = dice("losses", "DiceCE")
    assert '@losses = "spacy_dice.DiceCE.v1"' in out and "class_weights" in out
    status, _, err = dice("losses", "DiceC")
    assert status == 1 and "Did you mean DiceCE?" in err


# -- to-stock, tune, calibrate --------------------------------------------------------------


def test_to_stock(room, dice):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}
    nlp.add_pipe("dice_tagger", config={"model": model}).add_label("NAME")
    nlp.initialize()
    nlp.to_disk(room / "ours")
    assert dice("to-stock", "ours", "stock")[0] == 0
    assert spacy.load(room / "stock").get_pipe_meta("dice_tagger").factory == "tagger"
    assert "not empty. Use --force" in dice("to-stock", "ours", "stock")[2]
    assert dice("to-stock", "ours", "stock", "--force")[0] == 0
    assert "the same folder" in dice("to-stock", "ours", "ours", "--force")[2]
    assert "dice_ner has no stock twin" in dice("to-stock", "good", "stock", "--force")[2]
    status, _, err = dice("to-stock", "nowhere", "stock2")
    assert status == 1 and "There is no pipeline nowhere" in err


def test_tune_and_calibrate(room, dice):
    args = ("good", "data.spacy", "tuned", "-c", "spancat", "-n", 2)
    status, out, err = dice("tune", *args)
    assert status == 0 and "spancat (spancat), for " in out, err
    assert spacy.load(room / "tuned").pipe_names == spacy.load(room / "good").pipe_names
    assert "not empty" in dice("tune", *args)[2]
    status, out, _ = dice("calibrate", "good", "data.spacy", "-c", "textcat", "--json")
    report = json.loads(out)["components"][0]
    assert status == 0 and report["name"] == "textcat" and report["temperature"] == 1.0
    status, out, _ = dice("calibrate", "good", "data.spacy", "calibrated", "-c", "textcat")
    assert status == 0 and set(spacy_dice.get_tuning(spacy.load(room / "calibrated"))) == {
        "textcat"
    }
    for extra, message in (
        (("-c", "nre"), "'nre'"),
        (("-l", "PER"), "write it as LABEL:OBJECTIVE"),
        (("-l", "PRE:recall>=0.5"), "'PRE'"),
        (("-o", "best"), "best"),
    ):
        status, out, err = dice("tune", "good", "data.spacy", *extra)
        assert status == 1 and message in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "args, status, message",
    [
        (("losses", "Focl"), 1, "There is no loss 'Focl'. Did you mean Focal?"),
        (("losses", "spacy_dice.DiceCE.v2"), 1, "Did you mean DiceCE?"),
        (("losses", ""), 1, "There is no loss ''. There are: DiceCE"),
        (("losses", "thinc.CosineDistance.v1"), 1, "There is no loss"),
        (("losses", "Dice", "Focal"), 2, "unexpected extra argument"),
        (("calibrate", "nowhere", "data.spacy"), 1, "There is no pipeline nowhere"),
        (("calibrate", "good", "data.spacy", "bad"), 1, "bad is there already and not empty"),
        (("calibrate", "good", "data.spacy", "-c", "nre"), 1, "there is no component 'nre'"),
        (("calibrate", "good", "cpu.cfg"), 1, "the format '.cfg' is not known"),
        (("calibrate", "good", "absent.spacy"), 2, "does not exist"),
        (("to-stock", "nowhere", "never"), 1, "There is no pipeline nowhere"),
        (("to-stock", "cpu.cfg", "never"), 1, "There is no pipeline cpu.cfg"),
        (("to-stock", "good", "bad"), 1, "bad is there already and not empty"),
        (("to-stock", "good", "data.tsv"), 1, "data.tsv is a file"),
        (("to-stock", "good", "good"), 1, "the same folder"),
        (("curve", "data.tsv"), 1, "Name at least one log"),
        (("curve", "data.jsonl", "never.jsonl"), 1, "Name the picture to write last"),
        (("curve", "absent.jsonl", "never.png"), 1, "absent.jsonl: No such file"),
        (("curve", "data.jsonl", "never.png"), 1, "this is no training log"),
        (("curve", "nothing.jsonl", "never.png"), 1, "nothing.jsonl is empty"),
    ],
)
def test_misuse_of_the_others_is_said(room, dice, args, status, message):
    (room / "nothing.jsonl").write_text("")
    got, out, err = dice(*args)
    assert (got, out) == (status, "") and message in err
    assert status == 2 or len(err.strip().splitlines()) == 1
    assert not list(room.glob("never*"))


# -- compare --------------------------------------------------------------------------------


def test_compare(room, dice):
    status, out, err = dice("compare", "good", "bad", "data.spacy", "--json", "-n", 200)
    assert status == 0, err
    tasks = {task["key"]: task for task in json.loads(out)["tasks"]}
    assert list(tasks) == ["tags", "ents", "spans:sc", "cats"]
    nlp = spacy.load(room / "good")
    scores = nlp.evaluate(formats.read_examples(room / "data.spacy", nlp))
    for key, score in (("ents", "ents"), ("spans:sc", "spans_sc"), ("cats", "cats_micro")):
        task = tasks[key]
        assert task["micro"]["a"]["f"] == pytest.approx(scores[f"{score}_f"])
        assert task["micro"]["difference"] < 0 or key == "cats"  # bad is worse
        found = [task[which] for which in ("both", "only_a", "only_b", "neither")]
        assert sum(found) == task["micro"]["n"] == sum(row["n"] for row in task["labels"])
    for label, of_label in scores["ents_per_type"].items():
        (row,) = (row for row in tasks["ents"]["labels"] if row["label"] == label)
        assert row["a"] == pytest.approx(of_label)
    assert tasks["tags"]["micro"]["a"]["f"] == pytest.approx(scores["tag_acc"])
    report = spacy_dice.calibrate(
        nlp, formats.read_examples(room / "data.spacy", nlp), ["dice_ner", "textcat"], fit=False
    )
    for name, key in (("dice_ner", "ents"), ("textcat", "cats")):
        of = tasks[key]["calibration_a"]
        assert of["n"] and of["ece"] == pytest.approx(report[name].before.ece)
        assert tasks[key]["calibration_b"]["ece"] > of["ece"]  # bad is worse, and says so
    status, out, _ = dice("compare", "good", "bad", "data.spacy", "--no-calibration", "-n", 200)
    assert status == 0 and "Brier" not in out


def test_compare_draws_and_writes_pages(room, dice):
    args = ("compare", "good", "bad", "data.spacy", "-n", 200)
    status, out, err = dice(*args, "--plot", "new/c.png", "--html", "new/c.html", "-l", 2)
    assert status == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert (room / "new" / "c.png").read_bytes()[:4] == PNG
    page = (room / "new" / "c.html").read_text(encoding="utf8")
    assert 4 <= page.count("</article>") <= 8 and "of 6 texts are seen differently" in page


def test_kinds_of_error():
    pytest.importorskip("nervaluate")
    gold = {(0, 3, "PER"), (10, 12, "LOC"), (20, 25, "ORG"), (30, 35, "LOC"), (40, 41, "LOC")}
    found = {(0, 3, "PER"), (10, 12, "PER"), (19, 24, "ORG"), (31, 33, "PER"), (50, 52, "ORG")}
    errors = count_errors("ents", [(gold, found), (set(), set()), ({(0, 2, "LOC")}, set())])
    assert errors.kinds == {
        "other label": 1,
        "other boundaries": 1,
        "both are other": 1,
        "missed": 2,
        "spurious": 1,
    }
    # Of 6 gold and 5 found: 1 is right, 2 have the boundaries, 2 the label, 4 an overlap.
    expected = {"strict": 2 / 11, "exact": 4 / 11, "ent_type": 4 / 11, "partial": 6 / 11}
    assert errors.f == pytest.approx(expected)
    cats = [({(0, 0, "x")}, {(0, 0, "y")}), ({(0, 0, "x"), (0, 0, "y")}, {(0, 0, "y")})]
    assert count_errors("cats", cats).kinds == {"missed": 2, "spurious": 1}
    assert count_errors("tags", cats).kinds == {"wrong": 2}


def test_without_nervaluate_the_rest_is_there(room, dice, monkeypatch):
    monkeypatch.setitem(sys.modules, "nervaluate", None)
    args = ("compare", "good", "bad", "data.conll", "-n", 100, "--no-calibration")
    status, out, _ = dice(*args)
    assert status == 0 and "need nervaluate" in out and "spacy-flair-dice[compare]" in out
    assert "all (micro)" in out and max(map(len, out.splitlines())) <= 80


def test_compare_with_itself_and_on_columns(dice):
    status, out, _ = dice("compare", "good", "good", "data.conll", "--json", "-n", 100)
    tasks = {task["key"]: task for task in json.loads(out)["tasks"]}
    assert status == 0 and set(tasks) == {"ents", "spans:sc"}
    assert "against the entities" in tasks["spans:sc"]["what"]
    micro = tasks["ents"]["micro"]
    assert micro["difference"] == micro["low"] == micro["high"] == 0 and not micro["clear"]


def test_the_bootstrap_covers_a_known_difference():
    """Of a label that B finds in each document and A in half of them, the interval is that of a
    share; and documents are drawn for both alike."""
    import numpy

    n = 400
    counts = numpy.zeros((n, 2, 1, 3), dtype="float32")
    counts[:, 1, 0, 0] = 1
    counts[::2, 0, 0, 0], counts[1::2, 0, 0, 2] = 1, 1
    micro, macro, by_label = resample(counts, numpy.asarray([True]), 1000, 0)
    assert micro == pytest.approx(macro) and by_label[:, 0] == pytest.approx(micro)
    share = numpy.random.default_rng(1).binomial(n, 0.5, 20000) / n
    expected = numpy.percentile(1 - 2 * share / (1 + share), [2.5, 97.5])
    assert numpy.percentile(micro, [2.5, 97.5]) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "args, message",
    [
        (("nowhere", "bad", "data.spacy"), "There is no pipeline nowhere"),
        ((".", "bad", "data.spacy"), "There is no pipeline ."),
        (("good", "bad", "data.json"), "nothing that the documents have and both"),
        (("good", "bad", "cpu.cfg"), "the format '.cfg' is not known"),
        (("good", "bad", "data.tsv", "--plot", "plot.xyz"), "xyz"),
    ],
)
def test_misuse_of_compare_is_one_line(dice, args, message):
    status, _, err = dice("compare", *args, "-n", 100)
    assert status == 1 and message in err and len(err.strip().splitlines()) == 1


# -- imbalance ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, kinds, labels",
    [
        ("data.spacy", ["entities", "spans", "categories", "tags"], {"PER": 6, "LOC": 4}),
        ("data.conll", ["entities"], {"PER": 6, "LOC": 4}),
        ("data.iob", ["entities"], {"PER": 6, "LOC": 4}),
        ("data.tsv", ["categories"], {"people": 2, "places": 2, "none": 2}),
        ("bare.tsv", ["categories"], {"people": 2, "places": 2, "none": 2}),
        ("several.csv", ["categories"], {"x": 2, "y": 1}),
        ("data.jsonl", ["entities", "spans"], {"PER": 3, "LOC": 1}),
        ("data.json", ["answers"], {"ANSWER": 1}),
        ("data.conllu", ["tags"], {"NNP": 1, "VBZ": 1}),
    ],
)
def test_imbalance(dice, name, kinds, labels):
    status, out, err = dice("imbalance", name, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert [part["kind"] for part in found] == kinds
    assert {row["label"]: row["n"] for row in found[0]["labels"]} == labels
    status, out, _ = dice("imbalance", name, "--plot", "imbalance.png")
    assert max(map(len, out.splitlines())) <= 80
    assert Path("imbalance.png").read_bytes()[:4] == PNG


def test_imbalance_counts(room):
    ents, spans, cats, tags = imbalance.measure(formats.read_docs(room / "data.spacy"))
    n_tokens = sum(len(text.split()) for text, _, _ in SENTENCES)
    assert ents.n_units == n_tokens and ents.background == pytest.approx(1 - 11 / n_tokens)
    assert ents.ratio == 1.5 and ents.lengths == {1: 9, 2: 1} and ents.size_for(1.0) == 2
    assert ents.coverage[1] == 0.9 and ents.coverage[2] == 1.0
    assert ents.candidates[1] == n_tokens / 10
    assert cats.exclusive and cats.components == ["textcat"] and tags.background is None
    advice = {a["component"]: a for a in imbalance.advise(spans)}
    assert "CrossEntropy" in advice["spancat"]["loss"] and advice["spancat"]["block"]


def test_what_is_said_to_be_measured_is_what_the_evidence_says():
    said = (ROOT / "README.md").read_text() + (ROOT / "docs" / "evidence.md").read_text()
    for gains in imbalance.MEASURED.values():
        for gain in gains:
            assert gain.gain in said and str(gain.stock) in said, gain


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("x.conll", "Ann B-PER\nmet\n", "line 2: expected a token and its tag"),
        ("x.tsv", "a text and nothing\n", "at least two columns"),
        ("x.jsonl", '{"text": "a"}\n{"txt": "b"}\n', 'line 2: expected an object with a "text"'),
        ("x.jsonl", '{"text": "ab", "spans": [[1, 9, "x"]]}\n', "line 1: [1, 9, 'x'] is no span"),
        ("x.json", "[]", "is no file of SQuAD"),
        ("x.spacy", "no", "cannot be read as spaCy's binary format"),
        ("x.jsonl", '{"text": "a"}\n', "have no entities, spans, categories or tags"),
        ("x.csv", "text,label\nonly one\n", "line 2: expected a text and its label"),
    ],
)
def test_files_that_do_not_fit(room, dice, name, text, message):
    (room / name).write_text(text)
    status, _, err = dice("imbalance", name)
    assert status == 1 and message in err and len(err.strip().splitlines()) == 1


# -- as a command ---------------------------------------------------------------------------


def test_the_command_of_spacy_has_it_and_is_quiet_in_a_pipe(run_spacy, room):
    status, output = run_spacy("dice", "--help")
    assert status == 0 and all(
        f"\n  {name} " in output for name in ("apply", "compare", "to-stock")
    )
    status, output = run_spacy(
        "dice", "apply", room / "cpu.cfg", "-", env={"ANSI_COLORS_DISABLED": ""}
    )
    assert status == 0 and Config().from_str(output, interpolate=False) and "\x1b" not in output


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, spacy.cli; before = set(sys.modules); "
        "import spacy_dice.cli, spacy_dice.logger; "
        "new = set(sys.modules) - before;"
        "print([m for m in new if m.partition('.')[0] not in ('spacy_dice', 'dice_bulk')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done


def test_check_of_a_config_in_python(room):
    config = read_config(room / "cpu.cfg")[1]
    new = apply.apply_loss(config, "DiceCE", {"weight": 0.5}, ["ner"])
    verdict = check.check_config(new)["ner"]
    assert verdict == (True, True, "DiceCE(weight=0.5)", "")
    alone = check.check_config(apply.apply_loss(config, "Tversky", None, ["ner"]))["ner"]
    assert alone.ok and alone.warning.startswith("Tversky without a cross-entropy hardly trains")
    assert check.check_config(config)["ner"].text == "spaCy's own loss"
