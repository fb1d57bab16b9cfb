"""Ctrl-C that is noticed between two tokens, so that no call of an engine is torn apart."""

import signal
from types import FrameType
from typing import Any


class Interrupt:
    """While it is entered, the first Ctrl-C is only remembered; a second one interrupts as usual.

    Attributes:
        came: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
