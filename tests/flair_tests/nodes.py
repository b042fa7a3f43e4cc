"""Flair's trainer under torchrun, on CPUs: `torchrun ... nodes.py FOLDER OUT LOSS`.

FOLDER holds the corpus, LOSS is JSON. What the first process has learnt in an epoch is saved in
OUT/learnt.pt, with the number of processes.
"""

import json
import logging
import os
import sys
from pathlib import Path

import flair
import flair.trainers.trainer
import torch
from torch import distributed

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]


def main(folder, out, loss):
    from flair_tests.test_distributed import learn
    from flair_tests.two_processes import on_cpu

    torch.set_num_threads(1)
    flair.device = torch.device("cpu")
    logging.getLogger("flair").setLevel(logging.WARNING)
    flair.trainers.trainer.DistributedDataParallel = on_cpu
    distributed.init_process_group("gloo")  # torchrun has set who is who
    rank, size = distributed.get_rank(), distributed.get_world_size()
    learnt = learn(folder, out / f"train-{rank}", loss, batch=20 // size, multi_gpu=True)
    if rank == 0:
        nodes = size // int(os.environ["LOCAL_WORLD_SIZE"])
        torch.save({"learnt": learnt, "size": size, "nodes": nodes}, out / "learnt.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
