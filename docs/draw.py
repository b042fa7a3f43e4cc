"""Draws the losses for the documentation, from the losses themselves.

    python docs/draw.py FOLDER

Each picture shows the loss and its gradient by the logit, against the probability p of the class,
for a cell where the class is gold and for one where it is not. Lines differ by their dashes, too,
so that they can be told apart in black and white.
"""

import io
import sys
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import matplotlib
import numpy as np

from dice_core import losses as core
from dice_core.labels import LabelSpec
from dice_core.probabilities import from_logits
from dice_core.targets import Targets

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

GOLD = {"color": "#0072B2", "linestyle": "-", "linewidth": 2.0}
OTHER = {"color": "#D55E00", "linestyle": (0, (5, 2)), "linewidth": 2.0}
THIRD = {"color": "#009E73", "linestyle": (0, (4, 1.5, 1, 1.5)), "linewidth": 2.0}
FOURTH = {"color": "#CC79A7", "linestyle": (0, (1, 1)), "linewidth": 2.2}
PLAIN = {"color": "#666666", "linestyle": (0, (1, 2)), "linewidth": 1.4}
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "svg.fonttype": "path",
    "svg.hashsalt": "losses",
    "figure.facecolor": "white",
}
Z = np.linspace(-7.5, 7.5, 301)
P = 1 / (1 + np.exp(-Z))
# A batch for the losses of sets: 5 rows are of the class, 95 are not.
N_GOLD, N_OTHER = 5, 95
P_GOLD, P_OTHER = 0.3, 0.03
Curve = Tuple[np.ndarray, np.ndarray]
Lines = List[Tuple[str, Curve, Dict]]


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


def panels(lines: Lines, x: str = "p, the probability of the class") -> bytes:
    """Two panels, of loss and of gradient, as SVG."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.1), layout="constrained")
        for axis, which, title in zip(
            axes, (0, 1), ("loss", "gradient by the logit (below 0: p is raised)")
        ):
            for label, curve, style in lines:
                axis.plot(P, curve[which], label=label, **style)
            axis.set_xlim(0, 1)
            axis.set_xlabel(x)
            axis.set_title(title, fontsize=9, loc="left")
        axes[1].axhline(0, color="black", linewidth=0.8)
        shown = np.concatenate([c[0] for _, c, s in lines if s is not PLAIN])
        low, high = shown.min(), shown.max()
        low = 0.0 if low < high / 3 else low  # the rest of a batch adds what does not move
        axes[0].set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=min(len(lines), 3),
            frameon=False,
            handlelength=3.2,
        )
        return as_svg(figure)


def as_svg(figure) -> bytes:
    made = io.BytesIO()
    figure.savefig(made, format="svg", metadata={"Date": None})
    plt.close(figure)
    return made.getvalue()


def cell_pair(loss: core.Loss) -> bytes:
    """A loss of cells, with cross-entropy for comparison."""
    ce = core.CrossEntropy()
    return panels(
        [
            ("the class is gold", cell_curve(loss, 1.0), GOLD),
            ("it is not", cell_curve(loss, 0.0), OTHER),
            ("cross-entropy of the gold class", cell_curve(ce, 1.0), PLAIN),
        ]
    )


def batch_pair(loss: core.Loss) -> bytes:
    """A loss of sets, with cross-entropy for comparison."""
    value, gradient = batch_curve(core.CrossEntropy(), 1.0)
    own = batch_curve(loss, 1.0)
    # Moved to where the other ends: only differences of the loss of a whole batch mean something.
    return panels(
        [
            ("a row where the class is gold", own, GOLD),
            ("a row where it is not", batch_curve(loss, 0.0), OTHER),
            ("cross-entropy, gold row", (value - value[-1] + own[0][-1], gradient), PLAIN),
        ],
        x="p of that row, the others staying",
    )


def weighted() -> bytes:
    """Of a class with 5 in 100 rows, with the paper's weights."""
    return rare_class(lambda: core.WeightedCrossEntropy(counts=[95.0, 5.0]))


def adjusted() -> bytes:
    """Of a class with 5 in 100 rows."""
    return rare_class(lambda: core.LogitAdjustedCE(priors=[0.95, 0.05]))


def rare_class(make: Callable[[], core.Loss]) -> bytes:
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
        [
            ("a class of 5 in 100 rows, gold", of(1.0), GOLD),
            ("the other is gold", of(0.0), OTHER),
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), PLAIN),
        ]
    )


