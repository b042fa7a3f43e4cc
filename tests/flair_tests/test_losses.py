"""Each loss by hand, against finite differences, and what torch users expect of a module.

That they equal the thinc losses is in tests/test_agreement.py.
"""

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from flair_dice import (
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    EntityDice,
    Focal,
    Ramp,
    SelfAdjustingDice,
    Tversky,
    WeightedCrossEntropy,
    make_loss,
)

P = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64)
Z = P.log()
GOLD = torch.tensor([0, 2])
CE = -math.log(0.7) - math.log(0.3)
SMOOTH = [0.9 * math.log(0.7), 0.05 * math.log(0.2), 0.05 * math.log(0.1)]
SMOOTH += [0.05 * math.log(0.2), 0.05 * math.log(0.5), 0.9 * math.log(0.3)]
BIOES = ["O", "S-X", "B-X", "E-X", "I-X"]


# -- by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, options, expected",
    [
        (CrossEntropy, {}, CE),
        (CrossEntropy, {"label_smoothing": 0.1}, -sum(SMOOTH)),
        (
            CrossEntropy,
            {"class_weights": [0.5, 1, 2]},
            -0.5 * math.log(0.7) - 2 * math.log(0.3),
        ),
        (
            WeightedCrossEntropy,
            {"counts": [10, 60, 30]},
            -math.log10(9 + 3) * math.log(0.7) - math.log10(7 / 3 + 3) * math.log(0.3),
        ),
        (Focal, {}, -(0.3**2) * math.log(0.7) - 0.7**2 * math.log(0.3)),
        # 2 p y + 1 over p^2 + y^2 + 1, of each cell
        (Dice, {}, 6 - 2.4 / 2.49 - 1 / 1.04 - 1 / 1.01 - 1 / 1.04 - 1 / 1.25 - 1.6 / 2.09),
        (
            Dice,
            {"squared": False},
            6 - 2.4 / 2.7 - 1 / 1.2 - 1 / 1.1 - 1 / 1.2 - 1 / 1.5 - 1.6 / 2.3,
        ),
        # (1-p) p is 0.21, 0.16, 0.09 and 0.16, 0.25, 0.21
        (
            SelfAdjustingDice,
            {},
            6 - 1.42 / 2.21 - 1 / 1.16 - 1 / 1.09 - 1 / 1.16 - 1 / 1.25 - 1.42 / 2.21,
        ),
        (
            Tversky,
            {"alpha": 0.3, "beta": 0.7},
            6 - 1.7 / (1.7 + 0.21) - 1 / 1.06 - 1 / 1.03 - 1 / 1.06 - 1 / 1.15 - 1.3 / (1.3 + 0.49),
        ),
        # Sums of p: 0.9 and 0.4; each of the classes 0 and 2 has one gold row, 1 has none.
        (Dice, {"level": "batch", "squared": False}, 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
        (Dice, {"level": "batch", "squared": False, "average": "micro"}, 2 * (1 - 3 / 4.3)),
        (
            Dice,
            {"level": "batch", "squared": False, "average": "micro", "log": True},
            -2 * math.log(3 / 4.3),
        ),
        (Dice, {"level": "batch", "squared": False, "background": [0]}, 2 * (1 - 1.6 / 2.4)),
        # Sums of p^2: 0.53 and 0.1
        (Dice, {"level": "batch"}, 2 * (2 - 2.4 / 2.53 - 1.6 / 2.1) / 2),
        # Sums of (1-p) p: 0.37 and 0.3
        (SelfAdjustingDice, {"level": "batch"}, 2 * (2 - 1.42 / 2.37 - 1.42 / 2.3) / 2),
        # TP 0.7, FP 0.2, FN 0.3; TP 0.3, FP 0.1, FN 0.7
        (Tversky, {"level": "batch"}, 2 * (2 - 1.7 / 1.95 - 1.3 / 1.7) / 2),
        (DiceCE, {}, CE + 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
        (DiceCE, {"background": 1}, CE + 2 * (1 - 3 / 4.3)),
        (DiceCE, {"average": "micro", "weight": 3}, CE + 3 * 2 * (1 - 3 / 4.3)),
        (CrossEntropy, {"class_weights": "balanced"}, math.log10(1 + 3) * CE),
        (DiceCE, {"average": "macro"}, CE + 2 * (2 - 2.4 / 2.9 - 1.6 / 2.4) / 2),
        (Compound, {"losses": ["CrossEntropy", "CrossEntropy"], "weights": [2, 0.5]}, 2.5 * CE),
    ],
)
def test_value_by_hand(make, options, expected):
    assert make(**options, reduction="sum")(Z, GOLD).item() == pytest.approx(expected, rel=1e-12)
    assert make(**options)(Z, GOLD).item() == pytest.approx(expected / 2, rel=1e-12)


def test_sigmoid_value_by_hand():
    z, y = torch.tensor([[0.7], [0.4]]).double().logit(), torch.tensor([[1.0], [0.0]])
    reading = {"activation": "sigmoid", "reduction": "sum"}
    expected = -math.log(0.7) - math.log(0.6)
    assert CrossEntropy(**reading)(z, y).item() == pytest.approx(expected)
    expected = -(0.3**2) * math.log(0.7) - 0.4**2 * math.log(0.6)
    assert Focal(**reading)(z, y).item() == pytest.approx(expected)


def entity_probabilities():
    p = torch.full((4, 5), 0.1, dtype=torch.float64)
    p[0, 2], p[1, 3], p[2, 0], p[3, 1] = 0.6, 0.6, 0.6, 0.6
    return p


@pytest.mark.parametrize("names", [BIOES, ["O", "U-X", "B-X", "L-X", "I-X"]])
def test_entity_dice_by_hand(names):
    z, gold = entity_probabilities().log(), torch.tensor([2, 3, 0, 1])
    # P = 0.36 and 0.6. Expected: B 0.6 + 0.1 + 0.1 + 0.1, S 0.1 + 0.1 + 0.1 + 0.6.
    f = (2 * 0.96 + 1) / (1.8 + 2 + 1)
    assert EntityDice(names=names)(z, gold).item() == pytest.approx(1 - f)
    f = (5 * 0.96 + 1) / (1.8 + 4 * 2 + 1)
    assert EntityDice(names=names, beta=2)(z, gold).item() == pytest.approx(1 - f)
    # A missing token takes its entity out, and the row.
    f = (2 * 0.6 + 1) / (0.7 + 0.2 + 0.7 + 1 + 1)
    mask = torch.tensor([True, False, True, True])
    assert EntityDice(names=names)(z, gold, mask).item() == pytest.approx(1 - f)


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
    {"name": "Focal", "gamma": 0.5},
    {"name": "Focal"},
    {"name": "Dice"},
    {"name": "Dice", "level": "batch", "log": True, "squared": False, "smooth": 0.0},
    {"name": "Dice", "level": "batch", "average": "micro", "background": [0]},
    {"name": "SelfAdjustingDice"},
    {"name": "SelfAdjustingDice", "alpha": 0.01, "level": "batch", "smooth": 0.0},
    {"name": "Tversky", "alpha": 0.3, "beta": 0.7, "level": "batch"},
    {"name": "DiceCE", "weight": 0.3},
]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradcheck(spec, activation):
    loss = make_loss({**spec, "activation": activation})
    torch.manual_seed(0)
    gold, mask = torch.tensor([0, 1, 2, 2, 0]), torch.tensor([1, 1, 0, 1, 1]).bool()
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, gold), [z])
    assert torch.autograd.gradcheck(lambda z: loss(z, gold, mask), [z])


