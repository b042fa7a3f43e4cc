"""How far dice_ner's probabilities can be believed: the expected calibration error.

    python -m benchmarks.calibration --data DIR MODEL [MODEL ...]

DIR holds dev.conll and test.conll; each MODEL is a trained pipeline with a dice_ner. The
entities that it predicts are put into bins by their probability. The error is the mean, over
entities, of the difference between a bin's mean probability and its precision.
"""

import argparse
from pathlib import Path
from typing import Any, List, NamedTuple, Tuple

import numpy
import spacy
from spacy.tokens import Doc

from corpora import columns


class Bin(NamedTuple):
    """Entities of one bin: how many, their mean probability, and the share that is right."""

    count: int
    probability: float
    precision: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    for model in args.models:
        for split in ("dev", "test"):
            p, right = predictions(spacy.load(model), args.data / f"{split}.conll")
            if not len(p):
                print(f"{model} {split}: no entities")
                continue
            bins = reliability(p, right)
            print(
                f"{model} {split}: ECE {expected_error(bins):.3f}, {len(p)} entities, "
                f"mean probability {p.mean():.3f}, precision {right.mean():.3f}"
            )
            for n, of_bin in enumerate(bins):
                if of_bin.count:
                    print(f"  up to {(n + 1) / len(bins):.1f}: {_row(of_bin)}", flush=True)


def predictions(nlp: Any, path: Path) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """Probability of each predicted entity, and whether it is right."""
    (name,) = [n for n in nlp.pipe_names if nlp.get_pipe_meta(n).factory == "dice_ner"]
    nlp.get_pipe(name).cfg["spans_key"] = "scored"
    p: List[float] = []
    right: List[bool] = []
    sentences = list(columns.read(path))
    gold = [Doc(nlp.vocab, words=words, ents=tags) for words, tags in sentences]
    docs = nlp.pipe(Doc(nlp.vocab, words=words) for words, _ in sentences)
    for doc, truth in zip(docs, gold):
        known = {(ent.start, ent.end, ent.label_) for ent in truth.ents}
        p.extend(doc.spans["scored"].attrs["scores"])
        right.extend((s.start, s.end, s.label_) in known for s in doc.spans["scored"])
    return numpy.asarray(p), numpy.asarray(right, dtype=bool)


def reliability(p: numpy.ndarray, right: numpy.ndarray, n_bins: int = 10) -> List[Bin]:
    """Bins of equal width over [0, 1]."""
    at = numpy.minimum((p * n_bins).astype(int), n_bins - 1)
    return [
        Bin(int((at == b).sum()), float(p[at == b].mean()), float(right[at == b].mean()))
        if (at == b).any()
        else Bin(0, 0.0, 0.0)
        for b in range(n_bins)
    ]


def expected_error(bins: List[Bin]) -> float:
    """Mean over entities of |mean probability - precision| of their bin."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.probability - b.precision) for b in bins) / max(total, 1)


def _row(of_bin: Bin) -> str:
    return (
        f"{of_bin.count:5} probability {of_bin.probability:.2f}, precision {of_bin.precision:.2f}"
    )


if __name__ == "__main__":
    main()
