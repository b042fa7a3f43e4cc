"""What a loss in a component promises beside its value and gradient."""

import copy
import subprocess
import sys
from dataclasses import dataclass

import numpy
import pytest
import spacy
from thinc.api import constant_then, decaying

import spacy_dice
from dice_core import losses as core
from dice_core.losses.base import loss_name
from spacy_dice import Compound, CrossEntropy, Dice, DiceCE, Focal, WeightedCrossEntropy, make_loss
from spacy_dice.losses import as_thinc
from spacy_dice.switch import use_loss_callback
from spacy_tests import helpers
from spacy_tests.helpers import ner_examples

CATS = [("buy it now", 1.0), ("see you soon", 0.0), ("buy two", 1.0), ("soon", 0.0)]


def texts(nlp):
    cats = [(nlp.make_doc(text), {"cats": {"yes": y, "no": 1 - y}}) for text, y in CATS]
    return [spacy.training.Example.from_dict(*pair) for pair in cats]


def pipeline(factory="ner", loss=None):
    data = texts if factory == "textcat" else ner_examples
    nlp, data = helpers.pipeline(factory, data, "pipe", None if factory == "dice_ner" else loss)
    if factory == "dice_ner":
        nlp.get_pipe("pipe").set_loss(loss)
    return nlp, data


