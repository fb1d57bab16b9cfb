"""What is known about each variant of a model, gathered from variants.json and results.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError, IntegrityError
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import BudgetCase


@dataclass(frozen=True)
class Timing:
    """The measurement of a variant in the case that the budgets name."""

    case: str
    p50_ms: float
    block_p50_ms: tuple[float, ...]
    block_p95_ms: tuple[float, ...]
    peak_memory_bytes: int


@dataclass(frozen=True)
class Evidence:
    """One variant.

    Attributes:
        problems: what the verify stage found; empty for a verified variant.
        quality: the task's measures by name.
        timing: `None` when it was not measured.
        failure: how it crashed, hung or raised in the benchmark, if it did.
    """

    engine: Engine
    variant: Variant
    size_bytes: int
    problems: tuple[str, ...]
    quality: Mapping[str, float | None]
    timing: Timing | None
    failure: str | None

    @property
    def name(self) -> str:
        """`engine variant`."""
        return f"{self.engine} {self.variant}"


@dataclass(frozen=True)
class ModelEvidence:
    """All that is known about a model."""

    model: str
    student_params: int
    teacher_quality: Mapping[str, float | None]
    variants: Mapping[tuple[Engine, Variant], Evidence]


def gather(case: BudgetCase, variants: Mapping[str, Any], results: Mapping[str, Any]) -> ModelEvidence:
    """Put a model's variants.json and the benchmark's results.json together.

    Raises:
        IntegrityError: one of them lacks a field.
        InputError: the benchmark measured this model, but nothing of it in the case of the budgets.
    """
    try:
        model = variants["model"]
        measured = [m for m in results["measurements"] if m["model"] == model]
        judged = [m for m in measured if _is_case(m, case)]
        if measured and not judged:
            raise InputError(_not_measured(model, case, measured))
        timings = {(m["engine"], m["variant"]): _timing(m) for m in judged}
        failures = {(f["engine"], f["variant"]): f["error"] for f in results["failures"] if f["model"] == model}
        evidence = [_evidence(entry, timings, failures) for entry in variants["variants"]]
        return ModelEvidence(
            model=model,
            student_params=variants["student"]["params"],
            teacher_quality=(variants.get("teacher") or {}).get("quality") or {},
            variants={(one.engine, one.variant): one for one in evidence},
        )
    except KeyError as error:
        raise IntegrityError(f"variants.json or results.json has no {error}: `dvc repro` makes them anew") from error


def _is_case(measurement: Mapping[str, Any], case: BudgetCase) -> bool:
    if any(measurement.get(axis) != size for axis, size in case.shape().items()):
        return False
    if case.threads == "all":
        return bool(measurement["all_cores"])
    return bool(measurement["threads"] == case.threads) and not measurement["all_cores"]


def _not_measured(model: str, case: BudgetCase, measured: list[Any]) -> str:
    known = sorted({f"{m['case']} with {'all' if m['all_cores'] else m['threads']} threads" for m in measured})
    return (
        f"models.{model}.budgets.case asks for {case.describe_shape()}, {case.threads} threads, "
        f"which was not measured; measured: {', '.join(known)}. Choose one of these, or add it to models.{model}.export"
    )


def _timing(measurement: Mapping[str, Any]) -> Timing:
    return Timing(
        case=measurement["case"],
        p50_ms=measurement["latency_p50_ms"],
        block_p50_ms=tuple(measurement["block_p50_ms"]),
        block_p95_ms=tuple(measurement["block_p95_ms"]),
        peak_memory_bytes=measurement["peak_memory_bytes"],
    )


def _evidence(
    entry: Mapping[str, Any], timings: Mapping[tuple[str, str], Timing], failures: Mapping[tuple[str, str], str]
) -> Evidence:
    key = (entry["engine"], entry["variant"])
    problems = tuple(entry["problems"])
    return Evidence(
        engine=Engine(entry["engine"]),
        variant=Variant(entry["variant"]),
        size_bytes=entry["size_bytes"],
        problems=problems if entry["verified"] else problems or ("verify did not accept it",),
        quality=entry["quality"],
        timing=timings.get(key),
        failure=failures.get(key),
    )
