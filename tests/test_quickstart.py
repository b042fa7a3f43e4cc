"""The quickstart, from a folder and offline, in few updates."""

import re
import sys

import pytest
import spacy
from spacy.cli._util import parse_config_overrides
from thinc.api import Config

import quickstart
from benchmarks.compare import grid
from corpora import generated, ncbi_disease
from spacy_tests.helpers import invoke


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the quickstart where nothing can be downloaded. RETURNS what it printed last, and all."""
    monkeypatch.setattr(ncbi_disease, "HOME", "http://127.0.0.1:9/")
    monkeypatch.setattr(quickstart, "OUT", tmp_path / "out")
    monkeypatch.setattr(quickstart, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(quickstart, "EVALUATIONS", 5)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["quickstart.py", *map(str, args)])
        try:
            quickstart.main()
        except SystemExit as error:
            return str(error), capsys.readouterr().out
        return "", capsys.readouterr().out

    return run


def test_offline(run, tmp_path):
    """With the flag most is found after 30 updates; stock has found nearly nothing by then."""
    error, said = run("--updates", 30, "--learn-rate", 0.003)
    assert not error and "this project GENERATES" in said, said
    assert "stock: spaCy's own loss" in said and "with the flag: CrossEntropy(" in said
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) ", said, re.MULTILINE)
    assert [int(step) for step, _, _ in rows] == list(range(0, 31, 6))
    table = said.partition("Test scores")[2]
    f1 = {}
    for label in ("person", "city", "product", "all"):
        (line,) = [line for line in table.splitlines() if line.startswith(label)]
        f1[label] = [float(f) for f in re.findall(r"([\d.]+) \([\d.]+ / [\d.]+\)", line)]
    stock, block = f1["all"]
    assert block > stock + 30, f1
    curves = [[float(row[column]) for row in rows] for column in (1, 2)]
    best = max(curves[0])
    first = [next(6 * i for i, f in enumerate(curve) if f >= best) for curve in curves]
    reached = f"{best}, is reached by stock after {first[0]} updates, with the flag after"
    assert f"best F1 on dev, {reached} {first[1]}." in table
    assert (tmp_path / "out/curves.png").read_bytes()[:4] == b"\x89PNG"
    assert len(re.findall(r"^    gold  +\S", table, re.MULTILINE)) == 4
    assert "Where nothing is gained" in table
    for name in ("stock", "with-the-flag"):
        nlp = spacy.load(tmp_path / "out" / name / "model-best")
        assert type(nlp.get_pipe("spancat")).__module__ == "spacy.pipeline.spancat"


def test_a_folder_without_entities(run, tmp_path):
    for split in generated.SIZES:
        (tmp_path / f"{split}.conll").write_text("nothing\tO\n\n")
    assert "has no entities or spans in train: nothing to find." in run("--data", tmp_path)[0]


def test_what_fails_says_why(run, tmp_path, monkeypatch):
    """A corpus from a folder is read, and what `spacy train` then says is shown."""
    folder = generated.write(tmp_path / "data")
    monkeypatch.setitem(quickstart.SETTINGS, "training.dropout", "much")
    error, said = run("--data", folder)
    assert f"The corpus in {folder}" in said and "GENERATES" not in said, said
    assert "train: 300 sentences" in said and "dev: 120 sentences" in said
    assert "spacy train (" in error and "dropout" in error.partition("failed:")[2]


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
    grid_settings = dict(item.split("=") for item in block.settings)
    ours, theirs = (
        flat(Config().from_disk(path, overrides=parsed(overrides)))
        for path, overrides in (
            (tmp_path / "c.cfg", settings),
            (configs / "spancat.cfg", grid_settings),
        )
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