@pytest.mark.parametrize("names", [BIOES, ["O", "B-X", "I-X", "B-Y", "I-Y"]])
@pytest.mark.parametrize("options", [{}, {"log": True, "beta": 2.0}, {"smooth": 0.0}])
def test_gradcheck_of_entity_dice(options, names):
    torch.manual_seed(0)
    gold = torch.tensor([2, 3, 0, 1, 1] if names is BIOES else [1, 2, 0, 1, 3])
    z = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    loss = EntityDice(names=names, **options)
    assert torch.autograd.gradcheck(lambda z: loss(z, gold, lengths=[4, 1]), [z])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spec", [*SPECS, {"name": "EntityDice", "names": BIOES[:3]}], ids=str)
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


def test_published_self_adjusting_dice_is_not_monotonic():
    """The literals of the docstring: least at p = 1/(1+alpha), unless the weight is held."""
    for alpha, least in [(1, 0.5), (0.1, 0.909), (0.01, 0.990)]:
        p = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
        make = {"alpha": alpha, "activation": "sigmoid"}
        loss = SelfAdjustingDice(**make)
        values = torch.stack([loss(row.logit()[None, None], torch.tensor([0])) for row in p])
        assert p[values.argmin()].item() == pytest.approx(least, abs=1e-3)
        for hold, sign in [(False, 1), (True, -1)]:
            z = torch.tensor([[0.995]]).double().logit().requires_grad_()
            SelfAdjustingDice(detach_weight=hold, **make)(z, torch.tensor([0])).backward()
            assert z.grad.sign().item() == sign


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
    for reduction in ("mean", "sum"):
        theirs = torch.nn.CrossEntropyLoss(reduction=reduction)
        assert_close(CrossEntropy(reduction=reduction)(z, gold), theirs(z, gold))
    theirs = torch.nn.BCEWithLogitsLoss(reduction="sum")
    assert_close(CrossEntropy(activation="sigmoid", reduction="sum")(z, many), theirs(z, many))
    theirs = torch.nn.CrossEntropyLoss(reduction="sum")
    ruled_out = z.masked_fill(torch.nn.functional.one_hot((gold + 1) % 4, 4).bool(), -math.inf)
    assert_close(CrossEntropy(reduction="sum")(ruled_out, gold), theirs(ruled_out, gold))


