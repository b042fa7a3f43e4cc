"""The losses, as torch modules: ``loss(logits, targets, mask=None)``.

Conventions they share:

- logits ``(N, C)``, of any float type, one row a token (or text) and one column a class;
  targets are class ids ``(N,)`` or rows ``(N, C)``; mask is None, ``(N,)`` or ``(N, C)``. See
  `targets.read_targets`. The result is a scalar, float32 (float64 for float64 logits), also
  inside autocast.
- ``reduction="sum"`` is the loss summed over rows. Set-level losses, one number for a batch,
  are multiplied by the number of its rows, so that they weigh as much beside a cross-entropy as
  a mean of either would. ``"mean"`` is that over the number of rows with any known cell.
  Flair back-propagates sums, and Flair's models take the sum whatever ``reduction`` is.
- masked (missing) cells add nothing and get no gradient. No rows at all give 0.

How logits are read is the model's business inside Flair. Outside of it, ``names`` gives the
label of each column and ``activation`` ("softmax" or "sigmoid") says what they are logits of.
"""

import inspect
import math
from typing import Any, Dict, Iterator, List, Optional, Sequence, Type, Union

import torch
from torch import Tensor

from . import formulas, tags
from .heads import ACTIVATIONS, Head, TokenHead, widen
from .schedules import Weight
from .targets import Labels, Targets, read_targets
from .totals import whole

Background = Union[str, int, List[Union[str, int]], None]
AUTO = "auto"
LEVELS = ("example", "batch")
AVERAGES = ("micro", "macro")
REDUCTIONS = ("mean", "sum")


