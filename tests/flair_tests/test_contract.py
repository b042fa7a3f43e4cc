"""What a loss in a Flair model promises beside its value and gradient."""

import flair.models
import pytest
import torch
from flair.data import Corpus, Dictionary
from flair.datasets import FlairDatapointDataset
from flair.nn import Classifier

import flair_dice
from flair_dice import DiceCE
from flair_tests.helpers import labelled, texts

SENTENCES = [labelled("buy it now", "yes"), labelled("see you", "no"), labelled("buy two", "yes")]


def classifier(loss=None, cls=flair_dice.TextClassifier):
    corpus = Corpus(*(FlairDatapointDataset(SENTENCES) for _ in range(3)))
    labels = Dictionary(add_unk=False)
    for name in ("no", "yes"):
        labels.add_item(name)
    options = {} if cls is flair.models.TextClassifier else {"loss": loss}
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
    classifier(cls=flair.models.TextClassifier).save(tmp_path / "stock.pt")
    classifier("DiceCE").save(tmp_path / "ours.pt")
    ours = through.load(tmp_path / "ours.pt")
    assert type(ours) is flair_dice.TextClassifier and isinstance(ours.loss, DiceCE)
    stock = through.load(tmp_path / "stock.pt")
    if through is Classifier:
        assert type(stock) is flair.models.TextClassifier
    else:
        assert type(stock) is flair_dice.TextClassifier and stock.loss is None
    assert type(flair.models.TextClassifier.load(tmp_path / "ours.pt")).__module__ != "flair_dice"


def test_a_second_derivative_is_one_clear_error():
    z = torch.randn(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(DiceCE()(z, torch.tensor([0, 1, 2, 0])), z, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_the_model_says_its_loss():
    assert "(loss): DiceCE(weight=1.0" in str(classifier("DiceCE"))
