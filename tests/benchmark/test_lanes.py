"""Planning lanes and phases."""

from pathlib import Path

import pytest

from pipeline.benchmark.lanes import make_lanes, physical_cores, plan, spread
from pipeline.benchmark.subjects import Subject, Threads
from pipeline.errors import InputError
from pipeline.runtime.session import Precision
from tests.benchmark.entries import LATENCY


def subject(engine: str, variant: str, model: str = "m", threads: tuple[Threads, ...] = (1, "all")) -> Subject:
    return Subject(model, engine, variant, Path("x"), Path("y"), Precision(), (LATENCY,), (), threads)


FLEET = [subject(engine, variant) for engine in ("a", "b", "c") for variant in ("fp32", "int8")]


def test_lanes_have_cores_of_their_own() -> None:
    assert [lane.cores for lane in make_lanes([0, 1, 4, 5, 8], 2)] == [(0, 1), (4, 5)]


def test_lane_larger_than_the_machine_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"lane of 4 cores .* has 2 .* lower benchmark\.lane_cores"):
        make_lanes([0, 1], 4)


def test_variants_of_an_engine_share_a_lane() -> None:
    lanes = spread(FLEET, make_lanes([0, 1], 1))
    assert [[s.engine for s in subjects] for _, subjects in lanes] == [["a", "a", "c", "c"], ["b", "b"]]


def test_plan_measures_one_thread_in_parallel_and_all_cores_alone() -> None:
    one, everything = plan(FLEET, cores=[0, 1], lane_cores=1)
    assert (one.threads, one.all_cores, len(one.lanes)) == (1, False, 2)
    assert (everything.threads, everything.all_cores, len(everything.lanes)) == (2, True, 1)
    assert everything.lanes[0][0].cores == (0, 1)
    assert len(everything.lanes[0][1]) == len(FLEET)


def test_plan_takes_models_one_after_another_and_wide_lanes_for_many_threads() -> None:
    subjects = [subject("a", "int8", "first"), subject("a", "int8", "second", (1, 3))]
    phases = plan(subjects, cores=[0, 1, 2, 3], lane_cores=2)
    assert [(p.threads, p.all_cores, p.lanes[0][0].cores) for p in phases] == [
        (1, False, (0, 1)),
        (4, True, (0, 1, 2, 3)),
        (1, False, (0, 1)),
        (3, False, (0, 1, 2)),
    ]


def test_physical_cores_leave_out_the_second_hardware_thread() -> None:
    siblings = {core: frozenset({core % 2, core % 2 + 2}) for core in range(4)}
    assert physical_cores([0, 1, 2, 3], siblings) == [0, 1]
    assert physical_cores([2, 3], siblings) == [2, 3]
