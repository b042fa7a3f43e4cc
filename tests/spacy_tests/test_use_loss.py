"""Switching losses of stock components on and off."""

import random
import warnings

import pytest
import spacy
from spacy.language import Language
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.tagger import Tagger
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Optimizer, fix_random_seed

import spacy_dice
from spacy_dice.losses import (
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    EntityDice,
    Tversky,
    WeightedCrossEntropy,
)
from spacy_dice.switch import use_loss_callback
from spacy_tests.helpers import TOK2VEC

WORDS = "I like New York City and Bob .".split()


def examples(nlp):
    gold = Doc(
        nlp.vocab,
        words=WORDS,
        tags=list("PVNNNCN."),
        ents=["O", "O", "B-LOC", "I-LOC", "I-LOC", "O", "B-PER", "O"],
    )
    return [Example(Doc(nlp.vocab, words=WORDS), gold)]


def make(names=("tagger", "ner")):
    fix_random_seed(0)
    nlp = spacy.blank("en")
    for name in names:
        nlp.add_pipe(name)
    nlp.initialize(lambda: examples(nlp))
    return nlp


def train(nlp, steps=40):
    for _ in range(steps):
        nlp.update(examples(nlp))
    return nlp


def result(nlp):
    doc = nlp(Doc(nlp.vocab, words=WORDS))
    return [t.tag_ for t in doc], [(e.text, e.label_) for e in doc.ents]


GOLD = list("PVNNNCN."), [("New York City", "LOC"), ("Bob", "PER")]


def test_on_and_off_again():
    nlp = make()
    models = [nlp.get_pipe(name).model for name in nlp.pipe_names]
    assert spacy_dice.use_loss(nlp, {"ner": DiceCE(), "tagger": DiceCE()}) is nlp
    assert isinstance(nlp.get_pipe("ner"), EntityRecognizer)
    assert type(nlp.get_pipe("ner")) is not EntityRecognizer
    assert [nlp.get_pipe(name).model for name in nlp.pipe_names] == models
    assert nlp.pipe_names == ["tagger", "ner"]
    assert result(train(nlp)) == GOLD
    # Another loss in place of ours.
    spacy_dice.use_loss(nlp, {"ner": CrossEntropy()})
    assert nlp.get_pipe("ner").loss == CrossEntropy().core
    assert spacy_dice.restore(nlp) is nlp
    assert type(nlp.get_pipe("ner")) is EntityRecognizer
    assert type(nlp.get_pipe("tagger")) is Tagger and not hasattr(nlp.get_pipe("tagger"), "loss")
    assert result(train(nlp, 3)) == GOLD
    spacy_dice.restore(nlp)


@pytest.mark.parametrize(
    "losses, message",
    [
        ({"nre": DiceCE()}, "there is no component 'nre'. The pipeline has: tagger, ner, tok2vec"),
        ({"tok2vec": DiceCE()}, "component 'tok2vec' (tok2vec, Tok2Vec) has no loss that can be"),
        ({"sentencizer": DiceCE()}, "component 'sentencizer' (sentencizer, Sentencizer) has no"),
        (
            {"entity_linker": DiceCE()},
            "component 'entity_linker' (entity_linker, EntityLinker) has no loss that can be "
            "replaced: it learns vectors by their cosine distance",
        ),
        ({"dice_ner": DiceCE()}, "takes its loss from [components.dice_ner.loss]"),
        ({"ner": "DiceXE"}, "Component 'ner': there is no loss 'DiceXE'. Did you mean DiceCE?"),
        ({"ner": Adam()}, "Component 'ner': loss must be a loss, the name of one"),
        ({"ner": EntityDice()}, "Component 'ner': EntityDice needs a head of tags of entities"),
        ({"ner": CrossEntropy(class_weights={"PLACE": 2})}, "Component 'ner': class_weights has"),
        ({"ner": WeightedCrossEntropy(counts=[1, 2])}, "Component 'ner': counts has 2 numbers for"),
        ({"ner": DiceCE(background="X")}, "background has the label 'X', which is none of its"),
        ({}, "losses must be the name of a loss"),
        (DiceCE(), "losses must be the name of a loss"),
    ],
)
def test_mistakes_change_nothing(losses, message):
    nlp = make(("tagger", "ner"))
    for name in ("tok2vec", "sentencizer", "entity_linker", "dice_ner"):
        nlp.add_pipe(name)
    if isinstance(losses, dict) and losses:
        losses = {"tagger": DiceCE(), **losses}
    with pytest.raises(ValueError) as error:
        spacy_dice.use_loss(nlp, losses)
    assert message in str(error.value)
    assert type(nlp.get_pipe("tagger")) is Tagger and type(nlp.get_pipe("ner")) is EntityRecognizer


