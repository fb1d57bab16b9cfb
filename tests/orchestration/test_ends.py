"""However a build ends, its stages end with it, and the next build goes on from there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.orchestration.plan.schedule import StageOutcome
from tests.orchestration import graphs

GRAPH = {"a": (), "slow": ("a",), "other": ("a",)}
SECONDS = 5


def slow(name: str, mark: str) -> str:
    """A stage with a child, and a grandchild in a session of its own; its first run takes for ever."""
    forever = f"(setsid sleep {mark} &); sleep {mark} & echo started-{name}; wait"
    return f"if test -e hurry; then {graphs.command(name, ['a'])}; else {forever}; fi"


class Running:
    """A build whose two slow stages have started."""

    def __init__(self, root: Path, mark: str, arguments: list[str]) -> None:
        self.root, self.mark = root, mark
        self.process = subprocess.Popen(
            arguments,
            cwd=root,
            env=graphs.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=graphs.heed_interrupts,
        )
        self._until(lambda: len(self.stages()) == 4, 120)
        self.tree = {process.pid: process.cmdline() for process in self._own().children(recursive=True)}

    def _own(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def _until(self, reached: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not reached() and time.monotonic() < deadline:
            time.sleep(0.05)
        return reached()

    def stages(self) -> list[int]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == ["sleep", self.mark]:
                found.append(process.pid)
        return found

    def left(self) -> list[int]:
        """What still runs of the build 5 seconds later."""
        self._until(lambda: not self.stages() and not self._others(), SECONDS)
        return self.stages() + self._others()

    def _others(self) -> list[int]:
        found = []
        for pid, command in self.tree.items():
            # Zombies have ended; whoever is init here has not asked for their codes yet.
            with suppress(psutil.Error):
                if psutil.Process(pid).cmdline() == command:
                    found.append(pid)
        return found

    def workers(self) -> list[int]:
        """The processes that do DVC's work: they lead the sessions of the stages."""
        stages = self.stages()
        return sorted({os.getsid(pid) for pid in stages} - set(stages))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in self.stages():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    mark = str(100_000 + os.getpid())
    commands = {name: slow(name, mark) for name in ("slow", "other")}
    return graphs.write(tmp_path / "workspace", GRAPH, commands)


@pytest.fixture
def running(workspace: Path) -> Iterator[Running]:
    build = Running(
        workspace, str(100_000 + os.getpid()), [sys.executable, "-m", "tests.orchestration.graphs", str(workspace)]
    )
    yield build
    build.close()


def resumes(root: Path) -> bool:
    (root / "hurry").touch()
    results, _ = graphs.build(root)
    return {name: result.outcome for name, result in results.items()} == {
        "a": StageOutcome.CACHED,
        "slow": StageOutcome.BUILT,
        "other": StageOutcome.BUILT,
    }


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_build_that_is_killed(running: Running, how: signal.Signals) -> None:
    running.process.send_signal(how)
    running.process.wait(SECONDS)
    assert running.left() == []
    assert resumes(running.root)


def test_a_killed_dvc_takes_its_stage_along_and_fails(running: Running) -> None:
    for worker in running.workers():
        os.kill(worker, signal.SIGKILL)
    assert running.process.wait(SECONDS) == 5
    assert running.left() == []
    assert resumes(running.root)


def test_a_killed_supervisor_takes_its_stage_along(running: Running) -> None:
    supervisors = {psutil.Process(worker).ppid() for worker in running.workers()}
    assert len(supervisors) == 2
    for supervisor in supervisors:
        os.kill(supervisor, signal.SIGKILL)
    assert running.process.wait(SECONDS) == 5


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_a_flow_that_is_killed(workspace: Path, how: signal.Signals) -> None:
    running = Running(workspace, str(100_000 + os.getpid()), [sys.executable, "-c", graphs.CLI, "build"])
    try:
        running.process.send_signal(how)
        code = running.process.wait(20)
        assert running.left() == []
        assert code == (-signal.SIGKILL if how is signal.SIGKILL else 130)
    finally:
        running.close()
    assert resumes(workspace)
