"""Several processes learn what one does with a batch of all of theirs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flair_dice import LossPlugin
from flair_tests.helpers import LOSSES, parameters, train
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


def learn(folder, out, loss, batch, **options):
    """An epoch of plain SGD over 32 sentences, in their order."""
    model, corpus = tagger(folder, loss, use_crf=False)
    before = parameters(model)
    settings = {"optimizer": torch.optim.SGD, "learning_rate": 0.1, "max_grad_norm": None}
    settings.update(shuffle=False, plugins=[LossPlugin()], mini_batch_size=batch)
    train(model, corpus, out, epochs=1, **settings, **options)
    return {name: value - before[name] for name, value in parameters(model).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ce", "dice_batch", "dice_ce"])
def test_two_nodes_of_two_processes(name, folder, tmp_path):
    """Four processes with batches of 5 and 3 learn what one does with batches of 20 and 12."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    launch += ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "nodes"]
    launch += ["--rdzv-endpoint", f"localhost:{port}", "--local-addr", "localhost"]
    program = Path(__file__).with_name("nodes.py")
    nodes = [
        subprocess.Popen(
            [*launch, program, folder, tmp_path, json.dumps(LOSSES[name])],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [node.communicate(timeout=600)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)
    found = torch.load(tmp_path / "learnt.pt")
    assert (found["size"], found["nodes"]) == (4, 2)
    alone = learn(folder, tmp_path / "one", LOSSES[name], batch=20)
    assert max(value.abs().max() for value in alone.values()) > 1e-3
    assert distance(alone, found["learnt"]) < 1e-5


def test_gradient_is_that_of_one_process(folder, tmp_path):
    worker = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, worker, folder, tmp_path, json.dumps(SETTINGS)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    distances = []
    for number, setting in enumerate(SETTINGS):
        if setting["loss"] == "spans":
            model, corpus = spans()
        else:
            model, corpus = tagger(folder, setting["loss"], setting["use_crf"])
        of_two = torch.load(tmp_path / f"{number}.pt")
        distances.append(distance(gradients(model, corpus, tmp_path / "one"), of_two))
    assert max(distances) < 1e-5, distances
