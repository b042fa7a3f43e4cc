"""Reading comprehension: losses of dice_qa, and its speed against transformers' pipeline.

    python -m benchmarks.compare.reading train --transformer PATH --train FILE ... [--test FILE ...]
    python -m benchmarks.compare.reading speed --transformer PATH --test FILE
    python -m benchmarks.compare.reading report [FILE]

PATH is an encoder's name or folder, FILE a file of SQuAD. train: the files of --train are put
together, and the seed draws which articles are for training and which questions of the others are
held out; --test names further files. All losses have the same optimizer, learning rate (linear to
0) and epochs; there is no choice of a checkpoint by dev. A line of JSON is appended for each run;
report makes tables of them. speed: questions a second of nlp.pipe and of transformers'
question-answering pipeline, taking turns.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import spacy
from thinc.api import Adam, fix_random_seed

from .. import versions
from ..report.reading import tables
from ..results import FOLDER, append, read
from .recipes import RECIPES, as_config

RUNS = FOLDER / "reading/runs.jsonl"


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--transformer", required=True)
    train.add_argument("--train", type=Path, required=True, nargs="+")
    train.add_argument("--test", type=Path, default=[], nargs="+")
    train.add_argument("--loss", choices=RECIPES, default="dice_ce")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--size", type=int, default=600, help="questions to train on")
    train.add_argument("--held-out", type=int, default=300, help="questions of other articles")
    train.add_argument("--test-size", type=int, default=0, help="of each test file; 0 is all")
    train.add_argument("--longest", type=int, default=0, help="words of a context; 0 is any")
    train.add_argument("--epochs", type=int, default=2)
    train.add_argument("--batch", type=int, default=8)
    train.add_argument("--learning-rate", type=float, default=3e-4)
    train.add_argument("--results", type=Path, default=RUNS)
    speed = commands.add_parser("speed")
    speed.add_argument("--transformer", required=True)
    speed.add_argument("--test", type=Path, required=True)
    speed.add_argument("--size", type=int, default=100, help="questions")
    speed.add_argument("--rounds", type=int, default=3)
    speed.add_argument("--batch", type=int, default=8, help="of transformers' pipeline")
    report = commands.add_parser("report")
    report.add_argument("file", type=Path, nargs="?", default=RUNS)
    args = parser.parse_args(argv)
    if args.command == "train":
        run_train(args)
    elif args.command == "speed":
        run_speed(args)
    else:
        print("\n".join(tables(read([args.file]))))


def run_train(args: argparse.Namespace) -> None:
    """Train with one loss and one seed, and append the scores."""
    nlp = reader(args.transformer, args.loss)
    examples, held_out = draw(nlp, args)
    tests = {"held out": held_out}
    for path in args.test:
        found = squad(nlp, path, args.longest)
        tests[path.resolve().parent.name] = found[: args.test_size or None]
    start = time.time()
    losses = fit(nlp, examples, args)
    seconds = time.time() - start
    scores = {name: nlp.evaluate(test) for name, test in tests.items()}
    settings = {key: getattr(args, key) for key in ("epochs", "batch", "learning_rate", "longest")}
    line: Dict[str, Any] = {
        "task": "reading",
        "data": args.train[0].resolve().parent.name,
        "size": len(examples),
        "trainer": "spacy",
        "loss": args.loss,
        "seed": args.seed,
        "settings": {"transformer": Path(args.transformer).name, **settings},
        "losses": losses,
        "seconds": seconds,
        "scores": {
            name: {"questions": len(tests[name]), "exact": found["qa_exact"], "f1": found["qa_f1"]}
            for name, found in scores.items()
        },
    }
    line["versions"] = versions("spacy", "thinc", "spacy-transformers", "transformers", "torch")
    append(line, args.results)
    print(json.dumps({key: value for key, value in line.items() if key != "versions"}))


def reader(transformer: str, loss: str = "ce") -> Any:
    """A pipeline of dice_qa."""
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy_dice.QuestionAnswering.v1", "name": transformer}
    nlp.add_pipe("dice_qa", config={"model": model, "loss": as_config(RECIPES[loss])})
    return nlp


def squad(nlp: Any, path: Path, longest: int = 0) -> List[Any]:
    """An example for each question of a file whose context has at most so many words."""
    read_file = spacy.registry.readers.get("spacy_dice.squad.v1")(path, per_question=True)
    examples = [
        eg for eg in read_file(nlp) if not longest or len(eg.reference.text.split()) <= longest
    ]
    if not examples:
        raise SystemExit(f"{path} has no question with a context of {longest} words at most.")
    return examples


def draw(nlp: Any, args: argparse.Namespace) -> Tuple[List[Any], List[Any]]:
    """Examples for training and for testing, of different articles, drawn by the seed."""
    by_article: Dict[str, List[Any]] = {}
    for path in args.train:
        article_of = {
            paragraph["context"]: f"{path} {number}"
            for number, article in enumerate(json.loads(path.read_text(encoding="utf8"))["data"])
            for paragraph in article["paragraphs"]
        }
        for example in squad(nlp, path, args.longest):
            by_article.setdefault(article_of[example.reference.text], []).append(example)
    names = sorted(by_article)
    rng = random.Random(args.seed)
    rng.shuffle(names)
    train: List[Any] = []
    while names and len(train) < args.size:
        train += by_article[names.pop()]
    rest = [example for name in names for example in by_article[name]]
    if len(rest) < args.held_out:
        raise SystemExit(
            f"{len(rest)} questions are left for testing, and --held-out is {args.held_out}. "
            "Lower it, or --size."
        )
    return train[: args.size], rng.sample(rest, args.held_out)


def fit(nlp: Any, examples: List[Any], args: argparse.Namespace) -> List[float]:
    """Initialize and train in place. Returns the loss of each epoch."""
    fix_random_seed(args.seed)
    nlp.initialize(lambda: examples)
    steps = args.epochs * -(-len(examples) // args.batch)
    rates = (args.learning_rate * (1 - step / steps) for step in range(steps + 1))
    optimizer = Adam(args.learning_rate, L2=0.01, grad_clip=1.0, use_averages=False)
    order, curve = random.Random(args.seed), []
    for _ in range(args.epochs):
        examples = order.sample(examples, len(examples))
        losses: Dict[str, float] = {}
        for first in range(0, len(examples), args.batch):
            optimizer.learn_rate = next(rates)
            nlp.update(examples[first : first + args.batch], sgd=optimizer, losses=losses)
        curve.append(losses["dice_qa"])
    return curve


def run_speed(args: argparse.Namespace) -> None:
    """Print questions a second of both, and the median of the ratios. The head is new in both."""
    from transformers import pipeline

    nlp = reader(args.transformer)
    examples = squad(nlp, args.test)[: args.size]
    nlp.initialize(lambda: examples)
    answer = pipeline("question-answering", model=args.transformer, device="cpu")
    references = [example.reference for example in examples]
    asked = [(q["text"], doc.text) for doc in references for q in doc._.questions]
    questions, contexts = map(list, zip(*asked))
    docs = [example.predicted for example in examples]

    def ours() -> None:
        for _ in nlp.pipe(docs, batch_size=64):
            pass

    def theirs() -> None:
        answer(question=questions, context=contexts, batch_size=args.batch, max_answer_len=30)

    rates = [(rate(ours, len(asked)), rate(theirs, len(asked))) for _ in range(args.rounds)]
    for name, measured in zip(("dice_qa", "transformers"), zip(*rates)):
        print(f"{name:13} {statistics.median(measured):6.2f} questions/s")
    print(f"ratio: {statistics.median(a / b for a, b in rates):.2f}")


def rate(run: Callable[[], None], n: int) -> float:
    """How many of n a second."""
    start = time.perf_counter()
    run()
    return n / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
