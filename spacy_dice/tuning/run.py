"""`tune`, `calibrate` and what undoes them."""

import copy
import sys
import time
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
    Tuple,
    Union,
)

import numpy
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import minibatch, resolve_dot_names
from thinc.api import ConfigValidationError

from dice_core import calibration
from dice_core.cuts import Objective, as_objective, choose
from dice_core.report import (
    CalibrateReport,
    CalibrationReport,
    ComponentReport,
    TuneReport,
    of_choice,
)

from ..errors import config_error
from . import fold
from .parts import DIGITS, Part, TransitionEntities, part_type, path_scores

Spec = Union[None, str, Mapping[str, Any], Objective]


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
    """Choose where components cut, on dev, and fold it into them. Changes ``nlp`` in place.

    Cuts are chosen by cross-fitting, so that what the report calls "estimate" is what to expect on
    new text. A component is left as it is where nothing better is found. What was tuned before is
    undone first: tuning twice is tuning once. What is saved needs this package no more than before.

    Args:
        nlp: A trained pipeline.
        examples: Dev examples, which it was not trained on. Their ``predicted`` docs are copied.
        components: Names. None takes all that can be tuned but the parser, which has to attach
            each token once and takes a decoding for each candidate.
        objective: None is F1 of the average that spaCy reports first: macro for text classifiers,
            micro for all others. Or "micro", "macro", "macro_f2", "f0.5"; "precision>=0.9" is the
            highest recall at that precision, and "recall>=0.8" the reverse.
        labels: Objectives of single labels, e.g. ``{"PER": "precision>=0.9"}``.
        n_folds: Folds of the documents, at least 2.
        min_examples: Labels with fewer gold examples are left alone.
        max_loss: How much F1 of the other average may go down, from 0 to 1.
        progress: Whether to print how far the decoding of candidates is; None: on a terminal.

    Returns:
        A `TuneReport`: print it, or ask it: ``report["ner"].estimate.micro.f``.

    Raises:
        ConfigValidationError: Before anything is changed, for a name that is no component, one
            that has nothing to shift, labels or options that do not fit.

    Example:
        >>> report = spacy_dice.tune(nlp, list(dev_corpus(nlp)))
        >>> print(report)
        >>> nlp.to_disk("tuned")
    """
    parts = _parts(nlp, components, "tune")
    of_label = {name: _objective(spec, "micro") for name, spec in (labels or {}).items()}
    _check_options(n_folds, min_examples, of_label, parts)
    objectives = {name: _objective(objective, part.average) for name, part in parts.items()}
    before = {name: part.get_state() for name, part in parts.items()}
    reports: List[ComponentReport] = []

    def tune_part(name: str, part: Part, read: List[Example]) -> None:
        start = time.perf_counter()
        state = part.get_state()
        temperature = state.get("temperature", 1.0)
        part.clear()
        show = _progress_of(name, progress)
        own = {label: o for label, o in of_label.items() if label in part.shift_names}
        cuts = _read(part, read, show)
        choice = choose(
            cuts,
            objectives[name],
            own,
            n_folds=n_folds,
            min_examples=min_examples,
            max_loss=max_loss,
        )
        if show is not None:
            show(0, 0)
        center = part.center if part.last.activation != "none" else None
        independent = getattr(cuts, "known", None) is not None
        report = of_choice(
            *(name, part.kind, cuts, objectives[name], own, choice), center if independent else None
        )
        part.set_state(None if choice.reason else choice.shift, temperature)
        report.seconds = round(time.perf_counter() - start, 3)
        reports.append(report)

    try:
        _visit(nlp, parts, examples, tune_part)
    except BaseException:
        for name, part in parts.items():
            _restore(part, before[name])
        raise
    return TuneReport(reports)


