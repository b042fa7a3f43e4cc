"""Weighted sums of losses."""

from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Tuple, Type

from ..arrays import Array
from ..labels import LabelSpec
from ..options import AUTO, Average, Background, ClassWeights, Level
from ..schedules import Weight
from ..slopes import Slope
from ..targets import Targets
from ..views import View
from .base import Loss

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import Reading


class Compound(Loss):
    """The weighted sum of other losses.

    Args:
        losses: The terms, as a block or dict of name = loss, or a list. A term is read as the
            compound is: it takes no reading options of its own.
        weights: For each term, by name or as a list, a number from 0 on or a schedule of them:
            any iterator of numbers, such as thinc's schedules, of which each update takes the
            next and the last is kept, or in Flair a `Ramp` over epochs. Without weights all are
            1. Like the optimizer's, schedules begin anew when a training does.

    Raises:
        ValueError: For terms that are no losses, and weights that name no term.
    """

    def __init__(self, losses: Any, weights: Any = None, **reading: "Unpack[Reading]"):
        super().__init__(**reading)
        terms = {name: self.read_term(n, name) for name, n in self.read_terms(losses).items()}
        if not terms:
            raise self.config_error("losses is empty; give it at least one loss.")
        given = {} if weights is None else self.read_terms(weights)
        unknown = [name for name in given if name not in terms]
        if unknown or (isinstance(weights, (list, tuple)) and len(given) != len(terms)):
            raise self.config_error(
                f"weights must name terms of losses ({', '.join(terms)}), got {', '.join(given)}."
            )
        self.losses = self.hold(terms)
        self.smooths = any(loss.smooths for loss in terms.values())
        self.weights = {name: Weight(given.get(name, 1.0), name, self) for name in terms}
        self.watched: Optional[Dict[str, Array]] = None

    def read_term(self, term: Any, name: str) -> Loss:
        """A term, checked."""
        if not isinstance(term, Loss):
            package = self.title().partition(".")[0]
            raise self.config_error(f"losses: {name!r} must be a {package} loss, got {term!r}.")
        if term.reading():
            raise self.config_error(
                f"losses: {name!r} has {', '.join(term.reading())}, which a term does not use: it "
                "is read as the whole loss is. Give it to that instead."
            )
        return term

    def hold(self, terms: Dict[str, Loss]) -> Any:
        """Where the terms are kept."""
        return terms

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        value, slope = None, Slope()
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            if weight:
                term, term_slope = loss.compute_loss(view, targets)
                term = weight * term
                value = term if value is None else value + term
                if self.watched is not None:
                    self.watched[name] = self.watched.get(name, 0.0) + term
                slope.add(term_slope, weight)
        return (0.0 * targets.n_rows() if value is None else value), slope

    def count(self, view: View, targets: Targets) -> None:
        for name, loss in self.losses.items():
            counts = loss.set_level or any(leaf.needs_counts() for _, _, leaf in loss.terms())
            if self.weights[name].current and counts:
                loss.count(view, targets)

    def terms(self) -> Iterator[Tuple[str, float, Loss]]:
        for name, loss in self.losses.items():
            weight = self.weights[name].current
            for inner, inner_weight, leaf in loss.terms():
                is_leaf = leaf is loss
                yield name if is_leaf else f"{name}.{inner}", weight * inner_weight, leaf

    def watch_terms(self) -> None:
        """Add up what each term contributes from now on, for `take_watched`."""
        self.watched = {}
        for loss in self.losses.values():
            if isinstance(loss, Compound):
                loss.watch_terms()

    def take_watched(self) -> Dict[str, float]:
        """What each term contributed since `watch_terms` or the last call, weight included, by the
        names that `terms` gives. Terms of a term are as they are in that one.
        """
        taken: Dict[str, float] = {}
        for name, loss in self.losses.items():
            if isinstance(loss, Compound):
                inner = loss.take_watched()
                taken.update({f"{name}.{key}": value for key, value in inner.items()})
            else:
                taken[name] = float((self.watched or {}).get(name, 0.0))
        self.watched = {}
        return taken

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        for loss in self.losses.values():
            loss.check(spec if loss.smooths else spec._replace(label_smoothing=0.0))

    def makes_cells(self, view: View, targets: Targets) -> bool:
        return any(loss.makes_cells(view, targets) for loss in self.losses.values())

    @property
    def in_parts(self) -> bool:  # type: ignore[override]
        return all(loss.in_parts for loss in self.losses.values())

    @property
    def set_level(self) -> bool:
        return any(loss.set_level for loss in self.losses.values())

    @property
    def collapses(self) -> bool:
        return all(loss.collapses for loss in self.losses.values())

    def weights_in_use(self) -> Iterator[Weight]:
        yield from self.weights.values()
        for loss in self.losses.values():
            yield from loss.weights_in_use()

    def __repr__(self) -> str:
        terms = [f"{w!r} * {self.losses[name]!r}" for name, w in self.weights.items()]
        return f"{type(self).__name__}({' + '.join(terms)})"

    def own_options(self) -> Dict[str, Any]:
        return {
            "losses": {name: loss.to_dict() for name, loss in self.losses.items()},
            "weights": {name: weight.to_dict() for name, weight in self.weights.items()},
        }


class DiceCE(Compound):
    """The default recipe: cross-entropy + weight x Dice over the batch.

    In a model with a CRF the cross-entropy is the CRF's likelihood and the Dice is over the
    tokens' marginals. Keep batches large enough to hold some rows of most classes.

    Args:
        weight: Of the Dice term, a number from 0 on or a schedule (see Compound).
        class_weights: Of the cross-entropy, as in CrossEntropy.
        level, average, smooth, squared, log, background: As in Dice, with the defaults that
            train: one count over the batch, not squared; pooled over the classes where there is
            a background, their mean where there is none.

    Raises:
        ValueError: For options out of range, and for labels that there are not.
    """

    # The classes of the terms, in the package that has this one.
    term_classes: Tuple[Type[Loss], Type[Loss]]

    def __init__(
        self,
        *,
        weight: Any = 1.0,
        level: Level = "batch",
        average: Average = AUTO,
        class_weights: ClassWeights = None,
        smooth: float = 1.0,
        squared: bool = False,
        log: bool = False,
        background: Background = AUTO,
        **reading: "Unpack[Reading]",
    ):
        cross_entropy, dice = self.term_classes
        options: Any = {
            "level": level,
            "average": average,
            "smooth": smooth,
            "squared": squared,
            "log": log,
            "background": background,
        }
        try:
            terms = {
                "cross_entropy": cross_entropy(class_weights=class_weights),
                "dice": dice(**options),
            }
        except ValueError as error:  # the options are this loss's: so is the mistake
            raise self.config_error(str(error).partition(": ")[2]) from None
        super().__init__(terms, {"dice": weight}, **reading)

    def __repr__(self) -> str:
        return Loss.__repr__(self)

    def own_options(self) -> Dict[str, Any]:
        return {
            "weight": self.weights["dice"].to_dict(),
            "class_weights": self.losses["cross_entropy"].class_weights,
            **self.losses["dice"].own_options(),
        }
