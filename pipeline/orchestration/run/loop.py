"""Builds a plan: starts each stage that may start, waits until one ends, and goes on. The caller shows it."""

import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from pipeline.errors import ExitCode
from pipeline.orchestration.plan.schedule import GOOD, Schedule, StageOutcome, StageResult
from pipeline.orchestration.plan.stages import PlannedStage
from pipeline.orchestration.run.client import Tell
from pipeline.orchestration.run.workspace import Workspace

# Builds one stage, or notes why it needs no process; its argument gets each line of the stage's log.
Work = Callable[[Tell], StageResult]


class StartStage(Protocol):
    """Starts the work of a stage in a thread of its own and returns at once."""

    def __call__(self, stage: PlannedStage, ended_well: Sequence[str], work: Work, /) -> None:
        """Start `work` for `stage`, whose upstream stages `ended_well` were built, restored or up to date."""


def build(workspace: Workspace, schedule: Schedule, force: bool, start: StartStage, tell: Tell) -> list[StageResult]:
    """Build a plan and return how each stage ended, in serial order.

    Args:
        workspace: that this build holds.
        schedule: of the plan; nothing of it has started.
        force: run what is up to date too.
        start: starts the work of a stage. It is also called for stages that need no process.
        tell: gets lines for the person who waits.

    Raises:
        BaseException: what interrupted the build, after all its stages were ended.
    """
    ended: queue.SimpleQueue[StageResult] = queue.SimpleQueue()
    try:
        while True:
            if workspace.cancelled:
                schedule.cancel()
            for result in schedule.settle():
                stage = _stage(schedule, result.name)
                start(stage, _ended_well(schedule, stage), partial(_settled, result, tell))
            for stage in schedule.start():
                work = partial(_reproduce, workspace, schedule, stage, force, tell, ended)
                start(stage, _ended_well(schedule, stage), work)
            if schedule.done:
                break
            schedule.finish(ended.get())
    except BaseException:
        workspace.cancel()
        while schedule.running:
            schedule.finish(ended.get())
        schedule.cancel()
        raise
    results = [schedule.results[stage.name] for stage in schedule.plan.stages]
    workspace.remember(results)
    if all(result.outcome in GOOD for result in results):
        workspace.finish()
    return results


def _stage(schedule: Schedule, name: str) -> PlannedStage:
    return next(stage for stage in schedule.plan.stages if stage.name == name)


def _ended_well(schedule: Schedule, stage: PlannedStage) -> list[str]:
    ended = schedule.results
    return [name for name in stage.upstream if name in ended and ended[name].outcome in GOOD]


def _settled(result: StageResult, tell: Tell, log: Tell) -> StageResult:
    if result.outcome is not StageOutcome.CACHED:
        log(f"{result.outcome}: {result.message}")
        tell(f"[{result.name}] {result.outcome}: {result.message}")
    return result


def _reproduce(
    workspace: Workspace,
    schedule: Schedule,
    stage: PlannedStage,
    force: bool,
    tell: Tell,
    ended: "queue.SimpleQueue[StageResult]",
    log: Tell,
) -> StageResult:
    def both(line: str) -> None:
        log(line)
        tell(f"[{stage.name}] {line}")

    result = StageResult(stage.name, StageOutcome.FAILED, message="the build itself failed", exit_code=ExitCode.BROKEN)
    try:
        result = workspace.run(
            stage, schedule.plan, force, both, lambda why: both(f"runs: {'; '.join(why)}") if why else None
        )
        if result.outcome is not StageOutcome.BUILT:
            both(": ".join(filter(None, [result.outcome, result.message])))
    finally:
        ended.put(result)
    return result
