"""The supervisor of one job: a process that runs the job in a child with its own session and leaves nothing behind.

It hands on what the child and the stage print, and it watches the build. It ends every process below it when the build
goes away, when the child ends, or when the time limit is over. If the supervisor itself is killed, the kernel ends its
child: `processes.end_with_parent`.
"""

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from pipeline import processes

# What is told to end gets this long; with `processes.sweep` it stays below 5 seconds.
GRACE_SECONDS = 1.5
_CHUNK_BYTES = 1 << 16
_PAUSE_SECONDS = 0.2

Work = Callable[[Mapping[str, Any], Callable[[Mapping[str, Any]], None]], None]


def supervise(connection: socket.socket, work: Work, close: tuple[int, ...] = ()) -> None:
    """Read a job from `connection`, do it in a child, and write what happens as JSON lines.

    {"log": LINE}, whatever `work` says, and at the end {"done": EXIT_CODE, "stopped": WHY}, where the code is negative
    for a signal and WHY is null, "cancelled" or "time limit".

    Args:
        connection: its end is the sign to stop.
        work: does the job; runs in the child.
        close: descriptors that the child must not keep.
    """
    job = _read_job(connection)
    if job is not None:
        _Supervisor(connection, job).run(work, close)


def _read_job(connection: socket.socket) -> dict[str, Any] | None:
    received = b""
    while not received.endswith(b"\n"):
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk:
            return None
        received += chunk
    job: dict[str, Any] = json.loads(received)
    return job


class _Supervisor:
    def __init__(self, connection: socket.socket, job: Mapping[str, Any]) -> None:
        self._connection = connection
        self._job = job
        self._selector = selectors.DefaultSelector()
        self._exit_code: int | None = None
        self._stopped: str | None = None
        self._rest = b""
        self._said = b""

    def run(self, work: Work, close: tuple[int, ...]) -> None:
        """Do the job and report it."""
        processes.adopt_orphans()
        woken = self._wake_on_child()
        output, child_output = os.pipe()
        report, child_report = os.pipe()
        self._child = self._fork(work, child_output, child_report, (*close, output, report))
        os.close(child_output)
        os.close(child_report)
        for source, act in (
            (woken, self._child_ended),
            (output, self._forward_output),
            (report, self._forward_report),
            (self._connection.fileno(), self._build_spoke),
        ):
            self._selector.register(source, selectors.EVENT_READ, act)
        self._watch()
        left = processes.sweep()
        self._drain(output, self._forward_output)
        self._drain(report, self._forward_report)
        if left:
            self._send({"log": f"these processes do not end: {left}"})
        self._send({"done": self._exit_code, "stopped": self._stopped})

    def _fork(self, work: Work, output: int, report: int, close: tuple[int, ...]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            processes.end_with_parent(parent)
            for descriptor in (self._connection.fileno(), *close):
                os.close(descriptor)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            with os.fdopen(report, "w", encoding="utf-8") as stream:

                def say(message: Mapping[str, Any]) -> None:
                    stream.write(json.dumps(message) + "\n")
                    stream.flush()

                work(self._job, say)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)

    def _wake_on_child(self) -> int:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader

    def _watch(self) -> None:
        limit = self._job.get("time_limit_s")
        deadline = None if limit is None else time.monotonic() + limit
        while self._exit_code is None and self._stopped is None:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                self._stopped = "time limit"
            else:
                self._step(remaining)
        if self._exit_code is None:
            self._let_end()
        elif self._exit_code < 0:
            self._let_rest_end()

    def _let_end(self) -> None:
        """End the stage's processes and let DVC give its locks back; `sweep` kills what is left."""
        processes.terminate_below(self._child)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._exit_code is None and time.monotonic() < deadline:
            self._step(deadline - time.monotonic())

    def _let_rest_end(self) -> None:
        """The child was killed. Let what it had started end by itself: one that asked a pool cancels its run there."""
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and processes.terminate_below(os.getpid()):
            self._step(_PAUSE_SECONDS)

    def _step(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if not key.data(key.fd):
                self._selector.unregister(key.fd)

    def _child_ended(self, source: int) -> bool:
        os.read(source, _CHUNK_BYTES)
        self._exit_code = processes.reap().get(self._child, self._exit_code)
        return True

    def _build_spoke(self, _: int) -> bool:
        # The build sends nothing after its job, so this says that it was cancelled or has ended.
        self._stopped = self._stopped or "cancelled"
        return False

    def _forward_output(self, source: int) -> bool:
        chunk = os.read(source, _CHUNK_BYTES)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not chunk and self._rest:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            # Only the last state of a progress bar is kept.
            text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", errors="replace")
            self._send({"log": text})
        return bool(chunk)

    def _forward_report(self, source: int) -> bool:
        chunk = os.read(source, _CHUNK_BYTES)
        # Whole lines only, so that no log line comes between.
        whole, newline, self._said = (self._said + chunk).rpartition(b"\n")
        self._send_bytes(whole + newline)
        return bool(chunk)

    def _drain(self, source: int, forward: Callable[[int], bool]) -> None:
        os.set_blocking(source, False)
        try:
            while forward(source):
                pass
        except BlockingIOError:
            pass

    def _send(self, message: Mapping[str, Any]) -> None:
        self._send_bytes(json.dumps(message).encode() + b"\n")

    def _send_bytes(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            self._stopped = self._stopped or "cancelled"
