"""What all losses share: checks, the value and its gradient, and what is saved of them."""

import inspect
from difflib import get_close_matches
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type

from .. import arrays, slopes
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..options import ACTIVATIONS, Activation, Options, Wrt
from ..parts import OverParts
from ..schedules import Weight
from ..slopes import Slope
from ..targets import Targets
from ..views import View


class Loss(Options):
    """What all losses share.

    A loss of your own overrides `compute_loss`, keeps every argument of its constructor in an
    attribute of the same name, and overrides `check` if some labels do not suit it; see
    docs/extend.md.

    Args:
        names: The label of each column, where a loss is called by itself.
        activation: What makes probabilities of scores, where a loss is called by itself.
    """

    # Whether a term of this loss obeys a component's own label_smoothing.
    smooths = False
    # Whether `compute_loss` can take rows in parts, with sums over all of them by `Targets.whole`.
    # A subclass that has its own says so anew.
    in_parts = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.__doc__ = cls.__doc__ or cls.__mro__[1].__doc__  # a face is what its core is
        if "compute_loss" in vars(cls) and "in_parts" not in vars(cls):
            cls.in_parts = False

    def __init__(
        self,
        *,
        names: Optional[Sequence[str]] = None,
        activation: Activation = "softmax",
        **unknown: Any,
    ):
        super().__init__()
        if unknown:
            raise self.config_error(
                f"there is no option {', '.join(unknown)}. "
                f"{did_you_mean(unknown, parameters(type(self)))}"
            )
        self.names = None if names is None else tuple(names)
        self.activation = self.read_one_of("activation", activation, ACTIVATIONS)

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        """The loss summed over rows, a scalar array, and its slope.

        Args:
            view: Probabilities ``(N, C)``, N > 0, and their logarithms.
            targets: The truth of each row.
        """
        raise NotImplementedError

    def value_and_gradient(
        self, view: View, targets: Targets, wrt: Wrt = "logits", scale: Optional[Array] = None
    ) -> Tuple[Array, Array]:
        """The loss summed over rows, a scalar array, and its gradient ``(N, C)``.

        Args:
            view: Probabilities ``(N, C)``, which are overwritten if the view is used up.
            targets: The truth of each row.
            wrt: By what the gradient is: "logits", or "probabilities" for layers that multiply
                by the activation's derivative themselves.
            scale: A scalar that both are multiplied with.
        """
        xp = namespace(view.like)
        if not view.like.shape[0] and targets.reduce is None:
            return xp.sum(view.like), xp.zeros_like(view.like)
        blocks = list(arrays.blocks(view.like))
        if len(blocks) > 1 and self.in_parts:
            # Of NumPy even numbers of rows are made block by block: few columns weigh no more.
            many = wrt == "probabilities" or arrays.is_numpy(view.like)
            if many or self.makes_cells(view, targets):
                return self._in_blocks(view, targets, wrt, scale, blocks)
        return self._of_rows(view, targets, wrt, scale)

    def _of_rows(
        self, view: View, targets: Targets, wrt: Wrt, scale: Optional[Array]
    ) -> Tuple[Array, Array]:
        """The same of all rows at once."""
        value, slope = self.compute_loss(view, targets)
        if scale is not None:
            value = value * scale
            slope.scale(scale)
        of = slopes.by_probabilities if wrt == "probabilities" else slopes.by_logits
        return value, of(view, slope, targets)

    def count(self, view: View, targets: Targets) -> None:
        """Add what these rows have to the sums over the batch, of which they are a part."""
        self.compute_loss(view, targets)

    def makes_cells(self, view: View, targets: Targets) -> bool:
        """Whether the slope has numbers for each cell."""
        return True

    def _in_blocks(
        self,
        view: View,
        targets: Targets,
        wrt: Wrt,
        scale: Optional[Array],
        blocks: Sequence[slice],
    ) -> Tuple[Array, Array]:
        """The same with few arrays as large as the scores: of blocks of rows, one by one."""
        whole, at_hand = OverParts(), OverParts()
        parts = [(rows, targets.rows(rows)) for rows in blocks]
        for _, part in parts:
            part.reduce, part.at_hand, part.learning = whole, at_hand, False
        if self.set_level or any(loss.needs_counts() for _, _, loss in self.terms()):
            for rows, part in parts:
                self.count(view.rows(rows), part)
                whole.next_part()
                at_hand.next_part()
        whole.replay(targets.reduce)
        at_hand.replay()
        parts[-1][1].learning = targets.learning
        gradient, value = view.for_gradient(), 0.0
        for rows, part in parts:
            view_of_part = view.rows(rows)
            of_part, its_gradient = self._of_rows(view_of_part, part, wrt, scale)
            if its_gradient is not view_of_part.like:  # which is where it belongs already
                gradient[rows, :] = its_gradient
            value = value + of_part
            whole.next_part()
            at_hand.next_part()
        return value, gradient

    def needs_counts(self) -> bool:
        """Whether it counts the classes of batches."""
        return False

    def check(self, spec: LabelSpec) -> None:
        """Raise a ValueError if this loss cannot be used with these labels."""
        if self.names is not None and spec.names is not None and self.names != spec.names:
            raise spec.config_error(
                f"the loss was made for the labels {', '.join(self.names)}, but the labels here "
                f"are {', '.join(spec.names)}. Leave names out: they are known here."
            )
        if spec.label_smoothing and not self.smooths:
            raise spec.config_error(
                f"its label_smoothing is for a cross-entropy, and {self.title()} has none. Set "
                "label_smoothing to 0."
            )

    # -- terms and schedules ------------------------------------------------------------

    @property
    def set_level(self) -> bool:
        """Whether it has one count over a batch, so that it matters what is in the batch."""
        return False

    @property
    def collapses(self) -> bool:
        """Whether it hardly trains by itself: its gradient vanishes where the right label has a
        probability near 0.
        """
        return False

    def why_not_alone(self) -> str:
        """What is wrong with it by itself, and the remedy; "" if nothing is."""
        if not self.collapses:
            return ""
        return (
            f"{type(self).__name__} without a cross-entropy hardly trains: its gradient vanishes "
            "where the right label has a probability near 0, and rare labels stay there. Take "
            "DiceCE, or a Compound with CrossEntropy beside it (docs/losses/compound.md)."
        )

    def terms(self) -> Iterator[Tuple[str, float, "Loss"]]:
        """The name, present weight and loss of each term; of a loss that is no sum, itself."""
        yield type(self).__name__, 1.0, self

    def weights_in_use(self) -> Iterator[Weight]:
        """The weights of terms, of this loss and all that are in it."""
        return iter(())

    def step_schedules(self, epoch: Optional[float] = None) -> None:
        """Go on to the next update, in scheduled weights.

        Args:
            epoch: At which it happens, counted from 0, where epochs are known.
        """
        for weight in self.weights_in_use():
            weight.step(epoch)

    # -- as plain values ----------------------------------------------------------------

    def to_dict(self) -> Dict[str, Any]:
        """Plain values from which `make_loss` makes the loss again: ``{"name": ..., ...}``."""
        return {"name": loss_name(type(self)), **self.own_options(), **self.reading()}

    def own_options(self) -> Dict[str, Any]:
        """The options that are not the reading's, as plain values."""
        reading = self.reading_options()
        return {key: getattr(self, key) for key in parameters(type(self)) if key not in reading}

    def reading(self) -> Dict[str, Any]:
        """The reading options that differ from their defaults, as plain values."""
        given = {}
        for key, parameter in self.reading_options().items():
            value = getattr(self, key)
            if value != parameter.default:
                given[key] = list(value) if isinstance(value, tuple) else value
        return given

    def __repr__(self) -> str:
        options = {**self.own_options(), **self.reading()}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in options.items())})"

    @classmethod
    def reading_options(cls) -> Dict[str, inspect.Parameter]:
        """How a loss reads what it is called with: the options of the package's base class."""
        base = [c for c in cls.__mro__ if "__init__" in vars(c) and issubclass(c, Loss)]
        own = [c for c in base if c.__name__ == "Loss"]
        return {k: p for c in reversed(own) for k, p in _keywords(c).items()}


