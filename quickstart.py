"""The quickstart: spaCy's own spancat, trained as it is and with the flag, side by side.

    python quickstart.py [--data FOLDER] [--seed N] [--learn-rate RATE]

Gets the NCBI Disease corpus (or reads another of columns of tokens and tags from FOLDER), draws 300
sentences of it to train on, and runs `spacy train` twice at the same time on the config that
`spacy init config` writes: the second time with one flag more. Then scores on test, learning
curves, and what both find in a few sentences.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from corpora import download, folders, generated, in_spacy, ncbi_disease

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "out" / "quickstart"
CACHE = ROOT / ".data" / "ncbi_disease"
STOCK, FLAG = "stock", "with the flag"
# The flag that makes the difference.
RUNS: Dict[str, List[str]] = {
    STOCK: [],
    FLAG: ["--initialize.after_init", '{"@callbacks": "spacy_dice.use_loss.v1"}'],
}
# A small network, for two CPU cores, and candidates as long as diseases' names are. All else is as
# `spacy init config` writes it, the learning rate too.
SETTINGS = {
    "components.tok2vec.model.encode.width": "64",
    "components.tok2vec.model.encode.depth": "2",
    "components.spancat.model.reducer.hidden_size": "64",
    "components.spancat.suggester.sizes": "[1,2,3,4,5]",
    "training.batcher.size": "500",
    "training.dropout": "0.3",
}
SIZES = {"train": 300, "dev": 400}  # sentences, drawn at random; test is whole
UPDATES, EVALUATIONS, RATE = 300, 10, 0.001
UPDATES_GENERATED = 120  # so regular a corpus is soon learnt
LIMITS = """
One seed; docs/components/spancat.md has the means of five. Where nothing is gained: with a
learning rate of 0.003 (--learn-rate 0.003) stock comes close here, and on other corpora of one
frequent label catches up. Components for which no loss was shown to gain (ner, tagger,
morphologizer and others) are left as they are."""
Curve = List[Tuple[int, float]]  # updates, F1 on dev in per cent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder with files of train, dev and test; default: download")
    add("--seed", type=int, default=0, help="of the sample, the weights and the batches")
    add("--learn-rate", type=float, default=RATE, help="of both; default: %(default)s, spaCy's own")
    add("--updates", type=int, help=f"of both; default: {UPDATES}")
    args = parser.parse_args()
    start = time.time()
    shutil.rmtree(OUT, ignore_errors=True)
    corpus, updates = find_corpus(args.data)
    write_corpus(corpus, args.seed)
    curves = train(args.updates or updates, args.learn_rate, args.seed)
    models = {name: load(name) for name in RUNS}
    print_scores({name: evaluate(nlp) for name, nlp in models.items()})
    print_time(curves)
    print(f"\nLearning curves: {plot(curves)}")
    print_sentences(models)
    print(LIMITS)
    print(f"\n{time.time() - start:.0f} seconds. The two pipelines, both plain spaCy: {OUT}")


def find_corpus(local: Optional[Path]) -> Tuple[Path, int]:
    """The folder with the corpus, and how many updates it is worth."""
    if local is not None:
        print(f"The corpus in {local}.")
        return local, UPDATES
    try:
        ncbi_disease.locate(CACHE)
        print("NCBI Disease (Dogan et al. 2014, public domain), checksums verified.")
        return CACHE, UPDATES
    except download.Unreachable as error:
        print(f"Could not download the NCBI Disease corpus ({error}).")
        print(
            "Instead: a corpus that this project GENERATES, as imbalanced as that one. Its scores"
        )
        print("say nothing about real text. With a corpus on disk: make quickstart DATA=folder")
        return generated.write(OUT / "generated", seed=2, empty=0.55), UPDATES_GENERATED


def write_corpus(folder: Path, seed: int) -> None:
    """Write each split as spaCy reads it."""
    for split, of_split in in_spacy.splits(folder).items():
        docs = list(of_split)
        # The dev sample is the same for all seeds.
        docs = folders.sample(docs, SIZES.get(split), seed if split == "train" else 0)
        spans = sum(len(doc.spans.get("sc", ())) for doc in docs)
        if not spans:
            raise SystemExit(f"{folder} has no entities or spans in {split}: nothing to find.")
        in_spacy.save(docs, OUT / f"{split}.spacy")
        print(f"{split:>7}: {len(docs)} sentences, {spans} spans")


def train(updates: int, learn_rate: float, seed: int) -> Dict[str, Curve]:
    """Run `spacy train` for both, at the same time, and print F1 on dev as it comes."""
    spacy = [sys.executable, "-u", "-m", "spacy"]
    config = OUT / "config.cfg"
    init = ["init", "config", str(config), "--pipeline", "spancat"]
    print("\n$ " + shown(init))
    subprocess.run([*spacy, *init], check=True, stdout=subprocess.DEVNULL)
    command = ["train", str(config), "--paths.train", str(OUT / "train.spacy")]
    command += ["--paths.dev", str(OUT / "dev.spacy"), "--system.seed", str(seed)]
    settings = {
        **SETTINGS,
        "training.optimizer.learn_rate": str(learn_rate),
        "training.max_steps": str(updates),
        "training.eval_frequency": str(max(updates // EVALUATIONS, 1)),
    }
    command += [part for key, value in settings.items() for part in (f"--{key}", value)]
    lines: "queue.Queue[Tuple[str, Any]]" = queue.Queue()
    runs = {}
    for name, flag in RUNS.items():
        mine = [*command, "--output", str(folder(name)), *flag]
        print("$ " + shown(mine, quiet=name != STOCK), flush=True)
        runs[name] = subprocess.Popen(
            [*spacy, *mine],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "ANSI_COLORS_DISABLED": "1"},
        )
        threading.Thread(target=_forward, args=(name, runs[name], lines), daemon=True).start()
    try:
        return follow(runs, lines)
    finally:
        for run in runs.values():
            run.kill()


def follow(runs: Dict[str, Any], lines: "queue.Queue[Tuple[str, Any]]") -> Dict[str, Curve]:
    """Print a line for each evaluation that both are through with. RETURNS the curves."""
    curves: Dict[str, Curve] = {name: [] for name in runs}
    logs: Dict[str, List[str]] = {name: [] for name in runs}
    open_runs, printed = set(runs), 0
    while open_runs:
        name, line = lines.get()
        if line is None:
            open_runs.discard(name)
            if runs[name].wait():
                raise SystemExit(f"spacy train ({name}) failed:\n{''.join(logs[name])}")
            continue
        logs[name].append(line)
        if "Initialized pipeline" in line:
            print(f"{name}: {loss_of(logs[name])}", flush=True)
        # E, #, losses, F1, precision, recall, score
        if re.match(r"\s+\d+\s+\d+ ", line):
            cells = line.split()
            curves[name].append((int(cells[1]), float(cells[-4])))
        while printed < min(len(curve) for curve in curves.values()):
            if not printed:
                print(f"\n{'updates':>8}{'F1 on dev:':>12} stock{'with the flag':>18}")
            step, both = curves[STOCK][printed][0], [curves[n][printed][1] for n in (STOCK, FLAG)]
            bar = "#" * round(both[0] / 2), "+" * round((both[1] - both[0]) / 2)
            print(f"{step:>8}{both[0]:>18.1f}{both[1]:>18.1f}   {bar[0]}{bar[1]}", flush=True)
            printed += 1
    return curves


def _forward(name: str, run: Any, lines: "queue.Queue[Tuple[str, Any]]") -> None:
    for line in run.stdout:
        lines.put((name, line))
    lines.put((name, None))


def loss_of(log: List[str]) -> str:
    """What spaCy's log says that the component trains with."""
    said = re.search(r"trains with (.*?)\s*(\n\S? ?Initialized|$)", "".join(log), re.DOTALL)
    return " ".join(said[1].split()) if said else "spaCy's own loss, a squared error"


