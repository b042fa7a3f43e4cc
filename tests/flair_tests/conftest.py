"""Flair without its network and its logs; the generated corpus as Flair reads it."""

import logging

import flair
import pytest
import torch

from corpora import generated
from flair_tests import helpers


@pytest.fixture(autouse=True, scope="session")
def quiet():
    logging.getLogger("flair").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    flair.device = torch.device("cpu")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """train.conll, dev.conll and test.conll."""
    return generated.write(tmp_path_factory.mktemp("generated"))


@pytest.fixture
def corpus(folder):
    """A fresh one for each test: training leaves embeddings and labels in sentences."""
    return helpers.ner_corpus(folder)
