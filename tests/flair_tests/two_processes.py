"""Flair's trainer in two processes on a CPU: `python two_processes.py FOLDER OUT SETTINGS`.

FOLDER holds the corpus. SETTINGS is JSON: a list of {"loss", "use_crf", "chunk"}. Of the first
step of each, the sum of the gradients over both processes is saved in OUT, by number.
"""

import json
import logging
import sys
from pathlib import Path

import flair
import flair.trainers.trainer
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]


def on_cpu(model, device_ids, **options):
    """Flair names a device of each process; CPUs have none."""
    return DistributedDataParallel(model, **options)


def work(rank, folder, out, settings):
    from flair_tests.test_plugin import gradients, spans, tagger

    torch.set_num_threads(1)
    flair.device = torch.device("cpu")
    logging.getLogger("flair").setLevel(logging.WARNING)
    flair.trainers.trainer.DistributedDataParallel = on_cpu
    distributed.init_process_group(
        "gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2
    )
    for number, setting in enumerate(settings):
        if setting["loss"] == "spans":
            model, corpus = spans()
        else:
            model, corpus = tagger(folder, setting["loss"], setting["use_crf"])
        kept = gradients(
            model,
            corpus,
            out / f"train-{number}-{rank}",
            mini_batch_size=16,
            mini_batch_chunk_size=setting["chunk"],
            shuffle=False,
            multi_gpu=True,
        )
        # DDP has averaged them; Flair then multiplies by the number of processes.
        kept = {name: 2 * value for name, value in kept.items()}
        if rank == 0:
            torch.save(kept, out / f"{number}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    folder, out = map(Path, sys.argv[1:3])
    arguments = (folder, out, json.loads(sys.argv[3]))
    torch.multiprocessing.spawn(work, arguments, nprocs=2)
