"""Two processes with a batch of 16 each give the gradient of one with a batch of 32."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
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


@pytest.fixture(scope="module")
def of_two(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    worker = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, worker, folder, out, json.dumps(SETTINGS)],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"{number}.pt") for number in range(len(SETTINGS))]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_gradient_is_that_of_one_process(number, of_two, folder, tmp_path):
    setting = SETTINGS[number]
    if setting["loss"] == "spans":
        model, corpus = spans()
    else:
        model, corpus = tagger(folder, setting["loss"], setting["use_crf"])
    of_one = gradients(model, corpus, tmp_path)
    assert distance(of_one, of_two[number]) < 1e-5
