"""A pytest plugin: every stock component that spaCy makes trains with one of our losses.

    UPSTREAM_LOSS=CrossEntropy pytest -p with_our_losses --pyargs spacy.tests.pipeline.test_tagger

The Makefile's target `upstream` runs those of spaCy's own tests that concern our components.
"""

import os

from spacy.language import Language

import spacy_dice
from spacy_dice.switch import STOCK_TO_DICE

create_pipe = Language.create_pipe


def create_pipe_with_our_loss(self, factory_name, name=None, **kwargs):
    pipe = create_pipe(self, factory_name, name, **kwargs)
    ours = STOCK_TO_DICE.get(type(pipe))
    if ours is None:
        return pipe
    try:
        ours.check_trainable(pipe)
    except ValueError:
        return pipe  # Refused: beam updates, and text classifiers without an output layer.
    return ours.from_stock(pipe, getattr(spacy_dice, os.environ["UPSTREAM_LOSS"])())


def pytest_configure(config):
    Language.create_pipe = create_pipe_with_our_loss
