"""Keeps what an engine's native code writes to standard error away from the terminal.

LiteRT tells of every accelerator that it finds, and of those that it lacks, each time a model is opened and once more
when the process ends. It has no switch for that in Python.
"""

import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def native_messages_held_back() -> Iterator[None]:
    """Hold back what is written to the process's standard error; it is shown after all where the block raises."""
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            os.dup2(kept, _STDERR)
            held.seek(0)
            os.write(_STDERR, held.read())
            raise
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)


def hold_back_at_exit() -> None:
    """Hold back what native code writes while the process ends; what Python registered later still writes."""
    atexit.unregister(_to_nowhere)
    atexit.register(_to_nowhere)


def _to_nowhere() -> None:
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
