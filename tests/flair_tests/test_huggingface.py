"""Our losses in transformers.Trainer: the documentation's examples, and the scale of gradients."""

import re
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    Trainer,
    TrainingArguments,
)

from flair_dice import CrossEntropy, DiceCE, EntityDice, Ramp, TrainerLoss

PAGE = Path(__file__).resolve().parents[2] / "docs/huggingface.md"
KINDS = {
    "tokens": BertForTokenClassification,
    "texts": BertForSequenceClassification,
    "questions": BertForQuestionAnswering,
}


def test_examples_of_the_documentation(small_bert, tmp_path, monkeypatch):
    """Every block runs, in its order; the trained models learned something, by our loss."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 8
    names, trained = {}, []
    for block in blocks:
        assert names.get("trainer") is None or names["trainer"] in trained
        block = block.replace('"bert-base-cased"', repr(str(small_bert)))
        exec(compile(block, str(PAGE), "exec"), names)
        if "trainer" in names and names["trainer"] not in trained:
            trained.append(names["trainer"])
    assert [trainer.state.global_step for trainer in trained] == [4, 4, 4, 4, 4]
    assert all(isinstance(t.compute_loss_func, TrainerLoss) for t in trained)
    assert 0 < names["loss"].loss._bound.current.weight < 1


def model_and_rows(kind, n=8):
    """A small model without dropout, and examples of different numbers of known labels."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2 if kind == "questions" else 3,
    )
    rows = []
    for i in range(n):
        ids = torch.randint(0, 30, (6,))
        labels = {
            "tokens": torch.where(torch.arange(6) <= i % 5, torch.randint(0, 3, (6,)), -100),
            "texts": torch.tensor(i % 3),
            "questions": torch.tensor([i % 4, i % 4 + 1]),
        }[kind]
        rows.append({"input_ids": ids, "labels": labels})
    return KINDS[kind](config), rows


def gradient(kind, loss, tmp_path, batch, accumulate):
    """What one update adds to the weights, by plain gradient descent of rate 1."""
    model, rows = model_and_rows(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(
        model,
        TrainingArguments(
            tmp_path,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulate,
            max_steps=1,
            learning_rate=1.0,
            max_grad_norm=1e9,
            lr_scheduler_type="constant",
            optim="sgd",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=True,
        ),
        train_dataset=rows,
        compute_loss_func=loss,
    )
    trainer.train()
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


def by_transformers(kind):
    """The gradient of the model's own loss on the whole batch."""
    model, rows = model_and_rows(kind)
    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    labels = batch.pop("labels")
    if kind == "questions":
        batch.update(start_positions=labels[:, 0], end_positions=labels[:, 1])
    else:
        batch["labels"] = labels
    model(**batch).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch, accumulate", [(8, 1), (2, 4)])
def test_cross_entropy_is_that_of_the_models(kind, batch, accumulate, tmp_path):
    """Also when the batch comes in parts that have different numbers of labels."""
    ours = gradient(kind, TrainerLoss("CrossEntropy"), tmp_path, batch, accumulate)
    theirs = by_transformers(kind)
    assert len(theirs) > 10
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_are_alike_and_dice_adds_to_the_gradient(kind, tmp_path):
    alike = [
        gradient(kind, TrainerLoss(DiceCE(reduction=r)), tmp_path, 8, 1) for r in ("mean", "sum")
    ]
    plain = gradient(kind, TrainerLoss(CrossEntropy()), tmp_path, 8, 1)
    name = "qa_outputs.weight" if kind == "questions" else "classifier.weight"
    torch.testing.assert_close(alike[0][name], alike[1][name], rtol=1e-4, atol=1e-7)
    assert (alike[0][name] - plain[name]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["CrossEntropy", "DiceCE", "Focal", "Dice"])
@pytest.mark.filterwarnings("ignore:TrainerLoss. Dice without")
def test_an_update_without_a_known_label_changes_nothing(kind, name, tmp_path):
    """Whatever Trainer's count of labels is: 0, or none in an evaluation."""
    model, rows = model_and_rows(kind, n=2)
    batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    labels = torch.full_like(batch.pop("labels"), -100)
    for count in (None, 0, torch.tensor(0)):
        model.zero_grad()
        value = TrainerLoss(name)(model(**batch), labels, count)
        value.backward()
        assert value == 0
        assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_several_labels():
    logits, labels = torch.randn(4, 3), torch.randint(0, 2, (4, 3)).float()
    loss = TrainerLoss({"name": "CrossEntropy", "activation": "sigmoid"})
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    for given in (labels, labels.long()):
        torch.testing.assert_close(loss({"logits": logits}, given), 3 * expected)
    # Trainer counts 12 labels in these 4 rows.
    torch.testing.assert_close(loss({"logits": logits}, labels, torch.tensor(12)), 3 * expected)
    none = torch.full((4, 3), -100.0)
    assert loss({"logits": logits}, none, 0) == loss({"logits": logits}, none) == 0
    for wrong in (labels, labels.long()):
        with pytest.raises(ValueError, match='need a loss with activation="sigmoid"'):
            TrainerLoss("CrossEntropy")({"logits": logits}, wrong)


@pytest.mark.filterwarnings("ignore:TrainerLoss. EntityDice without")
def test_each_text_is_a_sentence():
    torch.manual_seed(0)
    loss = EntityDice(names=["O", "B-A", "I-A"])
    logits, labels = torch.randn(2, 4, 3), torch.tensor([[-100, 0, 1, 2], [2, -100, 1, 0]])
    torch.testing.assert_close(TrainerLoss(loss)({"logits": logits}, labels), loss(logits, labels))


def test_an_answer_beyond_the_window_is_not_learned():
    outputs = {"start_logits": torch.randn(2, 5), "end_logits": torch.randn(2, 5)}
    one = {key: value[:1] for key, value in outputs.items()}
    loss = TrainerLoss("CrossEntropy")
    both = loss(outputs, torch.tensor([[1, 2], [7, 7]]))
    torch.testing.assert_close(both, loss(one, torch.tensor([[1, 2]])))


def test_mistakes():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = TrainerLoss("DiceCE")
    answers = ({"start_logits": logits, "end_logits": logits}, torch.tensor([[1, 2], [0, 1]]))
    ids = torch.tensor([1, 2])
    for wrong, outputs, labels, message in (
        (loss, {"logits": logits}, torch.tensor([1, 2, 0]), "do not fit logits"),
        (loss, answers[0], ids, r"labels \(batch, 2\)"),
        (loss, {"last_hidden_state": logits}, ids, "gives no logits"),
        (TrainerLoss({"name": "DiceCE", "average": "macro"}), *answers, "over which a mean means"),
        (
            TrainerLoss({"name": "CrossEntropy", "class_weights": "balanced"}),
            *answers,
            "classes of CrossEntropy are positions in a text",
        ),
        (
            TrainerLoss(DiceCE(weight=Ramp(0, 1, end=2))),
            {"logits": logits},
            ids,
            r"scheduled weights that nothing steps. Pass callbacks=\[loss.callback\(\)\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            wrong(outputs, labels)
    with pytest.raises(ValueError, match="TrainerLoss: there is no loss 'Dise'"):
        TrainerLoss("Dise")
