"""Charts as SVG: lines against an axis, and means with intervals. Small, the same on every machine,
in a light and a dark form; lines differ by their dashes, too."""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple
from xml.sax.saxutils import escape

Point = Tuple[float, float]
Range = Tuple[float, float]
WIDTH, SIZE = 760, 13  # pixels, and those of the letters
LETTER = 0.56 * SIZE  # the mean width of one
DASHES = ("", "8 4", "8 3 2 3", "2 3", "1 4")


class Theme(NamedTuple):
    """Colours."""

    background: str
    text: str
    grid: str
    lines: Tuple[str, ...]


THEMES = {
    "": Theme(
        "#ffffff", "#24292f", "#d8dee4", ("#0072b2", "#c04f00", "#00805c", "#b0457f", "#666666")
    ),
    "-dark": Theme(
        "#0d1117", "#e6edf3", "#343b44", ("#56b4e9", "#f0a04b", "#35c79a", "#e59ac4", "#a5adb6")
    ),
}


class Line(NamedTuple):
    """Points with a label; the style is an index of colours and dashes."""

    label: str
    points: Sequence[Point]
    style: int


class Panel(NamedTuple):
    """Lines over two axes. A range of None is that of the points."""

    title: str
    x_label: str
    lines: Sequence[Line]
    x: Optional[Range] = None
    y: Optional[Range] = None
    log: bool = False
    zero: bool = False
    y_label: str = ""


class Row(NamedTuple):
    """A labelled row of means with half-widths of their intervals; None is not shown."""

    label: str
    means: Sequence[Optional[Tuple[float, Optional[float]]]]


def lines(panels: Sequence[Panel], title: str, theme: Theme, height: int = 250) -> str:
    """Panels side by side, with one legend for all above them."""
    named = {line.label: line.style for panel in panels for line in panel.lines}
    legend, top = _legend(named, theme)
    body = [legend]
    room = (WIDTH - 10) / len(panels)
    for number, panel in enumerate(panels):
        left = 10 + number * room + 42 + (20 if panel.y_label else 0)
        box = (left, top + 28, (number + 1) * room - 8, top + 28 + height)
        body += _panel(panel, box, theme)
    return _document(body, title, theme, top + height + 76)


def intervals(
    rows: Sequence[Row], series: Sequence[str], x_label: str, title: str, theme: Theme
) -> str:
    """A row for each experiment, with a line at 0; series differ by colour, shape and height."""
    left = 24 + LETTER * max(len(row.label) for row in rows)
    ends = [m + s * (h or 0) for row in rows for m, h in filter(None, row.means) for s in (-1, 1)]
    ticks = _ticks((min(0, *ends), max(0, *ends)))
    top, step = 40, 26
    bottom = top + step * len(rows)
    low, high = min(ticks[0], *ends, 0), max(ticks[-1], *ends)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - 20 - left)

    body = []
    for number, name in enumerate(series):
        x = 16 + number * (30 + LETTER * max(map(len, series)))
        body += [_mark(x, 16, number, theme), _text(x + 12, 20, name, theme)]
    for tick in ticks:
        width = 1.6 if tick == 0 else 0.8
        color = theme.text if tick == 0 else theme.grid
        body.append(_line((at(tick), top - 6), (at(tick), bottom), color, width))
        body.append(_text(at(tick), bottom + 18, f"{tick:g}", theme, "middle"))
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        body.append(_text(left - 10, y + 4, row.label, theme, "end"))
        for index, found in enumerate(row.means):
            if found is None:
                continue
            mean, half = found
            up = y + 8 * (index - (len(series) - 1) / 2)
            if half is not None:
                color = theme.lines[index]
                body.append(_line((at(mean - half), up), (at(mean + half), up), color, 1.6))
            body.append(_mark(at(mean), up, index, theme))
    body.append(_text(WIDTH / 2, bottom + 38, x_label, theme, "middle"))
    return _document(body, title, theme, bottom + 50)


