"""How far an ner's probabilities can be believed: calibration error, and how they rank entities.

    python -m benchmarks.compare.calibration --data DIR MODEL [MODEL ...]

DIR holds dev.conll and test.conll; each MODEL is a trained pipeline with a dice_ner or a stock
ner. The entities that it predicts are put into bins by their probability: dice_ner's own, or the
product of the probabilities of the actions that made an entity of ner. The error is the mean,
over entities, of the difference between a bin's mean probability and its precision. Of ner also
the areas under the risk-coverage curve, the lower the better, of that product and of the share of
a beam's parses that have the entity.
"""

import argparse
from pathlib import Path
from typing import Any, List, NamedTuple, Tuple

import numpy
import spacy
from spacy.tokens import Doc, Span

from dice_core import columns
from dice_core.tuning.calibration import expected_calibration_error, risk_coverage_area
from spacy_dice.tuning.transitions import path_scores

BEAM = 16


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
            nlp, path = spacy.load(model), args.data / f"{split}.conll"
            (name,) = [n for n, f in nlp.pipe_factories.items() if f in ("dice_ner", "ner")]
            is_stock = nlp.pipe_factories[name] == "ner"
            find = of_actions if is_stock else predictions
            p, right, docs = find(nlp, name, list(columns.read(path)))
            if not len(p):
                print(f"{model} {split}: no entities")
                continue
            print(
                f"{model} {split}: ECE {expected_calibration_error(p, right):.3f}, "
                f"{len(p)} entities, mean probability {p.mean():.3f}, precision {right.mean():.3f}"
            )
            bins = reliability(p, right)
            for n, of_bin in enumerate(bins):
                if of_bin.count:
                    print(f"  up to {(n + 1) / len(bins):.1f}: {_row(of_bin)}", flush=True)
            if is_stock:
                shares = of_beam(nlp.get_pipe(name), docs)
                by_beam = risk_coverage_area(shares, right)
                print(
                    f"  risk-coverage area: {risk_coverage_area(p, right):.3f} by actions, "
                    f"{by_beam:.3f} by a beam of {BEAM}; error {1 - right.mean():.3f}"
                )


Found = Tuple[numpy.ndarray, numpy.ndarray, List[Doc]]


def predictions(nlp: Any, name: str, sentences: List[columns.Sentence]) -> Found:
    """Probability of each entity that a dice_ner predicts, and whether it is right; and docs."""
    nlp.get_pipe(name).cfg["spans_key"] = "scored"
    p: List[float] = []
    right: List[bool] = []
    docs = list(nlp.pipe(Doc(nlp.vocab, words=words) for words, _ in sentences))
    for doc, known in zip(docs, _gold(nlp, sentences)):
        p.extend(doc.spans["scored"].attrs["scores"])
        right.extend((s.start, s.end, s.label_) in known for s in doc.spans["scored"])
    return numpy.asarray(p), numpy.asarray(right, dtype=bool), docs


def of_actions(nlp: Any, name: str, sentences: List[columns.Sentence]) -> Found:
    """The same of a stock ner, by the product of its actions' probabilities."""
    with nlp.select_pipes(disable=name):
        docs = list(nlp.pipe(Doc(nlp.vocab, words=words) for words, _ in sentences))
    found, rows = path_scores(nlp.get_pipe(name), docs)
    p = [numpy.exp(r[:, 0] - numpy.logaddexp.reduce(r, axis=1)).prod() for r in rows]
    right = [s in known for spans, known in zip(found, _gold(nlp, sentences)) for s in spans]
    for doc, spans in zip(docs, found):
        doc.spans["found"] = [Span(doc, *span) for span in spans]
    return numpy.asarray(p), numpy.asarray(right, dtype=bool), docs


def of_beam(pipe: Any, docs: List[Doc]) -> List[float]:
    """The share of a beam's parses that have each entity of docs that `of_actions` made."""
    shares = []
    for doc, beam in zip(docs, pipe.beam_parse(docs, beam_width=BEAM, beam_density=0.0)):
        parses = pipe.moves.get_beam_parses(beam)
        for span in doc.spans["found"]:
            key = (span.start, span.end, span.label_)
            shares.append(sum(share for share, parse in parses if key in parse))
    return shares


def _gold(nlp: Any, sentences: List[columns.Sentence]) -> List[Any]:
    docs = [Doc(nlp.vocab, words=words, ents=tags) for words, tags in sentences]
    return [{(ent.start, ent.end, ent.label_) for ent in doc.ents} for doc in docs]


def reliability(p: numpy.ndarray, right: numpy.ndarray, n_bins: int = 10) -> List[Bin]:
    """Bins of equal width over [0, 1]."""
    at = numpy.minimum((p * n_bins).astype(int), n_bins - 1)
    return [
        Bin(int((at == b).sum()), float(p[at == b].mean()), float(right[at == b].mean()))
        if (at == b).any()
        else Bin(0, 0.0, 0.0)
        for b in range(n_bins)
    ]


def _row(of_bin: Bin) -> str:
    return (
        f"{of_bin.count:5} probability {of_bin.probability:.2f}, precision {of_bin.precision:.2f}"
    )


if __name__ == "__main__":
    main()
