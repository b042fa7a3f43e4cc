"""The quickstart, from a folder and offline, in few updates."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.cli._util import parse_config_overrides
from thinc.api import Config

import quickstart
from benchmarks.compare import grid
from corpora import generated
from spacy_tests.helpers import invoke

ROOT = Path(__file__).resolve().parent.parent


def run(tmp_path, *args, setup="pass"):
    setup = (
        "import pathlib, quickstart; from corpora import ncbi_disease;"
        "ncbi_disease.HOME = 'http://127.0.0.1:9/';"
        f"quickstart.OUT = pathlib.Path({str(tmp_path / 'out')!r});"
        f"quickstart.CACHE = pathlib.Path({str(tmp_path / 'cache')!r});"
        f"{setup};quickstart.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", setup, *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_offline(tmp_path):
    """With the block most is found after 80 updates; stock has found nearly nothing by then."""
    status, said = run(tmp_path, "--updates", 80)
    assert status == 0 and "this project GENERATES" in said, said
    assert "stock: spaCy's own loss" in said and "with the block: CrossEntropy(" in said
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) ", said, re.MULTILINE)
    assert [int(step) for step, _, _ in rows] == list(range(0, 81, 8))
    table = said.partition("Test scores")[2]
    f1 = {}
    for label in ("person", "city", "product", "all"):
        (line,) = [line for line in table.splitlines() if line.startswith(label)]
        f1[label] = [float(f) for f in re.findall(r"([\d.]+) \([\d.]+ / [\d.]+\)", line)]
    stock, block = f1["all"]
    assert block > stock + 30, f1
    best, of_stock, of_block = re.search(
        r"best F1 on dev, ([\d.]+), is reached by stock after (\d+) updates, with the block after "
        r"(\d+)",
        table,
    ).groups()
    assert float(best) == max(float(f) for _, f, _ in rows) and int(of_block) < int(of_stock)
    assert (tmp_path / "out/curves.png").read_bytes()[:4] == b"\x89PNG"
    assert len(re.findall(r"^    gold  +\S", table, re.MULTILINE)) == 4
    assert "Where nothing is gained" in table
    for name in ("stock", "with-the-block"):
        nlp = spacy.load(tmp_path / "out" / name / "model-best")
        assert type(nlp.get_pipe("spancat")).__module__ == "spacy.pipeline.spancat"


def test_from_a_folder(tmp_path):
    folder = generated.write(tmp_path / "data")
    status, said = run(tmp_path, "--data", folder, "--updates", 4)
    assert status == 0 and f"The corpus in {folder}" in said and "GENERATES" not in said, said
    assert "train: 300 sentences" in said and "dev: 120 sentences" in said


def test_a_folder_without_entities(tmp_path):
    for split in generated.SIZES:
        (tmp_path / f"{split}.conll").write_text("nothing\tO\n\n")
    status, said = run(tmp_path, "--data", tmp_path)
    assert status == 1 and "has no entities or spans in train: nothing to find." in said


def test_what_fails_says_why(tmp_path):
    folder = generated.write(tmp_path / "data")
    broken = "quickstart.SETTINGS['training.dropout'] = 'much'"
    status, said = run(tmp_path, "--data", folder, setup=broken)
    assert status == 1 and "spacy train (" in said and "failed:" in said
    assert "dropout" in said.partition("failed:")[2]


def test_it_is_the_cell_whose_numbers_the_documentation_gives(configs, tmp_path):
    """What the quickstart trains is what benchmarks.compare.grid measures over more seeds."""
    (block,) = [
        block
        for block in grid.PARTS["sigmoid"]
        if (block.data, block.model) == ("ncbi_disease", "spancat")
    ]
    assert block.size == quickstart.SIZES["train"] and quickstart.RATE in grid.RATES
    invoke("init", "config", tmp_path / "c.cfg", "--pipeline", "spancat")
    settings = {
        **quickstart.SETTINGS,
        "training.optimizer.learn_rate": str(quickstart.RATE),
        "training.max_steps": str(quickstart.UPDATES),
        "training.eval_frequency": str(quickstart.UPDATES // quickstart.EVALUATIONS),
    }
    of_grid = dict(item.split("=") for item in block.settings)
    ours, theirs = (
        flat(Config().from_disk(path, overrides=parsed(overrides)))
        for path, overrides in ((tmp_path / "c.cfg", settings), (configs / "spancat.cfg", of_grid))
    )
    shared = {key for key in ours if key in theirs and "after_init" not in key}
    differing = {key for key in shared if not same(ours[key], theirs[key])}
    assert all(key.startswith("training.logger.") for key in differing), differing
    assert {key.split(".")[0] for key in shared} > {"components", "corpora", "training"}


def same(one, other):
    """The parser of overrides reads 0.3 as a number next to it."""
    return one == (pytest.approx(other) if isinstance(other, float) else other)


def parsed(overrides):
    return parse_config_overrides([p for k, v in overrides.items() for p in (f"--{k}", v)], "")


def flat(block, prefix=""):
    made = {}
    for key, value in block.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        made.update(inner)
    return made
