"""`python -m flair_dice ...` on saved models, and what it says to misuse."""

import json
import subprocess
import sys

import pytest
from flair.nn import Classifier

import flair_dice
from flair_dice.__main__ import main, read
from flair_dice.comparison import compare, count
from flair_tests import helpers


@pytest.fixture(scope="module")
def room(tmp_path_factory, folder):
    """A folder with two taggers, one that was trained and one that was not, and data."""
    made = tmp_path_factory.mktemp("flair_commands")
    helpers.seed()
    data = helpers.ner_corpus(folder, train=160)
    tags = data.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
    for name, epochs in (("bad", 0), ("good", 10)):
        tagger = flair_dice.SequenceTagger(
            *(helpers.words(data), tags, "ner"), use_crf=False, hidden_size=16, loss="DiceCE"
        )
        if epochs:
            helpers.train(tagger, data, made / "training", epochs=epochs, mini_batch_size=8)
        tagger.save(made / f"{name}.pt")
    (made / "test.conll").write_text((folder / "test.conll").read_text())
    texts = "__label__sad so late again\n__label__glad what a day\n__label__sad it rains\n"
    (made / "texts.txt").write_text(texts)
    return made


def test_compare_and_tune(room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    options = ["--json", "--samples", "200", "--plot", "gains.png"]
    assert main(["compare", "bad.pt", "good.pt", "test.conll", *options]) == 0
    out = capsys.readouterr().out
    (task,) = json.loads(out[out.index("{") :])["tasks"]
    good = Classifier.load(room / "good.pt")
    sentences = read(room / "test.conll", "ner")
    result = good.evaluate(sentences, gold_label_type="ner")
    assert task["key"] == "ents" and task["micro"]["b"]["f"] == pytest.approx(result.main_score)
    micro = task["micro"]
    assert micro["difference"] > 0 and micro["low"] <= micro["difference"] <= micro["high"]
    assert task["both"] + task["only_a"] + task["only_b"] + task["neither"] == task["micro"]["n"]
    of = task["calibration_b"]
    report = flair_dice.calibrate(good, sentences, fit=False)[good.label_type].before
    assert 0 < of["n"] and of["ece"] == pytest.approx(report.ece)
    assert (room / "gains.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["tune", "good.pt", "test.conll", "new/tuned.pt"]) == 0
    assert "ner (" in capsys.readouterr().out
    assert type(Classifier.load(room / "new" / "tuned.pt")) is flair_dice.SequenceTagger


def test_what_was_predicted_is_not_left_behind(room):
    good = Classifier.load(room / "good.pt")
    sentences = read(room / "test.conll", "ner")
    before = [sorted(s.annotation_layers) for s in sentences]
    found = compare(good, good, sentences, samples=100)
    assert found.tasks[0].micro.difference == 0 and max(map(len, str(found).splitlines())) <= 80
    assert [sorted(s.annotation_layers) for s in sentences] == before


def test_imbalance(room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    assert main(["imbalance", "test.conll", "--label-type", "ner"]) == 0
    out = capsys.readouterr().out
    assert "ner: " in out and "product" in out
    (of_texts,) = count(read(room / "texts.txt", "mood"))
    assert (of_texts.name, of_texts.unit, of_texts.n_units) == ("mood", "texts", 3)
    assert [(row.label, row.n) for row in of_texts.labels] == [("sad", 2), ("glad", 1)]


@pytest.mark.parametrize(
    "args, message",
    [
        (("compare", "nowhere.pt", "good.pt", "test.conll"), "There is no model nowhere.pt"),
        (("compare", "bad.pt", "good.pt", "nowhere"), "nowhere"),
        (("compare", "bad.pt", "good.pt", "texts.txt"), "labels of whole texts, and bad.pt"),
        (("tune", "good.pt", "test.conll", "bad.pt"), "is there already"),
        (("tune", "good.pt", "test.conll", "t.pt", "--objective", "best"), "best"),
        (("imbalance", "empty.txt"), "expected columns of tokens and tags"),
    ],
)
def test_misuse_is_one_line(room, monkeypatch, capsys, args, message):
    monkeypatch.chdir(room)
    (room / "empty.txt").write_text("\n")
    assert main(list(args)) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert message in err[-1] and err[-1].startswith("✘ ") and not (room / "t.pt").exists()


def test_help_has_examples():
    done = subprocess.run(
        [sys.executable, "-m", "flair_dice", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "python -m flair_dice tune" in done.stdout
    assert "flair." not in done.stderr
