"""Everything on a GPU, in one command: a table of what passes and a table of ratios.

    python -m benchmarks.gpu [--device cpu] [--only losses spacy]

Each group of checks runs in a process of its own, so that a crash or a hang costs that group
alone. With --quick all is small and in one process, for a test. A toolkit that is not installed
is a skip that says so; the exit status is 1 if a check failed.
"""

import argparse
import contextlib
import io
import json
import logging
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy

from corpora import folders, generated
from dice_core import losses as core
from dice_core.labels import LabelSpec
from dice_core.probabilities import from_logits
from dice_core.targets import from_ids

from . import ROOT, versions
from .results import table_head, table_row

LIMIT = {"cuda": 400, "cpu": 1200}  # seconds of a group
PACKAGES = "torch cupy-cuda13x cupy-cuda12x numpy thinc spacy spacy-transformers flair transformers"
NAMES = ["O", *(f"{tag}-{kind}" for kind in range(18) for tag in "BIES")]
# What a module of speed/ prints: a title, the median of the ratios, and in brackets its range.
RATIO = re.compile(r"(\S.*?)\s+(\d+\.\d+)  (\(.*)")
Ratio = List[str]
# A check gives nothing, or ratios.
Check = Tuple[str, Callable[[], Optional[List[Ratio]]]]


class Skipped(Exception):
    """Why a check does not apply here."""


@dataclass
class Setting:
    """Where checks run, and how large they are."""

    device: str
    quick: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def gpu_id(self) -> int:
        """As spaCy counts: -1 is the CPU."""
        return 0 if self.on_gpu else -1

    def size(self, usual: int, small: int) -> int:
        """A number of updates, sentences or rounds: the usual one, or that of a CPU."""
        return usual if self.on_gpu and not self.quick else small


# -- losses ------------------------------------------------------------------------------------


def losses(at: Setting) -> Iterator[Check]:
    """Values and gradients of every loss against NumPy's in float64."""
    kinds: List[core.Loss] = [kind() for kind in core.LOSSES if kind is not core.Compound]
    kinds += [core.make_loss({"name": "Compound", "losses": ["CrossEntropy", "EntityDice"]})]
    kinds += [core.SelfAdjustingDice(level="batch", alpha=0.01), core.DiceCE(average="micro")]
    cases = [(kind, how) for kind in kinds for how in ("softmax", "sigmoid")]
    only = {"EntityDice": "softmax", "Compound": "softmax", "AsymmetricLoss": "sigmoid"}
    cases = [(kind, how) for kind, how in cases if only.get(kind.name(), how) == how]
    lengths = [25] * at.size(160, 8)
    for dtype in ("float32", "bfloat16", "float16"):
        check = partial(in_torch, at.device, dtype, lengths)
        yield f"losses, torch, {dtype}", partial(each, cases, check)
    yield "losses, thinc", partial(each, cases, partial(in_thinc, at.on_gpu, lengths))
    single = [case for case in cases if "EntityDice" not in repr(case)]  # reads tags on the host
    yield "losses, torch: the host never waits", partial(each, single, partial(no_wait, at.device))


def each(cases: Iterable[Tuple[core.Loss, str]], check: Callable[[core.Loss, str], None]) -> None:
    """Check all losses. What fails is told together."""
    wrong = []
    for loss, activation in cases:
        try:
            check(loss, activation)
        except Skipped:
            raise
        except Exception as error:
            wrong.append(f"{loss!r}, {activation}: {last_line(error)}")
    if wrong:
        raise AssertionError("; ".join(wrong))


def agree(
    loss: core.Loss, how: str, logits: Any, lengths: List[int], found: Any, eps: float
) -> None:
    """Compare a value and a gradient with NumPy's in float64."""
    spec = LabelSpec("gpu", tuple(NAMES), ("O",))
    targets = from_ids(gold(lengths), len(NAMES), spec, logits, lengths=lengths)
    value, gradient = core.BoundLoss(loss).compute(from_logits(logits, how), targets)
    value = float(numpy.sum(value))
    if not math.isclose(found[0], value, rel_tol=eps):
        raise AssertionError(f"the value is {found[0]:.6g}, not {value:.6g}")
    off = float(abs(found[1] - gradient).max() / abs(gradient).max())
    if not off < eps:
        raise AssertionError(f"the gradient is off by {off:.1e} of its largest entry")


def gold(lengths: List[int]) -> numpy.ndarray:
    """Class ids: tokens of no entity, and every fifth one of a single token."""
    ids = numpy.zeros(sum(lengths), dtype="int64")
    ids[::5] = [NAMES.index(f"S-{i % 18}") for i in range(len(ids[::5]))]
    return ids