def test_disabled_components_are_found():
    nlp = make()
    with nlp.select_pipes(enable=[]):
        spacy_dice.use_loss(nlp, {"ner": DiceCE()})
    assert hasattr(nlp.get_pipe("ner"), "loss") and nlp.pipe_names == ["tagger", "ner"]


def test_a_subclass_of_somebody_else_is_not_taken_over():
    class MyTagger(Tagger):
        pass

    model = {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}

    @Language.factory("my_tagger", default_config={"model": model})
    def make_my_tagger(nlp, name, model):
        return MyTagger(nlp.vocab, model, name)

    nlp = make(("my_tagger",))
    with pytest.raises(ValueError, match="'my_tagger' .my_tagger, MyTagger. has no loss") as error:
        spacy_dice.use_loss(nlp, {"my_tagger": DiceCE()})
    assert "it is a subclass of Tagger, and those are not changed" in str(error.value)
    assert str(error.value).startswith("use_loss: ")  # no title, no blank lines


def test_a_frozen_component_with_a_loss_is_said_to_be_for_nothing(capsys):
    nlp = make(("tagger", "ner"))
    nlp.config["training"]["frozen_components"] = ["tagger"]
    use_loss_callback({"tagger": "DiceCE", "ner": "DiceCE"})(nlp)
    said = " ".join(capsys.readouterr().out.split())
    assert "'tagger' is frozen (frozen_components), so that it is not trained" in said
    assert "Component 'ner' trains with" in said and "'tagger' trains" not in said


def test_a_shared_tok2vec_learns_from_all():
    """Listeners still listen after the switch, and a masked batch does not break the chain."""
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec")
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}
    for name in ("tagger", "dice_ner"):
        nlp.add_pipe(
            name, config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
        )
    nlp.add_pipe("ner", config={"model": {"tok2vec": listener}}, before="dice_ner")
    nlp.initialize(lambda: examples(nlp))
    spacy_dice.use_loss(nlp, {"tagger": DiceCE(), "ner": DiceCE()})
    assert sorted(nlp.get_pipe("tok2vec").listening_components) == ["dice_ner", "ner", "tagger"]
    train(nlp, 60)
    doc = nlp(" ".join(WORDS))
    assert [t.tag_ for t in doc] == GOLD[0] and [(e.text, e.label_) for e in doc.ents] == GOLD[1]
    # Without tags there is nothing to learn for the tagger; tok2vec gets the others' gradient.
    embed = nlp.get_pipe("tok2vec").model
    before = {(n.id, p): n.get_param(p).copy() for n in embed.walk() for p in n.param_names}
    bare = Example(Doc(nlp.vocab, words=WORDS), Doc(nlp.vocab, words=WORDS, ents=["O"] * 8))
    nlp.update([bare])
    assert any(
        (n.get_param(p) != before[n.id, p]).any() for n in embed.walk() for p in n.param_names
    )


def test_schedules_step_once_an_update_whatever_is_accumulated():
    from spacy.training.loop import train_while_improving

    nlp = make()
    spacy_dice.use_loss(
        nlp, {"ner": DiceCE(weight=iter(range(100))), "tagger": DiceCE(weight=iter(range(100)))}
    )
    data = examples(nlp) * 8
    steps = train_while_improving(
        nlp,
        Adam(0.001),
        ((0, data) for _ in range(5)),
        lambda: (0.0, {}),
        dropout=0.1,
        eval_frequency=10,
        accumulate_gradient=4,
        patience=0,
        max_steps=0,
        exclude=["tagger"],
        annotating_components=[],
        before_update=None,
    )
    random.seed(0)
    assert len(list(steps)) == 5
    assert nlp.get_pipe("ner")._bound.current.weight == 5
    assert nlp.get_pipe("tagger")._bound.current.weight == 0  # frozen


