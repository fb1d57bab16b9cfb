"""The build as a Prefect flow, one task a stage.

dvc.yaml owns the graph and DVC decides what runs. The flow shows it: what was up to date is Cached, what the run-cache
had is Restored, and what failed or waits behind a failure says why. Without the decorators it builds the same.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.events.worker import EventsWorker
from prefect.exceptions import MissingContextError, TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.logging.handlers import APILogWorker
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.build import loop
from pipeline.build.plan import Plan, PlannedStage
from pipeline.build.request import Request
from pipeline.build.schedule import Outcome, Schedule, StageResult
from pipeline.build.session import Session
from pipeline.build.slots import this_machine
from pipeline.build.summary import exit_code, summarize
from pipeline.errors import StageError

NAME = "build"
_DELIVERY_SECONDS = 5
Tell = Callable[[str], None]


def run(session: Session, plan: Plan, request: Request, tell: Tell) -> list[StageResult]:
    """Build a plan as a flow run and return how each stage ended, in serial order.

    Raises:
        KeyboardInterrupt: after all stages were ended.
    """
    schedule = Schedule(plan, this_machine(request.jobs))
    in_pools = sum(stage.needs.pool is not None for stage in plan.stages)
    workers: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=schedule.machine.jobs + in_pools + 2)
    decorated = flow(
        name=NAME,
        task_runner=workers,  # type: ignore[arg-type]  # Prefect declares a future of its own for each runner
        validate_parameters=False,
        persist_result=False,
    )
    results: list[StageResult] = []

    @decorated
    def build(targets: Sequence[str], jobs: int | None, models: Sequence[str], force: bool) -> State[object]:
        begin = time.monotonic()
        tasks = _Tasks()
        try:
            results.extend(loop.build(session, schedule, force, tasks.start, tell))
        finally:
            tasks.wait()
        text = summarize(results, time.monotonic() - begin)
        _log(text)
        return Failed(message=text) if exit_code(results) else Completed(message=text)

    try:
        ended = build(list(request.targets), request.jobs, list(request.models), request.force, return_state=True)
    except TerminationSignal as signal:
        raise KeyboardInterrupt from signal
    finally:
        # Both send in the background; a server that ends with the build would miss the rest.
        APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
        EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)
    if len(results) < len(plan.stages):
        raise StageError(f"the flow itself failed: {ended.message}")
    return results


class _Tasks:
    """Shows stages as tasks that are named like them."""

    def __init__(self) -> None:
        self._futures: dict[str, PrefectFuture[Any]] = {}

    def start(self, stage: PlannedStage, after: Sequence[str], work: loop.Work) -> None:
        """Have the work of a stage done as a task, drawn behind those upstream tasks that ended well.

        Behind a failed one Prefect would not start it, and it could not say why it is skipped.
        """

        @task(name=stage.name, task_run_name=stage.name, cache_policy=NO_CACHE, persist_result=False)
        def show() -> State[object]:
            return state(work(_log))

        before = [self._futures[name] for name in after]
        self._futures[stage.name] = show.submit(wait_for=before, return_state=False)

    def wait(self) -> None:
        """Wait until all tasks have ended."""
        wait(list(self._futures.values()))


def state(result: StageResult) -> State[object]:
    """The state that shows how a stage ended."""
    message = result.message or "; ".join(result.reasons) or "up to date"
    match result.outcome:
        case Outcome.BUILT:
            return Completed(message=message)
        case Outcome.CACHED | Outcome.RESTORED:
            return Completed(name=result.outcome.capitalize(), message=message)
        case Outcome.FAILED:
            return Failed(message=message)
        case Outcome.SKIPPED | Outcome.CANCELLED:
            return Cancelled(name=result.outcome.capitalize(), message=message)


def _log(text: str) -> None:
    with suppress(MissingContextError):
        get_run_logger().info(text)
