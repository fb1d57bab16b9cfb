"""The plot of nightly builds: p95 latency of what ships, engine by engine."""

from collections.abc import Sequence

from pipeline.layout import Engine
from pipeline.records.history import Night
from pipeline.records.verdict import Outcome
from pipeline.report import svg
from pipeline.report.numbers import three_digits

WIDTH, HEIGHT = 920.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, WIDTH - 30.0, 20.0, HEIGHT - 34.0
_NIGHTS = 60


def history_plot(history: Sequence[Night], model: str) -> str | None:
    """The last nights of a model as an SVG element; None when fewer than two have figures."""
    nights = [night for night in history if _latencies_ms(night, model)][-_NIGHTS:]
    if len(nights) < 2:
        return None
    latencies = [p95_ms for night in nights for p95_ms in _latencies_ms(night, model).values()]
    x = svg.LinearAxis(0, len(nights) - 1, _LEFT + 14, _RIGHT - 14)
    y = svg.LogAxis(min(latencies) / 1.3, max(latencies) * 1.3, _BOTTOM, _TOP)
    parts = []
    for tick in y.ticks():
        parts += [svg.line(_LEFT, y(tick), _RIGHT, y(tick), "grid")]
        parts += [svg.text(_LEFT - 8, y(tick) + 4, f"{tick:g} ms", "tick number", "end")]
    parts += [
        svg.text(x(0), _BOTTOM + 22, nights[0].time[:10], "tick"),
        svg.text(x(len(nights) - 1), _BOTTOM + 22, nights[-1].time[:10], "tick", "end"),
    ]
    for index, night in enumerate(nights):
        verdict = night.models[model].verdict
        for engine, p95_ms in _latencies_ms(night, model).items():
            kind = "" if verdict is Outcome.PASS else "fp32"
            tip = f"{night.time[:16]} {engine}: p95 {three_digits(p95_ms)} ms, {verdict}"
            parts.append(svg.circle(x(index), y(p95_ms), 4.5, f"bubble {engine} {kind}".strip(), tip))
    return svg.picture(WIDTH, HEIGHT, f"p95 latency of {model} in {len(nights)} nightly builds", parts)


def _latencies_ms(night: Night, model: str) -> dict[Engine, float]:
    """p95 in milliseconds by engine, where it was measured."""
    engines = night.models[model].engines if model in night.models else {}
    return {engine: figures["p95_ms"] for engine, figures in engines.items() if figures.get("p95_ms", 0) > 0}
