"""The two plots of the page: quality against latency against size, and the distributions of latency."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pipeline.params.quality import Measure
from pipeline.report import svg
from pipeline.report.numbers import format_quantity, three_digits
from pipeline.report.rows import VariantRow

WIDTH = 920
_LARGEST_RADIUS = 40.0
_SMALLEST_RADIUS = 4.5
_CHAR_WIDTH, _BOLD_CHAR_WIDTH = 7.0, 7.9
_LABEL_HEIGHT = 15
_BINS = 90
_ROW_HEIGHT = 46

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Point:
    row: VariantRow
    x: float
    y: float
    radius: float


def quality_plot(rows: Sequence[VariantRow], measures: Sequence[Measure], floors: Mapping[str, float]) -> str | None:
    """Quality over p95 latency, the area of a bubble being the size of its file.

    Args:
        rows: variants; those without a measurement or quality are left out.
        measures: those of the task; the first that every variant has is shown.
        floors: by measure, the fraction of the teacher's that must be kept.

    Returns:
        An SVG element; `None` when fewer than two variants can be shown.
    """
    preferred = sorted(measures, key=lambda one: not one.plotted)
    whole = [one for one in preferred if all(row.quality.get(one.key) is not None for row in rows)]
    if not whole:
        return None
    key, title = whole[0].key, whole[0].title
    shown = [row for row in rows if row.p95_ms and row.quality.get(key) is not None]
    if len(shown) < 2:
        return None
    height, left, right, top, bottom = 440.0, 62.0, WIDTH - 30.0, 40.0, 382.0
    latencies = [_p95(row) for row in shown]
    qualities = [row.quality[key] for row in shown]
    kept = _floor(rows, key, floors.get(key))
    x = svg.LogAxis(min(latencies) / 1.7, max([*latencies, *_budgets(shown)]) * 1.9, left, right)
    lowest, highest = min([*qualities, *([kept] if kept else [])]), max(qualities)
    room = max(highest - lowest, 0.02)
    y = svg.LinearAxis(lowest - room * 0.25, min(highest + room * 0.35, 1.02), bottom, top)
    largest = max(row.size_bytes for row in shown)
    points = [_Point(row, x(_p95(row)), y(row.quality[key]), _radius(row.size_bytes, largest)) for row in shown]
    parts = [*_x_grid(x, top, bottom), *_y_grid(y, left, right, title)]
    for index, budget in enumerate(sorted(set(_budgets(shown)))):
        parts.append(svg.line(x(budget), top, x(budget), bottom, "budget"))
        # The first label ends at its line, the others begin at theirs: neighbours do not collide.
        side, lift = ("end", 0) if index == 0 else ("start", 13 * (index - 1))
        parts.append(svg.text(x(budget), top - 7 - lift, f"budget {budget:g} ms", "budget-label", side))
    if kept and y.low < kept:
        parts.append(svg.line(left, y(kept), right, y(kept), "budget"))
        parts.append(svg.text(right, y(kept) - 6, f"at least {kept:.3f}", "budget-label", "end"))
    for point in sorted(points, key=lambda p: -p.radius):
        tip = f"{point.row.name}: p95 {_p95(point.row):.3g} ms, {format_quantity(point.row.size_bytes, 'bytes')}"
        parts.append(svg.circle(point.x, point.y, point.radius, f"bubble {_style(point.row)}", tip))
    parts += _labels(points, (left, top, right, bottom))
    parts.append(svg.text((left + right) / 2, height - 12, "p95 latency in ms, logarithmic", "axis", "middle"))
    return svg.picture(WIDTH, height, f"{title} against p95 latency; area shows size", parts)


def latency_plot(rows: Sequence[tuple[VariantRow, NDArray[np.float64]]]) -> str | None:
    """The distribution of each variant's raw latencies, with p50, p95 and its budget.

    Args:
        rows: variants with their samples in milliseconds, float64 [n].

    Returns:
        An SVG element; `None` without samples.
    """
    if not rows:
        return None
    left, right, top = 178.0, WIDTH - 150.0, 26.0
    bottom = top + _ROW_HEIGHT * len(rows)
    low, high = min(values.min() for _, values in rows), max(values.max() for _, values in rows)
    x = svg.LogAxis(low / 1.15, max([high, *_budgets([row for row, _ in rows])]) * 1.15, left, right)
    parts = _x_grid(x, top, bottom)
    for index, (row, values) in enumerate(rows):
        parts += _distribution(row, values, x, top + _ROW_HEIGHT * (index + 0.5))
    middle = (left + right) / 2
    parts.append(svg.text(middle, bottom + 40, "latency of one run in ms, logarithmic", "axis", "middle"))
    return svg.picture(WIDTH, bottom + 52, "Distribution of the raw latencies of each variant", parts)


def _distribution(row: VariantRow, values: NDArray[np.float64], x: svg.LogAxis, center: float) -> list[str]:
    edges = np.linspace(np.log10(x.low), np.log10(x.high), 4 * _BINS + 1)
    counts, _ = np.histogram(np.log10(values), edges)
    kernel = np.hanning(9)
    density = np.convolve(counts, kernel / kernel.sum(), mode="same")
    half = density / density.max() * (_ROW_HEIGHT * 0.4)
    seen = np.flatnonzero(half > 0.02)
    pixels = [x(10.0**value) for value in (edges[:-1] + edges[1:]) / 2]
    inside = range(int(seen[0]), int(seen[-1]) + 1)
    # A hair of thickness keeps lonely outliers visible.
    outline = [(pixels[i], center - max(half[i], 0.6)) for i in inside]
    outline += [(pixels[i], center + max(half[i], 0.6)) for i in reversed(inside)]
    p50, p95 = (float(np.percentile(values, q)) for q in (50, 95))
    name_css = "label strong" if row.chosen else "label"
    parts = [svg.text(x.start - 12, center + 4, row.name, name_css, "end")]
    tip = f"{row.name}: {len(values):,} samples, p50 {p50:.3g} ms, p95 {p95:.3g} ms, worst {values.max():.3g} ms"
    parts.append(svg.area(outline, f"violin {_style(row)}", tip))
    parts.append(svg.line(x(p50), center - 11, x(p50), center + 11, "median"))
    parts.append(svg.circle(x(p95), center, 4, "p95"))
    if row.budget_ms:
        at = x(row.budget_ms)
        parts.append(svg.line(at, center - 17, at, center + 17, "budget-mark"))
    parts.append(svg.text(x.end + 12, center + 4, f"{three_digits(p50)} · {three_digits(p95)} ms", "number"))
    return parts


def _x_grid(x: svg.LogAxis, top: float, bottom: float) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(svg.line(x(tick), top, x(tick), bottom, "grid"))
        parts.append(svg.text(x(tick), bottom + 19, f"{tick:g}", "tick", "middle"))
    return parts


def _y_grid(y: svg.LinearAxis, left: float, right: float, title: str) -> list[str]:
    parts = [svg.text(left - 46, y.end - 14, title, "axis")]
    for tick in y.ticks():
        parts.append(svg.line(left, y(tick), right, y(tick), "grid"))
        parts.append(svg.text(left - 9, y(tick) + 4, f"{tick:g}", "tick", "end"))
    return parts


def _labels(points: Sequence[_Point], frame: Box) -> Iterator[str]:
    """A name at each bubble, at the first place where it covers nothing, with a leader where that is far."""
    taken: list[Box] = [(p.x - p.radius, p.y - p.radius, p.x + p.radius, p.y + p.radius) for p in points]
    for point in sorted(points, key=lambda p: p.x):
        width = len(point.row.name) * (_BOLD_CHAR_WIDTH if point.row.chosen else _CHAR_WIDTH)
        box = next(
            (box for box in _places(point, width) if _inside(box, frame) and not any(_overlap(box, t) for t in taken)),
            next(iter(_places(point, width))),
        )
        taken.append(box)
        center, base = (box[0] + box[2]) / 2, box[3] - 3.5
        above = base < point.y
        if abs(base - point.y) > point.radius + 24:
            edge = box[3] + 1 if above else box[1]
            yield svg.line(point.x, point.y + point.radius * (-1 if above else 1), center, edge, "leader")
        yield svg.text(center, base, point.row.name, "label strong" if point.row.chosen else "label", "middle")


def _places(point: _Point, width: float) -> Iterator[Box]:
    for lift in range(0, 130, 14):
        for side in (-1, 1):
            for shift in (0.0, -0.5, 0.5, -1.0, 1.0):
                center = point.x + shift * (width / 2 + point.radius)
                middle = point.y + side * (point.radius + 10 + lift)
                yield center - width / 2, middle - _LABEL_HEIGHT / 2, center + width / 2, middle + _LABEL_HEIGHT / 2


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _floor(rows: Sequence[VariantRow], key: str, kept: float | None) -> float | None:
    teachers = [row.quality.get(key) for row in rows if row.is_teacher]
    return kept * teachers[0] if kept and teachers and teachers[0] else None


def _p95(row: VariantRow) -> float:
    return row.p95_ms or 0.0


def _budgets(rows: Sequence[VariantRow]) -> list[float]:
    return [row.budget_ms for row in rows if row.budget_ms]


def _radius(size_bytes: int, largest: int) -> float:
    return max(_LARGEST_RADIUS * sqrt(size_bytes / largest), _SMALLEST_RADIUS)


def _style(row: VariantRow) -> str:
    return f"{row.engine} {row.variant}"
