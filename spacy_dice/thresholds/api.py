"""`tune`, `calibrate` and what undoes them."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from spacy.language import Language
from spacy.pipeline.morphologizer import Morphologizer
from spacy.pipeline.ner import EntityRecognizer
from spacy.pipeline.senter import SentenceRecognizer
from spacy.pipeline.span_finder import SpanFinder
from spacy.pipeline.spancat import SpanCategorizer
from spacy.pipeline.tagger import Tagger
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import minibatch
from thinc.api import ConfigValidationError
from tqdm import tqdm

from dice_core.thresholds import component as core
from dice_core.thresholds.component import Tuning
from dice_core.thresholds.decisions import check_known
from dice_core.thresholds.objectives import Spec
from dice_core.thresholds.report import CalibrateReport, ComponentReport, TuneReport

from ..components.dice_ner import DiceNER
from ..errors import as_config_errors, config_error
from ..training import META, copy_pipeline, remove_callbacks
from .entities import BiluoEntities, TransitionEntities, path_probabilities, path_scores
from .labels import ExclusiveText, MultiLabelText, PipeTunable, Tags
from .last_layer import KEY
from .spans import SpanEnds, SpanLabels

R = TypeVar("R")
# Looked up by the exact type, or the nearest of its bases.
TUNABLES: dict[type, type[PipeTunable] | None] = {
    MultiLabel_TextCategorizer: MultiLabelText,
    TextCategorizer: ExclusiveText,
    Tagger: Tags,
    Morphologizer: None,
    SentenceRecognizer: None,
    SpanCategorizer: SpanLabels,
    SpanFinder: SpanEnds,
    EntityRecognizer: TransitionEntities,
    DiceNER: BiluoEntities,
}


def tunable_type(pipe: TrainablePipe) -> type[PipeTunable] | None:
    """The class for a component; None if there is none."""
    return next((TUNABLES[kind] for kind in type(pipe).__mro__ if kind in TUNABLES), None)


def tune(
    nlp: Language,
    examples: Iterable[Example],
    components: Sequence[str] | None = None,
    *,
    objective: Spec = None,
    labels: Mapping[str, Spec] | None = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    progress: bool | None = None,
) -> TuneReport:
    """Choose the thresholds of components, on dev, and write them into their weights. Changes
    ``nlp`` in place.

    Thresholds are chosen by cross-fitting, and the whole choice is cross-fitted once more: what the
    report calls "estimate", with its 95 % interval, is what to expect on new text. A component is
    left as it is where nothing better is found, or a floor is not reached. What was tuned before is
    undone first: tuning twice is tuning once. What is saved needs this package no more than before.

    Args:
        nlp: A trained pipeline.
        examples: Dev examples, which it was not trained on. Their ``predicted`` docs are copied.
        components: Names. None is all that can be tuned: ner, dice_ner, tagger, textcat,
            textcat_multilabel, spancat and span_finder; one whose threshold no shift can serve
            stays as it is, with a warning.
        objective: None is F1 of the average that spaCy reports first: macro for text classifiers,
            micro for all others. Or "micro", "macro", "macro_f2", "f0.5"; "precision>=0.9" is the
            highest recall at that precision, and "recall>=0.8" the reverse.
        labels: Objectives of single labels, e.g. ``{"PER": "precision>=0.9"}``; ``objective`` is
            then of the others.
        n_folds: Folds of the documents, at least 3.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.
        progress: Whether to print how far the decoding of candidates is; None: on a terminal.

    Returns:
        A `TuneReport`: print it, or ask it: ``report["ner"].estimate.micro.f``.

    Raises:
        ConfigValidationError: Before anything is changed, for a name that is no component, one
            that has nothing to shift, labels or options that do not fit. For scores that are NaN;
            all components are then as they were.

    Example:
        >>> import spacy, spacy_dice
        >>> from spacy.training import Example
        >>> nlp = spacy.blank("en")
        >>> _ = nlp.add_pipe("textcat_multilabel")
        >>> texts = {"a good film": 1.0, "a bad film": 0.0}
        >>> dev = [
        ...     Example.from_dict(nlp.make_doc(text), {"cats": {"GOOD": good}})
        ...     for text, good in texts.items()
        ... ]
        >>> _ = nlp.initialize(lambda: dev)
        >>> print(spacy_dice.tune(nlp, dev))
        textcat_multilabel (textcat_multilabel), for macro F1, 2 documents
          left as it is: no label has 5 examples.
    """
    tunables = _tunables(nlp, components, "tune")
    known = [label for one in tunables.values() for label in one.labels]
    with as_config_errors("tune: "):
        plan = core.Plan(objective, labels, known, n_folds, min_examples, max_loss)
    disable = None if progress is None else not progress  # tqdm's None: on a terminal

    def tune_one(one: PipeTunable, seen: list[Example]) -> ComponentReport:
        with tqdm(desc=f"{one.name}: decodings", leave=False, delay=1, disable=disable) as bar:
            one.progress = bar.update
            return plan.tune(one, seen)

    return TuneReport(_visit(nlp, tunables, examples, tune_one))


def calibrate(
    nlp: Language,
    examples: Iterable[Example],
    components: Sequence[str] | None = None,
    *,
    fit: bool = True,
) -> CalibrateReport:
    """Fit a temperature on dev, and write it into the weights, so that probabilities are
    calibrated.

    No decision changes. Calibrate after `tune`, which moves a label's probabilities. (Tuning
    afterwards keeps the temperature, and gives the same decisions as without it.)

    Args:
        nlp: A trained pipeline; it is changed in place.
        examples: Dev examples.
        components: Names. None takes all that have probabilities to show.
        fit: False only measures.

    Returns:
        A `CalibrateReport` of the expected calibration error (10 bins), Brier score and negative
        log-likelihood before and after, on these examples.

    Raises:
        ConfigValidationError: As `tune`.

    Example:
        >>> report = spacy_dice.calibrate(nlp, dev)  # doctest: +SKIP
        >>> report["textcat"].before.ece, report["textcat"].after.ece  # doctest: +SKIP
        (0.21, 0.04)
    """
    tunables = _tunables(nlp, components, "calibrate")
    calibrate_one = partial(core.calibrate, fit=fit)
    return CalibrateReport(_visit(nlp, tunables, examples, calibrate_one))


def get_tuning(nlp: Language) -> dict[str, Tuning]:
    """What `tune` and `calibrate` wrote into each component.

    Args:
        nlp: A pipeline.

    Returns:
        For each component that was tuned: "shift", log-odds by label, and "temperature". It is
        read from the components' cfg, so that it is there after loading; `set_tuning` does the same
        again. A component whose weights were loaded, initialized or trained since is not tuned:
        what was learnt has the shift in it.

    Example:
        >>> import spacy, spacy_dice
        >>> spacy_dice.get_tuning(spacy.blank("en"))
        {}
    """
    records = {name: one.record for name, one in _written(nlp).items()}
    return {name: record for name, record in records.items() if record}


def set_tuning(nlp: Language, tuning: Mapping[str, Tuning]) -> Language:
    """Write this into components, in place of what was. Changes ``nlp`` in place.

    Args:
        nlp: A trained pipeline.
        tuning: As `get_tuning` gives it; components that it does not name stay as they are.

    Returns:
        ``nlp``.

    Raises:
        ConfigValidationError: Before anything is changed, for components or labels that are not
            there.

    Example:
        >>> tuning = {"ner": {"shift": {"(all)": 0.5}}}  # more entities
        >>> spacy_dice.set_tuning(nlp, tuning)  # doctest: +SKIP
    """
    tunables = _tunables(nlp, list(tuning), "set_tuning")
    with as_config_errors("set_tuning: "):
        for name, record in tuning.items():
            known = tunables[name].shift_names
            check_known(record.get("shift") or {}, known, f"component '{name}' has no label")
    for name, record in tuning.items():
        tunables[name].rewrite(record)
    return nlp


def untune(nlp: Language, components: Sequence[str] | None = None) -> Language:
    """Take back what `tune` and `calibrate` did. Changes ``nlp`` in place.

    A component whose weights were loaded, initialized or trained since stays as it is, with a
    warning: the shift is not there any more, or is part of what was learnt.

    Args:
        nlp: A pipeline.
        components: Names; None is all.

    Returns:
        ``nlp``, which predicts as before.

    Raises:
        ConfigValidationError: For a name that is no component.

    Example:
        >>> import spacy, spacy_dice
        >>> spacy_dice.untune(spacy.blank("en")).pipe_names
        []
    """
    _check_names(nlp, components, "untune")
    for name, one in _written(nlp).items():
        if components is None or name in components:
            if not one.record:
                warnings.warn(
                    f"untune: component '{name}' stays as it is. Its weights are not those that "
                    "were tuned: they were loaded, initialized or trained since.",
                    stacklevel=2,
                )
            one.undo()
    return nlp


def score_entities(
    nlp: Language,
    texts: Iterable[str | Doc],
    component: str | None = None,
    *,
    spans_key: str = "scored",
    batch_size: int = 128,
) -> Iterator[Doc]:
    """Process texts, and say how sure a stock ner is of each entity that it predicts.

    The number is the product of the probabilities of the entity's actions (B, I, ..., L or U),
    each by the softmax of the scores in the state that greedy parsing had reached. It is no
    marginal: other paths to the same entity do not count, and what came before is taken for
    granted. It ranks entities; `calibrate` makes it closer to the share that is right.

    Args:
        nlp: A pipeline with a stock ner.
        texts: Texts, or docs that are not processed.
        component: The ner's name; None is the only one.
        spans_key: Where in ``doc.spans`` the predicted entities are put, with the probabilities,
            from 0 to 1, in ``attrs["scores"]``, as spancat and dice_ner do.
        batch_size: Documents that are parsed at once.

    Yields:
        The docs, in order, as ``nlp.pipe`` would.

    Raises:
        ConfigValidationError: For a component that is not there, is no stock ner, or decodes with a
            beam, which has probabilities of its own.

    Example:
        >>> for doc in spacy_dice.score_entities(nlp, texts):  # doctest: +SKIP
        ...     spans = doc.spans["scored"]
        ...     print(list(zip(spans, spans.attrs["scores"])))
    """
    names = [
        name
        for name, pipe in nlp.pipeline
        if component in (None, name) and tunable_type(pipe) is TransitionEntities
    ]
    if len(names) != 1:
        raise config_error(
            f"score_entities: there must be one stock ner, there are {len(names)}. Give component= "
            f"its name; the pipeline has: {', '.join(nlp.pipe_names)}."
        )
    ner: TrainablePipe = nlp.get_pipe(names[0])
    if ner.cfg["beam_width"] > 1:
        raise config_error(
            f"score_entities: component '{names[0]}' decodes with a beam, and the scores are those "
            "of greedy parsing. Set beam_width = 1."
        )
    for batch in minibatch(texts, batch_size):
        docs = [nlp.make_doc(text) if isinstance(text, str) else text for text in batch]
        for _, pipe in nlp.pipeline:
            if pipe is ner:
                found = path_scores(ner, docs)
            docs = _annotate(pipe, docs)
        for doc, (spans, scores) in zip(docs, found):
            group = SpanGroup(doc, name=spans_key, spans=[Span(doc, *span) for span in spans])
            group.attrs["scores"] = path_probabilities(scores)
            doc.spans[spans_key] = group
        yield from docs


def tune_copy(
    nlp: Language,
    components: Sequence[str] | None,
    corpus: Callable[[Language], Iterable[Example]],
    objective: Spec = None,
    labels: Mapping[str, Spec] | None = None,
) -> tuple[Language, TuneReport]:
    """Tune a copy of a pipeline, which shares everything with it but what tuning changes.

    Args:
        nlp: A pipeline, which is not changed.
        components: As for `tune`.
        corpus: Gives the dev examples.
        objective: As for `tune`.
        labels: As for `tune`.

    Returns:
        The copy, whose meta has a summary, and the report.
    """
    tunables = _tunables(nlp, components, "tune")
    saved = copy_pipeline(nlp)
    saved._components = [
        (name, tunables[name].twin() if name in tunables else pipe)
        for name, pipe in nlp._components
    ]
    examples, names = list(corpus(saved)), list(tunables)
    report = tune(saved, examples, names, objective=objective, labels=labels, progress=False)
    for one in report:
        brief: dict[str, object] = {"tuned": one.tuned, "reason": one.reason}
        if one.tuned:
            f = {
                "micro_f": [one.before.micro.f, one.estimate.micro.f],
                "macro_f": [one.before.macro.f, one.estimate.macro.f],
            }
            brief = {"tuned": True, "objective": one.objective, "before_and_estimate": f}
        saved._meta.setdefault(META, {})[one.name] = brief
    remove_callbacks(saved)
    return saved, report


def check_tunable(
    nlp: Language, frozen: Sequence[str], objective: Spec, labels: Mapping[str, Spec] | None
) -> list[str]:
    """The names of the components that `tune` can tune once they are trained, after a check of its
    options.

    Args:
        nlp: A pipeline that is initialized.
        frozen: The names of components that are not trained.
        objective: As for `tune`.
        labels: As for `tune`.

    Returns:
        The names, disabled components among them.

    Raises:
        ConfigValidationError: For an objective that is none, or a label that no component has.
    """
    enabled = copy.copy(nlp)
    enabled._disabled = set(frozen)
    tunables = _tunables(enabled, None, "tune")
    known = [label for one in tunables.values() for label in one.labels]
    with as_config_errors("tune: "):
        core.Plan(objective, labels, known, n_folds=5, min_examples=5, max_loss=0.0)
    return list(tunables)


# -- the pipeline --------------------------------------------------------------------------


def _tunables(nlp: Language, components: Sequence[str] | None, what: str) -> dict[str, PipeTunable]:
    """The components of a pipeline that ``what`` can be done to, in its order."""
    _check_names(nlp, components, what)
    found: dict[str, PipeTunable] = {}
    for name, pipe in nlp._components if what == "set_tuning" else nlp.pipeline:
        kind, factory = tunable_type(pipe), nlp.get_pipe_meta(name).factory
        if not (name in components if components is not None else kind):
            continue
        try:
            if kind is None or not hasattr(pipe, "model"):
                raise config_error(
                    f"{what}: component '{name}' ({factory}) has no scores of labels that could be "
                    "shifted. `spacy find-threshold` tries values of an option, such as threshold."
                )
            one = kind(pipe, factory)
            one.check()
            found[name] = one
        except ConfigValidationError as error:
            if components is not None:
                raise
            if what in ("tune", "calibrate"):
                warnings.warn(f"{what}: left as it is. {error.desc}", stacklevel=3)
    return found


def _written(nlp: Language) -> dict[str, PipeTunable]:
    """The components that have a record of what was written into them."""
    found: dict[str, PipeTunable] = {}
    for name, pipe in nlp._components:
        kind = tunable_type(pipe)
        if kind is not None and KEY in (getattr(pipe, "cfg", None) or {}):
            found[name] = kind(pipe, nlp.get_pipe_meta(name).factory)
    return found


def _check_names(nlp: Language, components: Sequence[str] | None, what: str) -> None:
    if isinstance(components, str):
        raise config_error(f"{what}: components must be a list of names, got {components!r}.")
    for name in components or ():
        if name not in nlp.component_names:
            raise config_error(
                f"{what}: there is no component '{name}'. The pipeline has: "
                f"{', '.join(nlp.component_names)}."
            )
        if what in ("tune", "calibrate") and name not in nlp.pipe_names:
            raise config_error(f"{what}: component '{name}' is disabled. Enable it first.")


def _visit(
    nlp: Language,
    tunables: dict[str, PipeTunable],
    examples: Iterable[Example],
    do: Callable[[PipeTunable, list[Example]], R],
) -> list[R]:
    """Run the pipeline over examples, and ``do`` something at each of the components, with what all
    before it have annotated. If something fails, all are as they were."""
    seen, made = [], []
    for eg in examples:
        if not isinstance(eg, Example):
            raise config_error(
                f"examples must be spaCy's Example objects, got {type(eg).__name__}."
            )
        seen.append(Example(eg.x.copy(), eg.y))
    left = set(tunables)
    with core.restored_on_error(tunables.values()):
        for name, pipe in nlp.pipeline:
            if name in tunables:
                with as_config_errors(f"Component '{name}': "):
                    tunables[name].check_weights()
                    made.append(do(tunables[name], seen))
            left.discard(name)
            if not left:
                break
            # A component may give back another doc.
            for eg, doc in zip(seen, _annotate(pipe, [eg.predicted for eg in seen])):
                if doc is not eg.predicted:
                    eg.predicted = doc
    return made


def _annotate(pipe: TrainablePipe, docs: list[Doc]) -> list[Doc]:
    if hasattr(pipe, "pipe"):
        return list(pipe.pipe(docs, batch_size=128))
    return [pipe(doc) for doc in docs]
