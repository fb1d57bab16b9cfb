"""Percentiles and block verdicts on values that can be checked by hand."""

import numpy as np
import pytest

from pipeline.benchmark.statistics import summarize
from pipeline.gate.statistics import Outcome, judge_upper_bound, paired_speed_ratio


def test_summary_of_one_to_hundred() -> None:
    samples = np.arange(1.0, 101.0)
    summary = summarize([samples[:50], samples[50:]], batch=2)
    assert summary.runs == 100
    assert summary.latency_p50_ms == pytest.approx(50.5)
    assert summary.latency_p90_ms == pytest.approx(90.1)
    assert summary.latency_p95_ms == pytest.approx(95.05)
    assert summary.latency_p99_ms == pytest.approx(99.01)
    assert summary.block_p50_ms == pytest.approx((25.5, 75.5))
    assert summary.block_p95_ms == pytest.approx((47.55, 97.55))
    # 100 runs of 2 rows in 5,050 ms.
    assert summary.throughput_per_s == pytest.approx(200 / 5.05)


def test_summary_refuses_an_empty_block() -> None:
    with pytest.raises(ValueError, match=r"2 blocks with \[1, 0\] samples"):
        summarize([np.ones(1), np.ones(0)], batch=1)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([7.0, 8.0, 30.0], Outcome.PASS),  # the median is within, whatever noise did to the third
        ([7.9, 9.0, 30.0], Outcome.INCONCLUSIVE),  # one quiet block was within
        ([8.1, 9.0, 30.0], Outcome.FAIL),
        ([8.0], Outcome.PASS),
        ([8.1], Outcome.FAIL),
    ],
)
def test_upper_bound_of_8(blocks: list[float], expected: Outcome) -> None:
    assert judge_upper_bound(blocks, 8.0) is expected


def test_speed_ratio_cancels_noise_that_both_share() -> None:
    noise = np.array([1.0, 5.0, 2.0, 9.0, 1.1])
    assert paired_speed_ratio(list(0.6 * noise), list(0.3 * noise)) == pytest.approx(2.0)


def test_speed_ratio_of_unequal_blocks_uses_medians() -> None:
    assert paired_speed_ratio([4.0, 6.0, 8.0], [2.0, 4.0]) == pytest.approx(2.0)
