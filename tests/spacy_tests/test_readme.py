"""The README's own commands and blocks, from `spacy init config` to `spacy train`."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_tests.helpers import invoke, paths

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf8")
FLAGS = re.findall(r"--initialize\.after_init '(.*?)'", README)
BLOCKS = [b for b in re.findall(r"```ini\n(.*?)```", README, re.DOTALL) if "use_loss" in b]
NAMES = ("ner", "tagger", "textcat", "textcat_multilabel", "spancat")
# What the flag without losses gives on this data.
AUTO = {"textcat_multilabel": "DiceCE", "spancat": "CrossEntropy"}
STOCK = "spaCy's own loss"
SHORT = ("--training.max_steps", 2, "--training.eval_frequency", 2, "--corpora.dev.limit", 10)


@pytest.fixture(scope="module")
def everything(tmp_path_factory, corpus, tagged):
    """A folder with a corpus that has entities, spans, tags and categories."""
    folder, vocab = tmp_path_factory.mktemp("everything"), spacy.blank("en").vocab
    for split in ("train", "dev"):
        made = DocBin()
        files = [DocBin().from_disk(f / f"{split}.spacy") for f in (corpus, tagged)]
        for doc, other in zip(*(list(docs.get_docs(vocab))[:60] for docs in files)):
            tags, ents = [t.tag_ for t in other], [t.ent_iob_ for t in doc]
            ents = [b if b == "O" else f"{b}-{t.ent_type_}" for b, t in zip(ents, doc)]
            both = Doc(vocab, words=[t.text for t in doc], tags=tags, ents=ents)
            both.cats, both.spans["sc"] = other.cats, list(both.ents)
            made.add(both)
        made.to_disk(folder / f"{split}.spacy")
    return folder


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
    assert "losses" not in FLAGS[0] and "losses" not in BLOCKS[0]
    assert '"spancat"' in FLAGS[1] and '"spancat"' in BLOCKS[1] and len(FLAGS) == len(BLOCKS) == 2
    assert all(block.startswith("\n[initialize.after_init]\n") for block in BLOCKS)


@pytest.mark.filterwarnings('ignore:use_loss. "auto" changes nothing')
@pytest.mark.parametrize("name", NAMES)
def test_flags_and_blocks_do_the_same(name, everything, tmp_path):
    """A flag on the file as it is; a block in place of `after_init = null`, and at the file's end,
    which has no newline."""
    text = written(name, tmp_path / "c.cfg")
    assert not text.endswith("\n") and text.count("after_init = null\n") == 1
    for flag, block, loss in zip(FLAGS, BLOCKS, (AUTO.get(name, STOCK), "DiceCE")):
        flag, block = (s.replace('"spancat"', f'"{name}"') for s in (flag, block))
        (tmp_path / "in_place.cfg").write_text(text.replace("after_init = null\n", block))
        (tmp_path / "at_end.cfg").write_text(text.replace("after_init = null\n", "") + block)
        found = set()
        for config, more in (
            ("c.cfg", ["--initialize.after_init", flag]),
            ("in_place.cfg", []),
            ("at_end.cfg", []),
        ):
            said, nlp = train(tmp_path / config, tmp_path / "out", everything, *more)
            assert f"Component '{name}' trains with {loss}" in said, said
            found.add(nlp.get_pipe(name).model.to_bytes())
            assert type(nlp.get_pipe(name)).__module__.startswith("spacy.pipeline.")
        assert len(found) == 1


def test_both_the_block_and_the_line_is_an_error(everything, tmp_path):
    """What the README says of it."""
    (tmp_path / "c.cfg").write_text(written("spancat", tmp_path / "c.cfg") + BLOCKS[0])
    status, output = invoke("train", tmp_path / "c.cfg", *paths(everything), *SHORT)
    assert status == 1 and "conflicting values" in output


def test_the_first_screen_in_a_shell(everything, tmp_path):
    """Its commands as they stand, but for how long they train."""
    (commands,) = re.findall(r"```sh\n(?:pip .*\n)?(spacy init.*?)```", README, re.DOTALL)
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


@pytest.mark.parametrize(
    "name",
    [name if name == "spancat" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_on_a_transformer(name, everything, small_bert, tmp_path):
    """What `spacy init config --gpu` writes, on CPU, with another transformer. It accumulates
    gradients, which is warned about."""
    text = written(name, tmp_path / "c.cfg", "--gpu")
    assert "accumulate_gradient = 3\n" in text and text.count("after_init = null\n") == 1
    flag = FLAGS[1].replace('"spancat"', f'"{name}"')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said, nlp = train(
            *(tmp_path / "c.cfg", tmp_path / "out", everything),
            *("--initialize.after_init", flag, "--training.batcher.size", 200),
            *("--components.transformer.model.name", small_bert),
        )
    assert f"Component '{name}' trains with DiceCE(weight=1.0" in said, said
    assert type(nlp.get_pipe(name)).__module__.startswith("spacy.pipeline.")
    cut = [str(w.message) for w in caught if "accumulate_gradient = 3" in str(w.message)]
    assert len(cut) == 1 and cut[0].startswith(f"Component '{name}': DiceCE"), cut
