"""The short scripts under examples/ run, small, and say what they found."""

import re
from importlib import import_module

import pytest

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
