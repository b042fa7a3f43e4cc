"""What a loss over a CRF's marginals costs, as ratios to Flair's ViterbiLoss, in one run.

    python -m benchmarks.speed.crf

Seconds of CPU for one forward and backward pass of the loss from the scores of the last layer,
CRF included. The two of a pair take turns, and each figure is the median of its ratios.
"""

import argparse
import statistics
import time
from typing import Any, Callable, Dict

import torch
from flair.data import Dictionary
from flair.models.sequence_tagger_utils.crf import CRF
from flair.models.sequence_tagger_utils.viterbi import ViterbiLoss

import flair_dice
from dice_core.labels import LabelSpec
from flair_dice.sequence_tagger import chain_head
from flair_dice.targets import read_targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--types", type=int, default=6, help="entity types; tags are 4 each + 3")
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.manual_seed(0)
    tags = Dictionary(add_unk=False)
    tags.add_item("O")
    for i in range(args.types):
        for prefix in "SBEI":
            tags.add_item(f"{prefix}-{i}")
    n_tags = len(tags)
    tags.set_start_stop_tags()
    crf = CRF(tags, len(tags), False)
    lengths = torch.randint(args.length // 2, args.length + 1, (args.batch,)).sort(descending=True)
    lengths = lengths.values
    lengths[0] = args.length
    emissions = torch.randn(args.batch, args.length, len(tags), requires_grad=True)
    gold = torch.randint(0, n_tags, (int(lengths.sum()),))
    viterbi = ViterbiLoss(tags)

    def stock() -> float:
        start = time.process_time()
        viterbi((crf(emissions), lengths, crf.transitions), gold).backward()
        return time.process_time() - start

    def timed(loss: flair_dice.Loss) -> Callable[[], float]:
        labels = LabelSpec("benchmark", tuple(tags.get_items()[:n_tags]), ("O",), crf=True)

        def run() -> float:
            start = time.process_time()
            head = chain_head((crf(emissions), lengths, crf.transitions), gold, tags)
            targets = read_targets(
                head.gold_columns, None, head.logits.detach(), labels, lengths.tolist()
            )
            loss.of_head(head, targets).backward()
            return time.process_time() - start

        return run

    losses: Dict[str, Any] = {
        "CrossEntropy": flair_dice.CrossEntropy(),
        "DiceCE": flair_dice.DiceCE(),
        "CrossEntropy + EntityDice": flair_dice.Compound(["CrossEntropy", "EntityDice"]),
    }
    print(f"B {args.batch}, L {args.length}, {len(tags)} tags, {torch.get_num_threads()} thread(s)")
    for name, loss in losses.items():
        compare(name, timed(loss), stock, args.rounds)


def compare(name: str, ours: Callable[[], float], theirs: Callable[[], float], n: int) -> None:
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(n)]
    ratios = [a / b for a, b in pairs]
    a, b = (1000 * statistics.median(times) for times in zip(*pairs))
    print(
        f"{name + ' / ViterbiLoss':42} {statistics.median(ratios):5.2f}  "
        f"({min(ratios):.2f} to {max(ratios):.2f}; {a:.1f} ms / {b:.1f} ms)",
        flush=True,
    )


if __name__ == "__main__":
    main()
