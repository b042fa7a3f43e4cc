"""The losses, as thinc losses: `loss(guesses, truths) -> (gradient, value)`.

Every loss here is registered as ``spacy_dice.<Name>.v1``. Conventions they share:

- guesses are probabilities ``(N, C)``, float, or a list of such arrays, one a document;
  truths are class ids, one-hot (or soft) rows, or label strings. See `targets.read_truths`.
- ``value`` is the loss itself, summed over rows as spaCy's own gradients are. Set-level
  losses, one number for a batch, are multiplied by the number of its rows, so that they
  weigh as much beside a cross-entropy as a mean of either would, and so that ``grad_clip``
  and a shared tok2vec see the magnitudes that they see with stock losses.
- the gradient has the guesses' shape and type, and is computed in float32 at least.
- masked (missing) cells add nothing and get no gradient.

How the guesses are read is the component's business inside a pipeline. Outside of one, it
is given in Python: ``names`` (label of each column), ``missing_value``, ``neg_prefix``,
``activation`` ("softmax" or "sigmoid", what made the guesses) and ``wrt`` ("logits" or
"probabilities", by what the gradient is wanted; thinc's Softmax wants "logits").
"""

import inspect
import math
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy
from thinc.api import get_array_module
from thinc.loss import Loss as ThincLoss

from . import biluo, formulas
from .errors import diverged, mistake
from .heads import ACTIVATIONS, WRT, Head
from .targets import Labels, Targets, read_truths

Array = Any
Background = Union[str, int, List[Union[str, int]], None]
AUTO = "auto"
LEVELS = ("example", "batch")
AVERAGES = ("micro", "macro")


