"""Draws the pictures of the documentation: losses, from the losses themselves, and results.

    python docs/draw.py

writes docs/pictures, each picture in a light and a dark form. Each shows the loss and its gradient
with respect to the logit, against the probability p of the class, for an entry where the class is
gold and for one where it is not. The pictures of the results are in plots.py.
"""

import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]
import plots  # noqa: E402
import svg  # noqa: E402

from benchmarks import results  # noqa: E402
from dice_core import losses as core  # noqa: E402
from dice_core.labels import LabelSpec  # noqa: E402
from dice_core.probabilities import from_logits  # noqa: E402
from dice_core.targets import Targets  # noqa: E402

FOLDER = DOCS / "pictures"
# Styles of lines.
GOLD, OTHER, THIRD, FOURTH, PLAIN = range(5)
Z = np.linspace(-7.5, 7.5, 301)
P = 1 / (1 + np.exp(-Z))
# A batch for the losses of sets: 5 rows are of the class, 95 are not.
N_GOLD, N_OTHER = 5, 95
P_GOLD, P_OTHER = 0.3, 0.03
Curve = Tuple[np.ndarray, np.ndarray]
Lines = List[Tuple[str, Curve, int]]
Picture = Callable[[svg.Theme], str]


def value_and_gradient(loss: core.Loss, z: np.ndarray, activation: str, targets: Targets) -> Curve:
    """Value and gradient of logits ``(N, C)``."""
    value, gradient = core.BoundLoss(loss).compute(from_logits(z, activation), targets)
    return value.sum(), gradient


def compute(loss: core.Loss, z: np.ndarray, y: np.ndarray) -> Curve:
    """Value and gradient of a sigmoid's logits ``(N, 1)``."""
    return value_and_gradient(loss, z, "sigmoid", Targets(LabelSpec("drawing"), 1, z, y=y))


def cell_curve(loss: core.Loss, y: float) -> Curve:
    """One cell on its own, at each p: values and gradients ``(P,)``."""
    truth = np.full((1, 1), y)
    pairs = [compute(loss, np.full((1, 1), z), truth) for z in Z]
    return np.array([float(v) for v, _ in pairs]), np.array([g[0, 0] for _, g in pairs])


def batch_curve(loss: core.Loss, y: float, others: float = P_GOLD) -> Curve:
    """One row of a batch at each p, the other rows staying: the loss of the whole batch, and the
    gradient of that row."""
    truth = np.array([1.0] * N_GOLD + [0.0] * N_OTHER)[:, None]
    p = np.where(truth == 1, others, P_OTHER)
    moved = 0 if y else N_GOLD
    found = []
    for z in Z:
        logits = np.log(p / (1 - p))
        logits[moved, 0] = z
        value, gradient = compute(loss, logits, truth)
        found.append((float(value), gradient[moved, 0]))
    values, gradients = np.array(found).T
    return values, gradients


def entity_curve(loss: core.Loss) -> Curve:
    """An entity of two tokens in ten: p of both its tags, at each p."""
    tags = ("O", "B-X", "I-X")
    ids = np.array([0, 0, 0, 1, 2, 0, 0, 0, 0, 0])
    found = []
    for z in Z:
        logits = np.zeros((10, 3))
        logits[:, 0] = 4.0
        for row, column in ((3, 1), (4, 2)):
            logits[row] = [0.0, -30.0, -30.0]
            logits[row, column] = z
        targets = Targets(LabelSpec("drawing", tags, ("O",)), 3, logits, ids=ids, lengths=[10])
        value, gradient = value_and_gradient(loss, logits, "softmax", targets)
        found.append((float(value), gradient[3, 1]))
    values, gradients = np.array(found).T
    return values, gradients


def squared_error(y: float) -> Curve:
    """What spaCy trains heads with sigmoids on: half the squared error."""
    return (P - y) ** 2 / 2, (P - y) * P * (1 - P)


