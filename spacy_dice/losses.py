"""The losses, as thinc losses: `loss(guesses, truths) -> (gradient, value)`.

Every loss here is registered as ``spacy_dice.<Name>.v1``. What they have in common is said in
`dice_core.losses`; their parameters, formulas and sources are said in each. How the guesses are
read is the component's business inside a pipeline. Outside of one it is given in Python, to the
constructor:

- ``names``: the label of each column;
- ``missing_value``, ``neg_prefix``: how truths say "unknown" and "not this label";
- ``activation``: "softmax" or "sigmoid", what made the guesses;
- ``wrt``: "logits" or "probabilities", by what the gradient is wanted; thinc's Softmax wants
  "logits".

Example:
    >>> import numpy
    >>> loss = DiceCE(names=["O", "PER"])
    >>> gradient, value = loss(numpy.asarray([[0.9, 0.1], [0.4, 0.6]]), ["O", "PER"])
    >>> round(value, 3)
    0.953
"""

import re
import weakref
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy
from thinc.api import get_array_module
from thinc.loss import Loss as ThincLoss

from dice_core import losses as core
from dice_core.losses import __all__
from dice_core.options import WRTS, Activation, Wrt
from dice_core.targets import Targets, read_targets
from dice_core.views import View, view_of_logits

from .errors import config_error, diverged_error, label_spec
from .heads import Head


class Loss(core.Loss, ThincLoss):
    """What all losses of spacy_dice share: reading guesses and truths, and giving gradients back.

    A loss of your own overrides `compute_loss`; see docs/extend.md.

    Args:
        names: The label of each column.
        missing_value: The truth that stands for "unknown", beside None.
        neg_prefix: What before a label says "not this label".
        activation: "softmax" or "sigmoid", what made the guesses.
        wrt: "logits" or "probabilities", by what the gradient is wanted.
    """

    error = staticmethod(config_error)
    _user: Optional[Callable[[], Any]] = None

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        missing_value: Optional[Union[str, int]] = None,
        neg_prefix: Optional[str] = None,
        activation: Activation = "softmax",
        wrt: Wrt = "logits",
        **unknown: Any,
    ):
        super().__init__(names=names, activation=activation, **unknown)
        self.missing_value, self.neg_prefix = missing_value, neg_prefix
        self.wrt: Wrt = self.read_one_of("wrt", wrt, WRTS)

    def take(self, component: Any) -> None:
        """Become this component's loss.

        Schedules and running counts live in a loss, so that it serves one component alone.

        Raises:
            ConfigValidationError: If another component has it.
        """
        user = None if self._user is None else self._user()
        if user is not None and user is not component and getattr(user, "loss", None) is self:
            raise config_error(
                f"Component '{component.name}': component '{user.name}' has the same loss object, "
                "and schedules and running counts live in it. Give each an object of its own."
            )
        self._user = weakref.ref(component)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_user": None}

    def title(self) -> str:
        """How messages call it: the registered name of ours."""
        return f"{super().title()}.v1" if type(self).__name__ in __all__ else super().title()

    def __call__(self, guesses: Any, truths: Any) -> Tuple[Any, float]:
        """Gradient and value.

        Args:
            guesses: Floats ``(N, C)`` in [0, 1], or a list of such arrays, one a document.
            truths: Class ids, one-hot (or soft) rows, or label strings; a list of these for a
                list of arrays. See `dice_core.targets.read_targets`.

        Returns:
            The gradient, shaped and typed as the guesses, and a float, summed over rows.

        Raises:
            ConfigValidationError: For guesses out of range, unknown labels and shapes that do
                not match.
        """
        spec = label_spec(type(self).__name__, self.names)
        lengths = None
        like = guesses
        if isinstance(guesses, (list, tuple)):
            if not guesses and not len(truths):
                return [], 0.0
            lengths = [len(part) for part in guesses]
            like = stack(guesses)
        if like.ndim != 2:
            raise spec.config_error(f"guesses must have rows and columns, got shape {like.shape}.")
        self.check(spec)
        if self.names is not None and len(self.names) != like.shape[1]:
            raise spec.config_error(
                f"{len(self.names)} names for {like.shape[1]} columns of guesses."
            )
        wide = at_least_float32(like)
        targets = read_targets(truths, wide, spec, lengths, self.missing_value, self.neg_prefix)
        return self.compute(guesses, targets, Head(self.activation, self.wrt), like)

    def get_grad(self, guesses: Any, truths: Any) -> Any:
        """The gradient alone; see `__call__`."""
        return self(guesses, truths)[0]

    def get_loss(self, guesses: Any, truths: Any) -> float:
        """The value alone; see `__call__`."""
        return self(guesses, truths)[1]

    def compute(
        self, guesses: Any, targets: Targets, head: Head, stacked: Any = None
    ) -> Tuple[Any, float]:
        """Gradient and value for targets and a head that a component has read already."""
        if stacked is None:
            stacked = stack(guesses) if isinstance(guesses, (list, tuple)) else guesses
        p = at_least_float32(stacked)
        if head.raw:
            if get_array_module(p).isnan(p).any():
                raise diverged_error(targets.spec.owner)
            view = view_of_logits(p, head.activation)
        else:
            # What was put together here, or widened, is nobody else's.
            used_up = isinstance(guesses, (list, tuple)) or p is not guesses
            view = self._view(p, head, targets, used_up)
        value, gradient = self.value_and_gradient(view, targets, head.wrt)
        gradient = gradient.astype(stacked.dtype, copy=False)
        if isinstance(guesses, (list, tuple)):
            ends = numpy.cumsum([len(part) for part in guesses]).tolist()
            return [gradient[i:j] for i, j in zip([0, *ends], ends)], float(value)
        return gradient, float(value)

    @staticmethod
    def _view(p: Any, head: Head, targets: Targets, used_up: bool) -> View:
        """Of probabilities, which are checked."""
        if p.size and not (p.min() >= 0 and p.max() <= 1 + 1e-4):
            if get_array_module(p).isnan(p).any():
                raise diverged_error(targets.spec.owner)
            raise targets.spec.config_error(
                "guesses must be probabilities, from 0 to 1, but range from "
                f"{float(p.min())} to {float(p.max())}."
            )
        return View(head.activation, p, used_up=used_up)