@pytest.mark.parametrize("spec", [*SPECS, {"name": "EntityDice", "names": BIOES[:3]}], ids=str)
@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_rows(spec, shape):
    z = torch.zeros(0, 3, requires_grad=True)
    targets = torch.zeros(shape, dtype=torch.float if len(shape) == 2 else torch.long)
    value = make_loss(spec)(z, targets)
    value.backward()
    assert value.item() == 0 and z.grad.shape == (0, 3)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_rows_that_are_masked_do_not_matter(spec):
    torch.manual_seed(0)
    z, gold = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    mask = torch.tensor([True, True, False, True, False, True])
    loss = make_loss(spec)
    full = z.clone().requires_grad_()
    loss(full, torch.where(mask, gold, -100), mask).backward()
    part = z[mask].clone().requires_grad_()
    loss(part, gold[mask]).backward()
    assert_close(full.grad[mask], part.grad)
    assert (full.grad[~mask] == 0).all()
    by_cells = loss(z, gold, mask[:, None].expand(6, 3).int())
    assert_close(by_cells, loss(z[mask], gold[mask]))


@pytest.mark.parametrize("spec", ["DiceCE", "EntityDice"])
def test_sentences_of_tokens_and_ids_that_are_ignored_as_in_torch(spec):
    torch.manual_seed(0)
    z, gold = torch.randn(2, 3, 5), torch.tensor([[0, 2, 3], [1, 0, -100]])
    loss = make_loss({"name": spec, "names": BIOES})
    whole = z.clone().requires_grad_()
    value = loss(whole, gold)
    value.backward()
    flat = z.reshape(6, 5).clone().requires_grad_()
    known = torch.tensor([1, 1, 1, 1, 1, 0])
    expected = loss(flat, gold.flatten().clamp(min=0), known, lengths=[3, 3])
    expected.backward()
    assert_close(value, expected)
    assert_close(whole.grad.reshape(6, 5), flat.grad)
    assert (whole.grad[1, 2] == 0).all()
    assert_close(loss(z, gold, known.reshape(2, 3)), expected)
    with pytest.raises(ValueError, match="whose last dimension is the classes; got .2, 5."):
        loss(z, torch.zeros(2, 5, dtype=torch.long))


def test_a_row_can_say_what_it_is_not():
    """Softmax cross-entropy of a known cell of 0 is -log(1-p), as with spaCy's "!label"."""
    mask = torch.tensor([[False, True, False], [True, True, True]])
    y = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    value = CrossEntropy(reduction="sum")(Z, y, mask)
    assert value.item() == pytest.approx(-math.log(0.8) - math.log(0.3))


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


@pytest.mark.parametrize(
    "spec", [*SPECS, {"name": "EntityDice", "names": BIOES, "log": True}], ids=str
)
def test_specs_make_the_same_loss(spec):
    torch.manual_seed(0)
    loss = make_loss({**spec, "reduction": "sum"})
    z, gold = torch.randn(6, len(loss.names or "012")), torch.tensor([0, 1, 2, 0, 1, 2])
    for again in (make_loss(loss.to_dict()), copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert type(again) is type(loss) and again.to_dict() == loss.to_dict()
        assert_close(again(z, gold), loss(z, gold))
    assert not loss.state_dict()


def test_spec_of_a_compound():
    ramp = {"name": "Ramp", "first": 0.0, "last": 2.0, "begin": 1.0, "end": 3.0}
    dice_ce = DiceCE(weight=Ramp(0, 2, begin=1, end=3)).to_dict()
    assert dice_ce["weight"] == ramp
    spec = {
        "name": "Compound",
        "losses": {
            "ce": {"name": "CrossEntropy", "label_smoothing": 0.0, "class_weights": {"O": 0.5}},
            "both": dice_ce,
        },
        "weights": {"ce": 1.0, "both": {**ramp, "begin": 0.5}},
    }
    assert make_loss(spec).to_dict() == spec


def test_schedules():
    loss = DiceCE(weight=Ramp(0, 2, begin=1, end=3))
    seen = []
    for epoch in (0, 0.5, 1, 1.5, 2, 3, 9):
        loss.step_schedules(epoch)
        seen.append(loss.weights["dice"].current)
    assert seen == [0, 0, 0, 0.5, 1, 2, 2]
    loss = Compound(["CrossEntropy", DiceCE(weight=iter([3, 4]))], [1, iter([5, 6])])
    seen = []
    for epoch in range(3):
        loss.step_schedules(epoch)
        seen.append([weight.current for weight in loss.weights_in_use()])
    assert seen == [[1, 5, 1, 3], [1, 6, 1, 4], [1, 6, 1, 4]]
    assert make_loss(loss.to_dict()).to_dict()["weights"] == {"0": 1.0, "1": 6.0}
    assert pickle.loads(pickle.dumps(loss)).weights["1"].current == 6


def test_a_subclass_of_a_third_party():
    class Halved(CrossEntropy):
        def compute_loss(self, view, targets):
            value, slope = super().compute_loss(view, targets)
            slope.gold /= 2
            return value / 2, slope

    value = make_loss({"name": "Halved", "label_smoothing": 0.0})(Z, GOLD)
    assert value.item() == pytest.approx(CE / 4)


# -- mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DiceCE(smooth=-1), "DiceCE: smooth must be a finite number"),
        (lambda: Dice(smooth=-1), "Dice: smooth must be a finite number from 0 on, got -1"),
        (lambda: Dice(level="token"), "Dice: level must be one of element, batch, got 'token'"),
        (lambda: Dice(squared=1), "Dice: squared must be true or false"),
        (lambda: Focal(gamma=True), "Focal: gamma must be a number, got True"),
        (lambda: Focal(gamma=math.nan), "Focal: gamma must be a finite number"),
        (lambda: Focal(reduction="none"), "Focal: reduction must be one of mean, sum"),
        (lambda: CrossEntropy(label_smoothing=1.0), "label_smoothing must be below 1"),
        (lambda: CrossEntropy(class_weights=0.5), "class_weights must be a dict"),
        (lambda: CrossEntropy(class_weights={"O": -1}), "class_weights\\['O'\\] must be"),
        (lambda: WeightedCrossEntropy(K=0), "K must be a finite number from 1 on"),
        (lambda: Compound([]), "losses is empty"),
        (lambda: Compound(["Dice"], {"x": 1}), "weights must name terms of losses \\(0\\), got x"),
        (lambda: Compound(["Dice"], ["x"]), "the weight of '0' must be a number"),
        (lambda: DiceCE(weight=[]), "the weight of 'dice' is a schedule without a number"),
        (lambda: Ramp(0, 1, begin=2), "Ramp: end must not be before begin"),
        (lambda: Ramp(0, math.inf), "Ramp: last must be a finite number"),
        (
            lambda: make_loss("DiceXE"),
            "no loss 'DiceXE'. Did you mean DiceCE\\? There are: .*Compound, CrossEntropy, Dice",
        ),
        (lambda: make_loss({"name": "Dice", "beta": 2}), "Dice has no option beta. It has: act"),
        (lambda: make_loss(torch.nn.CrossEntropyLoss()), "make a subclass of flair_dice.Loss"),
        (lambda: make_loss(3), "must be a loss of flair_dice"),
        (lambda: make_loss({"weight": 3}), "must be a loss of flair_dice"),
        (lambda: Dice()(Z[0], GOLD), "logits must be floats \\(rows, classes\\), got \\(3,\\)"),
        (lambda: Dice()(Z.long(), GOLD), "logits must be floats"),
        (lambda: Dice()(Z, GOLD[:1]), "targets must be class ids \\(2,\\), of an integer type"),
        (lambda: Dice()(Z, GOLD.float()), "targets must be class ids"),
        (lambda: Dice()(Z, P[:, :2]), "or rows \\(2, 3\\), got \\(2, 2\\)"),
        (lambda: Dice()(Z, GOLD + 1), "class id 3 is not one of 0 to 2. Rows of unknown class"),
        (lambda: Dice()(Z, GOLD - 100), "class id -100 is not one of 0 to 2"),
        (lambda: Dice()(Z, GOLD, torch.ones(3)), "mask must have the shape \\(2,\\) or \\(2, 3\\)"),
        (lambda: Dice(names=["a"])(Z, GOLD), "1 names for 3 columns of logits"),
        (lambda: Dice(background="O")(Z, GOLD), "background has the label 'O', but the loss was"),
        (
            lambda: Dice(background="O", names=["a", "b", "c"])(Z, GOLD),
            "background has the label 'O', which is none of its labels: a, b, c",
        ),
        (
            lambda: Dice(background=[0, 1, 2], names=["a", "b", "c"])(Z, GOLD),
            "background names every label",
        ),
        (lambda: CrossEntropy(class_weights=[1, 2])(Z, GOLD), "has 2 numbers for 3 classes"),
        (
            lambda: WeightedCrossEntropy(counts={"a": 1}, names=["a", "b", "c"])(Z, GOLD),
            "counts lacks the labels b, c",
        ),
        (lambda: EntityDice()(Z, GOLD), "EntityDice needs the tag of each column"),
        (lambda: EntityDice(names=["a", "b", "c"])(Z, GOLD), "needs a head of tags of entities"),
        (
            lambda: EntityDice(names=BIOES[:3])(Z, GOLD, lengths=[1]),
            "lengths add up to 1, not to 2 rows",
        ),
    ],
)
def test_mistakes_say_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
