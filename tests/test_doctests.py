"""The examples in docstrings are true."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["dice_core.schedules", "spacy_dice.losses", "spacy_dice.switch", "flair_dice.losses"]
)
def test_examples(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed
