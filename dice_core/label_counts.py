"""How often each label is there: counts, their ratio, and a table of them."""

from dataclasses import dataclass
from typing import List, Mapping, Sequence

# More labels than these are not printed.
MAX_ROWS = 30
# Fewer examples than these are few.
RARE = 50


@dataclass
class LabelCount:
    """A label. n: its examples. units: of what the loss sees (tokens, candidates, texts).
    share: of all units.
    """

    label: str
    n: int
    units: int
    share: float


def count_labels(
    counts: Mapping[str, int], units: Mapping[str, int], n_units: int
) -> List[LabelCount]:
    """Rows, the most frequent label first.

    Args:
        counts: Examples by label.
        units: Units by label, such as tokens.
        n_units: Of all, with a label or without.
    """
    rows = [
        LabelCount(str(label), int(n), int(units[label]), units[label] / max(n_units, 1))
        for label, n in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row.n, row.label))


def ratio(rows: Sequence[LabelCount]) -> float:
    """Examples of the most frequent label for each of the rarest that has any."""
    counts = [row.n for row in rows if row.n]
    return max(counts) / min(counts) if counts else float("nan")


def label_lines(rows: Sequence[LabelCount], unit: str) -> List[str]:
    """A table on 80 columns, after a line on how unlike the counts are.

    Args:
        rows: The most frequent label first.
        unit: "tokens" or "texts".
    """
    counted = [row for row in rows if row.n]
    lines = []
    if len(counted) > 1:
        n_rare = sum(row.n < RARE for row in counted)
        lines.append(
            f"  {len(counted)} labels, {counted[0].label} : {counted[-1].label} = "
            f"{ratio(rows):,.0f} : 1"
            + (f"; {n_rare} with fewer than {RARE} examples" if n_rare else "")
        )
    width = min(max([5, *(len(row.label) for row in rows)]), 30)
    most = max([1, *(row.n for row in rows)])
    lines += ["", f"  {'label':{width}} {'examples':>9} {'share of ' + unit:>16}"]
    for row in rows[:MAX_ROWS]:
        bar = "#" * max(round(20 * row.n / most), int(row.n > 0))
        share = f"{100 * row.share:.2f} %"
        lines.append(f"  {row.label[:width]:{width}} {row.n:9,} {share:>16}  {bar}".rstrip())
    if len(rows) > MAX_ROWS:
        lines.append(f"  ... and {len(rows) - MAX_ROWS} more, the rarest of all")
    return lines
