"""Asks a pool for a stage, on the build's side: starts its flow run, shows its log, and waits.

    python -m pipeline.flow.pool < REQUEST

Prints the log of the stage on stderr and the answer, one line of JSON, on stdout. SIGTERM cancels the run.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelling, Crashed
from prefect.workers.process import ProcessWorker

from pipeline.errors import ExitCode
from pipeline.orchestration.plan.schedule import StageOutcome
from pipeline.orchestration.pools.leases import BEAT_SECONDS, BUILD, WORKER, WORKER_NAME, Lease

FLOW = "stage"
ENTRYPOINT = "pipeline.flow.pool_stage.stage"
# Of what the flow run logs, this is the stage's own.
LOGGER = "stage"
ANSWER = "answer"
# A pool without any worker may get one; after this a build gives up.
NO_WORKER_SECONDS = 600.0
# Whoever takes a run starts Python and Prefect for it; one that dies meanwhile says nothing.
BEGIN_SECONDS = 120.0
_POLL_SECONDS = 1.0
_LOGS_AT_ONCE = 200


def own_queue(worker: str) -> str:
    """The queue that only this worker takes from, for what must run on the same machine as something before."""
    return f"on {worker}"


def ensure(client: SyncPrefectClient, pool: str) -> UUID:
    """The deployment of a pool; both are made if they are missing."""
    try:
        return client.read_deployment_by_name(f"{FLOW}/{pool}").id
    except ObjectNotFound:
        pass
    with contextlib.suppress(ObjectAlreadyExists):
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
    flow = client.create_flow_from_name(FLOW)
    return client.create_deployment(
        flow_id=flow,
        name=pool,
        work_pool_name=pool,
        entrypoint=ENTRYPOINT,
        description=f"A stage with `meta.pool: {pool}` in dvc.yaml; started by builds",
        enforce_parameter_schema=False,
    )


def ask(client: SyncPrefectClient, request: Mapping[str, Any], stopping: threading.Event) -> dict[str, Any]:
    """Have a stage built by a worker and wait for its end.

    Args:
        client: of Prefect's server.
        request: {"pool": NAME, "job": what `pipeline.orchestration.pools.remote_stage` wants done}.
        stopping: set it to cancel.

    Returns:
        What `pipeline.orchestration.pools.remote_build.RemoteBuild.run` answered, or why there is no such answer.
    """
    job = request["job"]
    run = client.create_flow_run_from_deployment(
        ensure(client, request["pool"]),
        parameters={"job": job},
        name=f"{job['stage']} at {job['commit'][:10]}",
        tags=["bardlet", job["stage"]],
        work_queue_name=own_queue(job["worker"]) if job["worker"] else None,
        labels={BUILD: 0},
    )
    return _Asked(client, request["pool"], job["stage"], run).wait(stopping)


class _Asked:
    """A flow run that somebody waits for."""

    def __init__(self, client: SyncPrefectClient, pool: str, stage: str, run: FlowRun) -> None:
        self._client = client
        self._pool = pool
        self._stage = stage
        self._run = run
        self._lease = Lease()
        self._server = Lease()
        self._beats = 0
        self._logs = 0
        self._said = ""
        self._without_worker = time.monotonic()
        self._taken: float | None = None

    def wait(self, stopping: threading.Event) -> dict[str, Any]:
        while not stopping.wait(_POLL_SECONDS):
            try:
                answer = self._look()
                self._server.see(time.monotonic())
            except (httpx.HTTPError, OSError) as error:
                answer = self._unreachable(error)
            if answer is not None:
                return answer
        self._cancel()
        return _ended(StageOutcome.CANCELLED, "ended", ExitCode.PASS)

    def _look(self) -> dict[str, Any] | None:
        self._beats += 1
        if self._beats % int(BEAT_SECONDS / _POLL_SECONDS) == 1:
            self._client.update_flow_run_labels(self._run.id, {BUILD: self._beats})
        run = self._client.read_flow_run(self._run.id)
        ended = run.state is not None and run.state.is_final()
        self._show_logs()
        if ended:
            return self._end(run)
        waiting = run.state is None or run.state.type in (StateType.SCHEDULED, StateType.PENDING)
        return self._wait_for_worker(run) if waiting else self._watch_worker(run)

    def _wait_for_worker(self, run: FlowRun) -> dict[str, Any] | None:
        self._lease = Lease()
        if run.state is not None and run.state.type is StateType.PENDING:
            return self._wait_for_begin(run)
        workers = self._client.read_workers_for_work_pool(self._pool)
        online = [worker.name for worker in workers if worker.status is WorkerStatus.ONLINE]
        if online:
            self._without_worker = time.monotonic()
            self._say(f"waiting for pool {self._pool}: {', '.join(sorted(online))}")
            return None
        advice = f"start one on its machine: bardlet worker --pool {self._pool}"
        if time.monotonic() - self._without_worker > NO_WORKER_SECONDS:
            self._cancel()
            message = f"pool {self._pool} has had no worker for {NO_WORKER_SECONDS:.0f} s; {advice}, then build again"
            return _ended(StageOutcome.FAILED, message, ExitCode.BROKEN)
        self._say(f"pool {self._pool} has no worker now; {advice}")
        return None

    def _wait_for_begin(self, run: FlowRun) -> dict[str, Any] | None:
        self._taken = self._taken or time.monotonic()
        if time.monotonic() - self._taken < BEGIN_SECONDS:
            return None
        message = f"a worker of pool {self._pool} took it and has not begun for {BEGIN_SECONDS:.0f} s: it is gone"
        self._client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        return _ended(StageOutcome.FAILED, f"{message}; the next build starts the stage again", ExitCode.BROKEN)

    def _watch_worker(self, run: FlowRun) -> dict[str, Any] | None:
        self._lease.see(run.labels.get(WORKER))
        if not self._lease.expired():
            return None
        name = run.labels.get(WORKER_NAME, "the worker")
        message = f"{name} of pool {self._pool} has not answered for {self._lease.seconds:.0f} s: it is gone"
        self._client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        return _ended(StageOutcome.FAILED, f"{message}; the next build starts the stage again", ExitCode.BROKEN)

    def _end(self, run: FlowRun) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._client.read_flow_run_input(run.id, ANSWER))
        except (httpx.HTTPStatusError, ObjectNotFound):
            return self._without_answer(run)
        if answer["outcome"] == StageOutcome.FAILED:
            answer["message"] = f"on {answer['worker']} of pool {self._pool}: {answer['message']}"
        return answer

    def _without_answer(self, run: FlowRun) -> dict[str, Any]:
        assert run.state is not None
        if run.state.is_cancelled():
            return _ended(StageOutcome.CANCELLED, f"its run in pool {self._pool} was cancelled", ExitCode.PASS)
        message = f"its run in pool {self._pool} is {run.state.name}: {run.state.message or 'no reason given'}"
        return _ended(StageOutcome.FAILED, message, ExitCode.BROKEN)

    def _show_logs(self) -> None:
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self._run.id]))
        while True:
            found = self._client.read_logs(wanted, limit=_LOGS_AT_ONCE, offset=self._logs)
            self._logs += len(found)
            for log in found:
                if log.name.endswith(f".{LOGGER}"):
                    print(log.message, file=sys.stderr, flush=True)
            if len(found) < _LOGS_AT_ONCE:
                return

    def _unreachable(self, error: Exception) -> dict[str, Any] | None:
        self._say(f"Prefect's server does not answer: {error}")
        if not self._server.expired():
            return None
        message = f"Prefect's server has not answered for {self._server.seconds:.0f} s; the worker ends the stage"
        return _ended(StageOutcome.FAILED, message, ExitCode.BROKEN)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            print(text, file=sys.stderr, flush=True)

    def _cancel(self) -> None:
        with contextlib.suppress(httpx.HTTPError, OSError, ObjectNotFound):
            self._client.set_flow_run_state(self._run.id, Cancelling(message="its build has ended"))


def _ended(outcome: StageOutcome, message: str, code: int) -> dict[str, Any]:
    return {"outcome": outcome, "message": message, "exit_code": code}


def main() -> None:
    """Do what standard input asks for."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    request = json.load(sys.stdin)
    try:
        with get_client(sync_client=True, httpx_settings={"timeout": 20}) as client:
            answer = ask(client, request, stopping)
    except (httpx.HTTPError, OSError) as error:
        message = f"Prefect's server at {os.environ.get('PREFECT_API_URL')} does not do its part: {error}"
        answer = _ended(StageOutcome.FAILED, message, ExitCode.BROKEN)
    # Where DVC's process was killed there is nobody to answer to.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)
    # Prefect's threads would keep the process for seconds.
    os._exit(0)


if __name__ == "__main__":
    main()
