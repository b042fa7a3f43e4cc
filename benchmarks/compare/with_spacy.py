"""Cells of spaCy: `spacy train` on a file of configs/."""

import json
import statistics
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple

import spacy
import srsly
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example
from thinc.api import Config, NumpyOps, set_current_ops

from corpora import folders, in_spacy

from .. import ROOT
from ..versions import versions
from . import rivals, scores  # noqa: F401 (rivals are registered)
from .recipes import Recipe, as_config, with_labels

NAME = "spacy"
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Docs of dev that the checkpoint is chosen by, sentences or short texts. Scores are those of all.
CURVE_DOCS = {"spans": 400, "texts": 2000}
# srsly looks for plug-ins of its own at every doc that is read; there are none.
srsly.msgpack_encoders.entry_points = srsly.msgpack_decoders.entry_points = False
# Other models of a component: the file of configs/, and what takes the place of its model; what
# follows a tok2vec follows a transformer where the name says so.
_LISTENER = "${components.tok2vec.model.encode.width}"
ON_TRANSFORMER = "_transformer"
VARIANTS: Dict[str, Tuple[str, Optional[Dict[str, Any]]]] = {
    "textcat_multilabel_reduce": (
        "textcat_multilabel",
        {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": False,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": True,
            "use_reduce_mean": True,
            "tok2vec": {"@architectures": "spacy.Tok2VecListener.v1", "width": _LISTENER},
        },
    ),
    "textcat_multilabel_bow": (
        "textcat_multilabel",
        {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": False,
            "ngram_size": 1,
            "no_output_layer": False,
        },
    ),
    "spancat_transformer": ("spancat", None),
    # As `spacy init config --gpu` writes it.
    "textcat_multilabel_transformer": (
        "textcat_multilabel",
        {"@architectures": "spacy.TextCatCNN.v2", "exclusive_classes": False, "tok2vec": None},
    ),
}
# Components whose score is the mean over labels, which spaCy's own scorers do not give.
MACRO_SCORED = ("tagger", "morphologizer")


def run(
    cell: Dict[str, Any],
    recipe: Optional[Recipe],
    data: Path,
    folder: Path,
    args: Any,
    transformer: str,
) -> Dict[str, Any]:
    """Train and score. recipe: None is the component as it is without the library. RETURNS what
    is measured: lines of the results beside the cell's key."""
    docs = _docs(data, args.task)
    train_docs = folders.sample(docs["train"], args.size or None, cell["seed"])
    some_dev = folders.sample(
        docs["dev"], CURVE_DOCS["texts" if "textcat" in cell["model"] else "spans"], 0
    )
    for split, of_split in {**docs, "train": train_docs, "curve": some_dev}.items():
        DocBin(docs=of_split).to_disk(folder / f"{split}.spacy")
    config, name = configured(cell["model"], recipe, train_docs)
    config["training"]["logger"] = {"@loggers": "benchmarks.curve.v1", "path": ""}
    config["corpora"]["dev"] = {"@readers": "benchmarks.read_once.v1", "path": "${paths.dev}"}
    config["nlp"]["before_creation"] = {"@callbacks": "benchmarks.fast_gemm.v1"}
    config.to_disk(folder / "config.cfg", interpolate=False)
    overrides: Dict[str, Any] = {
        "paths.train": str(folder / "train.spacy"),
        "paths.dev": str(folder / "curve.spacy"),
        "system.seed": cell["seed"],
        "training.logger.path": str(folder / "curve.json"),
    }
    if cell["learn_rate"] is not None:
        is_schedule = isinstance(config["training"]["optimizer"]["learn_rate"], dict)
        key = "training.optimizer.learn_rate" + (".initial_rate" if is_schedule else "")
        overrides[key] = cell["learn_rate"]
    if transformer:
        overrides["paths.transformer"] = transformer
    for item in args.set:
        key, _, value = item.partition("=")
        overrides[key] = _value(value)
    start = time.time()
    train(folder / "config.cfg", folder / "out", use_gpu=args.gpu_id, overrides=overrides)
    seconds = time.time() - start
    nlp = spacy.load(folder / "out/model-best")
    read = lambda split: list(Corpus(folder / f"{split}.spacy")(nlp))  # noqa: E731
    measured: Dict[str, Any] = {}
    for split in ("dev", "test"):
        examples, start = read(split), time.process_time()
        predict(nlp, name, examples)
        took = time.process_time() - start  # whatever else the machine does
        measured[split] = scores.of_examples(nlp, name, examples)
    measured["words_per_second"] = round(sum(len(eg.predicted) for eg in examples) / took)
    if name == "dice_ner":
        measured["best_threshold"] = best_threshold(nlp, name, read)
    if args.tune:
        again = spacy.load(folder / "out/model-best")
        measured["tuned"] = tuned(again, name, read)
    if args.keep:
        plain: Dict[str, Any] = {"nlp.before_creation": None}  # loads without this package
        if name in MACRO_SCORED:
            plain[f"components.{name}.scorer.@scorers"] = f"spacy.{name}_scorer.v1"
        spacy.load(folder / "out/model-best", config=plain).to_disk(args.keep)
    return {
        **measured,
        "train_counts": scores.train_counts(name, train_docs),
        "curve": json.loads((folder / "curve.json").read_text()),
        "seconds": round(seconds, 1),
        "versions": versions("spacy", "thinc", "numpy", "spacy-transformers", "torch"),
    }


