"""Corpora and a way into spaCy's command line, for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import columns, generated

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with train.spacy, dev.spacy and test.spacy of the generated corpus."""
    folder = generated.write(tmp_path_factory.mktemp("corpus"))
    for split in generated.SIZES:
        columns.write(columns.read(folder / f"{split}.conll"), folder / f"{split}.spacy")
    return folder


@pytest.fixture(scope="session")
def run_spacy():
    """Run `spacy ...` as a user would. RETURNS (exit status, everything it printed)."""

    def run(*args, cwd=ROOT, env=None):
        done = subprocess.run(
            [sys.executable, "-m", "spacy", *map(str, args)],
            cwd=cwd,
            env={**os.environ, "NO_COLOR": "1", "ANSI_COLORS_DISABLED": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return run


@pytest.fixture(scope="session")
def configs():
    return ROOT / "configs"
