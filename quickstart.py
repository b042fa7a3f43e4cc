"""The quickstart: one config, trained with cross-entropy and with cross-entropy + Dice.

    python quickstart.py [--data FOLDER]

Gets WNUT 2017 (or reads it from FOLDER, with train.conll, dev.conll and test.conll), trains
configs/ner.cfg twice with `spacy train`, prints the scores of both by entity type, and tags
a few sentences with the saved pipeline.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Tuple

from corpora import columns, generated, in_spacy, wnut17

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "out" / "quickstart"
CACHE = ROOT / ".data" / "wnut17"
# The argument that makes the difference, as the config's first lines give it.
RUNS = {
    "cross-entropy": ["--initialize.after_init.losses.ner.@losses", "spacy_dice.CrossEntropy.v1"],
    "DiceCE": [],
}
SENTENCES = (
    "Just landed in San Francisco with Anna , the Golden Gate is lost in fog",
    "Anyone else's iPhone dying since the last update ? thanks Apple",
    "Watching Stranger Things again with @jonny tonight",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with the corpus; default: download it")
    parser.add_argument("--steps", type=int, help="training steps of each run")
    args = parser.parse_args()
    start = time.time()
    files, steps = get_corpus(args.data)
    corpus = OUT / "corpus"
    for split, path in files.items():
        n = in_spacy.write(columns.read(path), corpus / f"{split}.spacy")
        print(f"{split:>5}: {n} sentences")
    for name, override in RUNS.items():
        print(f"\n=== Training configs/ner.cfg with {name} ===", flush=True)
        train(OUT / name, corpus, override, args.steps or steps)
    print_scores({name: evaluate(OUT / name, corpus / "test.spacy") for name in RUNS})
    tag(OUT / "DiceCE" / "model-best")
    print(f"\nDone in {time.time() - start:.0f} seconds. The pipelines are in {OUT}.")


def get_corpus(local: Any) -> Tuple[Dict[str, Path], int]:
    """The files of each split, and how many steps of training they are worth."""
    if local is not None:
        print(f"Reading the corpus from {local}.")
        return wnut17.locate(CACHE, local), 1500
    try:
        files = wnut17.locate(CACHE)
        print("WNUT 2017 (Derczynski et al., CC BY 4.0), checksums verified.")
        return files, 1500
    except wnut17.Unreachable as error:
        print(f"Could not download WNUT 2017 ({error}).")
        print("Using a small corpus that this project generates itself: its scores say nothing")
        print("about real text. With the real one on disk: make quickstart DATA=folder")
        folder = generated.write(Path(tempfile.mkdtemp()))
        return {split: folder / f"{split}.conll" for split in generated.SIZES}, 300


def train(out: Path, corpus: Path, override: list, steps: int) -> None:
    command = [sys.executable, "-m", "spacy", "train", "configs/ner.cfg", "--output", str(out)]
    command += ["--paths.train", str(corpus / "train.spacy")]
    command += ["--paths.dev", str(corpus / "dev.spacy")]
    command += ["--training.max_steps", str(steps), *override]
    print("$", " ".join(["spacy", *command[3:]]), flush=True)
    subprocess.run(command, check=True, cwd=ROOT)


def evaluate(out: Path, test: Path) -> Dict[str, Any]:
    import spacy
    from spacy.training import Corpus

    nlp = spacy.load(out / "model-best")
    return nlp.evaluate(list(Corpus(test)(nlp)))


def print_scores(scores: Dict[str, Dict[str, Any]]) -> None:
    """F1, precision and recall on the test split, by entity type and over all."""
    types = sorted({t for s in scores.values() for t in s["ents_per_type"] or {}})
    print("\nTest scores, in per cent: F1 (precision / recall)\n")
    print(f"{'':18}" + "".join(f"{name:>24}" for name in scores))
    zero = {"f": 0.0, "p": 0.0, "r": 0.0}
    for label in types:
        rows = [(s["ents_per_type"] or {}).get(label, zero) for s in scores.values()]
        print(f"{label:18}" + "".join(_cell(row["f"], row["p"], row["r"]) for row in rows))
    rows = [(s["ents_f"] or 0, s["ents_p"] or 0, s["ents_r"] or 0) for s in scores.values()]
    print(f"{'all':18}" + "".join(_cell(*row) for row in rows))
    print("\nOne seed each: a difference of a point or two is noise. See benchmarks/.")


def _cell(f: float, p: float, r: float) -> str:
    return f"{100 * f:>10.1f} ({100 * p:.1f} / {100 * r:.1f})".rjust(24)


def tag(model: Path) -> None:
    """What a user does with the saved pipeline. It is stock: spacy_dice is not needed."""
    import spacy

    nlp = spacy.load(model)
    print("\nTagged with the pipeline that was trained with DiceCE:\n")
    for doc in nlp.pipe(SENTENCES):
        print(f"  {doc.text}")
        print("    " + (", ".join(f"{e.text} [{e.label_}]" for e in doc.ents) or "-"))


if __name__ == "__main__":
    main()
