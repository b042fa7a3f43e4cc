"""benchmarks.compare.reading runs, from the command lines of its docstring."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import spacy

from benchmarks.compare.reading import drawn, main, mixed, squad
from corpora import generated
from spacy_tests import reading

ROOT = Path(__file__).resolve().parents[2]


def run(transformer, *args):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.compare.reading",
            *map(str, args),
            *("--transformer", str(transformer)),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("trainer", ["spacy", pytest.param("transformers", marks=pytest.mark.slow)])
def test_training(trainer, small_bert, tmp_path):
    """In bfloat16, too, which with one cast of the weights for all updates would learn nothing."""
    train = reading.write(tmp_path / "train.json", 16)
    test = reading.write(tmp_path / "test.json", 4, seed=1)
    run(
        small_bert,
        *("train", "--train", train, "--test", test, "--results", tmp_path / "r.jsonl"),
        *("--trainer", trainer, "--loss", "ce", "--epochs", 6, "--learning-rate", 1e-3),
        *("--bf16", "--frozen"),
    )
    (line,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (line["trainer"], line["size"], line["loss"]) == (trainer, 32, "ce")
    assert line["scores"][tmp_path.name]["f1"] > 0.5 and len(line["losses"]) == 6


@pytest.fixture
def articles(tmp_path):
    """A file with an article for each paragraph, and its questions by text."""
    whole = json.loads(reading.write(tmp_path / "all.json", 20).read_text())
    paragraphs = whole["data"][0]["paragraphs"]
    for number, paragraph in enumerate(paragraphs):
        paragraph["context"] += f" It was in year {number}."
    whole["data"] = [{"paragraphs": [paragraph]} for paragraph in paragraphs]
    (tmp_path / "all.json").write_text(json.dumps(whole))
    return tmp_path / "all.json"


def test_training_and_test_are_of_different_articles(articles):
    args = argparse.Namespace(train=[articles], seed=0, size=15, held_out=12)
    pool = squad(spacy.blank("en"), articles, 0, 0)
    train, test = drawn(pool, args)
    texts = [{example.reference.text for example in part} for part in (train, test)]
    assert (len(train), len(test)) == (15, 12) and not texts[0] & texts[1]
    args.seed = 1
    assert {example.reference.text for example in drawn(pool, args)[1]} != texts[1]
    args.size = 30
    with pytest.raises(SystemExit, match="are left for testing. Lower them"):
        drawn(pool, args)


def test_questions_without_an_answer_are_of_another_article(articles, tmp_path):
    args = argparse.Namespace(seed=0, unanswerable=0.4)
    nlp = spacy.blank("en")
    before = squad(nlp, articles, 0, 0)
    (tmp_path / "made").mkdir()
    after = squad(nlp, mixed(articles, args, tmp_path / "made"), 0, 0)
    context = {eg.reference._.questions[0]["id"]: eg.reference.text for eg in before}
    assert len(after) == len(before) == 40
    n_lacking = 0
    for example in after:
        (question,) = example.reference._.questions
        number, _, moved = question["id"].partition(" ")
        n_lacking += bool(moved)
        assert bool(moved) == (question["answers"] == [])
        assert bool(moved) == (context[number] != example.reference.text)
    assert 8 <= n_lacking <= 24


def test_report(tmp_path, capsys):
    """Means, their intervals, and differences from cross-entropy by seed."""
    lines = []
    for loss, of_seeds in {"ce": (0.1, 0.2, 0.3), "dice_ce": (0.15, 0.25, 0.35)}.items():
        for seed, f1 in enumerate(of_seeds):
            scores = {"held out": {"questions": 9, "exact": 0.5, "f1": f1, "seconds": 1.0}}
            line = {"task": "reading", "data": "d", "size": 9, "trainer": "spacy", "loss": loss}
            lines.append({**line, "seed": seed, "settings": {"epochs": 2}, "scores": scores})
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    main(["report", str(tmp_path / "r.jsonl")])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| spacy")]
    assert rows == [
        "| spacy | ce | 1 | 3 | 50.0 ± 0.0 | 20.0 ± 24.8 |  |",
        "| spacy | dice_ce | 1 | 3 | 50.0 ± 0.0 | 25.0 ± 24.8 | +5.0 ± 0.0 |",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["dice_qa", "dice_ner"])
def test_entities(trainer, small_bert, tmp_path):
    data = generated.write(tmp_path / "generated")
    run(
        small_bert,
        *("ner", "--data", data, "--results", tmp_path / "r.jsonl", "--trainer", trainer),
        *("--question", "person=Who is it?", "city=Which city is it?", "--size", 60),
        *("--epochs", 4, "--learning-rate", 1e-3, "--test-size", 40),
    )
    (line,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert line["scores"]["test"]["f"] > 0.3 and line["scores"]["test"]["sentences"] == 40


@pytest.mark.slow
def test_speed(small_bert, tmp_path):
    test = reading.write(tmp_path / "test.json", 4)
    output = run(small_bert, "speed", "--test", test, "--rounds", 1, "--size", 4)
    assert output.count("questions/s, peak") == 2 and "ratio:" in output
