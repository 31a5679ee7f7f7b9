"""The drawings of the gate's page, as SVG text: intervals, reward against gold, wins and losses. Pure.

Colours come from the page's CSS variables, so that every drawing follows light and dark.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rewriter_contract.reports import Finding

WIDE, HIGH, EDGE = 520, 320, 62
"""Size of a plot and the room for its axis labels, in CSS pixels."""
BAR: Final = 250
"""Width of an interval drawing."""


@dataclass(frozen=True)
class Point:
    """One query in a scatter plot."""

    x: float
    y: float
    label: str


def interval(finding: Finding) -> str:
    """The difference (or, without one, the candidate's value) between its bounds; zero is thin, the limit dashed."""
    low, high = finding.low, finding.high
    is_difference = finding.difference is not None
    middle = finding.difference if is_difference else finding.candidate
    if low is None or high is None or middle is None:
        return ""
    shown = [low, high, middle, *([0.0] if is_difference else [])]
    shown += [finding.threshold] if finding.threshold is not None else []
    scale = Scale(min(shown), max(shown), 8, BAR - 8)
    limit = ""
    if finding.threshold is not None:
        x = scale(finding.threshold)
        limit = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="24" class="limit"/>'
    zero = f'<line x1="{scale(0.0):.1f}" x2="{scale(0.0):.1f}" y1="6" y2="20" class="zero"/>' if is_difference else ""
    return (
        f'<svg class="interval {finding.verdict.lower()}" width="{BAR}" height="26" role="img" '
        f'aria-label="{low:+.3f} to {high:+.3f}">'
        f'<line x1="4" x2="{BAR - 4}" y1="13" y2="13" class="axis"/>'
        f"{zero}{limit}"
        f'<line x1="{scale(low):.1f}" x2="{scale(high):.1f}" y1="13" y2="13" class="span"/>'
        f'<circle cx="{scale(middle):.1f}" cy="13" r="4.5" class="dot"/></svg>'
    )


def span(low: float, middle: float, high: float) -> str:
    """A difference between its bounds; zero is thin."""
    scale = Scale(min(low, 0.0), max(high, 0.0), 8, BAR - 8)
    return (
        f'<svg class="interval" width="{BAR}" height="26" role="img" aria-label="{low:+.3f} to {high:+.3f}">'
        f'<line x1="4" x2="{BAR - 4}" y1="13" y2="13" class="axis"/>'
        f'<line x1="{scale(0.0):.1f}" x2="{scale(0.0):.1f}" y1="6" y2="20" class="zero"/>'
        f'<line x1="{scale(low):.1f}" x2="{scale(high):.1f}" y1="13" y2="13" class="span"/>'
        f'<circle cx="{scale(middle):.1f}" cy="13" r="4.5" class="dot"/></svg>'
    )


def steps_plot(values: Sequence[float | None], ends: Sequence[int], y_label: str) -> str:
    """A line over optimizer steps, broken where a value is absent; after each of `ends` steps another phase begins."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    left, right, top, bottom = EDGE, WIDE - 24, 12, HIGH - EDGE
    to_x, to_y = Scale(0, max(len(values) - 1, 1), left, right), Scale(low, high, bottom, top)
    pieces: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            pieces.append([])
        else:
            pieces[-1].append(f"{to_x(index):.1f},{to_y(value):.1f}")
    lines = "".join(f'<polyline points="{" ".join(piece)}" class="curve"/>' for piece in pieces if piece)
    marks = "".join(
        f'<line x1="{to_x(end - 0.5):.1f}" x2="{to_x(end - 0.5):.1f}" y1="{top}" y2="{bottom}" class="limit"/>'
        for end in ends
    )
    ticks = "".join(
        f'<text x="{left - 6}" y="{to_y(value) + 4:.1f}" class="tick" text-anchor="end">{value:.3g}</text>'
        for value in dict.fromkeys((low, (low + high) / 2, high))
    )
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" class="plot" role="img" aria-label="{html.escape(y_label)} by step">'
        f'<line x1="{left}" x2="{left}" y1="{top}" y2="{bottom}" class="axis"/>{marks}{lines}{ticks}'
        f"{_labels('optimizer steps; a dashed line begins a phase', y_label)}</svg>"
    )


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Both differences of every query; the corner where reward rises and gold falls is shaded."""
    reach_x = max((abs(point.x) for point in points), default=0.0) or 1.0
    reach_y = max((abs(point.y) for point in points), default=0.0) or 1.0
    left, right, top, bottom = EDGE, WIDE - 24, 12, HIGH - EDGE
    to_x, to_y = Scale(-reach_x, reach_x, left, right), Scale(-reach_y, reach_y, bottom, top)
    dots = "".join(
        f'<circle cx="{to_x(point.x):.1f}" cy="{to_y(point.y):.1f}" r="4" class="{_quadrant(point)}">'
        f"<title>{html.escape(point.label)}</title></circle>"
        for point in points
    )
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" class="plot" role="img" aria-label="{x_label} against {y_label}">'
        f'<rect x="{to_x(0):.1f}" y="{to_y(0):.1f}" width="{right - to_x(0):.1f}" '
        f'height="{bottom - to_y(0):.1f}" class="corner"/>'
        f'<text x="{right - 8}" y="{bottom - 8}" class="note" text-anchor="end">reward up, gold down</text>'
        f'<line x1="{left}" x2="{right}" y1="{to_y(0):.1f}" y2="{to_y(0):.1f}" class="axis"/>'
        f'<line x1="{to_x(0):.1f}" x2="{to_x(0):.1f}" y1="{top}" y2="{bottom}" class="axis"/>'
        f"{_ticks(reach_x, to_x, reach_y, to_y)}{dots}"
        f"{_labels(x_label, y_label)}</svg>"
    )


