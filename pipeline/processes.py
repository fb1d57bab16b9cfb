"""Ends process trees, and lets processes end with their parent.

Only the functions that look at other processes import psutil: `bardlet run` on a device has none.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SWEEP_SECONDS = 3.0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends (Linux), so that none can hide."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int) -> None:
    """End this process, and all of its session, when `parent` ends in whatever way (Linux).

    Call it in the main thread, as leader of a session of its own.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process, whatever it executes later, when `parent` ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def die_with(pid: int | None) -> None:
    """Have this process killed when `pid` ends, even if `pid` is not its parent (Linux).

    A shell may stand between the two. It waits for this process and does not notice that its own parent has ended.
    """
    if pid is None or not hasattr(os, "pidfd_open"):
        return
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)

    def wait() -> None:
        select.select([watched], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name=f"ends with {pid}", daemon=True).start()


def first_ancestor_without(variable: str) -> int | None:
    """The nearest process above this one that was not started with this environment variable."""
    import psutil

    with suppress(psutil.Error):
        for process in psutil.Process().parents():
            if variable not in process.environ():
                return int(process.pid)
    return None


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def terminate_below(pid: int) -> int:
    """Ask all processes below `pid`, but not itself, to end; returns how many there are."""
    return _each_below(pid, lambda process: process.terminate())


def sweep() -> list[int]:
    """Kill every process below this one and return the ids of those that did not end."""
    import psutil

    deadline = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < deadline:
        if not _each_below(os.getpid(), lambda process: process.kill()):
            return []
        reap()
        time.sleep(0.02)
    return [process.pid for process in psutil.Process().children(recursive=True)]


def reap() -> dict[int, int]:
    """Exit codes, negative for signals, of children that have ended."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def _each_below(pid: int, act: Callable[[psutil.Process], None]) -> int:
    import psutil

    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    for process in below:
        with suppress(psutil.NoSuchProcess):
            act(process)
    return len(below)
