"""The build as a Prefect flow, one task a stage; the only module that imports Prefect.

dvc.yaml owns the graph and DVC decides what runs. The flow shows it: what was up to date is Cached, what the run-cache
had is Restored, and what failed or waits behind a failure says why. Without the decorators it builds the same.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect import serve as serve_deployments
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.deployments.runner import RunnerDeployment
from prefect.events.worker import EventsWorker
from prefect.exceptions import MissingContextError, TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.logging.handlers import APILogWorker
from prefect.schedules import Cron
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.types.entrypoint import EntrypointType

from pipeline.build import loop
from pipeline.build.notify import message, notify
from pipeline.build.plan import Plan, PlannedStage
from pipeline.build.publish import markdown, misses, tables
from pipeline.build.request import Request
from pipeline.build.schedule import GOOD, Outcome, Schedule, StageResult
from pipeline.build.session import Session
from pipeline.build.slots import this_machine
from pipeline.build.summary import exit_code, summarize
from pipeline.errors import IntegrityError, StageError
from pipeline.files import read_json
from pipeline.history import append, entry
from pipeline.layout import Layout

_DELIVERY_SECONDS = 5
# More than stages ever run at once: the schedule decides, not the pool.
_THREADS = 32
Tell = Callable[[str], None]


@dataclass
class _Prepared:
    """A build that `bardlet build` has planned before Prefect was imported, and what became of it."""

    session: Session
    plan: Plan
    tell: Tell
    results: list[StageResult]


_prepared: list[_Prepared] = []


def run(session: Session, plan: Plan, request: Request, tell: Tell) -> list[StageResult]:
    """Build a plan as a flow run and return how each stage ended, in serial order.

    Raises:
        KeyboardInterrupt: after all stages were ended.
    """
    prepared = _Prepared(session, plan, tell, [])
    _prepared.append(prepared)
    try:
        ended = build(list(request.targets), request.jobs, list(request.models), request.force, return_state=True)
    except TerminationSignal as signal:
        raise KeyboardInterrupt from signal
    finally:
        # Both send in the background; a server that ends with the build would miss the rest.
        APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
        EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)
    if len(prepared.results) < len(plan.stages):
        raise StageError(f"the flow itself failed: {ended.message}")
    return prepared.results


_RUNNER: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=_THREADS)


@flow(
    task_runner=_RUNNER,  # type: ignore[arg-type]  # Prefect declares a future of its own for each runner
    persist_result=False,
)
def build(
    targets: Sequence[str] = (),
    jobs: int | None = None,
    models: Sequence[str] = (),
    force: bool = False,
    history: bool = False,
) -> State[object]:
    """Build what is not up to date; the same result as `dvc repro`, in parallel.

    Args:
        targets: stages as DVC names them; none: all of dvc.yaml.
        jobs: stages at once; none: one a core.
        models: only these models of the fleet; none: all.
        force: run stages that are up to date too.
        history: append verdict and figures to artifacts/history.jsonl.
    """
    begin = time.monotonic()
    layout = Layout()
    if _prepared:
        prepared = _prepared.pop()
        prepared.results.extend(_build(prepared.session, prepared.plan, jobs, force, prepared.tell))
        results = prepared.results
    else:
        with Session(layout.root, _log) as session:
            results = _build(session, session.plan(targets, models, force), jobs, force, lambda _: None)
    seconds = time.monotonic() - begin
    text, code = summarize(results, seconds), exit_code(results)
    _log(text)
    verdict = _read_verdict(layout)
    judged = verdict is not None and any(result.name == "gate" and result.outcome in GOOD for result in results)
    _publish(layout, verdict if judged else None)
    if history:
        append(layout.history, entry(verdict if judged else None, code, seconds, _commit(), datetime.now(UTC)))
    if code:
        lines = misses(verdict) if verdict is not None and judged else []
        failed = [f"{result.name}: {result.message}" for result in results if result.outcome not in GOOD]
        problem = notify(message(code, verdict["verdict"] if verdict and judged else None, lines or failed))
        _log(problem or "")
    return Failed(message=text) if code else Completed(message=text)


def _build(session: Session, plan: Plan, jobs: int | None, force: bool, tell: Tell) -> list[StageResult]:
    tasks = _Tasks()
    try:
        return loop.build(session, Schedule(plan, this_machine(jobs)), force, tasks.start, tell)
    finally:
        tasks.wait()


def _read_verdict(layout: Layout) -> dict[str, Any] | None:
    try:
        verdict: dict[str, Any] = read_json(layout.verdict)
    except IntegrityError:
        return None
    return verdict


def _publish(layout: Layout, verdict: dict[str, Any] | None) -> None:
    """Show on the run's page what the gate judged."""
    if verdict is None:
        return
    for title, rows in tables(verdict).items():
        create_table_artifact(rows, key=title, description=f"{title} against budget")
    places = [
        ("report", layout.report),
        *((f"{name}: model card", layout.model(name).release / "README.md") for name in verdict["models"]),
    ]
    links = [(text, path.resolve().as_uri()) for text, path in places if path.exists()]
    create_markdown_artifact(markdown(verdict, links), key="verdict", description=f"gate: {verdict['verdict']}")


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None


def serve(cron: str | None, timezone: str, request: Request) -> None:
    """Run the deployment `nightly` of this workspace until interrupted: by schedule, and when the UI asks for it.

    Args:
        cron: when; None: only when asked.
        timezone: of `cron`.
        request: what a scheduled run builds.
    """
    parameters = {
        "targets": list(request.targets),
        "jobs": request.jobs,
        "models": list(request.models),
        "force": request.force,
        "history": True,
    }
    deployment = build.to_deployment(
        "nightly",
        schedule=None if cron is None else Cron(cron, timezone=timezone),
        parameters=parameters,
        description="Builds what is not up to date and appends the verdict to artifacts/history.jsonl.",
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # One at a time: a second build of the workspace would only wait.
    assert isinstance(deployment, RunnerDeployment)  # no event loop runs here
    serve_deployments(deployment, pause_on_shutdown=False, print_starting_message=False, limit=1)


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
    why = result.message or "; ".join(result.reasons) or "up to date"
    match result.outcome:
        case Outcome.BUILT:
            return Completed(message=why)
        case Outcome.CACHED | Outcome.RESTORED:
            return Completed(name=result.outcome.capitalize(), message=why)
        case Outcome.FAILED:
            return Failed(message=why)
        case Outcome.SKIPPED | Outcome.CANCELLED:
            return Cancelled(name=result.outcome.capitalize(), message=why)


def _log(text: str) -> None:
    with suppress(MissingContextError):
        if text:
            get_run_logger().info(text)