class Loss(torch.nn.Module):
    """What all losses share: reading logits and targets, reduction, and what is saved of it.

    A subclass overrides `total`, keeps every argument of its constructor in an attribute of the
    same name, and overrides `check` if some labels do not suit it.
    """

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        activation: str = "softmax",
        reduction: str = "mean",
    ):
        super().__init__()
        self.names = None if names is None else tuple(names)
        self.activation = self._one_of("activation", activation, tuple(ACTIVATIONS))
        self.reduction = self._one_of("reduction", reduction, REDUCTIONS)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        mask: Optional[Tensor] = None,
        lengths: Optional[Sequence[int]] = None,
    ) -> Tensor:
        """The loss, a scalar.

        logits: floats ``(N, C)``; ``-inf`` rules a class out. targets: class ids ``(N,)`` or rows
        ``(N, C)``. mask: None, ``(N,)`` or ``(N, C)``, 1 where the truth is known. lengths: rows
        of each sentence, which EntityDice reads. Raises a ValueError for shapes that do not
        match, class ids out of range and options that do not fit the labels.
        """
        labels = Labels(f"flair_dice.{type(self).__name__}", self.names)
        if logits.ndim != 2 or not logits.shape[1] or not logits.is_floating_point():
            raise ValueError(
                f"{labels.owner}: logits must be floats (rows, classes), got "
                f"{tuple(logits.shape)} of {logits.dtype}."
            )
        if self.names is not None and len(self.names) != logits.shape[1]:
            raise ValueError(
                f"{labels.owner}: {len(self.names)} names for {logits.shape[1]} columns of logits."
            )
        self.check(labels)
        with torch.autocast(logits.device.type, enabled=False):
            wide = widen(logits)
            read = read_targets(targets, mask, wide, labels, lengths)
            if read.mask is not None:
                # A softmax would spread the gradient of known cells over masked ones.
                wide = torch.where(read.mask > 0, wide, wide.detach())
            value = self.total(TokenHead(wide, self.activation), read)
            return value if self.reduction == "sum" else value / read.n_rows().clamp(min=1.0)

    def total(self, head: Head, targets: Targets) -> Tensor:
        """The loss summed over rows (see above): a scalar."""
        raise NotImplementedError

    def check(self, labels: Labels) -> None:
        """Raise a ValueError if this loss cannot be used with these labels."""
        if self.names is not None and labels.names is not None and self.names != labels.names:
            raise ValueError(
                f"{labels.owner}: the loss was made for the labels {', '.join(self.names)}, but "
                f"the labels here are {', '.join(labels.names)}. Leave names out: a model gives "
                "its own."
            )

    @property
    def set_level(self) -> bool:
        """Whether it has one count over a batch, so that it matters what is in the batch."""
        return False

    def weights_in_use(self) -> Iterator[Weight]:
        """The weights of terms, of this loss and all that are in it."""
        return iter(())

    def step_schedules(self, epoch: float) -> None:
        """Set scheduled weights to what they are at this epoch, counted from 0, before an
        update. `LossPlugin` does it in Flair's trainer."""
        for weight in self.weights_in_use():
            weight.step(epoch)

    def to_dict(self) -> Dict[str, Any]:
        """Plain values from which `make_loss` makes the loss again: ``{"name": ..., ...}``."""
        values = {"name": type(self).__name__}
        values.update({key: getattr(self, key) for key in _own_parameters(type(self))})
        return {**values, **self._reading()}

    def _reading(self) -> Dict[str, Any]:
        """How logits are read, where it is not as by default."""
        values: Dict[str, Any] = {} if self.names is None else {"names": list(self.names)}
        if self.activation != "softmax":
            values["activation"] = self.activation
        if self.reduction != "mean":
            values["reduction"] = self.reduction
        return values

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in Loss.to_dict(self).items() if k != "name")

    # -- reading parameters -------------------------------------------------------------

    def _mistake(self, message: str) -> ValueError:
        return ValueError(f"flair_dice.{type(self).__name__}: {message}")

    def _number(self, name: str, value: Any, low: float = 0.0) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._mistake(f"{name} must be a number, got {value!r}.")
        if not (value >= low and math.isfinite(value)):
            raise self._mistake(f"{name} must be a finite number from {low:g} on, got {value!r}.")
        return float(value)

    def _flag(self, name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._mistake(f"{name} must be true or false, got {value!r}.")
        return value

    def _one_of(self, name: str, value: Any, options: Sequence[str]) -> str:
        if value not in options:
            raise self._mistake(f"{name} must be one of {', '.join(options)}, got {value!r}.")
        return value


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    gamma = 0.0

    def total(self, head: Head, targets: Targets) -> Tensor:
        y, known = targets.y, targets.known()
        negative = targets.negatives() if head.activation == "softmax" else (1.0 - y) * known
        positive, negative = self.weigh(y * known, negative, targets, head.activation)
        return formulas.log_loss(head.view, positive, negative, self.gamma).sum()

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        return positive, negative


class CrossEntropy(_LogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    label_smoothing: in [0, 1), how much of a one-hot truth is spread evenly over the other
    classes. class_weights: a factor for each label, by name or a list by class id; labels that
    are not named have 1.

    In a model with a CRF it is the CRF's own loss, the negative log-likelihood of the whole
    sequence of tags (Flair's ViterbiLoss), and takes neither of the two.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Union[Dict[str, float], List[float], None] = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.label_smoothing = self._number("label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise self._mistake(f"label_smoothing must be below 1, got {label_smoothing!r}.")
        self.class_weights = _per_label(self, "class_weights", class_weights)

    def total(self, head: Head, targets: Targets) -> Tensor:
        if targets.labels.crf:
            return head.negative_log_likelihood()  # type: ignore[attr-defined]
        y = targets.y
        if self.label_smoothing and y.shape[1] > 1:
            e = self.label_smoothing
            y = y * (1 - e) + (y.sum(dim=1, keepdim=True) - y) * e / (y.shape[1] - 1)
            targets = Targets(y, targets.labels, targets.mask, targets.lengths, targets.total)
        return super().total(head, targets)

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        if self.class_weights is None:
            return positive, negative
        factors = _row_of(self.class_weights, targets.labels, "class_weights", positive, 1.0)
        return positive * factors, negative * factors

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.class_weights, labels, "class_weights")
        if labels.crf and (self.label_smoothing or self.class_weights is not None):
            raise ValueError(
                f"{labels.owner}: with a CRF, CrossEntropy is the likelihood of whole sequences, "
                "which has no label_smoothing and no class_weights. Leave them out, use "
                "use_crf=False, or use WeightedCrossEntropy, which takes the CRF's marginals."
            )


class WeightedCrossEntropy(_LogLoss):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    K: at least 1. counts: how often each label occurs in the training data (n_t; n is their
    sum), by name or a list by class id. Without them the counts are those of the batches
    seen in training so far, this one included; they are not saved, and each process of a
    distributed training has its own. For sigmoids each class is a binary view with the counts
    of its own positives and negatives. In a model with a CRF it takes the tokens' marginals.
    Source: Li et al. 2020, section 3.2.
    """

    def __init__(
        self,
        *,
        K: float = 3.0,
        counts: Union[Dict[str, int], List[int], None] = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.K = self._number("K", K, low=1.0)
        self.counts = _per_label(self, "counts", counts)
        self._seen: Optional[Tensor]
        self.register_buffer("_seen", None, persistent=False)

    def weigh(self, positive: Tensor, negative: Tensor, targets: Targets, activation: str) -> Any:
        if self.counts is not None:
            counts = _row_of(self.counts, targets.labels, "counts", positive, 0.0)
            n = counts.sum()
        else:
            seen = torch.cat([positive.sum(dim=0), targets.n_rows()[None]]).double()
            if self._seen is not None and self._seen.shape == seen.shape:
                seen = self._seen.to(seen.device) + seen
            if self.training and torch.is_grad_enabled():
                self._seen = seen
            seen = seen.to(positive.dtype)
            counts, n = seen[:-1], seen[-1]
        positive = positive * formulas.log_inverse_frequency(counts, n, self.K)
        if activation == "sigmoid":
            rest = (n - counts).clamp(min=0.0)
            negative = negative * formulas.log_inverse_frequency(rest, n, self.K)
        return positive, negative

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.counts, labels, "counts")
        if isinstance(self.counts, dict) and labels.names is not None:
            absent = [name for name in labels.names if name not in self.counts]
            if absent:
                raise ValueError(
                    f"{labels.owner}: counts lacks the labels {', '.join(absent)}. Give the count "
                    "of each label, or leave counts out."
                )


class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    gamma: from 0 (cross-entropy) on. In a model with a CRF it takes the tokens' marginals.
    Source: Li et al. 2020, section 3.4; Lin et al. 2017.
    """

    def __init__(self, *, gamma: float = 2.0, **reading: Any):
        super().__init__(**reading)
        self.gamma = self._number("gamma", gamma)


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


class Compound(Loss):
    """The weighted sum of other losses.

    losses: the terms, by name or as a list; each a loss, a name or a dict (see `make_loss`).
    weights: for each term, by name or as a list, a number from 0 on, a `Ramp`, or an iterator of
    numbers of which each update takes the next and the last is kept; without weights all are 1.
    `LossPlugin` (or `step_schedules`, in a training loop of your own) makes them go on.
    """

    def __init__(self, losses: Any, weights: Any = None, **reading: Any):
        super().__init__(**reading)
        terms = {str(name): make_loss(spec) for name, spec in self._as_dict(losses).items()}
        if not terms:
            raise self._mistake("losses is empty; give it at least one loss.")
        given = {} if weights is None else self._as_dict(weights)
        given = {str(name): weight for name, weight in given.items()}
        unknown = [name for name in given if name not in terms]
        if unknown or (isinstance(weights, (list, tuple)) and len(given) != len(terms)):
            raise self._mistake(
                f"weights must name terms of losses ({', '.join(terms)}), got {', '.join(given)}."
            )
        self.losses: Any = torch.nn.ModuleDict(terms)
        owner = f"flair_dice.{type(self).__name__}: the weight of "
        self.weights = {n: Weight(given.get(n, 1.0), f"{owner}{n!r}") for n in terms}

    def total(self, head: Head, targets: Targets) -> Tensor:
        value = head.view.p.sum() * 0.0
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            if weight:
                value = value + weight * loss.total(head, targets)
        return value

    def check(self, labels: Labels) -> None:
        super().check(labels)
        for loss in self.losses.values():
            loss.check(labels)

    @property
    def set_level(self) -> bool:
        return any(loss.set_level for loss in self.losses.values())

    def weights_in_use(self) -> Iterator[Weight]:
        yield from self.weights.values()
        for loss in self.losses.values():
            yield from loss.weights_in_use()

    def to_dict(self) -> Dict[str, Any]:
        return {
            "name": type(self).__name__,
            "losses": {name: loss.to_dict() for name, loss in self.losses.items()},
            "weights": {name: weight.to_dict() for name, weight in self.weights.items()},
            **self._reading(),
        }

    def extra_repr(self) -> str:
        return f"weights={self.weights}"

    def _as_dict(self, values: Any) -> Dict[Any, Any]:
        if isinstance(values, dict):
            return dict(values)
        if isinstance(values, (list, tuple)):
            return dict(enumerate(values))
        raise self._mistake(f"expected names or a list, got {values!r}.")


class DiceCE(Compound):
    """The default recipe: cross-entropy + weight x set-level macro Dice.

    weight: of the Dice term, a number or a schedule (see Compound). The other parameters are
    Dice's, with the defaults that train: one count over the batch, not squared. In a model with
    a CRF the cross-entropy is the CRF's likelihood and the Dice is over the tokens' marginals.
    """

    def __init__(
        self,
        *,
        weight: Any = 1.0,
        level: str = "batch",
        average: str = "macro",
        smooth: float = 1.0,
        squared: bool = False,
        log: bool = False,
        background: Background = AUTO,
        **reading: Any,
    ):
        dice = Dice(
            level=level,
            average=average,
            smooth=smooth,
            squared=squared,
            log=log,
            background=background,
        )
        terms = {"cross_entropy": CrossEntropy(), "dice": dice}
        super().__init__(terms, {"dice": weight}, **reading)

    def to_dict(self) -> Dict[str, Any]:
        values: Dict[str, Any] = {"name": type(self).__name__}
        values["weight"] = self.weights["dice"].to_dict()
        dice = self.losses["dice"].to_dict()
        values.update({key: value for key, value in dice.items() if key != "name"})
        return {**values, **self._reading()}


def make_loss(spec: Any, owner: str = "flair_dice.make_loss") -> Loss:
    """A loss from what users write and files hold: a loss; the name of one; or a dict of its
    name and parameters, ``{"name": "DiceCE", "weight": 1.0}``, as `Loss.to_dict` gives.

    Subclasses of `Loss` by third parties are found by their names once they are imported.
    Raises a ValueError that names ``owner`` for anything else.
    """
    if isinstance(spec, Loss):
        return spec
    parameters = {"name": spec} if isinstance(spec, str) else spec
    if not (isinstance(parameters, dict) and isinstance(parameters.get("name"), str)):
        raise ValueError(
            f"{owner}: loss must be a loss of flair_dice, the name of one, or a dict such as "
            f"{{'name': 'DiceCE', 'weight': 1.0}}, got {spec!r}. For a loss of your own, make a "
            "subclass of flair_dice.Loss."
        )
    known = {cls.__name__: cls for cls in _subclasses(Loss)}
    name = parameters["name"]
    if name not in known:
        raise ValueError(
            f"{owner}: there is no loss {name!r}. There are: {', '.join(sorted(known))}. If a "
            "later version of flair_dice or a package of its own has it, install or import that."
        )
    arguments = {key: value for key, value in parameters.items() if key != "name"}
    allowed = {*_own_parameters(known[name]), *_own_parameters(Loss)}
    unknown = [key for key in arguments if key not in allowed]
    if unknown:
        raise ValueError(
            f"{owner}: {name} has no option {', '.join(unknown)}. It has: "
            f"{', '.join(sorted(allowed))}. If a later version of flair_dice has it, install that."
        )
    return known[name](**arguments)


def _subclasses(cls: Type[Loss]) -> Iterator[Type[Loss]]:
    """All losses below a class that can be made; those with an underscore are bases."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _subclasses(subclass)


def _own_parameters(cls: Type[Loss]) -> List[str]:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]


def _times_rows(value: Tensor, targets: Targets) -> Tensor:
    """A set's loss times its number of rows. Of a part of a set, the value is the part's share
    by its rows and the gradient is the part's share of the whole (see totals.py)."""
    n = targets.n_rows()
    if targets.total is whole:
        return n * value
    return formulas.replace_value(targets.total(n) * value, n * value)


def _per_label(loss: Loss, name: str, values: Any) -> Any:
    if values is None:
        return None
    if isinstance(values, dict):
        return {key: loss._number(f"{name}[{key!r}]", v) for key, v in values.items()}
    if isinstance(values, (list, tuple)):
        return [loss._number(f"{name}[{i}]", v) for i, v in enumerate(values)]
    raise loss._mistake(f"{name} must be a dict of label: number, or a list, got {values!r}.")


def _check_per_label(values: Any, labels: Labels, option: str) -> None:
    if isinstance(values, dict):
        labels.columns(list(values), option)
    elif values is not None and labels.names is not None and len(values) != len(labels.names):
        raise ValueError(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(labels.names)} labels."
        )


def _row_of(values: Any, labels: Labels, option: str, like: Tensor, default: float) -> Tensor:
    """``(C,)``: a number for each column, from numbers by label or by class id."""
    row = like.new_full((like.shape[1],), default)
    if isinstance(values, dict):
        columns = labels.columns(list(values), option)
        row[columns] = like.new_tensor(list(values.values()))
    elif len(values) != len(row):
        raise ValueError(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(row)} classes."
        )
    else:
        row[:] = like.new_tensor(values)
    return row