def test_a_class_of_weight_0_teaches_nothing():
    p = numpy.asarray([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    gradient = CrossEntropy(names=["O", "A", "B"], class_weights={"O": 0.0}).get_grad(p, [0, 1])
    assert (gradient[0] == 0).all() and (gradient[1] != 0).any()
    nlp, data = pipeline("dice_ner", CrossEntropy(class_weights={"O": 0.0}))
    pipe = nlp.get_pipe("pipe")
    scores, _ = pipe.model.begin_update([eg.x for eg in data])
    _, gradients = pipe.get_loss(data, scores)
    assert (gradients[0][0] == 0).all()  # "I", an O


def test_reading_options_of_a_term_are_refused():
    options = {"activation": "sigmoid", "wrt": "probabilities", "missing_value": 0, "names": "ab"}
    for name, value in options.items():
        with pytest.raises(ValueError, match=rf"says how guesses are read \({name}\)"):
            Compound({"dice": Dice(**{name: value})})


def test_options_that_there_are_not():
    with pytest.raises(ValueError, match="WeightedCrossEntropy.v1 has no option class_wei"):
        WeightedCrossEntropy(class_weights={"a": 2.0})
    with pytest.raises(ValueError, match="no option weigth. Did you mean weight\\?"):
        DiceCE(weigth=2.0)
    with pytest.raises(ValueError, match="no loss 'DiceXE'. Did you mean DiceCE\\?"):
        make_loss("DiceXE")
    for name in (cls.__name__ for cls in core.LOSSES):
        for written in {name.lower(), name.upper(), name.swapcase()}:
            with pytest.raises(ValueError, match=f"no loss '{written}'. Did you mean {name}\\?"):
                make_loss(written)


@dataclass(frozen=True, kw_only=True)
class Narrow(core.Focal):
    """A loss of a third party, with an option more."""

    extra: float = 1.0


def test_a_subclass_keeps_the_options_that_it_inherits():
    loss = Narrow(gamma=0.5, extra=3.0)
    spec = loss.to_dict()
    assert spec["name"] == f"{__name__}:Narrow" and (spec["extra"], spec["gamma"]) == (3.0, 0.5)
    assert make_loss(spec).core == loss and type(make_loss("Narrow").core) is Narrow
    nlp, data = pipeline("textcat", as_thinc(loss))
    assert nlp.get_pipe("pipe").loss == loss and nlp.update(data)["pipe"] > 0


def test_a_class_of_the_same_name_does_not_take_a_loss_s_place():
    mine = type("Focal", (core.Focal,), {"__module__": "elsewhere"})
    assert type(make_loss("Focal").core) is core.Focal
    assert loss_name(mine) == "elsewhere:Focal" and type(make_loss("elsewhere:Focal").core) is mine


def test_before_initialize():
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")
    for loss in (DiceCE(), DiceCE(background=None), DiceCE(background="X")):
        with pytest.raises(ValueError, match="'tagger': it has no labels yet.*Initialize it first"):
            spacy_dice.use_loss(nlp, {"tagger": loss})
    nlp.add_pipe("spancat")
    with pytest.raises(ValueError, match="'spancat': it has no labels yet"):
        spacy_dice.use_loss(nlp)


def test_a_schedule_without_a_number():
    with pytest.raises(ValueError, match="the weight of 'dice' is a schedule without a number"):
        DiceCE(weight=iter([]))


@pytest.mark.parametrize("factory", ["dice_ner", "textcat"])
def test_rehearsing_is_no_step_of_a_schedule_and_needs_no_optimizer(factory):
    nlp, data = pipeline(factory, DiceCE(weight=iter([0.1, 0.2, 0.3])))
    pipe = nlp.get_pipe("pipe")
    optimizer = nlp.resume_training()
    for sgd in (optimizer, None):
        pipe.rehearse(data, sgd=sgd, losses={})
        assert pipe._bound.current.weight == 0.1
    nlp.update(data, sgd=optimizer)
    assert pipe._bound.current.weight == 0.2


def test_one_loss_trains_two_components_apart():
    """It is a value: schedules and running counts are each component's own."""
    nlp = spacy.blank("en")
    nlp.add_pipe("ner"), nlp.add_pipe("ner", name="other")
    nlp.initialize(lambda: ner_examples(nlp))
    loss = DiceCE(weight=iter([0.1, 0.2, 0.3]), class_weights="balanced")
    spacy_dice.use_loss(nlp, {"ner": loss})
    nlp.update(ner_examples(nlp))
    spacy_dice.use_loss(nlp, {"other": loss})
    weights = [nlp.get_pipe(name)._bound.current.weight for name in ("ner", "other")]
    assert weights == [0.2, 0.1]
    spacy_dice.restore(nlp)
    nlp.update(ner_examples(nlp))


def test_what_a_text_classifier_reports_is_the_sum():
    nlp, data = pipeline("textcat", CrossEntropy())
    pipe = nlp.get_pipe("pipe")
    scores = numpy.full((len(data), 2), 0.5, dtype="f")
    assert pipe.get_loss(data, scores)[0] == pytest.approx(len(data) * numpy.log(2))


def test_a_copy_of_a_component_goes_on_with_its_schedule():
    nlp, data = pipeline("textcat", DiceCE(weight=constant_then(0.0, 2, decaying(1.0, 1.0))))
    bound = nlp.get_pipe("pipe")._bound
    for each in (bound, copy.deepcopy(bound)):
        each.step(), each.step()
        assert each.current.weight == 1.0


@pytest.mark.parametrize("factory", ["ner", "textcat"])
def test_a_pipeline_that_has_the_same_component_keeps_its_own(factory):
    """Sourcing shares components, and with them their weights, but not what they train with."""
    nlp, data = pipeline(factory)
    other = spacy.blank("en", vocab=nlp.vocab)
    other.add_pipe("pipe", source=nlp)
    before = nlp.get_pipe("pipe")
    spacy_dice.use_loss(other, {"pipe": DiceCE()})
    assert nlp.get_pipe("pipe") is before and not hasattr(before, "loss")
    assert other.get_pipe("pipe").model is before.model
    for each in (nlp, other):
        assert numpy.isfinite(each.update(data)["pipe"])
    spacy_dice.restore(other)
    assert not hasattr(other.get_pipe("pipe"), "loss")
    assert numpy.isfinite(other.update(data)["pipe"]) and before(nlp.make_doc("Ann met Bob"))


def test_an_import_that_fails_breaks_no_other_pipeline():
    code = """
import sys
sys.modules["spacy_dice.components.dice_ner"] = None  # an import error, as another spaCy could give
import spacy
nlp = spacy.blank("en")
nlp.add_pipe("ner")
try:
    nlp.add_pipe("dice_ner")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "spacy_dice cannot make a DiceNER with spaCy 3" in done.stdout


def test_a_loss_says_its_settings():
    assert repr(DiceCE(weight=2.0, average="macro")).startswith(
        "DiceCE(weight=2.0, class_weights=None, level='batch', average='macro'"
    )
    compound = Compound([Focal(gamma=1.0), Dice()], [1.0, 0.5])
    assert repr(compound).startswith("Compound(1.0 * Focal(gamma=1.0")
    assert [name for name, *_ in compound.core.terms()] == ["0", "1"]


def test_class_weights_of_entity_types_are_those_of_all_their_tags():
    names = ["O", "B-person", "I-person", "B-org"]
    p = numpy.asarray([[0.2, 0.3, 0.1, 0.4]] * 3)
    truths = ["B-person", "I-person", "O"]
    by_type = CrossEntropy(names=names, class_weights={"person": 5})
    by_tag = CrossEntropy(names=names, class_weights={"B-person": 5, "I-person": 5})
    assert by_type.get_loss(p, truths) == by_tag.get_loss(p, truths)
    with pytest.raises(ValueError, match="class_weights has the label 'place'"):
        CrossEntropy(names=names, class_weights={"place": 5}).get_loss(p, truths)


def test_a_star_is_every_component_that_can(capsys):
    nlp = spacy.blank("en")
    for name in ("sentencizer", "ner", "tagger"):
        nlp.add_pipe(name)
    nlp.get_pipe("tagger").add_label("N")
    nlp.initialize(lambda: ner_examples(nlp)[:3])
    with pytest.raises(ValueError, match="'tagger': a softmax of one column"):
        spacy_dice.use_loss(nlp, {"*": DiceCE()})
    nlp.remove_pipe("tagger")
    tagger = nlp.add_pipe("tagger")
    tagger.add_label("N"), tagger.add_label("V")
    nlp.initialize(lambda: ner_examples(nlp)[:3])
    use_loss_callback({"*": DiceCE(), "ner": "Focal"})(nlp)
    losses = {name: nlp.get_pipe(name).loss for name in ("ner", "tagger")}
    assert [type(loss).__name__ for loss in losses.values()] == ["Focal", "DiceCE"]
    said = " ".join(capsys.readouterr().out.split())
    assert "Component 'ner' trains with Focal(gamma=2.0" in said
    assert "Component 'tagger' trains with DiceCE(weight=1.0" in said
    alone = spacy.blank("en")
    alone.add_pipe("sentencizer")
    with pytest.raises(ValueError, match="stands for none"):
        spacy_dice.use_loss(alone, {"*": DiceCE()})