def configured(model: str, recipe: Optional[Recipe], docs: List[Any]) -> Tuple[Config, str]:
    """The config of a model that trains with a recipe, and the name of its component."""
    base, block = VARIANTS.get(model, (model, None))
    config = _read(base)
    name = config["nlp"]["pipeline"][-1]
    if block is not None:
        config["components"][name]["model"] = dict(block)
        if "tok2vec" not in block:
            config["nlp"]["pipeline"] = [name]
            del config["components"]["tok2vec"]
    if model in VARIANTS and model.endswith(ON_TRANSFORMER):
        config = on_transformer(config, name)
    if name in MACRO_SCORED:
        config["components"][name]["scorer"] = {"@scorers": f"benchmarks.macro_{name}.v1"}
        weights = {"macro_f": 1.0, "tag_acc": 0.0, "pos_acc": 0.0, "morph_acc": 0.0}
        config["training"]["score_weights"] = weights
    counts = scores.train_counts(name, docs)
    if name == "textcat" and "sexist" in counts:
        config["initialize"].setdefault("components", {})[name] = {"positive_label": "sexist"}
    filled = None if recipe is None else as_config(with_labels(recipe, max(len(counts), 1)))
    if name.startswith("dice_"):
        if filled is None:
            raise ValueError(f"{name} is not stock: it has a loss of this library.")
        config["components"][name]["loss"] = filled
    elif filled is None:
        del config["initialize"]["after_init"]
    else:
        config["initialize"]["after_init"]["losses"][name] = filled
    return config, name


def on_transformer(config: Config, name: str) -> Config:
    """A component after a transformer in place of its tok2vec, that trains as the tagger of
    configs/tagger_transformer.cfg does, but for how it is scored."""
    made = _read("tagger_transformer")
    component = config["components"][name]
    component["model"]["tok2vec"] = made["components"]["tagger"]["model"]["*"]["tok2vec"]
    transformer = made["components"]["transformer"]
    made["components"] = {"transformer": transformer, name: component}
    made["nlp"]["pipeline"] = ["transformer", name]
    made["initialize"]["after_init"] = config["initialize"]["after_init"]
    if "score_weights" in config["training"]:
        made["training"]["score_weights"] = config["training"]["score_weights"]
    return made


def _read(name: str) -> Config:
    return Config().from_disk(ROOT / "configs" / f"{name}.cfg", interpolate=False)


def predict(nlp: Any, name: str, examples: Any) -> None:
    """Put what the pipeline predicts into examples."""
    pipe = nlp.get_pipe(name)
    with nlp.select_pipes(disable=name):
        for eg, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples)):
            eg.predicted = doc
    for first in range(0, len(examples), 200):
        docs = [eg.predicted for eg in examples[first : first + 200]]
        pipe.set_annotations(docs, pipe.predict(docs))


