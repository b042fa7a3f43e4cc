"""Figures, by matplotlib, which is imported when the first is drawn."""

from pathlib import Path
from typing import Any, Union


def new(width: float, height: float) -> Any:
    """A figure of a size in inches that needs no display.

    Raises:
        ImportError: Without matplotlib; it names the extra.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib: pip install 'spacy-flair-dice[plots]' (or matplotlib)."
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Union[str, Path]) -> None:
    """Write a figure to a PNG, or what else the name ends in; its folder is made.

    Raises:
        ValueError: For an ending that matplotlib does not know.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
