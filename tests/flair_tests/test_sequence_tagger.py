"""SequenceTagger: stock without a loss; trains, saves, loads, resumes with one."""

import json

import pytest
import torch
from flair.data import Sentence, Span
from flair.models import SequenceTagger as Stock
from flair.nn import Classifier
from torch.testing import assert_close

from flair_dice import DiceCE, LossPlugin, Ramp, SequenceTagger
from flair_dice.loss_mixin import KEY
from flair_tests.helpers import LOSSES, dictionary, seed, train, words

SIZES = {"hidden_size": 24, "reproject_embeddings": False, "locked_dropout": 0.0}


def tagger(corpus, cls=SequenceTagger, number=0, **options):
    seed(number)
    labels = corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
    return cls(words(corpus), labels, "ner", **{**SIZES, **options})


def entities(model, sentences):
    copies = [Sentence([token.text for token in sentence]) for sentence in sentences]
    model.predict(copies)
    return [[(e.text, e.tag, round(e.score, 5)) for e in s.get_spans("ner")] for s in copies]


@pytest.mark.parametrize("use_crf", [False, True])
def test_without_a_loss_it_is_stock(use_crf, corpus, tmp_path):
    """Bit for bit: parameters, the file's content, dev scores and losses, predictions."""
    seen = []
    for cls in (Stock, SequenceTagger):
        model = tagger(corpus, cls, use_crf=use_crf)
        result = train(model, corpus, tmp_path / cls.__module__, epochs=2)
        state = torch.load(tmp_path / cls.__module__ / "final-model.pt", weights_only=False)
        for name in ("embeddings", "tag_dictionary", "model_card"):
            del state[name]
        seen.append((result, state, entities(model, corpus.test)))
    (result, state, found), (our_result, our_state, ours) = seen
    assert our_result == result and found == ours
    weights, our_weights = state.pop("state_dict"), our_state.pop("state_dict")
    assert our_state == state
    assert list(weights) == list(our_weights)
    for name, value in weights.items():
        assert torch.equal(value, our_weights[name])


