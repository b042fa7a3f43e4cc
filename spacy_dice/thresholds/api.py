"""`tune`, `calibrate` and what undoes them."""

import copy
import warnings
from contextlib import contextmanager
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Type,
    Union,
)

import numpy
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
from spacy.util import minibatch, resolve_dot_names
from thinc.api import ConfigValidationError
from tqdm import tqdm

from dice_core.thresholds import component as core
from dice_core.thresholds.decisions import check_known
from dice_core.thresholds.objectives import Spec, as_objective
from dice_core.thresholds.report import CalibrateReport, ComponentReport, TuneReport

from ..components.dice_ner import DiceNER
from ..components.dice_qa import DiceQA
from ..errors import config_error
from .entities import (
    Answers,
    BiluoEntities,
    TransitionEntities,
    path_probabilities,
    path_scores,
)
from .labels import ExclusiveText, MultiLabelText, PipeTunable, Tags
from .last_layer import KEY
from .spans import SpanEnds, SpanLabels

# Looked up by the exact type, or the nearest of its bases.
TUNABLES: Dict[type, Optional[Type[PipeTunable]]] = {
    MultiLabel_TextCategorizer: MultiLabelText,
    TextCategorizer: ExclusiveText,
    Tagger: Tags,
    Morphologizer: None,
    SentenceRecognizer: None,
    SpanCategorizer: SpanLabels,
    SpanFinder: SpanEnds,
    EntityRecognizer: TransitionEntities,
    DiceNER: BiluoEntities,
    DiceQA: Answers,
}


def tunable_type(pipe: TrainablePipe) -> Optional[Type[PipeTunable]]:
    """The class for a component; None if there is none."""
    return next((TUNABLES[kind] for kind in type(pipe).__mro__ if kind in TUNABLES), None)


