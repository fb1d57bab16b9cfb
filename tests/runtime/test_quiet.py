"""Native messages stay away from standard error, unless something goes wrong."""

import os
import subprocess
import sys

import pytest

from pipeline.runtime.quiet import native_messages_held_back


def test_what_native_code_writes_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with native_messages_held_back():
        os.write(2, b"INFO: an accelerator\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_what_was_held_back_is_shown_where_it_raises(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), native_messages_held_back():
        os.write(2, b"ERROR: why\n")
        raise ValueError("refused")
    assert capfd.readouterr().err == "ERROR: why\n"


def test_a_process_ends_in_silence() -> None:
    code = (
        "import atexit, os\n"
        "atexit.register(os.write, 2, b'destroyed\\n')\n"
        "from pipeline.runtime.quiet import hold_back_at_exit\n"
        "hold_back_at_exit()\n"
        "os.write(2, b'at work\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "at work\n"
