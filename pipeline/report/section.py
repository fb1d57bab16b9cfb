"""The section of the page about one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.layout import Engine, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.quality import Measure, QualityCheck
from pipeline.records.export import Reduction
from pipeline.records.results import Failure
from pipeline.records.step import Sensitivity
from pipeline.records.verdict import ModelVerdict, Outcome, Payoff, SpeedUp
from pipeline.records.verification import Verification
from pipeline.report.artifacts import Artifacts
from pipeline.report.history_plot import history_plot
from pipeline.report.plots import latency_plot, quality_plot
from pipeline.report.rows import BudgetBar, Step, VariantRow, budget_bars, plain_checks, steps, variant_rows


@dataclass(frozen=True)
class ModelSection:
    """One model on the page; `verdict` and `reason` say that there is no verdict yet where there is none."""

    name: str
    verdict: Outcome | None
    reason: str
    case: str
    rows: Sequence[VariantRow]
    bars: Sequence[tuple[str, Sequence[BudgetBar]]]
    misses: Sequence[str]
    steps: Sequence[Step]
    measures: Sequence[Measure]
    example: str
    sensitivity: Sequence[Sensitivity]
    sensitivity_ratio: float | None
    reductions: Sequence[tuple[Engine, Variant, Reduction]]
    payoff: Sequence[Payoff]
    rejected: Sequence[str]
    speedups: Mapping[Engine, str]
    failures: Sequence[Failure]
    quality_plot: Markup | None
    latency_plot: Markup | None
    history_plot: Markup | None


def reason(verdict: ModelVerdict, quality_checks: Sequence[QualityCheck] = ()) -> str:
    """One sentence for a model's verdict."""
    if verdict.verdict is Outcome.PASS:
        return f"All {len(verdict.checks)} checks are within their budgets.{_closest(verdict, quality_checks)}"
    misses = [check for check in verdict.checks if check.verdict is verdict.verdict]
    more = f" {len(misses) - 1} more below." if len(misses) > 1 else ""
    first = misses[0].message if misses else "the gate gave no reason"
    lead = "Not released" if verdict.verdict is Outcome.FAIL else "No verdict is possible yet"
    return f"{lead}: {first}.{more}"


def _closest(verdict: ModelVerdict, quality_checks: Sequence[QualityCheck]) -> str:
    """The budget with the least room left, in a sentence."""
    margins = [(check.margin_fraction, index) for index, check in enumerate(verdict.checks)]
    known = [(fraction, index) for fraction, index in margins if fraction is not None]
    if not known:
        return ""
    bar = budget_bars([verdict.checks[min(known)[1]]], quality_checks)[0]
    bound = "at least" if bar.at_least else "at most"
    return f" The closest is {bar.group}: {bar.title.lower()} {bar.observed} of {bound} {bar.allowed}."


def model_section(name: str, params: ModelParams, artifacts: Artifacts) -> ModelSection:
    """Shape everything that is known about a model for the page."""
    verdict = artifacts.verdict.models.get(name) if artifacts.verdict else None
    found, results = artifacts.verifications.get(name), artifacts.results
    rows = variant_rows(name, params.budgets, found, results, verdict.chosen if verdict else {}) if found else []
    sampled = [
        (row, samples) for row in rows if row.measured and (samples := artifacts.samples(row.measured)) is not None
    ]
    checks = verdict.checks if verdict else ()
    none_yet = "There is no verdict yet. Run `dvc repro` to judge the measurements."
    return ModelSection(
        name=name,
        verdict=verdict.verdict if verdict else None,
        reason=reason(verdict, params.quality_checks) if verdict else none_yet,
        case=params.budgets.judged()[params.budgets.leading_case()].describe(),
        rows=rows,
        bars=_grouped(budget_bars(checks, params.quality_checks)),
        misses=[check.message for check in plain_checks(checks)],
        steps=steps(found.steps if found else (), params.measures),
        measures=params.measures,
        example=params.example,
        sensitivity=_sensitivity(found),
        sensitivity_ratio=found.sensitivity_ratio if found else None,
        reductions=_reductions(found),
        payoff=verdict.payoff if verdict else (),
        rejected=verdict.rejected if verdict else (),
        speedups=_speedups(verdict) if verdict else {},
        failures=[failure for failure in results.failures if failure.model == name] if results else [],
        quality_plot=_markup(quality_plot(rows, params.measures, _floors(params))),
        latency_plot=_markup(latency_plot(sampled)),
        history_plot=_markup(history_plot(artifacts.nights, name)),
    )


def _floors(params: ModelParams) -> dict[str, float]:
    """By measure, the share of the teacher's that a budget asks for."""
    limits = params.budgets.quality.model_dump()
    kept = [check for check in params.quality_checks if check.against == "teacher"]
    return {check.measure: limits[check.key] for check in kept if limits[check.key] != "none"}


def _sensitivity(found: Verification | None) -> list[Sensitivity]:
    """What pruning did to each group of layers, the most sensitive first; nothing where it was not measured."""
    known = [(one.sensitivity, one) for one in (found.sensitivity if found else ()) if one.sensitivity is not None]
    return [one for _, one in sorted(known, key=lambda pair: -pair[0])]


def _reductions(found: Verification | None) -> list[tuple[Engine, Variant, Reduction]]:
    """What was found when each reduced variant was made within its tolerance."""
    variants = found.variants if found else ()
    return [(one.engine, one.variant, one.reduction) for one in variants if one.reduction is not None]


def _speedups(verdict: ModelVerdict) -> dict[Engine, str]:
    """For each engine on which the fastest variant ships, how many times as fast as the teacher it is."""
    return {
        engine: text
        for engine, speedup in verdict.speedup.items()
        if speedup.variant is verdict.chosen.get(engine) and (text := _speedup(engine, speedup))
    }


def _speedup(engine: Engine, speedup: SpeedUp) -> str:
    engines = {
        engine: speedup.over_teacher_on_same_engine,
        Engine.ONNXRUNTIME: speedup.over_teacher_on_onnxruntime,
    }
    times = [f"{times:.0f} times as fast as the teacher in {on.full_name}" for on, times in engines.items() if times]
    return " · ".join(times)


def _grouped(bars: Sequence[BudgetBar]) -> list[tuple[str, list[BudgetBar]]]:
    groups: dict[str, list[BudgetBar]] = {}
    for bar in bars:
        groups.setdefault(bar.group, []).append(bar)
    return list(groups.items())


def _markup(picture: str | None) -> Markup | None:
    # Made by pipeline.report.svg, which escapes every text.
    return None if picture is None else Markup(picture)
