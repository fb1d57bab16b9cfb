"""Percentiles on values that can be checked by hand."""

import numpy as np
import pytest

from pipeline.benchmark.statistics import summarize


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