def stack(guesses: Sequence[Any]) -> Any:
    """One array of all documents' rows."""
    if not guesses:
        return numpy.zeros((0, 0), dtype="float32")
    return get_array_module(guesses[0]).concatenate(list(guesses))


def at_least_float32(array: Any) -> Any:
    """float64 as it is, all others as float32."""
    return array if array.dtype == "float64" else array.astype("float32", copy=False)


class CrossEntropy(core.CrossEntropy, Loss): ...


class WeightedCrossEntropy(core.WeightedCrossEntropy, Loss): ...


class LogitAdjustedCE(core.LogitAdjustedCE, Loss): ...


class Focal(core.Focal, Loss): ...


class Dice(core.Dice, Loss): ...


class SelfAdjustingDice(core.SelfAdjustingDice, Loss): ...


class SemimetricDice(core.SemimetricDice, Loss): ...


class Tversky(core.Tversky, Loss): ...


class EntityDice(core.EntityDice, Loss): ...


class Compound(core.Compound, Loss):
    def read_term(self, term: Any, name: str) -> core.Loss:
        return super().read_term(term if isinstance(term, Loss) else make_loss(term), name)


class DiceCE(core.DiceCE, Compound):
    term_classes = (CrossEntropy, Dice)


def make_loss(spec: Any, owner: str = "spacy_dice.make_loss") -> Any:
    """A loss from its name, or a dict of its name and options; a loss is returned as it is.

    Args:
        spec: ``"DiceCE"`` or its registered name; ``{"name": "DiceCE", "weight": 1.0}``; a loss.
        owner: How messages call what it is for.

    Raises:
        ConfigValidationError: For anything else.

    Example:
        >>> make_loss({"name": "DiceCE", "weight": 2.0}).weights["dice"].current
        2.0
    """
    registered = re.fullmatch(r"spacy_dice\.(\w+)\.v1", spec) if isinstance(spec, str) else None
    return core.make_loss(registered[1] if registered else spec, Loss, owner)


