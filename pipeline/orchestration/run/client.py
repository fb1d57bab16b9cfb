"""Talks to a build's server, and through it to the supervisors that the server forks."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.errors import StageError

# Takes one line for a person.
Tell = Callable[[str], None]
ENOUGH_SECONDS = 5


@dataclass(frozen=True)
class JobResult:
    """How a job ended.

    Attributes:
        answer: what the job answered; None where it gave no answer.
        error: the job's error, with its `exit_code`; None where it had none.
        exit_code: of the child; negative for a signal; None if its supervisor was killed.
        stopped: why the supervisor ended the child, "cancelled" or "time limit"; None if it ended by itself.
    """

    answer: dict[str, Any] | None
    error: dict[str, Any] | None
    exit_code: int | None
    stopped: str | None


class BuildServer:
    """Starts `pipeline.orchestration.run.server` and gives it jobs, from any thread."""

    def __init__(self, root: Path, keep: tuple[int, ...] = ()) -> None:
        self._control, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), *keep)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.orchestration.run.server", *map(str, descriptors)],
            cwd=root,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            # Ctrl-C in the terminal is for the build alone, which then ends its stages.
            start_new_session=True,
        )
        theirs.close()
        self._lock = threading.Lock()
        self._jobs: set[socket.socket] = set()
        self._cancelled = False

    def run(self, job: Mapping[str, Any], listen: Callable[[Mapping[str, Any]], None]) -> JobResult:
        """Have a job done and wait for its end.

        Args:
            job: what `pipeline.orchestration.run.dvc_job.do` takes.
            listen: gets every message on the way: {"log": LINE}, {"why": [REASON…]}.

        Raises:
            StageError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                if self._cancelled:
                    return JobResult(None, None, None, "cancelled")
                self._jobs.add(ours)
                socket.send_fds(self._control, [b"j"], [theirs.fileno()])
            theirs.close()
            ours.sendall(json.dumps(dict(job)).encode() + b"\n")
            return _listen(ours, listen)
        except OSError as error:
            raise StageError(f"the build's own server process ended: {error.strerror}") from error
        finally:
            theirs.close()
            with self._lock:
                self._jobs.discard(ours)
                ours.close()

    def cancel(self) -> None:
        """End all jobs and refuse those that come later; returns at once."""
        with self._lock:
            self._cancelled = True
            for job in self._jobs:
                # One that has just ended is no longer connected.
                with suppress(OSError):
                    job.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let the server end."""
        self._control.close()
        try:
            self._process.wait(ENOUGH_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self.close()


def _listen(connection: socket.socket, listen: Callable[[Mapping[str, Any]], None]) -> JobResult:
    answer: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    with connection.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if "done" in message:
                return JobResult(answer, error, message["done"], message["stopped"])
            if "answer" in message:
                answer = message["answer"]
            elif "error" in message:
                error = message
            else:
                listen(message)
    return JobResult(answer, error, None, None)
