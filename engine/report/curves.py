"""Learning curves as drawings in SVG: a metric by iteration, of training and validation rows, in the colours of the page.

A curve of many iterations is thinned so that no peak is lost: of each stretch its first, smallest, largest and last value stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.report.data import Row
from engine.report.html import Html, escape, say_number, tag

BESIDE = ("Iteration", "Passes", "Step size", "Elapsed Time")  # columns of progress that are no metrics
SIDES = ("Training", "Validation")
WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 10, 34  # margins around the field of a drawing
STRETCHES = 90  # of a curve, each of which keeps four points at most
LOG_FACTOR = 1e3  # by which values must differ for a logarithmic axis
TICKS = 6

Point = tuple[int, float]


@dataclass(frozen=True)
class Chart:
    """One metric: a line of points for each side, '' where there is one only."""

    metric: str
    lines: dict[str, list[Point]] = field(default_factory=dict)


def charts_of(rows: Sequence[Row]) -> list[Chart]:
    """A chart for every metric, of rows whose values may lack columns or be no numbers, in the order in which columns appear."""
    columns = list(dict.fromkeys(name for row in _samples(rows) for name in row.values))
    charts: dict[str, Chart] = {}
    for column in columns:
        side, dash, metric = column.partition("-")
        if column in BESIDE:
            continue
        if not (dash and side in SIDES):
            side, metric = "", column
        points = [(row.number, float(row.values[column])) for row in rows if _is_number(row.values.get(column))]
        if points:
            charts.setdefault(metric, Chart(metric)).lines[side] = points
    return list(charts.values())


def thin(points: Sequence[Point], stretches: int = STRETCHES) -> list[Point]:
    """At most ``4 * stretches`` of the points, their peaks among them; all, where there are no more."""
    if len(points) <= 4 * stretches:
        return list(points)
    kept: list[Point] = []
    for number in range(stretches):
        part = points[len(points) * number // stretches : len(points) * (number + 1) // stretches]
        by_value = sorted(part, key=lambda point: point[1])
        kept += sorted({part[0], by_value[0], by_value[-1], part[-1]})
    return kept


def draw(chart: Chart, restarts: Sequence[int] = ()) -> Html:
    """A figure: title, a legend with the last values, and the drawing."""
    legend = [
        tag("span", Html(f'<svg class="key {_kind(side)}" width="26" height="8" aria-hidden="true"><path d="M1 4H25"/></svg>'), " ", side)
        for side in chart.lines
        if side
    ]
    last = ", ".join(f"{side.lower() or 'last'} {say_number(points[-1][1])}" for side, points in chart.lines.items())
    caption = tag("figcaption", tag("strong", chart.metric), tag("span", last, class_="last"), tag("span", *legend, class_="legend"))
    return tag("figure", caption, Html(draw_svg(chart, restarts)))


def draw_svg(chart: Chart, restarts: Sequence[int]) -> str:
    """The drawing."""
    points = [point for line in chart.lines.values() for point in line]
    scale = Scale([number for number, _ in points], [value for _, value in points])
    label = escape(f"{chart.metric} by iteration, {len(points)} values from {min(points)[0]} to {max(points)[0]}")
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for value, text in scale.y_ticks():
        y = scale.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for number in scale.x_ticks():
        parts.append(f'<text x="{scale.x(number):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 1}" text-anchor="middle" class="axis">iteration</text>')
    for number in restarts:
        if scale.first <= number <= scale.last:
            place = scale.x(number)
            parts.append(f'<path class="restart" d="M{place:.1f} {TOP}V{HEIGHT - BOTTOM}"><title>restarted from {number}</title></path>')
    for side, line in chart.lines.items():
        parts += _draw_line(side, thin(line), scale)
    return "".join([*parts, "</svg>"])


def _draw_line(side: str, points: Sequence[Point], scale: Scale) -> Iterator[str]:
    kind = _kind(side)
    if len(points) > 1:
        path = "L".join(f"{scale.x(number):.1f} {scale.y(value):.1f}" for number, value in points)
        yield f'<path class="line {kind}" d="M{path}"/>'
    number, value = points[-1]
    yield f'<circle class="dot {kind}" cx="{scale.x(number):.1f}" cy="{scale.y(value):.1f}" r="3"/>'


def _kind(side: str) -> str:
    return "validation" if side == "Validation" else "training"


class Scale:
    """Where numbers are in the drawing. Values that differ by large factors, all above 0, are on a logarithmic axis."""

    def __init__(self, numbers: Sequence[int], values: Sequence[float]) -> None:
        self.first, self.last = min(numbers), max(numbers)
        low, high = min(values), max(values)
        self.is_log = low > 0 and high / low > LOG_FACTOR
        if self.is_log:
            low, high = math.log10(low), math.log10(high)
        room = 0.06 * (high - low) if math.isfinite(high - low) else 0.0
        if not room:
            room = abs(high) * 0.1 or 1.0
        if math.isfinite(high + room) and math.isfinite(low - room):
            low, high = low - room, high + room
        self.low, self.high = low, high

    def x(self, number: int) -> float:
        """The place of an iteration; that of a single one is the middle."""
        share = (number - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """The place of a value."""
        value = math.log10(value) if self.is_log else value
        span = self.high / 2 - self.low / 2  # of the largest numbers the difference is none any more
        share = (value / 2 - self.low / 2) / span if span else 0.5
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    def x_ticks(self) -> list[int]:
        """Some round iterations, from the first to the last."""
        step = max(1, math.ceil(round_step((self.last - self.first) / TICKS)))
        begin = -(-self.first // step) * step
        return list(range(begin, self.last + 1, step)) or [self.first]

    def y_ticks(self) -> list[tuple[float, str]]:
        """Some round values with their texts."""
        if self.is_log:
            powers = range(math.ceil(self.low), math.floor(self.high) + 1)
            every = max(1, math.ceil(len(powers) / TICKS))
            return [(10.0**power, f"1e{power}") for power in powers if power % every == 0]
        step = round_step(self.high / TICKS - self.low / TICKS)
        if not step or not math.isfinite(step):
            return [(self.low, f"{self.low:.3g}")]
        first = math.ceil(self.low / step)
        values = [number * step for number in range(first, math.floor(self.high / step) + 1)]
        digits = max(3, _digits(values, step))
        return [(value, f"{value + 0.0:.{digits}g}") for value in values]


def round_step(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5 or 10 times a power of ten."""
    if not step > 0 or not math.isfinite(step):
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    if not power:
        return 0.0
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _digits(values: Sequence[float], step: float) -> int:
    """How many digits tell these values apart."""
    largest = max((abs(value) for value in values), default=0.0)
    return min(12, math.ceil(math.log10(largest / step)) + 2) if largest > step else 3


def _samples(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows that have every column there is: the first and the last."""
    return [rows[0], rows[-1]] if rows else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of the table of progress."""
    found: Mapping[str, None] = dict.fromkeys(name for row in _samples(rows) for name in row.values)
    return list(found)
