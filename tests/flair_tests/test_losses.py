"""What torch users expect of a module.

That values and gradients equal those of the thinc losses, which are checked by hand, against finite
differences and against torch's autograd, is in tests/test_agreement.py.
"""

import copy
import math
import pickle
import subprocess
import sys
import warnings
from dataclasses import dataclass

import numpy
import pytest
import torch
from torch.testing import assert_close

from dice_core import losses as core
from flair_dice import (
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    EntityDice,
    Focal,
    Loss,
    Ramp,
    as_torch,
    losses,
    make_loss,
)

P = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64)
Z = P.log()
GOLD = torch.tensor([0, 2])
CE = -math.log(0.7) - math.log(0.3)
BIOES = ["O", "S-X", "B-X", "E-X", "I-X"]


# -- by hand ----------------------------------------------------------------------------


def test_entity_dice_of_bio_by_hand():
    """An entity ends where the next tag is not its I: at a sentence's end always."""
    p = torch.tensor(
        [[0.1, 0.6, 0.1, 0.2], [0.2, 0.1, 0.6, 0.1], [0.5, 0.1, 0.3, 0.1], [0.2, 0.7, 0.05, 0.05]]
    ).double()
    names, gold = ["O", "B-X", "I-X", "B-Y"], torch.tensor([1, 2, 0, 1])
    # B-X I-X and then no I-X; the last B-X.
    found = 0.6 * 0.6 * 0.7 + 0.7
    expected = (0.6 + 0.2) + (0.1 + 0.1) + (0.1 + 0.1) + (0.7 + 0.05)
    f = (2 * found + 1) / (expected + 2 + 1)
    assert EntityDice(names=names)(p.log(), gold).item() == pytest.approx(1 - f)
    # Cut after the first two rows, what comes next does not matter to the first.
    f = (2 * (0.36 + 0.7) + 1) / (expected + 2 + 1)
    loss = EntityDice(names=names)(p.log(), gold, lengths=[2, 2])
    assert loss.item() == pytest.approx(1 - f)


# -- gradients --------------------------------------------------------------------------

SPECS = [
    {"name": "CrossEntropy", "label_smoothing": 0.1, "class_weights": [1.0, 0.5, 2.0]},
    {"name": "WeightedCrossEntropy", "counts": [5, 3, 1]},
    {"name": "LogitAdjustedCE", "priors": [0.6, 0.3, 0.1]},
    {"name": "Focal", "gamma": 0.5, "class_weights": [1.0, 2.0, 0.5]},
    {"name": "Dice"},
    {"name": "Dice", "level": "batch", "log": True, "squared": False, "smooth": 0.5},
    {"name": "Dice", "level": "batch", "average": "micro", "background": [0]},
    {"name": "SelfAdjustingDice"},
    {"name": "SelfAdjustingDice", "alpha": 0.01, "level": "batch", "smooth": 0.0},
    {"name": "Tversky", "alpha": 0.3, "beta": 0.7, "level": "batch"},
    {"name": "DiceCE", "weight": 0.3},
]


@pytest.mark.parametrize("names", [BIOES, ["O", "B-X", "I-X", "B-Y", "I-Y"]])
@pytest.mark.parametrize("options", [{"log": True, "beta": 2.0}, {"smooth": 0.0}])
def test_gradcheck_of_entity_dice(options, names):
    torch.manual_seed(0)
    gold = torch.tensor([2, 3, 0, 1, 1] if names is BIOES else [1, 2, 0, 1, 3])
    z = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    loss = EntityDice(names=names, **options)
    assert torch.autograd.gradcheck(lambda z: loss(z, gold, lengths=[4, 1]), [z])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "spec",
    [
        *SPECS,
        {"name": "EntityDice", "names": BIOES[:3]},
        {"name": "EntityDice", "names": BIOES[:3], "smooth": 0.0},
        {"name": "Dice", "smooth": 0.0},
        {"name": "DiceCE", "smooth": 0.0},
        {"name": "SelfAdjustingDice", "alpha": 3.0, "smooth": 0.0},
    ],
    ids=str,
)
def test_finite_at_the_ends(spec, dtype):
    """Logits as far apart as the type has them, and classes that are ruled out."""
    big = torch.finfo(dtype).max
    ends = [-math.inf, -big, -100.0, 0.0, 20.0, 100.0, big]
    rows = [[a, b, 0.0] for a in ends for b in ends] + [[-math.inf] * 3]
    for activation in ("softmax", "sigmoid"):
        loss = make_loss({**spec, "activation": activation})
        for gold in range(3):
            z = torch.tensor(rows, dtype=dtype, requires_grad=True)
            value = loss(z, torch.full((len(rows),), gold))
            value.backward()
            assert value.isfinite() and z.grad.isfinite().all()


