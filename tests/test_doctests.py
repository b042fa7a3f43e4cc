"""The examples in docstrings and pages are true: each block is run, read as a config, or held
against what the command line takes."""

import doctest
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pages
import pytest
import spacy
import typer
from spacy.util import registry
from thinc.api import Config
from weasel.util import load_project_config

from dice_core import losses as core

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Shown as it is.
SHOWN = ("text", "math", "diff")
# Python that has a test of its own, with what it needs.
ELSEWHERE = {"docs/extend.md": "here", "docs/huggingface.md": "flair_tests/test_huggingface.py"}
# Pages whose names mean something else than on the others.
OF_THEIR_OWN = {
    "docs/commands.md": pages.with_dice_ner,
    "docs/components/dice_ner.md": pages.with_dice_ner,
    "docs/reading.md": pages.for_reading,
}


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page, *kinds):
    return [text for kind, text in BLOCK.findall(page.read_text("utf8")) if kind in kinds]


def pages_with(*kinds):
    found = [page for page in PAGES if blocks_of(page, *kinds)]
    return pytest.mark.parametrize("page", found, ids=name_of)


@pytest.mark.parametrize(
    "name",
    [
        "dice_core.thresholds.choose",
        "dice_core.thresholds.estimate",
        "dice_core.thresholds.objectives",
        "dice_core.thresholds.report",
        "dice_core.thresholds.scores",
        "dice_core.schedules",
        "flair_dice.losses",
        "flair_dice.thresholds.api",
        "spacy_dice.callbacks",
        "spacy_dice.cli.imbalance",
        "spacy_dice.losses",
        "spacy_dice.switch",
        "spacy_dice.thresholds.api",
    ],
)
def test_examples(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed


def test_every_page_is_on_the_site():
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in nav, page


def test_losses_are_drawn_as_they_are():
    """Each picture of a loss is on a page, and what is drawn has the shape that the page tells."""
    sys.path.insert(0, str(ROOT / "docs"))
    draw = import_module("draw")
    shown = {
        name for p in PAGES for name in re.findall(r"pictures/([\w-]+)\.svg", p.read_text("utf8"))
    }
    assert set(draw.PICTURES) <= shown
    values, gradients = draw.cell_curve(core.SelfAdjustingDice(), 1.0)
    assert draw.P[values.argmin()] == pytest.approx(0.5, abs=0.01)
    assert (gradients[draw.P > 0.51] > 0).all()  # a correct prediction is pushed back
    missed = {
        "ce": draw.cell_curve(core.CrossEntropy(), 1.0)[1][0],
        "dice": draw.cell_curve(core.Dice(), 1.0)[1][0],
        "dice_ce": draw.batch_curve(core.DiceCE(), 1.0)[1][0],
        "squared": draw.squared_error(1.0)[1][0],
    }
    assert missed["ce"] < -0.99 and missed["dice_ce"] < -0.99
    assert abs(missed["dice"]) < 0.01 and abs(missed["squared"]) < 0.01


def test_all_blocks_are_of_a_kind_that_is_tested():
    kinds = {(name_of(p), kind) for p in PAGES for kind, _ in BLOCK.findall(p.read_text("utf8"))}
    assert {kind for _, kind in kinds} <= {"python", "ini", "sh", *SHOWN}, kinds


@spacy.registry.callbacks("my_callback.v1")
def my_callback():
    """A user's own, of which pages speak."""
    return lambda nlp: nlp


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    return pages.write(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def place(written, tmp_path, monkeypatch):
    """Where a user of the page works."""
    for path in written.iterdir():
        if path.name in ("out", "stock"):
            (tmp_path / path.name).mkdir()
            (tmp_path / path.name / "model-best").symlink_to(path / "model-best")
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pages_with("python", "ini")
def test_python_and_configs(page, place):
    """The Python of a page in its order, the first block as it is pasted, where a user's files
    are; then its configs, which may name what that registers."""
    elsewhere = name_of(page) in ELSEWHERE or "tutorial" in page.name
    blocks = [] if elsewhere else blocks_of(page, "python")
    given, names = {}, {"__name__": "pasted"}
    if blocks:
        given.update(OF_THEIR_OWN.get(name_of(page), pages.for_spacy)(place))
        if any(re.search(r"flair|\bcorpus\b", block) for block in blocks):
            given.update(pages.for_flair(place))
    for number, block in enumerate(blocks):
        block = block.replace('"bert-base-cased"', repr(pages.ENCODER))
        exec(compile(block, f"{page}, python block {number}", "exec"), names)
        names = {**given, **names}
    for block in blocks_of(page, "ini"):
        check_config(block)


def check_config(text):
    """What a config says of losses, callbacks and components can be made, and fits components of
    these names."""
    parts = ConfigParser(interpolation=None)
    parts.optionxform = str
    parts.read_string(text)
    assert parts.sections()
    # What every config has already.
    above = sorted({name.partition(".")[0] for name in parts.sections()})
    headers = "".join(f"[{name}]\n\n" for name in above if f"[{name}]" not in text)
    config = Config().from_str(headers + text, interpolate=False)
    for section, block in config.get("training", {}).items():
        if any(key.startswith("@") for key in block):
            assert callable(registry.resolve({"made": block})["made"])
        else:
            assert section == "score_weights" and all(0 <= w <= 1 for w in block.values())
    for name, block in config.get("components", {}).items():
        block = dict(block)
        factory = block.pop("factory")
        spacy.blank("en").add_pipe(factory, name=name, config=block)
    after_init = config.get("initialize", {}).get("after_init")
    if after_init is not None:
        losses = re.findall(r"losses\.(\w+)\]", text) + re.findall(r'"(\w+)": ["{]', text)
        named = [name for name in dict.fromkeys(losses) if spacy.Language.has_factory(name)]
        nlp = pages.pipeline(*(named or ["ner", "textcat_multilabel"]))
        registry.resolve({"made": after_init})["made"](nlp)
        nlp.update(pages.examples(nlp, 4))
    assert set(config) <= {"training", "components", "initialize"}, "a section that is not checked"


@pages_with("sh")
def test_commands(page):
    """Each command is one that there is, with options that it has."""
    for block in blocks_of(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                check_command(words)


def check_command(words):
    while "=" in words[0]:  # variables of the environment
        words = words[1:]
    if words[:3] == ["python", "-m", "spacy"]:
        words = words[2:]
    program, *rest = words
    if program == "spacy":
        check_spacy(rest)
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text()
        for target in [word for word in rest if "=" not in word]:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for name in [word.partition("=")[0] for word in rest if "=" in word]:
            assert re.search(rf"^{name} \?=|\$\({name}\)", makefile, re.MULTILINE), name
    elif program == "pip" and rest[0] == "install":
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        for extra in re.findall(r"\[(\w+)\]", " ".join(rest)):
            assert setup.has_option("options.extras_require", extra), extra
    elif program == "python" and rest[:2] == ["-m", "weasel"]:
        check_project(rest[2:])
    elif program == "python":
        check_script(rest)
    else:
        assert program in ("cd", "git", "mkdir", "torchrun"), f"no check of {program}"


def check_project(words):
    """A command of weasel, for the project under examples/."""
    config = load_project_config(ROOT / "examples" / "spacy_project", interpolate=False)
    assert words[0] in ("assets", "run", "document"), words
    if words[0] == "run":
        names = [command["name"] for command in config["commands"]]
        assert words[1] in [*names, *config["workflows"]], words
    for option in [word for word in words if word.startswith("--vars.")]:
        assert option[len("--vars.") :] in config["vars"], option


def test_the_project_s_commands_are_right():
    """Its scripts are there, and what they call takes these options."""
    folder = ROOT / "examples" / "spacy_project"
    config = load_project_config(folder)  # which checks that it fits the schema
    for command in config["commands"]:
        for line in command["script"]:
            words = shlex.split(line)
            if words[1].startswith("scripts/"):
                assert (folder / words[1]).is_file(), line
            else:
                check_command(words)


def check_spacy(words):
    registry.cli.get_all()  # commands of other packages, ours among them
    import_module("spacy.cli")
    command = typer.main.get_command(import_module("spacy.cli._util").app)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"spacy has no command {name}"
        command = command.commands[name]
    context = command.context_class(command, info_name=command.name)
    for key, value in (command.context_settings or {}).items():
        setattr(context, key, value)
    _, overrides, _ = command.make_parser(context).parse_args(list(words))
    sections = ("paths", "system", "nlp", "components", "corpora", "training", "initialize")
    for word in overrides:
        assert not word.startswith("--") or word[2:].partition(".")[0] in sections, word


def check_script(words):
    """`python -m package.module` and `python file.py`: it is there, and knows these options."""
    if words[0] == "-m":
        spec = find_spec(words[1])
        assert spec is not None, words[1]
        file, words = Path(spec.origin), words[2:]
    else:
        file, words = ROOT / words[0], words[1:]
    source = file.read_text() + "".join(p.read_text() for p in file.parent.glob("*.py"))
    for option in [word for word in words if word.startswith("--")]:
        assert f'"{option}"' in source or f'"{option.replace("--no-", "--")}"' in source, option


USED = """
from thinc.api import registry

assert registry.resolve({"x": {"@losses": "my_package.GoldBrier.v1"}})["x"].core.weight == 1.0
nlp = spacy.blank("en")
nlp.add_pipe("tagger")
example = Example.from_dict(nlp.make_doc("a b c"), {"tags": ["X", "Y", ""]})
nlp.initialize(lambda: [example])
pipe = nlp.get_pipe("tagger")
pipe.__class__ = MyTagger
pipe.set_loss(spacy_dice.DiceCE())
first = nlp.update([example])["tagger"]
for _ in range(30):
    last = nlp.update([example])["tagger"]
assert 0 < last < first / 2
assert issubclass(TextClassifier, models.TextClassifier)
print("ran")
"""


def test_the_page_on_extending(tmp_path):
    """All blocks of the page in their order, and what they define is used. In a process of its
    own: a class with the name of one of Flair's would be found by others."""
    page = (ROOT / "docs/extend.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    head = "import spacy, spacy_dice\nfrom spacy.training import Example\n"
    (tmp_path / "walk.py").write_text(head + "\n".join(blocks) + USED)
    done = subprocess.run([sys.executable, tmp_path / "walk.py"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["ran"], done.stderr