def parameters(cls: Type[Loss]) -> List[str]:
    """The names of all that a loss's constructor takes, inherited ones included."""
    names: Dict[str, None] = {}
    for c in cls.__mro__:
        if "__init__" not in vars(c) or not issubclass(c, Loss):
            continue
        names.update(dict.fromkeys(_keywords(c)))
        kinds = [p.kind for p in inspect.signature(c.__init__).parameters.values()]
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return list(names)


def did_you_mean(unknown: Iterable[str], known: Sequence[str]) -> str:
    """What the options are, and which of them may have been meant."""
    near = [close for name in unknown for close in get_close_matches(name, known, n=1)]
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    return f"{hint}It has: {', '.join(sorted(known))}."


def _keywords(cls: type) -> Dict[str, inspect.Parameter]:
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name: p for p in found if p.kind not in variable}


def make_loss(spec: Any, base: Type[Loss], owner: str) -> Any:
    """A loss from what users write and files hold.

    Args:
        spec: A loss; the name of one; or a dict of its name and parameters, ``{"name": "DiceCE",
            "weight": 1.0}``, as `Loss.to_dict` gives. Losses of third parties are found by their
            names, or by ``module:name``, once they are imported.
        base: The `Loss` of the package that it must be of.
        owner: How messages call what it is for.

    Raises:
        ValueError: For anything else; it names the owner.
    """
    error: Callable[[str], Exception] = base.error
    package = base.__module__.partition(".")[0]
    if isinstance(spec, base):
        return spec
    options = {"name": spec} if isinstance(spec, str) else spec
    if not (isinstance(options, dict) and isinstance(options.get("name"), str)):
        raise error(
            f"{owner}: loss must be a loss of {package}, the name of one, or a dict such as "
            f"{{'name': 'DiceCE', 'weight': 1.0}}, got {spec!r}. For a loss of your own, make a "
            f"subclass of {package}.Loss."
        )
    name = options["name"]
    # The package's own come last, so that no other of the same name takes their place.
    known = {c.__name__: c for c in sorted(_subclasses(base), key=lambda c: _is_own(c))}
    cls = {loss_name(c): c for c in _subclasses(base)}.get(name) or known.get(name)
    if cls is None:
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise error(
            f"{owner}: there is no loss {name!r}.{hint} There are: {', '.join(sorted(known))}. "
            f"If a later version of {package} or another package has it, install or import that."
        )
    arguments = {key: value for key, value in options.items() if key != "name"}
    allowed = parameters(cls)
    unknown = [key for key in arguments if key not in allowed]
    if unknown:
        raise error(
            f"{owner}: {name} has no option {', '.join(unknown)}. {did_you_mean(unknown, allowed)} "
            f"If a later version of {package} has it, install that."
        )
    return cls(**arguments)


def loss_name(cls: type) -> str:
    """The name of a loss in plain values: that of its class, with the module if it is not ours."""
    return cls.__name__ if _is_own(cls) else f"{cls.__module__}:{cls.__qualname__}"


def _is_own(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("dice_core", "spacy_dice", "flair_dice")


def _subclasses(cls: Type[Loss]) -> Iterator[Type[Loss]]:
    """All losses below a class that can be made; those with an underscore are bases."""
    for subclass in cls.__subclasses__():
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _subclasses(subclass)
