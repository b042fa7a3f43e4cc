"""benchmarks.compare.reading, from the command lines of its docstring."""

import argparse
import json

import pytest
import spacy

from benchmarks.compare.reading import draw, main
from spacy_tests import reading


def invoke(*args):
    main([str(arg) for arg in args])


@pytest.fixture
def articles(tmp_path):
    """A file of 20 articles, each with a paragraph of two questions."""
    content = json.loads(reading.write(tmp_path / "all.json", 20).read_text())
    paragraphs = content["data"][0]["paragraphs"]
    for number, paragraph in enumerate(paragraphs):
        paragraph["context"] += f" It was in year {number}."
    content["data"] = [{"paragraphs": [paragraph]} for paragraph in paragraphs]
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path / "all.json"


def test_training_and_speed(articles, small_bert, tmp_path, capsys):
    test = reading.write(tmp_path / "test.json", 4, seed=1)
    invoke(
        *("train", "--transformer", small_bert, "--train", articles, "--test", test),
        *("--loss", "ce", "--epochs", 6, "--learning-rate", 1e-3, "--size", 30),
        *("--held-out", 8, "--results", tmp_path / "r.jsonl"),
    )
    (line,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (line["size"], line["loss"], line["scores"]["held out"]["questions"]) == (30, "ce", 8)
    assert line["scores"][tmp_path.name]["f1"] > 0.5 and len(line["losses"]) == 6
    invoke("speed", "--transformer", small_bert, "--test", test, "--rounds", 1, "--size", 4)
    assert "ratio:" in capsys.readouterr().out


def test_training_and_test_are_of_different_articles(articles):
    args = argparse.Namespace(train=[articles], seed=0, size=15, held_out=12, longest=0)
    train, test = draw(spacy.blank("en"), args)
    texts = [{example.reference.text for example in part} for part in (train, test)]
    assert (len(train), len(test)) == (15, 12) and not texts[0] & texts[1]
    args.seed = 1
    assert {example.reference.text for example in draw(spacy.blank("en"), args)[1]} != texts[1]


def test_report(tmp_path, capsys):
    """Means, their intervals, and differences from cross-entropy by seed."""
    lines = []
    for loss, first in (("ce", 0.1), ("dice_ce", 0.15)):
        for seed in range(3):
            scores = {"held out": {"questions": 9, "exact": 0.5, "f1": first + seed / 10}}
            line = {"task": "reading", "data": "d", "size": 9, "trainer": "spacy", "loss": loss}
            lines.append({**line, "seed": seed, "settings": {"epochs": 2}, "scores": scores})
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    invoke("report", tmp_path / "r.jsonl")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| spacy")]
    assert rows == [
        "| spacy | ce | 3 | 50.0 ± 0.0 | 20.0 ± 24.8 |  |",
        "| spacy | dice_ce | 3 | 50.0 ± 0.0 | 25.0 ± 24.8 | +5.0 ± 0.0 |",
    ]
