"""Losses of the overlap of what is predicted and what is true: Dice and its kin."""

from typing import Any, List, Union

from torch import Tensor

from .. import formulas, tags
from ..heads import Head
from ..targets import Labels, Targets
from ..totals import whole
from .base import Loss

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
        self.smooth = smooth
        if background is None or background == AUTO:
            self.background: Union[str, List[Union[str, int]]] = background or []
        elif isinstance(background, (str, int)):
            self.background = [background]
        else:
            self.background = list(background)

    @property
    def set_level(self) -> bool:
        return self.level == "batch"

    def soft_counts(self, view: formulas.View, y: Tensor) -> formulas.Counts:
        raise NotImplementedError

    def total(self, head: Head, targets: Targets) -> Tensor:
        counts = self.soft_counts(head.view, targets.y)
        known = targets.known()
        if self.level == "example":
            return (formulas.per_cell(counts, self.smooth, self.log) * known).sum()
        present = (targets.total((targets.y * known).sum(dim=0)) > 0).to(known.dtype)
        present[self._background_columns(targets.labels)] = 0.0
        micro = self.average == "micro"
        value = formulas.per_set(
            counts, known, present, self.smooth, self.log, micro, targets.total
        )
        return _times_rows(value, targets)

    def check(self, labels: Labels) -> None:
        super().check(labels)
        columns = self._background_columns(labels)
        if self.background == AUTO or labels.names is None:
            return
        if len(set(columns)) == len(labels.names):
            raise ValueError(
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
    minus it. background: classes left out of set-level counts: "auto", those that the model
    names (a tagger's O); None, none; or one or more labels or class ids.

    Alone and at example level it does not train a tagger with a frequent background: its
    gradient vanishes as p(gold) goes to 0. See DiceCE. With soft targets it is least at
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
        self._read(level, average, self._number("smooth", smooth), background)
        self.squared = self._flag("squared", squared)
        self.log = self._flag("log", log)

    def soft_counts(self, view: formulas.View, y: Tensor) -> formulas.Counts:
        return formulas.dice_counts(view, y, self.squared)


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

    def soft_counts(self, view: formulas.View, y: Tensor) -> formulas.Counts:
        return formulas.self_adjusting_counts(view, y, self.alpha, self.hold_weight)


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
        self._read(level, average, self._number("smooth", smooth), background)
        self.alpha = self._number("alpha", alpha)
        self.beta = self._number("beta", beta)

    def soft_counts(self, view: formulas.View, y: Tensor) -> formulas.Counts:
        return formulas.tversky_counts(view, y, self.alpha, self.beta)


class EntityDice(Loss):
    """1 - soft F-beta over whole entities, times the number of rows: for BIOES, BILUO and BIO.

    An entity is found with the probability that its tags are predicted exactly: the product of
    p(gold tag) over its tokens or, with a CRF, the marginal of its span. The expected number of
    predictions is the sum of p over tags that start one. smooth: added above and below.
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

    @property
    def set_level(self) -> bool:
        return True

    def check(self, labels: Labels) -> None:
        super().check(labels)
        if labels.names is None:
            raise ValueError(
                f"{labels.owner}: EntityDice needs the tag of each column. Pass names=[...]."
            )
        if not labels.sequence or not tags.is_scheme(labels.names):
            raise ValueError(
                f"{labels.owner}: EntityDice needs tags of entities over tokens (BIOES, BILUO or "
                "BIO), as SequenceTagger has for spans. Use another loss here, e.g. DiceCE."
            )

    def total(self, head: Head, targets: Targets) -> Tensor:
        assert targets.labels.names is not None
        scheme = tags.Scheme(targets.labels.names)
        ids = targets.ids()
        paths = scheme.gold_paths(ids, targets.lengths or [len(ids)], head.view.p)
        found = (head.path_probabilities(paths) * paths.signs).sum()
        starts = head.view.p[:, scheme.starts] * targets.known()[:, scheme.starts]
        n_spans = found.new_tensor(float(paths.n_spans))
        value = formulas.entity_dice(
            found, starts.sum(), n_spans, self.smooth, self.beta, self.log, targets.total
        )
        return _times_rows(value, targets)


def _times_rows(value: Tensor, targets: Targets) -> Tensor:
    """A set's loss times its number of rows. Of a part of a set, the value is the part's share
    by its rows and the gradient is the part's share of the whole (see totals.py)."""
    n = targets.n_rows()
    if targets.total is whole:
        return n * value
    return formulas.replace_value(targets.total(n) * value, n * value)
