"""A worker of a pool. It takes one stage at a time and starts a flow run in a process of its own for each."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from uuid import UUID

import anyio
import httpx
import psutil
from anyio.abc import TaskStatus
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from pipeline.flow.pool import ensure, own_queue
from pipeline.orchestration.pools.remote_build import Place
from pipeline.orchestration.pools.run_process import PLACE, note_of

DEFAULT_QUEUE = "default"
_HEARTBEAT_SECONDS = 10


def work(pool: str, place: Place, tell: Callable[[str], None]) -> None:
    """Work for a pool until interrupted.

    Args:
        pool: made if it is missing.
        place: where, and under which name.
        tell: gets a line when it is ready.
    """
    with get_client(sync_client=True) as client:
        ensure(client, pool)
    # The run of a worker that was killed with all its processes, as by a power cut.
    _give_up(place, "its worker was started again")
    own = psutil.Process()
    os.environ[PLACE] = json.dumps(
        {
            "name": place.name,
            "folder": str(place.folder.resolve()),
            "repository": place.repository,
            "settings": None if place.settings is None else str(place.settings.resolve()),
            "pid": own.pid,
            "started": own.create_time(),
        }
    )
    try:
        anyio.run(_work, pool, place.name, tell)
    finally:
        # Prefect has killed its processes by now and told nobody.
        _give_up(place, "its worker was told to end")


def _give_up(place: Place, why: str) -> None:
    """Tell the build about a run that will never end by itself; without this it would wait for the lease."""
    note = note_of(place.folder)
    with contextlib.suppress(FileNotFoundError, ValueError, httpx.HTTPError, ObjectNotFound, OSError):
        run = UUID(note.read_text(encoding="utf-8"))
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
            if state is not None and not state.is_final():
                client.set_flow_run_state(run, Crashed(message=why), force=True)
        note.unlink()


class _Worker(ProcessWorker):
    """Prefect's worker of processes, which starts them by way of `pipeline.orchestration.pools.run_process`."""

    @classmethod
    def __dispatch_key__(cls) -> str | None:
        # `process` is taken; the type of the pool stays that.
        return "bardlet-process"

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: TaskStatus[int] | None = None
    ) -> ProcessWorkerResult:
        configuration.command = command_to_string([sys.executable, "-m", "pipeline.orchestration.pools.run_process"])
        configuration._command_configured = True
        return await super().run(flow_run, configuration, task_status)


async def _work(pool: str, name: str, tell: Callable[[str], None]) -> None:
    await _make_queue(pool, own_queue(name))
    worker = _Worker(
        work_pool_name=pool,
        work_queues=[DEFAULT_QUEUE, own_queue(name)],
        name=name,
        # One device, one stage: a second would disturb its measurement.
        limit=1,
        heartbeat_interval_seconds=_HEARTBEAT_SECONDS,
    )
    await worker.start(printer=lambda *words: tell(" ".join(map(str, words))))


async def _make_queue(pool: str, name: str) -> None:
    async with get_client() as client:
        known = {queue.name for queue in await client.read_work_queues(work_pool_name=pool)}
        if name not in known:
            await client.create_work_queue(name=name, work_pool_name=pool)
