"""The short scripts under examples/ run, small, and say what they found."""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from corpora import generated

ROOT = Path(__file__).resolve().parent.parent

FAST = ("--learning-rate", "0.02")
SMALL = {
    "ner": (["--steps", "24", "--size", "200", *FAST], 3),
    "spancat": (["--steps", "12", "--size", "100", *FAST], 2),
    "textcat_multilabel": (["--steps", "12", "--size", "100", *FAST], 2),
    "tagger": (["--steps", "8", "--size", "60", *FAST], 3),
    "flair_ner": (["--epochs", "1", "--size", "40"], 4),
}


@pytest.mark.parametrize("name", SMALL)
def test_short_scripts(name, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options, n_runs = SMALL[name]
    import_module(f"examples.{name}").main(options)
    lines = [line for line in capsys.readouterr().out.splitlines() if re.search(r"F1 +\d", line)]
    assert len(lines) == n_runs
    found = [[float(number) for number in re.findall(r"\d+\.\d", line)] for line in lines]
    assert all(0 <= number <= 100 for numbers in found for number in numbers)
    if name != "flair_ner":  # which has too little to go on in one epoch
        assert any(numbers[-1] > 5 for numbers in found), found


def test_options_that_are_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold one file for each of train, dev, test"):
        import_module("examples.ner").main(["--data", str(tmp_path)])


@pytest.mark.slow
def test_a_sweep_gives_what_compare_takes(tagged, tmp_path):
    """Two seeds of stock and of the flag; and the command that it prints runs."""
    pytest.importorskip("ray.tune")
    (tmp_path / "home").mkdir()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "home")}
    short = ["training.max_steps=20", "training.eval_frequency=10"]
    command = [
        *("examples/sweep.py", "configs/textcat_multilabel.cfg"),
        *(tagged / "train.spacy", tagged / "dev.spacy", tmp_path / "runs"),
        *("--seeds", 0, 1, "--rates", 0.01, "--set", *short),
    ]

    def run(*args):
        made = [sys.executable, *map(str, args)]
        done = subprocess.run(made, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run(*command)
    rows = re.findall(r"(stock|auto) +0\.01\d* +(0\.\d+|1\.0+) +(0\.\d+|1\.0+)", said)
    assert sorted(loss for loss, *_ in rows) == ["auto", "stock"], said
    printed = re.search(r"^python (-m spacy dice compare .*) test\.spacy$", said, re.MULTILINE)
    compared = run(*printed[1].split(), tagged / "test.spacy")
    assert "Intervals are over texts and seeds (A: 2, B: 2)" in compared


@pytest.mark.slow
def test_the_project_runs_from_the_corpus_to_a_package(tmp_path):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "spacy_project", project)
    generated.write(project / "assets")
    options = ["--vars.sentences", "100", "--vars.steps", "30"]
    folder = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "weasel", "run", "all", str(project), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "Component 'spancat' trains with CrossEntropy(" in said
    assert (project / "metrics" / "comparison.json").exists()
    assert len(list((project / "packages").glob("*/dist/*.tar.gz"))) == 1
