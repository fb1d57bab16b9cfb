"""Progress as plain lines where there is no terminal, and as a bar where there is one."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import progress

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (120, 480, 15.0, "distill docs-embed: 120/480 steps, 8 steps/s, 0:45 left"),
        (1, 3, 60.0, "distill docs-embed: 1/3 steps, 0.0167 steps/s, 2:00 left"),
        (100, 200000, 1.0, "distill docs-embed: 100/200000 steps, 100 steps/s, 33:19 left"),
        (10, 40000, 1.0, "distill docs-embed: 10/40000 steps, 10 steps/s, 1:06:39 left"),
        (480, 480, 60.0, "distill docs-embed: 480/480 steps, 8 steps/s"),
        (0, 480, 0.0, "distill docs-embed: 0/480 steps, 0 steps/s"),
    ],
)
def test_a_line_has_count_rate_and_time_left(done: int, total: int, seconds: float, line: str) -> None:
    assert progress.progress_line("distill docs-embed", "steps", done, total, seconds) == line


def test_a_short_loop_without_a_terminal_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("abc"), 3, "read", "files")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("read: 3/3 files, ")
    assert captured.err.count("\n") == 1


def test_a_long_loop_shows_lines_between(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    list(progress.track(range(3), 3, "read", "files"))
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "read: 1/3 files",
        "read: 2/3 files",
        "read: 3/3 files",
    ]


def test_an_empty_loop_is_done_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([], 0, "read", "files")) == []
    assert capsys.readouterr().err == "read: 0/0 files, 0 files/s\n"


def test_an_error_in_the_loop_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        for number in progress.track(range(3), 3, "read", "files"):
            _ = 1 // number


def test_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    progress.note("teacher: from the package")
    assert capsys.readouterr() == ("", "teacher: from the package\n")


def test_a_terminal_gets_a_bar() -> None:
    controller, terminal = pty.openpty()
    code = "from pipeline.progress import track\nprint(sum(track(range(4), 4, 'read', 'files')))"
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True
    )
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert done.stdout == b"6\n"
    assert "read" in shown
    assert "4/4" in shown
    assert "files/s" in shown
