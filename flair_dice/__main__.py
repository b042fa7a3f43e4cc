"""`python -m flair_dice ...`: how imbalanced a corpus is, two models side by side, where to cut;
and texts in bulk, of Parquet or JSON Lines.

Data are columns of tokens and tags (a sentence between blank lines; the first column is the token,
the last the tag), or lines of fastText, ``__label__spam some text``, for models of texts.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, List, Optional

from dice_bulk.command import add_arguments

EXAMPLES = """examples:
  python -m flair_dice imbalance train.txt
  python -m flair_dice compare stock/final-model.pt dice/final-model.pt test.txt --plot gains.png
  python -m flair_dice tune dice/final-model.pt dev.txt tuned.pt
  python -m flair_dice bulk tuned.pt texts.parquet tagged --workers 4
"""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command. RETURNS the exit status: 1, with one line on stderr, for what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m flair_dice",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    imbalance = commands.add_parser("imbalance", help="how often each label is there")
    imbalance.add_argument("data", type=Path, metavar="DATA")
    imbalance.add_argument("--label-type", default="label", help="what to call the labels")
    compare = commands.add_parser("compare", help="two saved models by label, with intervals")
    compare.add_argument("model_a", metavar="MODEL_A")
    compare.add_argument("model_b", metavar="MODEL_B")
    compare.add_argument("data", type=Path, metavar="DATA")
    compare.add_argument("--plot", type=Path, help="draw it into this file")
    compare.add_argument("--json", action="store_true", help="print it as JSON")
    compare.add_argument("--samples", type=int, default=2000, help="of the bootstrap (2000)")
    compare.add_argument("--seed", type=int, default=0, help="of the bootstrap (0)")
    tune = commands.add_parser("tune", help="choose on dev where a saved model cuts, for F1")
    tune.add_argument("model", metavar="MODEL")
    tune.add_argument("data", type=Path, metavar="DEV")
    tune.add_argument("out", type=Path, metavar="OUT", help="file for the tuned model")
    tune.add_argument("--objective", help="micro, macro, 'precision>=0.9', ...")
    add_arguments(commands.add_parser("bulk", help="tag texts, in any number, by Ray Data"))
    given = parser.parse_args(arguments)
    run = {"bulk": _bulk, "imbalance": _imbalance, "compare": _compare, "tune": _tune}[
        given.command
    ]
    try:
        run(given)
    except (ValueError, OSError, ImportError) as error:
        print(f"✘ {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _imbalance(given: argparse.Namespace) -> None:
    from .comparison import count

    found = count(read(given.data, given.label_type))
    if not found:
        raise ValueError(f"{given.data}: no sentence has a label.")
    print("\n\n".join(map(str, found)))


def _compare(given: argparse.Namespace) -> None:
    from .comparison import compare

    model_a, model_b = load(given.model_a), load(given.model_b)
    sentences = read(given.data, model_a.label_type)
    names = (given.model_a, given.model_b)
    found = compare(
        model_a, model_b, sentences, names=names, samples=given.samples, seed=given.seed
    )
    print(json.dumps(found.to_dict(), indent=1) if given.json else found)
    if given.plot is not None:
        found.plot(given.plot)


def _tune(given: argparse.Namespace) -> None:
    from .tuning.run import tune

    if given.out.exists():
        raise ValueError(f"{given.out} is there already. Give another name.")
    model = load(given.model)
    print(tune(model, read(given.data, model.label_type), objective=given.objective))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    model.save(given.out)


def _bulk(given: argparse.Namespace) -> None:
    from dice_bulk.command import run

    run(**{name: value for name, value in vars(given).items() if name != "command"})


def load(path: str) -> Any:
    """A saved model, with its loss if it has one.

    Raises:
        OSError: If there is no such file.
    """
    if not Path(path).is_file():
        hint = Path(path) / "final-model.pt"
        raise OSError(
            f"There is no model {path}." + (f" Did you mean {hint}?" if hint.exists() else "")
        )
    from flair.nn import Classifier

    from . import models  # noqa: F401 - whose classes are found once they are imported

    return Classifier.load(path)


def read(path: Path, label_type: str) -> List[Any]:
    """Sentences with gold labels, of columns or of lines of fastText.

    Raises:
        OSError: If there is no such file.
        ValueError: For a file that is neither.
    """
    with path.open(encoding="utf8") as lines:
        first = next((line for line in lines if line.strip()), "")
    if first.startswith("__label__"):
        from flair.datasets import ClassificationDataset

        texts: Any = ClassificationDataset(path, label_type=label_type)
        return list(texts)
    n_columns = len(first.split())
    if n_columns < 2:
        raise ValueError(
            f"{path}: expected columns of tokens and tags, or lines of __label__LABEL text, got "
            f"{first.strip()!r}."
        )
    from flair.datasets import ColumnDataset

    columns = {0: "text", n_columns - 1: label_type}
    sentences: Any = ColumnDataset(path, columns)
    return list(sentences)


if __name__ == "__main__":
    sys.exit(main())
