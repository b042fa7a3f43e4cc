"""Callbacks of a config: several in the place of one, and F1 of single labels as scores."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from .errors import config_error

CHAIN = "spacy_dice.chain.v1"
# Scores that have a dict by label: what comes before this is the name of the score.
PER_TYPE = "_per_type"
MAX_NAMES = 10
Scores = dict[str, Any]


def chain_callback(callbacks: dict[str, Any]) -> Callable[[Language], Language]:
    """`spacy_dice.chain.v1`: several callbacks where a config has room for one.

    Args:
        callbacks: Callbacks by names that are free to choose; they are called in the order of the
            config. Each gets what the one before it returned, or what that got if it returned
            None.

    Returns:
        A callback for ``[initialize.before_init]``, ``[initialize.after_init]`` or
        ``[training.before_to_disk]``.

    Raises:
        ConfigValidationError: If there are none, or a member is not a callback.

    Example:
        >>> chain_callback({"first": lambda nlp: nlp + 1, "second": lambda nlp: nlp * 2})(3)
        8
    """
    if not callbacks:
        raise config_error(f"{CHAIN}: callbacks is empty; give it at least one.")
    for name, callback in callbacks.items():
        if not callable(callback):
            raise config_error(
                f"{CHAIN}: callbacks.{name} must be a block with @callbacks, got {callback!r}."
            )

    def call_all(nlp: Language) -> Language:
        for callback in callbacks.values():
            returned = callback(nlp)
            nlp = nlp if returned is None else returned
        return nlp

    return call_all


def score_labels_callback(labels: dict[str, list[str]]) -> Callable[[Language], Language]:
    """`spacy_dice.score_labels.v1`, for [initialize.after_init]: F1 of single labels as scores.

    spaCy chooses the checkpoint by numbers, and has a label's F1 in a dict ("ents_per_type") only.
    With this, a label's F1 is a score of its own, which ``[training.score_weights]`` can name:
    ``ents_f_LABEL`` (ner), ``spans_sc_f_LABEL`` (spancat), ``cats_f_LABEL`` (textcat). What is
    saved stays as it was.

    Args:
        labels: For each component, by name, its labels that get a score.

    Returns:
        The callback.

    Raises:
        ConfigValidationError: When training begins, if a component or a label is not there, or a
            component has no scores by label.

    Example:
        >>> import spacy
        >>> nlp = spacy.blank("en")
        >>> _ = nlp.add_pipe("textcat_multilabel").add_label("spam")
        >>> nlp = score_labels_callback({"textcat_multilabel": ["spam"]})(nlp)
    """

    def after_init(nlp: Language) -> Language:
        for name, own_labels in labels.items():
            if name not in nlp.component_names:
                raise config_error(
                    f"score_labels: there is no component '{name}'. The pipeline has: "
                    f"{_first_names(nlp.component_names)}."
                )
            pipe = cast(TrainablePipe, nlp.get_pipe(name))
            scorer = getattr(pipe, "scorer", None)
            if scorer is None:
                raise config_error(f"Component '{name}': it has no scorer, and so no scores.")
            for label in own_labels:
                if label not in pipe.labels:
                    raise config_error(
                        f"Component '{name}': score_labels names the label {label!r}, which is "
                        f"none of its labels: {_first_names(pipe.labels)}."
                    )
            pipe.scorer = LabelScorer(scorer, name, list(own_labels))
        return nlp

    return after_init


def _first_names(names: Sequence[str]) -> str:
    """Names in words, of many the first ten."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" ... and {more:,} more" if more > 0 else "")


class LabelScorer:
    """A component's scorer that adds F1 of some labels to its scores.

    Args:
        scorer: The component's own.
        name: The component's name, for messages.
        labels: The labels that get a score.
    """

    def __init__(self, scorer: Callable[..., Scores], name: str, labels: list[str]):
        self.scorer, self.name, self.labels = scorer, name, labels

    def __call__(self, examples: Iterable[Example], **options: object) -> Scores:
        scores = self.scorer(examples, **options)
        per_type = {key: value for key, value in scores.items() if key.endswith(PER_TYPE)}
        if not per_type:
            raise config_error(
                f"Component '{self.name}': its scores ({', '.join(scores)}) are not by label, so "
                "that no label has an F1. Leave it out of score_labels."
            )
        flat = {}
        for key, by_label in per_type.items():
            base = key[: -len(PER_TYPE)]
            base = base if base.endswith("_f") else f"{base}_f"
            for label in self.labels:
                score = (by_label or {}).get(label) or {"f": 0.0}
                if isinstance(score, dict):  # not the areas under the curve of textcat
                    flat[f"{base}_{label}"] = score["f"]
        return {**scores, **flat}
