"""Shaping evidence into the rows that the page and the plots show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.layout import Engine, Variant
from pipeline.params.blocks import Budgets
from pipeline.params.quality import Measure, QualityCheck
from pipeline.release.evidence import measurement

Json = Mapping[str, Any]

ENGINE_NAMES = {Engine.ONNXRUNTIME: "ONNX Runtime", Engine.OPENVINO: "OpenVINO", Engine.TFLITE: "TensorFlow Lite"}
# What a step is there to lower; what int8 gains is judged on each engine.
_MUST_FALL = {
    "distill": ("params", "macs", "size_bytes"),
    "prune": ("params", "macs", "size_bytes"),
}
_LABELS = {"params": "parameters", "macs": "MACs", "size_bytes": "bytes"}
_TITLES = {
    "budgets.params": "Parameters",
    "p95_ms": "Latency p95",
    "size_bytes": "Size",
    "memory_bytes": "Peak memory",
}


@dataclass(frozen=True)
class VariantRow:
    """One line of the table of variants; `None` where something was not measured."""

    engine: Engine
    variant: Variant
    chosen: bool
    size_bytes: int
    quality: Mapping[str, float | None]
    measured: Json | None
    budget_ms: float | None
    failure: str | None
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """Engine and variant for people."""
        return f"{ENGINE_NAMES[self.engine]} {self.variant}"

    @property
    def is_teacher(self) -> bool:
        """Whether this is the reference, which never ships."""
        return self.variant is Variant.TEACHER

    def timing(self, name: str) -> float | None:
        """A number of the measurement."""
        return None if self.measured is None else self.measured.get(name)


@dataclass(frozen=True)
class BudgetBar:
    """One budget as a bar: `filled` and `limit` are fractions of its width."""

    group: str
    title: str
    observed: str
    allowed: str
    at_least: bool
    filled: float
    limit: float
    left: str
    verdict: str
    message: str


@dataclass(frozen=True)
class StepCell:
    """One number after a step; `width` is its share of the largest, `change` compares with the step before."""

    text: str
    width: float
    change: str
    warn: bool


@dataclass(frozen=True)
class Step:
    """One step of the way from the teacher to the release."""

    name: str
    cells: Mapping[str, StepCell]
    warnings: tuple[str, ...]


def variant_rows(model: str, budgets: Budgets, variants: Json, results: Json, chosen: Json) -> list[VariantRow]:
    """The variants of a model in the order of variants.json, measured in the case of its budgets."""
    failures = {(f["engine"], f["variant"]): f["error"] for f in results["failures"] if f["model"] == model}
    rows = []
    for entry in variants["variants"]:
        engine, variant = Engine(entry["engine"]), Variant(entry["variant"])
        budget = budgets.of(engine).p95_ms
        rows.append(
            VariantRow(
                engine=engine,
                variant=variant,
                chosen=chosen.get(engine) == variant,
                size_bytes=entry["size_bytes"],
                quality=entry["quality"],
                measured=measurement(results, model, engine, variant, budgets.case),
                budget_ms=None if budget == "none" or variant is Variant.TEACHER else budget,
                failure=failures.get((entry["engine"], entry["variant"])),
                problems=tuple(entry["problems"]),
            )
        )
    return rows


def budget_bars(checks: Sequence[Json], quality_checks: Sequence[QualityCheck] = ()) -> list[BudgetBar]:
    """One bar for each check that has an observed number and a budget above 0; the task names those of quality."""
    titles = {**_TITLES, **{f"quality.{check.key}": check.title for check in quality_checks}}
    return [_bar(check, titles) for check in checks if check["observed"] is not None and check["allowed"]]


def plain_checks(checks: Sequence[Json]) -> list[Json]:
    """The checks that no bar can show and that are not PASS."""
    return [c for c in checks if (c["observed"] is None or not c["allowed"]) and c["verdict"] != "PASS"]


def _bar(check: Json, titles: Mapping[str, str]) -> BudgetBar:
    observed, allowed, unit = float(check["observed"]), float(check["allowed"]), check["unit"]
    at_least = abs(observed - allowed - check["margin"]) <= abs(allowed - observed - check["margin"])
    scale = max(observed, allowed) * (1.12 if observed <= allowed else 1.03)
    variant = f" {check['variant']}" if check["variant"] else ""
    return BudgetBar(
        group=f"{ENGINE_NAMES[Engine(check['engine'])]}{variant}" if check["engine"] else "Student",
        title=next((title for end, title in titles.items() if check["budget"].endswith(end)), check["budget"]),
        observed=format_quantity(observed, unit),
        allowed=format_quantity(allowed, unit),
        at_least=at_least,
        filled=max(observed, 0) / scale,
        limit=allowed / scale,
        left=f"{check['margin_fraction']:+.0%}" if check["margin_fraction"] is not None else "",
        verdict=check["verdict"],
        message=check["message"],
    )


def steps(entries: Sequence[Json], measures: Sequence[Measure] = ()) -> list[Step]:
    """The steps with what each of them changed, and a warning for each number that should have fallen."""
    largest = {key: max((e.get(key) or 0 for e in entries), default=0) for key in _LABELS}
    before: Json = {}
    shaped = []
    for entry in entries:
        failed = [key for key in _MUST_FALL.get(entry["step"], ()) if _did_not_fall(before.get(key), entry.get(key))]
        cells = {key: _cell(entry, before, key, largest[key], key in failed) for key in _LABELS}
        for measure in measures:
            cells[measure.key] = _quality_cell(entry, before, measure.key)
        warnings = tuple(f"{entry['step']} did not lower the {_LABELS[key]}" for key in failed)
        shaped.append(Step(entry["step"], cells, warnings))
        before = entry
    return shaped


def _did_not_fall(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after >= before


def _cell(entry: Json, before: Json, key: str, largest: float, warn: bool) -> StepCell:
    value, last = entry.get(key), before.get(key)
    if value is None:
        return StepCell("not known", 0, "", warn)
    change = f"{value / last - 1:+.1%}" if last and value != last else ("unchanged" if last else "")
    return StepCell(format_quantity(value, "bytes" if key == "size_bytes" else ""), value / largest, change, warn)


def _quality_cell(entry: Json, before: Json, key: str) -> StepCell:
    value, last = (entry.get("quality") or {}).get(key), (before.get("quality") or {}).get(key)
    if value is None:
        return StepCell("not measured", 0, "", False)
    return StepCell(f"{value:.3f}", max(value, 0), f"{value - last:+.3f}" if last is not None else "", False)


def format_quantity(value: float, unit: str) -> str:
    """A number for people, with decimal prefixes: `3.42 MB`, `2.90 M`, `0.34 ms`."""
    if unit not in ("bytes", "parameters", ""):
        return f"{three_digits(value)} {unit}"
    letter = "B" if unit == "bytes" else ""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{three_digits(value / factor)} {prefix}{letter}"
    return f"{value:.0f} B" if letter else three_digits(value)


def three_digits(value: float) -> str:
    """Three significant digits, zeros at the end kept: `11.0`, `0.520`, `210`."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.3g}"
