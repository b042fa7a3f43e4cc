"""One cell of the comparison: train one model with one loss and one seed, and score it.

    python -m benchmarks.cell --data DIR --model ner --loss dice_ce --seed 0

DIR is a corpus in any format of `corpora.in_spacy`. The pipeline is trained by `spacy train` on
configs/MODEL.cfg with nothing changed but the loss, the seed and what --set names. One JSON
line is appended to benchmarks/results/spacy.jsonl; a cell that is there already is skipped.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parent.parent
KEY = ("data", "size", "model", "loss", "seed", "settings")
VERSIONS = ("spacy", "thinc", "numpy", "spacy-transformers", "torch")


def main() -> None:
    from .recipes import RECIPES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--model", required=True, help="name of a file in configs/")
    parser.add_argument("--loss", required=True, choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=0, help="training docs; 0 is all")
    parser.add_argument("--gpu-id", type=int, default=-1)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="config overrides"
    )
    parser.add_argument("--keep", type=Path, help="where to keep the trained pipeline")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/spacy.jsonl")
    args = parser.parse_args()
    cell = {
        "data": args.data.resolve().name,
        "size": args.size or "full",
        "model": args.model,
        "loss": args.loss,
        "seed": args.seed,
        "settings": sorted(item for item in args.set if not item.startswith("paths.")),
    }
    if args.results.exists():
        for line in args.results.read_text().splitlines():
            done = json.loads(line)
            if all(done.get(key) == cell[key] for key in KEY):
                print("Done already:", cell)
                return
    with tempfile.TemporaryDirectory() as folder:
        result = run(cell, args.data, RECIPES[args.loss], Path(folder), args.set, args.gpu_id)
        if args.keep:
            shutil.copytree(Path(folder) / "out/model-best", args.keep)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    with args.results.open("a") as file_:
        file_.write(json.dumps({**cell, **result}) + "\n")
    print(json.dumps({**cell, "dev": result["dev"]["f"], "test": result["test"]["f"]}))


def run(
    cell: Dict[str, Any],
    data: Path,
    recipe: Dict[str, Any],
    folder: Path,
    settings: List[str],
    gpu_id: int,
) -> Dict[str, Any]:
    import spacy
    from spacy.training import Corpus
    from thinc.api import Config

    from corpora import in_spacy

    in_spacy.write_folder(data, folder, cell["size"] if isinstance(cell["size"], int) else None)
    config = Config().from_disk(ROOT / "configs" / f"{cell['model']}.cfg", interpolate=False)
    name = config["nlp"]["pipeline"][-1]
    if name.startswith("dice_"):
        config["components"][name]["loss"] = recipe
    else:
        config["initialize"]["after_init"]["losses"][name] = recipe
    config.to_disk(folder / "config.cfg", interpolate=False)
    command = [sys.executable, "-m", "spacy", "train", str(folder / "config.cfg")]
    command += ["--output", str(folder / "out"), "--gpu-id", str(gpu_id)]
    command += ["--paths.train", str(folder / "train.spacy")]
    command += ["--paths.dev", str(folder / "dev.spacy"), "--system.seed", str(cell["seed"])]
    command += ["--training.logger.output_file", str(folder / "log.jsonl")]
    for item in settings:
        key, _, value = item.partition("=")
        command += [f"--{key}", value]
    start = time.time()
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.time() - start
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    nlp = spacy.load(folder / "out/model-best")
    scores = {}
    for split in ("dev", "test"):
        examples = list(Corpus(folder / f"{split}.spacy")(nlp))
        scores[split] = score(name, nlp.evaluate(examples), examples)
    return {
        **scores,
        "train_counts": train_counts(name, nlp, folder / "train.spacy"),
        "curve": [[row["step"], row["score"]] for row in log if row["score"] is not None],
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in VERSIONS if _installed(name)},
    }


def score(component: str, scores: Dict[str, Any], examples: Any) -> Dict[str, Any]:
    """What counts of a component: micro F1, precision and recall; macro F1; F1 of each type."""
    if component == "tagger":
        micro, per_type = tag_scores(examples)
    elif component == "textcat":
        per_type = scores["cats_f_per_type"]
        micro = {key: scores[f"cats_micro_{key}"] for key in "fpr"}
    else:
        prefix = "spans_sc" if component == "spancat" else "ents"
        per_type = scores[f"{prefix}_per_type"] or {}
        micro = {key: scores[f"{prefix}_{key}"] or 0.0 for key in "fpr"}
    fs = [row["f"] for row in per_type.values()]
    return {
        **micro,
        "macro_f": sum(fs) / len(fs) if fs else 0.0,
        "per_type": {name: row["f"] for name, row in sorted(per_type.items())},
    }


def train_counts(component: str, nlp: Any, path: Path) -> Dict[str, int]:
    """How often each type is in the training data."""
    from spacy.tokens import DocBin

    counts: Counter = Counter()
    for doc in DocBin().from_disk(path).get_docs(nlp.vocab):
        if component == "tagger":
            counts.update(token.tag_ for token in doc if token.tag_)
        elif component == "textcat":
            counts.update(label for label, value in doc.cats.items() if value)
        else:
            counts.update(ent.label_ for ent in doc.ents)
    return dict(sorted(counts.items()))


def tag_scores(examples: Any) -> Any:
    """Micro scores, and those of each tag."""
    from spacy.scorer import PRFScore

    micro, per_tag = PRFScore(), {}
    for eg in examples:
        gold = eg.get_aligned("TAG", as_string=True)
        for token, tag in zip(eg.predicted, gold):
            if tag:
                for label in {tag, token.tag_}:
                    found = per_tag.setdefault(label, PRFScore())
                    found.score_set({label} & {token.tag_}, {label} & {tag})
                micro.score_set({token.tag_}, {tag})
    of = lambda prf: {"f": prf.fscore, "p": prf.precision, "r": prf.recall}  # noqa: E731
    return of(micro), {tag: of(prf) for tag, prf in per_tag.items()}


def _installed(name: str) -> bool:
    try:
        version(name)
        return True
    except Exception:
        return False


if __name__ == "__main__":
    main()
