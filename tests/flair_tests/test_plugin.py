"""Chunks of mini-batches, schedules and mixed precision, through Flair's trainer."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from flair.trainers import ModelTrainer
from flair.trainers.plugins import TrainerPlugin
from torch.testing import assert_close

from dice_core import losses as core
from flair_dice import DiceCE, LossPlugin, Ramp, SpanClassifier, use_loss
from flair_tests.helpers import LOSSES, ner_corpus, part_of, seed, train, words
from flair_tests.test_models import (
    entity_sentences,
    few_shot_classifier,
    multitask,
    split,
    text_classifier,
)
from flair_tests.test_sequence_tagger import tagger as sequence_tagger


class KeepGradients(TrainerPlugin):
    """Keeps the gradients of the first optimizer step."""

    @TrainerPlugin.hook
    def before_training_optimizer_step(self, **kwargs):
        if not hasattr(self, "kept"):
            self.kept = {
                name: value.grad.clone()
                for name, value in self.model.named_parameters()
                if value.grad is not None
            }


def tagger(folder, loss, use_crf, dropout=0.0):
    corpus = ner_corpus(folder, train=32)
    rates = dict.fromkeys(("dropout", "word_dropout", "locked_dropout"), dropout)
    return sequence_tagger(corpus, use_crf=use_crf, loss=loss, **rates), corpus


def spans():
    """A model of spans; every second sentence has none."""
    seed()
    corpus = split(entity_sentences, "ner")
    labels = corpus.make_label_dictionary("ner", add_unk=True)
    model = SpanClassifier(words(corpus), labels, label_type="ner", loss="DiceCE")
    return model, corpus


def gradients(model, corpus, folder, **options):
    """Of the first step. plugins: those to train with, `LossPlugin` if not given."""
    keep = KeepGradients()
    plugins = [*options.pop("plugins", [LossPlugin()]), keep]
    seed(1)
    settings = {"epochs": 1, "mini_batch_size": 32, "max_grad_norm": None}
    train(model, corpus, folder, plugins=plugins, **{**settings, **options})
    return keep.kept


def distance(first, second):
    """Of two gradients, relative to the first."""
    difference = sum(((first[name] - second[name]) ** 2).sum() for name in first)
    return (difference / sum((value**2).sum() for value in first.values())).sqrt().item()


# Each loss, and with a CRF each kind of what its chunks have to know of one another.
CHUNKED = [(name, False) for name in LOSSES]
CHUNKED += [(name, True) for name in ("wce", "dsc", "entity", "dice_ce", "ce_entity")]


@pytest.mark.parametrize("name, use_crf", CHUNKED)
def test_chunks_give_the_gradient_of_the_whole_batch(name, use_crf, folder, tmp_path):
    """A batch of 32 sentences in chunks of 5."""
    seen = [
        gradients(*tagger(folder, LOSSES[name], use_crf), tmp_path, mini_batch_chunk_size=size)
        for size in (None, 5)
    ]
    assert distance(*seen) < 1e-4


def test_without_the_plugin_it_is_another(folder, tmp_path):
    """What the test above would see if nothing were done."""
    seen = []
    for size in (None, 5):
        model, corpus = tagger(folder, LOSSES["dice_batch"], False)
        options = {"mini_batch_chunk_size": size, "plugins": []}
        seen.append(gradients(model, corpus, tmp_path, **options))
    assert distance(*seen) > 0.1


COUNTED = []


@dataclass(frozen=True, kw_only=True)
class Recorded(core.Dice):
    """Records what it counts in a chunk that is trained on, and what it is told of the batch."""

    def value_and_slope(self, probabilities, targets, totals):
        COUNTED.append((self.totals(probabilities, targets), totals))
        return super().value_and_slope(probabilities, targets, totals)


def test_dropout_is_the_same_in_both_passes(folder, tmp_path):
    """What is counted is what is trained on."""
    COUNTED.clear()
    model, corpus = tagger(folder, Recorded(level="batch"), False, dropout=0.3)
    gradients(model, corpus, tmp_path, mini_batch_chunk_size=5)
    chunks, totals = zip(*COUNTED[:7])
    assert_close(sum(chunks), totals[0], rtol=1e-5, atol=1e-5)
    assert all(torch.equal(total, totals[0]) for total in totals)


@pytest.mark.parametrize("loss", ["WeightedCrossEntropy", "LogitAdjustedCE"])
def test_running_counts_grow_by_batches(loss, folder, tmp_path):
    """Not by chunks, nor by evaluations on dev: as without chunks."""
    seen = []
    for size in (None, 5):
        model, corpus = tagger(folder, loss, False)
        train(model, corpus, tmp_path, epochs=2, mini_batch_chunk_size=size, plugins=[LossPlugin()])
        seen.append(model._bound._accumulated)
    assert torch.equal(*seen) and seen[0][-1] == 2 * sum(map(len, corpus.train))


def test_without_the_plugin_chunks_are_warned_about_once(folder, tmp_path, caplog):
    model, corpus = tagger(folder, "DiceCE", False)
    train(model, corpus, tmp_path, epochs=2, mini_batch_size=8, mini_batch_chunk_size=2)
    warnings = [r for r in caplog.records if "mini_batch_chunk_size=2 cuts them up" in r.message]
    assert len(warnings) == 1
    caplog.clear()
    for loss, options in [
        ("DiceCE", {}),
        ("Dice", {"mini_batch_chunk_size": 2}),
        ("DiceCE", {"mini_batch_chunk_size": 9}),
        ("DiceCE", {"mini_batch_chunk_size": 2, "plugins": [LossPlugin()]}),
        # Nothing is cut in the one batch that there is.
        ("DiceCE", {"mini_batch_chunk_size": 7, "mini_batch_size": 40, "plugins": [LossPlugin()]}),
    ]:
        model, corpus = tagger(folder, loss, False)
        if options.get("mini_batch_size") == 40:
            corpus._train = part_of(corpus.train, 5)
        train(model, corpus, tmp_path, epochs=1, **{"mini_batch_size": 8, **options})
    assert "cuts them up" not in caplog.text


@pytest.mark.parametrize("plugins", [[], [LossPlugin()]])
def test_a_loss_that_hardly_trains_on_its_own_is_warned_about(plugins, folder, tmp_path, caplog):
    """Once in a training, with the plugin and without."""
    model, corpus = tagger(folder, "SelfAdjustingDice", False)
    train(model, corpus, tmp_path, epochs=2, mini_batch_size=8, plugins=plugins)
    assert caplog.text.count("SelfAdjustingDice without a cross-entropy hardly trains") == 1


def test_chunks_without_anything_to_learn_from(tmp_path):
    seen = [gradients(*spans(), tmp_path, mini_batch_chunk_size=size) for size in (None, 1)]
    assert distance(*seen) < 1e-4


@pytest.mark.parametrize("make", [multitask, few_shot_classifier])
def test_chunks_of_models_of_models(make, small_bert, tmp_path):
    seed()
    model, corpus = make(small_bert)[:2]
    use_loss(model, "DiceCE")
    train(
        *(model, corpus, tmp_path),
        **{"epochs": 1, "learning_rate": 1e-4, "mini_batch_size": 8, "mini_batch_chunk_size": 3},
        **{"embeddings_storage_mode": "none", "plugins": [LossPlugin()]},
    )
    assert all(getattr(module, "_totals", None) is None for module in model.modules())


def test_a_schedule_goes_with_the_epochs(folder, tmp_path):
    """Cross-entropy first, Dice from the second epoch on."""
    model, corpus = tagger(folder, DiceCE(weight=Ramp(0, 1, begin=1, end=1)), True)
    seen = []

    class Seen(LossPlugin):
        @LossPlugin.hook
        def after_training_batch(self, **kwargs):
            seen.append(self.model._bound.current.weight)
            super().after_training_batch(**kwargs)

    train(model, corpus, tmp_path, epochs=3, mini_batch_size=8, plugins=[Seen()])
    assert seen == [0.0] * 4 + [1.0] * 8


def test_a_schedule_that_nothing_steps_is_a_mistake(folder, tmp_path):
    for loss in (DiceCE(weight=Ramp(0, 1, end=1)), DiceCE(weight=iter([1, 2]))):
        model, corpus = tagger(folder, loss, False)
        for _ in range(2):  # it does not get over it
            with pytest.raises(ValueError, match="plugins=\\[flair_dice.LossPlugin\\(\\)\\]"):
                train(model, corpus, tmp_path, epochs=1)


def test_a_second_call_of_the_trainer(tmp_path):
    """Flair's plugins stay attached; of ours, the new one takes the place of the old."""
    seed()
    model, corpus, _ = text_classifier()
    updates = 2 * math.ceil(len(corpus.train) / 8)
    use_loss(model, DiceCE(weight=itertools.count()))
    trainer = ModelTrainer(model, corpus)
    for _ in range(2):
        trainer.train(
            tmp_path,
            max_epochs=1,
            mini_batch_size=8,
            mini_batch_chunk_size=3,
            plugins=[LossPlugin()],
            create_file_logs=False,
        )
    assert model._bound.current.weight == updates - 1


