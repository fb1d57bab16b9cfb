"""`results.json`: what the benchmark measured on one machine."""

from collections.abc import Mapping
from typing import Any

from pipeline.layout import Engine, Variant
from pipeline.records.base import Part, Record


class Measurement(Part):
    """One variant in one case with one thread setting; milliseconds are float64 of a monotonic clock.

    Attributes:
        shape: size of each axis of the case that varies.
        judged: the names of the budgets' cases that this measurement answers, "" for a single `budgets.case`.
        all_cores: whether the lane had all cores, which `threads: all` asks for.
        cores: the cores that the process was pinned to.
        block_runs: runs of each block.
        samples: the file of raw samples, relative to results.json.
    """

    model: str
    engine: Engine
    variant: Variant
    case: str
    shape: Mapping[str, int]
    judged: tuple[str, ...]
    threads: int
    all_cores: bool
    cores: tuple[int, ...]
    runs: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    block_p50_ms: tuple[float, ...]
    block_p95_ms: tuple[float, ...]
    throughput_per_s: float
    block_runs: tuple[int, ...]
    load_ms: float
    peak_memory_bytes: int
    samples: str


class Failure(Part):
    """A variant that crashed, hung or raised; `signal` is the name of what killed it, if a signal did."""

    model: str
    engine: Engine
    variant: Variant
    error: str
    signal: str | None


class Results(Record):
    """Everything that one run of the benchmark found.

    Attributes:
        host: the machine, as host.json describes it.
        settings: the block `benchmark` of params.yaml.
    """

    host: Mapping[str, Any]
    settings: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]

    def judged(self, model: str, engine: Engine, variant: Variant, case: str = "") -> Measurement | None:
        """The measurement of a variant that answers the budgets' `case`; `None` where there is none."""
        for one in self.measurements:
            if (one.model, one.engine, one.variant) == (model, engine, variant) and case in one.judged:
                return one
        return None


def describe_host(host: Mapping[str, Any]) -> str:
    """The machine in words; what host.json does not tell is said to be unknown."""
    flags = ", ".join(host.get("flags", [])) or "none of the known instruction sets"
    cores, usable = host.get("logical_cores", "?"), host.get("usable_cores")
    used = f", {usable} of them used" if usable not in (None, cores) else ""
    memory = f"{host['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in host else "unknown memory"
    return f"{host.get('cpu', 'unknown CPU')}, {cores} logical cores{used}, {memory}; {flags}; {host.get('os', '')}"
