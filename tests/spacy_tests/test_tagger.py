"""The tagger with our losses, switched on and as dice_tagger."""

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_dice import use_loss
from spacy_dice.losses import CrossEntropy, Dice, DiceCE
from spacy_tests.helpers import assert_same_gradients, pipeline, update_gradients

SENTENCES = [("I like green eggs", "N V J N"), ("Eat blue ham", "V J N"), ("", ""), ("ham", "N")]


def examples(nlp, sentences=SENTENCES):
    made = []
    for words, tags in sentences:
        words = words.split()
        tags = ["" if tag == "_" else tag for tag in tags.split()]
        made.append(Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words, tags=tags)))
    return made


def make(factory="tagger", **options):
    return pipeline(factory, examples, "tagger", **options)


@pytest.mark.parametrize("negatives", [False, True])
def test_cross_entropy_has_the_stock_gradients(negatives):
    found = []
    for kind in ("stock", "use_loss", "dice_tagger"):
        if kind == "dice_tagger":
            nlp, data = make(kind, loss=None, seed=3)
            nlp.get_pipe("tagger").set_loss(CrossEntropy())
        else:
            nlp, data = make(loss=CrossEntropy() if kind == "use_loss" else None, seed=3)
        nlp.update(data)  # a head of zeros lets no gradient through
        if negatives:
            data += examples(nlp, [("Green ham is new", "_ !V _ J"), ("Eat _", "!N !J")])
        found.append(update_gradients(nlp, "tagger", data, drop=0.1))
    assert_same_gradients(found[1], found[0])
    assert_same_gradients(found[2], found[0])


def test_the_reported_loss_is_the_loss_itself():
    nlp, data = make(loss=CrossEntropy())
    n_tokens, n_tags = 8, 3
    value = nlp.get_pipe("tagger").update(data, losses={})["tagger"]
    assert value == pytest.approx(n_tokens * numpy.log(n_tags), rel=1e-5)


def test_an_unknown_tag_is_named():
    nlp, _ = make(loss=DiceCE())
    with pytest.raises(ValueError, match="Component 'tagger': the data has the label 'XYZ'"):
        nlp.update(examples(nlp, [("Green ham", "J XYZ")]))
    with pytest.raises(ValueError, match="Component 'tagger'.*'XYZ'"):
        nlp.update(examples(nlp, [("Green ham", "J !XYZ")]))


def test_label_smoothing_of_the_component_is_that_of_its_cross_entropy():
    found = []
    for loss in (None, CrossEntropy()):
        nlp, data = make(loss=loss, label_smoothing=0.1)
        nlp.update(data)
        found.append(update_gradients(nlp, "tagger", data))
    assert_same_gradients(found[1], found[0])
    nlp, _ = make(label_smoothing=0.1)
    use_loss(nlp, {"tagger": DiceCE()})
    with pytest.raises(ValueError, match="Component 'tagger': its label_smoothing is for a cross"):
        use_loss(nlp, {"tagger": Dice()})
    with pytest.raises(ValueError, match="label_smoothing is set both there and in its loss"):
        use_loss(nlp, {"tagger": CrossEntropy(label_smoothing=0.2)})


def test_dice_tagger_checks_its_loss_before_training():
    nlp = spacy.blank("en")
    loss = {"@losses": "spacy_dice.DiceCE.v1", "background": "O"}
    nlp.add_pipe("dice_tagger", config={"loss": loss})
    data = examples(nlp)
    with pytest.raises(ValueError, match="Component 'dice_tagger': background has the label 'O'"):
        nlp.initialize(lambda: data)
    with pytest.raises(ValueError, match="Component 'dice_tagger': loss must be a loss"):
        stock = {"@losses": "CategoricalCrossentropy.v1"}
        spacy.blank("en").add_pipe("dice_tagger", config={"loss": stock})


def test_dice_tagger_to_bytes_to_disk_and_pickle(tmp_path):
    import pickle

    nlp, data = make("dice_tagger")
    for _ in range(50):
        nlp.update(data)
    nlp.to_disk(tmp_path)
    blank = spacy.blank("en")
    blank.add_pipe("dice_tagger", name="tagger")
    for other in (
        spacy.load(tmp_path),
        blank.from_bytes(nlp.to_bytes()),
        pickle.loads(pickle.dumps(nlp)),
    ):
        assert [t.tag_ for t in other("I like green eggs")] == ["N", "V", "J", "N"]
        other.update(examples(other))