def _panel(panel: Panel, box: Tuple[float, float, float, float], theme: Theme) -> List[str]:
    left, top, right, bottom = box
    points = [point for line in panel.lines for point in line.points]
    x = panel.x or (min(p[0] for p in points), max(p[0] for p in points))
    y = panel.y or (min(p[1] for p in points), max(p[1] for p in points))
    scale = math.log10 if panel.log else float

    def at(point: Point) -> Point:
        found = []
        for value, (low, high), (a, b) in zip(point, (x, y), ((left, right), (bottom, top))):
            found.append(a + (scale(value) - scale(low)) / (scale(high) - scale(low)) * (b - a))
        return found[0], found[1]

    body = [_text(left, top - 10, panel.title, theme)]
    for tick in _powers(x) if panel.log else _ticks(x):
        if x[0] <= tick <= x[1]:
            place = at((tick, y[0]))[0]
            body.append(_line((place, top), (place, bottom), theme.grid, 0.8))
            body.append(_text(place, bottom + 18, f"{tick:g}", theme, "middle"))
    for tick in _powers(y) if panel.log else _ticks(y):
        if y[0] <= tick <= y[1]:
            place = at((x[0], tick))[1]
            heavy = panel.zero and tick == 0
            color = theme.text if heavy else theme.grid
            body.append(_line((left, place), (right, place), color, 1.2 if heavy else 0.8))
            body.append(_text(left - 6, place + 4, f"{tick:g}", theme, "end"))
    body.append(_text((left + right) / 2, bottom + 38, panel.x_label, theme, "middle"))
    if panel.y_label:
        middle = (top + bottom) / 2
        turned = f' transform="rotate(-90 {left - 46:.1f} {middle:.1f})"'
        body.append(_text(left - 46, middle, panel.y_label, theme, "middle", turned))
    for line in reversed(panel.lines):
        for part in _inside(line.points, x, y):
            drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in _simple([at(p) for p in part]))
            dash = f' stroke-dasharray="{DASHES[line.style]}"' if DASHES[line.style] else ""
            body.append(
                f'<polyline points="{drawn}" fill="none" stroke="{theme.lines[line.style]}" '
                f'stroke-width="2.2" stroke-linejoin="round"{dash}/>'
            )
    return body


def _legend(named: "dict[str, int]", theme: Theme) -> Tuple[str, float]:
    """The legend, in as many rows as it needs, and where it ends."""
    body, x, y = [], 12.0, 16.0
    for label, style in named.items():
        width = 52 + LETTER * len(label)
        if x > 12 and x + width > WIDTH:
            x, y = 12.0, y + 20
        dash = f' stroke-dasharray="{DASHES[style]}"' if DASHES[style] else ""
        body.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + 32:.1f}" y2="{y:.1f}" '
            f'stroke="{theme.lines[style]}" stroke-width="2.2"{dash}/>'
        )
        body.append(_text(x + 38, y + 4, label, theme))
        x += width + 6
    return "\n".join(body), y + 12


def _inside(points: Sequence[Point], x: Range, y: Range) -> List[List[Point]]:
    """The stretches of a line that lie within both ranges."""
    parts: List[List[Point]] = [[]]
    for point in points:
        if x[0] <= point[0] <= x[1] and y[0] <= point[1] <= y[1]:
            parts[-1].append(point)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if len(part) > 1]


def _simple(points: Sequence[Point], tolerance: float = 0.15) -> List[Point]:
    """Fewer points of the same line, to a fraction of a pixel (Douglas and Peucker)."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    far = [abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length for x, y in points]
    worst = max(range(len(points)), key=far.__getitem__)
    if far[worst] <= tolerance or not 0 < worst < len(points) - 1:
        return [points[0], points[-1]]
    return _simple(points[: worst + 1], tolerance)[:-1] + _simple(points[worst:], tolerance)


def _ticks(range_: Range) -> List[float]:
    """About five round numbers that cover a range."""
    low, high = range_
    rough = (high - low or 1.0) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _powers(range_: Range) -> List[float]:
    first, last = math.ceil(math.log10(range_[0])), math.floor(math.log10(range_[1]))
    return [10.0**power for power in range(first, last + 1)]


def _text(
    x: float, y: float, text: str, theme: Theme, anchor: str = "start", more: str = ""
) -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{theme.text}"{where}{more}>{escape(text)}</text>'


def _line(start: Point, end: Point, color: str, width: float) -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width}"/>'
    )


def _mark(x: float, y: float, index: int, theme: Theme) -> str:
    """A full circle, an open diamond, a full square."""
    color = theme.lines[index]
    if index == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
    if index == 1:
        corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        fill = f'fill="{theme.background}" stroke="{color}" stroke-width="1.8"'
        return f'<polygon points="{corners}" {fill}/>'
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{color}"/>'


def _document(body: Sequence[str], title: str, theme: Theme, height: float) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'width="{WIDTH}" height="{height:.0f}" role="img" font-size="{SIZE}" '
            'font-family="system-ui, Helvetica, Arial, sans-serif">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" fill="{theme.background}"/>',
            *body,
            "</svg>\n",
        ]
    )
