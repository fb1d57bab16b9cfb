"""Writing what was measured: results.json, metrics.json and the raw samples."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.benchmark.run import BenchmarkRun, Timing
from pipeline.benchmark.statistics import summarize
from pipeline.files import new_folder, write_json
from pipeline.layout import Engine, Layout, Variant
from pipeline.params.schema import BenchmarkParams
from pipeline.records.results import Failure, Measurement, Results

# Nothing below a nanosecond was measured; rounding keeps the file readable.
_DIGITS = 6
_HEADLINE = ("latency_p50_ms", "latency_p95_ms", "throughput_per_s", "load_ms", "peak_memory_bytes")


def write_results(run: BenchmarkRun, host: Mapping[str, Any], params: BenchmarkParams, layout: Layout) -> Results:
    """Write the samples first and results.json last, so that results.json never names a file that is missing."""
    with new_folder(layout.samples) as folder:
        for timing in run.timings:
            np.save(folder / timing.sample_name, np.concatenate(timing.blocks))
    results = record(run, host, params)
    write_json(layout.benchmark_metrics, headline_metrics(run.timings))
    results.write(layout.results)
    return results


def record(run: BenchmarkRun, host: Mapping[str, Any], params: BenchmarkParams) -> Results:
    """The content of results.json, in the order of model, engine, variant, threads and case."""
    dropouts = sorted(run.dropouts, key=lambda one: one.subject.name)
    return Results(
        host=host,
        settings=params.model_dump(mode="json"),
        measurements=tuple(_measurement(timing) for timing in sorted(run.timings, key=_order)),
        failures=tuple(
            Failure(
                model=one.subject.model,
                engine=Engine(one.subject.engine),
                variant=Variant(one.subject.variant),
                error=one.error,
                signal=one.signal,
            )
            for one in dropouts
        ),
    )


def headline_metrics(timings: Sequence[Timing]) -> dict[str, Any]:
    """The judged cases with one thread, for `dvc metrics show`: model, engine, variant and the budgets' case.

    A single `budgets.case` has no name, and its numbers stand under the variant itself.
    """
    metrics: dict[str, Any] = {}
    for timing in sorted(timings, key=_order):
        if timing.threads != 1 or timing.all_cores:
            continue
        measurement = _measurement(timing).model_dump(include=set(_HEADLINE))
        numbers = {name: measurement[name] for name in _HEADLINE}
        for budgeted in timing.subject.budgets_of(timing.case):
            engine = metrics.setdefault(timing.subject.model, {}).setdefault(timing.subject.engine, {})
            variant = engine.setdefault(timing.subject.variant, {})
            variant.update({budgeted.budget: numbers} if budgeted.budget else numbers)
    return metrics


def remove_results(layout: Layout) -> None:
    """Delete what an earlier run left, so that nothing old passes for new when this one fails."""
    shutil.rmtree(layout.samples, ignore_errors=True)
    for path in (layout.results, layout.benchmark_metrics):
        path.unlink(missing_ok=True)


def _order(timing: Timing) -> tuple[str, bool, int, tuple[int, ...]]:
    return timing.subject.name, timing.all_cores, timing.threads, tuple(timing.case.shape.values())


def _measurement(timing: Timing) -> Measurement:
    subject, case = timing.subject, timing.case
    summary = asdict(summarize(timing.blocks, case.shape["batch"]))
    return Measurement(
        model=subject.model,
        engine=Engine(subject.engine),
        variant=Variant(subject.variant),
        case=case.name,
        shape=case.shape,
        judged=timing.judged,
        threads=timing.threads,
        all_cores=timing.all_cores,
        cores=timing.cores,
        **{name: _rounded(value) for name, value in summary.items()},
        block_runs=tuple(int(block.size) for block in timing.blocks),
        load_ms=round(timing.load_ms, _DIGITS),
        peak_memory_bytes=timing.peak_memory_bytes,
        samples=f"samples/{timing.sample_name}",
    )


def _rounded(value: float | tuple[float, ...]) -> Any:
    return tuple(round(one, _DIGITS) for one in value) if isinstance(value, tuple) else round(value, _DIGITS)