def test_one_plugin_for_two_trainers_and_the_class_in_its_place(tmp_path):
    plugin, seen = LossPlugin(), []
    for _ in range(2):
        seed()
        model, corpus, _ = text_classifier()
        use_loss(model, DiceCE(weight=itertools.count()))
        train(model, corpus, tmp_path, epochs=1, mini_batch_size=8, plugins=[plugin])
        seen.append(model._bound.current.weight)
    assert seen == [math.ceil(len(corpus.train) / 8) - 1] * 2
    with pytest.raises(ValueError, match="LossPlugin: plugins has the class itself"):
        train(model, corpus, tmp_path, epochs=1, plugins=[LossPlugin])


@pytest.mark.parametrize("use_crf", [False, True])
def test_mixed_precision(use_crf, folder, tmp_path):
    """use_amp: bfloat16 layers on a CPU; the loss stays float32 and near that without."""
    seen = []
    for use_amp in (False, True):
        model, corpus = tagger(folder, "DiceCE", use_crf)
        kept = gradients(model, corpus, tmp_path, use_amp=use_amp, mini_batch_chunk_size=8)
        assert all(value.isfinite().all() for value in kept.values())
        seen.append(kept)
    assert 0 < distance(*seen) < 0.05


def test_fine_tune(folder, tmp_path):
    """The other way into the trainer, with its warm-up and its final model."""
    model, corpus = tagger(folder, "DiceCE", False)
    options = {"mini_batch_size": 4, "mini_batch_chunk_size": 1, "plugins": [LossPlugin()]}
    train(model, corpus, tmp_path, epochs=16, method="fine_tune", **options)
    assert model.evaluate(corpus.train, "ner").main_score > 0.8
    assert torch.load(tmp_path / "final-model.pt", weights_only=False)["flair_dice_loss"]
