"""The rules by which measurements are judged."""

from collections.abc import Sequence

import numpy as np

from pipeline.records.verdict import Outcome


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

    Blocks that were measured right after one another share their noise, which the ratio cancels. With a different
    number of blocks on each side it is the ratio of their medians.
    """
    if len(slower_ms) == len(faster_ms):
        return float(np.median(np.asarray(slower_ms) / np.asarray(faster_ms)))
    return float(np.median(slower_ms) / np.median(faster_ms))
