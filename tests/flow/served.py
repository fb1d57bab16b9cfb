"""A workspace whose gate has something to say, and `bardlet serve` on it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from pipeline.orchestration.pages import prefect_server, web
from tests.orchestration import graphs
from tests.report import made_up

# The gate copies a made-up verdict; the release is refused as in the fleet.
GATE = """
  gate:
    cmd: mkdir -p artifacts/gate && cp verdict.json artifacts/gate/verdict.json
    deps: [verdict.json, a.txt]
    outs: [artifacts/gate/verdict.json]
  release:
    cmd: head -c 20 artifacts/gate/verdict.json | grep -q PASS && touch released.txt
    deps: [artifacts/gate/verdict.json]
    outs: [released.txt]
"""
# Two processes, one of them in a session of its own; the stage never ends by itself.
SLOW = """
  slow:
    cmd: (setsid sleep {mark} &); sleep {mark}
    outs: [slow.txt]
"""


def write(root: Path, verdict: str, mark: str) -> Path:
    graphs.write(root, {"a": (), "x": ()})
    made_up.write(root / "verdict.json", made_up.verdict_of(verdict))
    with (root / "dvc.yaml").open("a") as stream:
        stream.write(GATE + SLOW.format(mark=mark))
    report = root / "artifacts/report/index.html"
    report.parent.mkdir(parents=True)
    report.write_text("<h1>report</h1>")
    return root


def sleeping(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == ["sleep", mark]:
            found.append(process.pid)
    return found


def until(reached: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.05)
    return reached()


class Served:
    """A running `bardlet serve` and its API."""

    def __init__(self, root: Path, *arguments: str, **environment: str) -> None:
        self.root = root
        self.port = prefect_server.free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", graphs.CLI, "serve", "--port", str(self.port), *arguments],
            cwd=root,
            env={**graphs.environment(), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=graphs.heed_interrupts,
        )
        self.nightly = self.until("deployments/name/build/nightly")["id"]
        # Starting, the runner makes the deployment anew and drops what was asked of it.
        self.until(f"deployments/{self.nightly}", good=lambda answer: answer["status"] == "READY")

    def ask(self, path: str, content: object | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=30) as answer:
            return json.load(answer)

    def until(
        self,
        path: str,
        content: object | None = None,
        good: Callable[[Any], Any] = bool,
        seconds: float = 60,
    ) -> Any:
        """The first answer that is `good`."""
        deadline = time.monotonic() + seconds
        answer: Any = None
        while True:
            try:
                answer = self.ask(path, content)
                if good(answer):
                    return answer
            except OSError as error:
                answer = error
            assert time.monotonic() < deadline, f"{path}: last answer {answer}"
            assert self.process.poll() is None, "bardlet serve ended"
            time.sleep(0.2)

    def start(self, **parameters: object) -> str:
        """Ask for a nightly run as the UI does."""
        content = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
        return str(self.until(f"deployments/{self.nightly}/create_flow_run", content)["id"])

    def cancel(self, run: str) -> None:
        """What the button in the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.ask(f"flow_runs/{run}/set_state", {"state": state, "force": False})

    def ended(self, run: str) -> Any:
        ends = ("FAILED", "COMPLETED", "CANCELLED", "CRASHED")
        return self.until(f"flow_runs/{run}", good=lambda answer: answer["state_type"] in ends)

    def pages(self) -> str:
        found = web.address(self.root)
        assert found
        return found

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
