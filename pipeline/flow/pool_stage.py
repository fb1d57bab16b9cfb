"""Runs a stage that a build asked for as a flow run, on the worker's side."""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
from prefect import flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import State
from prefect.client.schemas.objects import StateType
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed, Failed

from pipeline import processes
from pipeline.flow.pool import ANSWER, FLOW, LOGGER
from pipeline.orchestration.plan.schedule import GOOD, StageOutcome
from pipeline.orchestration.pools.leases import BEAT_SECONDS, BUILD, WORKER, WORKER_NAME, Lease
from pipeline.orchestration.pools.remote_build import Place, RemoteBuild
from pipeline.orchestration.pools.run_process import PLACE, note_of

GONE = "its worker was killed"
# After this it ends whether it could say so or not; supervisors end the stage with it.
_LAST_WORDS_SECONDS = 2.5
_POLL_SECONDS = 1.0
_DELIVERY_SECONDS = 10


@flow(name=FLOW, validate_parameters=False, persist_result=False)
def stage(job: dict[str, Any]) -> State[object]:
    """Build one stage at a commit and leave the answer for the build that asked."""
    told = json.loads(os.environ[PLACE])
    settings = Path(told["settings"]) if told["settings"] else None
    place = Place(told["name"], Path(told["folder"]), told["repository"], settings)
    log = get_run_logger().getChild(LOGGER)  # type: ignore[union-attr]  # Prefect's adapter has it
    build = RemoteBuild(job, place, log.info)
    run = UUID(str(flow_run.id))
    note = note_of(place.folder)
    with get_client(sync_client=True) as client, _Watch(build, run, place.name, told["pid"], told["started"]) as watch:
        answer = build.run()
        APILogWorker.drain_all(timeout=_DELIVERY_SECONDS)
        if not watch.orphaned:
            client.create_flow_run_input(run, ANSWER, json.dumps(answer))
    note.unlink(missing_ok=True)
    return _state(answer, place.name)


def _state(answer: dict[str, Any], worker: str) -> State[object]:
    message = answer["message"] or f"{answer['outcome']} on {worker}"
    if answer["outcome"] in GOOD:
        return Completed(message=message)
    if answer["outcome"] == StageOutcome.CANCELLED:
        return Crashed(message=message) if message == GONE else Cancelled(message=message)
    return Failed(message=message)


class _Watch:
    """A thread that ends the stage when nobody wants it any more, and shows that it lives."""

    def __init__(self, build: RemoteBuild, run: UUID, worker: str, pid: int, started: float) -> None:
        self._build = build
        self._run = run
        self._worker = worker
        self._pid, self._started = pid, started
        self._lease = Lease()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.orphaned = False

    def __enter__(self) -> "_Watch":
        self._thread.start()
        processes.outlive_parent()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        beats = 0
        with get_client(sync_client=True, httpx_settings={"timeout": 20}) as client:
            while not self._done.wait(_POLL_SECONDS):
                # A build that has gone reads no answer.
                if not self._worker_lives():
                    self._be_orphaned()
                beats += 1
                with contextlib.suppress(httpx.HTTPError, OSError):
                    self._look(client, beats)
                if self._lease.expired():
                    self._build.cancel(f"its build has not answered for {self._lease.seconds:.0f} s")

    def _look(self, client: SyncPrefectClient, beats: int) -> None:
        if beats % int(BEAT_SECONDS / _POLL_SECONDS) == 1:
            client.update_flow_run_labels(self._run, {WORKER: beats, WORKER_NAME: self._worker})
        run = client.read_flow_run(self._run)
        self._lease.see(run.labels.get(BUILD))
        if run.state is not None and run.state.type is not StateType.RUNNING:
            self._build.cancel(run.state.message or f"its run is {run.state.name}")

    def _be_orphaned(self) -> None:
        if not self.orphaned:
            self.orphaned = True
            end = threading.Timer(_LAST_WORDS_SECONDS, os._exit, [1])
            end.daemon = True
            end.start()
        self._build.cancel(GONE)

    def _worker_lives(self) -> bool:
        try:
            process = psutil.Process(self._pid)
            return process.create_time() == self._started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
