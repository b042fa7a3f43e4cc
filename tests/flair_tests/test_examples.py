"""The example scripts and the benchmark run, from the command lines that their docstrings give."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpora import in_flair
from dice_core import columns
from flair_tests.helpers import BERT

ROOT = Path(__file__).resolve().parents[2]


def run(*args):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "loss", [pytest.param("stock", marks=pytest.mark.slow), '{"name": "DiceCE", "weight": 0.5}']
)
@pytest.mark.parametrize(
    "script, options",
    [
        ("flair_transformer", ["--learning-rate", 5e-4, "--epochs", 5, "--mini-batch-size", 4]),
        ("flair_stacked", ["--epochs", 8, "--mini-batch-size", 8]),
    ],
)
def test_scripts_train(script, options, loss, folder, tmp_path):
    output = run(
        f"examples.{script}",
        *("--loss", loss, "--transformer", BERT, "--data", folder, "--size", 100),
        *("--output", tmp_path, *options),
    )
    line = json.loads(output.splitlines()[-1])
    assert line["loss"] == ("None" if loss == "stock" else "{'name': 'DiceCE', 'weight': 0.5}")
    assert line["dev"] > 30 and line["test"] > 30


def test_cost_of_marginals():
    """That it measures; what it measures is not asked of a machine that runs tests."""
    lines = run("benchmarks.speed.crf", "--rounds", 1, "--length", 8).splitlines()
    assert len([line for line in lines if "/ ViterbiLoss" in line]) == 3


def test_columns_as_a_corpus_of_flair(folder):
    files = {split: folder / f"{split}.conll" for split in ("train", "dev", "test")}
    corpus = in_flair.corpus(files, train_limit=7)
    assert [len(split) for split in (corpus.train, corpus.dev, corpus.test)] == [7, 120, 120]
    drawn = [[s.text for s in in_flair.corpus(files, 7, seed).train] for seed in (0, 1)]
    assert drawn[0] == [s.text for s in corpus.train] != drawn[1]
    for sentence, (words, tags) in zip(corpus.test, columns.read(files["test"])):
        assert [token.text for token in sentence] == words
        spans = [(span[0].idx - 1, span.tag) for span in sentence.get_spans("ner")]
        assert spans == [(i, tag[2:]) for i, tag in enumerate(tags) if tag[0] == "B"]
        covered = sum(len(span) for span in sentence.get_spans("ner"))
        assert covered == sum(tag != "O" for tag in tags)
