"""Ends a build whose flow run was cancelled.

Prefect ends the process of a run that a runner or worker started, some seconds later. It tells nobody about a build
from a terminal. So the build itself asks for the state of its run.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

from pipeline.errors import ExitCode

# Stages get 1.5 s to end, and it takes time to kill those that do not. All of it together stays below 5 s.
SECONDS = 1.0
# For a build without its parent to end its stages and to tell a server, which may be gone as well.
_LAST_SECONDS = 10


@contextmanager
def watch(run: UUID, cancel: Callable[[str], None], with_parent: bool) -> Iterator[None]:
    """Call `cancel`, with the reason, once the run is to end; a server that does not answer is no reason.

    Args:
        run: this flow run.
        cancel: ends the stages; is called from a thread of its own, at most once.
        with_parent: the process that started this one ends it by ending itself: a runner or worker that is killed.
    """
    done = threading.Event()
    parent = os.getppid() if with_parent else None
    thread = threading.Thread(target=_ask, args=(run, cancel, parent, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ask(run: UUID, cancel: Callable[[str], None], parent: int | None, done: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not done.wait(SECONDS):
            if parent is not None and os.getppid() != parent:
                _leave_soon()
                cancel("the process that started this build is gone")
                return
            try:
                state = client.read_flow_run(run).state
            except (httpx.HTTPError, PrefectException, OSError):
                continue
            if state is not None and (state.is_cancelling() or state.is_cancelled()):
                cancel("the run was cancelled")
                return


def _leave_soon() -> None:
    """End this process in any case: Prefect's client asks a server that is gone again and again, for minutes."""
    timer = threading.Timer(_LAST_SECONDS, os._exit, (ExitCode.BROKEN,))
    timer.daemon = True
    timer.start()
