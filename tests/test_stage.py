"""A stage's command line and the exit codes of its errors."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline import stage
from pipeline.errors import BudgetError, ExitCode, InconclusiveError, InputError, IntegrityError, StageError
from pipeline.runtime.errors import ReleaseError, RuntimeInputError, TamperedError
from tests.orchestration import graphs

ROOT = Path(__file__).parents[1]
STAGE = """
from pipeline.errors import IntegrityError
from pipeline import stage

def run(model: str, engine: str) -> None:
    if model == "broken":
        raise IntegrityError("model.safetensors: truncated")
    if model == "bug":
        raise KeyError("weights")
    print(f"{model} for {engine}")

stage.main(run, ("MODEL", "ENGINE"))
"""


@pytest.fixture
def run_stage(tmp_path: Path):  # type: ignore[no-untyped-def]
    script = tmp_path / "convert.py"
    script.write_text(STAGE)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        code = f"import runpy, sys; sys.argv[0] = {str(script)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
        return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)

    return run


def test_arguments_are_handed_on(run_stage) -> None:  # type: ignore[no-untyped-def]
    done = run_stage("docs-embed", "tflite")
    assert (done.returncode, done.stdout) == (0, "docs-embed for tflite\n")


@pytest.mark.parametrize("arguments", [[], ["docs-embed"], ["a", "b", "c"], ["docs-embed", "--fast"]])
def test_a_wrong_command_line_shows_the_usage(run_stage, arguments: list[str]) -> None:  # type: ignore[no-untyped-def]
    done = run_stage(*arguments)
    assert done.returncode == ExitCode.BAD_INPUT
    assert "expected MODEL ENGINE, got " in done.stderr
    assert "usage: python -m stages.convert MODEL ENGINE [--debug]" in done.stderr


def test_an_error_is_one_line_and_its_exit_code(run_stage) -> None:  # type: ignore[no-untyped-def]
    done = run_stage("broken", "tflite")
    assert done.returncode == ExitCode.INTEGRITY
    assert done.stderr == "stages.convert broken tflite: error: model.safetensors: truncated\n"


def test_a_bug_is_named_and_debug_shows_its_traceback(run_stage) -> None:  # type: ignore[no-untyped-def]
    quiet = run_stage("bug", "tflite")
    assert quiet.returncode == ExitCode.BROKEN
    assert quiet.stderr == (
        "stages.convert bug tflite: error: unexpected KeyError: 'weights' (--debug shows the traceback)\n"
    )
    loud = run_stage("bug", "tflite", "--debug")
    assert loud.returncode == ExitCode.BROKEN
    assert "Traceback" in loud.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BudgetError("x"), 1),
        (InputError("x"), 2),
        (InconclusiveError("x"), 3),
        (IntegrityError("x"), 4),
        (StageError("x"), 5),
        (RuntimeInputError("x"), 2),
        (TamperedError("x"), 4),
        (ReleaseError("x"), 5),
        (ValueError("x"), 5),
        (PermissionError(13, "Permission denied", "artifacts"), 5),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    def fail() -> None:
        raise error

    assert stage.guard(fail, "bardlet", debug=False) == code


def test_a_refused_file_is_named() -> None:
    assert stage.describe(PermissionError(13, "Permission denied", "artifacts")).startswith(
        "artifacts: Permission denied"
    )


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert stage.guard(interrupted, "bardlet", debug=False) == 130
    assert capsys.readouterr() == ("", "")


def test_a_returned_exit_code_is_kept() -> None:
    assert stage.guard(lambda: ExitCode.INCONCLUSIVE, "bardlet", debug=False) == 3
    assert stage.guard(lambda: True, "bardlet", debug=False) == 0
    assert stage.guard(lambda: {"report": 1}, "bardlet", debug=False) == 0


SLEEPS = """
import os, pathlib, time
from pipeline import stage

def run() -> None:
    pathlib.Path("pid").write_text(f"{os.getpid()}\\n")
    time.sleep(600)

stage.main(run, ())
"""


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_killed_dvc_repro_takes_its_stage_along(tmp_path: Path, shell: str) -> None:
    root = graphs.write(tmp_path / "workspace", {"s": ()}, {"s": f"{sys.executable} sleeps.py"})
    (root / "sleeps.py").write_text(SLEEPS)
    environment = {**graphs.environment(), "SHELL": shell}
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=root, env=environment)
    note = root / "pid"
    _until(lambda: note.exists() and note.read_text().endswith("\n"), 60)
    own = psutil.Process(int(note.read_text()))
    assert own.is_running()
    dvc.kill()
    dvc.wait()
    assert _until(lambda: not own.is_running(), 5)


def test_a_stage_that_a_person_started_outlives_its_shell(tmp_path: Path) -> None:
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    environment = {name: value for name, value in graphs.environment().items() if name != "DVC_STAGE"}
    subprocess.run(["/bin/sh", "-c", f"{sys.executable} sleeps.py & sleep 0.1"], cwd=tmp_path, env=environment)
    note = tmp_path / "pid"
    assert _until(lambda: note.exists() and note.read_text().endswith("\n"), 60)
    os.kill(int(note.read_text()), 9)


def _until(reached, seconds: float) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(reached())
