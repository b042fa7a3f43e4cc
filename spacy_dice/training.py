"""What the flag does while `spacy train` runs, at its end, and to the config that is saved.

`spacy train` resolves [training] once more after initialization. By then the flag has put a logger
around the config's own, which is told of each step and of the end, and a callback around its
before_to_disk, which saves what is tuned.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Optional
from weakref import WeakKeyDictionary

from spacy.language import Language
from spacy.training import Example
from spacy.training.loop import DIR_MODEL_BEST
from spacy.util import load_model, resolve_dot_names
from thinc.api import ConfigValidationError
from wasabi import Printer

from dice_core.thresholds.objectives import Spec
from dice_core.thresholds.report import ComponentReport, TuneReport

from .callbacks import CHAIN

OURS = "spacy_dice."
# What stands in a config while training begins, around the user's own logger and before_to_disk.
LOGGER, SAVE = "spacy_dice.train_logger.v1", "spacy_dice.save_tuned.v1"
PLACES = (("initialize", "before_init"), ("initialize", "after_init"))
BEFORE_TO_DISK = ("training", "before_to_disk")
# The key of meta.json.
META = "spacy_dice"
Block = Mapping[str, Any]
Logger = Callable[..., tuple[Callable, Callable]]


def remove_callbacks(nlp: Language) -> None:
    """Take the callbacks of this package out of the config of a pipeline, so that `spacy train`
    reads what is saved where this package is not installed. meta.json keeps them.

    Args:
        nlp: A pipeline that has called its callbacks, or resolved them. It is changed in place.
    """
    config, plain = nlp.config, nlp.config.interpolate()
    for section, key in (*PLACES, BEFORE_TO_DISK):
        block = plain.get(section, {}).get(key)
        kept = _without_ours(block)
        if kept != block:
            config[section][key] = kept
            nlp.meta.setdefault(META, {})[f"{section}.{key}"] = dict(block)


def copy_pipeline(nlp: Language) -> Language:
    """A pipeline with the same components, whose list of them, config and meta can be changed.

    Args:
        nlp: A pipeline, which is not changed.

    Returns:
        The copy.
    """
    made = copy.copy(nlp)
    made._config, made._meta = nlp.config.copy(), copy.deepcopy(nlp._meta)
    made._components, made._disabled = list(nlp._components), set(nlp._disabled)
    made._pipe_meta, made._pipe_configs = dict(nlp._pipe_meta), dict(nlp._pipe_configs)
    return made


def _without_ours(block: Optional[Block]) -> Optional[Block]:
    """A block of a callback, if it is not of this package; of a chain the others."""
    if not block or not block["@callbacks"].startswith(OURS):
        return block
    if block["@callbacks"] != CHAIN:
        return None
    members = {name: _without_ours(member) for name, member in block["callbacks"].items()}
    kept = {name: member for name, member in members.items() if member is not None}
    if len(kept) > 1:
        return {**block, "callbacks": kept}
    return next(iter(kept.values()), None)


@dataclass
class Run:
    """A run of `spacy train` with the flag.

    Attributes:
        losses: What each component trains with, in words.
        weights: The config's own score_weights, which are saved.
        is_new: Whether a component begins untrained, which was not sourced.
        tune: Whether thresholds are tuned at the end.
        objective, labels: As for `tune`.
        components: The names of those that are tuned.
        corpus: The dev corpus.
        best: The folder of the best checkpoint, when there is one.
        is_over: Whether training has ended.
        report: What tuning the best checkpoint found.
        stdout: Where `spacy train` prints.
    """

    losses: dict[str, str]
    weights: Optional[dict[str, Optional[float]]]
    is_new: bool
    tune: bool = False
    objective: Spec = None
    labels: Optional[Mapping[str, Spec]] = None
    components: list[str] = field(default_factory=list)
    corpus: Optional[Callable[[Language], Iterable[Example]]] = None
    best: Optional[Path] = None
    is_over: bool = False
    report: Optional[TuneReport] = None
    stdout: Optional[IO[str]] = None

    def begin(self, nlp: Language) -> None:
        """Have `spacy train` call this run: it reads its config once more after initialization.

        Raises:
            ConfigValidationError: If no component has a label that has an objective.
        """
        from .thresholds.api import check_tunable

        plain, training = nlp.config.interpolate(), nlp.config["training"]
        if self.tune:
            frozen = plain["training"]["frozen_components"]
            self.components = check_tunable(nlp, frozen, self.objective, self.labels)
            if not self.components:
                warnings.warn(
                    "use_loss: tune = true changes nothing, since no component that is trained can "
                    "be tuned.",
                    stacklevel=3,
                )
        if plain["training"]["logger"].get("@loggers") != LOGGER:
            training["logger"] = {"@loggers": LOGGER, "logger": training["logger"]}
        callback = training.get("before_to_disk")
        if self.tune and (callback or {}).get("@callbacks") != SAVE:
            training["before_to_disk"] = {"@callbacks": SAVE, "callback": callback}
        _RUNS[nlp] = self

    def print(self, kind: str, text: str) -> None:
        """Print a line where `spacy train` prints its own. kind: of wasabi, such as "info"."""
        print(getattr(Printer(no_print=True), kind)(text), file=self.stdout, flush=True)

    def tuned(self, nlp: Language, folder: str) -> tuple[Language, Optional[TuneReport]]:
        """A tuned copy of a pipeline; or the pipeline itself without a report if that fails, which
        is printed: what was trained is not lost.
        """
        from .thresholds.api import tune_copy

        assert self.corpus is not None
        names = [name for name in self.components if name in nlp.pipe_names]
        try:
            return tune_copy(nlp, names, self.corpus, self.objective, self.labels)
        except ConfigValidationError as error:
            self.print("fail", f"The thresholds of {folder} are not tuned. {error.desc}")
            return nlp, None

    def finish(self) -> None:
        """Tune the best checkpoint in its folder."""
        self.is_over = True
        if not self.tune or not self.components:
            return
        if self.best is None or not self.best.exists():
            self.print("warn", "No checkpoint was saved, so that no thresholds are tuned.")
            return
        self.print("info", f"Choosing thresholds on dev: {', '.join(self.components)}")
        saved, self.report = self.tuned(load_model(self.best), self.best.name)
        saved.to_disk(self.best)

    def print_summary(self) -> None:
        """Print a line for each component: what it trained with, and F1 of the best checkpoint."""
        reports = {one.name: one for one in self.report or ()}
        for name, loss in self.losses.items():
            found = reports.get(name)
            scores = "thresholds not tuned" if found is None else _scores(found)
            self.print("good" if found and found.tuned else "info", f"{name}: {loss}; {scores}")


_RUNS: "WeakKeyDictionary[Language, Run]" = WeakKeyDictionary()


def _scores(report: ComponentReport) -> str:
    """What tuning found, in a line."""
    average = report.objective.split()[0]
    before, estimate, seen = (
        f"{100 * getattr(scores, average).f:.1f}"
        for scores in (report.before, report.estimate, report.seen)
    )
    if not report.tuned:
        return f"{average} F1 on dev {before}, thresholds left as they are: {report.reason}"
    text = f"{average} F1 on dev {before}, with thresholds {seen}; expect {estimate} on new text"
    if report.gain is not None:
        value, low, high = (f"{100 * x:+.1f}" for x in report.gain)
        is_f1 = report.objective.endswith("F1")
        what = ", a gain of" if is_f1 else f"; {report.objective} changes by"
        text += f"{what} {value} (95 % interval {low} to {high})"
    return f"{text}; {report.floors}" if report.floors else text


def train_logger(logger: Logger) -> Logger:
    """`spacy_dice.train_logger.v1`, which the flag puts around a config's own logger: the logger is
    what `spacy train` tells of each step, and of the end.

    The checkpoint of the first update is not the best one, whatever its score is: untrained, a
    component with sigmoids predicts everything, which has an F1 above 0. (If all that is trained
    was sourced, it may be.)

    Args:
        logger: The config's own.

    Returns:
        A logger.
    """

    def setup(nlp: Language, stdout: IO[str], stderr: IO[str]) -> tuple[Callable, Callable]:
        run = _RUNS.setdefault(nlp, Run({}, None, is_new=False))
        # All is resolved by now: what is saved has the user's own logger and callbacks.
        training = nlp.config["training"]
        training["logger"] = training["logger"]["logger"]
        if run.tune:
            training["before_to_disk"] = training["before_to_disk"]["callback"]
        remove_callbacks(nlp)
        run.stdout = stdout
        config = nlp.config.interpolate()
        (run.corpus,) = resolve_dot_names(config, [config["training"]["dev_corpus"]])
        log_step, finalize = logger(nlp, stdout, stderr)
        if run.weights is not None:  # which the logger has read
            training["score_weights"] = run.weights

        def log(info: Optional[dict[str, Any]]) -> None:
            if info is not None:
                if run.is_new and info["step"] == 0:
                    info["checkpoints"][0] = (float("-inf"), 0)
                if "output_path" in info:
                    run.best = Path(info["output_path"]).with_name(DIR_MODEL_BEST)
            log_step(info)

        def finish() -> None:
            finalize()
            run.finish()

        return log, finish

    return setup


def save_tuned_callback(
    callback: Optional[Callable[[Language], Language]] = None,
) -> Callable[[Language], Language]:
    """`spacy_dice.save_tuned.v1`, which the flag with tune = true puts around a config's own
    ``[training.before_to_disk]``: what is saved when training has ended is tuned.

    Args:
        callback: The config's own.

    Returns:
        A callback.
    """

    def before_to_disk(nlp: Language) -> Language:
        run = _RUNS.setdefault(nlp, Run({}, None, is_new=False))
        saved = callback(nlp) if callback else nlp
        if run.is_over and isinstance(saved, Language):
            saved, _ = run.tuned(saved, "model-last")
            run.print_summary()
        return saved

    return before_to_disk


def choose_by_f1(nlp: Language, average: str) -> list[str]:
    """Let F1 choose the checkpoint, where spaCy's default for textcat_multilabel would: the area
    under the ROC curve, which no threshold moves. Other weights of the config stay, and what is
    saved has its own.

    Args:
        nlp: A pipeline that is going to be trained; its config is changed.
        average: "micro" or "macro".

    Returns:
        The names of the components that it is about; none if the config has other weights.
    """
    config = nlp.config["training"]
    names = [
        name
        for name, factory in nlp.pipe_factories.items()
        if factory == "textcat_multilabel" and name not in config["frozen_components"]
    ]
    weights: dict[str, Optional[float]] = config["score_weights"]
    given = [key for key, value in weights.items() if key.startswith("cats_") and value is not None]
    if not names or given != ["cats_score"] or not weights["cats_score"]:
        return []
    weights[f"cats_{average}_f"], weights["cats_score"] = weights["cats_score"], 0.0
    return names
