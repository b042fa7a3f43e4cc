"""The README's own commands and blocks, from `spacy init config` to `spacy train`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import spacy

from spacy_tests.helpers import invoke, paths

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf8")
(FLAG,) = re.findall(r"--initialize\.after_init '(.*?)'", README)
(BLOCK,) = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)
# The flag without tuning, which the block has not; and with a loss that is forced.
PLAIN = json.dumps({k: v for k, v in json.loads(FLAG).items() if k != "tune"})
FORCED = PLAIN[:-1] + ', "losses": {"*": "DiceCE"}}'
NAMES = ("ner", "tagger", "textcat", "textcat_multilabel", "spancat")
# What the flag without losses gives on this data.
AUTO = {"textcat_multilabel": "DiceCE", "spancat": "CrossEntropy"}
STOCK = "spaCy's own loss"
SHORT = ("--training.max_steps", 2, "--training.eval_frequency", 2, "--corpora.dev.limit", 10)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A folder with a corpus that has entities, spans, tags and categories."""
    return pages.write(tmp_path_factory.mktemp("everything"))


def written(name, path, *more):
    """What `spacy init config` writes for a component."""
    status, output = invoke("init", "config", path, "--pipeline", name, *more)
    assert status == 0, output
    return path.read_text()


def train(config, out, everything, *more):
    """RETURNS what spaCy says, and the trained pipeline."""
    status, output = invoke("train", config, "-o", out, *paths(everything), *SHORT, *more)
    assert status == 0, output
    return " ".join(output.split()), spacy.load(out / "model-last")


def test_what_there_is():
    assert json.loads(FLAG) == {"@callbacks": "spacy_dice.use_loss.v1", "tune": True}
    assert BLOCK.startswith("\n[initialize.after_init]\n") and "losses" not in BLOCK


@pytest.mark.filterwarnings('ignore:use_loss. "auto" changes nothing')
@pytest.mark.parametrize("name", NAMES)
def test_flags_and_blocks_do_the_same(name, everything, tmp_path):
    """A flag on the file as it is; a block in place of `after_init = null`, and at the file's end,
    which has no newline."""
    text = written(name, tmp_path / "c.cfg")
    assert not text.endswith("\n") and text.count("after_init = null\n") == 1
    (tmp_path / "in_place.cfg").write_text(text.replace("after_init = null\n", BLOCK))
    (tmp_path / "at_end.cfg").write_text(text.replace("after_init = null\n", "") + BLOCK)
    found = set()
    for config, more in (
        ("c.cfg", ["--initialize.after_init", PLAIN]),
        ("in_place.cfg", []),
        ("at_end.cfg", []),
    ):
        said, nlp = train(tmp_path / config, tmp_path / "out", everything, *more)
        assert f"Component '{name}' trains with {AUTO.get(name, STOCK)}" in said, said
        found.add(nlp.get_pipe(name).model.to_bytes())
        assert type(nlp.get_pipe(name)).__module__.startswith("spacy.pipeline.")
    assert len(found) == 1


def test_the_first_screen_in_a_shell(everything, tmp_path):
    """Its commands as they stand, but for how long they train."""
    (commands,) = re.findall(r"```sh\n(spacy init.*?)```", README, re.DOTALL)
    for split in ("train", "dev"):
        (tmp_path / f"{split}.spacy").write_bytes((everything / f"{split}.spacy").read_bytes())
    commands = f'spacy() {{ "{sys.executable}" -m spacy "$@"; }}\n{commands.rstrip()}'
    done = subprocess.run(
        ["sh", "-ec", " ".join([commands, *map(str, SHORT)])],
        cwd=tmp_path,
        env={**os.environ, "ANSI_COLORS_DISABLED": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Component 'spancat' trains with CrossEntropy(" in done.stdout
    assert (tmp_path / "out/model-best").exists()


def test_on_a_transformer(everything, small_bert, tmp_path):
    """What `spacy init config --gpu` writes, on CPU, with another transformer. It accumulates
    gradients, which is warned about."""
    assert "accumulate_gradient = 3\n" in written("spancat", tmp_path / "c.cfg", "--gpu")
    with pytest.warns(UserWarning, match="'spancat': DiceCE.*accumulate_gradient = 3"):
        said, nlp = train(
            *(tmp_path / "c.cfg", tmp_path / "out", everything),
            *("--initialize.after_init", FORCED, "--training.batcher.size", 200),
            *("--components.transformer.model.name", small_bert),
        )
    assert "Component 'spancat' trains with DiceCE(" in said, said
    assert type(nlp.get_pipe("spancat")).__module__.startswith("spacy.pipeline.")
