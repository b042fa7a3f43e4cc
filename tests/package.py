"""Builds wheel and sdist, and tries the wheel where nothing else is.

    python tests/package.py [--python python3.13] [--constraints FILE] [--with "numpy<2"] -- spacy

For each extra: an environment of its own, with the wheel, that extra and nothing of the checkout.
It must import, must not bring what it does not need, and must train and predict on the CPU
(benchmarks.gpu). Prints a row of a table for each, with the versions that were tried.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "dist"
PACKAGES = {"dice_core", "spacy_dice", "flair_dice"}
# What must not come with an extra.
ABSENT = {
    "none": ("spacy", "torch", "flair"),
    "spacy": ("torch", "flair"),
    "flair": ("spacy",),
    "transformers": ("flair",),
    "spacy,flair,transformers": (),
}
SHOWN = "numpy torch spacy thinc spacy-transformers flair transformers".split()
CORE = """
import importlib.metadata as metadata, importlib.util, sys
import numpy, dice_core, spacy_dice, flair_dice
from dice_core import losses
from dice_core.labels import LabelSpec
from dice_core.probabilities import from_logits
from dice_core.targets import from_ids
z = numpy.zeros((2, 2))
targets = from_ids([0, 1], 2, LabelSpec("try"), z)
bound = losses.BoundLoss(losses.make_loss("DiceCE"))
value, gradient = bound.compute(from_logits(z, "softmax"), targets)
assert value.sum() > 0 and gradient.shape == z.shape
for name in sys.argv[1].split():
    assert not importlib.util.find_spec(name), f"{name} is installed"
versions = {d.name.lower().replace("_", "-"): d.version for d in metadata.distributions()}
print(" · ".join(f"{name} {versions[name]}" for name in sys.argv[2].split() if name in versions))
"""
# A pipeline with a component of ours, packaged by spaCy: what it requires can be installed.
PACKAGED = """
import spacy, subprocess, sys
from spacy.training import Example
nlp = spacy.blank("en")
nlp.add_pipe("dice_ner")
text, gold = "Ada lives in Rome .", {"entities": [(0, 3, "PERSON"), (13, 17, "CITY")]}
examples = [Example.from_dict(nlp.make_doc(text), gold)] * 8
nlp.initialize(lambda: examples)
for _ in range(40):
    nlp.update(examples)
nlp.to_disk("model")
command = "package model . --name tried --build wheel --force"
subprocess.run([sys.executable, "-m", "spacy", *command.split()], check=True)
"""
PREDICTS = """
import spacy
assert [e.label_ for e in spacy.load("en_tried")("Ada lives in Rome .").ents] == ["PERSON", "CITY"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to try it with")
    parser.add_argument("--constraints", help="a file of pip's constraints")
    parser.add_argument("--with", nargs="*", default=[], dest="more", help="more requirements")
    parser.add_argument("extras", nargs="*", help="which; all if none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        for name in run("git", "ls-files", cwd=ROOT).splitlines():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        wheel = build(source)
        for number, extra in enumerate(args.extras or ABSENT):
            try_extra(extra, wheel, args, source, Path(folder) / str(number))


def build(source: Path) -> Path:
    """The wheel, which was built from the sdist, so that that is complete, too."""
    shutil.rmtree(OUT, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", OUT, source)
    (wheel,), (sdist,) = OUT.glob("*.whl"), OUT.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert top == PACKAGES, top
    assert PACKAGES <= {name[: -len("/py.typed")] for name in names if name.endswith("/py.typed")}
    assert any(name.endswith("LICENSE") for name in names)
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/README.md") for name in archive.getnames())
    print(f"{wheel.name}, {len(names)} files; {sdist.name}", flush=True)
    return wheel


def try_extra(
    extra: str, wheel: Path, args: argparse.Namespace, source: Path, folder: Path
) -> None:
    """Install the wheel with an extra, and try it without the packages beside it."""
    run(args.python, "-m", "venv", folder / "venv")
    own = folder / "venv" / "bin" / "python"
    pip = [own, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    pip += ["--constraint", args.constraints] if args.constraints else []
    start = time.monotonic()
    run(*pip, f"{wheel}[{extra}]" if extra != "none" else wheel, *args.more)
    took = time.monotonic() - start
    absent = () if args.more else ABSENT[extra]
    versions = run(own, "-c", CORE, " ".join(absent), " ".join(SHOWN), cwd=folder).strip()
    if extra == "spacy":
        run(*pip, "build", "wheel")
        run(own, "-c", PACKAGED, cwd=folder)
        run(own, "-m", "pip", "uninstall", "--yes", "spacy-flair-dice")
        run(*pip, "--find-links", OUT, *folder.glob("en_tried-*/dist/*.whl"))
        run(own, "-c", PREDICTS, cwd=folder)
    for name in ("benchmarks", "corpora", "configs"):
        shutil.copytree(source / name, folder / "try" / name)
    groups = ["losses", "spacy", "flair"]
    command = [own, "-m", "benchmarks.gpu", "--device", "cpu", "--quick", "--only", *groups]
    found = run(*command, cwd=folder / "try")
    outcomes = [line.split("|")[2].strip() for line in found.splitlines() if line.startswith("| ")]
    counts = ", ".join(f"{outcomes.count(word)} {word}" for word in ("passed", "skipped"))
    python = run(own, "--version").strip()
    print(f"| {python} | {extra} | {versions} | {counts} | {took:.0f} s to install |", flush=True)


def run(*command: object, cwd: object = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=str(cwd) if cwd else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"$ {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
