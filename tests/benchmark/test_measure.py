"""The timing loop around plain callables."""

import gc

import pytest

from pipeline.benchmark.measure import MIN_BLOCK_RUNS, measure_block, warm_up


def test_block_stops_at_max_runs() -> None:
    calls: list[int] = []
    samples = measure_block(lambda: calls.append(1), seconds=60, max_runs=7)
    assert len(samples) == len(calls) == 7
    assert all(sample >= 0 for sample in samples)


def test_block_without_time_still_has_a_few_runs() -> None:
    assert len(measure_block(lambda: None, seconds=0, max_runs=100)) in (MIN_BLOCK_RUNS, MIN_BLOCK_RUNS + 1)


def test_garbage_collector_is_off_while_timing_and_back_after_an_error() -> None:
    states: list[bool] = []

    def call() -> None:
        states.append(gc.isenabled())
        raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        measure_block(call, seconds=1, max_runs=5)
    assert states == [False]
    assert gc.isenabled()


def test_warm_up_runs_once_at_least() -> None:
    assert warm_up(lambda: None, runs=0, seconds=0) == 1
    assert warm_up(lambda: None, runs=4, seconds=60) == 4


def test_what_a_run_leaves_behind_is_undone_before_each_one() -> None:
    events: list[str] = []
    measure_block(lambda: events.append("run"), 60, 2, reset=lambda: events.append("reset"))
    warm_up(lambda: events.append("warm"), 2, 60, reset=lambda: events.append("reset"))
    assert events == ["reset", "run", "reset", "run", "reset", "warm", "reset", "warm"]