@pytest.mark.parametrize(
    "names, losses, warned",
    [
        (["tagger", "ner"], {"ner": "DiceCE", "tagger": "CrossEntropy"}, ["ner"]),
        (["ner"], {"ner": {"name": "DiceCE", "level": "element"}}, []),
        (["dice_ner", "dice_tagger"], None, ["dice_ner", "dice_tagger"]),
    ],
)
@pytest.mark.parametrize("parts", [1, 3])
def test_batches_cut_up_are_warned_about(names, losses, warned, parts):
    """By the config, for losses that count over a batch: use_loss's, and those of own blocks."""
    nlp = spacy.blank("en")
    for name in names:
        block = {"loss": {"@losses": "spacy_dice.DiceCE.v1"}} if name == "dice_tagger" else {}
        nlp.add_pipe(name, config=block)
    nlp.config["training"]["accumulate_gradient"] = parts
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nlp.initialize(lambda: examples(nlp))
        if losses:
            spacy_dice.use_loss(nlp, losses)
    found = [str(warning.message) for warning in caught if "cuts them up" in str(warning.message)]
    assert len(found) == (len(warned) if parts > 1 else 0)
    for name, message in zip(warned, found):
        assert message.startswith(f"Component '{name}': DiceCE counts over whole batches")
        assert "accumulate_gradient = 3" in message


def test_to_stock_shares_the_models_and_changes_nothing(tmp_path):
    nlp = make(("dice_tagger", "ner", "dice_ner"))
    nlp.disable_pipe("dice_ner")
    spacy_dice.use_loss(nlp, {"ner": DiceCE()})
    train(nlp)
    config = nlp.config.to_str()
    stock = spacy_dice.to_stock(nlp)
    assert nlp.config.to_str() == config
    assert stock.component_names == nlp.component_names and stock.disabled == ["dice_ner"]
    tagger = stock.get_pipe("dice_tagger")
    assert type(tagger) is Tagger and tagger.model is nlp.get_pipe("dice_tagger").model
    factories = {"dice_tagger": "tagger", "ner": "ner", "dice_ner": "dice_ner"}
    assert stock.pipe_factories == factories
    assert result(stock) == result(nlp) == GOLD
    stock.to_disk(tmp_path)
    assert result(spacy.load(tmp_path, exclude=["dice_ner"])) == GOLD
    assert "loss" not in stock.config["components"]["dice_tagger"]
    plain = make(("tagger",)).config["components"]["tagger"]
    assert stock.config["components"]["dice_tagger"].keys() == plain.keys()
    # What it shares goes on training.
    assert nlp.get_pipe("dice_tagger").loss == DiceCE().core
    train(nlp, 1)
    assert spacy_dice.to_stock(stock).pipe_factories == factories


def labelled_pipeline(**labels):
    """An initialized pipeline of components and their labels."""
    nlp = spacy.blank("en")
    for name, of_pipe in labels.items():
        pipe = nlp.add_pipe(name)
        for label in of_pipe:
            pipe.add_label(label)
    nlp.initialize()
    return nlp


@pytest.mark.parametrize(
    "name, labels, expected",
    [
        ("spancat", "A", "CrossEntropy(label_smoothing=0.0, class_weights=None"),
        ("spancat", "AB", "CrossEntropy(label_smoothing=0.0, class_weights='balanced'"),
        ("textcat_multilabel", "AB", "DiceCE(weight=1.0, class_weights='balanced'"),
        ("textcat", "ABC", "DiceCE(weight=1.0, class_weights='balanced'"),
        ("span_finder", "", "CrossEntropy(label_smoothing=0.0, class_weights=None"),
    ],
)
def test_auto_is_what_is_recommended_for_a_component(name, labels, expected):
    for losses in ({}, {"losses": "auto"}, {"losses": {"*": "auto"}}, {"losses": {name: "auto"}}):
        nlp = spacy_dice.use_loss(labelled_pipeline(**{name: labels}), **losses)
        assert repr(nlp.get_pipe(name).loss).startswith(expected)


