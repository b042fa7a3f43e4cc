"""All public names are documented, methods that override others by those."""

import importlib
import inspect
import pkgutil

import pytest

import dice_core
import flair_dice
import spacy_dice

MODULES = [
    module.name
    for package in (dice_core, spacy_dice, flair_dice)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


def of(thing, kinds):
    """What it has of these kinds, by names without an underscore."""
    return [
        (name, value)
        for name, value in vars(thing).items()
        if not name.startswith("_") and isinstance(value, kinds)
    ]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    function, missing = type(of), []
    for thing_name, thing in of(module, (type, function)):
        if thing.__module__ != name:
            continue
        assert inspect.getdoc(thing), thing_name
        methods = of(thing, (function, property, classmethod, staticmethod))
        for method, _ in methods if isinstance(thing, type) else ():
            found = [vars(base)[method] for base in thing.__mro__ if method in vars(base)]
            if not any(each.__doc__ for each in found):
                missing.append(f"{thing_name}.{method}")
    assert not missing
