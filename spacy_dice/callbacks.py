"""Callbacks of a config: several in the place of one, and scores of single labels."""

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, Tuple

from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.training import Example

from .errors import config_error

CHAIN = "spacy_dice.chain.v1"
# Scores that hold a dict by label: what is before this is the name of the score.
PER_TYPE = "_per_type"


def callbacks_at(config: Mapping[str, Any], place: Tuple[str, str]) -> Dict[str, Any]:
    """The blocks of callbacks at a place of a config, those of a chain one by one.

    Args:
        config: Of a pipeline.
        place: Section and key, such as ("initialize", "after_init").

    Returns:
        By their names in the chain; one alone is called as its function.
    """
    block = config.get(place[0], {}).get(place[1])
    if not block:
        return {}
    if block.get("@callbacks") == CHAIN:
        return dict(block.get("callbacks", {}))
    return {short_name(block["@callbacks"]): block}


def short_name(registered: str) -> str:
    """Of a function: "use_loss" of "spacy_dice.use_loss.v1"."""
    parts = [part for part in registered.split(".") if not re.fullmatch(r"v\d+", part)]
    return parts[-1] if parts else registered


def chain_callback(callbacks: Dict[str, Any]) -> Callable[[Language], Language]:
    """`spacy_dice.chain.v1`: several callbacks where a config has room for one.

    Args:
        callbacks: By names that are free to choose; they are called in the order of the config.
            Each takes what the one before it returned (or what that took, if it returned None).

    Returns:
        A callback for ``[initialize.before_init]``, ``[initialize.after_init]`` or
        ``[training.before_to_disk]``.

    Raises:
        ConfigValidationError: For a member that is no callback.

    Example:
        >>> chain_callback({"first": lambda nlp: nlp + 1, "second": lambda nlp: nlp * 2})(3)
        8
    """
    if not callbacks:
        raise config_error("spacy_dice.chain.v1: callbacks is empty; give it at least one.")
    for name, callback in callbacks.items():
        if not callable(callback):
            raise config_error(
                f"spacy_dice.chain.v1: callbacks.{name} must be a block with @callbacks, got "
                f"{callback!r}."
            )

    def call_all(nlp: Language) -> Language:
        for callback in callbacks.values():
            returned = callback(nlp)
            nlp = nlp if returned is None else returned
        return nlp

    return call_all


def score_labels_callback(labels: Dict[str, List[str]]) -> Callable[[Language], Language]:
    """`spacy_dice.score_labels.v1`, for [initialize.after_init]: F1 of single labels as scores.

    spaCy chooses the checkpoint by numbers, and has a label's F1 in a dict ("ents_per_type") only.
    With this a label's F1 is a score of its own, which ``[training.score_weights]`` can name:
    ``ents_f_LABEL`` (ner), ``spans_sc_f_LABEL`` (spancat), ``cats_f_LABEL`` (textcat). What is
    saved stays as it was.

    Args:
        labels: For each component, by name, its labels that get a score.

    Raises:
        ConfigValidationError: When training begins, for a component or a label that is not there,
            or a component that has no scores by label.
    """

    def after_init(nlp: Language) -> Language:
        for name, of_component in labels.items():
            if name not in nlp.component_names:
                raise config_error(
                    f"score_labels: there is no component '{name}'. The pipeline has: "
                    f"{', '.join(nlp.component_names)}."
                )
            pipe: TrainablePipe = nlp.get_pipe(name)
            scorer = getattr(pipe, "scorer", None)
            if scorer is None:
                raise config_error(f"Component '{name}': it has no scorer, and so no scores.")
            for label in of_component:
                if label not in pipe.labels:
                    raise config_error(
                        f"Component '{name}': score_labels names the label {label!r}, which is "
                        f"none of its labels: {', '.join(map(str, pipe.labels))}."
                    )
            pipe.scorer = LabelScorer(scorer, name, list(of_component))
        return nlp

    return after_init


class LabelScorer:
    """A component's scorer, and beside its scores F1 of some labels.

    Args:
        scorer: The component's own.
        name: Of the component, for messages.
        labels: Those that get a score.
    """

    def __init__(self, scorer: Callable, name: str, labels: List[str]):
        self.scorer, self.name, self.labels = scorer, name, labels

    def __call__(self, examples: Iterable[Example], **options: Any) -> Dict[str, Any]:
        scores = self.scorer(examples, **options)
        per_type = {key: value for key, value in scores.items() if key.endswith(PER_TYPE)}
        if not per_type:
            raise config_error(
                f"Component '{self.name}': its scores ({', '.join(scores)}) are not by label, so "
                "that no label has an F1. Leave it out of score_labels."
            )
        flat = {}
        for key, of_label in per_type.items():
            for label in self.labels:
                of_this = (of_label or {}).get(label) or {"f": 0.0}
                if isinstance(of_this, dict):  # not the areas under the curve of textcat
                    flat[label_score(key, label)] = of_this["f"]
        return {**scores, **flat}


def label_score(key: str, label: str) -> str:
    """The name of a label's F1: "ents_f_PER" of ("ents_per_type", "PER").

    Example:
        >>> label_score("cats_f_per_type", "spam")
        'cats_f_spam'
    """
    base = key[: -len(PER_TYPE)]
    return f"{base}_{label}" if base.endswith("_f") else f"{base}_f_{label}"