def shown(command: List[str], quiet: bool = False) -> str:
    """A command as a user would type it. quiet: leave out the settings."""
    quoted = [f"'{part}'" if re.search(r"[\[{]", part) else part for part in command]
    if quiet:
        at = quoted.index("--output")
        quoted = [*quoted[:2], "... as before ...", *quoted[at:]]
    text = " ".join(["spacy", *quoted]).replace(f"{ROOT}{os.sep}", "")
    return " \\\n    ".join(textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False))


def folder(name: str) -> Path:
    return OUT / name.replace(" ", "-")


def load(name: str) -> Any:
    import spacy

    return spacy.load(folder(name) / "model-best")


def evaluate(nlp: Any) -> Dict[str, Any]:
    from spacy.training import Corpus

    return nlp.evaluate(list(Corpus(OUT / "test.spacy")(nlp)))


def print_scores(scores: Dict[str, Dict[str, Any]]) -> None:
    """F1, precision and recall on the test split, by label and over all."""
    print("\nTest scores in per cent: F1 (precision / recall)\n")
    print(f"{'':14}" + "".join(f"{name:>24}" for name in scores))
    none = {"f": 0.0, "p": 0.0, "r": 0.0}
    types = {name: of["spans_sc_per_type"] or {} for name, of in scores.items()}
    for label in sorted({label for of in types.values() for label in of}):
        rows = [of.get(label, none) for of in types.values()]
        print(f"{label:14}" + "".join(_cell(row["f"], row["p"], row["r"]) for row in rows))
    rows = [[of[f"spans_sc_{part}"] or 0.0 for part in "fpr"] for of in scores.values()]
    print(f"{'all':14}" + "".join(_cell(*row) for row in rows))


