"""Cells of spaCy: `spacy train` on a file of configs/."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict

from .recipes import Recipe, as_config
from .scores import of_pipeline, train_counts
from .versions import versions

NAME = "spacy"
ROOT = Path(__file__).resolve().parent.parent
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def run(
    cell: Dict[str, Any], recipe: Recipe, data: Path, folder: Path, args: Any, transformer: str
) -> Dict[str, Any]:
    """Train and score. RETURNS what is measured: lines of the results beside the cell's key."""
    import spacy
    from spacy.training import Corpus
    from thinc.api import Config

    from corpora import in_spacy

    in_spacy.write_folder(data, folder, args.size or None)
    config = Config().from_disk(ROOT / "configs" / f"{cell['model']}.cfg", interpolate=False)
    name = config["nlp"]["pipeline"][-1]
    if name.startswith("dice_"):
        config["components"][name]["loss"] = as_config(recipe)
    else:
        config["initialize"]["after_init"]["losses"][name] = as_config(recipe)
    config.to_disk(folder / "config.cfg", interpolate=False)
    command = [sys.executable, "-m", "spacy", "train", str(folder / "config.cfg")]
    command += ["--output", str(folder / "out"), "--gpu-id", str(args.gpu_id)]
    command += ["--paths.train", str(folder / "train.spacy")]
    command += ["--paths.dev", str(folder / "dev.spacy"), "--system.seed", str(cell["seed"])]
    command += ["--training.logger.output_file", str(folder / "log.jsonl")]
    if transformer:
        command += ["--paths.transformer", transformer]
    for item in args.set:
        key, _, value = item.partition("=")
        command += [f"--{key}", value]
    start = time.time()
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds = time.time() - start
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    nlp = spacy.load(folder / "out/model-best")
    read = lambda split: list(Corpus(folder / f"{split}.spacy")(nlp))  # noqa: E731
    measured = {split: of_pipeline(nlp, name, read(split)) for split in ("dev", "test")}
    if name == "dice_ner":
        measured["best_threshold"] = best_threshold(nlp, name, read)
    if args.keep:
        shutil.copytree(folder / "out/model-best", args.keep)
    return {
        **measured,
        "train_counts": train_counts(name, [eg.reference for eg in read("train")]),
        "curve": [[row["step"], row["score"]] for row in log if row["score"] is not None],
        "seconds": round(seconds, 1),
        "versions": versions("spacy", "thinc", "numpy", "spacy-transformers", "torch"),
    }


def best_threshold(nlp: Any, name: str, read: Any) -> Dict[str, float]:
    """dice_ner's threshold with the best F1 on dev, and micro F1 with it on dev and test."""
    pipe = nlp.get_pipe(name)

    def f(examples: Any, threshold: float) -> float:
        pipe.cfg["threshold"] = threshold
        for eg in examples:
            eg.predicted.ents = []
        docs = [eg.predicted for eg in examples]
        pipe.set_annotations(docs, pipe.predict(docs))
        return pipe.score(examples)["ents_f"] or 0.0

    before, of_split = pipe.cfg["threshold"], {}
    with nlp.select_pipes(disable=name):  # what it listens to is the same for all thresholds
        for split in ("dev", "test"):
            of_split[split] = read(split)
            for eg, doc in zip(of_split[split], nlp.pipe(eg.predicted for eg in of_split[split])):
                eg.predicted = doc
    best, threshold = max((f(of_split["dev"], value), value) for value in THRESHOLDS)
    test = f(of_split["test"], threshold)
    pipe.cfg["threshold"] = before
    return {"threshold": threshold, "dev": best, "test": test}
