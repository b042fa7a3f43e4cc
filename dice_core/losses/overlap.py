"""Losses of the overlap of what is predicted and what is gold: Dice and its kin."""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import ClassVar, List, Optional, Tuple, Union

from .. import arrays, formulas, options
from ..arrays import Array, namespace
from ..formulas import Mass
from ..labels import LabelSpec
from ..options import AUTO, AVERAGES, LEVELS, Average, Background, Level
from ..probabilities import Probabilities
from ..slopes import Slope
from ..targets import Targets
from .base import Loss


class _Overlap(Loss):
    """Losses that are 1 - F of soft counts (see `formulas.overlap`).

    A subclass says what stands for p in the counts (`soft`), if that is not p itself, and how
    they are weighed (`weights`).
    """

    trains_alone = False
    level: Level
    average: Average
    smooth: float
    background: Background
    log: bool = False
    squared: ClassVar[bool] = False

    def check_options(self) -> None:
        self.set_choice("level", LEVELS)
        self.set_choice("average", AVERAGES)
        self.set_number("smooth")
        self.set_option("background", options.background(self.background))
        self.set_flag("log")
        if self.log and not self.smooth:
            self.refuse(
                "log=True needs smooth above 0: without it, -log of a coefficient of 0 is infinite."
            )
        if self.level == "element":
            default = {field.name: field.default for field in fields(self)}
            for name, value in (("average", default["average"]), ("background", AUTO)):
                if getattr(self, name) != value:
                    self.refuse(
                        f'{name} says how the counts of a batch are read, and level="element" '
                        f'has none. Leave {name} out, or use level="batch".'
                    )

    @property
    def counts_over_batch(self) -> bool:
        return self.level == "batch"

    def weights(self) -> Tuple[float, float, float]:
        """alpha, beta and smooth of `formulas.overlap`."""
        return 0.5, 0.5, self.smooth / 2

    @property
    def is_plain(self) -> bool:
        """Whether a cell adds p itself, so that its slope is the same for all of a column."""
        return not self.squared

    def soft(self, probabilities: Probabilities) -> Tuple[Array, Array]:
        """What stands for p in the counts, ``(N, C)``, and its slope (see `formulas`)."""
        p = probabilities.p
        return p, p if probabilities.activation == "softmax" else p * probabilities.q()

    @property
    def is_steep(self) -> bool:
        """Whether slopes grow without bound as p goes to 1; see `Slope`."""
        return False

    def hits(self, mass: Mass, y: Array) -> Tuple[Array, Array]:
        """What cells add to the true positives, and its slope, for any targets."""
        return mass.hit * y, mass.hit_slope * y

    def gold(self, y: Array) -> Array:
        """What gold cells add."""
        return y * y if self.squared else y

    # -- counts of a batch --------------------------------------------------------------

    def n_totals(self, n_classes: int) -> int:
        return 3 * n_classes + 1 if self.level == "batch" else 0

    def blocks(self, probabilities: Probabilities, targets: Targets) -> Optional[List[slice]]:
        if self.is_plain and self.level == "batch" and _has_gold_columns(probabilities, targets):
            return None
        return super().blocks(probabilities, targets)

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        """Hits, predictions and gold of each class, and the number of rows."""
        if _has_gold_columns(probabilities, targets):
            hits, predicted, gold = self._counts_of_ids(probabilities, targets)
        else:
            dense, mass = targets.dense(), self._mass(probabilities)
            assert dense.y is not None
            cells = (self.hits(mass, dense.y)[0], mass.predicted, self.gold(dense.y))
            hits, predicted, gold = (dense.column_sums(_counted(c, dense)) for c in cells)
        xp = namespace(hits)
        return xp.concat([hits, predicted, gold, xp.reshape(targets.n_rows(), (1,))])

    def _counts_of_ids(
        self, probabilities: Probabilities, targets: Targets
    ) -> Tuple[Array, Array, Array]:
        ids, weights = targets.ids, targets.weights
        assert ids is not None
        if targets.counted is not None:
            weights = targets.counted if weights is None else weights * targets.counted
        every, gold = self._masses(probabilities, ids)
        if weights is None:
            hits, weights = gold.hit, arrays.full_like(gold.hit, 1.0)
        else:
            hits = gold.hit * weights
        n_gold = arrays.sum_by(weights, ids, targets.n_classes)
        return arrays.sum_by(hits, ids, targets.n_classes), weights @ every.predicted, n_gold

    def value_and_slope(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        has_gold_columns = _has_gold_columns(probabilities, targets)
        if self.level == "element":
            if has_gold_columns:
                return self._elements_of_ids(probabilities, targets)
            return self._elements(probabilities, targets.dense())
        value, by_hits, by_predicted = self._coefficient(totals, targets)
        value = value * targets.n_rows()
        if has_gold_columns:
            return value, self._slope_of_ids(probabilities, targets, by_hits, by_predicted)
        dense, mass = targets.dense(), self._mass(probabilities)
        assert dense.y is not None
        slope = self.hits(mass, dense.y)[1]
        slope *= by_hits
        slope += by_predicted * mass.predicted_slope
        return value, Slope(cells=_counted(slope, dense), steep=self.is_steep)

    def _slope_of_ids(
        self, probabilities: Probabilities, targets: Targets, by_hits: Array, by_predicted: Array
    ) -> Slope:
        ids, counted = targets.ids, targets.counted
        assert ids is not None
        every, gold = self._masses(probabilities, ids)
        at_gold = by_hits[ids] * gold.hit_slope
        if counted is not None:
            at_gold *= counted
        if self.is_plain:
            return Slope(columns=by_predicted, gold=at_gold)
        cells = by_predicted * every.predicted_slope
        if counted is not None:
            cells *= counted[:, None]
        arrays.add_at(cells, ids, at_gold)
        return Slope(cells=cells, steep=self.is_steep)

    def _coefficient(self, totals: Array, targets: Targets) -> Tuple[Array, Array, Array]:
        """The loss of the counts of a set, and its derivatives by hits and predictions, times the
        number of rows of the set.
        """
        n = targets.n_classes
        hits, predicted, gold = totals[:n], totals[n : 2 * n], totals[2 * n : 3 * n]
        spec = targets.spec
        background = self._background_columns(spec) if self.background else ()
        micro = self.average == "micro"
        if self.average == AUTO:
            micro = spec.positions or bool(background)
        if micro:  # false positives count also where the class is not gold in this batch
            counted = arrays.full_like(totals[:n], 1.0)
        else:
            counted = namespace(gold).sign(gold)
        for column in background:
            counted[column : column + 1] *= 0.0  # a number would be copied to a GPU, which waits
        return formulas.overlap_of_set(
            hits, predicted, gold, counted, micro, totals[3 * n], *self.weights(), self.log
        )

    # -- single cells -------------------------------------------------------------------

    def _elements_of_ids(
        self, probabilities: Probabilities, targets: Targets
    ) -> Tuple[Array, Slope]:
        """Of a softmax with one gold class a row."""
        assert targets.ids is not None
        how = (*self.weights()[::2], self.log)
        # Of all cells as if none were gold, and of the gold ones what is different.
        every, gold = self._masses(probabilities, targets.ids)
        reusable = every.predicted is not probabilities.p
        reusable = reusable and every.predicted is not every.predicted_slope
        value, cells = formulas.overlap_without_gold(every.predicted, *how, reusable)
        cells *= every.predicted_slope
        other, slope_of_other = formulas.overlap_without_gold(gold.predicted[:, None], *how)
        gold_value, by_hits, by_predicted = formulas.overlap(
            gold.hit, gold.predicted, 1.0, *self.weights(), self.log
        )
        by_predicted -= slope_of_other[:, 0]
        value = targets.weighted(value + (gold_value - other))
        slope = by_hits * gold.hit_slope + by_predicted * gold.predicted_slope
        return value, Slope(cells=cells, gold=slope, steep=self.is_steep)

    def _elements(self, probabilities: Probabilities, targets: Targets) -> Tuple[Array, Slope]:
        mass, y = self._mass(probabilities), targets.y
        assert y is not None
        hits, hits_slope = self.hits(mass, y)
        value, by_hits, by_predicted = formulas.overlap(
            hits, mass.predicted, self.gold(y), *self.weights(), self.log
        )
        by_hits *= hits_slope
        by_predicted *= mass.predicted_slope
        by_hits += by_predicted
        slope = Slope(cells=targets.known_only(by_hits), steep=self.is_steep)
        return targets.weighted(arrays.row_sums(targets.known_only(value))), slope

    # -- what they share ----------------------------------------------------------------

    def _mass(self, probabilities: Probabilities) -> Mass:
        """Of all cells."""

        def make() -> Mass:
            return formulas.soft_mass(*self.soft(probabilities), self.squared)

        return probabilities.once(make, self)

    def _masses(self, probabilities: Probabilities, ids: Array) -> Tuple[Mass, Mass]:
        """Of a softmax: of all cells, and of the gold ones, ``(N,)``."""

        def make() -> Tuple[Mass, Mass]:
            p, j = self.soft(probabilities)
            at = probabilities.gather(ids) if p is probabilities.p else arrays.gather(p, ids)
            j_at = at if j is p else arrays.gather(j, ids)
            squared = self.squared
            return formulas.soft_mass(p, j, squared), formulas.soft_mass(at, j_at, squared)

        # Single cells have no totals, so that the arrays are needed once.
        return make() if self.level == "element" else probabilities.once(make, self, ids)

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if spec.positions and self.level == "batch" and self.average == "macro":
            raise spec.config_error(
                f"the classes of {self.name()} are positions in a text here, over which a mean "
                'means nothing. Set average="micro", or use activation="sigmoid", whose classes '
                "are start and end."
            )
        columns = self._background_columns(spec)
        if self.background == AUTO or spec.names is None:
            return
        if len(set(columns)) == len(spec.names):
            raise spec.config_error(
                "background names every label, so that nothing is left to count."
            )

    def _background_columns(self, spec: LabelSpec) -> List[int]:
        if self.background == AUTO:
            return _columns(spec, spec.background, "its background")
        labels = options.background(self.background)
        assert isinstance(labels, tuple)
        return _columns(spec, labels, "background")


@lru_cache(maxsize=64)  # asked for in each step of a parser
def _columns(spec: LabelSpec, wanted: Tuple[Union[str, int], ...], option: str) -> List[int]:
    return spec.columns(wanted, option)


def _has_gold_columns(probabilities: Probabilities, targets: Targets) -> bool:
    """Whether rows share 1 among the classes, of which one is gold."""
    return probabilities.activation == "softmax" and targets.ids is not None


def _counted(cells: Array, targets: Targets) -> Array:
    cells = targets.known_only(cells)
    return cells if targets.counted is None else cells * targets.counted[:, None]


@dataclass(frozen=True, kw_only=True)
class Dice(_Overlap):
    """The Dice loss, DL: 1 - (2 p y + smooth) / (p^2 + y^2 + smooth).

    Alone and at element level it does not train a tagger with a frequent background: its
    gradient vanishes as p(gold) goes to 0. See DiceCE. With soft targets it is least at p = 1,
    not at p = y: see SemimetricDice.

    Args:
        level: "element", each cell a binary view on its own and all of them summed, as
            published; or "batch", one soft count over the batch, times its number of rows.
        average: For batches: "macro", the mean over the classes that are gold in the batch;
            "micro", the counts of all classes pooled; or "auto", micro where there is a
            background and macro where there is none (pooled counts of all classes are but the
            expected accuracy).
        smooth: Added above and below, from 0 on.
        squared: The published denominator; false is p + y.
        log: -log of the coefficient instead of 1 minus it; needs smooth above 0.
        background: Classes left out of set-level counts: "auto", those that the component or
            the model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range or that do nothing together, and for labels that
            there are not.

    Source: Li et al. 2020, equations 7 and 8.
    """

    level: Level = "element"
    average: Average = "macro"
    smooth: float = 1.0
    squared: bool = True  # type: ignore[misc]
    log: bool = False
    background: Background = AUTO

    def check_options(self) -> None:
        super().check_options()
        self.set_flag("squared")


@dataclass(frozen=True, kw_only=True)
class SemimetricDice(_Overlap):
    """Dice for soft targets: 1 - (2 TP + smooth) / (sum of p + sum of y + smooth).

    TP is the sum of (p + y - |p - y|) / 2, the smaller of p and y. It equals Dice (not squared)
    where targets are 0 or 1, and for soft ones, such as smoothed or distilled labels or shares of
    annotators, it is least at p = y, where Dice is least at p = 1.

    Args:
        level: "element", each cell a binary view on its own and all of them summed; or "batch",
            one soft count over the batch, times its number of rows.
        average: For batches: "macro", the mean over the classes that are gold in the batch;
            "micro", the counts of all classes pooled; or "auto", micro where there is a
            background and macro where there is none.
        smooth: Added above and below, from 0 on.
        log: -log of the coefficient instead of 1 minus it; needs smooth above 0.
        background: Classes left out of set-level counts: "auto", those that the component or
            the model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range or that do nothing together, and for labels that
            there are not.

    Source: Wang et al. 2023, "Dice Semimetric Losses: Optimizing the Dice Score with Soft Labels".
    """

    level: Level = "element"
    average: Average = "macro"
    smooth: float = 1.0
    log: bool = False
    background: Background = AUTO

    def hits(self, mass: Mass, y: Array) -> Tuple[Array, Array]:
        xp = namespace(y)
        grows = xp.astype(mass.hit < y, y.dtype)
        return xp.minimum(mass.hit, y), mass.hit_slope * grows


@dataclass(frozen=True, kw_only=True)
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
        squared: The denominator of the paper's released runs: the square of (1-p)^alpha p, and of
            y, in place of themselves.
        level: "element", each cell a binary view on its own and all of them summed, as
            published; or "batch", one soft count over the batch, times its number of rows.
        average: For batches: "macro", the mean over the classes that are gold in the batch;
            "micro", the counts of all classes pooled; or "auto", micro where there is a
            background and macro where there is none.
        detach_weight: The gradient does not go through (1-p)^alpha.
        background: Classes left out of set-level counts: "auto", those that the component or
            the model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range or that do nothing together, and for labels that
            there are not.

    Source: Li et al. 2020, equation 11, and its released code for ``squared``.
    """

    alpha: float = 1.0
    smooth: float = 1.0
    squared: bool = False  # type: ignore[misc]
    level: Level = "element"
    average: Average = "macro"
    detach_weight: bool = False
    background: Background = AUTO

    def check_options(self) -> None:
        super().check_options()
        self.set_number("alpha")
        self.set_flag("squared")
        self.set_flag("detach_weight")

    @property
    def is_plain(self) -> bool:
        return False

    @property
    def is_steep(self) -> bool:
        return 0 < self.alpha < 1 and not self.detach_weight

    def soft(self, probabilities: Probabilities) -> Tuple[Array, Array]:
        if probabilities.activation == "softmax" and self.alpha != 1:
            ids, p_top, rest, q_top = probabilities.top()
            top = ids, p_top, q_top
            return formulas.self_adjusted_softmax(rest, top, self.alpha, self.detach_weight)
        p, q = probabilities.p, None
        if probabilities.activation == "sigmoid":
            q = probabilities.q()
            if self.alpha < 1:
                # The loss is a function of p as a float: where that is 1, (1-p)^alpha is 0.
                q = namespace(q).where(p < 1, q, 0.0)
        return formulas.self_adjusted(p, q, self.alpha, self.detach_weight)


@dataclass(frozen=True, kw_only=True)
class Tversky(_Overlap):
    """The Tversky loss, TL: 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth).

    Args:
        alpha: The cost of a false positive, from 0 on.
        beta: The cost of a false negative, from 0 on: raise it for recall. 0.5 each is Dice with
            twice the smoothing.
        level: "element", each cell a binary view on its own and all of them summed, as
            published; or "batch", one soft count over the batch, times its number of rows.
        average: For batches: "macro", the mean over the classes that are gold in the batch;
            "micro", the counts of all classes pooled; or "auto", micro where there is a
            background and macro where there is none.
        smooth: Added above and below, from 0 on.
        background: Classes left out of set-level counts: "auto", those that the component or
            the model names (NER's O); None, none; or one or more labels or class ids.

    Raises:
        ValueError: For options out of range or that do nothing together, and for labels that
            there are not.

    Source: Li et al. 2020, equation 10; Salehi et al. 2017.
    """

    alpha: float = 0.5
    beta: float = 0.5
    level: Level = "element"
    average: Average = "macro"
    smooth: float = 1.0
    background: Background = AUTO

    def check_options(self) -> None:
        super().check_options()
        self.set_number("alpha")
        self.set_number("beta")

    def weights(self) -> Tuple[float, float, float]:
        return self.alpha, self.beta, self.smooth
