"""Losses of the overlap of what is predicted and what is true: Dice and its kin."""

from functools import lru_cache
from typing import TYPE_CHECKING, Optional, Tuple, Union

from .. import arrays, formulas
from ..arrays import Array, namespace
from ..formulas import Mass
from ..labels import LabelSpec
from ..options import AUTO, AVERAGES, LEVELS, Average, Background, Level
from ..slopes import Slope
from ..targets import Targets
from ..views import View
from .base import Loss

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import Reading


class _Overlap(Loss):
    """Losses that are 1 - F of soft counts (see `formulas.overlap`).

    A subclass says what a cell adds to the counts (`mass`), if that is not simply p, and how
    they are weighed (`weights`).
    """

    in_parts = True
    smooth: float
    log = False
    # Whether a cell adds p itself, so that its slope is the same for all cells of a column.
    plain = True

    def read_overlap(
        self, level: Level, average: Average, smooth: float, background: Background
    ) -> None:
        self.level: Level = self.read_one_of("level", level, LEVELS)
        self.average: Average = self.read_one_of("average", average, AVERAGES)
        self.smooth = self.read_number("smooth", smooth)
        self.background = self.read_background(background)

    @property
    def set_level(self) -> bool:
        return self.level == "batch"

    @property
    def collapses(self) -> bool:
        return True

    def weights(self) -> Tuple[float, float, float]:
        """alpha, beta and smooth of `formulas.overlap`."""
        return 0.5, 0.5, self.smooth / 2

    def mass(self, p: Array, q: Array, j: Array, is_softmax: bool) -> Mass:
        """What cells of probability p = 1 - q add to the counts. j: see `formulas`."""
        return Mass(p, p, j, j)

    def is_steep(self) -> bool:
        """Whether slopes grow without bound as p goes to 1; see `Slope`."""
        return False

    def hits(self, mass: Mass, y: Array) -> Tuple[Array, Array]:
        """What cells add to the true positives, and its slope, for any y."""
        return mass.hit * y, mass.hit_slope * y

    def gold(self, y: Array) -> Array:
        """What gold cells add."""
        return y

    def makes_cells(self, view: View, targets: Targets) -> bool:
        return not (self.plain and self.set_level and _is_sparse(view, targets))

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        if _is_sparse(view, targets):
            of = self._of_batch if self.set_level else self._of_elements
            return of(view, targets)
        of = self._of_dense_batch if self.set_level else self._of_dense_elements
        return of(view, targets.dense())

    # -- one gold class a row, of a softmax ---------------------------------------------

    def _of_elements(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        xp = namespace(view.p)
        p, q, ids = self._p(view), self._q(view), targets.ids
        how = (*self.weights()[::2], self.log)
        # Of all cells as if none were gold, and of the gold ones what is different.
        mass = self.mass(p, q, p, True)
        used_up = mass.predicted is not p and mass.predicted is not mass.predicted_slope
        values, cells = formulas.overlap_of_others(mass.predicted, *how, used_up)
        cells *= mass.predicted_slope
        p_gold = view.gather(ids) if p is view.p else arrays.gather(p, ids)
        gold = self.mass(p_gold, None if q is None else arrays.gather(q, ids), p_gold, True)
        other, slope_of_other = formulas.overlap_of_others(gold.predicted[:, None], *how)
        value, by_hits, by_predicted = formulas.overlap(
            gold.hit, gold.predicted, 1.0, *self.weights(), self.log
        )
        by_predicted -= slope_of_other[:, 0]
        values += value - other
        if targets.weights is not None:
            values *= targets.weights
        slope = by_hits * gold.hit_slope + by_predicted * gold.predicted_slope
        return xp.sum(values), Slope(cells=cells, gold=slope, steep=self.is_steep())

    def _of_batch(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        p, q, ids, weights = self._p(view), self._q(view), targets.ids, targets.weights
        p_gold = view.gather(ids) if p is view.p else arrays.gather(p, ids)
        of_gold = self.mass(p_gold, None if q is None else arrays.gather(q, ids), p_gold, True)
        of_all = None if self.plain else self.mass(p, q, p, True)
        predicted = p if of_all is None else of_all.predicted
        counted = targets.counted
        if counted is not None:
            weights = counted if weights is None else weights * counted
        hits = of_gold.hit
        if weights is None:
            weights = arrays.full_like(p_gold, 1.0)
        else:
            hits = hits * weights
        predicted = weights @ predicted
        hits = arrays.sum_by(hits, ids, targets.n_classes)
        n_gold = arrays.sum_by(weights, ids, targets.n_classes)
        value, by_hits, by_predicted = self._of_counts(hits, predicted, n_gold, None, targets)
        gold = by_hits[ids] * of_gold.hit_slope
        if counted is not None:
            gold *= counted
        if of_all is None:
            return value, Slope(columns=by_predicted, gold=gold)
        cells = by_predicted * of_all.predicted_slope
        if counted is not None:
            cells *= counted[:, None]
        arrays.add_at(cells, ids, gold)
        return value, Slope(cells=cells, steep=self.is_steep())

    # -- any truth ----------------------------------------------------------------------

    def _of_dense_elements(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        xp = namespace(view.p)
        mass = self._mass(view)
        hits, hits_slope = self.hits(mass, targets.y)
        value, by_hits, by_predicted = formulas.overlap(
            hits, mass.predicted, self.gold(targets.y), *self.weights(), self.log
        )
        by_hits *= hits_slope
        by_predicted *= mass.predicted_slope
        by_hits += by_predicted
        slope = targets.of_known(by_hits)
        return xp.sum(targets.of_known(value)), Slope(cells=slope, steep=self.is_steep())

    def _of_dense_batch(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        y, mass = targets.y, self._mass(view)

        def counted(cells: Array) -> Array:
            cells = targets.of_known(cells)
            return cells if targets.counted is None else cells * targets.counted[:, None]

        hits, slope = self.hits(mass, y)
        hits = arrays.total(counted(hits), axis=0)
        predicted, n_gold = (arrays.total(counted(a), axis=0) for a in (mass.predicted, y))
        gold = self.gold(y)
        gold = n_gold if gold is y else arrays.total(counted(gold), axis=0)
        value, by_hits, by_predicted = self._of_counts(hits, predicted, gold, n_gold, targets)
        slope *= by_hits
        slope += by_predicted * mass.predicted_slope
        return value, Slope(cells=counted(slope), steep=self.is_steep())

    # -- what they share ----------------------------------------------------------------

    def _of_counts(
        self,
        hits: Array,
        predicted: Array,
        gold: Array,
        n_gold: Optional[Array],
        targets: Targets,
    ) -> Tuple[Array, Array, Array]:
        """The loss of counts ``(C,)`` times the number of rows, and its derivatives by the first
        two. n_gold: the number of gold cells, if that is not ``gold``.
        """
        xp = namespace(hits)
        if targets.reduce is not None:
            # As many numbers from each part, whichever way its own were counted.
            own = [hits, predicted, gold, gold if n_gold is None else n_gold]
            whole = targets.whole(xp.stack(own))
            hits, predicted, gold, n_gold = (whole[i, :] for i in range(4))
        present = xp.astype((gold if n_gold is None else n_gold) > 0, hits.dtype)
        background = self._background_columns(targets.spec) if self.background else ()
        for column in background:
            present[column] = 0.0
        micro = self.average == "micro"
        if self.average == AUTO:
            micro = targets.spec.positions or bool(background)
        n = targets.n_rows()
        value, by_hits, by_predicted = formulas.overlap_of_set(
            hits, predicted, gold, present, micro, targets.whole(n), *self.weights(), self.log
        )
        return n * value, by_hits, by_predicted

    def _p(self, view: View) -> Array:
        # At exactly 0 some ratios are 0/0; next to 0 they are what they tend to.
        return view.p if self.smooth else arrays.at_least(view.p, view.low)

    def _q(self, view: View) -> Array:
        """1 - p, where `mass` needs it better than it can tell from p."""
        return None

    def _mass(self, view: View) -> Mass:
        p, is_softmax = self._p(view), view.activation == "softmax"
        q = self._q(view)
        j = p if is_softmax else p * (view.q() if q is None else q)
        return self.mass(p, q, j, is_softmax)

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        columns = self._background_columns(spec)
        if self.background == AUTO or spec.names is None:
            return
        if len(set(columns)) == len(spec.names):
            raise spec.config_error(
                "background names every label, so that nothing is left to count."
            )

    def _background_columns(self, spec: LabelSpec) -> Tuple[int, ...]:
        if self.background == AUTO:
            return _columns(spec, spec.background, "its background")
        return _columns(spec, tuple(self.background), "background")


@lru_cache(maxsize=64)  # asked for in each step
def _columns(spec: LabelSpec, wanted: Tuple[Union[str, int], ...], option: str) -> Tuple[int, ...]:
    return tuple(spec.columns(wanted, option))


def _is_sparse(view: View, targets: Targets) -> bool:
    """Whether rows share 1 among the classes, of which one is gold."""
    return view.activation == "softmax" and targets.ids is not None


class Dice(_Overlap):
    """The Dice loss, DL: 1 - (2 p y + smooth) / (p^2 + y^2 + smooth).

    Alone and at element level it does not train a tagger with a frequent background: its
    gradient vanishes as p(gold) goes to 0. See DiceCE. With soft truths it is least at p = 1,
    not at p = y: see SemimetricDice.

    Args:
        level: "element", each cell a binary view by itself and all of them summed, as
            published; or "batch", one soft count over the batch, times its number of rows.
        average: For batches: "macro", the mean over classes; "micro", their counts pooled; or
            "auto", micro where there is a background and macro where there is none (pooled
            counts of all classes are but the expected accuracy). Classes without a gold row in
            the batch contribute nothing.
        smooth: Added above and below, from 0 on.
        squared: The published denominator; false is p + y.
        log: -log of the coefficient instead of 1 minus it.
        background: Classes left out of set-level counts: "auto", those that the component or
            the model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: Li et al. 2020, equations 7 and 8.
    """

    def __init__(
        self,
        *,
        level: Level = "element",
        average: Average = "macro",
        smooth: float = 1.0,
        squared: bool = True,
        log: bool = False,
        background: Background = AUTO,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.read_overlap(level, average, smooth, background)
        self.squared = self.read_flag("squared", squared)
        self.log = self.read_flag("log", log)
        self.plain = not self.squared

    def mass(self, p: Array, q: Array, j: Array, is_softmax: bool) -> Mass:
        if self.squared:
            return formulas.squared_mass(p, j)
        return super().mass(p, q, j, is_softmax)

    def gold(self, y: Array) -> Array:
        return y * y if self.squared else y


class SemimetricDice(_Overlap):
    """Dice for soft truths: 1 - (2 TP + smooth) / (sum of p + sum of y + smooth).

    TP is the sum of (p + y - |p - y|) / 2, the smaller of p and y. It equals Dice (not squared)
    where truths are 0 or 1, and for soft ones, such as smoothed or distilled labels or shares of
    annotators, it is least at p = y, where Dice is least at p = 1.

    Args:
        level, average, smooth, log, background: As in Dice.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: Wang et al. 2023, "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels".
    """

    def __init__(
        self,
        *,
        level: Level = "element",
        average: Average = "macro",
        smooth: float = 1.0,
        log: bool = False,
        background: Background = AUTO,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.read_overlap(level, average, smooth, background)
        self.log = self.read_flag("log", log)

    def hits(self, mass: Mass, y: Array) -> Tuple[Array, Array]:
        xp = namespace(y)
        grows = xp.astype(mass.hit < y, y.dtype)
        return xp.minimum(mass.hit, y), mass.hit_slope * grows


class SelfAdjustingDice(_Overlap):
    """The self-adjusting Dice loss, DSC: 1 - (2 (1-p)^alpha p y + g) / ((1-p)^alpha p + y + g).

    Alone it collapses: from scratch, with a frequent background, every row goes to the
    background. Without detach_weight, as published, the loss of a gold class is least at
    p = 1/(1+alpha), not at 1: at 0.5, 0.909 and 0.99 for alpha = 1, 0.1 and 0.01. A confident
    correct prediction is pushed back, and a false positive beyond that point is pushed on
    towards 1.

    Args:
        alpha: From 0 on; 1 in the paper, 0.01 in its released scripts.
        smooth: The paper's gamma: g above, from 0 on.
        detach_weight: The gradient does not go through (1-p)^alpha.
        level, average, background: As in Dice.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: Li et al. 2020, equation 11.
    """

    plain = False

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        smooth: float = 1.0,
        level: Level = "element",
        average: Average = "macro",
        detach_weight: bool = False,
        background: Background = AUTO,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.read_overlap(level, average, smooth, background)
        self.alpha = self.read_number("alpha", alpha)
        self.detach_weight = self.read_flag("detach_weight", detach_weight)

    def mass(self, p: Array, q: Array, j: Array, is_softmax: bool) -> Mass:
        return formulas.self_adjusting_mass(p, q, j, self.alpha, self.detach_weight, is_softmax)

    def is_steep(self) -> bool:
        return 0 < self.alpha < 1 and not self.detach_weight

    def _q(self, view: View) -> Array:
        if self.alpha == 1 and view.activation == "softmax":
            return None
        q = view.q(exact=self.alpha < 1)
        if self.alpha < 1 and view.activation == "sigmoid":
            # The loss is a function of p as a float: where that is 1, (1-p)^alpha is 0.
            q = namespace(q).where(view.p < 1, q, 0.0)
        return q


class Tversky(_Overlap):
    """The Tversky loss, TL: 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth).

    Args:
        alpha: What a false positive costs, from 0 on.
        beta: What a false negative costs, from 0 on: raise it for recall. 0.5 each is Dice with
            twice the smoothing.
        level, average, smooth, background: As in Dice.

    Raises:
        ValueError: For options out of range, and for labels that there are not.

    Source: Li et al. 2020, equation 10; Salehi et al. 2017.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        level: Level = "element",
        average: Average = "macro",
        smooth: float = 1.0,
        background: Background = AUTO,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.read_overlap(level, average, smooth, background)
        self.alpha = self.read_number("alpha", alpha)
        self.beta = self.read_number("beta", beta)

    def weights(self) -> Tuple[float, float, float]:
        return self.alpha, self.beta, self.smooth
