"""A measuring child seen from outside: commands with deadlines, and how it died.

The parent sleeps in select() while the child measures: it takes no time from the cores that are being timed.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_STDERR_TAIL_CHARS = 400
_READ_BYTES = 1 << 16
# `pipeline` is importable in the child wherever the parent was started.
_ROOT = Path(__file__).resolve().parents[2]


class WorkerError(Exception):
    """A child crashed, hung or reported an error.

    Attributes:
        signal_name: the signal that killed the child, such as `SIGSEGV`; `None` when none did.
    """

    def __init__(self, message: str, signal_name: str | None = None) -> None:
        super().__init__(message)
        self.signal_name = signal_name


class Worker:
    """A child process of `pipeline.benchmark.child`; a context manager that leaves no process behind."""

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # The same process group as the parent's: whoever ends the group ends the children with it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.benchmark.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.getenv("PYTHONPATH")]))},
        )
        self._pending = b""

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any], doing: str, timeout_s: float) -> dict[str, Any]:
        """Send one command and wait for its reply.

        Args:
            message: see `pipeline.benchmark.child`.
            doing: what the child does meanwhile, for the message when it fails: "loading".
            timeout_s: seconds after which the child counts as hung and is killed.

        Raises:
            WorkerError: killed by a signal, exited, hung, or answered with an error.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
            line = self._read_line(timeout_s)
        except TimeoutError:
            self._process.kill()
            self._process.wait()
            raise WorkerError(f"hung while {doing}: killed after {timeout_s:g} s (benchmark.load_timeout_s)") from None
        except (BrokenPipeError, EOFError):
            raise self._death(doing) from None
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"failed while {doing}: {reply['error']}")
        return reply

    def _read_line(self, timeout_s: float) -> bytes:
        """Read up to a newline from the child; TimeoutError, or EOFError when the child is gone."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        pieces = [self._pending]
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in pieces[-1]:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError
                if not (piece := os.read(descriptor, _READ_BYTES)):
                    raise EOFError
                pieces.append(piece)
        line, _, self._pending = b"".join(pieces).partition(b"\n")
        return line

    def _death(self, doing: str) -> WorkerError:
        code = self._process.wait()
        self._stderr.seek(0)
        tail = self._stderr.read().decode("utf-8", errors="replace").strip()[-_STDERR_TAIL_CHARS:]
        said = f"; its last words: {tail}" if tail else ""
        if code < 0:
            name = signal.Signals(-code).name
            return WorkerError(f"killed by {name} while {doing}{said}", name)
        return WorkerError(f"exited with code {code} while {doing}{said}")

    def close(self) -> None:
        """End the child; its replies are all in, so nothing is lost by killing it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
