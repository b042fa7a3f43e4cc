"""Tables and pictures of all runs that were measured.

    python -m benchmarks.report [FILE ...]
    python -m benchmarks.report --fill

Reads benchmarks/results/*.jsonl (or the files given). Scores are micro F1 of entities and spans,
macro F1 of tags and texts, F1 of the rare label of two, in points; intervals are 95 %, of the
difference paired by seed (Student's t). --fill writes the tables and numbers of README.md and of
all pages (see pages.py), and draws their pictures (docs/draw.py).
"""

import argparse
import runpy
from pathlib import Path

from .. import ROOT
from ..results import FOLDER, read
from . import components, pages, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--fill", action="store_true", help="in all pages, and draw pictures")
    args = parser.parse_args()
    runs = read(args.files or sorted(FOLDER.glob("*.jsonl")))
    if args.fill:
        for page in pages.documents():
            page.write_text(pages.filled(page.read_text(), runs))
        runpy.run_path(str(ROOT / "docs/draw.py"), run_name="__main__")
        return
    special = {"paper": ["ud_chinese_1_4", "tagger"], "thresholds": ["spancat"]}
    special.update(
        component=["spancat"], untouched=[], entities=[], init_config=[], init_config_curves=[]
    )
    for kind, make in pages.TABLES.items():
        words = special.get(kind, list(components.NAMES))
        print(f"**{kind}**\n", *make(runs, words), "", sep="\n")
    for group, by_loss in tables.grouped(runs).items():
        print("\n".join(tables.table(group, by_loss)), end="\n\n")


if __name__ == "__main__":
    main()
