"""Losses of the overlap of what is predicted and what is true: Dice and its kin."""

from typing import Any, List, Tuple, Union

from thinc.api import get_array_module

from .. import biluo, formulas
from ..errors import mistake
from ..heads import Head
from ..targets import Labels, Targets
from .base import Array, Loss

Background = Union[str, int, List[Union[str, int]], None]
AUTO = "auto"
LEVELS = ("example", "batch")
AVERAGES = ("micro", "macro")


class _Overlap(Loss):
    """Losses that are 1 - (num + smooth) / (den + smooth) of soft counts."""

    smooth: float
    log = False

    def _read(self, level: str, average: str, smooth: float, background: Background) -> None:
        self.level = self._one_of("level", level, LEVELS)
        self.average = self._one_of("average", average, AVERAGES)
        self.smooth = self._number("smooth", smooth)
        if background is None or background == AUTO:
            self.background: Union[str, List[Union[str, int]]] = background or []
        elif isinstance(background, (str, int)):
            self.background = [background]
        else:
            self.background = list(background)

    def counts(self, p: Array, y: Array) -> formulas.Counts:
        raise NotImplementedError

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        counts = self.counts(p, targets.y)
        known = targets.known()
        if self.level == "example":
            value, slope = formulas.per_cell(counts, self.smooth, self.log)
            return (value * known).sum(), slope * known
        xp = get_array_module(p)
        cells = known if targets.counted is None else known * targets.counted[:, None]
        present = ((targets.y * cells).sum(axis=0) > 0).astype(p.dtype)
        for column in self._background_columns(targets.labels):
            present[column] = 0.0
        value, slope = formulas.per_set(
            counts, cells, present, self.smooth, self.log, self.average == "micro"
        )
        n = xp.asarray(targets.n_rows(), dtype=p.dtype)
        return n * value, n * slope

    def check(self, labels: Labels) -> None:
        super().check(labels)
        columns = self._background_columns(labels)
        if labels.names is not None and len(set(columns)) == len(labels.names):
            raise mistake(
                f"{labels.owner}: background names every label, so that nothing is left to count."
            )

    def _background_columns(self, labels: Labels) -> List[int]:
        if self.background == AUTO:
            return labels.columns(labels.background, "its background")
        return labels.columns(self.background, "background")  # type: ignore[arg-type]


class Dice(_Overlap):
    """The Dice loss, DL: 1 - (2 p y + smooth) / (p^2 + y^2 + smooth).

    level: "example", each cell a binary view by itself and all of them summed, as published;
    or "batch", one soft count over the batch, times its number of rows. average, for batches:
    "macro", the mean over classes, or "micro", their counts pooled. Classes without a gold
    row in the batch contribute nothing. smooth: added above and below, from 0 on. squared:
    the published denominator; false is p + y. log: -log of the coefficient instead of 1
    minus it. background: classes left out of set-level counts: "auto", those that the
    component names (NER's O); null, none; or one or more labels or class ids.

    Alone and at example level it does not train a tagger with a frequent background: its
    gradient vanishes as p(gold) goes to 0. See DiceCE. With soft truths it is least at
    p = 1, not at p = y. Source: Li et al. 2020, equations 7 and 8.
    """

    def __init__(
        self,
        *,
        level: str = "example",
        average: str = "macro",
        smooth: float = 1.0,
        squared: bool = True,
        log: bool = False,
        background: Background = AUTO,
        **reading: Any,
    ):
        super().__init__(**reading)
        self._read(level, average, smooth, background)
        self.squared = self._flag("squared", squared)
        self.log = self._flag("log", log)

    def counts(self, p: Array, y: Array) -> formulas.Counts:
        return formulas.dice_counts(p, y, self.squared)


