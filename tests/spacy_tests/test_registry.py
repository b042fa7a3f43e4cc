"""Every registered name resolves, and being installed costs users nothing."""

import json
import subprocess
import sys
from importlib.metadata import distribution

import pytest
import spacy
from thinc.api import registry as thinc_registry

import dice_core.losses

GROUPS = (
    "thinc_losses",
    "spacy_callbacks",
    "spacy_factories",
    "spacy_architectures",
    "spacy_readers",
    "spacy_scorers",
    "spacy_loggers",
)
ENTRY_POINTS = [e for e in distribution("spacy-flair-dice").entry_points if e.group in GROUPS]
LOSSES = [cls.__name__ for cls in dice_core.losses.LOSSES]


CALLBACKS = ("use_loss", "to_stock", "chain", "score_labels", "save_tuned")


def test_names_are_the_documented_ones():
    names = {e.name for e in ENTRY_POINTS}
    losses = {f"spacy_dice.{name}.v1" for name in LOSSES}
    callbacks = {f"spacy_dice.{name}.v1" for name in CALLBACKS}
    reading = {"TokenClassifier", "QuestionAnswering", "TextPair", "squad", "pairs", "qa_scorer"}
    reading.add("train_logger")
    reading = {f"spacy_dice.{name}.v1" for name in reading}
    assert names == losses | callbacks | reading | {"dice_ner", "dice_tagger", "dice_qa"}


@pytest.mark.parametrize("entry", ENTRY_POINTS, ids=lambda e: e.name)
def test_every_name_resolves(entry):
    if entry.group == "spacy_factories":
        assert spacy.blank("en").has_factory(entry.name)
        spacy.blank("en").add_pipe(entry.name)
    else:
        assert spacy.registry.get(entry.group.split("_")[1], entry.name) is entry.load()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_resolve_from_a_config_with_every_default_filled_in(name):
    block = {"@losses": f"spacy_dice.{name}.v1"}
    if name == "Compound":
        block["losses"] = {"ce": {"@losses": "spacy_dice.CrossEntropy.v1"}}
    filled = thinc_registry.fill({"loss": block})
    assert "names" not in filled["loss"] and len(filled["loss"]) > 1
    loss = thinc_registry.resolve(filled)["loss"]
    assert type(loss).__name__ == name
    assert json.loads(json.dumps(filled)) == filled


def test_weights_and_schedules_from_a_config():
    then = {"@schedules": "constant.v1", "rate": 2.0}
    schedule = {"@schedules": "constant_then.v1", "rate": 0.0, "steps": 1, "schedule": then}
    terms = {"ce": {"@losses": "spacy_dice.CrossEntropy.v1"}}
    terms["dice"] = {"@losses": "spacy_dice.Dice.v1", "level": "batch"}
    block = {"losses": terms, "weights": {"ce": 0.5, "dice": schedule}}
    block["@losses"] = "spacy_dice.Compound.v1"
    loss = thinc_registry.resolve({"loss": block})["loss"]
    assert [weight for _, weight, _ in loss._bound.current.terms()] == [0.5, 0.0]
    loss.step()
    assert [weight for _, weight, _ in loss._bound.current.terms()] == [0.5, 2.0]


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_neither_torch_nor_flair_gets_imported():
    """thinc imports torch by itself where it is installed, so watch what our modules import."""
    code = """
import builtins, json
original, imported = builtins.__import__, set()
def watch(name, globals=None, *args, **kwargs):
    if ((globals or {}).get("__name__") or "").startswith("spacy_dice"):
        imported.add(name.split(".")[0])
    return original(name, globals, *args, **kwargs)
builtins.__import__ = watch
import spacy, spacy_dice
nlp = spacy.blank("en")
nlp.add_pipe("dice_ner"), nlp.add_pipe("dice_tagger"), nlp.add_pipe("ner")
spacy_dice.use_loss, spacy_dice.DiceCE()
print(json.dumps(sorted(imported)))
"""
    imported = run_python(code)
    assert "thinc" in imported and "spacy" in imported
    assert not {"torch", "flair", "transformers", "spacy_transformers"} & set(imported)


def test_importing_the_package_loads_nothing_else():
    code = """
import sys, json
before = set(sys.modules)
import spacy_dice
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    assert run_python(code) == ["spacy_dice"]


def test_public_names():
    import spacy_dice

    for name in spacy_dice.__all__:
        assert getattr(spacy_dice, name).__name__ == name
    with pytest.raises(AttributeError):
        spacy_dice.DiceLoss