def tune(
    nlp: Language,
    examples: Iterable[Example],
    components: Optional[Sequence[str]] = None,
    *,
    objective: Spec = None,
    labels: Optional[Mapping[str, Spec]] = None,
    n_folds: int = 5,
    min_examples: int = 5,
    max_loss: float = 0.005,
    progress: Optional[bool] = None,
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
            textcat_multilabel, spancat, span_finder and dice_qa; one whose threshold no shift can
            serve stays as it is, with a warning.
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
    with _config_errors("tune"):
        by_label = core.parse_objectives(tunables.values(), labels, n_folds, min_examples)
        objectives = {name: as_objective(objective, one.average) for name, one in tunables.items()}
    options = {"n_folds": n_folds, "min_examples": min_examples, "max_loss": max_loss}
    reports: List[ComponentReport] = []

    def tune_one(one: PipeTunable, seen: List[Example]) -> None:
        # tqdm's None: on a terminal.
        disable = None if progress is None else not progress
        with (
            tqdm(desc=f"{one.name}: decodings", leave=False, delay=1, disable=disable) as bar,
            _config_errors(f"Component '{one.name}'"),
        ):
            one.progress = bar.update
            one.check_weights()
            reports.append(core.tune(one, seen, objectives[one.name], by_label, **options))

    _visit(nlp, tunables, examples, tune_one)
    return TuneReport(reports)


def calibrate(
    nlp: Language,
    examples: Iterable[Example],
    components: Optional[Sequence[str]] = None,
    *,
    per_label: bool = False,
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
        per_label: One temperature for each label, where labels are independent
            (textcat_multilabel, spancat); others have one.
        fit: False only measures.

    Returns:
        A `CalibrateReport` of the expected calibration error (10 bins), Brier score and negative
        log-likelihood before and after, on these examples.

    Raises:
        ConfigValidationError: As `tune`; and for ``per_label`` where labels share their weights.

    Example:
        >>> report = spacy_dice.calibrate(nlp, dev)  # doctest: +SKIP
        >>> report["textcat"].before.ece, report["textcat"].after.ece  # doctest: +SKIP
        (0.21, 0.04)
    """
    tunables = _tunables(nlp, components, "calibrate")
    for one in tunables.values():
        if per_label and one.per_label and one.last.layer.name == "sparse_linear":
            raise config_error(
                f"calibrate: component '{one.name}' ends in a sparse_linear layer, whose weights "
                "labels share: it can have one temperature only. Leave per_label out."
            )
    reports = []

    def calibrate_one(one: PipeTunable, seen: List[Example]) -> None:
        with _config_errors(f"Component '{one.name}'"):
            one.check_weights()
            reports.append(core.calibrate(one, seen, per_label, fit))

    _visit(nlp, tunables, examples, calibrate_one)
    return CalibrateReport(reports)


def get_tuning(nlp: Language) -> Dict[str, Dict[str, Any]]:
    """What `tune` and `calibrate` wrote into each component.

    Args:
        nlp: A pipeline.

    Returns:
        For each component that was tuned: "shift", log-odds by label, and "temperature", a number
        or a number by label. It is read from the components' cfg, so that it is there after
        loading; `set_tuning` does the same again. A component whose weights were loaded,
        initialized or trained since is not tuned: what was learnt has the shift in it.

    Example:
        >>> import spacy, spacy_dice
        >>> spacy_dice.get_tuning(spacy.blank("en"))
        {}
    """
    records = {name: one.record for name, one in _written(nlp).items()}
    return {name: record for name, record in records.items() if record}


def set_tuning(nlp: Language, tuning: Mapping[str, Mapping[str, Any]]) -> Language:
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
    with _config_errors("set_tuning"):
        for name, record in tuning.items():
            known = tunables[name].shift_names
            check_known(record.get("shift") or {}, known, f"component '{name}' has no label")
    for name, record in tuning.items():
        tunables[name].rewrite(record.get("shift"), record.get("temperature", 1.0))
    return nlp


def untune(nlp: Language, components: Optional[Sequence[str]] = None) -> Language:
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
    texts: Iterable[Union[str, Doc]],
    component: Optional[str] = None,
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
                found, scores = path_scores(ner, docs)
            docs = _annotate(pipe, docs)
        ends = numpy.cumsum([len(spans) for spans in found])
        p = numpy.split(path_probabilities(scores), ends[:-1])
        for doc, spans, of_spans in zip(docs, found, p):
            group = SpanGroup(doc, name=spans_key, spans=[Span(doc, *span) for span in spans])
            group.attrs["scores"] = of_spans
            doc.spans[spans_key] = group
        yield from docs


def tune_callback(
    components: Optional[List[str]] = None,
    objective: Union[None, str, Dict[str, Any]] = None,
    labels: Optional[Dict[str, Union[str, Dict[str, Any]]]] = None,
    corpus: Optional[str] = None,
    calibrate: bool = False,
    to_stock: bool = False,
) -> Callable[[Language], Language]:
    """`spacy_dice.tune.v1`, for [training.before_to_disk]: what is saved is tuned on dev.

    The pipeline that is being trained is not changed.

    Args:
        components, objective, labels: As for `tune`.
        corpus: Which corpus to tune on, such as "corpora.tune"; None is the dev corpus.
        calibrate: Whether to `calibrate`, too.
        to_stock: Whether a dice_tagger is saved as a tagger, as `spacy_dice.to_stock.v1` does.
    """
    read: Any = None  # the corpus: resolved once

    def before_to_disk(nlp: Language) -> Language:
        nonlocal read
        from ..switch import to_stock as as_stock

        tunables = _tunables(nlp, components, "tune")
        saved = _copy_apart(nlp, tunables)
        if read is None:
            config = nlp.config.interpolate()
            (read,) = resolve_dot_names(config, [corpus or config["training"]["dev_corpus"]])
        examples = list(read(saved))
        report = tune(
            saved, examples, list(tunables), objective=objective, labels=labels, progress=False
        )
        for one in report:
            saved._meta.setdefault("spacy_dice", {})[one.name] = _brief(one)
        if calibrate:
            _calibrate(saved, examples)
        return as_stock(saved) if to_stock else saved

    return before_to_disk


_calibrate = calibrate


def _brief(report: ComponentReport) -> Dict[str, Any]:
    """What meta.json says of a component that is saved: F1 before, and as it is estimated."""
    if not report.tuned:
        return {"tuned": False, "reason": report.reason}
    before, after = report.before, report.estimate
    f = {"micro_f": [before.micro.f, after.micro.f], "macro_f": [before.macro.f, after.macro.f]}
    return {"tuned": True, "objective": report.objective, "before_and_estimate": f}


# -- the pipeline --------------------------------------------------------------------------


def _tunables(
    nlp: Language, components: Optional[Sequence[str]], what: str
) -> Dict[str, PipeTunable]:
    """The components of a pipeline that ``what`` can be done to, in its order."""
    _check_names(nlp, components, what)
    found: Dict[str, PipeTunable] = {}
    for name, pipe in nlp._components if what == "set_tuning" else nlp.pipeline:
        if not (name in components if components is not None else tunable_type(pipe)):
            continue
        try:
            found[name] = _tunable(name, pipe, nlp.get_pipe_meta(name).factory, what)
        except ConfigValidationError as error:
            if components is not None:
                raise
            if what == "tune":
                warnings.warn(f"{what}: left as it is. {error.desc}", stacklevel=3)
    return found


def _tunable(name: str, pipe: TrainablePipe, factory: str, what: str) -> PipeTunable:
    kind = tunable_type(pipe)
    if kind is None or not hasattr(pipe, "model"):
        raise config_error(
            f"{what}: component '{name}' ({factory}) has no scores of labels that could be shifted."
        )
    if what == "calibrate" and not kind.has_probabilities:
        raise config_error(
            f"Component '{name}' ({factory}) cannot be calibrated: it shows no probabilities."
        )
    one = kind(pipe, factory)
    one.check()
    return one


def _written(nlp: Language) -> Dict[str, PipeTunable]:
    """The components that have a record of what was written into them."""
    found: Dict[str, PipeTunable] = {}
    for name, pipe in nlp._components:
        kind = tunable_type(pipe)
        if kind is not None and KEY in (getattr(pipe, "cfg", None) or {}):
            found[name] = kind(pipe, nlp.get_pipe_meta(name).factory)
    return found


def _check_names(nlp: Language, components: Optional[Sequence[str]], what: str) -> None:
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


@contextmanager
def _config_errors(owner: str) -> Iterator[None]:
    """Let errors be spaCy's, and say whose they are."""
    try:
        yield
    except ConfigValidationError:
        raise
    except ValueError as error:
        raise config_error(f"{owner}: {error}") from error


def _visit(
    nlp: Language,
    tunables: Dict[str, PipeTunable],
    examples: Iterable[Example],
    do: Callable[[PipeTunable, List[Example]], None],
) -> None:
    """Run the pipeline over examples, and ``do`` something at each of the components, with what all
    before it have annotated. If something fails, all are as they were."""
    seen = []
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
                do(tunables[name], seen)
            left.discard(name)
            if not left:
                break
            # A component may give back another doc.
            for eg, doc in zip(seen, _annotate(pipe, [eg.predicted for eg in seen])):
                if doc is not eg.predicted:
                    eg.predicted = doc


def _annotate(pipe: TrainablePipe, docs: List[Doc]) -> List[Doc]:
    if hasattr(pipe, "pipe"):
        return list(pipe.pipe(docs, batch_size=128))
    return [pipe(doc) for doc in docs]


def _copy_apart(nlp: Language, tunables: Dict[str, PipeTunable]) -> Language:
    """A pipeline that shares everything with another but what writing changes."""
    saved = copy.copy(nlp)
    saved._config = nlp.config.copy()
    saved._meta = copy.deepcopy(nlp._meta)
    saved._disabled = set(nlp._disabled)
    saved._pipe_meta, saved._pipe_configs = dict(nlp._pipe_meta), dict(nlp._pipe_configs)
    saved._components = [
        (name, tunables[name].twin() if name in tunables else pipe)
        for name, pipe in nlp._components
    ]
    return saved
