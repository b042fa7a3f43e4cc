"""Tables and plots of all cells that were measured.

    python -m benchmarks.report [--plots DIR] [FILE ...]

Reads benchmarks/results/*.jsonl (or the files given). A table for each data set, size and
model: the mean of each loss over seeds, on dev and test, and its gain over cross-entropy ("ce")
on test, paired by seed, with its 95 % interval (Student's t). Scores are micro F1 of entities and
spans, macro F1 of tags, F1 of "spam" of messages, in points. For dice_ner also F1 on test with the
threshold that is best on dev. --summary LOSS prints one table of the gains of a loss everywhere,
--types LOSS tables of F1 on test by type, the most frequent in training first. --fill FILE writes
tables into a Markdown file, see pages.py; --picture PNG draws those of stock components.
"""

import argparse
from pathlib import Path

from ..results import FOLDER, read
from . import components, pages, plots, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--summary", nargs="*", metavar="LOSS", default=[])
    parser.add_argument("--types", nargs="*", metavar="LOSS", default=[])
    parser.add_argument("--fill", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="of stock components")
    parser.add_argument("--plots", type=Path, help="folder for PNG files; needs matplotlib")
    args = parser.parse_args()
    cells = read(args.files or sorted(FOLDER.glob("*.jsonl")))
    groups, by_component = tables.grouped(cells), components.grouped(cells)
    if args.fill:
        args.fill.write_text(pages.filled(args.fill.read_text(), cells))
    elif args.picture:
        print("Wrote", plots.picture(by_component, args.picture))
    elif args.summary:
        print("\n".join(tables.summary(groups, args.summary)))
    elif args.types:
        for group, by_loss in groups.items():
            print("\n".join(tables.types(group, by_loss, args.types)), end="\n\n")
    else:
        for kind, of_kind in pages.COMPONENTS.items():
            if by_component:
                print(f"**{kind}**\n", *of_kind(cells, list(components.NAMES)), "", sep="\n")
        for group, by_loss in groups.items():
            print("\n".join(tables.table(group, by_loss)), end="\n\n")
    if args.plots:
        for path in plots.write(groups, args.plots):
            print("Wrote", path)


if __name__ == "__main__":
    main()
