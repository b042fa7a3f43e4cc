"""`spacy_dice.console_logger.v1`: spaCy's console logger with more columns.

spaCy imports this module whenever any pipeline is made (its default logger is looked up among all
of them), so that it imports nothing of ours.
"""

import sys
from collections import Counter
from types import SimpleNamespace
from typing import IO, Any, Callable, Dict, List, Optional, Tuple

from spacy.language import Language

# Headings of terms are short: a column of spaCy's has 13 characters.
SHORT = {
    "CrossEntropy": "CE",
    "WeightedCrossEntropy": "WCE",
    "LogitAdjustedCE": "LACE",
    "SelfAdjustingDice": "DSC",
}
SHORT.update({"SemimetricDice": "SDice", "EntityDice": "EDice", "Tversky": "Tver"})
ROOM = 13 - len("Loss ")


def console_logger(
    progress_bar: Optional[str] = None,
    console_output: bool = True,
    output_file: Optional[str] = None,
    rare: int = 2,
    labels: Optional[List[str]] = None,
) -> Callable[..., Tuple[Callable[[Optional[Dict[str, Any]]], None], Callable[[], None]]]:
    """spaCy's console logger, with the terms of a compound loss and F1 of single labels.

    The terms of a sum of losses (DiceCE, Compound) have columns beside the sum, each as it counts,
    weight included. The labels are the rarest of the dev corpus.

    Args:
        progress_bar: None, "train" or "eval", as in spaCy.ConsoleLogger.v3.
        console_output: Whether to print a table.
        output_file: Where to write JSON Lines, in the form of spaCy's; in "losses" a term is called
            ``component:term``, in "scores" a label's F1 ``ents_f_LABEL``.
        rare: How many labels; 0 for none.
        labels: These instead.

    Returns:
        What spaCy calls to set the logger up.

    Example:
        A block of a config::

            [training.logger]
            @loggers = "spacy_dice.console_logger.v1"
            output_file = "training.jsonl"
    """
    from spacy.training.loggers import console_logger_v3

    from .callbacks import PER_TYPE, label_score

    to_console = console_logger_v3(progress_bar, console_output, None)
    to_file = console_logger_v3(None, False, output_file) if output_file else None

    def setup(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> Any:
        compounds = _compounds(nlp)
        for loss in compounds.values():
            loss.watch_terms()
        wanted = list(labels) if labels is not None else rarest_labels(nlp, rare)
        terms = [
            (pipe, term, leaf) for pipe, loss in compounds.items() for term, _, leaf in loss.terms()
        ]
        headings = _headings(terms, len(compounds))
        in_file = None
        if to_file is not None:
            names = [f"{pipe}:{term}" for pipe, term, _ in terms]
            keys = [
                key for key in nlp.config["training"]["score_weights"] if key.endswith(PER_TYPE)
            ]
            per_label = [label_score(key, label) for key in keys for label in wanted]
            in_file = to_file(_as_seen(nlp, names, per_label), stdout, stderr)
        columns = [f"F {label}" for label in wanted if not _has_column(nlp, label)]
        on_console = to_console(_as_seen(nlp, headings, columns), stdout, stderr)

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            if info is None:
                on_console[0](None)
                return
            seen = {pipe: loss.take_watched() for pipe, loss in compounds.items()}
            values = [seen[pipe].get(term, 0.0) for pipe, term, _ in terms]
            scores, flat = _of_labels(info["other_scores"])
            if in_file is not None:
                losses = {f"{pipe}:{term}": v for (pipe, term, _), v in zip(terms, values)}
                in_file[0](_with(info, losses, flat))
            best = {f"F {label}": max(scores.get(label, [0.0])) for label in wanted}
            on_console[0](_with(info, dict(zip(headings, values)), best))

        def finalize() -> None:
            on_console[1]()
            if in_file is not None:
                in_file[1]()

        return log_step, finalize

    return setup


def rarest_labels(nlp: Language, n: int) -> List[str]:
    """The labels with the fewest examples in the dev corpus, the rarest first.

    Args:
        nlp: A pipeline whose config names the corpus.
        n: How many.

    Returns:
        Labels of entities, spans and categories that a component and the dev corpus have.
    """
    if n < 1:
        return []
    from spacy.schemas import ConfigSchemaTraining
    from spacy.util import registry, resolve_dot_names

    config = nlp.config.interpolate()
    training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(config, [training["dev_corpus"]])
    counts: Counter = Counter()
    for example in corpus(nlp):
        doc = example.reference
        counts.update(ent.label_ for ent in doc.ents)
        counts.update(span.label_ for key in doc.spans for span in doc.spans[key])
        counts.update(label for label, value in doc.cats.items() if value > 0)
    known = {label for _, pipe in nlp.pipeline for label in getattr(pipe, "labels", ())}
    return sorted(known.intersection(counts), key=lambda label: (counts[label], label))[:n]


# -- what spaCy's logger is shown -----------------------------------------------------------


def _as_seen(nlp: Language, losses: List[str], scores: List[str]) -> Any:
    """What spaCy's logger reads of a pipeline, with a component for each more loss, and a weight
    for each more score.
    """
    training = dict(nlp.config["training"])
    training["score_weights"] = {**training["score_weights"], **{name: 0.0 for name in scores}}
    more = [(name, SimpleNamespace(is_trainable=True)) for name in losses]
    return SimpleNamespace(
        pipeline=[*nlp.pipeline, *more], config={**nlp.config, "training": training}
    )


def _with(info: Dict[str, Any], losses: Dict[str, float], scores: Dict[str, float]) -> Any:
    return {
        **info,
        "losses": {**info["losses"], **losses},
        "other_scores": {**info["other_scores"], **scores},
    }


def _compounds(nlp: Language) -> Dict[str, Any]:
    """The losses that are sums of others, by component."""
    losses = {name: getattr(pipe, "loss", None) for name, pipe in nlp.pipeline}
    return {name: loss for name, loss in losses.items() if hasattr(loss, "watch_terms")}


def _headings(terms: List[Any], n_compounds: int) -> List[str]:
    """A heading for each term: "CE", or with several components "ner CE", as far as it goes."""
    made: List[str] = []
    for pipe, _, leaf in terms:
        name = type(leaf).__name__
        short = SHORT.get(name, name)[:ROOM]
        if n_compounds > 1:
            short = f"{pipe[: max(ROOM - len(short) - 1, 1)]} {short}"
        number = sum(other.rstrip("0123456789") == short for other in made)
        made.append(f"{short}{number + 1}" if number else short)
    return made


def _has_column(nlp: Language, label: str) -> bool:
    """Whether a label has a column of its own already, by score_labels."""
    return any(key.endswith(f"_f_{label}") for key in nlp.config["training"]["score_weights"])


def _of_labels(scores: Dict[str, Any]) -> Tuple[Dict[str, List[float]], Dict[str, float]]:
    """F1 of each label, of all components that have it; and by the name of the score."""
    from .callbacks import PER_TYPE, label_score

    of_label: Dict[str, List[float]] = {}
    flat = {}
    for key, by_label in scores.items():
        if key.endswith(PER_TYPE) and isinstance(by_label, dict):
            for label, of_one in by_label.items():
                if isinstance(of_one, dict):
                    of_label.setdefault(label, []).append(of_one["f"])
                    flat[label_score(key, label)] = of_one["f"]
    return of_label, flat
