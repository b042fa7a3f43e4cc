"""Tables and a picture of all runs that were measured.

    python -m benchmarks.report [FILE ...]
    python -m benchmarks.report --fill docs/evidence.md
    python -m benchmarks.report --picture components.png

Reads benchmarks/results/*.jsonl (or the files given). Scores are micro F1 of entities and spans,
macro F1 of tags and texts, F1 of the rare label of two, in points; intervals are 95 %, of the
difference paired by seed (Student's t). --fill writes tables into a Markdown file, see pages.py;
--picture draws those of stock components.
"""

import argparse
from pathlib import Path

from ..results import FOLDER, read
from . import components, pages, plots, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--fill", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of stock components")
    args = parser.parse_args()
    runs = read(args.files or sorted(FOLDER.glob("*.jsonl")))
    if args.fill:
        args.fill.write_text(pages.filled(args.fill.read_text(), runs))
    elif args.picture:
        print("Wrote", plots.picture(components.grouped(runs), args.picture))
    else:
        for kind, make in pages.TABLES.items():
            words = [] if kind.startswith("init_config") else list(components.NAMES)
            print(f"**{kind}**\n", *make(runs, words), "", sep="\n")
        for group, by_loss in tables.grouped(runs).items():
            print("\n".join(tables.table(group, by_loss)), end="\n\n")


if __name__ == "__main__":
    main()
