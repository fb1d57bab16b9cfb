"""Several machines on one: a Git repository, a DVC remote, a Prefect server, and workers in folders of their own."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from pipeline.orchestration.pages import prefect_server
from tests.orchestration import graphs

MARK = "BARDLET_TEST_WORKER"


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


class World:
    """A workspace whose commits go to a bare repository, and a folder that is everybody's DVC remote."""

    def __init__(self, root: Path, dvc_yaml: str, files: Mapping[str, str]) -> None:
        self.root = root
        self.bare, self.remote, self.workspace = root / "bare.git", root / "remote", root / "workspace"
        self.workspace.mkdir(parents=True)
        git(root, "init", "--quiet", "--bare", "-b", "main", "bare.git")
        git(self.workspace, "init", "--quiet", "-b", "main")
        git(self.workspace, "remote", "add", "origin", str(self.bare))
        config = f"[core]\n    analytics = false\n    remote = all\n['remote \"all\"']\n    url = {self.remote}\n"
        ignored = "*.txt\n*.json\n.prefect\n"
        given = {
            ".dvc/config": config,
            ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
            ".gitignore": ignored,
            "dvc.yaml": dvc_yaml,
        }
        for name, text in {**given, **files}.items():
            (self.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (self.workspace / name).write_text(text)
        self.publish()

    def publish(self) -> None:
        git(self.workspace, "add", "--all")
        git(self.workspace, "commit", "--quiet", "--allow-empty", "--message", "test")
        git(self.workspace, "push", "--quiet", "origin", "main")

    def clone(self, name: str) -> Path:
        git(self.root, "clone", "--quiet", str(self.bare), name)
        return self.root / name


@contextlib.contextmanager
def lasting_server(home: Path) -> Iterator[str]:
    """A Prefect server that outlasts builds; yields its API address."""
    home.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ["PREFECT_HOME"] = str(home)
    prefect_server.set_defaults(home, os.environ)
    try:
        with prefect_server.server(home) as server:
            server.wait()
            yield server.api
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]


class Worker:
    """`bardlet worker` in a process of its own."""

    def __init__(
        self, folder: Path, pool: str, name: str, repository: Path | str, api: str, before: Sequence[str] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.said: list[str] = []
        arguments = ["worker", "--pool", pool, "--name", name, "--folder", str(folder), "--repository", str(repository)]
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", graphs.CLI, *arguments],
            cwd=folder,
            env={**graphs.environment(), "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "prefect"), MARK: name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=graphs.heed_interrupts,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def ready(self) -> "Worker":
        assert until(lambda: any("started!" in line for line in self.said), 60), self.said
        return self

    def left(self) -> list[str]:
        """Everything that still runs on this worker."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
        return found

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.name:
                    process.kill()


def until(reached: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.1)
    return reached()
