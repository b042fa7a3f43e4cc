"""F1 of each label, side by side, from the files that `spacy evaluate` wrote."""

import json
import sys
from pathlib import Path


def main(*paths: str) -> None:
    scores = {Path(path).stem: json.loads(Path(path).read_text()) for path in paths}
    per_type = {name: found.get("spans_sc_per_type") or {} for name, found in scores.items()}
    print(f"{'F1, in per cent':18}" + "".join(f"{name:>14}" for name in scores))
    for label in sorted({label for found in per_type.values() for label in found}):
        row = [100 * found.get(label, {"f": 0.0})["f"] for found in per_type.values()]
        print(f"{label:18}" + "".join(f"{f:14.1f}" for f in row))
    row = [100 * (found["spans_sc_f"] or 0) for found in scores.values()]
    print(f"{'all':18}" + "".join(f"{f:14.1f}" for f in row))
    print("\nOne seed each. Run again with --vars.seed 1 and 2: a point or two is noise.")


if __name__ == "__main__":
    main(*sys.argv[1:])