# -- as a torch module ------------------------------------------------------------------


def test_torch_is_all_they_need():
    """Where neither Flair nor spaCy can be imported."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["flair", "spacy", "thinc"]))
import torch
from flair_dice import DiceCE, make_loss
print(make_loss("DiceCE")(torch.zeros(3, 2), torch.tensor([0, 1, 1])).item())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Of one and two gold rows, the sums of p are 0.5 and 1, of p 1.5 each.
    dice = 1 - ((1 + 1) / (1.5 + 1 + 1) + (2 + 1) / (1.5 + 2 + 1)) / 2
    assert float(done.stdout) == pytest.approx(math.log(2) + dice, rel=1e-6)


def test_cross_entropy_is_torchs():
    torch.manual_seed(0)
    z, gold = torch.randn(9, 4), torch.randint(0, 4, (9,))
    many = torch.randint(0, 2, (9, 4)).float()
    for reduction in ("mean", "sum", "none"):
        theirs = torch.nn.CrossEntropyLoss(reduction=reduction)
        assert_close(CrossEntropy(reduction=reduction)(z, gold), theirs(z, gold))
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0])
    theirs = torch.nn.CrossEntropyLoss(weight, reduction="sum")
    assert_close(CrossEntropy(class_weights=weight, reduction="sum")(z, gold), theirs(z, gold))
    for pos_weight in (None, weight):
        theirs = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight, reduction="sum")
        ours = CrossEntropy(activation="sigmoid", reduction="sum", pos_weight=pos_weight)
        assert_close(ours(z, many), theirs(z, many))
    # What the documentation says of their means: ours of several labels is C times theirs.
    mean = torch.nn.BCEWithLogitsLoss()
    assert_close(CrossEntropy(activation="sigmoid")(z, many), 4 * mean(z, many))
    # And torch's share of smoothing is ours times C / (C - 1).
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.2)
    assert_close(CrossEntropy(label_smoothing=0.15)(z, gold), theirs(z, gold))
    theirs = torch.nn.CrossEntropyLoss(reduction="sum")
    ruled_out = z.masked_fill(torch.nn.functional.one_hot((gold + 1) % 4, 4).bool(), -math.inf)
    assert_close(CrossEntropy(reduction="sum")(ruled_out, gold), theirs(ruled_out, gold))


def test_focal_of_sigmoids_is_torchvisions():
    torch.manual_seed(0)
    z, y = torch.randn(9, 4), torch.randint(0, 2, (9, 4)).float()
    p, at = z.sigmoid(), y * 0.25 + (1 - y) * 0.75
    each = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    theirs = at * (1 - p * y - (1 - p) * (1 - y)) ** 2 * each
    loss = Focal(alpha=0.25, activation="sigmoid", reduction="none")
    assert_close(loss(z, y), theirs.sum(dim=1))


ALL_SPECS = [*SPECS, {"name": "EntityDice", "names": BIOES[:3]}]


@pytest.mark.parametrize("spec", ALL_SPECS, ids=str)
@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_rows(spec, shape):
    z = torch.zeros(0, 3, requires_grad=True)
    targets = torch.zeros(shape, dtype=torch.float if len(shape) == 2 else torch.long)
    value = make_loss(spec)(z, targets)
    value.backward()
    assert value.item() == 0 and z.grad.shape == (0, 3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("spec", ALL_SPECS, ids=str)
def test_what_is_not_known_does_not_matter(spec, activation):
    """Value and gradient are those of the known rows alone, whatever stands in the others, and
    however it is said which they are.
    """
    torch.manual_seed(0)
    z, ids = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    mask = torch.tensor([True, True, False, True, False, True])
    z[0, 2] = -math.inf  # a class that is ruled out stays so
    loss = make_loss({**spec, "activation": activation})
    part = z[mask].clone().requires_grad_()
    expected = loss(part, ids[mask])
    expected.backward()
    rows = torch.nn.functional.one_hot(ids, 3).float()
    unknown = [(ids.masked_fill(~mask, -100), None), (ids.masked_fill(~mask, 9), mask)]
    unknown.append((rows, mask[:, None].expand(6, 3).int()))
    for what in (-100.0, math.nan):
        unknown.append((rows.masked_fill(~mask[:, None], what), None))
        unknown.append((rows.masked_fill(~mask[:, None], what), mask.float()))
    for garbage in (1.0, math.nan, math.inf):
        dirty = torch.where(mask[:, None], z, garbage)
        for targets, known in unknown:
            full = dirty.clone().requires_grad_()
            value = loss(full, targets, known)
            value.backward()
            assert_close(value, expected)
            assert_close(full.grad[mask], part.grad)
            assert (full.grad[~mask] == 0).all()
    nothing = torch.full((6, 3), math.nan, requires_grad=True)
    value = loss(nothing, torch.full((6,), -100))
    value.backward()
    assert value == 0 and (nothing.grad == 0).all()


def test_single_labels_that_are_not_known():
    """-100 and NaN in rows of several labels are left out, each on its own."""
    torch.manual_seed(0)
    z, y = torch.randn(4, 3), torch.tensor([[1, 0, -100], [0, 1, 0], [-100, -100, 1], [0, 0, 0]])
    each = torch.nn.functional.binary_cross_entropy_with_logits
    right = (each(z, y.clamp(min=0).float(), reduction="none") * (y >= 0)).sum() / 4
    for rows in (y, y.float(), y.float().masked_fill(y < 0, math.nan)):
        assert_close(CrossEntropy(activation="sigmoid")(z, rows), right)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "batch" not in spec.values()], ids=str)
def test_losses_of_single_rows(spec):
    """Of each row its loss, which sums and weights of rows are sums of."""
    if spec["name"] == "DiceCE":
        spec = {**spec, "level": "element"}
    torch.manual_seed(0)
    z = torch.randn(2, 3, 3, requires_grad=True)
    gold = torch.tensor([[0, 1, 2], [2, -100, 0]])
    weights = torch.tensor([[0.5, 0.0, 2.0], [1.0, 3.0, 0.1]])
    rows = make_loss({**spec, "reduction": "none"})(z, gold)
    assert rows.shape == (2, 3) and rows[1, 1] == 0
    weighted = make_loss(spec)(z, gold, sample_weight=weights)
    assert_close(weighted, (rows * weights).sum() / (weights.sum() - 3.0))
    first, second = (
        torch.autograd.grad(value, z)[0] for value in ((rows * weights).sum() / 3.6, weighted)
    )
    assert_close(first, second)
    alone = make_loss({**spec, "reduction": "sum"})(z[:, :1], gold[:, :1])
    assert_close(rows[:, 0].sum(), alone)


@pytest.mark.parametrize("spec", ["DiceCE", "EntityDice"])
def test_sentences_of_tokens(spec):
    torch.manual_seed(0)
    z, gold = torch.randn(2, 3, 5), torch.tensor([[0, 2, 3], [1, 0, -100]])
    loss = make_loss({"name": spec, "names": BIOES})
    known = torch.tensor([1, 1, 1, 1, 1, 0])
    expected = loss(z.reshape(6, 5), gold.flatten().clamp(min=0), known, lengths=[3, 3])
    assert_close(loss(z, gold), expected)
    assert_close(loss(z, gold, known.reshape(2, 3)), expected)
    with pytest.raises(ValueError, match="whose last dimension is the classes; got .2, 5."):
        loss(z, torch.zeros(2, 5, dtype=torch.long))


def test_pieces_of_words_do_not_matter_to_entities():
    """First-piece labels: all other pieces are unknown, also inside of entities."""
    torch.manual_seed(0)
    for names in (BIOES, ["O", "B-X", "I-X", "B-Y", "I-Y"]):
        gold = torch.tensor([[-100, 0, 2, -100, 3, 0, -100], [1, -100, -100, 2, 3, 1, 0]])
        z = torch.randn(2, 7, 5)
        first = gold != -100
        loss = EntityDice(names=names)
        assert_close(loss(z, gold), loss(z[first], gold[first], lengths=first.sum(dim=1).tolist()))


def test_the_outside_tag_is_the_background():
    torch.manual_seed(0)
    names, z, gold = ["B-X", "O", "I-X"], torch.randn(6, 3), torch.tensor([0, 1, 1, 2, 1, 1])
    without = DiceCE(names=names, background=None)(z, gold)
    assert_close(DiceCE(names=names)(z, gold), DiceCE(names=names, background="O")(z, gold))
    assert DiceCE(names=names)(z, gold) != without


def test_a_row_can_say_what_it_is_not():
    """Softmax cross-entropy of a known cell of 0 is -log(1-p), as with spaCy's "!label"."""
    mask = torch.tensor([[False, True, False], [True, True, True]])
    y = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    value = CrossEntropy(reduction="sum")(Z, y, mask)
    assert value.item() == pytest.approx(-math.log(0.8) - math.log(0.3))


