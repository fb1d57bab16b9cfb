"""Samples in, percentiles and block verdicts out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Outcome(StrEnum):
    """What a comparison with a budget says."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


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


def judge_upper_bound(block_values: Sequence[float], allowed: float) -> Outcome:
    """Judge repeated measurements of a quantity that noise can only raise, such as latency.

    A median within the bound is a PASS even under noise, because the quiet value can only be lower. A FAIL
    needs every block over the bound: one block within it shows that the quiet value may be within it, too.

    Args:
        block_values: one value a block, at least one.
        allowed: the largest value that is allowed.
    """
    if float(np.median(block_values)) <= allowed:
        return Outcome.PASS
    return Outcome.FAIL if min(block_values) > allowed else Outcome.INCONCLUSIVE


def paired_speed_ratio(slower_ms: Sequence[float], faster_ms: Sequence[float]) -> float:
    """How many times faster the second is: the median over blocks of the ratio of two interleaved measurements.

    Blocks that were measured right after one another share their noise, which the ratio cancels; with another
    number of blocks on each side the ratio of medians serves.
    """
    if len(slower_ms) == len(faster_ms):
        return float(np.median(np.asarray(slower_ms) / np.asarray(faster_ms)))
    return float(np.median(slower_ms) / np.median(faster_ms))
