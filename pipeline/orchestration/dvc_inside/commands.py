"""A stage's command: who runs it, whether it ran, and how it ended."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dvc.stage.run

from pipeline.orchestration.dvc_inside.errors import causes

# DVC says it in no other way than by this message of this logger.
_CACHE_LOGGER, _RESTORED = "dvc.stage.cache", "is cached - skipping run"
# How the message of DVC's StageCmdFailedError ends.
_EXITED = re.compile(r", exited with (-?\d+)$")


class Listener(logging.Filter):
    """Remembers whether a message was logged."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self.heard = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        self.heard = self.heard or self._words in str(record.msg)
        return True


@contextmanager
def listening_for_restored() -> Iterator[Listener]:
    """While it lasts, `heard` tells whether DVC has restored a stage from the run-cache and not run it."""
    listener, logger = Listener(_RESTORED), logging.getLogger(_CACHE_LOGGER)
    logger.addFilter(listener)
    try:
        yield listener
    finally:
        logger.removeFilter(listener)


@contextmanager
def commands_run_by(run: Callable[[Any], None]) -> Iterator[None]:
    """While it lasts, DVC calls `run` with a stage where it would start a shell with the stage's commands."""

    def run_instead(stage: Any, dry: bool = False, run_env: Mapping[str, str] | None = None) -> None:
        run(stage)

    run_here, dvc.stage.run.cmd_run = dvc.stage.run.cmd_run, run_instead
    try:
        yield
    finally:
        dvc.stage.run.cmd_run = run_here


def exit_status(error: BaseException) -> int | None:
    """The exit status of the command that failed a stage; negative for a signal, None where no command failed."""
    exited = next((match for match in map(_EXITED.search, causes(error)) if match), None)
    return int(exited[1]) if exited else None
