"""The null engine: it computes nothing, so that a test sees the harness alone, or it fails the way a test asks.

The model file of this engine is one line of text: a moment (`loading` or `running`) and what happens then:
`segfault`, `kill`, `hang` or `raise`; `nothing` at any moment is a model that works.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.session import Inputs, State

ENGINE = "null"
_FOREVER_S = 3600.0


class NullSession:
    """A session of the null engine."""

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour

    def run(self, inputs: Inputs, state: State | None = None) -> NDArray[np.float32]:
        """Return zeros, float32 [batch, 1], or fail as the model file says."""
        if self._behaviour:
            _act(self._behaviour)
        batch = len(next(iter(inputs.values())))
        return np.zeros((batch, 1), dtype=np.float32)

    def new_state(self) -> None:
        """None: nothing is carried from call to call."""


def open_null(path: Path) -> NullSession:
    """Load a null model.

    Raises:
        RuntimeError: the model file asks for `loading raise`.
    """
    moment, behaviour = path.read_text(encoding="utf-8").split()
    if moment == "loading":
        _act(behaviour)
    return NullSession(behaviour if moment == "running" else "")


def _act(behaviour: str) -> None:
    if behaviour == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == "hang":
        time.sleep(_FOREVER_S)
    elif behaviour == "raise":
        raise RuntimeError("the null engine was told to raise")
