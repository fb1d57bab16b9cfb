"""Samples in, percentiles out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LatencySummary:
    """Latency of one variant in one case, in milliseconds; the blocks in the order in which they were measured."""

    runs: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    block_p50_ms: tuple[float, ...]
    block_p95_ms: tuple[float, ...]
    throughput_per_s: float


def summarize(blocks: Sequence[NDArray[np.float64]], batch: int) -> LatencySummary:
    """Percentiles over all samples and for each block (linear interpolation, numpy's default).

    Args:
        blocks: one array of float64 milliseconds [runs] a block, none of them empty.
        batch: rows that one run computes.

    Returns:
        The summary; `throughput_per_s` is rows per second of time spent inside runs, all samples together.

    Raises:
        ValueError: no block, or an empty one.
    """
    if not blocks or any(block.size == 0 for block in blocks):
        raise ValueError(f"{len(blocks)} blocks with {[block.size for block in blocks]} samples: each needs at least 1")
    samples = np.concatenate(blocks)
    p50, p90, p95, p99 = (float(value) for value in np.percentile(samples, [50, 90, 95, 99]))
    return LatencySummary(
        runs=int(samples.size),
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        latency_p95_ms=p95,
        latency_p99_ms=p99,
        block_p50_ms=tuple(float(np.percentile(block, 50)) for block in blocks),
        block_p95_ms=tuple(float(np.percentile(block, 95)) for block in blocks),
        throughput_per_s=float(batch * samples.size / (samples.sum() / 1000)),
    )
