"""Deciding for F1: `tune`, `calibrate` and what undoes them, for Flair's models.

A cut becomes part of the model: a shift of the output layer's bias (with a CRF: of the emissions),
or a label's threshold where labels are independent. Flair saves both, so that a file loads and
predicts the same in plain Flair. What was done is kept in the model card, under `parts.KEY`.
"""

from typing import Any, Dict, Iterable, Mapping, Optional, TypeVar

from flair.data import DataPoint
from flair.nn import Model

from dice_core.tuning import part as core
from dice_core.tuning.objectives import Spec, as_objective
from dice_core.tuning.report import CalibrateReport, TuneReport

from .parts import get_state, part_of

M = TypeVar("M", bound=Model)


def tune(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    objective: Spec = None,
    labels: Optional[Mapping[str, Spec]] = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    mini_batch_size: int = 32,
) -> TuneReport:
    """Choose where a model cuts, on dev, and fold it into the model. Changes it in place.

    Cuts are chosen by cross-fitting: what the report calls "estimate" is what to expect on new
    text. The model is left as it is where nothing better is found. Tuning twice is tuning once.

    Args:
        model: A trained SequenceTagger (with a CRF, too), or a classifier whose decoder is linear.
        sentences: Dev data with gold labels, e.g. ``corpus.dev``.
        objective: None is F1: micro for entities and tags, macro for texts. Or "micro", "macro",
            "macro_f2", "precision>=0.9" (the highest recall at that precision), "recall>=0.8".
        labels: Objectives of single labels, ``{"PER": "precision>=0.9"}``.
        n_folds: Folds of the sentences, at least 2.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.
        mini_batch_size: Of the one forward pass.

    Returns:
        A `TuneReport` with one part, by the model's label type: print it.

    Raises:
        ValueError: For a model that has nothing to shift, with the reason; for labels that it does
            not have; for options that do not fit. The model is then as it was.

    Example:
        >>> print(flair_dice.tune(tagger, corpus.dev))  # doctest: +SKIP
        >>> tagger.save("tuned.pt")  # doctest: +SKIP
    """
    part = part_of(model, "tune", mini_batch_size)
    own = core.parse_objectives([part], labels, n_folds, min_examples)
    of_all = as_objective(objective, part.average)
    options = {"n_folds": n_folds, "min_examples": min_examples, "max_loss": max_loss}
    with core.restored_on_error([part]):
        return TuneReport([core.tune(part, list(sentences), of_all, own, **options)])


def calibrate(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    per_label: bool = False,
    fit: bool = True,
    mini_batch_size: int = 32,
) -> CalibrateReport:
    """Fit a temperature on dev and fold it into the output layer. No decision changes.

    Calibrate after `tune`; tuning afterwards keeps the temperature.

    Args:
        model: A trained model, as for `tune`, but without a CRF, whose scores are no probabilities.
        sentences: Dev data with gold labels.
        per_label: One temperature for each label, where labels are independent.
        fit: False only measures.
        mini_batch_size: Of the one forward pass.

    Returns:
        A `CalibrateReport`: calibration error, Brier score and negative log-likelihood before and
        after.

    Raises:
        ValueError: As `tune`.

    Example:
        >>> report = flair_dice.calibrate(classifier, corpus.dev)  # doctest: +SKIP
        >>> report[classifier.label_type].after.ece  # doctest: +SKIP
    """
    part = part_of(model, "calibrate", mini_batch_size)
    with core.restored_on_error([part]):
        return CalibrateReport([core.calibrate(part, list(sentences), per_label, fit)])


def get_tuning(model: Model) -> Dict[str, Any]:
    """What `tune` and `calibrate` folded in. It is there after loading, too.

    Args:
        model: Any of Flair's.

    Returns:
        "shift", log-odds by label, and "temperature", a number or a number by label; empty if
        nothing was folded in.

    Example:
        >>> import flair.models, flair_dice
        >>> flair_dice.get_tuning(flair.models.RegexpTagger(mapping=("[0-9]+", "N")))
        {}
    """
    return get_state(model)


def set_tuning(model: M, tuning: Mapping[str, Any]) -> M:
    """Fold in what `get_tuning` gave, in place of what was.

    Args:
        model: As for `tune`; it is changed in place.
        tuning: "shift" and "temperature", or one of them.

    Returns:
        The model.

    Raises:
        ValueError: For labels that the model does not have; nothing is changed.

    Example:
        >>> flair_dice.set_tuning(tagger, {"shift": {"(all)": 0.5}})  # doctest: +SKIP
    """
    part = part_of(model, "set_tuning")
    shift = tuning.get("shift") or {}
    core.check_known(shift, part.shift_names, "set_tuning: the model has no label")
    part.set_state(shift, tuning.get("temperature", 1.0))
    return model


def untune(model: M) -> M:
    """Take back what `tune` and `calibrate` did.

    Args:
        model: Any of Flair's; it is changed in place.

    Returns:
        The model, which predicts as before.

    Example:
        >>> flair_dice.untune(tagger)  # doctest: +SKIP
    """
    if get_tuning(model):
        part_of(model, "untune").clear()
    return model