def _cell(f: float, p: float, r: float) -> str:
    return f"{100 * f:.1f} ({100 * p:.1f} / {100 * r:.1f})".rjust(24)


def print_time(curves: Dict[str, Curve]) -> None:
    """How many updates each took to the best F1 on dev that stock has."""
    best = max(f for _, f in curves[STOCK])
    needed = {name: [step for step, f in curve if f >= best] for name, curve in curves.items()}
    ours = f"after {needed[FLAG][0]}" if needed[FLAG] else "never"
    print(
        f"\nStock's best F1 on dev, {best:.1f}, is reached by stock after {needed[STOCK][0]} ",
        end="",
    )
    print(f"updates, with the flag {ours}.")


def plot(curves: Dict[str, Curve]) -> Path:
    """Draw both learning curves. RETURNS the picture's path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for (name, curve), style in zip(curves.items(), ("o--", "o-")):
        axes.plot(*zip(*curve), style, label=name)
    axes.set(xlabel="updates", ylabel="F1 on dev", ylim=(0, 100), title="spancat")
    axes.grid(alpha=0.3)
    axes.legend()
    path = OUT / "curves.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return path


def print_sentences(models: Dict[str, Any], number: int = 4, words: int = 25) -> None:
    """What both find in the first sentences of test that are not long and have something."""
    from spacy.training import Corpus

    print(f"\nThe first {number} sentences of test with a span and at most {words} words:")
    first: Any = next(iter(models.values()))
    examples = (eg for eg in Corpus(OUT / "test.spacy")(first) if len(eg.reference) <= words)
    shown_ones = [eg.reference for eg in examples if eg.reference.spans["sc"]][:number]
    for gold in shown_ones:
        print(f"\n  {gold.text.strip()}")
        print(f"    {'gold':16}{_spans(gold)}")
        for name, nlp in models.items():
            print(f"    {name:16}{_spans(nlp(_words(nlp, gold)))}")


def _words(nlp: Any, doc: Any) -> Any:
    from spacy.tokens import Doc

    return Doc(nlp.vocab, [t.text for t in doc], [bool(t.whitespace_) for t in doc])


def _spans(doc: Any) -> str:
    spans = sorted(doc.spans["sc"], key=lambda span: (span.start, span.end))
    return " | ".join(f"{span.text} [{span.label_}]" for span in spans) or "-"


if __name__ == "__main__":
    main()