def calibrate(
    nlp: Language,
    examples: Iterable[Example],
    components: Optional[Sequence[str]] = None,
    *,
    per_label: bool = False,
    fit: bool = True,
) -> CalibrateReport:
    """Fit a temperature on dev, and fold it in, so that probabilities mean what they say.

    No decision changes. Calibrate after `tune`: a cut that is tuned moves a label's probabilities,
    and calibrating before it would be calibrating what is no longer there. (Tuning afterwards keeps
    the temperature, and gives the same decisions as without it.)

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
        ConfigValidationError: As `tune`.
    """
    parts = _parts(nlp, components, "calibrate")
    before = {name: part.get_state() for name, part in parts.items()}
    reports: List[CalibrationReport] = []

    def calibrate_part(name: str, part: Part, read: List[Example]) -> None:
        start = time.perf_counter()
        state = part.get_state()
        shift = list(state["shift"].values()) if state.get("shift") else None
        if fit:
            part.set_state(shift, 1.0)
        part.every_row = True
        cuts = _read(part, read)
        confidence = part.confidence(cuts)
        measured = calibration.measure(confidence.p, confidence.right)
        temperature: Any = 1.0
        reason = ""
        after = measured
        if not measured.n:
            reason = "the examples have no gold annotation for it, or it predicts nothing"
            temperature = state.get("temperature", 1.0)
        elif fit:
            temperature = confidence.fit()
            if per_label and part.per_label_temperature:
                _check_per_label(part)
                of_column: Any = confidence.fit
                temperature = {
                    label: of_column(c) if cuts.n_examples[c] >= 5 else temperature
                    for c, label in enumerate(cuts.names)
                }
            after = calibration.measure(confidence.at(temperature), confidence.right)
        if fit:
            part.set_state(shift, temperature)
        reports.append(
            CalibrationReport(
                name,
                part.kind,
                confidence.what,
                temperature,
                measured,
                after,
                reason,
                round(time.perf_counter() - start, 3),
            )
        )

    try:
        _visit(nlp, parts, examples, calibrate_part)
    except BaseException:
        for name, part in parts.items():
            _restore(part, before[name])
        raise
    return CalibrateReport(reports)


def get_tuning(nlp: Language) -> Dict[str, Dict[str, Any]]:
    """What `tune` and `calibrate` folded into each component.

    Returns:
        For each component that was tuned: "shift", log-odds by label, and "temperature", a number
        or a number by label. It is read from the components' cfg, so that it is there after
        loading; `set_tuning` does the same again.
    """
    states = {}
    for name in nlp.component_names:
        state = (getattr(nlp.get_pipe(name), "cfg", None) or {}).get(fold.KEY)
        if state:
            states[name] = {key: _rounded(state[key]) for key in ("shift", "temperature")}
    return states


