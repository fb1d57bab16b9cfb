"""The nightly build: a deployment of the flow with a schedule, and the process that runs it."""

import asyncio
import signal

from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from pipeline.errors import InputError
from pipeline.flow.build import build, parameters
from pipeline.orchestration.plan.request import Request

NAME = "nightly"
_DESCRIPTION = "Builds what is not up to date and appends the verdict to artifacts/history.jsonl."


def serve(schedule: Schedule | None, request: Request) -> None:
    """Run the deployment of this workspace by schedule and when the UI asks for it, until SIGINT or SIGTERM.

    A build that runs then is cancelled.

    Args:
        schedule: when; None: only when asked.
        request: what a run builds.
    """
    deployment = build.to_deployment(
        NAME,
        schedule=schedule,
        parameters=parameters(request, history=True),
        description=_DESCRIPTION,
        tags=[NAME],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, RunnerDeployment)  # no event loop runs here
    asyncio.run(_run(deployment))


async def _run(deployment: RunnerDeployment) -> None:
    # One at a time: a second build of the workspace would only wait.
    runner = Runner(limit=1, pause_on_shutdown=False)
    await runner.aadd_deployment(deployment)
    running = asyncio.create_task(runner.start())
    ended = asyncio.Event()
    # Prefect sets a handler when it starts, which leaves a running build to itself; this one comes after it.
    await asyncio.sleep(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not running.done():
        await runner.astop()
    await running


def schedule(cron: str, timezone: str) -> Schedule:
    """When a nightly build runs.

    Raises:
        InputError: `cron` is none.
    """
    try:
        return Cron(cron, timezone=timezone)
    except ValueError as error:
        raise InputError(f"--cron '{cron}': {error}; expected five fields, such as '30 1 * * *' for 01:30") from error
