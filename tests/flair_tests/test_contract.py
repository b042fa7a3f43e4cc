"""What a loss in a Flair model promises besides its value and gradient."""

import copy
import logging

import flair.models
import pytest
import torch
from flair.data import Corpus
from flair.datasets import FlairDatapointDataset
from flair.nn import Classifier

import flair_dice
from flair_dice import DiceCE, make_loss, use_loss
from flair_tests.helpers import dictionary, labelled, texts

stock = flair.models.TextClassifier
SENTENCES = [labelled("buy it now", "yes"), labelled("see you", "no"), labelled("buy two", "yes")]


def classifier(loss=None, cls=flair_dice.TextClassifier):
    corpus = Corpus(*(FlairDatapointDataset(SENTENCES) for _ in range(3)))
    labels = dictionary("no", "yes")
    options = {} if cls is stock else {"loss": loss}
    torch.manual_seed(0)
    embeddings = texts(corpus, size=8)
    return cls(embeddings, label_type="class", label_dictionary=labels, **options)


def test_a_file_of_several_processes_trains_in_one(tmp_path):
    """The file tells how the model was trained, which is not how it is trained now."""
    model = classifier("DiceCE")
    model.model_card = {"training_parameters": {"multi_gpu": True}}
    model.save(tmp_path / "model.pt")
    again = flair_dice.TextClassifier.load(tmp_path / "model.pt")
    assert again.model_card["training_parameters"]["multi_gpu"]
    again.train()
    loss, count = again.forward_loss(SENTENCES)
    loss.backward()
    assert count == 3 and loss.item() > 0


@pytest.mark.parametrize("through", [Classifier, flair_dice.TextClassifier])
def test_only_files_with_our_loss_and_loads_through_us_give_our_classes(through, tmp_path):
    classifier(cls=stock).save(tmp_path / "stock.pt")
    classifier("DiceCE").save(tmp_path / "ours.pt")
    ours = through.load(tmp_path / "ours.pt")
    assert type(ours) is flair_dice.TextClassifier and ours.loss == DiceCE().core
    plain = through.load(tmp_path / "stock.pt")
    if through is Classifier:
        assert type(plain) is stock
    else:
        assert type(plain) is flair_dice.TextClassifier and plain.loss is None
    assert type(flair.models.TextClassifier.load(tmp_path / "ours.pt")).__module__ != "flair_dice"


def test_the_model_says_its_loss():
    assert "(loss): DiceCE(weight=1.0" in str(classifier("DiceCE"))
    assert "(loss)" not in str(classifier())


@pytest.mark.parametrize("spec", ["WeightedCrossEntropy", DiceCE(class_weights="balanced")])
def test_models_with_one_loss_count_each_on_its_own(spec):
    """What one has seen changes nothing in another, nor in its file."""
    first, second = classifier(spec).train(), classifier(spec).train()
    before = set(first.state_dict())
    assert first.loss == second.loss
    for _ in range(3):
        first.forward_loss([SENTENCES[0]])
    assert first.forward_loss(SENTENCES)[0] != second.forward_loss(SENTENCES)[0]
    again = copy.deepcopy(first)
    assert again.forward_loss(SENTENCES)[0] == first.forward_loss(SENTENCES)[0]
    assert set(first.state_dict()) == before
    with torch.no_grad():  # an evaluation counts nothing
        assert first.forward_loss(SENTENCES)[0] == first.forward_loss(SENTENCES)[0]


def multi_label():
    model = classifier(cls=stock)
    model.multi_label = True
    return model


def test_auto_is_what_was_measured(caplog):
    balanced = {"name": "CrossEntropy", "class_weights": "balanced"}
    assert use_loss(multi_label()).loss == make_loss(balanced).core
    with caplog.at_level(logging.INFO, logger="flair"):
        assert type(use_loss(classifier(cls=stock))) is stock
        assert classifier("auto").loss is None
    assert caplog.text.count('TextClassifier: the loss "auto" is the stock loss') == 2
    with pytest.raises(ValueError, match='"auto" is what was measured for a kind of model'):
        make_loss("auto")


def test_none_is_the_stock_loss():
    model = classifier(cls=stock).train()
    expected = model.forward_loss(SENTENCES)[0]
    assert type(use_loss(model, None)) is stock
    use_loss(model, "Focal")
    assert model.forward_loss(SENTENCES)[0] != expected
    assert type(use_loss(model, None)) is stock and not hasattr(model, "loss")
    assert model.forward_loss(SENTENCES)[0] == expected


@pytest.mark.parametrize(
    "loss, message",
    [
        (DiceCE(names=["no", "yes"]), "DiceCE: how logits are read \\(names\\) is for the model"),
        ({"name": "DiceCE", "activation": "sigmoid"}, "how logits are read \\(activation\\)"),
        ({"name": "CrossEntropy", "pos_weight": {"yes": 2}}, "pos_weight is for sigmoids"),
        ({"name": "DiceCE", "background": "PER"}, "background has the label 'PER'"),
        (
            {"name": "CrossEntropy", "class_weights": {"ye": 1}},
            "class_weights has the label 'ye', wh",
        ),
        (torch.nn.CrossEntropyLoss(), "loss must be a loss, the name of one"),
        ("AsymmetricLoss", "AsymmetricLoss is for sigmoids"),
        ({"name": "DiceCE", "weights": 1}, "DiceCE has no option weights. Did you mean weight"),
    ],
)
def test_mistakes_show_when_the_loss_is_set(loss, message):
    model = classifier(cls=stock)
    with pytest.raises(ValueError, match=f"TextClassifier: {message}|TextClassifier: .*{message}"):
        use_loss(model, loss)
    assert type(model) is stock