def _rounded(value: Any) -> Any:
    """Numbers as they were before spaCy's JSON."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, DIGITS)


def set_tuning(nlp: Language, tuning: Mapping[str, Mapping[str, Any]]) -> Language:
    """Fold this in, in place of what was. Changes ``nlp`` in place.

    Args:
        nlp: A trained pipeline.
        tuning: As `get_tuning` gives it; components that it does not name stay as they are.

    Returns:
        ``nlp``.

    Raises:
        ConfigValidationError: Before anything is changed, for components or labels that are not
            there.
    """
    parts = _parts(nlp, list(tuning), "set_tuning")
    for name, state in tuning.items():
        unknown = set(state.get("shift") or {}) - set(parts[name].shift_names)
        if unknown:
            raise config_error(
                f"set_tuning: component '{name}' has no label {sorted(unknown)[0]!r}. It has: "
                f"{', '.join(parts[name].shift_names)}."
            )
    for name, state in tuning.items():
        _restore(parts[name], state)
    return nlp


def untune(nlp: Language, components: Optional[Sequence[str]] = None) -> Language:
    """Take back what `tune` and `calibrate` did. Changes ``nlp`` in place.

    Args:
        nlp: A pipeline.
        components: Names; None is all.

    Returns:
        ``nlp``, which predicts as before.

    Raises:
        ConfigValidationError: For a name that is no component.
    """
    tuned = get_tuning(nlp)
    _check_names(nlp, components, "untune")
    names = [name for name in tuned if components is None or name in components]
    for part in _parts(nlp, names, "untune").values():
        part.clear()
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
    """
    names = [
        name
        for name, pipe in nlp.pipeline
        if component in (None, name) and part_type(pipe) is TransitionEntities
    ]
    if len(names) != 1:
        raise config_error(
            f"score_entities: there must be one stock ner, there are {len(names)}. Give component= "
            f"its name; the pipeline has: {', '.join(nlp.pipe_names)}."
        )
    pipe: Any = nlp.get_pipe(names[0])
    if pipe.cfg["beam_width"] > 1:
        raise config_error(
            f"score_entities: component '{names[0]}' decodes with a beam, and the scores are those "
            "of greedy parsing. Set beam_width = 1."
        )
    for batch in minibatch(texts, batch_size):
        docs = [nlp.make_doc(text) if isinstance(text, str) else text for text in batch]
        for name, other in nlp.pipeline:
            if name != names[0]:
                docs = _annotate(other, docs)
                continue
            found, scores = path_scores(pipe, docs)
            p = iter(
                [
                    numpy.exp(rows[:, 0] - numpy.logaddexp.reduce(rows, axis=1)).prod()
                    for rows in scores
                ]
            )
            docs = _annotate(other, docs)
            for doc, spans in zip(docs, found):
                group = SpanGroup(doc, name=spans_key)
                for start, end, label in spans:
                    group.append(Span(doc, start, end, label=label))
                group.attrs["scores"] = numpy.asarray([next(p) for _ in spans])
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
    cache: Dict[str, Any] = {}

    def before_to_disk(nlp: Language) -> Language:
        from ..switch import to_stock as as_stock

        parts = _parts(nlp, components, "tune")
        saved = _copy_apart(nlp, parts)
        if "corpus" not in cache:
            config = nlp.config.interpolate()
            (cache["corpus"],) = resolve_dot_names(
                config, [corpus or config["training"]["dev_corpus"]]
            )
        examples = list(cache["corpus"](saved))
        report = tune(
            saved, examples, list(parts), objective=objective, labels=labels, progress=False
        )
        for part in report:
            saved._meta.setdefault("spacy_dice", {})[part.name] = _brief(part)
        if calibrate:
            _calibrate(saved, examples)
        return as_stock(saved) if to_stock else saved

    return before_to_disk


_calibrate = calibrate


def _brief(part: ComponentReport) -> Dict[str, Any]:
    """What meta.json says of a component that is saved: F1 before, and as it is estimated."""
    if not part.tuned:
        return {"tuned": False, "reason": part.reason}
    f = {
        f"{average}_f": [getattr(part.before, average).f, getattr(part.estimate, average).f]
        for average in ("micro", "macro")
    }
    return {"tuned": True, "objective": part.objective, "before_and_estimate": f}


# -- the pipeline --------------------------------------------------------------------------


def _parts(nlp: Language, components: Optional[Sequence[str]], what: str) -> Dict[str, Part]:
    """The parts of a pipeline, in its order."""
    _check_names(nlp, components, what)
    parts: Dict[str, Part] = {}
    for name, pipe in nlp.pipeline if what == "tune" or what == "calibrate" else nlp._components:
        if components is not None and name not in components:
            continue
        kind = part_type(pipe)
        factory = nlp.get_pipe_meta(name).factory
        if kind is None:
            if components is not None:
                raise config_error(
                    f"{what}: component '{name}' ({factory}) has no scores of labels that could be "
                    "shifted."
                )
            continue
        if components is None and not (kind.by_default and hasattr(pipe, "model")):
            continue
        try:
            part = kind(pipe, factory)
            if what != "untune":
                part.center
            if what == "calibrate" and kind.confidence is Part.confidence:
                part.confidence(None)
            parts[name] = part
        except ConfigValidationError:
            # With no names given, what cannot be tuned is left alone.
            if components is not None:
                raise
    return parts


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


