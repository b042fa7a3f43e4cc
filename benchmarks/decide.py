"""What deciding for F1 is worth: test scores before and after `spacy_dice.tune`.

    python -m benchmarks.decide --data FOLDER [--cell NAME ...] [--seeds 3] [--train-only]

FOLDER holds a folder for each corpus. Each cell is a corpus, a size and a component, trained on
the CPU with each loss and seed by plain `nlp.update` loops, best evaluation on dev kept; the
pipelines are kept in --cache. `tune` sees dev alone, with no option set. Lines go to
benchmarks/results/decide/spacy.jsonl: micro and macro F1 on test before and after, what `tune`
estimated,
seconds, the expected calibration error and Brier score on test before and after `calibrate`, and
how well the probabilities of a stock ner's entities rank them.
"""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy
import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words
from spacy.util import fix_random_seed, minibatch

from corpora import columns, folders

from .cell import RESULTS, append

KEY = ("cell", "loss", "seed")


class Cell(NamedTuple):
    """size: training examples drawn at random (of a fixed seed); 0 is all."""

    data: str
    component: str
    size: int
    updates: int
    batch_words: int
    losses: Tuple[str, ...]


CELLS = {
    "goemotions_3000": Cell(
        "goemotions", "textcat_multilabel", 3000, 240, 0, ("stock", "ce", "dice_ce")
    ),
    "ncbi_300_ner": Cell("ncbi_disease", "ner", 300, 300, 1000, ("stock", "dice_ce")),
    "ncbi_300_dice_ner": Cell("ncbi_disease", "dice_ner", 300, 300, 1000, ("ce", "dice_ce")),
    "wnut17_ner": Cell("wnut17", "ner", 0, 600, 1000, ("stock", "dice_ce")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora's folders")
    parser.add_argument("--cell", nargs="*", default=list(CELLS), choices=CELLS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(".data/decide"))
    parser.add_argument("--results", type=Path, default=RESULTS / "decide/spacy.jsonl")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--cached-only", action="store_true", help="measure what is trained")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for name in args.cell:
            for loss in CELLS[name].losses:
                path = args.cache / name / loss / str(seed)
                if not (path / "meta.json").exists():
                    if args.cached_only:
                        continue
                    path.mkdir(parents=True, exist_ok=True)
                    train(CELLS[name], loss, seed, args.data).to_disk(path)
                    print("trained", name, loss, seed, flush=True)
                if not args.train_only:
                    line = {"cell": name, "loss": loss, "seed": seed}
                    if not is_done(line, args.results):
                        line.update(measure(path, CELLS[name], args.data))
                        append(line, args.results)
                        print(json.dumps(line), flush=True)


def is_done(line: Dict[str, Any], results: Path) -> bool:
    lines = results.read_text().splitlines() if results.exists() else []
    return any(all(json.loads(done)[k] == line[k] for k in KEY) for done in lines)


def measure(path: Path, cell: Cell, data: Path) -> Dict[str, Any]:
    """One line: everything that is said of one pipeline."""
    import spacy_dice

    nlp, name = spacy.load(path), cell.component
    dev, test = (list(read(cell, data, split, nlp)) for split in ("dev", "test"))

    def ece_on_test() -> List[float]:
        of = spacy_dice.calibrate(nlp, test, [name], fit=False)[name].before
        return [of.ece, of.brier]

    before, _ = _timed(lambda: scores(nlp, cell, test))
    _, seconds_evaluate = _timed(lambda: scores(nlp, cell, dev))
    ece = {"before": ece_on_test()}
    temperature = spacy_dice.calibrate(nlp, dev, [name])[name].temperature
    ece["calibrated"] = ece_on_test()
    same = scores(nlp, cell, test)["micro_f"] - before["micro_f"]
    spacy_dice.untune(nlp)
    report, seconds = _timed(lambda: spacy_dice.tune(nlp, dev))
    part, after = report[name], scores(nlp, cell, test)
    spacy_dice.calibrate(nlp, dev, [name])
    ece["tuned_and_calibrated"] = ece_on_test()
    line = {
        "before": before,
        "after": after,
        "dev_before": {"micro_f": part.before.micro.f, "macro_f": part.before.macro.f},
        "dev_estimate": {"micro_f": part.estimate.micro.f, "macro_f": part.estimate.macro.f},
        "tuned": part.tuned,
        "rule": part.rule,
        "decodings": part.decodings,
        "seconds": seconds,
        "seconds_evaluate_dev": seconds_evaluate,
        "test_ece_brier": ece,
        "temperature": temperature,
        "f_change_by_calibrating": same,
    }
    if name == "ner":
        line["risk_coverage_area"] = ranking(nlp, test[:300])
    return line


def ranking(nlp: Any, examples: List[Example], beam_width: int = 16) -> Dict[str, float]:
    """Areas under the risk-coverage curve of the entities that greedy parsing finds: by the product
    of their actions' probabilities, and by the share of a beam's parses that have them."""
    from dice_core.calibration import risk_coverage_area
    from spacy_dice.tuning.parts import path_scores

    pipe = nlp.get_pipe("ner")
    docs = [_copy(eg.reference) for eg in examples]
    found, rows = path_scores(pipe, docs)
    p = [numpy.exp(r[:, 0] - numpy.logaddexp.reduce(r, axis=1)).prod() for r in rows]
    right, by_beam = [], []
    beams = pipe.beam_parse(docs, beam_width=beam_width, beam_density=0.0)
    for eg, beam, spans in zip(examples, beams, found):
        gold = {(e.start, e.end, e.label_) for e in eg.reference.ents}
        parses = pipe.moves.get_beam_parses(beam)
        for span in spans:
            right.append(span in gold)
            by_beam.append(sum(share for share, parse in parses if span in parse))
    return {
        "entities": len(right),
        "error": 1 - sum(right) / max(len(right), 1),
        "product": risk_coverage_area(p, right),
        "beam": risk_coverage_area(by_beam, right),
    }


def scores(nlp: Any, cell: Cell, examples: List[Example]) -> Dict[str, float]:
    """Micro and macro F1, from 0 to 100."""
    found = nlp.evaluate([Example(_copy(eg.reference), eg.reference) for eg in examples])
    if cell.component.startswith("textcat"):
        micro, macro = found["cats_micro_f"], found["cats_macro_f"]
    else:
        micro = found["ents_f"]
        of_type = found["ents_per_type"] or {}
        macro = sum(one["f"] for one in of_type.values()) / max(len(of_type), 1)
    return {"micro_f": 100 * (micro or 0.0), "macro_f": 100 * (macro or 0.0)}


def read(cell: Cell, data: Path, split: str, nlp: Any) -> Iterator[Example]:
    folder = data / cell.data
    if cell.data == "goemotions":
        labels = (folder / "labels.txt").read_text().split()
        for line in (folder / f"{split}.tsv").read_text(encoding="utf8").splitlines():
            text, ids = line.split("\t")[:2]
            gold = nlp.make_doc(text)
            present = {labels[int(i)] for i in ids.split(",")}
            gold.cats = {label: float(label in present) for label in labels}
            yield Example(_copy(gold), gold)
    else:
        for words, tags in columns.read(folders.files(folder)[split]):
            gold = Doc(nlp.vocab, words=words, ents=tags)
            yield Example(_copy(gold), gold)


def _copy(doc: Doc) -> Doc:
    return Doc(doc.vocab, words=[t.text for t in doc], spaces=[bool(t.whitespace_) for t in doc])


def train(cell: Cell, loss: str, seed: int, data: Path) -> Any:
    """A trained pipeline: the best of its evaluations on dev."""
    import spacy_dice

    fix_random_seed(seed)
    nlp = spacy.blank("en")
    examples = list(read(cell, data, "train", nlp))
    if cell.size:
        examples = random.Random(0).sample(examples, cell.size)
    dev = list(read(cell, data, "dev", nlp))
    dev = dev if cell.component != "textcat_multilabel" else dev[:2000]
    nlp.add_pipe(cell.component, config=_config(cell, loss))
    nlp.initialize(lambda: examples)
    if loss != "stock" and cell.component != "dice_ner":
        spacy_dice.use_loss(nlp, {cell.component: _loss(loss)})
    optimizer = nlp.create_optimizer()
    optimizer.learn_rate = 0.001
    best, best_score = nlp.to_bytes(), -1.0
    batches = _batches(cell, examples, random.Random(seed))
    for step in range(1, cell.updates + 1):
        nlp.update(next(batches), sgd=optimizer, drop=0.1)
        if step % (cell.updates // 6) == 0:
            score = scores(nlp, cell, dev)["micro_f"]
            if score > best_score:
                best, best_score = nlp.to_bytes(), score
    spacy_dice.restore(nlp)
    return nlp.from_bytes(best)


def _batches(cell: Cell, examples: List[Example], rng: random.Random) -> Iterator[List[Example]]:
    while True:
        rng.shuffle(examples)
        if cell.batch_words:
            yield from minibatch_by_words(examples, cell.batch_words)
        else:
            yield from minibatch(examples, 128)


def _loss(name: str) -> Any:
    import spacy_dice

    if name == "dice_ce":
        return spacy_dice.DiceCE(average="micro")
    return spacy_dice.CrossEntropy()


def _config(cell: Cell, loss: str) -> Dict[str, Any]:
    wide = not cell.component.startswith("textcat")
    tok2vec = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 96 if wide else 64,
        "depth": 4 if wide else 2,
        "embed_size": 2000,
        "window_size": 1,
        "maxout_pieces": 3,
        "subword_features": True,
    }
    if cell.component == "ner":
        return {
            "model": {
                "@architectures": "spacy.TransitionBasedParser.v2",
                "state_type": "ner",
                "extra_state_tokens": False,
                "hidden_width": 64,
                "maxout_pieces": 2,
                "use_upper": True,
                "tok2vec": tok2vec,
            }
        }
    if cell.component == "dice_ner":
        of_ours = "CrossEntropy" if loss == "ce" else "DiceCE"
        model = {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}
        return {"model": model, "loss": {"@losses": f"spacy_dice.{of_ours}.v1"}}
    linear = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": False,
        "ngram_size": 1,
        "no_output_layer": False,
    }
    return {
        "model": {
            "@architectures": "spacy.TextCatEnsemble.v2",
            "tok2vec": tok2vec,
            "linear_model": linear,
        }
    }


def _timed(call: Any) -> Tuple[Any, float]:
    start = time.perf_counter()
    made = call()
    return made, round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
