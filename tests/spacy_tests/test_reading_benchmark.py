"""benchmarks.compare.reading runs, from the command lines of its docstring."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    train = reading.write(tmp_path / "train.json", 16)
    test = reading.write(tmp_path / "test.json", 4, seed=1)
    run(
        small_bert,
        *("train", "--train", train, "--test", test, "--results", tmp_path / "r.jsonl"),
        *("--trainer", trainer, "--loss", "ce", "--epochs", 6, "--learning-rate", 1e-3),
    )
    (line,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (line["trainer"], line["size"], line["loss"]) == (trainer, 32, "ce")
    assert line["scores"][tmp_path.name]["f1"] > 0.5 and len(line["losses"]) == 6


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
