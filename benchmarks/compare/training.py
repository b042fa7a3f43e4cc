"""One run: `spacy train` on a config with one loss, and the scores of its best checkpoint."""

import json
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import spacy
from spacy.cli.init_config import init_config
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Corpus
from thinc.api import Config, NumpyOps, set_current_ops

import spacy_dice
from corpora import folders, in_spacy

from .. import ROOT, versions
from .recipes import AUTO, LOSSES, STOCK, as_config
from .scores import Scores, score_pipeline, score_tags, train_counts

# Models as `spacy init config` writes them end in one of these.
INIT, INIT_GPU = "_init", "_init_gpu"
# Other models of a component of configs/, in place of its own.
VARIANTS: Dict[str, Tuple[str, Dict[str, Any]]] = {
    "textcat_multilabel_reduce": (
        "textcat_multilabel",
        {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": False,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": True,
            "use_reduce_mean": True,
            "tok2vec": {
                "@architectures": "spacy.Tok2VecListener.v1",
                "width": "${components.tok2vec.model.encode.width}",
            },
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
}
# Docs of dev that the checkpoint of a config of configs/ is chosen by.
CURVE_TEXTS, CURVE_SENTENCES = 2000, 400


class Sizes(NamedTuple):
    """How many docs of each split are drawn, of train by the seed; 0 is all."""

    train: int = 0
    dev: int = 0
    test: int = 0


def measure(
    model: str,
    loss: str,
    seed: int,
    data: Path,
    sizes: Sizes,
    overrides: Dict[str, Any],
    *,
    task: str = "A",
    transformer: Optional[str] = None,
    gpu_id: int = -1,
) -> Dict[str, Any]:
    """Train, choose the checkpoint as spaCy does, and score it.

    Args:
        model: A file of configs/, one of VARIANTS, or a component with INIT or INIT_GPU behind it.
        loss: A name of LOSSES.
        seed: Draws the training data, and is spaCy's seed.
        data: The folder of a corpus, in a format of `corpora.in_spacy`.
        sizes: How many docs are used.
        overrides: Of the config.
        task: Of EDOS: A or C.
        transformer: Name or folder, for INIT_GPU.
        gpu_id: As of `spacy train`; -1 is the CPU.

    Returns:
        The scores on dev and test, also on test after `spacy_dice.tune` on dev; the curve; seconds
        and versions.
    """
    docs = {
        split: folders.sample(found, size or None, seed if split == "train" else 0)
        for (split, found), size in zip(read_corpus(data, task).items(), sizes)
    }
    config, name = configured(model, loss, docs["train"], transformer)
    if gpu_id >= 0:
        config["nlp"]["before_creation"] = None
    n_curve = CURVE_TEXTS if name.startswith("textcat") else CURVE_SENTENCES
    is_written = model.endswith((INIT, INIT_GPU))
    docs["curve"] = docs["dev"] if is_written else folders.sample(docs["dev"], n_curve, 0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for split, found in docs.items():
            DocBin(docs=found).to_disk(folder / f"{split}.spacy")
        config.to_disk(folder / "config.cfg", interpolate=False)
        paths = {
            "paths.train": str(folder / "train.spacy"),
            "paths.dev": str(folder / "curve.spacy"),
            "training.logger.path": str(folder / "curve.json"),
        }
        start = time.time()
        overrides = {**paths, "system.seed": seed, **overrides}
        train(folder / "config.cfg", folder / "out", use_gpu=gpu_id, overrides=overrides)
        seconds = time.time() - start
        measured = score_checkpoint(folder / "out/model-best", name, folder, not is_written)
        measured["curve"] = json.loads((folder / "curve.json").read_text())
    return {
        **measured,
        "train_counts": train_counts(name, docs["train"]),
        "seconds": round(seconds, 1),
        "device": "gpu" if gpu_id >= 0 else "cpu",
        "versions": versions("spacy", "thinc", "numpy", "spacy-transformers", "torch"),
    }


def score_checkpoint(path: Path, name: str, folder: Path, calibrate: bool) -> Dict[str, Any]:
    """Score a trained pipeline on dev.spacy and test.spacy of a folder: as it is, after
    `spacy_dice.tune` and, on request, its calibration error before and after
    `spacy_dice.calibrate`. No option is set."""
    nlp = spacy.load(path)
    dev, test = (list(Corpus(folder / f"{split}.spacy")(nlp)) for split in ("dev", "test"))
    measured: Dict[str, Any] = {"dev": score_pipeline(nlp, name, dev)}
    start = time.process_time()  # whatever else the machine does
    measured["test"] = score_pipeline(nlp, name, test)
    words = sum(len(eg.reference) for eg in test)
    measured["words_per_second"] = round(words / (time.process_time() - start))
    nlp = spacy.load(path)
    dev, test = (list(Corpus(folder / f"{split}.spacy")(nlp)) for split in ("dev", "test"))
    tuned: Dict[str, Any] = {}
    if calibrate:
        before = spacy_dice.calibrate(nlp, test, [name], fit=False)[name].before
        spacy_dice.calibrate(nlp, dev, [name])
        after = spacy_dice.calibrate(nlp, test, [name], fit=False)[name].before
        tuned["errors"] = {"before": [before.ece], "calibrated": [after.ece]}
        spacy_dice.untune(nlp)
    part = spacy_dice.tune(nlp, dev, [name])[name]
    tuned["estimate"] = {"micro_f": part.estimate.micro.f, "macro_f": part.estimate.macro.f}
    tuned["test"] = score_pipeline(nlp, name, test)
    return {**measured, "tuned": tuned}


def configured(
    model: str, loss: str, docs: List[Any], transformer: Optional[str] = None
) -> Tuple[Config, str]:
    """The config of a model that trains with a loss, and the name of its component."""
    if model.endswith((INIT, INIT_GPU)):
        name, on_gpu = model[: model.rindex(INIT)], model.endswith(INIT_GPU)
        stock = name.replace("dice_ner", "ner")
        config = init_config(pipeline=[stock], optimize="efficiency", gpu=on_gpu, silent=True)
        if name != stock:  # on the tok2vec or transformer that ner has
            path = ROOT / "configs" / f"{name}{'_transformer' * on_gpu}.cfg"
            block = Config().from_disk(path, interpolate=False)["components"][name]
            config["components"][name] = block
            del config["components"][stock]
            config["nlp"]["pipeline"][-1] = name
        if on_gpu:
            if transformer is None:
                raise SystemExit(f"{model} needs --transformer: a name or a folder.")
            config["components"]["transformer"]["model"]["name"] = transformer
    else:
        base, other = VARIANTS.get(model, (model, None))
        config = Config().from_disk(ROOT / "configs" / f"{base}.cfg", interpolate=False)
        name = config["nlp"]["pipeline"][-1]
        if other is not None:
            config["components"][name]["model"] = dict(other)
            if "tok2vec" not in other:
                config["nlp"]["pipeline"] = [name]
                del config["components"]["tok2vec"]
        if name == "textcat" and "sexist" in train_counts(name, docs):
            config["initialize"]["components"] = {name: {"positive_label": "sexist"}}
    if name == "tagger":
        config["components"][name]["scorer"] = {"@scorers": "benchmarks.macro_tagger.v1"}
        config["training"]["score_weights"] = {"macro_f": 1.0, "tag_acc": 0.0}
    config["nlp"]["before_creation"] = {"@callbacks": "benchmarks.numpy_gemm.v1"}
    config["training"]["logger"] = {"@loggers": "benchmarks.curve.v1", "path": ""}
    set_loss(config, name, loss)
    return config, name


def set_loss(config: Config, name: str, loss: str) -> None:
    """Make a component train with a loss: a dice_ by its own option, a stock one by the flag.

    Raises:
        ValueError: For a dice_ component with the stock loss: it has none.
    """
    config["initialize"]["after_init"] = None  # thresholds are tuned apart
    if name.startswith("dice_"):
        if loss == STOCK:
            raise ValueError(f"{name} is not stock: its losses are all of this library.")
        config["components"][name].pop("loss", None)
        if loss != AUTO:
            config["components"][name]["loss"] = as_config(LOSSES[loss])
    elif loss != STOCK:
        flag: Dict[str, Any] = {"@callbacks": "spacy_dice.use_loss.v1"}
        if loss != AUTO:
            flag["losses"] = {name: as_config(LOSSES[loss])}
        config["initialize"]["after_init"] = flag


@lru_cache(maxsize=2)
def read_corpus(data: Path, task: str) -> Dict[str, List[Any]]:
    """The docs of each split."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        splits = {split: list(docs) for split, docs in in_spacy.splits(data, task).items()}
    return {split: splits[split] for split in folders.SPLITS}


@spacy.registry.callbacks("benchmarks.numpy_gemm.v1")
def numpy_gemm() -> Callable:
    """Multiplies matrices with numpy's BLAS, three times as fast as the one that thinc has."""

    def before_creation(language: Any) -> Any:
        set_current_ops(NumpyOps(use_blis=False))
        return language

    return before_creation


@spacy.registry.loggers("benchmarks.curve.v1")
def curve_logger(path: str) -> Callable:
    """Writes [step, F1 on dev] of each evaluation as JSON; macro F1 for texts and tags."""

    def setup(nlp: Any, stdout: IO, stderr: IO) -> Tuple[Callable, Callable]:
        rows: List[Tuple[int, float]] = []

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            if info is not None:
                rows.append((info["step"], f1(info)))
                Path(path).write_text(json.dumps(rows))

        return log_step, lambda: None

    return setup


def f1(info: Dict[str, Any]) -> float:
    """The F1 of an evaluation, by spaCy's name of it; without one the score of the checkpoint."""
    found = info["other_scores"]
    for key in ("macro_f", "cats_macro_f", "spans_sc_f", "ents_f"):
        if key in found:
            return float(found[key] or 0.0)
    return float(info["score"])


@spacy.registry.scorers("benchmarks.macro_tagger.v1")
def macro_tagger_scorer() -> Callable:
    """Scores tags by the mean F1 over them, which spaCy's own scorer does not give."""

    def score(examples: Any, **kwargs: Any) -> Scores:
        examples = list(examples)
        accuracy = spacy.pipeline.tagger.tagger_score(examples, **kwargs)
        return {**accuracy, "macro_f": score_tags(examples)["macro_f"]}

    return score