def tversky() -> bytes:
    """Three prices of a missed row, at the level of a batch."""
    losses = [
        ("alpha 0.1, beta 0.9: recall", core.Tversky(level="batch", alpha=0.1, beta=0.9), GOLD),
        ("0.5, 0.5: Dice", core.Tversky(level="batch"), PLAIN),
        ("0.9, 0.1: precision", core.Tversky(level="batch", alpha=0.9, beta=0.1), OTHER),
    ]
    return panels(
        [(name, batch_curve(loss, 1.0), style) for name, loss, style in losses],
        x="p of a gold row, the others staying",
    )


def self_adjusting() -> bytes:
    """As published, with the gradient's weight held, and with the released scripts' alpha."""
    make = core.SelfAdjustingDice
    return panels(
        [
            ("gold, alpha 1 (as published)", cell_curve(make(), 1.0), GOLD),
            ("gold, detach_weight", cell_curve(make(detach_weight=True), 1.0), THIRD),
            ("gold, alpha 0.01", cell_curve(make(alpha=0.01), 1.0), FOURTH),
            ("not gold, alpha 1", cell_curve(make(), 0.0), OTHER),
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), PLAIN),
        ]
    )


def semimetric() -> bytes:
    """Of a soft target."""
    y = 0.6
    return panels(
        [
            ("SemimetricDice, target 0.6", cell_curve(core.SemimetricDice(), y), GOLD),
            ("Dice, target 0.6", cell_curve(core.Dice(squared=False), y), OTHER),
        ]
    )


def entity() -> bytes:
    """Of an entity of two tokens."""
    return panels(
        [
            ("EntityDice", entity_curve(core.EntityDice()), GOLD),
            ("EntityDice, log", entity_curve(core.EntityDice(log=True)), OTHER),
            ("cross-entropy", entity_curve(core.CrossEntropy()), PLAIN),
        ],
        x="p of the gold tag of both tokens",
    )


def compound() -> bytes:
    """Cross-entropy with more and more Dice."""
    lines = []
    for weight, style in ((0.0, PLAIN), (1.0, GOLD), (3.0, OTHER)):
        values, gradients = batch_curve(core.DiceCE(weight=weight), 1.0)
        name = f"cross-entropy + {weight:g} x Dice" if weight else "cross-entropy alone"
        lines.append((name, (values - values[-1], gradients), style))
    return panels(lines, x="p of a gold row, the others staying")


def pull() -> bytes:
    """How hard each loss pulls at a gold row that is missed: the picture of why."""
    lines = [
        ("DiceCE", batch_curve(core.DiceCE(), 1.0, others=0.05)[1], GOLD),
        ("cross-entropy", batch_curve(core.CrossEntropy(), 1.0)[1], {**PLAIN, "linewidth": 2.0}),
        (
            "squared error: stock\nspancat, span_finder,\ntextcat_multilabel",
            squared_error(1)[1],
            OTHER,
        ),
        ("Dice of one cell (DL)", cell_curve(core.Dice(), 1.0)[1], THIRD),
        (
            "self-adjusting Dice\nof one cell (DSC)",
            cell_curve(core.SelfAdjustingDice(), 1)[1],
            FOURTH,
        ),
    ]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.4, 3.6), layout="constrained")
        for label, gradient, style in lines:
            raised = np.where(gradient < 0, -gradient, np.nan)
            axis.plot(P, raised, label=label, **style)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(6e-4, 1)
        axis.set_ylim(2e-4, 20)
        axis.set_xlabel("p of the gold class; on the left, what is missed")
        axis.set_ylabel("how hard p is raised\n(minus the gradient by the logit)")
        figure.legend(loc="outside right center", frameon=False, handlelength=3.4, labelspacing=1)
        return as_svg(figure)


PICTURES: Dict[str, Callable[[], bytes]] = {
    "cross-entropy": lambda: panels(
        [
            ("cross-entropy, gold", cell_curve(core.CrossEntropy(), 1.0), GOLD),
            ("cross-entropy, not gold", cell_curve(core.CrossEntropy(), 0.0), OTHER),
            ("half the squared error, gold", squared_error(1.0), PLAIN),
        ]
    ),
    "weighted-cross-entropy": weighted,
    "logit-adjusted-ce": adjusted,
    "focal": lambda: cell_pair(core.Focal()),
    "asymmetric-loss": lambda: cell_pair(core.AsymmetricLoss()),
    "dice": lambda: cell_pair(core.Dice()),
    "dice-batch": lambda: batch_pair(core.Dice(level="batch", squared=False)),
    "self-adjusting-dice": self_adjusting,
    "semimetric-dice": semimetric,
    "tversky": tversky,
    "entity-dice": entity,
    "dice-ce": lambda: batch_pair(core.DiceCE()),
    "compound": compound,
    "pull": pull,
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_bytes(draw())


if __name__ == "__main__":
    main()