class SelfAdjustingDice(_Overlap):
    """The self-adjusting Dice loss, DSC: 1 - (2 (1-p)^alpha p y + g) / ((1-p)^alpha p + y + g).

    alpha: from 0 on; 1 in the paper, 0.01 in its released scripts. gamma: the smoothing g.
    hold_weight: the gradient does not go through (1-p)^alpha. Without it, as published, the
    loss of a gold class is least at p = 1/(1+alpha), not at 1: at 0.5, 0.909 and 0.99 for
    alpha = 1, 0.1 and 0.01. A confident correct prediction is pushed back, and a false
    positive beyond that point is pushed on towards 1. level, average, background: as in Dice.

    Alone it collapses: from scratch, with a frequent background, every row goes to the
    background. Source: Li et al. 2020, equation 11.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        gamma: float = 1.0,
        level: str = "example",
        average: str = "macro",
        hold_weight: bool = False,
        background: Background = AUTO,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.gamma = self._number("gamma", gamma)
        self._read(level, average, self.gamma, background)
        self.alpha = self._number("alpha", alpha)
        self.hold_weight = self._flag("hold_weight", hold_weight)

    def counts(self, p: Array, y: Array) -> formulas.Counts:
        return formulas.self_adjusting_counts(p, y, self.alpha, self.hold_weight)


class Tversky(_Overlap):
    """The Tversky loss, TL: 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth).

    alpha: what a false positive costs. beta: what a false negative costs: raise it for
    recall. Both from 0 on; 0.5 each is Dice with twice the smoothing. level, average, smooth,
    background: as in Dice. Source: Li et al. 2020, equation 10; Salehi et al. 2017.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        level: str = "example",
        average: str = "macro",
        smooth: float = 1.0,
        background: Background = AUTO,
        **reading: Any,
    ):
        super().__init__(**reading)
        self._read(level, average, smooth, background)
        self.alpha = self._number("alpha", alpha)
        self.beta = self._number("beta", beta)

    def counts(self, p: Array, y: Array) -> formulas.Counts:
        return formulas.tversky_counts(p, y, self.alpha, self.beta)


class EntityDice(Loss):
    """1 - soft F-beta over whole entities, times the number of rows: for BILUO heads.

    An entity is found with the product of p(gold tag) over its tokens; the expected number
    of predictions is the sum of p over tags that start one. smooth: added above and below.
    beta: from 0 on; above 1 recall weighs more. log: -log F instead of 1 - F. Entities with a
    token of missing annotation are left out. For use beside a cross-entropy (see Compound).
    """

    def __init__(
        self, *, smooth: float = 1.0, beta: float = 1.0, log: bool = False, **reading: Any
    ):
        super().__init__(**reading)
        self.smooth = self._number("smooth", smooth)
        self.beta = self._number("beta", beta)
        self.log = self._flag("log", log)

    def check(self, labels: Labels) -> None:
        super().check(labels)
        if labels.names is None:
            raise mistake(
                f"{labels.owner}: EntityDice needs the BILUO tag of each column. Pass names=[...]."
            )
        if not labels.sequence or not biluo.is_scheme(labels.names):
            raise mistake(
                f"{labels.owner}: EntityDice needs a head of BILUO tags over tokens (O, B-X, I-X, "
                "L-X, U-X), as dice_ner has. Use another loss here, e.g. spacy_dice.DiceCE.v1."
            )

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        xp = get_array_module(p)
        assert targets.labels.names is not None
        scheme = biluo.Scheme(targets.labels.names)
        ids = xp.where((targets.y * targets.known()).max(axis=1) > 0, targets.y.argmax(axis=1), -1)
        ids = ids.get() if hasattr(ids, "get") else ids
        rows, spans, n_spans = scheme.gold_rows(ids, targets.lengths or [len(ids)])
        starts = xp.asarray(scheme.starts.astype(p.dtype))
        value, slope = formulas.entity_dice(
            p,
            xp.asarray(rows),
            xp.asarray(ids[rows]),
            xp.asarray(spans),
            n_spans,
            targets.known() * starts,
            self.smooth,
            self.beta,
            self.log,
        )
        n = targets.n_rows()
        return n * value, n * slope
