"""The build as a Prefect flow, one task a stage.

dvc.yaml owns the graph and DVC decides what runs. The flow shows it: a stage that was up to date is Cached, one that
the run-cache had is Restored, and one that failed or stands behind a failure says why. Without the decorators it
builds the same.
"""

import os
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from prefect import flow, runtime
from prefect.client.schemas import State
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import APILogWorker
from prefect.states import Cancelled, Completed, Failed

from pipeline.errors import INTERRUPTED, BardletError, StageError
from pipeline.flow import artifacts
from pipeline.flow.tasks import Tasks, log
from pipeline.flow.watch import watch
from pipeline.layout import Layout
from pipeline.orchestration.pages import aftermath, prefect_server, web
from pipeline.orchestration.plan.needs import this_machine
from pipeline.orchestration.plan.request import Request
from pipeline.orchestration.plan.schedule import Schedule, StageResult
from pipeline.orchestration.plan.stages import Plan
from pipeline.orchestration.pools import rules
from pipeline.orchestration.run import loop
from pipeline.orchestration.run.client import Tell
from pipeline.orchestration.run.workspace import Workspace

NAME = "build"
_DELIVERY_SECONDS = 5


@dataclass
class _Prepared:
    """A build that `bardlet build` planned while Prefect was imported, and what becomes of it."""

    workspace: Workspace
    plan: Plan
    tell: Tell
    results: list[StageResult] = field(default_factory=list)


_prepared: ContextVar[_Prepared | None] = ContextVar("prepared", default=None)


def run(workspace: Workspace, plan: Plan, request: Request, tell: Tell) -> list[StageResult]:
    """Build a plan as a flow run and return how each stage ended, in serial order.

    Raises:
        KeyboardInterrupt: after all stages were ended.
    """
    prepared = _Prepared(workspace, plan, tell)
    token = _prepared.set(prepared)
    message: str | None = "it did not start"
    try:
        message = build(**parameters(request), return_state=True).message
    except TerminationSignal as signal:
        raise KeyboardInterrupt from signal
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    finally:
        _prepared.reset(token)
        # Both send in the background; a server that ends with the build would miss the rest.
        APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
        EventsWorker.drain_all(timeout=_DELIVERY_SECONDS)
    if len(prepared.results) < len(plan.stages):
        raise StageError(f"the flow itself failed: {message}")
    return prepared.results


def parameters(request: Request, history: bool = False) -> dict[str, object]:
    """A request as the parameters of the flow."""
    return {
        "targets": list(request.targets),
        "jobs": request.jobs,
        "models": list(request.models),
        "force": request.force,
        "pull": request.pull,
        "push": request.push,
        "history": history,
    }


def _run_name() -> str:
    """What a run builds, as its name."""
    given = runtime.flow_run.parameters
    what = ", ".join(given.get("targets") or []) or "all stages"
    models = ", ".join(given.get("models") or [])
    return " ".join(filter(None, [what, f"of {models}" if models else "", "forced" if given.get("force") else ""]))


@flow(name=NAME, flow_run_name=_run_name, persist_result=False)
def build(
    targets: list[str] | None = None,
    jobs: int | None = None,
    models: list[str] | None = None,
    force: bool = False,
    pull: bool = True,
    push: bool = False,
    history: bool = False,
) -> State[object]:
    """Build what is not up to date; the same result as `dvc repro`, in parallel.

    Args:
        targets: stages as DVC names them; none: all of dvc.yaml.
        jobs: stages at once; none: one a core.
        models: only these models of the fleet; none: all.
        force: run stages that are up to date too.
        pull: look for results in the shared cache before a stage runs.
        push: send outputs and run-cache to the shared cache afterwards.
        history: append verdict and figures to artifacts/history.jsonl.
    """
    request = Request(tuple(targets or ()), jobs, tuple(models or ()), force, pull, push)
    begin = time.monotonic()
    layout = Layout()
    prepared = _prepared.get()
    if prepared:
        results, problem = _build_prepared(prepared, request), None
    else:
        results, problem = _build_here(layout.root, request)
    ended = aftermath.conclude(layout, results, problem, time.monotonic() - begin, history)
    log(ended.text)
    artifacts.show(layout, ended, results, web.address(layout.root))
    if ended.exit_code == INTERRUPTED:
        return Cancelled(message=ended.headline)
    return Failed(message=ended.headline) if ended.exit_code else Completed(message=ended.headline)


def _build_prepared(prepared: _Prepared, request: Request) -> list[StageResult]:
    results = _build(prepared.workspace, prepared.plan, request, prepared.tell, with_parent=False)
    prepared.results.extend(results)
    return results


def _build_here(root: Path, request: Request) -> tuple[list[StageResult], BardletError | None]:
    """Build as a run that a schedule or the UI started, and share the results; all lines go to the run's log."""
    prefect_server.set_defaults(root, os.environ)
    results: list[StageResult] = []
    try:
        with Workspace(root, log) as workspace:
            plan = workspace.plan(request.targets, request.models, request.force)
            # What started this run is a server that lasts.
            rules.require(plan, lasting_server=True)
            if request.pull:
                workspace.share(plan)
            log(plan.summary())
            results = _build(workspace, plan, request, lambda _: None, with_parent=True)
            if request.push and not workspace.cancelled:
                log(workspace.push(results))
    except BardletError as error:
        return results, error
    return results, None


def _build(workspace: Workspace, plan: Plan, request: Request, tell: Tell, with_parent: bool) -> list[StageResult]:
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    machine = this_machine(request.jobs)
    in_pools = sum(stage.needs.pool is not None for stage in plan.stages)

    def cancel(why: str) -> None:
        tell(f"{why}: all stages are ended")
        workspace.cancel()

    with watch(context.flow_run.id, cancel, with_parent), Tasks(machine.jobs + in_pools) as tasks:
        return loop.build(workspace, Schedule(plan, machine, workspace.ranks(plan)), request.force, tasks.start, tell)