def panels(title: str, lines: Lines, x: str = "p, the probability of the class") -> Picture:
    """Two panels, of loss and of gradient."""

    def points(curve: np.ndarray) -> List[svg.Point]:
        return [(float(p), float(value)) for p, value in zip(P, curve)]

    shown = np.concatenate([curve[0] for _, curve, style in lines if style != PLAIN])
    low, high = float(shown.min()), float(shown.max())
    low = 0.0 if low < high / 3 else low  # the rest of a batch adds what does not move
    room = high - low
    loss = [svg.Line(name, points(curve[0]), style) for name, curve, style in lines]
    gradient = [svg.Line(name, points(curve[1]), style) for name, curve, style in lines]
    whole = [value for line in gradient for _, value in line.points]
    ends = (min(0.0, *whole), max(0.0, *whole))
    margin = 0.04 * (ends[1] - ends[0])
    made = [
        svg.Panel("loss", x, loss, (0, 1), (low - 0.03 * room, high + 0.05 * room)),
        svg.Panel(
            *("gradient by the logit (below 0: p is raised)", x, gradient, (0, 1)),
            *((ends[0] - margin, ends[1] + margin), False, True),
        ),
    ]
    return lambda theme: svg.lines(made, title, theme, 220)


def cell_pair(title: str, loss: core.Loss) -> Picture:
    """A loss of single entries, with cross-entropy for comparison."""
    ce = core.CrossEntropy()
    return panels(
        title,
        [
            ("the class is gold", cell_curve(loss, 1.0), GOLD),
            ("it is not", cell_curve(loss, 0.0), OTHER),
            ("cross-entropy of the gold class", cell_curve(ce, 1.0), PLAIN),
        ],
    )


def batch_pair(title: str, loss: core.Loss) -> Picture:
    """A loss of sets, with cross-entropy for comparison."""
    value, gradient = batch_curve(core.CrossEntropy(), 1.0)
    own = batch_curve(loss, 1.0)
    # Moved to where the other ends: only differences of the loss of a whole batch mean something.
    return panels(
        title,
        [
            ("a row where the class is gold", own, GOLD),
            ("a row where it is not", batch_curve(loss, 0.0), OTHER),
            ("cross-entropy, gold row", (value - value[-1] + own[0][-1], gradient), PLAIN),
        ],
        x="p of that row, the others staying",
    )


def weighted() -> Picture:
    """Of a class with 5 in 100 rows, with the paper's weights."""
    make = lambda: core.WeightedCrossEntropy(counts=[95.0, 5.0])  # noqa: E731
    return rare_class("Weighted cross-entropy of a rare class", make)


def adjusted() -> Picture:
    """Of a class with 5 in 100 rows."""
    make = lambda: core.LogitAdjustedCE(priors=[0.95, 0.05])  # noqa: E731
    return rare_class("Logit-adjusted cross-entropy of a rare class", make)


def rare_class(title: str, make: Callable[[], core.Loss]) -> Picture:
    """Two classes, of which the one that is shown has 5 in 100 rows."""

    def of(y: float) -> Curve:
        loss = make()
        found = []
        for z in Z:
            targets = Targets(LabelSpec("drawing"), 2, np.zeros((1, 2)), ids=np.array([int(y)]))
            logits = np.array([[0.0, z]])
            value, gradient = value_and_gradient(loss, logits, "softmax", targets)
            found.append((float(value), gradient[0, 1]))
        values, gradients = np.array(found).T
        return values, gradients

    return panels(
        title,
        [
            ("a class of 5 in 100 rows, gold", of(1.0), GOLD),
            ("the other is gold", of(0.0), OTHER),
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), PLAIN),
        ],
    )


def tversky() -> Picture:
    """Three prices of a missed row, at the level of a batch."""
    losses = [
        ("alpha 0.1, beta 0.9: recall", core.Tversky(level="batch", alpha=0.1, beta=0.9), GOLD),
        ("0.5, 0.5: Dice", core.Tversky(level="batch"), PLAIN),
        ("0.9, 0.1: precision", core.Tversky(level="batch", alpha=0.9, beta=0.1), OTHER),
    ]
    return panels(
        "Tversky over a batch, with three prices",
        [(name, batch_curve(loss, 1.0), style) for name, loss, style in losses],
        x="p of a gold row, the others staying",
    )


def self_adjusting() -> Picture:
    """As published, with the gradient's weight held, and with the released scripts' alpha."""
    make = core.SelfAdjustingDice
    return panels(
        "Self-adjusting Dice",
        [
            ("gold, alpha 1 (as published)", cell_curve(make(), 1.0), GOLD),
            ("gold, detach_weight", cell_curve(make(detach_weight=True), 1.0), THIRD),
            ("gold, alpha 0.01", cell_curve(make(alpha=0.01), 1.0), FOURTH),
            ("not gold, alpha 1", cell_curve(make(), 0.0), OTHER),
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), PLAIN),
        ],
    )


