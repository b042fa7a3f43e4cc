"""The examples in docstrings and pages are true."""

import doctest
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name", ["dice_core.schedules", "spacy_dice.losses", "spacy_dice.switch", "flair_dice.losses"]
)
def test_examples(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed


USED = """
from thinc.api import registry

assert registry.resolve({"x": {"@losses": "my_package.GoldBrier.v1"}})["x"].weight == 1.0
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
    page = (Path(__file__).parent.parent / "docs/extend.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    head = "import spacy, spacy_dice\nfrom spacy.training import Example\n"
    (tmp_path / "walk.py").write_text(head + "\n".join(blocks) + USED)
    done = subprocess.run([sys.executable, tmp_path / "walk.py"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["ran"], done.stderr
