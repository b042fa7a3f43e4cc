"""What ``@losses = "spacy_dice.<Name>.v1"`` makes: losses with the options that v1 has.

A signature here never changes: a loss that gains an option gets another version. In a config the
component says how its guesses are read, so that the reading options are not here.
"""

from typing import Any, Dict, List, Union

from . import losses

ClassWeights = Union[str, Dict[str, float], List[float], None]
PerLabel = Union[Dict[str, float], List[float], None]
Background = Union[str, int, List[Union[str, int]], None]


def configure_CrossEntropy_v1(
    *, label_smoothing: float = 0.0, class_weights: ClassWeights = None
) -> losses.CrossEntropy:
    return losses.CrossEntropy(**_typed(locals()))


def configure_WeightedCrossEntropy_v1(
    *, K: float = 3.0, counts: PerLabel = None
) -> losses.WeightedCrossEntropy:
    return losses.WeightedCrossEntropy(K=K, counts=counts)


def configure_Focal_v1(*, gamma: float = 2.0) -> losses.Focal:
    return losses.Focal(gamma=gamma)


def configure_Dice_v1(
    *,
    level: str = "element",
    average: str = "macro",
    smooth: float = 1.0,
    squared: bool = True,
    log: bool = False,
    background: Background = "auto",
) -> losses.Dice:
    return losses.Dice(**_typed(locals()))


def configure_SelfAdjustingDice_v1(
    *,
    alpha: float = 1.0,
    smooth: float = 1.0,
    level: str = "element",
    average: str = "macro",
    detach_weight: bool = False,
    background: Background = "auto",
) -> losses.SelfAdjustingDice:
    return losses.SelfAdjustingDice(**_typed(locals()))


def configure_Tversky_v1(
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    level: str = "element",
    average: str = "macro",
    smooth: float = 1.0,
    background: Background = "auto",
) -> losses.Tversky:
    return losses.Tversky(**_typed(locals()))


def configure_EntityDice_v1(
    *, smooth: float = 1.0, beta: float = 1.0, log: bool = False
) -> losses.EntityDice:
    return losses.EntityDice(smooth=smooth, beta=beta, log=log)


def configure_Compound_v1(losses: Any, weights: Any = None) -> Any:
    from .losses import Compound

    return Compound(losses, weights)


def configure_DiceCE_v1(
    *,
    weight: Any = 1.0,
    class_weights: ClassWeights = None,
    level: str = "batch",
    average: str = "auto",
    smooth: float = 1.0,
    squared: bool = False,
    log: bool = False,
    background: Background = "auto",
) -> losses.DiceCE:
    return losses.DiceCE(**_typed(locals()))


def _typed(options: Dict[str, Any]) -> Any:
    """The losses check their options themselves, with messages that say what to do."""
    return options