def tuned(nlp: Any, name: str, read: Callable) -> Dict[str, Any]:
    """What `spacy_dice.calibrate` and `spacy_dice.tune`, with no option set and dev alone, make of
    a pipeline: scores on test, calibration error and Brier score there, seconds."""
    import spacy_dice

    def error_on_test() -> List[float]:
        of = spacy_dice.calibrate(nlp, test, [name], fit=False)[name].before
        return [of.ece, of.brier]

    dev, test = read("dev"), read("test")
    start = time.perf_counter()
    nlp.evaluate(read("dev"))
    evaluated = time.perf_counter() - start
    errors = {"before": error_on_test()}
    temperature = spacy_dice.calibrate(nlp, dev, [name])[name].temperature
    errors["calibrated"] = error_on_test()
    spacy_dice.untune(nlp)
    start = time.perf_counter()
    part = spacy_dice.tune(nlp, dev, [name])[name]
    seconds = time.perf_counter() - start
    predict(nlp, name, test)
    return {
        "test": scores.of_examples(nlp, name, test),
        "estimate": {"micro_f": part.estimate.micro.f, "macro_f": part.estimate.macro.f},
        "changed": part.tuned,
        "rule": part.rule,
        "seconds": round(seconds, 2),
        "seconds_evaluate": round(evaluated, 2),
        "errors": errors,
        "temperature": temperature,
    }


def best_threshold(nlp: Any, name: str, read: Any) -> Dict[str, float]:
    """dice_ner's threshold with the best F1 on dev, and micro F1 with it on dev and test."""
    pipe = nlp.get_pipe(name)

    def f(examples: Any, threshold: float) -> float:
        pipe.cfg["threshold"] = threshold
        for eg in examples:
            eg.predicted.ents = []
        docs = [eg.predicted for eg in examples]
        pipe.set_annotations(docs, pipe.predict(docs))
        return pipe.score(examples)["ents_f"] or 0.0

    before, of_split = pipe.cfg["threshold"], {}
    with nlp.select_pipes(disable=name):  # what it listens to is the same for all thresholds
        for split in ("dev", "test"):
            of_split[split] = read(split)
            for eg, doc in zip(of_split[split], nlp.pipe(eg.predicted for eg in of_split[split])):
                eg.predicted = doc
    best, threshold = max((f(of_split["dev"], value), value) for value in THRESHOLDS)
    test = f(of_split["test"], threshold)
    pipe.cfg["threshold"] = before
    return {"threshold": threshold, "dev": best, "test": test}


@spacy.registry.callbacks("benchmarks.fast_gemm.v1")
def fast_gemm() -> Callable:
    """Multiplies matrices with numpy's BLAS, three times as fast here as the one that thinc has."""

    def before_creation(language: Any) -> Any:
        set_current_ops(NumpyOps(use_blis=False))
        return language

    return before_creation


@spacy.registry.readers("benchmarks.read_once.v1")
def read_once(path: Path) -> Callable:
    """spaCy's Corpus, but the file is read for the first evaluation only."""
    kept: List[Any] = []

    def read(nlp: Any) -> Iterator[Example]:
        if not kept:
            kept.extend(eg.reference for eg in Corpus(path)(nlp))
        for doc in kept:
            words, spaces = [t.text for t in doc], [bool(t.whitespace_) for t in doc]
            yield Example(Doc(nlp.vocab, words=words, spaces=spaces), doc)

    return read


@spacy.registry.loggers("benchmarks.curve.v1")
def curve_logger(path: str) -> Callable:
    """Writes [step, score on dev, seconds of updates so far] of each evaluation as JSON.

    The seconds are of updates alone. A step that ends in an evaluation is taken to be as long as
    the mean of the others.
    """

    def setup(nlp: Any, stdout: IO, stderr: IO) -> Tuple[Callable, Callable]:
        rows: List[List[float]] = []
        pure: List[float] = []
        last = [time.perf_counter()]

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            now = time.perf_counter()
            if info is None:
                pure.append(now - last[0])
            else:
                each = statistics.fmean(pure) if pure else 0.0
                rows.append([info["step"], float(info["score"]), round(each * info["step"], 2)])
            last[0] = time.perf_counter()

        return log_step, lambda: Path(path).write_text(json.dumps(rows)) and None

    return setup


def _macro_scorer(name: str) -> Callable:
    own = {
        "tagger": spacy.pipeline.tagger.tagger_score,
        "morphologizer": spacy.pipeline.morphologizer.morphologizer_score,
    }[name]

    def score(examples: Any, **kwargs: Any) -> Dict[str, Any]:
        examples = list(examples)
        return {**own(examples, **kwargs), "macro_f": scores.of_tokens(examples, name)["macro_f"]}

    return score


for _name in MACRO_SCORED:
    spacy.registry.scorers(f"benchmarks.macro_{_name}.v1", func=lambda n=_name: _macro_scorer(n))


@lru_cache(maxsize=2)
def _docs(data: Path, task: str) -> Dict[str, List[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return {split: list(docs) for split, docs in in_spacy.splits(data, task).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