@pytest.mark.parametrize("use_crf", [False, True])
def test_cross_entropy_has_the_stock_gradients(use_crf, corpus):
    """Of the same sum and count, relative to the largest of them."""
    seen = []
    for cls, loss in ((Stock, {}), (SequenceTagger, {"loss": "CrossEntropy"})):
        model = tagger(corpus, cls, use_crf=use_crf, word_dropout=0.0, dropout=0.0, **loss).train()
        batch = list(corpus.train)[:16]
        for sentence in batch:
            sentence.clear_embeddings()
        value, count = model.forward_loss(batch)
        value.backward()
        assert count == sum(map(len, batch))
        seen.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    scale = max(gradient.abs().max() for gradient in seen[0].values()).item()
    assert seen[0].keys() == seen[1].keys() and scale > 0
    for name, value in seen[0].items():
        assert_close(seen[1][name], value, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("use_crf", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_a_sum_with_its_count(name, use_crf, corpus, tmp_path):
    """What the trainer back-propagates and logs; for sentences in any order, for empty ones, and
    for none."""
    model = tagger(corpus, use_crf=use_crf, loss=LOSSES[name])
    model.train()
    batch = list(corpus.train)[:8]
    loss, count = model.forward_loss(batch)
    assert count == sum(map(len, batch)) and loss.ndim == 0 and loss > 0
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    losses = [model.forward_loss(part)[0].item() for part in (batch, batch[::-1])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with torch.no_grad():
        predicted, count = model.predict(batch, label_name="x", return_loss=True)
    assert predicted.item() == pytest.approx(losses[0], rel=1e-5)
    assert count == sum(map(len, batch))
    for nothing in ([], [Sentence("")]):
        loss, count = model.forward_loss(nothing)
        loss.backward()
        assert loss.item() == 0 and count == 0
    with_empty, count = model.forward_loss([Sentence(""), *batch, Sentence("")])
    assert with_empty.item() == pytest.approx(losses[0], rel=1e-5)
    # Without any entity.
    model.train().zero_grad()
    loss, _ = model.forward_loss([s for s in corpus.train if not s.get_spans("ner")][:4])
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    # A file has plain values.
    model.save(tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=False)
    assert json.loads(json.dumps(state[KEY])) == state[KEY]
    assert SequenceTagger.load(tmp_path / "model.pt").loss == model.loss
    # A label that dev alone has.
    Span(batch[0][0:2]).add_label("ner", "animal")
    with pytest.raises(ValueError, match="SequenceTagger: the data has the label 'B-animal'"):
        model.forward_loss(batch)


@pytest.mark.parametrize("use_crf", [False, True])
@pytest.mark.parametrize("name", ["dice_ce", "ce_entity", "tversky"])
def test_trains_saves_loads(name, use_crf, corpus, tmp_path):
    """From scratch through the public door; alone set-level losses need not, and are not asked."""
    loss = LOSSES[name]
    if name == "tversky":
        loss = {"name": "Compound", "losses": ["CrossEntropy", loss]}
    model = tagger(corpus, use_crf=use_crf, loss=loss)
    before = model.evaluate(corpus.test, "ner").loss
    result = train(model, corpus, tmp_path, epochs=6)
    # test_score is of the best model, which train() has loaded back
    assert result["test_score"] > 0.5
    after = model.evaluate(corpus.test, "ner")
    assert after.loss < before / 2
    found = entities(model, corpus.test)
    assert sum(map(len, found)) > 10
    for load in (SequenceTagger.load, Classifier.load):
        again = load(tmp_path / "best-model.pt")
        assert type(again) is SequenceTagger and again.loss.to_dict() == model.loss.to_dict()
        assert entities(again, corpus.test) == found
        assert again.evaluate(corpus.test, "ner").loss == pytest.approx(after.loss, rel=1e-5)
    plain = Stock.load(tmp_path / "best-model.pt")
    assert type(plain) is Stock and entities(plain, corpus.test) == found


@pytest.mark.parametrize("method", ["train", "fine_tune"])
def test_resumed_training_goes_on_with_the_loss(method, corpus, tmp_path):
    """As one run: the second half, from a checkpoint, has the loss and the schedule's weight."""
    used = []

    class Recorded(LossPlugin):
        @LossPlugin.hook
        def after_training_batch(self, **kwargs):
            used.append(self.model._bound.current.weight)

    model = tagger(corpus, use_crf=False, loss=DiceCE(weight=Ramp(0.0, 4.0, begin=0.0, end=4.0)))
    options = {"save_model_each_k_epochs": 2, "plugins": [Recorded()], "method": method}
    train(model, corpus, tmp_path, epochs=2, **options)
    n = len(used)
    assert used[0] == 0 and used[-1] == pytest.approx(2 - 2 / (n / 2) / 2)
    again = SequenceTagger.load(tmp_path / "model_epoch_2.pt")
    assert again.loss == model.loss
    train(again, corpus, tmp_path, epochs=4, epoch=2, plugins=[Recorded()], method=method)
    assert used[n] == pytest.approx(2.0) and used[-1] > 3.9
    assert len(used) == 2 * n


def test_files_with_loss_weights_load(corpus, tmp_path):
    model = tagger(corpus, Stock, use_crf=False, loss_weights={"O": 0.5})
    model.save(tmp_path / "weights.pt")
    again = SequenceTagger.load(tmp_path / "weights.pt")
    assert again.loss is None and again.weight_dict == {"O": 0.5}
    batch = list(corpus.test)[:4]
    model.eval()
    assert again.forward_loss(batch)[0].item() == pytest.approx(model.forward_loss(batch)[0].item())
    with pytest.raises(ValueError, match="SequenceTagger: loss_weights are those of the stock"):
        tagger(corpus, loss_weights={"O": 0.5}, loss="DiceCE")


@pytest.mark.parametrize("use_crf", [False, True])
@pytest.mark.parametrize("tag_format", ["BIOES", "BIO"])
def test_entity_dice_counts_what_the_tagger_would_predict(tag_format, use_crf, corpus):
    """Of a tagger that is sure and right, all entities are found and nothing else."""
    model = tagger(
        corpus, use_crf=use_crf, tag_format=tag_format, loss={"name": "EntityDice", "smooth": 0.0}
    )
    model.eval()
    batch = sorted(list(corpus.test)[:20], key=len, reverse=True)
    gold = model._prepare_label_tensor(batch)
    lengths = torch.tensor([len(sentence) for sentence in batch])
    logits = 60.0 * torch.nn.functional.one_hot(gold, len(model.label_dictionary)).float()
    model._lengths = lengths
    scores = logits
    if use_crf:
        padded = torch.nn.utils.rnn.pad_sequence(logits.split(lengths.tolist()), batch_first=True)
        scores = (model.crf(padded), lengths, model.crf.transitions)
    loss, _ = model._calculate_loss(scores, gold)
    assert loss.item() / len(gold) == pytest.approx(0, abs=1e-5)
    # One entity more in the truth than is predicted: of n + 1, F = 2n / (2n + 1).
    n = sum(len(sentence.get_spans("ner")) for sentence in batch)
    outside = next(s for s in batch if not s.get_spans("ner"))
    Span(outside[2:4]).add_label("ner", "city")
    loss, count = model._calculate_loss(scores, model._prepare_label_tensor(batch))
    Span(outside[2:4]).remove_labels("ner")
    assert loss.item() / count == pytest.approx(1 - 2 * n / (2 * n + 1), abs=1e-4)


def test_the_outside_tag_is_found_by_name(corpus):
    """It need not be the first: a dictionary of the user's own order, of tags."""
    tags = dictionary("S-city", "B-city", "E-city", "I-city", "O", add_unk=True)
    model = SequenceTagger(words(corpus), tags, "ner", loss="DiceCE", **SIZES)
    assert model._spec.background == ("O",) and model._spec.crf
    assert model._spec.names == ("<unk>", "S-city", "B-city", "E-city", "I-city", "O")


def test_a_crf_has_no_weighted_likelihood(corpus):
    for options in ({"class_weights": {"O": 0.5}}, {"label_smoothing": 0.1}):
        loss = {"name": "CrossEntropy", **options}
        assert tagger(corpus, use_crf=False, loss=loss).loss is not None
        with pytest.raises(ValueError, match="CrossEntropy is the likelihood of whole sequences"):
            tagger(corpus, use_crf=True, loss=loss)


def test_a_file_from_the_future(corpus, tmp_path):
    model = tagger(corpus, loss="DiceCE")
    model.save(tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=False)
    state[KEY] = {"name": "BetterDice"}
    torch.save(state, tmp_path / "future.pt")
    for load in (SequenceTagger.load, Classifier.load):
        with pytest.raises(ValueError, match="there is no loss 'BetterDice'.*later version"):
            load(tmp_path / "future.pt")


def test_a_file_cut_short(corpus, tmp_path):
    model = tagger(corpus, loss="DiceCE")
    model.save(tmp_path / "model.pt")
    content = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut.pt is no whole model file: its end is missing"):
        SequenceTagger.load(tmp_path / "cut.pt")
    with pytest.raises(ValueError, match="Could not find any model"):
        Classifier.load(tmp_path / "cut.pt")