def _check_options(
    n_folds: int, min_examples: int, of_label: Dict[str, Objective], parts: Dict[str, Part]
) -> None:
    if n_folds < 2 or min_examples < 1:
        raise config_error("tune: n_folds must be at least 2, and min_examples at least 1.")
    known = {label for part in parts.values() for label in part.shift_names}
    for label in of_label:
        if label not in known:
            raise config_error(
                f"tune: no component has a label {label!r}. There are: {', '.join(sorted(known))}."
            )


def _check_per_label(part: Part) -> None:
    if part.last.layer.name == "sparse_linear":
        raise config_error(
            f"calibrate: component '{part.name}' ends in a sparse_linear layer, whose weights "
            "labels share: it can have one temperature only. Leave per_label out."
        )


def _read(part: Part, examples: List[Example], progress: Any = None) -> Any:
    try:
        return part.read(examples, progress)
    except ConfigValidationError:
        raise
    except ValueError as error:
        raise config_error(f"Component '{part.name}': {error}") from error


def _objective(spec: Spec, average: str) -> Objective:
    try:
        return as_objective(spec, average)
    except ValueError as error:
        raise config_error(f"tune: {error}") from None


def _restore(part: Part, state: Mapping[str, Any]) -> None:
    if not state:
        part.clear()
        return
    shift = state.get("shift") or {}
    part.set_state(
        [float(shift.get(name, 0.0)) for name in part.shift_names], state.get("temperature", 1.0)
    )


def _visit(
    nlp: Language,
    parts: Dict[str, Part],
    examples: Iterable[Example],
    do: Callable[[str, Part, List[Example]], None],
) -> None:
    """Run the pipeline over examples, and ``do`` something at each of the parts."""
    read = list(examples)
    for eg in read:
        if not isinstance(eg, Example):
            raise config_error(
                f"examples must be spaCy's Example objects, got {type(eg).__name__}."
            )
    read = [Example(eg.x.copy(), eg.y) for eg in read]
    left = set(parts)
    for name, pipe in nlp.pipeline:
        if name in parts:
            do(name, parts[name], read)
            left.discard(name)
        if not left:
            break
        # A component may give back another doc.
        for eg, doc in zip(read, _annotate(pipe, [eg.predicted for eg in read])):
            if doc is not eg.predicted:
                eg.predicted = doc


def _annotate(pipe: Any, docs: List[Doc]) -> List[Doc]:
    if hasattr(pipe, "pipe"):
        return list(pipe.pipe(docs, batch_size=128))
    return [pipe(doc) for doc in docs]


def _copy_apart(nlp: Language, parts: Dict[str, Part]) -> Language:
    """A pipeline that shares everything with another but what folding changes."""
    saved = copy.copy(nlp)
    saved._config = nlp.config.copy()
    saved._meta = copy.deepcopy(nlp._meta)
    saved._disabled = set(nlp._disabled)
    saved._pipe_meta, saved._pipe_configs = dict(nlp._pipe_meta), dict(nlp._pipe_configs)
    saved._components = [
        (name, parts[name].twin().pipe if name in parts else pipe) for name, pipe in nlp._components
    ]
    return saved


def _progress_of(name: str, progress: Optional[bool]) -> Optional[Callable[[int, int], None]]:
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return None

    def show(done: int, at_most: int) -> None:
        if at_most:
            sys.stderr.write(f"\r{name}: {done} decodings of dev, of at most {at_most}")
        else:
            sys.stderr.write("\r" + " " * 60 + "\r")
        sys.stderr.flush()

    return show


__all__: Tuple[str, ...] = (
    "calibrate",
    "get_tuning",
    "score_entities",
    "set_tuning",
    "tune",
    "untune",
)
