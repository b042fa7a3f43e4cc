"""Reading comprehension: losses, our component against transformers', NER as reading.

    python -m benchmarks.compare.reading train --transformer PATH --train FILE --test FILE
    python -m benchmarks.compare.reading ner --transformer PATH --data DIR --question LABEL=TEXT
    python -m benchmarks.compare.reading speed --transformer PATH --test FILE
    python -m benchmarks.compare.reading report [FILE]

PATH is an encoder's name or folder. train: dice_qa on files of SQuAD, or with --trainer
transformers its twin, the same encoder with the head and loss of transformers in its Trainer; both
predict by dice_qa. Optimiser, learning rate (linear to 0) and epochs are the same for all; there
is no choice of a model by dev. With --held-out the files of --train are put together, and the seed
draws which articles are for training and which questions of the others for testing: more to test
on than a small test file has, and an interval over seeds is then one over data, too. With
--unanswerable a share of all questions is asked of another article's text, in the form of
SQuAD 2.0: those have no answer, and all of dice_qa may give none.
ner: dice_qa with fixed questions and a sigmoid, or with --trainer dice_ner that, on columns of
token TAB tag; the seed draws the sentences to train on, where --size asks for some only; test is
scored as the model is, and again after `tune` has set its thresholds on dev.
Lines of JSON are appended to benchmarks/results/reading/runs.jsonl; report makes tables of them:
means over seeds, 95 % intervals, and differences from cross-entropy on the same seeds. speed:
questions a second and peak memory of nlp.pipe and of transformers' question-answering pipeline,
each in a process of its own, taking turns.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .. import ROOT
from ..report.reading import tables
from ..results import FOLDER, append, read
from ..versions import versions
from .recipes import RECIPES, as_config
from .scores import of_pipeline

PACKAGES = ("spacy", "thinc", "spacy-transformers", "transformers", "torch")


OF_READING = ("longest", "activation", "unanswerable")
RUNS = FOLDER / "reading/runs.jsonl"


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--train", type=Path, required=True, nargs="+", help="files of SQuAD")
    train.add_argument("--test", type=Path, default=[], nargs="+", help="files of SQuAD")
    train.add_argument("--held-out", type=int, default=0, help="questions to test on, of --train")
    train.add_argument("--unanswerable", type=float, default=0.0, help="share, from 0 to 1")
    train.add_argument("--longest", type=int, default=0, help="words of a context at most; 0: all")
    train.add_argument("--trainer", choices=("spacy", "transformers"), default="spacy")
    train.add_argument("--activation", choices=("softmax", "sigmoid"), default="softmax")
    ner = commands.add_parser("ner")
    ner.add_argument("--data", type=Path, required=True, help="folder of columns")
    ner.add_argument("--question", nargs="+", default=[], metavar="LABEL=QUESTION")
    ner.add_argument("--trainer", choices=("dice_qa", "dice_ner"), default="dice_qa")
    for of_training in (train, ner):
        add = of_training.add_argument
        add("--loss", choices=RECIPES, default="dice_ce")
        add("--seed", type=int, default=0)
        add("--size", type=int, default=0, help="questions or sentences of train; 0 is all")
        add("--test-size", type=int, default=0, help="the same of each test file")
        add("--epochs", type=int, default=3)
        add("--batch", type=int, default=8)
        add("--learning-rate", type=float, default=3e-4)
        add("--clip", type=float, default=1.0, help="norm of gradients at most; 0: any")
        add("--frozen", action="store_true", help="embeddings of words, half of a small BERT")
        add("--bf16", action="store_true", help="encoders read in bfloat16 where they can")
        add("--results", type=Path, default=RUNS)
    speed = commands.add_parser("speed")
    speed.add_argument("--test", type=Path, required=True, help="file of SQuAD")
    speed.add_argument("--size", type=int, default=100, help="questions")
    speed.add_argument("--rounds", type=int, default=3)
    speed.add_argument("--batch", type=int, default=8, help="of transformers' pipeline")
    speed.add_argument("--one", choices=("spacy", "transformers"), help=argparse.SUPPRESS)
    speed.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    for command in (train, ner, speed):
        command.add_argument("--transformer", required=True, help="name, folder or NAME=FOLDER")
    report = commands.add_parser("report")
    report.add_argument("file", type=Path, nargs="?", default=RUNS)
    args = parser.parse_args(argv)
    if args.command == "train" and not (args.test or args.held_out):
        parser.error("train needs --test or --held-out")
    if args.command in ("train", "ner"):
        import torch

        # Without its cache, which would hold the weights of the first update.
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16, cache_enabled=False):
            {"train": run_train, "ner": run_ner}[args.command](args)
    elif args.command == "speed":
        run_speed(args)
    else:
        print("\n".join(tables(read([args.file]))))


# -- training ---------------------------------------------------------------------------


def run_train(args: Any) -> None:
    data = args.train[0].resolve().parent.name
    with tempfile.TemporaryDirectory() as folder:
        if args.unanswerable:
            args.train = [mixed(path, args, Path(folder)) for path in args.train]
            args.test = [mixed(path, args, Path(folder)) for path in args.test]
        nlp = reader(
            args.transformer,
            args.loss,
            activation=args.activation,
            no_answer=bool(args.unanswerable),
        )
        examples, tests = questions(nlp, args)
    prepare(nlp, examples[:8], args)
    start = time.time()
    if args.trainer == "spacy":
        curve = train_pipeline(nlp, examples, args)
    else:
        curve = train_with_transformers(nlp, examples, args)
    seconds = time.time() - start
    scores = {}
    for name, of_test in tests.items():
        start = time.time()
        found = nlp.evaluate(of_test)
        scores[name] = {
            **{"questions": len(of_test), "exact": found["qa_exact"], "f1": found["qa_f1"]},
            "seconds": time.time() - start,
        }
        if args.unanswerable:
            for key in ("has_answer_f1", "no_answer_f1"):
                scores[name][key] = found[f"qa_{key}"]
    line = {"task": "reading", "data": data, "size": len(examples)}
    finish(args, line, scores, seconds, curve)


def questions(nlp: Any, args: Any) -> Tuple[List[Any], Dict[str, List[Any]]]:
    """Examples to train on, and by name those to test on."""
    tests = {}
    if args.held_out:
        pool = [example for path in args.train for example in squad(nlp, path, args.longest, 0)]
        examples, tests["held out"] = drawn(pool, args)
    else:
        examples = [e for path in args.train for e in squad(nlp, path, args.longest, 0)]
        examples = examples[: args.size or None]
    for test in args.test:
        tests[test.resolve().parent.name] = squad(nlp, test, args.longest, args.test_size)
    return examples, tests


def run_ner(args: Any) -> None:
    import spacy
    from spacy.training import Example

    import spacy_dice
    from corpora import folders, in_spacy
    from dice_core import columns

    files = folders.files(args.data)
    if args.trainer == "dice_qa":
        questions = dict(item.split("=", 1) for item in args.question)
        nlp = reader(args.transformer, args.loss, questions=questions, activation="sigmoid")
        nlp.get_pipe("dice_qa").cfg["set_ents"] = True
        name = "dice_qa"
    else:
        nlp, name = tagger(args.transformer, args.loss), "dice_ner"

    def read(split: str, limit: int) -> List[Any]:
        made = []
        sentences = list(columns.read(files[split]))
        if split == "train" and limit:
            sentences = random.Random(args.seed).sample(sentences, limit)
        for doc in in_spacy.docs(sentences[: limit or None]):
            words = [token.text for token in doc]
            gold = spacy.tokens.Doc(nlp.vocab, words=words)
            gold.set_ents([spacy.tokens.Span(gold, e.start, e.end, e.label_) for e in doc.ents])
            made.append(Example(spacy.tokens.Doc(nlp.vocab, words=words), gold))
        return made

    examples = read("train", args.size)
    prepare(nlp, examples, args)
    start = time.time()
    curve = train_pipeline(nlp, examples, args)
    seconds = time.time() - start
    scores = {}

    def score(split: str, as_: str) -> None:
        start, of_split = time.time(), read(split, args.test_size)
        if args.trainer == "dice_qa":
            found = nlp.evaluate(of_split)
            scores[as_] = {key: found[f"qa_spans_{key}"] or 0.0 for key in "fpr"}
        else:
            scored = of_pipeline(nlp, name, of_split)
            scores[as_] = {key: scored[key] for key in "fpr"}
        scores[as_].update(sentences=len(of_split), seconds=time.time() - start)

    score("dev", "dev")
    score("test", "test")
    spacy_dice.tune(nlp, read("dev", args.test_size))
    score("test", "test, tuned")
    line = {"task": "ner", "data": args.data.resolve().name, "size": len(examples)}
    finish(args, line, scores, seconds, curve)


def finish(args: Any, line: Dict[str, Any], scores: Any, seconds: float, curve: Any) -> None:
    line.update(trainer=args.trainer, loss=args.loss, seed=args.seed)
    line["settings"] = {
        **{"transformer": args.transformer.partition("=")[0], "epochs": args.epochs},
        **{"batch": args.batch, "learning_rate": args.learning_rate, "clip": args.clip},
        **{"bf16": args.bf16, "frozen": args.frozen},
        **{key: getattr(args, key) for key in OF_READING if hasattr(args, key)},
    }
    line.update(scores=scores, losses=curve, seconds=seconds, versions=versions(*PACKAGES))
    append(line, args.results)
    print(json.dumps({key: value for key, value in line.items() if key != "versions"}))


def reader(transformer: str, loss: str = "ce", **options: Any) -> Any:
    """A pipeline of dice_qa."""
    import spacy

    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_dice.QuestionAnswering.v1", "name": path_of(transformer)}
    nlp.add_pipe("dice_qa", config={"model": model, "loss": as_config(RECIPES[loss]), **options})
    return nlp


def tagger(transformer: str, loss: str) -> Any:
    """The pipeline of configs/dice_ner_transformer.cfg."""
    from spacy.util import load_model_from_config
    from thinc.api import Config

    config = Config().from_disk(
        ROOT / "configs/dice_ner_transformer.cfg",
        overrides={"paths.transformer": path_of(transformer)},
    )
    config["components"]["dice_ner"]["loss"] = as_config(RECIPES[loss])
    return load_model_from_config(config, auto_fill=True)


def path_of(transformer: str) -> str:
    return transformer.partition("=")[2] or transformer


def squad(nlp: Any, path: Path, longest: int, size: int) -> List[Any]:
    """Examples of a question each, the first so many of those with short enough a context."""
    from spacy_dice.reading.corpus import squad_reader

    examples = [
        example
        for example in squad_reader(path, per_question=True)(nlp)
        if not longest or len(example.reference.text.split()) <= longest
    ]
    if not examples:
        raise SystemExit(f"{path} has no question with a context of {longest} words at most.")
    return examples[: size or None]


def mixed(path: Path, args: Any, folder: Path) -> Path:
    """A file of SQuAD 2.0 in a folder: the same, but for a share of its questions, which are with
    a text of another article, drawn by the seed, and have no answer there."""
    whole = json.loads(path.read_text(encoding="utf8"))
    articles = whole["data"]
    draw = random.Random(args.seed)
    for own in articles:
        others = [other for other in articles if other is not own]
        for paragraph in own["paragraphs"]:
            moved = [qa for qa in paragraph["qas"] if draw.random() < args.unanswerable]
            paragraph["qas"] = [qa for qa in paragraph["qas"] if qa not in moved]
            for qa in moved:
                to = draw.choice(draw.choice(others)["paragraphs"])
                qa = {**qa, "id": f"{qa['id']} moved", "answers": [], "is_impossible": True}
                to.setdefault("moved", []).append(qa)
    for article in articles:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] += paragraph.pop("moved", [])
    made = folder / path.resolve().parent.name / path.name
    made.parent.mkdir(exist_ok=True)
    made.write_text(json.dumps(whole), encoding="utf8")
    return made


def drawn(pool: List[Any], args: Any) -> Tuple[List[Any], List[Any]]:
    """Examples for training and for testing, of different articles, drawn by the seed."""
    articles = {}
    for path in args.train:
        for number, article in enumerate(json.loads(path.read_text(encoding="utf8"))["data"]):
            for paragraph in article["paragraphs"]:
                articles[paragraph["context"]] = f"{path} {number}"
    names = sorted({articles[example.reference.text] for example in pool})
    draw = random.Random(args.seed)
    draw.shuffle(names)
    of_name: Dict[str, List[Any]] = {}
    for example in pool:
        of_name.setdefault(articles[example.reference.text], []).append(example)
    train: List[Any] = []
    while names and len(train) < args.size:
        train += of_name[names.pop()]
    rest = [example for name in names for example in of_name[name]]
    if not args.size or len(rest) < args.held_out:
        raise SystemExit(
            f"--size {args.size} and --held-out {args.held_out} questions of articles apart are "
            f"asked of {len(pool)}, of which {len(rest)} are left for testing. Lower them."
        )
    return train[: args.size], draw.sample(rest, args.held_out)


def prepare(nlp: Any, examples: List[Any], args: Any) -> None:
    """Make what is to be trained, by the seed."""
    from thinc.api import fix_random_seed

    fix_random_seed(args.seed)
    nlp.initialize(lambda: examples)
    nodes = [node for _, pipe in nlp.pipeline for node in pipe.model.walk()]
    for shim in (shim for node in nodes for shim in node.shims):
        if hasattr(shim, "_hfmodel"):
            transformer = shim._hfmodel.transformer
            transformer.get_input_embeddings().requires_grad_(not args.frozen)
            transformer.register_forward_hook(in_single_precision)


def in_single_precision(transformer: Any, inputs: Any, outputs: Any) -> Any:
    """What numpy can hold, of an encoder that has read in bfloat16."""
    tensors = {key: value.float() for key, value in outputs.items() if hasattr(value, "float")}
    return type(outputs)(**{**outputs, **tensors})


def train_pipeline(nlp: Any, examples: List[Any], args: Any) -> List[float]:
    """Train in place. RETURNS the loss of each epoch."""
    from thinc.api import Adam

    steps = args.epochs * -(-len(examples) // args.batch)
    rate = (args.learning_rate * (1 - step / steps) for step in range(steps + 1))
    optimizer = Adam(args.learning_rate, L2=0.01, grad_clip=args.clip, use_averages=False)
    order, curve = random.Random(args.seed), []
    for _ in range(args.epochs):
        examples = order.sample(examples, len(examples))
        losses: Dict[str, float] = {}
        for first in range(0, len(examples), args.batch):
            optimizer.learn_rate = next(rate)
            nlp.update(examples[first : first + args.batch], sgd=optimizer, losses=losses)
        curve.append(losses[nlp.pipe_names[-1]])
        print(f"epoch {len(curve)}: loss {curve[-1]:.1f}", flush=True)
    return curve


def train_with_transformers(nlp: Any, examples: List[Any], args: Any) -> List[float]:
    """Train dice_qa's encoder in place, by Trainer, with the loss that it has itself. The windows
    and the places of the answers are dice_qa's."""
    import torch
    from transformers import Trainer, TrainingArguments

    from spacy_dice.reading.encoder import hf_objects

    pipe = nlp.get_pipe("dice_qa")
    model = hf_objects(pipe.model).transformer
    asked = pipe.gold(examples)
    rows = []
    for window in pipe._encode(asked):
        found = [window.find(extent) for extent in asked[window.pair].gold or []]
        first, last = next((place for place in found if place), (window.cls, window.cls))
        rows.append((window, first, last))

    def collate(batch: List[Any]) -> Dict[str, Any]:
        longest = max(len(window.ids) for window, _, _ in batch)
        filled = lambda values: [  # noqa: E731
            torch.nn.functional.pad(torch.as_tensor(v), (0, longest - len(v))) for v in values
        ]
        inputs = {
            "input_ids": filled([window.ids for window, _, _ in batch]),
            "attention_mask": filled([window.ids * 0 + 1 for window, _, _ in batch]),
        }
        if batch[0][0].types is not None:
            inputs["token_type_ids"] = filled([window.types for window, _, _ in batch])
        tensors = {key: torch.stack(value) for key, value in inputs.items()}
        tensors["start_positions"] = torch.tensor([first for _, first, _ in batch])
        tensors["end_positions"] = torch.tensor([last for _, _, last in batch])
        return tensors

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                per_device_train_batch_size=args.batch,
                num_train_epochs=args.epochs,
                learning_rate=args.learning_rate,
                weight_decay=0.01,
                max_grad_norm=args.clip,
                seed=args.seed,
                save_strategy="no",
                logging_strategy="epoch",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
            ),
            data_collator=collate,
            train_dataset=rows,
        )
        trainer.train()
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]


