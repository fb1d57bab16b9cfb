from pipeline.orchestration.plan.needs import Machine, Needs
from pipeline.orchestration.plan.schedule import Schedule, StageOutcome, StageResult
from pipeline.orchestration.plan.stages import Plan, PlannedStage

MACHINE = Machine(jobs=2, cores=2, memory_gb=8)
STALE = ("a.py changed",)


def stage(name: str, *upstream: str, reasons: tuple[str, ...] = (), **more: object) -> PlannedStage:
    return PlannedStage(name, upstream, reasons, **more)  # type: ignore[arg-type]


def schedule(*stages: PlannedStage) -> Schedule:
    return Schedule(Plan(stages), MACHINE)


def names(stages: list[PlannedStage]) -> list[str]:
    return [stage.name for stage in stages]


def built(name: str, same: bool = False) -> StageResult:
    return StageResult(name, StageOutcome.BUILT, outs_same=same)


def test_what_is_up_to_date_needs_no_process() -> None:
    plan = schedule(stage("a"), stage("b", "a"))
    assert [(result.name, result.outcome) for result in plan.settle()] == [("a", "cached"), ("b", "cached")]
    assert plan.done
    assert plan.start() == []


def test_stages_start_in_serial_order_as_far_as_there_is_room() -> None:
    plan = schedule(*(stage(name, reasons=STALE) for name in "abc"))
    assert names(plan.start()) == ["a", "b"]
    plan.finish(built("b"))
    assert names(plan.start()) == ["c"]


def test_a_stage_waits_for_its_upstream() -> None:
    plan = schedule(stage("a", reasons=STALE), stage("b", "a", reasons=STALE))
    assert names(plan.start()) == ["a"]
    assert plan.settle() == []
    plan.finish(built("a"))
    assert names(plan.start()) == ["b"]


def test_the_same_outputs_leave_what_follows_up_to_date() -> None:
    plan = schedule(stage("host", reasons=("always runs",)), stage("benchmark", "host"))
    plan.start()
    plan.finish(built("host", same=True))
    assert [result.outcome for result in plan.settle()] == [StageOutcome.CACHED]


def test_other_outputs_make_dvc_look_again() -> None:
    plan = schedule(stage("host", reasons=("always runs",)), stage("benchmark", "host"))
    plan.start()
    plan.finish(built("host", same=False))
    assert plan.settle() == []
    assert names(plan.start()) == ["benchmark"]


def test_outputs_that_someone_had_changed_are_looked_at_again_even_if_they_are_back() -> None:
    plan = schedule(stage("a", reasons=("a.txt changed",), outs_clean=False), stage("b", "a"))
    plan.start()
    plan.finish(built("a", same=True))
    assert plan.settle() == []


def test_a_failure_skips_what_follows_and_nothing_else() -> None:
    plan = schedule(
        stage("a", reasons=STALE), stage("b", "a"), stage("c", "b", reasons=STALE), stage("d", reasons=STALE)
    )
    plan.start()
    plan.finish(StageResult("a", StageOutcome.FAILED, exit_code=4))
    settled = {result.name: (result.outcome, result.message) for result in plan.settle()}
    assert settled == {"b": ("skipped", "a failed"), "c": ("skipped", "b skipped")}
    plan.finish(built("d"))
    assert plan.done


def test_the_machine_as_mutex_waits_for_all_and_holds_all_back() -> None:
    alone = stage("benchmark", reasons=STALE, needs=Needs(mutex="machine"))
    plan = schedule(stage("a", reasons=STALE), alone, stage("c", "a", reasons=STALE))
    assert names(plan.start()) == ["a"]
    plan.finish(built("a"))
    assert names(plan.start()) == ["benchmark"]
    plan.finish(built("benchmark"))
    assert names(plan.start()) == ["c"]


def test_a_cancelled_build_starts_nothing_more() -> None:
    plan = schedule(stage("a", reasons=STALE), stage("b", "a"))
    plan.start()
    plan.finish(StageResult("a", StageOutcome.CANCELLED))
    plan.cancel()
    assert plan.done
    assert plan.results["b"].outcome is StageOutcome.CANCELLED