@pytest.mark.parametrize("spec", ["CrossEntropy", "DiceCE", "Focal"])
def test_a_graph_that_is_walked_twice(spec):
    """As torch's own losses do it, whatever was done to the first gradient in between."""
    torch.manual_seed(0)
    weight = torch.randn(3, 3, requires_grad=True)
    x, gold = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    for reduction, leaf in (("mean", True), ("none", True), ("mean", False)):
        if reduction == "none" and spec == "DiceCE":
            continue
        z = torch.randn(4, 3, requires_grad=True) if leaf else x @ weight
        of = z if leaf else weight
        value = make_loss({"name": spec, "reduction": reduction})(z, gold).sum()
        value.backward(retain_graph=True)
        first = of.grad.clone()
        of.grad.zero_()
        value.backward(retain_graph=True)
        assert_close(of.grad, first)
        torch.nn.utils.clip_grad_norm_([of], 1e-3)
        of.grad = None
        value.backward()
        assert_close(of.grad, first)
        with pytest.raises(RuntimeError, match="second time"):
            value.backward()
        of.grad = None


def test_a_second_derivative_is_one_clear_error():
    z = torch.randn(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(DiceCE()(z, torch.tensor([0, 1, 2, 0])), z, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_inside_autocast():
    """float32, although the layer before computes in bfloat16."""
    torch.manual_seed(0)
    layer, x, gold = torch.nn.Linear(8, 3), torch.randn(20, 8), torch.randint(0, 3, (20,))
    loss = DiceCE()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(x)
        assert logits.dtype == torch.bfloat16
        value = loss(logits, gold)
    assert value.dtype == torch.float32
    assert_close(value, loss(logits.detach().float(), gold), rtol=1e-6, atol=0)


def test_arrays_and_lists_are_read():
    loss, rows = DiceCE(activation="sigmoid"), [[1, 0, 1], [0, 0, 1]]
    expected = loss(Z, torch.tensor(rows).double())
    for targets in (rows, numpy.asarray(rows), torch.tensor(rows), torch.tensor(rows).bool()):
        assert loss(Z, targets) == expected
    assert DiceCE()(Z, GOLD.numpy(), numpy.asarray([1, 1])) == DiceCE()(Z, GOLD)


# -- as values --------------------------------------------------------------------------


def test_modules_of_one_loss_count_each_on_its_own():
    """Also inside of Compounds; a copy goes on where it was made."""
    torch.manual_seed(0)
    balanced = core.WeightedCrossEntropy()
    z, gold = torch.randn(6, 3), torch.tensor([0, 0, 0, 0, 1, 2])
    first, second = Compound([balanced, "Dice"]), Compound({"a": balanced, "b": CrossEntropy()})
    fresh = second(z, gold)
    for _ in range(3):
        first(z, gold.flip(0) * 0)
    again = copy.deepcopy(first)
    assert_close(copy.deepcopy(second)(z, gold), fresh)
    assert_close(again(z, gold), first(z, gold))
    assert not first.state_dict() and repr(again) == repr(first)
    assert first(z, gold) != Compound([balanced, "Dice"])(z, gold)
    with torch.no_grad():  # an evaluation is not learned from
        assert second(z, gold) == second(z, gold) == second.eval()(z, gold)


def test_schedules():
    loss = Compound(["CrossEntropy", DiceCE(weight=iter([3, 4]))], [Ramp(0, 2, 1, 3), iter([5, 6])])
    z = torch.zeros(2, 3)
    seen = []
    for epoch in (0, 1.5, 9):
        loss.step(epoch)
        seen.append([weight for _, weight, _ in loss._bound.current.terms()])
    assert seen == [[0, 5, 15], [0.5, 6, 24], [2, 6, 24]]
    ce, dice = CrossEntropy()(z, GOLD), DiceCE(weight=4.0)(z, GOLD)
    assert_close(loss(z, GOLD), 2 * ce + 6 * dice)
    ramp = {"name": "Ramp", "first": 0.0, "last": 2.0, "begin": 1.0, "end": 3.0}
    assert make_loss(loss.to_dict()).to_dict()["weights"] == {"0": ramp, "1": 6.0}
    assert_close(pickle.loads(pickle.dumps(loss))(z, GOLD), loss(z, GOLD))
    with pytest.raises(ValueError, match="the weight of '0' is a Ramp over epochs"):
        loss.step()


@pytest.mark.parametrize("weight", [Ramp(0, 1, end=1), iter([1, 2])], ids=["ramp", "numbers"])
def test_a_schedule_that_nothing_steps_is_warned_about_once(weight, monkeypatch):
    """In a loop of one's own; neither in an evaluation, nor where something steps it."""
    monkeypatch.setattr(losses, "MANY_BATCHES", 4)
    loss = Compound(["CrossEntropy", DiceCE(weight=weight)])

    def warned(module, batches=6):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(batches):
                module(Z, GOLD)
        return [str(w.message) for w in caught]

    stepped = copy.deepcopy(loss)
    stepped.step(0.0)
    for each in (copy.deepcopy(loss).eval(), stepped, CrossEntropy()):
        assert not warned(each)
    assert not warned(loss, 3)
    (message,) = warned(loss) + warned(loss)
    assert message.startswith("flair_dice.Compound: its schedule has its first value after 4")


@dataclass(frozen=True)
class Halved(core.CrossEntropy):
    """A loss of a third party."""

    share: float = 0.5

    def value_and_slope(self, probabilities, targets, totals):
        value, slope = super().value_and_slope(probabilities, targets, totals)
        slope.gold *= self.share
        return value * self.share, slope


def test_a_loss_of_your_own():
    for loss in (make_loss({"name": "Halved", "share": 0.25}), as_torch(Halved(share=0.25))):
        again = pickle.loads(pickle.dumps(make_loss(loss.to_dict())))
        assert again(Z, GOLD).item() == pytest.approx(CE / 8)
    value = Compound([Halved(), "CrossEntropy"], reduction="sum")(Z, GOLD)
    assert value.item() == pytest.approx(1.5 * CE)
    with pytest.raises(TypeError, match="is a subclass of dice_core.losses.Loss"):
        Loss()


# -- mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DiceCE(smooth=-1), "^flair_dice.DiceCE: smooth must be a finite number"),
        (lambda: Focal(reduction="row"), "Focal: reduction must be one of mean, sum, none"),
        (lambda: Focal(activation="relu"), "Focal: activation must be one of softmax, sigmoid"),
        (lambda: DiceCE(reduction="none"), 'reduction="none" is for losses of single rows'),
        (lambda: CrossEntropy(weight=[1, 2]), "Did you mean class_weights\\? It is torch's weight"),
        (lambda: Dice(weight=[1, 2]), "flair_dice.Dice has no option weight"),
        (lambda: Compound(["Dice"], {"x": 1}), "flair_dice.Compound: weights must name terms"),
        (lambda: Compound([Dice(reduction="sum")]), "Dice: how logits are read \\(reduction\\)"),
        (lambda: make_loss("auto"), '"auto" is what was measured for a kind of model'),
        (
            lambda: make_loss("DiceXE"),
            "no loss 'DiceXE'. Did you mean DiceCE\\? There are: .*Compound, CrossEntropy, Dice",
        ),
        (lambda: make_loss({"name": "Dice", "beta": 2}), "make_loss: Dice has no option beta"),
        (lambda: make_loss(torch.nn.CrossEntropyLoss()), "of your own is a subclass of"),
        (lambda: make_loss(3), "must be a loss, the name of one"),
        (lambda: make_loss({"weight": 3}), "must be a loss, the name of one"),
        (lambda: Dice()(Z[0], GOLD), "logits must be floats \\(rows, classes\\), got \\(3,\\)"),
        (lambda: Dice()(Z, GOLD[:1]), "targets must be class ids \\(2,\\), of an integer type"),
        (lambda: Dice()(Z, P[:, :2]), "or rows \\(2, 3\\), got \\(2, 2\\)"),
        (lambda: Dice()(Z, GOLD + 1), "class id 3 is not one of 0 to 2. Rows of unknown class"),
        (lambda: Dice()(Z, ["a", "b"]), "targets must be a tensor, or .* got list. Labels are"),
        (lambda: Dice()(Z, P * 2), "targets must be from 0 to 1 .* but range from 0.2 to 1.4"),
        (lambda: Dice()(Z, GOLD, torch.tensor([1, 2])), "mask must be 0 or 1 .* is sample_weight"),
        (lambda: Dice()(Z, GOLD, sample_weight=torch.ones(3)), "sample_weight must have the shape"),
        (lambda: Dice()(Z, GOLD, sample_weight=-torch.ones(2)), "sample_weight must be finite"),
        (lambda: Dice(activation="sigmoid")(Z[:, :1], GOLD * 0), "Give rows \\(2, 1\\) of 0 and 1"),
        (lambda: Dice()(Z, GOLD, torch.ones(3)), "mask must have the shape \\(2,\\) or \\(2, 3\\)"),
        (lambda: Dice(names=["a"])(Z, GOLD), "1 names for 3 columns of logits"),
        (lambda: EntityDice(names=BIOES[:3])(Z, GOLD, lengths=[1]), "lengths add up to 1, not to"),
    ],
)
def test_mistakes_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