def waterfall(values: Sequence[float], y_label: str) -> str:
    """One bar per query, from the greatest loss to the greatest gain."""
    ordered = sorted(values)
    reach = max((abs(value) for value in ordered), default=0.0) or 1.0
    left, right, top, bottom = EDGE, WIDE - 24, 12, HIGH - EDGE
    to_x, to_y = Scale(0, max(len(ordered), 1), left, right), Scale(-reach, reach, bottom, top)
    width = max((right - left) / max(len(ordered), 1) * 0.8, 0.6)
    bars = "".join(
        f'<rect x="{to_x(index):.1f}" y="{min(to_y(value), to_y(0)):.1f}" width="{width:.2f}" '
        f'height="{abs(to_y(value) - to_y(0)):.1f}" class="{"gain" if value > 0 else "loss"}"/>'
        for index, value in enumerate(ordered)
    )
    ticks = "".join(
        f'<text x="{left - 6}" y="{to_y(value) + 4:.1f}" class="tick" text-anchor="end">{value:+.2f}</text>'
        for value in (-reach, 0.0, reach)
    )
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" class="plot" role="img" aria-label="{y_label} of every query">{bars}{ticks}'
        f'<line x1="{left}" x2="{right}" y1="{to_y(0):.1f}" y2="{to_y(0):.1f}" class="axis"/>'
        f"{_labels('queries, worst to best', y_label)}</svg>"
    )


@dataclass(frozen=True)
class Scale:
    """A linear map from [low, high] to [start, end] pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 and math.isfinite(span) else 0.5
        return self.start + share * (self.end - self.start)


def _ticks(reach_x: float, to_x: Scale, reach_y: float, to_y: Scale) -> str:
    below = "".join(
        f'<text x="{to_x(value):.1f}" y="{HIGH - EDGE + 18}" class="tick" text-anchor="middle">{value:+.2f}</text>'
        for value in (-reach_x, -reach_x / 2, 0.0, reach_x / 2, reach_x)
    )
    beside = "".join(
        f'<text x="{EDGE - 6}" y="{to_y(value) + 4:.1f}" class="tick" text-anchor="end">{value:+.2f}</text>'
        for value in (-reach_y, 0.0, reach_y)
    )
    return below + beside


def _labels(x_label: str, y_label: str) -> str:
    middle = (12 + HIGH - EDGE) / 2
    return (
        f'<text x="{(EDGE + WIDE - 24) / 2}" y="{HIGH - 6}" class="label" text-anchor="middle">{x_label}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" class="label" text-anchor="middle">{y_label}</text>'
    )


def _quadrant(point: Point) -> str:
    if point.x > 0 and point.y < 0:
        return "dot hacked"
    return "dot better" if point.y > 0 else "dot worse" if point.y < 0 else "dot same"