def in_torch(device: str, dtype: str, lengths: List[int], loss: core.Loss, how: str) -> None:
    """A layer and a loss under autocast. The reference reads the same rounded logits."""
    torch, flair_dice = needs("torch"), import_module("flair_dice")
    torch.manual_seed(0)
    ids = torch.as_tensor(gold(lengths), device=device)
    rows = torch.randn(len(ids), 8, device=device)
    weight = torch.randn(len(NAMES), 8, device=device, requires_grad=True)
    with torch.autocast(device, dtype=getattr(torch, dtype), enabled=dtype != "float32"):
        logits = torch.nn.functional.linear(rows, weight)
        logits.retain_grad()
        module = flair_dice.as_torch(loss, names=NAMES, activation=how, reduction="sum")
        value = module(logits, ids, lengths=lengths)
    value.backward()
    host = [array.detach().double().cpu().numpy() for array in (logits, logits.grad)]
    eps = max(1e-4, torch.finfo(getattr(torch, dtype)).eps)
    agree(loss, how, host[0], lengths, (value.item(), host[1]), eps)


def in_thinc(on_gpu: bool, lengths: List[int], loss: core.Loss, how: str) -> None:
    """From probabilities in float32, a list of documents."""
    ops = needs("thinc.api").get_ops("cupy" if on_gpu else "numpy")
    logits = 2 * numpy.random.default_rng(0).normal(size=(sum(lengths), len(NAMES)))
    guesses = from_logits(logits, how).p.astype("float32")
    ends = numpy.cumsum(lengths)[:-1]
    as_thinc = import_module("spacy_dice.losses").as_thinc(loss, names=NAMES, activation=how)
    docs = [ops.asarray(doc) for doc in numpy.split(guesses, ends)]
    gradient, value = as_thinc(docs, numpy.split(gold(lengths), ends))
    made = ops.to_numpy(ops.xp.concatenate(gradient)).astype("float64")
    agree(loss, how, logits, lengths, (value, made), 1e-4)


def no_wait(device: str, loss: core.Loss, how: str) -> None:
    """Nothing of a loss and its backward pass is read on the host, by torch's own account."""
    torch, flair_dice = needs("torch"), import_module("flair_dice")
    if device == "cpu":
        raise Skipped("nothing waits on a CPU")
    logits = torch.randn(200, len(NAMES), device=device, requires_grad=True)
    ids = torch.as_tensor(gold([200]), device=device)
    module = flair_dice.as_torch(loss, names=NAMES, activation=how)
    module(logits, ids).backward()  # loads kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(logits, ids).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -- spaCy -------------------------------------------------------------------------------------

ON_CNN = ("spancat", "textcat_multilabel", "ner", "tagger", "dice_ner")
ON_BERT = ("spancat_init_gpu", "textcat_multilabel_init_gpu", "ner_init_gpu", "tagger_transformer")
ON_BERT += ("dice_ner_transformer", "dice_qa")


def in_spacy(at: Setting) -> Iterator[Check]:
    """spaCy's command line: trained with the flag and `tune`, on a CNN and on a BERT."""
    for model in ("spancat", "dice_ner_transformer", "dice_qa") if at.quick else ON_CNN + ON_BERT:
        yield f"spacy train, {model}", partial(train, at, model)
    last, dev = at.folder / "spancat" / "model-last", at.folder / "dev.spacy"
    commands = {
        "evaluate": [last, dev],
        "dice tune": [last, dev, at.folder / "tuned"],
        "dice compare": [last, last.with_name("model-best"), dev, "--samples", 100],
    }
    for title, args in commands.items():
        args = [*title.split(), *args, "--gpu-id", at.gpu_id]
        yield f"spacy {title}", partial(run_spacy, *args)
    yield "nlp.pipe", partial(pipe, at, last)