@pytest.mark.parametrize("name, labels", [("textcat", "AB"), ("tagger", "AB"), ("ner", "A")])
def test_auto_says_where_it_changes_nothing(name, labels):
    nlp = labelled_pipeline(**{name: labels})
    kind = type(nlp.get_pipe(name))
    with pytest.warns(UserWarning, match=f"changes nothing here.* for {name}"):
        spacy_dice.use_loss(nlp)
    assert type(nlp.get_pipe(name)) is kind


def test_auto_leaves_alone_what_gains_nothing(capsys):
    nlp = labelled_pipeline(tagger="AB", textcat_multilabel="AB")
    spacy_dice.switch.use_loss_callback()(nlp)
    assert type(nlp.get_pipe("tagger")) is Tagger
    said = " ".join(capsys.readouterr().out.split())
    assert "Component 'tagger' trains with spaCy's own loss" in said
    assert "Component 'textcat_multilabel' trains with DiceCE(" in said


def test_tuning_says_where_there_is_nothing_to_tune():
    nlp = labelled_pipeline(senter="")
    with pytest.warns(UserWarning, match="tune = true changes nothing, since no component"):
        use_loss_callback(tune=True)(nlp)


def test_one_name_is_for_all_components():
    nlp = spacy_dice.use_loss(labelled_pipeline(tagger="AB", textcat="AB"), "DiceCE")
    assert all(nlp.get_pipe(name).loss == DiceCE().core for name in nlp.pipe_names)


def test_resuming_takes_the_losses_of_the_config(tmp_path):
    block = {"@losses": "spacy_dice.CrossEntropy.v1", "label_smoothing": 0.1}
    nlp = make()
    nlp.config["initialize"]["after_init"] = {
        "@callbacks": "spacy_dice.chain.v1",
        "callbacks": {
            "use_loss": {
                "@callbacks": "spacy_dice.use_loss.v1",
                "losses": {"tagger": block, "ner": "DiceCE"},
            },
        },
    }
    train(nlp, 3).to_disk(tmp_path)
    values = []
    for resume in (Language.resume_training, spacy_dice.resume_training):
        loaded = spacy.load(tmp_path)
        optimizer = resume(loaded)
        assert isinstance(optimizer, Optimizer)
        values.append(loaded.update(examples(loaded), sgd=optimizer, drop=0.0))
    ours = spacy_dice.use_loss(spacy.load(tmp_path), {"tagger": CrossEntropy(label_smoothing=0.1)})
    expected = ours.update(examples(ours), sgd=Adam(0.001), drop=0.0)
    assert loaded.get_pipe("tagger").loss.label_smoothing == 0.1
    assert values[1]["tagger"] == pytest.approx(expected["tagger"]) != values[0]["tagger"]
    assert loaded.get_pipe("ner").loss == DiceCE().core
    with pytest.raises(ValueError, match="resume_training: neither the pipeline's config nor"):
        spacy_dice.resume_training(make())


ALONE = ["Dice", "SelfAdjustingDice", "SemimetricDice", "Tversky"]
BESIDE = {"ce": CrossEntropy(), "tversky": Tversky()}


@pytest.mark.parametrize("loss", [*ALONE, Compound({"a": Dice(), "b": Tversky()})], ids=str)
def test_losses_that_hardly_train_alone_are_warned_about(loss):
    nlp = make(["tagger"])
    name = loss if isinstance(loss, str) else "Compound"
    with pytest.warns(UserWarning) as caught:
        spacy_dice.use_loss(nlp, {"tagger": loss})
    (text,) = {str(w.message) for w in caught}
    assert f"Component 'tagger': {name} without a cross-entropy" in text
    assert "DiceCE, or a Compound" in text


@pytest.mark.parametrize("loss", ["CrossEntropy", "Focal", "DiceCE", Compound(BESIDE)], ids=str)
def test_losses_that_train_alone_are_not(loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spacy_dice.use_loss(make(["tagger"]), {"tagger": loss})
