"""The benchmarks run, from the command line that their docstrings give."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpora import generated

ROOT = Path(__file__).resolve().parent.parent


def run(*args):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("model", ["ner", "dice_ner"])
def test_a_cell_is_measured_once(model, tmp_path):
    data = generated.write(tmp_path / "generated")
    results = tmp_path / "results.jsonl"
    command = ["benchmarks.cell", "--data", data, "--model", model, "--loss", "dice_ce"]
    command += ["--size", 50, "--results", results]
    command += ["--set", "training.max_steps=20", "training.eval_frequency=10"]
    run(*command)
    assert "Done already" in run(*command)
    (line,) = results.read_text().splitlines()
    cell = json.loads(line)
    assert (cell["data"], cell["size"], cell["seed"]) == ("generated", 50, 0)
    assert [step for step, _ in cell["curve"]] == [0, 10, 20]
    assert set(cell["test"]) == {"f", "p", "r", "macro_f", "per_type"}
    assert cell["versions"]["spacy"]


def test_speed(tmp_path):
    data = generated.write(tmp_path)
    output = run("benchmarks.speed", "--data", data, "--sentences", 40, "--rounds", 1)
    assert len([line for line in output.splitlines() if "(from" in line]) == 7