def train(at: Setting, model: str) -> None:
    """Train. The saved pipeline must score on the CPU what it does on the device."""
    spacy = needs("spacy")
    from spacy.tokens import DocBin

    from .compare.training import AUTO, configured
    from .speed import components

    given: List[Any] = ["--output", at.folder / model, "--gpu-id", at.gpu_id]
    if model in ON_BERT:
        needs("spacy_transformers")
        write_bert(at.folder / "bert")
    config, name = configured(model, AUTO, [], str(at.folder / "bert"))
    if model in ON_BERT:
        config["paths"]["transformer"] = str(at.folder / "bert")
        block = config["components"][name if model == "dice_qa" else "transformer"]["model"]
        block["mixed_precision"] = at.on_gpu
    config["nlp"]["before_creation"] = None
    config["initialize"]["after_init"] = {"@callbacks": "spacy_dice.use_loss.v1", "tune": True}
    config["training"]["logger"] = {"@loggers": "spacy.ConsoleLogger.v3"}
    config["training"]["max_steps"] = at.size(80, 3)
    config["training"]["eval_frequency"] = at.size(20, 3)
    paths = {split: at.folder / f"{split}.spacy" for split in ("train", "dev")}
    sentences = components.read(None)[: at.size(300, 40)]
    examples = components.examples(spacy.blank("en"), sentences)
    for number, path in enumerate(paths.values()):
        DocBin(docs=[one.reference for one in examples[number::2]]).to_disk(path)
    if model == "dice_qa":
        paths = dict.fromkeys(paths, generated.write_questions(at.folder / "questions.json"))
    config["paths"].update({split: str(path) for split, path in paths.items()})
    config.to_disk(at.folder / "config.cfg")
    run_spacy("train", at.folder / "config.cfg", *given)
    scores: List[Dict[str, float]] = []
    for on_gpu in (at.on_gpu, False):
        spacy.require_gpu(0) if on_gpu else spacy.require_cpu()
        nlp = spacy.load(at.folder / model / "model-last")
        corpora = spacy.registry.resolve({"corpora": config.interpolate()["corpora"]})
        found = nlp.evaluate(list(corpora["corpora"]["dev"](nlp)))
        scores.append({k: v for k, v in found.items() if isinstance(v, float) and k != "speed"})
        if not at.on_gpu:
            break
    tuned = name in nlp.meta["spacy_dice"] or model == "dice_qa"  # which is not tuned
    assert tuned, "tune has left nothing in meta.json"
    for key, score in scores[0].items():
        # A prediction or two may fall on the other side of a threshold.
        assert abs(score - scores[-1][key]) < 0.03, f"{key} {score}, {scores[-1][key]} on the CPU"
    learned = not at.on_gpu or model in ON_BERT or max(scores[0].values()) > 0.3
    assert learned, f"nothing was learned: {scores[0]}"


def write_bert(folder: Path) -> None:
    """A small BERT of random weights that reads letters."""
    transformers = needs("transformers")
    folder.mkdir(exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocab), encoding="utf8")
    path = str(folder / "vocab.txt")
    transformers.BertTokenizerFast(path, do_lower_case=False).save_pretrained(folder)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(vocab), intermediate_size=128, **sizes)
    transformers.BertModel(config).save_pretrained(folder)


def run_spacy(*args: Any) -> None:
    """Run `spacy ...` in this process. What it prints is told if it fails."""
    needs("spacy")
    from spacy.cli import app

    import_module("spacy_dice.cli")
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = app([str(arg) for arg in args], standalone_mode=False)
    except SystemExit as error:
        status = error.code
    if status:
        raise RuntimeError(f"it ended with {status}: {printed.getvalue()[-600:]}")


def pipe(at: Setting, path: Path) -> None:
    """Batches of texts get the predictions of single ones."""
    spacy = needs("spacy")
    spacy.require_gpu(0) if at.on_gpu else spacy.require_cpu()
    nlp = spacy.load(path)
    texts = [f"they moved to {city} last year ." for city in ("Kasen", "Lorto", "Velni")] * 30
    seen = [[str(doc.to_json()) for doc in docs] for docs in (nlp.pipe(texts), map(nlp, texts))]
    differ = sum(one != other for one, other in zip(*seen))
    assert not differ, f"{differ} of {len(texts)} texts differ"


# -- Flair and transformers' Trainer -----------------------------------------------------------


def in_flair(at: Setting) -> Iterator[Check]:
    """Flair's trainer in mixed precision, and in two processes; and transformers' Trainer."""
    for use_crf in (False, True):
        title = f"Flair, {'CRF' if use_crf else 'softmax'}, use_amp, LossPlugin"
        yield title, partial(train_with_amp, at, use_crf)
    yield "Flair, two processes", partial(in_two_processes, at)
    yield "Trainer, bf16", partial(train_with_trainer, at)


def train_with_amp(at: Setting, use_crf: bool) -> None:
    """In mixed precision and in chunks. The model, loaded again, scores as it did."""
    how = {"use_amp": True, "mini_batch_chunk_size": 3}
    train_flair(at, use_crf, at.folder / f"flair-{use_crf}", **how)


