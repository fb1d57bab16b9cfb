"""The few pieces of SVG that the plots need; colours are classes, so that the page's theme decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10


@dataclass(frozen=True)
class LogAxis:
    """Maps positive values to pixels; all decades have the same width."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of `value`."""
        share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of each decade inside the axis."""
        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
        return [value for value in values if self.low <= value <= self.high]


@dataclass(frozen=True)
class LinearAxis:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values inside the axis."""
        raw = (self.high - self.low) / count
        size = 10.0 ** floor(log10(raw))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
        first = ceil(self.low / step)
        return [round(i * step, 12) for i in range(first, floor(self.high / step) + 1)]


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A scalable picture; `title` is what a screen reader says."""
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    """Text on one line; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def circle(x: float, y: float, radius: float, css: str, tip: str = "") -> str:
    """A circle with an optional tooltip."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{css}">{title}</circle>'


def area(points: Sequence[tuple[float, float]], css: str, tip: str = "") -> str:
    """A filled polygon with an optional tooltip."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<polygon points="{path}" class="{css}">{title}</polygon>'
