"""Making the page from the evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.files import new_file
from pipeline.layout import Engine, Layout
from pipeline.params.blocks import ModelParams
from pipeline.params.file import load_params
from pipeline.params.quality import Measure, QualityCheck
from pipeline.params.schema import Params
from pipeline.release.evidence import describe_case, describe_host
from pipeline.report.evidence import Evidence, read_evidence
from pipeline.report.history_plot import history_plot
from pipeline.report.plots import latency_plot, quality_plot
from pipeline.report.rows import (
    ENGINE_NAMES,
    BudgetBar,
    Step,
    VariantRow,
    budget_bars,
    format_quantity,
    plain_checks,
    steps,
    three_digits,
    variant_rows,
)

Json = Mapping[str, Any]
_NOTHING: Json = {"verdict": None, "chosen": {}, "checks": [], "payoff": [], "rejected": []}


@dataclass(frozen=True)
class ModelSection:
    """One model on the page."""

    name: str
    verdict: str | None
    reason: str
    case: str
    rows: Sequence[VariantRow]
    bars: Sequence[tuple[str, Sequence[BudgetBar]]]
    misses: Sequence[str]
    steps: Sequence[Step]
    measures: Sequence[Measure]
    example: str
    sensitivity: Sequence[Json]
    sensitivity_ratio: float | None
    kept_float: Sequence[tuple[Engine, Json]]
    payoff: Sequence[Json]
    rejected: Sequence[str]
    speedups: Mapping[str, float]
    failures: Sequence[Json]
    quality_plot: Markup | None
    latency_plot: Markup | None
    history_plot: Markup | None


def write(layout: Layout, target: Path) -> Sequence[str]:
    """Write the page of a workspace and return what is missing on it.

    Raises:
        InputError: params.yaml is wrong.
        IntegrityError: there is nothing to show.
    """
    params = load_params(layout.params).params
    evidence = read_evidence(layout, params.fleet)
    with new_file(target) as temporary:
        temporary.write_text(render(params, evidence), encoding="utf-8")
    return evidence.notes


def render(params: Params, evidence: Evidence) -> str:
    """The whole page as HTML; it refers to nothing outside of itself."""
    sections = [_section(name, params.models[name], evidence) for name in params.fleet]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quantity=_quantity, milliseconds=_milliseconds, score=_score, percent="{:.1%}".format)
    host = evidence.results["host"]
    return environment.get_template("template.html.jinja").render(
        verdict=(evidence.verdict or {}).get("verdict"),
        sections=sections,
        notes=evidence.notes,
        engine_names=ENGINE_NAMES,
        host=describe_host(host) if host else None,
        host_facts=host,
        settings=evidence.results["settings"],
    )


def reason(verdict: Json, quality_checks: Sequence[QualityCheck] = ()) -> str:
    """One sentence for a model's verdict."""
    checks = verdict["checks"]
    if verdict["verdict"] is None:
        return "There is no verdict yet. Run `dvc repro` to judge the measurements."
    if verdict["verdict"] == "PASS":
        tightest = min(
            (c for c in checks if c["margin_fraction"] is not None), key=lambda c: c["margin_fraction"], default=None
        )
        closest = ""
        if tightest:
            bar = budget_bars([tightest], quality_checks)[0]
            closest = (
                f" The closest is {bar.group}: {bar.title.lower()} {bar.observed} of "
                f"{'at least' if bar.at_least else 'at most'} {bar.allowed}."
            )
        return f"All {len(checks)} checks are within their budgets.{closest}"
    misses = [c for c in checks if c["verdict"] == verdict["verdict"]]
    more = f" {len(misses) - 1} more below." if len(misses) > 1 else ""
    first = misses[0]["message"] if misses else "the gate gave no reason"
    lead = "Not released" if verdict["verdict"] == "FAIL" else "No verdict is possible yet"
    return f"{lead}: {first}.{more}"


def _section(name: str, params: ModelParams, evidence: Evidence) -> ModelSection:
    verdict = ((evidence.verdict or {}).get("models") or {}).get(name) or _NOTHING
    variants = evidence.variants.get(name)
    rows = []
    if variants is not None:
        rows = variant_rows(name, params.budgets, variants, evidence.results, verdict["chosen"])
    sampled = [
        (row, samples) for row in rows if row.measured and (samples := evidence.samples(row.measured)) is not None
    ]
    return ModelSection(
        name=name,
        verdict=verdict["verdict"],
        reason=reason(verdict, params.quality_checks),
        case=describe_case(params.budgets.case),
        rows=rows,
        bars=_grouped(budget_bars(verdict["checks"], params.quality_checks)),
        misses=[check["message"] for check in plain_checks(verdict["checks"])],
        steps=steps((variants or {}).get("steps", []), params.measures),
        measures=params.measures,
        example=params.example,
        sensitivity=_sensitivity(variants),
        sensitivity_ratio=(variants or {}).get("sensitivity_ratio"),
        kept_float=_kept_float(variants),
        payoff=verdict["payoff"],
        rejected=verdict.get("rejected", []),
        speedups=_speedups(rows),
        failures=[failure for failure in evidence.results["failures"] if failure["model"] == name],
        quality_plot=_markup(quality_plot(rows, params.measures, _floors(params))),
        latency_plot=_markup(latency_plot(sampled)),
        history_plot=_markup(history_plot(evidence.history, name)),
    )


def _floors(params: ModelParams) -> dict[str, float]:
    """By measure, the share of the teacher's that a budget asks for."""
    limits = params.budgets.quality.model_dump()
    kept = [check for check in params.quality_checks if check.against == "teacher"]
    return {check.measure: limits[check.key] for check in kept if limits[check.key] != "none"}


def _sensitivity(variants: Json | None) -> list[Json]:
    """What pruning did to each group of layers, the most sensitive first; nothing where it was not measured."""
    groups = [group for group in (variants or {}).get("sensitivity", []) if group["sensitivity"] is not None]
    return sorted(groups, key=lambda group: -group["sensitivity"])


def _kept_float(variants: Json | None) -> list[tuple[Engine, Json]]:
    """For each engine what was found when int8 was made within its tolerance."""
    entries = (variants or {}).get("variants", [])
    return [(Engine(entry["engine"]), entry["accuracy"]) for entry in entries if entry.get("accuracy")]


def _speedups(rows: Sequence[VariantRow]) -> dict[str, float]:
    """For each variant that ships, by engine: the teacher's p50 in ONNX Runtime over its own."""
    reference = next((row for row in rows if row.is_teacher and row.engine is Engine.ONNXRUNTIME), None)
    teacher_ms = reference.timing("latency_p50_ms") if reference else None
    times = {row.engine: row.timing("latency_p50_ms") for row in rows if row.chosen}
    return {engine: teacher_ms / p50_ms for engine, p50_ms in times.items() if teacher_ms and p50_ms}


def _grouped(bars: Sequence[BudgetBar]) -> list[tuple[str, list[BudgetBar]]]:
    groups: dict[str, list[BudgetBar]] = {}
    for bar in bars:
        groups.setdefault(bar.group, []).append(bar)
    return list(groups.items())


def _markup(picture: str | None) -> Markup | None:
    # Made by pipeline.report.svg, which escapes every text.
    return None if picture is None else Markup(picture)


def _quantity(value: float | None, unit: str = "bytes") -> str:
    return "-" if value is None else format_quantity(value, unit)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else three_digits(value)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
