"""Thresholds for F1: `tune`, `calibrate` and what undoes them, for Flair's models.

A threshold becomes part of the model: a shift of the output layer's bias (with a CRF: of the
emissions), or a label's threshold where labels are independent. Flair saves both, so that a file
loads and predicts the same in plain Flair. What was written is kept in the model card, under
`models.KEY`, and void where the model gets other weights.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import TypeVar

from flair.data import Corpus, DataPoint
from flair.nn import Model

from dice_core.thresholds import component as core
from dice_core.thresholds.component import Tuning
from dice_core.thresholds.decisions import check_known
from dice_core.thresholds.objectives import Spec
from dice_core.thresholds.report import CalibrateReport, TuneReport

from .models import KEY, find_tunable, model_card

M = TypeVar("M", bound=Model)


def tune(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    objective: Spec = None,
    labels: Mapping[str, Spec] | None = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    mini_batch_size: int = 32,
) -> TuneReport:
    """Choose the thresholds of a model, on dev, and write them into it. Changes it in place.

    Thresholds are chosen by cross-fitting, and the whole choice is cross-fitted once more: what the
    report calls "estimate", with its 95 % interval, is what to expect on new text. The model is
    left as it is where nothing better is found, or a floor is not reached. Tuning twice is tuning
    once.

    Args:
        model: A trained SequenceTagger (with a CRF, too), or a classifier whose decoder is linear.
        sentences: Dev data with gold labels, e.g. ``corpus.dev``.
        objective: None is F1: micro for entities and tags, macro for texts. Or "micro", "macro",
            "macro_f2", "precision>=0.9" (the highest recall at that precision), "recall>=0.8".
        labels: Objectives of single labels, ``{"PER": "precision>=0.9"}``; ``objective`` is then
            of the others.
        n_folds: Folds of the sentences, at least 3.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.
        mini_batch_size: Of the one forward pass.

    Returns:
        A `TuneReport` of one component, by the model's label type: print it.

    Raises:
        ValueError: For a model that has nothing to shift, with the reason; for data that are no
            sentences; for labels that the model does not have; for options that do not fit. The
            model is then as it was.

    Example:
        >>> print(flair_dice.tune(tagger, corpus.dev))  # doctest: +SKIP
        >>> tagger.save("tuned.pt")  # doctest: +SKIP
    """
    tunable, data = find_tunable(model, "tune", mini_batch_size), _read(sentences, "tune")
    plan = core.Plan(objective, labels, tunable.labels, n_folds, min_examples, max_loss)
    with core.restored_on_error([tunable]):
        return TuneReport([plan.tune(tunable, data)])


def calibrate(
    model: Model,
    sentences: Iterable[DataPoint],
    *,
    fit: bool = True,
    mini_batch_size: int = 32,
) -> CalibrateReport:
    """Fit a temperature on dev and write it into the output layer. No decision changes.

    Calibrate after `tune`; tuning afterwards keeps the temperature.

    Args:
        model: A trained model, as for `tune`, but without a CRF, whose scores are no probabilities.
        sentences: Dev data with gold labels.
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
    tunable = find_tunable(model, "calibrate", mini_batch_size)
    data = _read(sentences, "calibrate")
    with core.restored_on_error([tunable]):
        return CalibrateReport([core.calibrate(tunable, data, fit)])


def get_tuning(model: Model) -> Tuning:
    """What `tune` and `calibrate` wrote. It is there after loading, too.

    Args:
        model: A model of Flair's.

    Returns:
        "shift", log-odds by label, and "temperature"; empty if nothing was written, or if the model
        has other weights now: loaded or trained since.

    Example:
        >>> import flair.models, flair_dice
        >>> flair_dice.get_tuning(flair.models.RegexpTagger(mapping=("[0-9]+", "N")))
        {}
    """
    if not model_card(model).get(KEY):
        return {}
    return find_tunable(model, "untune").record


def set_tuning(model: M, tuning: Tuning) -> M:
    """Write what `get_tuning` gave, in place of what was.

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
    tunable = find_tunable(model, "set_tuning")
    known = tunable.shift_names
    check_known(tuning.get("shift") or {}, known, "set_tuning: the model has no label")
    tunable.rewrite(tuning)
    return model


def untune(model: M) -> M:
    """Take back what `tune` and `calibrate` did.

    A model whose weights were loaded or trained since stays as it is, with a warning.

    Args:
        model: A model of Flair's; it is changed in place.

    Returns:
        The model, which predicts as before.

    Example:
        >>> flair_dice.untune(tagger)  # doctest: +SKIP
    """
    if model_card(model).get(KEY):
        tunable = find_tunable(model, "untune")
        if not tunable.record:
            warnings.warn(
                "untune: the model stays as it is. Its weights or thresholds are not those that "
                "were tuned: they were loaded, set or trained since.",
                stacklevel=2,
            )
        tunable.undo()
    return model


def _read(sentences: Iterable[DataPoint], what: str) -> list[DataPoint]:
    """Sentences as a list, or an error with the remedy."""
    remedy = "Give sentences that the model was not trained on, such as corpus.dev."
    is_data = hasattr(sentences, "__iter__") or hasattr(sentences, "__getitem__")
    if isinstance(sentences, (Corpus, DataPoint, str)) or not is_data:
        raise ValueError(f"{what}: got a {type(sentences).__name__}. {remedy}")
    data = list(sentences)
    for one in data:
        if not isinstance(one, DataPoint):
            raise ValueError(f"{what}: got a {type(one).__name__} among the sentences. {remedy}")
    return data