# -- speed ------------------------------------------------------------------------------


def run_speed(args: Any) -> None:
    if args.one:
        print(json.dumps({"spacy": by_spacy, "transformers": by_transformers}[args.one](args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        nlp = reader(args.transformer)
        examples = squad(nlp, args.test, 0, args.size)
        nlp.initialize(lambda: examples)
        from spacy_dice.reading.encoder import hf_objects

        objects = hf_objects(nlp.get_pipe("dice_qa").model)
        objects.transformer.save_pretrained(f"{folder}/hf")
        objects.tokenizer.save_pretrained(f"{folder}/hf")
        nlp.to_disk(f"{folder}/spacy")
        measured: Dict[str, List[Any]] = {"spacy": [], "transformers": []}
        for _ in range(args.rounds):
            for one, results in measured.items():
                command = [sys.executable, "-m", "benchmarks.compare.reading", "speed"]
                command += ["--one", one, "--weights", folder, "--test", str(args.test.resolve())]
                command += ["--size", str(args.size), "--batch", str(args.batch)]
                done = subprocess.run(
                    [*command, "--transformer", args.transformer], capture_output=True, text=True
                )
                if done.returncode:
                    raise SystemExit(done.stderr)
                results.append(json.loads(done.stdout.splitlines()[-1]))
    for one, results in measured.items():
        rate = statistics.median(result["per_second"] for result in results)
        memory = statistics.median(result["peak_mib"] for result in results)
        print(f"{one:13} {rate:6.2f} questions/s, peak {memory:.0f} MiB")
    ours, theirs = measured["spacy"], measured["transformers"]
    ratio = lambda key: statistics.median(a[key] / b[key] for a, b in zip(ours, theirs))  # noqa: E731
    print(f"ratio: {ratio('per_second'):.2f} of questions/s, {ratio('peak_mib'):.2f} of memory")


def by_spacy(args: Any) -> Dict[str, float]:
    import spacy

    nlp = spacy.load(args.weights / "spacy")
    docs = [example.predicted for example in squad(nlp, args.test, 0, args.size)]
    start = time.perf_counter()
    n = sum(1 for _ in nlp.pipe(docs, batch_size=64))
    return taken(n, start)


def by_transformers(args: Any) -> Dict[str, float]:
    from transformers import pipeline

    answer = pipeline("question-answering", model=str(args.weights / "hf"), device="cpu")
    articles = json.loads(args.test.read_text(encoding="utf8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    inputs = [
        {"question": qa["question"], "context": paragraph["context"]}
        for paragraph in paragraphs
        for qa in paragraph["qas"]
    ][: args.size]
    start = time.perf_counter()
    found = answer(inputs, batch_size=args.batch, max_answer_len=30)
    return taken(len(found), start)


def taken(n: int, start: float) -> Dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"per_second": n / (time.perf_counter() - start), "peak_mib": peak}


if __name__ == "__main__":
    main()
