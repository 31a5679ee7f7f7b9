"""Line charts as inline SVG, without scripts: for the demo's report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 24, 34
COLOURS: Final = ("#1b6ca8", "#c0392b", "#27864c", "#8e44ad", "#b9770e", "#34495e")


@dataclass(frozen=True)
class Line:
    """One line of a chart; `dots` draws its points instead."""

    label: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    steps: bool = False
    """Hold each value until the next point."""


def chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> str:
    """An SVG element; a sentence when there is nothing to draw. `whole_x`: x counts something."""
    points = [point for line in lines for point in line.points]
    if not points:
        return "<p>Nothing was recorded.</p>"
    scale = _scale(points, y_range)
    body = [_axes(scale, x_label, y_label, 1.0 if whole_x else 0.0)]
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        body.append(_dots(scale, line, colour) if line.dots else _path(scale, line, colour))
        body.append(_legend(index, line, colour))
    height = HEIGHT + 18 * ((len(lines) + 2) // 3)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(y_label)}">{"".join(body)}</svg>'


@dataclass(frozen=True)
class _Scale:
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def _scale(points: Sequence[tuple[float, float]], y_range: tuple[float, float] | None) -> _Scale:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = y_range or (min(ys), max(ys))
    margin = 0.0 if y_range else max(high - low, 1e-3) * 0.1
    return _Scale((min(xs), max(max(xs), min(xs) + 1e-9)), (low - margin, max(high + margin, low + 1e-9)))


def _axes(scale: _Scale, x_label: str, y_label: str, least_x_step: float) -> str:
    bottom, parts = HEIGHT - BOTTOM, []
    for value in _ticks(*scale.y):
        _, y = scale.place(scale.x[0], value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(*scale.x, least_x_step):
        x, _ = scale.place(value, scale.y[0])
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>')
    parts.append(f'<text x="4" y="10">{escape(y_label)}</text>')
    return "".join(parts)


def _ticks(low: float, high: float, least_step: float = 0.0) -> list[float]:
    """Round numbers within the range, a handful of them; one where the range is a point."""
    rough = max((high - low) / 6, least_step)
    if rough < 1e-6:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _path(scale: _Scale, line: Line, colour: str) -> str:
    points = list(line.points)
    if line.steps:
        points = [corner for corners in _corners(points) for corner in corners]
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale.place(*point) for point in points))
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _corners(points: list[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    before = [points[0], *points[:-1]]
    return [[(x, held), (x, y)] for (_, held), (x, y) in zip(before, points, strict=True)]


def _dots(scale: _Scale, line: Line, colour: str) -> str:
    places = (scale.place(*point) for point in line.points)
    return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)


def _legend(index: int, line: Line, colour: str) -> str:
    x, y = LEFT + (index % 3) * 190, HEIGHT + 12 + 18 * (index // 3)
    mark = f'<rect x="{x}" y="{y - 8}" width="12" height="8" fill="{colour}"/>'
    return f'{mark}<text x="{x + 18}" y="{y}">{escape(line.label)}</text>'
