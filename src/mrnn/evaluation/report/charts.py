"""Charts as inline SVG: lines over two axes. Colours and fonts are the page's."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 52.0, 466.0, 14.0, 234.0
TICKS = 5
BINS = 24

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points to be joined; `colour` is the number of a class of the page, `.line0` and on."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    dashed: bool = False
    filled: bool = False


def chart(lines: Sequence[Line], *, title: str, x: str, y: str, from_zero: bool = False) -> str:
    """A figure with axes, ticks and a legend; what is not finite is left out.

    `x` and `y` name the axes. With `from_zero` the vertical axis begins at 0.
    """
    kept = [[p for p in line.points if all(map(math.isfinite, p))] for line in lines]
    points = [point for line in kept for point in line]
    across = _ticks([px for px, _ in points])
    up = _ticks([py for _, py in points] + ([0.0] if from_zero else []))
    parts = [*_axes(across, up, x, y)]
    for line, its in zip(lines, kept, strict=True):
        places = [
            f"{_scale(px, across, LEFT, RIGHT):.1f},{_scale(py, up, BOTTOM, TOP):.1f}"
            for px, py in its
        ]
        look = f"line{line.colour}" + " dashed" * line.dashed + " filled" * line.filled
        parts.append(f'<polyline class="{look}" points="{" ".join(places)}"/>')
    names = html.escape("; ".join(line.name for line in lines))
    legend = "".join(
        f'<li class="line{line.colour}{" dashed" * line.dashed}">{html.escape(line.name)}</li>'
        for line in lines
    )
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}: {html.escape(y)} over {html.escape(x)}; {names}">'
        f'{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


def histogram(values: Sequence[float], low: float, high: float) -> list[Point]:
    """The outline of the bars: how many values are in each of the equal parts of low to high."""
    width = ((high - low) or 1) / BINS
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, max(0, int((value - low) / width)))] += 1
    outline = [(low, 0.0)]
    for place, count in enumerate(counts):
        outline += [(low + place * width, float(count)), (low + (place + 1) * width, float(count))]
    return [*outline, (low + BINS * width, 0.0)]


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, from the least value or below to the greatest or above.

    Between whole numbers, as counts are, they are whole.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9 * max(1.0, abs(low)):  # but one value, to the eye
        high = low + 1
    step = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    step = next((step * m for m in (1, 2, 5) if (high - low) / (step * m) <= TICKS), step * 10)
    if all(value == round(value) for value in values):
        step = max(step, 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]


def _scale(value: float, ticks: Sequence[float], low: float, high: float) -> float:
    return low + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (high - low)


def _axes(across: Sequence[float], up: Sequence[float], x: str, y: str) -> list[str]:
    parts = []
    for tick in up:
        place = _scale(tick, up, BOTTOM, TOP)
        parts.append(f'<path class="grid" d="M{LEFT:g} {place:.1f}H{RIGHT:g}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6:g}" y="{place + 4:.1f}">{tick:.6g}</text>')
    for tick in across:
        place = _scale(tick, across, LEFT, RIGHT)
        parts.append(f'<path class="axis" d="M{place:.1f} {BOTTOM:g}v4"/>')
        parts.append(f'<text class="mid" x="{place:.1f}" y="{BOTTOM + 18:g}">{tick:.6g}</text>')
    middle = (LEFT + RIGHT) / 2
    parts += [
        f'<path class="axis" d="M{LEFT:g} {TOP:g}V{BOTTOM:g}H{RIGHT:g}"/>',
        f'<text class="mid" x="{middle:g}" y="{HEIGHT - 8}">{html.escape(x)}</text>',
        f'<text class="mid" transform="rotate(-90)" x="{-(TOP + BOTTOM) / 2:g}" y="12">'
        f"{html.escape(y)}</text>",
    ]
    return parts
