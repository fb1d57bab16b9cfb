from pathlib import Path

import pytest

from pipeline.orchestration.plan.needs import Machine
from pipeline.orchestration.plan.priority import Durations, ranks
from pipeline.orchestration.plan.schedule import Schedule, StageOutcome, StageResult
from pipeline.orchestration.plan.stages import Plan, PlannedStage
from tests.orchestration import graphs

STALE = ("a.py changed",)


def plan_of(**upstream: tuple[str, ...]) -> Plan:
    return Plan(tuple(PlannedStage(name.replace("_", "@"), before, STALE) for name, before in upstream.items()))


def test_a_rank_is_the_longest_way_to_the_end() -> None:
    plan = plan_of(a=(), b=("a",), c=("a",), d=("b", "c"))
    assert ranks(plan, {"a": 1, "b": 2, "c": 5, "d": 3}) == {"a": 9, "b": 5, "c": 8, "d": 3}


def test_an_unknown_stage_counts_as_its_siblings_or_as_all() -> None:
    plan = plan_of(export_x=(), export_y=(), new=())
    assert ranks(plan, {"export@x": 4, "other": 2}) == {"export@x": 4, "export@y": 4, "new": 3}


def test_without_a_history_the_order_is_that_of_dvc_repro() -> None:
    plan = plan_of(short=(), long=())
    assert ranks(plan, {}) == {}
    started = Schedule(plan, Machine(jobs=1, cores=1, memory_gb=1)).start()
    assert [stage.name for stage in started] == ["short"]


def test_the_longest_way_starts_first() -> None:
    plan = plan_of(short=(), long=())
    schedule = Schedule(plan, Machine(jobs=1, cores=1, memory_gb=1), ranks(plan, {"short": 1, "long": 2}))
    assert [stage.name for stage in schedule.start()] == ["long"]


def test_only_what_was_built_is_remembered(tmp_path: Path) -> None:
    durations = Durations(tmp_path / "seconds.json")
    restored = StageResult("b", StageOutcome.RESTORED, seconds=0.1)
    durations.note([StageResult("a", StageOutcome.BUILT, seconds=2.5), restored])
    durations.note([StageResult("c", StageOutcome.BUILT, seconds=1)])
    assert durations.read() == {"a": 2.5, "c": 1.0}


@pytest.mark.parametrize("text", ["", "[]", '{"a": null}', '{"a": "long"}'])
def test_a_damaged_history_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "seconds.json").write_text(text)
    assert Durations(tmp_path / "seconds.json").read() == {}


def test_a_second_build_starts_what_took_longest(tmp_path: Path) -> None:
    graph = {"short": (), "long": ()}
    root = graphs.write(tmp_path / "workspace", graph, {"long": graphs.command("long", [], sleep=1)})
    starts: list[list[str]] = []
    for _ in range(2):
        _, told = graphs.build(root, jobs=1, force=True)
        starts.append([line.split("]")[0][1:] for line in told if "runs: " in line])
    assert starts == [["short", "long"], ["long", "short"]]
    lock = (root / "dvc.lock").read_text()
    assert lock.index("  short:") < lock.index("  long:")