def semimetric() -> Picture:
    """Of a soft target."""
    y = 0.6
    return panels(
        "Semimetric Dice and Dice of a target of 0.6",
        [
            ("SemimetricDice, target 0.6", cell_curve(core.SemimetricDice(), y), GOLD),
            ("Dice, target 0.6", cell_curve(core.Dice(squared=False), y), OTHER),
        ],
    )


def entity() -> Picture:
    """Of an entity of two tokens."""
    return panels(
        "EntityDice of an entity of two tokens",
        [
            ("EntityDice", entity_curve(core.EntityDice()), GOLD),
            ("EntityDice, log", entity_curve(core.EntityDice(log=True)), OTHER),
            ("cross-entropy", entity_curve(core.CrossEntropy()), PLAIN),
        ],
        x="p of the gold tag of both tokens",
    )


def compound() -> Picture:
    """Cross-entropy with more and more Dice."""
    lines = []
    for weight, style in ((0.0, PLAIN), (1.0, GOLD), (3.0, OTHER)):
        values, gradients = batch_curve(core.DiceCE(weight=weight), 1.0)
        name = f"cross-entropy + {weight:g} x Dice" if weight else "cross-entropy alone"
        lines.append((name, (values - values[-1], gradients), style))
    title = "Cross-entropy combined with more and more Dice"
    return panels(title, lines, x="p of a gold row, the others staying")


def pull() -> Picture:
    """How strongly each loss raises a gold row that is missed: the picture of why."""
    curves = [
        ("DiceCE", batch_curve(core.DiceCE(), 1.0, others=0.05)[1], GOLD),
        ("cross-entropy", batch_curve(core.CrossEntropy(), 1.0)[1], PLAIN),
        ("squared error (stock spancat, textcat_multilabel)", squared_error(1)[1], OTHER),
        ("Dice of one entry (DL)", cell_curve(core.Dice(), 1.0)[1], THIRD),
        ("self-adjusting Dice (DSC)", cell_curve(core.SelfAdjustingDice(), 1)[1], FOURTH),
    ]
    lines = []
    for name, gradient, style in curves:
        raised = [(float(p), float(-slope)) for p, slope in zip(P, gradient) if slope < 0]
        lines.append(svg.Line(name, raised, style))
    panel = svg.Panel(
        *("", "p of the gold class: missed rows on the left, found rows on the right", lines),
        *((6e-4, 1.0), (2e-4, 20.0), True),
        y_label="minus the gradient",
    )
    title = "How strongly each loss raises the probability of a gold class, against p"
    return lambda theme: svg.lines([panel], title, theme, 270)


PICTURES: Dict[str, Callable[[], Picture]] = {
    "cross-entropy": lambda: panels(
        "Cross-entropy and half the squared error",
        [
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), GOLD),
            ("cross-entropy, not gold", cell_curve(core.CrossEntropy(), 0.0), OTHER),
            ("half the squared error, gold", squared_error(1.0), PLAIN),
        ],
    ),
    "weighted-cross-entropy": weighted,
    "logit-adjusted-ce": adjusted,
    "focal": lambda: cell_pair("The focal loss with gamma 2", core.Focal()),
    "asymmetric-loss": lambda: cell_pair("ASL with its defaults", core.AsymmetricLoss()),
    "dice": lambda: cell_pair("Dice of one entry", core.Dice()),
    "dice-batch": lambda: batch_pair(
        "Dice of a batch of 5 gold rows and 95 others", core.Dice(level="batch", squared=False)
    ),
    "self-adjusting-dice": self_adjusting,
    "semimetric-dice": semimetric,
    "tversky": tversky,
    "entity-dice": entity,
    "dice-ce": lambda: batch_pair("DiceCE over a batch", core.DiceCE()),
    "compound": compound,
    "pull": pull,
}


def drawn() -> Dict[str, str]:
    """All pictures by the names of their files, in both themes."""
    made = plots.drawn(results.read(sorted(results.FOLDER.glob("*.jsonl"))))
    for name, make in PICTURES.items():
        picture = make()
        for suffix, theme in svg.THEMES.items():
            made[f"{name}{suffix}.svg"] = picture(theme)
    return made


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, picture in drawn().items():
        (FOLDER / name).write_text(picture)


if __name__ == "__main__":
    main()