def train_flair(at: Setting, use_crf: bool, out: Path, rank: int = 0, **options: Any) -> Any:
    """Train a tagger; returns it."""
    flair, torch = needs("flair"), needs("torch")
    from flair.embeddings import OneHotEmbeddings
    from flair.trainers import ModelTrainer

    from corpora import in_flair as reader
    from flair_dice import LossPlugin, SequenceTagger

    logging.getLogger("flair").setLevel(logging.WARNING)
    flair.device = torch.device(f"cuda:{rank}" if at.on_gpu else "cpu")
    flair.set_seed(0)
    corpus = reader.corpus(folders.files(generated.write(out / "columns")), at.size(200, 24))
    tags = corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
    words = OneHotEmbeddings.from_corpus(corpus, min_freq=1, embedding_length=16)
    model = SequenceTagger(words, tags, "ner", hidden_size=16, use_crf=use_crf, loss="DiceCE")
    how = {"max_epochs": 1, "mini_batch_size": 8, "create_file_logs": False, **options}
    trainer = ModelTrainer(model, corpus)
    result = trainer.train(out / "model", learning_rate=0.1, plugins=[LossPlugin()], **how)
    if "multi_gpu" not in how:
        again = SequenceTagger.load(out / "model" / "final-model.pt")
        scores = [one.evaluate(corpus.test, "ner").main_score for one in (model, again)]
        assert scores == [result["test_score"]] * 2, (scores, result["test_score"])
    finite = [bool(weight.isfinite().all()) for weight in model.parameters()]
    assert all(finite), "weights are not finite"
    return model


