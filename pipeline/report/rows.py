"""Shaping what the stages left into the rows that the page and the plots show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.layout import Engine, Variant
from pipeline.params.blocks import Budgets
from pipeline.params.quality import Measure, QualityCheck
from pipeline.records.results import Measurement, Results
from pipeline.records.verdict import Check, CheckKind, Outcome
from pipeline.records.verification import StepSummary, Verification
from pipeline.report.numbers import format_quantity

# The figures that a step must lower; the gain of a reduced precision is judged on each engine.
_MUST_FALL = {
    "distill": ("params", "macs", "size_bytes"),
    "prune": ("params", "macs", "size_bytes"),
}
_LABELS = {"params": "parameters", "macs": "MACs", "size_bytes": "bytes"}
_TITLES = {
    CheckKind.PARAMETERS: "Parameters",
    CheckKind.MACS: "MACs",
    CheckKind.LATENCY: "Latency p95",
    CheckKind.SIZE: "Size",
    CheckKind.MEMORY: "Peak memory",
}


@dataclass(frozen=True)
class VariantRow:
    """One line of the table of variants.

    Attributes:
        measured: in the case that is shown; `None` where there is no measurement.
        budget_ms: of its p95 in that case; `None` where there is none.
        failure: how it crashed, hung or raised in the benchmark, if it did.
        problems: what verify found.
    """

    engine: Engine
    variant: Variant
    chosen: bool
    size_bytes: int
    quality: Mapping[str, float]
    measured: Measurement | None
    budget_ms: float | None
    failure: str | None
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """Engine and variant for people."""
        return f"{self.engine.full_name} {self.variant}"

    @property
    def is_teacher(self) -> bool:
        """Whether this is the reference, which never ships."""
        return self.variant is Variant.TEACHER

    @property
    def p95_ms(self) -> float | None:
        """95th percentile of latency."""
        return self.measured.latency_p95_ms if self.measured else None


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


def variant_rows(
    model: str,
    budgets: Budgets,
    verification: Verification,
    results: Results | None,
    chosen: Mapping[Engine, Variant | None],
) -> list[VariantRow]:
    """The variants of a model in the order of verify.json, measured in the leading case of its budgets."""
    case = budgets.leading_case()
    failures = (
        {(one.engine, one.variant): one.error for one in results.failures if one.model == model} if results else {}
    )
    rows = []
    for entry in verification.variants:
        budget = budgets.of(entry.engine).p95_of(case)
        rows.append(
            VariantRow(
                engine=entry.engine,
                variant=entry.variant,
                chosen=chosen.get(entry.engine) is entry.variant,
                size_bytes=entry.size_bytes,
                quality=entry.quality,
                measured=results.judged(model, entry.engine, entry.variant, case) if results else None,
                budget_ms=None if budget == "none" or entry.variant is Variant.TEACHER else budget,
                failure=failures.get((entry.engine, entry.variant)),
                problems=entry.problems,
            )
        )
    return rows


def budget_bars(checks: Sequence[Check], quality_checks: Sequence[QualityCheck] = ()) -> list[BudgetBar]:
    """One bar for each check that has an observed number and a budget above 0; the task names those of quality."""
    titles = {check.key: check.title for check in quality_checks}
    return [
        _bar(check, check.observed, check.allowed, titles)
        for check in checks
        if check.observed is not None and check.allowed
    ]


def plain_checks(checks: Sequence[Check]) -> list[Check]:
    """The checks that no bar can show and that are not PASS."""
    return [c for c in checks if (c.observed is None or not c.allowed) and c.verdict is not Outcome.PASS]


def _bar(check: Check, observed: float, allowed: float, quality_titles: Mapping[str, str]) -> BudgetBar:
    scale = max(observed, allowed) * (1.12 if observed <= allowed else 1.03)
    variant = f" {check.variant}" if check.variant else ""
    title = _TITLES.get(check.kind) or quality_titles.get(check.name, check.name)
    return BudgetBar(
        group=f"{check.engine.full_name}{variant}" if check.engine else "Student",
        title=f"{title}, {check.case}" if check.case else title,
        observed=format_quantity(observed, check.unit),
        allowed=format_quantity(allowed, check.unit),
        at_least=check.at_least,
        filled=max(observed, 0) / scale,
        limit=allowed / scale,
        left=f"{check.margin_fraction:+.0%}" if check.margin_fraction is not None else "",
        verdict=check.verdict,
        message=check.message,
    )


def steps(entries: Sequence[StepSummary], measures: Sequence[Measure] = ()) -> list[Step]:
    """The steps with what each of them changed, and a warning for each number that should have fallen."""
    numbers = [{"params": one.params, "macs": one.macs, "size_bytes": one.size_bytes} for one in entries]
    largest = {key: max((one[key] or 0 for one in numbers), default=0) for key in _LABELS}
    shaped = []
    for index, entry in enumerate(entries):
        now, before = numbers[index], numbers[index - 1] if index else dict.fromkeys(_LABELS)
        failed = [key for key in _MUST_FALL.get(entry.step, ()) if _did_not_fall(before[key], now[key])]
        cells = {key: _cell(key, now[key], before[key], largest[key], key in failed) for key in _LABELS}
        for measure in measures:
            last = entries[index - 1].quality.get(measure.key) if index else None
            cells[measure.key] = _quality_cell(entry.quality.get(measure.key), last)
        warnings = tuple(f"{entry.step} did not lower the {_LABELS[key]}" for key in failed)
        shaped.append(Step(entry.step, cells, warnings))
    return shaped


def _did_not_fall(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after >= before


def _cell(key: str, value: float | None, last: float | None, largest: float, warn: bool) -> StepCell:
    if value is None:
        return StepCell("not known", 0, "", warn)
    change = f"{value / last - 1:+.1%}" if last and value != last else ("unchanged" if last else "")
    return StepCell(format_quantity(value, "bytes" if key == "size_bytes" else ""), value / largest, change, warn)


def _quality_cell(value: float | None, last: float | None) -> StepCell:
    if value is None:
        return StepCell("not measured", 0, "", False)
    return StepCell(f"{value:.3f}", max(value, 0), f"{value - last:+.3f}" if last is not None else "", False)
