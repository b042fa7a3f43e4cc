"""Several processes learn what one does with a batch of all of theirs."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from flair_tests.helpers import LOSSES
from flair_tests.test_plugin import distance, gradients, spans, tagger

NAMES = ["ce", "dice_batch", "dsc", "tversky", "dice_ce", "ce_entity"]
SETTINGS = [
    {"loss": LOSSES[name], "use_crf": use_crf, "chunk": chunk}
    for name, use_crf, chunk in [
        *((name, False, None) for name in NAMES),
        ("dice_ce", True, None),
        ("ce_entity", True, None),
        ("dice_ce", False, 5),
    ]
]
# The second process gets the sentences without any span.
SETTINGS += [{"loss": "spans", "use_crf": False, "chunk": chunk} for chunk in (None, 5)]


def test_gradient_is_that_of_one_process(folder, tmp_path):
    worker = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, worker, folder, tmp_path, json.dumps(SETTINGS)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    distances = []
    for number, setting in enumerate(SETTINGS):
        if setting["loss"] == "spans":
            model, corpus = spans()
        else:
            model, corpus = tagger(folder, setting["loss"], setting["use_crf"])
        parallel = torch.load(tmp_path / f"{number}.pt")
        distances.append(distance(gradients(model, corpus, tmp_path / "one"), parallel))
    assert max(distances) < 1e-4, distances
