"""Writing what was measured: results.json, metrics.json and the raw samples."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.benchmark.run import Measurement, Outcomes
from pipeline.benchmark.statistics import summarize
from pipeline.files import new_folder, write_json
from pipeline.layout import Layout
from pipeline.params.schema import BenchmarkParams

# Nothing below a nanosecond was measured; rounding keeps the file readable.
_DIGITS = 6


def write_results(outcomes: Outcomes, host: Mapping[str, Any], params: BenchmarkParams, layout: Layout) -> None:
    """Write the samples first and results.json last, so that results.json never names a file that is missing."""
    with new_folder(layout.samples) as folder:
        for measurement in outcomes.measurements:
            np.save(folder / measurement.sample_name, np.concatenate(measurement.blocks))
    results = to_json(outcomes, host, params)
    write_json(layout.benchmark_metrics, headline_metrics(results["measurements"]))
    write_json(layout.results, results)


def to_json(outcomes: Outcomes, host: Mapping[str, Any], params: BenchmarkParams) -> dict[str, Any]:
    """The content of results.json, in the order of model, engine, variant, threads and case."""
    measured = sorted(outcomes.measurements, key=_order)
    failures = sorted(outcomes.failures, key=lambda failure: failure.subject.name)
    return {
        "host": dict(host),
        "settings": params.model_dump(mode="json"),
        "measurements": [_measurement(measurement) for measurement in measured],
        "failures": [
            {
                "model": failure.subject.model,
                "engine": failure.subject.engine,
                "variant": failure.subject.variant,
                "error": failure.error,
                "signal": failure.signal,
            }
            for failure in failures
        ],
    }


def headline_metrics(measurements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested model → engine → variant numbers of the reference case with one thread, for `dvc metrics show`."""
    names = ("latency_p50_ms", "latency_p95_ms", "throughput_per_s", "load_ms", "peak_memory_bytes")
    metrics: dict[str, Any] = {}
    for one in measurements:
        if one["reference"] and one["threads"] == 1 and not one["all_cores"]:
            engine = metrics.setdefault(one["model"], {}).setdefault(one["engine"], {})
            engine[one["variant"]] = {name: one[name] for name in names}
    return metrics


def remove_results(layout: Layout) -> None:
    """Delete what an earlier run left, so that nothing old passes for new when this one fails."""
    shutil.rmtree(layout.samples, ignore_errors=True)
    for path in (layout.results, layout.benchmark_metrics):
        path.unlink(missing_ok=True)


def _order(measurement: Measurement) -> tuple[str, bool, int, tuple[int, ...]]:
    sizes = tuple(measurement.case.shape.values())
    return measurement.subject.name, measurement.all_cores, measurement.threads, sizes


def _measurement(measurement: Measurement) -> dict[str, Any]:
    subject, case = measurement.subject, measurement.case
    summary = asdict(summarize(measurement.blocks, case.batch))
    return {
        "model": subject.model,
        "engine": subject.engine,
        "variant": subject.variant,
        "case": case.name,
        **case.shape,
        "reference": case == subject.reference,
        "threads": measurement.threads,
        "all_cores": measurement.all_cores,
        "cores": list(measurement.cores),
        **{name: _rounded(value) for name, value in summary.items()},
        "block_runs": [int(block.size) for block in measurement.blocks],
        "load_ms": _rounded(measurement.load_ms),
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "samples": f"samples/{measurement.sample_name}",
    }


def _rounded(value: float | tuple[float, ...]) -> float | list[float]:
    return [round(one, _DIGITS) for one in value] if isinstance(value, tuple) else round(value, _DIGITS)
