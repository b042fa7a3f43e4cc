"""The quickstart, from a folder and offline, in a few steps."""

import subprocess
import sys
from pathlib import Path

import pytest

from corpora import generated

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("offline", [False, True])
def test_quickstart(offline, tmp_path):
    folder = generated.write(tmp_path / "data")
    setup = (
        "import sys, pathlib, quickstart; from corpora import wnut17;"
        "wnut17.HOME = 'http://127.0.0.1:9/';"
        f"quickstart.OUT = pathlib.Path({str(tmp_path / 'out')!r});"
        f"quickstart.CACHE = pathlib.Path({str(tmp_path / 'cache')!r});"
        "quickstart.main()"
    )
    args = ["--steps", "120", *([] if offline else ["--data", str(folder)])]
    done = subprocess.run(
        [sys.executable, "-c", setup, *args], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("small corpus that this project generates itself" in done.stdout) == offline
    table = done.stdout.partition("Test scores")[2]
    for label in ("person", "city", "product", "all"):
        assert any(line.startswith(label) for line in table.splitlines())
    assert "Tagged with the pipeline that was trained with DiceCE" in table
    assert (tmp_path / "out/DiceCE/model-best").exists()
