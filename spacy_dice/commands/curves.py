"""Learning curves of what console loggers wrote as JSON Lines."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

from dice_core import figures

STYLES = ("-", "--", ":", "-.")
MARKERS = "os^Dv<>p"


def read_log(path: Union[str, Path]) -> List[Dict[str, Any]]:
    """The evaluations of a training.

    Args:
        path: The ``output_file`` of spaCy's console logger, or of ours.

    Returns:
        A dict for each: "epoch", "step", "losses", "scores" (from 0 to 100), "score" (0 to 1).

    Raises:
        ValueError: For a file that is none, with the line's number.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"]), "score": float(row["score"])})
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path}, line {number}: this is no training log. Set output_file in "
                "[training.logger] to have one."
            ) from None
    if not rows:
        raise ValueError(f"{path} is empty: the training had no evaluation yet.")
    return rows


def plot_logs(
    logs: Sequence[Union[str, Path]], out: Union[str, Path], scores: Sequence[str] = ()
) -> None:
    """Draw scores and losses by updates.

    Each loss is drawn as a share of its highest value, for they are sums of different things.

    Args:
        logs: Files that `read_log` reads; each has a line of its own.
        out: A PNG, or what else its name ends in.
        scores: Names of scores; none is the final one, by which the checkpoint is chosen.

    Raises:
        ValueError: For a score that a log does not have.
        ImportError: Without matplotlib; it names the extra.
    """
    read = [(str(path), read_log(path)) for path in logs]
    for path, rows in read:
        for name in scores:
            if name not in rows[-1]["scores"]:
                raise ValueError(
                    f"{path} has no score {name!r}. It has: {', '.join(rows[-1]['scores'])}."
                )
    figure = figures.new(10, 4.8)
    left, right = figure.subplots(1, 2)
    for i, (path, rows) in enumerate(read):
        steps = [row["step"] for row in rows]
        for j, name in enumerate(scores or [""]):
            values = [row["scores"][name] if name else 100 * row["score"] for row in rows]
            best = max(range(len(values)), key=lambda at: values[at])
            label = f"{Path(path).stem} {name}".strip()
            (line,) = left.plot(
                steps,
                values,
                STYLES[i % len(STYLES)],
                marker=MARKERS[(i + j) % len(MARKERS)],
                markersize=4,
                label=f"{label}: best {values[best]:.1f}",
            )
            left.plot(
                steps[best],
                values[best],
                "o",
                markersize=11,
                fillstyle="none",
                color=line.get_color(),
            )
        for j, name in enumerate(_losses_of(rows)):
            values = [row["losses"][name] for row in rows]
            highest = max(values) or 1.0
            label = f"{Path(path).stem} {name}" if len(read) > 1 else name
            right.plot(
                steps,
                [value / highest for value in values],
                STYLES[i % len(STYLES)],
                marker=MARKERS[j % len(MARKERS)],
                markersize=4,
                label=f"{label} (highest {highest:,.0f})",
            )
    left.set(xlabel="updates", ylabel="score on dev", title="Scores; circle: the best")
    right.set(xlabel="updates", ylabel="share of the highest", title="Losses since the last point")
    for ax in (left, right):
        ax.set_ylim(bottom=0)
        ax.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        ax.grid(color="0.9")
    figures.save(figure, out)


def _losses_of(rows: Sequence[Dict[str, Any]]) -> List[str]:
    """Those that are not 0 throughout, as a frozen tok2vec's is."""
    names = dict.fromkeys(name for row in rows for name in row["losses"])
    return [
        name
        for name in names
        if all(name in row["losses"] for row in rows) and any(row["losses"][name] for row in rows)
    ]
