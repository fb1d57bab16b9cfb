"""Shows stages as tasks of a flow run."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.exceptions import CancelledRun, FailedRun, MissingContextError
from prefect.futures import PrefectFuture, wait
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from pipeline.orchestration.plan.stages import PlannedStage
from pipeline.orchestration.run.loop import Work


class Tasks:
    """Shows stages as tasks that are named like them; at its end all of them have ended."""

    def __init__(self, jobs: int) -> None:
        """`jobs` stages run at once; two more threads show what needs no process."""
        self._runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=jobs + 2)
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._before: dict[str, set[str]] = {}

    def start(self, stage: PlannedStage, after: Sequence[str], work: Work) -> None:
        """Have the work of a stage done as a task, drawn behind those upstream tasks that ended well.

        Behind a failed one Prefect would not start it, and it could not say why it is skipped.
        """

        @task(name=stage.name, task_run_name=stage.name, cache_policy=NO_CACHE, persist_result=False)
        def show() -> State[object]:
            return state(work(log))

        further = set().union(*(self._before[name] for name in after))
        self._before[stage.name] = further.union(after)
        # An arrow for each file would hide the graph: what stands behind another arrow gets none.
        arrows = [self._futures[name] for name in after if name not in further]
        self._futures[stage.name] = self._runner.submit(show, {}, arrows)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait(list(self._futures.values()))
        self._runner.__exit__(kind, error, trace)


def state(result: StageResult) -> State[object]:
    """The state that shows how a stage ended."""
    why = result.message or "; ".join(result.reasons) or "up to date"
    match result.outcome:
        case StageOutcome.BUILT:
            return Completed(message=why)
        case StageOutcome.CACHED | StageOutcome.RESTORED:
            return Completed(name=result.outcome.capitalize(), message=why)
        case StageOutcome.FAILED:
            return Failed(message=why)
        case StageOutcome.SKIPPED | StageOutcome.CANCELLED:
            return Cancelled(name=result.outcome.capitalize(), message=why)


def log(text: str) -> None:
    """A line into the log of the task, or of the flow, that runs here."""
    with suppress(MissingContextError):
        get_run_logger().info(text)


def _says_more(record: logging.LogRecord) -> bool:
    """Whether a record says what nothing else does.

    Prefect logs a traceback of what failed and has said why, and a line for each stage that was up to date.
    """
    if record.exc_info and record.exc_info[0] in (None, FailedRun, CancelledRun):
        return False
    return not record.getMessage().startswith("Finished in state Cached(")


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_says_more)