# -- what @losses = "spacy_dice.<Name>.v1" makes ------------------------------------------------
#
# Losses with the options that v1 has: a signature here never changes, and a loss that gains an
# option gets another version. In a config the component says how its guesses are read, so that
# the reading options are not here. The losses check their options themselves, with messages that
# say what to do, so that the types are wide.

_PerLabel = Union[Dict[str, float], List[float], None]
_ClassWeights = Union[str, _PerLabel]
_Background = Union[str, int, List[Union[str, int]], None]


def configure_CrossEntropy_v1(
    *, label_smoothing: float = 0.0, class_weights: _ClassWeights = None
) -> CrossEntropy:
    """`spacy_dice.CrossEntropy.v1`: see `CrossEntropy`."""
    return CrossEntropy(**_typed(locals()))


def configure_WeightedCrossEntropy_v1(
    *, K: float = 3.0, counts: _PerLabel = None
) -> WeightedCrossEntropy:
    """`spacy_dice.WeightedCrossEntropy.v1`: see `WeightedCrossEntropy`."""
    return WeightedCrossEntropy(K=K, counts=counts)


def configure_LogitAdjustedCE_v1(*, tau: float = 1.0, priors: _PerLabel = None) -> LogitAdjustedCE:
    """`spacy_dice.LogitAdjustedCE.v1`: see `LogitAdjustedCE`."""
    return LogitAdjustedCE(tau=tau, priors=priors)


def configure_Focal_v1(*, gamma: float = 2.0) -> Focal:
    """`spacy_dice.Focal.v1`: see `Focal`."""
    return Focal(gamma=gamma)


def configure_Dice_v1(
    *,
    level: str = "element",
    average: str = "macro",
    smooth: float = 1.0,
    squared: bool = True,
    log: bool = False,
    background: _Background = "auto",
) -> Dice:
    """`spacy_dice.Dice.v1`: see `Dice`."""
    return Dice(**_typed(locals()))


def configure_SelfAdjustingDice_v1(
    *,
    alpha: float = 1.0,
    smooth: float = 1.0,
    level: str = "element",
    average: str = "macro",
    detach_weight: bool = False,
    background: _Background = "auto",
) -> SelfAdjustingDice:
    """`spacy_dice.SelfAdjustingDice.v1`: see `SelfAdjustingDice`."""
    return SelfAdjustingDice(**_typed(locals()))


def configure_SemimetricDice_v1(
    *,
    level: str = "element",
    average: str = "macro",
    smooth: float = 1.0,
    log: bool = False,
    background: _Background = "auto",
) -> SemimetricDice:
    """`spacy_dice.SemimetricDice.v1`: see `SemimetricDice`."""
    return SemimetricDice(**_typed(locals()))


def configure_Tversky_v1(
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    level: str = "element",
    average: str = "macro",
    smooth: float = 1.0,
    background: _Background = "auto",
) -> Tversky:
    """`spacy_dice.Tversky.v1`: see `Tversky`."""
    return Tversky(**_typed(locals()))


def configure_EntityDice_v1(
    *, smooth: float = 1.0, beta: float = 1.0, log: bool = False
) -> EntityDice:
    """`spacy_dice.EntityDice.v1`: see `EntityDice`."""
    return EntityDice(smooth=smooth, beta=beta, log=log)


def configure_Compound_v1(losses: Any, weights: Any = None) -> Any:
    """`spacy_dice.Compound.v1`: see `Compound`."""
    return Compound(losses, weights)


def configure_DiceCE_v1(
    *,
    weight: Any = 1.0,
    class_weights: _ClassWeights = None,
    level: str = "batch",
    average: str = "auto",
    smooth: float = 1.0,
    squared: bool = False,
    log: bool = False,
    background: _Background = "auto",
) -> DiceCE:
    """`spacy_dice.DiceCE.v1`: see `DiceCE`."""
    return DiceCE(**_typed(locals()))


def _typed(options: Dict[str, Any]) -> Any:
    """The losses check their options themselves, with messages that say what to do."""
    return options
