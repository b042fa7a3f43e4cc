"""All ratios of time to the toolkits' own, with the machine named, and a picture of them.

    python -m benchmarks.speed [--data DIR] [--picture PNG]

Runs losses.py, crf.py and components.py, each in a process of its own with one thread, in less
than ten minutes on two cores, with fewer rounds than each has on its own. DIR is a corpus of
entities; without it sentences are generated.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Tuple

from .. import ROOT, figures
from ..versions import versions

PACKAGES = ("numpy", "thinc", "spacy", "torch", "flair")
# What each module prints: a title, the median of the ratios, and in brackets its range.
RATIO = re.compile(r"(?P<title>\S.*?)\s+(?P<ratio>\d+\.\d+)  \(")
# Told apart by shape and fill, not by colour.
MARKERS = {
    "losses": ("o", "white"),
    "crf": ("s", "gray"),
    "prediction": ("^", "white"),
    "components": ("D", "black"),
}
Ratios = Dict[str, List[Tuple[str, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a corpus of entities")
    parser.add_argument("--picture", type=Path, default=Path("out/speed.png"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sentences", type=int, default=300)
    args = parser.parse_args()
    print(machine(), flush=True)
    quick = ["--rounds", str(3 * args.rounds)]
    slow = ["--rounds", str(args.rounds), "--sentences", str(args.sentences)]
    slow += ["--data", str(args.data)] if args.data else []
    ratios = {
        "losses": measured("losses", quick),
        "crf": measured("crf", quick),
        "prediction": measured("components", [*slow, "--predict"]),
        "components": measured("components", slow),
    }
    print("Wrote", picture(ratios, args.picture))


def machine() -> str:
    """The processor, its cores, and the versions of what is compared."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    found = ", ".join(f"{package} {v}" for package, v in versions(*PACKAGES).items())
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} cores, one thread; {system}, {found}"


def measured(module: str, options: List[str]) -> List[Tuple[str, float]]:
    """The ratios that a module of this package prints; they are printed on."""
    print(f"\n-- {module}: ours / theirs, the median of the ratios", flush=True)
    command = [sys.executable, "-m", f"benchmarks.speed.{module}", *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            print(line, end="", flush=True)
            match = RATIO.match(line)
            if match:
                found.append((match["title"], float(match["ratio"])))
    if run.returncode or not found:
        raise SystemExit(f"{' '.join(command)} failed.")
    return found


def picture(ratios: Ratios, path: Path) -> Path:
    """A point for each ratio on a logarithmic axis; left of 1 ours is faster."""
    rows = [(module, *row) for module, found in ratios.items() for row in found][::-1]
    figure = figures.new(8, 0.2 * len(rows) + 1.6)
    axes = figure.add_subplot()
    for module, (marker, fill) in MARKERS.items():
        at = [(ratio, y) for y, (name, _, ratio) in enumerate(rows) if name == module]
        axes.plot(*zip(*at), marker, color="black", markerfacecolor=fill, label=module)
    axes.set_yticks(range(len(rows)), [title for _, title, _ in rows], fontsize=7)
    axes.set_ylim(-1, len(rows))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlabel("time, ours / theirs", fontsize=8)
    axes.set_title(machine().partition(";")[0], fontsize=8)
    axes.legend(fontsize="small")
    return figures.save(figure, path)


if __name__ == "__main__":
    main()
