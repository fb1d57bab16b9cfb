"""Telling how far the benchmark is: a bar on a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0


class BenchmarkProgress:
    """Counts steps; safe to call from several lanes.

    The bar is drawn only when a step ends: a refresh thread would wake up on a core that is being timed.
    """

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._done, self._total = 0, total
        self._start = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("benchmark"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=total)

    def advance(self, what: str, steps: int = 1) -> None:
        """Count `steps` as done; `what` was done last."""
        with self._lock:
            self._done += steps
            if not self._bar.disable:
                self._bar.update(self._task, advance=steps, description=what, refresh=True)
            elif (now := time.monotonic()) - self._last_line >= _LINE_EVERY_S or self._done == self._total:
                self._last_line = now
                elapsed = now - self._start
                left = elapsed / max(self._done, 1) * (self._total - self._done)
                self._print(f"benchmark {self._done}/{self._total} {what}, {elapsed:.0f} s, about {left:.0f} s left")

    def say(self, line: str) -> None:
        """Print a line beside the bar."""
        with self._lock:
            if self._bar.disable:
                self._print(line)
            else:
                self._bar.console.print(line, markup=False, highlight=False)

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