class Loss(ThincLoss):
    """What all losses share: reading guesses and truths, and giving gradients back.

    A subclass overrides `slope`, and `check` if some labels do not suit it.
    """

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        missing_value: Optional[Union[str, int]] = None,
        neg_prefix: Optional[str] = None,
        activation: str = "softmax",
        wrt: str = "logits",
    ):
        self.names = None if names is None else tuple(names)
        self.missing_value = missing_value
        self.neg_prefix = neg_prefix
        self.head = Head(
            self._one_of("activation", activation, ACTIVATIONS), self._one_of("wrt", wrt, WRT)
        )

    __signature__: inspect.Signature

    def __init_subclass__(cls, **kwargs: Any):
        # In a config the component says how guesses are read: those arguments are not the
        # user's there, so the signature that spaCy's config system sees is without them.
        super().__init_subclass__(**kwargs)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        cls.__signature__ = inspect.Signature(
            [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        )

    def __call__(self, guesses: Any, truths: Any) -> Tuple[Any, float]:
        """Gradient and value.

        guesses: floats ``(N, C)`` in [0, 1], or a list of such arrays. truths: see
        `targets.read_truths`. RETURNS the gradient, shaped as the guesses, and a float.
        Raises a ConfigValidationError for guesses out of range, unknown labels and shapes
        that do not match.
        """
        labels = Labels(type(self).__name__, self.names)
        lengths = None
        like = guesses
        if isinstance(guesses, (list, tuple)):
            if not guesses and not len(truths):
                return [], 0.0
            lengths = [len(part) for part in guesses]
            like = stack(guesses)
        if like.ndim != 2:
            raise mistake(
                f"{labels.owner}: guesses must have rows and columns, got shape {like.shape}."
            )
        self.check(labels)
        if self.names is not None and len(self.names) != like.shape[1]:
            raise mistake(
                f"{labels.owner}: {len(self.names)} names for {like.shape[1]} columns of guesses."
            )
        targets = read_truths(
            truths, like.shape[1], labels, like, lengths, self.missing_value, self.neg_prefix
        )
        return self.compute(guesses, targets, self.head)

    def get_grad(self, guesses: Any, truths: Any) -> Any:
        """The gradient alone; see `__call__`."""
        return self(guesses, truths)[0]

    def get_loss(self, guesses: Any, truths: Any) -> float:
        """The value alone; see `__call__`."""
        return self(guesses, truths)[1]

    def compute(self, guesses: Any, targets: Targets, head: Head) -> Tuple[Any, float]:
        """Gradient and value for targets and a head that a component has read already."""
        stacked = stack(guesses) if isinstance(guesses, (list, tuple)) else guesses
        xp = get_array_module(stacked)
        p = stacked if stacked.dtype == "float64" else stacked.astype("float32")
        if p.size and not (p.min() >= 0 and p.max() <= 1 + 1e-4):
            if xp.isnan(p).any():
                raise diverged(targets.labels.owner)
            raise mistake(
                f"{targets.labels.owner}: guesses must be probabilities, from 0 to 1, but range "
                f"from {float(p.min())} to {float(p.max())}."
            )
        # At exactly 0 some ratios are 0/0; next to 0 they are what they tend to.
        p = xp.clip(p, xp.finfo(p.dtype).tiny * 16, 1.0)
        targets.y = targets.y.astype(p.dtype, copy=False)
        if not p.size:
            gradient, value = xp.zeros_like(p), 0.0
        else:
            value, gradient = self.gradient(p, targets, head)
        gradient = gradient.astype(stacked.dtype, copy=False)
        if isinstance(guesses, (list, tuple)):
            ends = numpy.cumsum([len(part) for part in guesses]).tolist()
            starts = [0] + ends[:-1]
            return [gradient[i:j] for i, j in zip(starts, ends)], float(value)
        return gradient, float(value)

    def gradient(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        """Value, and the gradient that the head wants, for p ``(N, C)``, N > 0."""
        value, slope = self.slope(p, targets, head)
        gradient = head.gradient(p, slope)
        return value, gradient if targets.mask is None else gradient * targets.mask

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        """Value and slope (see formulas) for p ``(N, C)``, N > 0."""
        raise NotImplementedError

    def check(self, labels: Labels) -> None:
        """Raise a ConfigValidationError if this loss cannot be used with these labels."""
        if self.names is not None and labels.names is not None and self.names != labels.names:
            raise mistake(
                f"{labels.owner}: the loss was made for the labels {', '.join(self.names)}, but "
                f"the labels here are {', '.join(labels.names)}. Leave names out: a component "
                "gives its own."
            )
        if labels.label_smoothing and not self.smooths:
            raise mistake(
                f"{labels.owner}: its label_smoothing is for a cross-entropy, and "
                f"spacy_dice.{type(self).__name__}.v1 has none. Set label_smoothing to 0."
            )

    def step_schedules(self) -> None:
        """Go on to the next step of the schedules in this loss, once an update."""

    def is_stock(self) -> bool:
        """Whether this loss, alone in a stock component, is the component's own."""
        return False

    # Whether a term of this loss obeys a component's own label_smoothing.
    smooths = False

    # -- reading parameters -------------------------------------------------------------

    def _mistake(self, message: str) -> Exception:
        return mistake(f"spacy_dice.{type(self).__name__}.v1: {message}")

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


def stack(guesses: Sequence[Array]) -> Array:
    """One array of all documents' rows."""
    if not guesses:
        return numpy.zeros((0, 0), dtype="float32")
    return get_array_module(guesses[0]).concatenate(list(guesses))


class _LogLoss(Loss):
    """Cross-entropies: rows of "is this class", and for sigmoids also of "is not"."""

    gamma = 0.0

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        y, known = targets.y, targets.known()
        if head.activation == "softmax":
            positive, negative = y * known, targets.negatives()
        else:
            positive, negative = y * known, (1.0 - y) * known
        positive, negative = self.weigh(positive, negative, targets, head)
        value, slope = formulas.log_loss(p, positive, negative, self.gamma)
        return value.sum(), slope

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        return positive, negative


class CrossEntropy(_LogLoss):
    """Cross-entropy, the baseline: -sum of log p(gold); for sigmoids, of each binary view.

    label_smoothing: in [0, 1), how much of a one-hot truth is spread evenly over the other
    classes, as in thinc. class_weights: a factor for each label, by name or a list by class
    id; labels that are not named have 1. as_stock: alone in a stock component, train and
    report as the component itself does. Where its head wants a gradient by probabilities
    (textcat_multilabel, spancat, span_finder, a bag-of-words textcat) that is half the squared
    error, which hardly moves a rare class off 0; and what is reported is the sum (textcat: the
    mean) of squared gradients. False, and as a term of a Compound, it is cross-entropy everywhere.
    """

    smooths = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Union[Dict[str, float], List[float], None] = None,
        as_stock: bool = True,
        **reading: Any,
    ):
        super().__init__(**reading)
        self.label_smoothing = self._number("label_smoothing", label_smoothing)
        if self.label_smoothing >= 1:
            raise self._mistake(f"label_smoothing must be below 1, got {label_smoothing!r}.")
        self.class_weights = self._per_label("class_weights", class_weights)
        self.as_stock = self._flag("as_stock", as_stock)

    def gradient(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        if not (head.stock and self.as_stock):
            return super().gradient(p, targets, head)
        y, factors = self._smooth(targets).y, targets.known()
        if self.class_weights is not None:
            by_label = _row_of(self.class_weights, targets.labels, "class_weights", p, 1.0)
            if head.activation == "softmax":
                of_row = (targets.y * by_label).sum(axis=1, keepdims=True)
                by_label = get_array_module(p).where(of_row > 0, of_row, by_label)
            factors = factors * by_label
        gradient = (p - y) * factors
        return (gradient**2).sum(), gradient

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        return super().slope(p, self._smooth(targets), head)

    def is_stock(self) -> bool:
        return self.as_stock and self.class_weights is None and not self.label_smoothing

    def _smooth(self, targets: Targets) -> Targets:
        e = self.label_smoothing or targets.labels.label_smoothing
        n_classes = targets.y.shape[1]
        if not e or n_classes == 1:
            return targets
        y = targets.y
        y = y * (1 - e) + (y.sum(axis=1, keepdims=True) - y) * e / (n_classes - 1)
        return replace(targets, y=y)

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.class_weights, labels, "class_weights")
        if self.label_smoothing and labels.label_smoothing:
            raise mistake(
                f"{labels.owner}: label_smoothing is set both there and in its loss. Set one to 0."
            )

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        if self.class_weights is None:
            return positive, negative
        factors = _row_of(self.class_weights, targets.labels, "class_weights", positive, 1.0)
        return positive * factors, negative * factors

    def _per_label(self, name: str, values: Any) -> Any:
        if values is None:
            return None
        if isinstance(values, dict):
            return {key: self._number(f"{name}[{key!r}]", v) for key, v in values.items()}
        if isinstance(values, (list, tuple)):
            return [self._number(f"{name}[{i}]", v) for i, v in enumerate(values)]
        raise self._mistake(f"{name} must be a block of label = number, or a list, got {values!r}.")


class WeightedCrossEntropy(CrossEntropy):
    """The paper's weighted cross-entropy: each class t at log10((n - n_t) / n_t + K).

    K: at least 1. counts: how often each label occurs in the training data (n_t; n is their
    sum), by name or a list by class id. Without them the counts are those of the batches
    seen so far, this one included. For sigmoids each class is a binary view with the counts
    of its own positives and negatives. Source: Li et al. 2020, section 3.2.
    """

    def __init__(
        self,
        *,
        K: float = 3.0,
        counts: Union[Dict[str, int], List[int], None] = None,
        **reading: Any,
    ):
        super().__init__(as_stock=False, **reading)
        self.K = self._number("K", K, low=1.0)
        self.counts = self._per_label("counts", counts)
        self._seen: Optional[numpy.ndarray] = None

    def weigh(
        self, positive: Array, negative: Array, targets: Targets, head: Head
    ) -> Tuple[Array, Array]:
        xp = get_array_module(positive)
        if self.counts is not None:
            counts = _row_of(self.counts, targets.labels, "counts", positive, 0.0)
            total = counts.sum()
        else:
            batch = positive.sum(axis=0)
            n = xp.concatenate([batch, xp.asarray([targets.n_rows()], dtype=batch.dtype)])
            n = n.get() if hasattr(n, "get") else n
            if self._seen is None or self._seen.shape != n.shape:
                self._seen = numpy.zeros(n.shape, dtype="float64")
            self._seen = self._seen + n
            seen = xp.asarray(self._seen.astype(positive.dtype))
            counts, total = seen[:-1], seen[-1]
        positive = positive * formulas.log_inverse_frequency(counts, total, self.K)
        if head.activation == "sigmoid":
            rest = xp.maximum(total - counts, 0.0)
            negative = negative * formulas.log_inverse_frequency(rest, total, self.K)
        return positive, negative

    def check(self, labels: Labels) -> None:
        super().check(labels)
        _check_per_label(self.counts, labels, "counts")
        if isinstance(self.counts, dict) and labels.names is not None:
            absent = [name for name in labels.names if name not in self.counts]
            if absent:
                raise mistake(
                    f"{labels.owner}: counts lacks the labels {', '.join(absent)}. Give the count "
                    "of each label, or leave counts out."
                )


class Focal(_LogLoss):
    """The paper's focal loss: -sum of (1-p)^gamma log p(gold).

    gamma: from 0 (cross-entropy) on. Source: Li et al. 2020, section 3.4; Lin et al. 2017.
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


class Compound(Loss):
    """The weighted sum of other losses.

    losses: the terms, as a block of name = loss or a list. weights: for each term, by name or
    as a list, a number from 0 on or a thinc schedule of them, which goes on by one at every
    update of the component; without weights all are 1. Other schedules than thinc's will do:
    any iterator of numbers; one that ends keeps its last value. Like the optimizer's, they begin
    anew when `spacy train` does, and a saved pipeline holds none.
    """

    def __init__(
        self,
        losses: Any,
        weights: Any = None,
        **reading: Any,
    ):
        super().__init__(**reading)
        terms = _as_dict(losses)
        if not terms:
            raise self._mistake("losses is empty; give it at least one loss.")
        for name, loss in terms.items():
            if not isinstance(loss, Loss):
                raise self._mistake(f"losses: {name!r} must be a spacy_dice loss, got {loss!r}.")
        given = _as_dict(weights) if weights is not None else {}
        unknown = [str(name) for name in given if name not in terms]
        if unknown or (isinstance(weights, (list, tuple)) and len(given) != len(terms)):
            raise self._mistake(
                f"weights must name terms of losses ({', '.join(map(str, terms))}), "
                f"got {', '.join(map(str, given))}."
            )
        self.losses = terms
        self.smooths = any(loss.smooths for loss in terms.values())
        self.weights = {name: _Weight(self, name, given.get(name, 1.0)) for name in terms}

    def slope(self, p: Array, targets: Targets, head: Head) -> Tuple[Any, Array]:
        value: Any = 0.0
        slope = get_array_module(p).zeros_like(p)
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            if weight:
                term, term_slope = loss.slope(p, targets, head)
                value = value + weight * term
                slope += weight * term_slope
        return value, slope

    def check(self, labels: Labels) -> None:
        super().check(labels)
        for loss in self.losses.values():
            loss.check(labels if loss.smooths else labels._replace(label_smoothing=0.0))

    def step_schedules(self) -> None:
        for weight in self.weights.values():
            weight.step()
        for loss in self.losses.values():
            loss.step_schedules()


class DiceCE(Compound):
    """The default recipe: cross-entropy + weight x set-level macro Dice.

    weight: of the Dice term, a number or a schedule (see Compound). The other parameters are
    Dice's, with the defaults that train: one count over the batch, not squared.
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
        super().__init__(
            {"cross_entropy": CrossEntropy(), "dice": dice},
            {"dice": weight},
            **reading,
        )


class _Weight:
    """A number, or the current value of a schedule. Pickles as its current value."""

    def __init__(self, owner: Loss, name: Any, value: Any):
        self._owner, self._name = owner, name
        self._schedule: Optional[Iterator[Any]] = None
        if isinstance(value, (str, bytes)):
            raise owner._mistake(f"the weight of {name!r} must be a number, got {value!r}.")
        if hasattr(value, "__iter__"):
            self._schedule = iter(value)
            value = next(self._schedule)
        self.current = owner._number(f"the weight of {name!r}", _scalar(value))

    def step(self) -> None:
        if self._schedule is not None:
            value = next(self._schedule, self.current)
            self.current = self._owner._number(f"the weight of {self._name!r}", _scalar(value))

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_schedule": None}


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _as_dict(values: Any) -> Dict[Any, Any]:
    if isinstance(values, dict):
        return dict(values)
    if isinstance(values, (list, tuple)):
        return dict(enumerate(values))
    raise mistake(f"spacy_dice: expected a block of names or a list, got {values!r}.")


def _check_per_label(values: Any, labels: Labels, option: str) -> None:
    if isinstance(values, dict):
        labels.columns(list(values), option)
    elif values is not None and labels.names is not None and len(values) != len(labels.names):
        raise mistake(
            f"{labels.owner}: {option} has {len(values)} numbers for {len(labels.names)} labels."
        )


def _row_of(values: Any, labels: Labels, option: str, like: Array, default: float) -> Array:
    """``(C,)``: a number for each column, from numbers by label or by class id."""
    row = numpy.full((like.shape[1],), default, dtype=like.dtype)
    if isinstance(values, dict):
        row[labels.columns(list(values), option)] = list(values.values())
    elif len(values) != len(row):
        raise mistake(f"{labels.owner}: {option} has {len(values)} numbers for {len(row)} classes.")
    else:
        row[:] = values
    return get_array_module(like).asarray(row)