def in_two_processes(at: Setting) -> None:
    """Both end with the same weights; on one card or on a CPU by gloo, on two by nccl."""
    torch = needs("torch")
    needs("flair")
    torch.multiprocessing.spawn(one_process, (at,), nprocs=2)
    first, second = (torch.load(at.folder / f"{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first), "the weights differ"


def one_process(rank: int, at: Setting) -> None:
    """What each of the two does."""
    import flair.trainers.trainer as trainer
    import torch

    on_two = at.on_gpu and torch.cuda.device_count() > 1
    where = f"file://{at.folder}/rendezvous"
    backend = "nccl" if on_two else "gloo"
    torch.distributed.init_process_group(backend, where, rank=rank, world_size=2)
    parallel = trainer.DistributedDataParallel
    if not on_two:  # Flair names a device of each process: CPUs have none, one card is the same
        trainer.DistributedDataParallel = lambda model, device_ids, **more: parallel(model, **more)
    out = at.folder / f"rank-{rank}"
    model = train_flair(at, False, out, rank if on_two else 0, multi_gpu=True)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, at.folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def train_with_trainer(at: Setting) -> None:
    """transformers' Trainer with bf16: all weights stay finite, and change."""
    torch, transformers = needs("torch"), needs("transformers")
    needs("accelerate")
    from flair_dice import TrainerLoss

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=50, intermediate_size=32, num_labels=3, **sizes)
    model = transformers.BertForTokenClassification(config)
    before = model.classifier.weight.detach().clone()
    rows = [{"input_ids": [i % 50] * 8, "labels": [i % 3, 0] * 4} for i in range(32)]
    how = {"use_cpu": not at.on_gpu, "bf16": True, "max_steps": 4, "report_to": []}
    args = transformers.TrainingArguments(str(at.folder / "trainer"), save_strategy="no", **how)
    loss = TrainerLoss("DiceCE")
    with contextlib.redirect_stdout(io.StringIO()):
        transformers.Trainer(model, args, train_dataset=rows, compute_loss_func=loss).train()
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert not torch.equal(before, model.classifier.weight.detach().cpu())


# -- ratios ------------------------------------------------------------------------------------


def speed(at: Setting) -> Iterator[Check]:
    """Time, ours / theirs, and memory: of losses, and of an update of each component."""
    needs("torch")
    needs("spacy")
    ours = ["--losses", "DiceCE", "SelfAdjustingDice", "--copy", "--device", at.device]
    ours += ["--rounds", at.size(9, 1), "--sizes"]
    sizes = ["65536x73"] if at.on_gpu else [f"{at.size(16_384, 256)}x73"]
    parts = {"losses": ("losses", [*ours, *sizes])}
    if at.on_gpu:
        parts["losses of a large batch"] = "losses", [*ours, "4194304x73", "--toolkits", "torch"]
    updates = ["--rounds", at.size(3, 1), "--sentences", at.size(300, 20), "--gpu-id", at.gpu_id]
    parts["updates"] = "components", [*updates, *(["--only", "dice_ner"] if at.quick else [])]
    for title, (module, options) in parts.items():
        yield f"speed, {title}", partial(measured, module, [str(word) for word in options])


def measured(module: str, options: List[str]) -> List[Ratio]:
    """The ratios that a module of speed/ prints."""
    command = [sys.executable, "-m", f"benchmarks.speed.{module}", *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    how: Dict[str, Any] = {"cwd": ROOT, "env": env, "check": True, "stdout": subprocess.PIPE}
    lines = subprocess.run(command, text=True, **how).stdout.splitlines()
    found = [list(match.groups()) for match in map(RATIO.match, lines) if match]
    assert found, f"{module} printed no ratio"
    return found


# -- all of it ---------------------------------------------------------------------------------

GROUPS = {"losses": losses, "spacy": in_spacy, "flair": in_flair, "speed": speed}
Row = Dict[str, Any]


def needs(module: str) -> Any:
    """A toolkit's module. Its absence is no failure."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:  # it is there, but what it needs is not
            raise
        raise Skipped(f"{error.name} is not installed") from None


def last_line(error: BaseException) -> str:
    """What an error says, in a line of a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
    return text if len(text) < 700 else f"{text[:500]} ... {text[-200:]}"


def copying() -> None:
    """thinc 8.3 asks for an array on the GPU without a copy where there must be one. CuPy 14
    refuses that."""
    with contextlib.suppress(ImportError):
        cupy = import_module("cupy")
        array = cupy.array
        cupy.array = lambda *args, copy=True, **more: array(*args, copy=copy or None, **more)


def perform(group: str, at: Setting) -> Iterator[Row]:
    """The checks of a group, one after another."""
    if at.on_gpu:
        copying()
    try:
        for title, check in GROUPS[group](at):
            start = time.monotonic()
            row: Row = {"title": title, "outcome": "passed", "reason": ""}
            try:
                row["ratios"] = check() or []
            except Skipped as reason:
                row.update(outcome="skipped", reason=str(reason))
            except Exception as error:
                traceback.print_exc()
                row.update(outcome="FAILED", reason=last_line(error))
            yield {**row, "seconds": round(time.monotonic() - start, 1)}
    except Skipped as reason:
        yield {"title": group, "outcome": "skipped", "reason": str(reason), "seconds": 0.0}


def in_own_process(group: str, device: str) -> Iterator[Row]:
    """The same in another process, which is ended if it takes too long."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", device, "--group", group]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(LIMIT[device], process.kill)
        timer.start()
        for line in process.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)
        timer.cancel()
    if process.returncode:
        reason = f"its process ended with {process.returncode}; it has {LIMIT[device]} s at most"
        yield {
            "title": f"{group}: the rest",
            "outcome": "FAILED",
            "reason": reason,
            "seconds": 0.0,
        }


def machine(device: str) -> str:
    """The card, or the processor, and the versions of what runs on it."""
    name = platform.processor() or platform.machine()
    if device != "cpu":
        cuda = needs("torch").cuda
        name = f"{cuda.device_count()} x {cuda.get_device_name(0)}" if cuda.is_available() else ""
        if not name:
            raise SystemExit("torch finds no CUDA device; --device cpu runs the same on the host.")
    found = ", ".join(f"{package} {v}" for package, v in versions(*PACKAGES.split()).items())
    return f"{name}; Python {platform.python_version()}, {found}"


def main(argv: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small, in one process")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=tuple(GROUPS))
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        at = Setting(args.device, args.quick, Path(folder))
        if args.group:
            for row in perform(args.group, at):
                print(json.dumps(row), flush=True)
            return 0
        rows: List[Row] = []
        print(machine(args.device), flush=True)
        for group in args.only:
            for row in perform(group, at) if args.quick else in_own_process(group, args.device):
                print("{seconds:6} s  {outcome}  {title}  {reason}".format(**row), flush=True)
                rows.append(row)
    checks = [[row[key] for key in ("title", "outcome", "seconds", "reason")] for row in rows]
    ratios = [[str(word) for word in ratio] for row in rows for ratio in row.get("ratios", ())]
    print("", *table_head(["check", "", "seconds", "reason"]), sep="\n")
    print(*(table_row(map(str, row)) for row in checks), sep="\n")
    print("", *table_head(["ours / theirs", "ratio", "range, times"]), sep="\n")
    print(*map(table_row, ratios), sep="\n")
    return int(any(row["outcome"] == "FAILED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
