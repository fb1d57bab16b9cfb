"""`bardlet build` as a user calls it: with Prefect and its own server. Each call takes seconds of CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pipeline.build import ephemeral
from tests.build import graphs
from tests.report import made_up

GRAPH = {"a": (), "b": ("a",), "c": ("b",), "x": ()}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return graphs.write(tmp_path / "workspace", GRAPH, {"b": "exit 3"})


def test_wrong_input_is_said_before_prefect_starts(workspace: Path) -> None:
    done = graphs.bardlet(workspace, "build", "aa")
    assert done.returncode == 2
    assert "bardlet: error: no stage 'aa' in dvc.yaml; did you mean 'a'?" in done.stderr


def test_outside_of_a_workspace_it_says_what_is_missing(tmp_path: Path) -> None:
    done = graphs.bardlet(tmp_path, "build")
    assert done.returncode == 2
    assert "dvc.yaml is missing: run this in its folder" in done.stderr


@pytest.mark.slow
def test_a_build_keeps_going_and_ends_with_the_code_of_the_stage_that_failed(workspace: Path) -> None:
    done = graphs.bardlet(workspace, "build", "--jobs", "2")
    assert done.returncode == 3
    assert "[a] runs: never built" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("build: 4 stages: 2 built, 1 failed, 1 skipped in ")
    assert any(line.startswith("  failed    b in ") and "exited with 3" in line for line in lines)
    assert "  skipped   c: b failed" in lines
    assert "Traceback" not in done.stderr
    repaired = (workspace / "dvc.yaml").read_text().replace("exit 3", graphs.command("b", ["a"]))
    (workspace / "dvc.yaml").write_text(repaired)
    again = graphs.bardlet(workspace, "build")
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].startswith("build: 4 stages: 2 built, 2 cached in ")
    assert again.stderr.splitlines()[0] == "build: 4 stages, 2 up to date"


class Served:
    """A running `bardlet serve` and its API."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.api = f"http://127.0.0.1:{ephemeral.free_port()}/api"
        port = self.api.split(":")[2].removesuffix("/api")
        self.process = subprocess.Popen(
            [sys.executable, "-c", graphs.CLI, "serve", "--cron", "0 2 * * *", "--port", port],
            cwd=root,
            env={**graphs.environment(), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=graphs.heed_interrupts,
        )

    def ask(self, path: str, content: object | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = Request(f"{self.api}/{path}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def until(self, path: str, content: object | None, good: Any, seconds: float = 120) -> Any:
        """The first answer that is `good`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self.ask(path, content)
            except OSError:
                answer = None
            if answer is not None and good(answer):
                return answer
            assert time.monotonic() < deadline, f"{path}: last answer {answer}"
            assert self.process.poll() is None, "bardlet serve ended"
            time.sleep(0.5)


@pytest.fixture
def served(workspace: Path, tmp_path: Path) -> Iterator[Served]:
    made_up.write(workspace / "artifacts/gate/verdict.json", made_up.verdict_of("FAIL"))
    served = Served(workspace, {"BARDLET_NOTIFY": f"cat > {tmp_path}/told"})
    yield served
    served.process.send_signal(signal.SIGINT)
    try:
        served.process.wait(30)
    finally:
        served.process.kill()


@pytest.mark.slow
def test_the_nightly_build_is_scheduled_runs_and_leaves_its_traces(served: Served, tmp_path: Path) -> None:
    # A stage that stands for the gate of the fleet, and keeps the made-up verdict.
    dvc = (served.root / "dvc.yaml").read_text()
    (served.root / "dvc.yaml").write_text(dvc + "  gate:\n    cmd: touch gate.txt\n    outs: [gate.txt]\n")
    nightly = served.until("deployments/name/build/nightly", None, lambda answer: answer.get("id"))
    scheduled = {
        "deployments": {"id": {"any_": [nightly["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = served.until("flow_runs/filter", scheduled, lambda answer: len(answer) > 1)
    assert all(run["expected_start_time"][11:16] == "02:00" for run in runs)

    run = served.ask(f"deployments/{nightly['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    ended = served.until(f"flow_runs/{run['id']}", None, lambda answer: answer["state_type"] in ("FAILED", "COMPLETED"))
    assert ended["state_type"] == "FAILED"
    assert "1 failed, 1 skipped" in ended["state"]["message"]

    mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    tasks = served.until("task_runs/filter", mine, lambda answer: len(answer) == 5)
    states = {task["name"]: task["state_name"] for task in tasks}
    assert states == {"a": "Completed", "b": "Failed", "c": "Skipped", "x": "Completed", "gate": "Completed"}
    artifacts = served.ask("artifacts/filter", mine)
    assert {artifact["key"] for artifact in artifacts} == {"latency", "sizes", "quality", "verdict"}

    [line] = (served.root / "artifacts/history.jsonl").read_text().splitlines()
    assert json.loads(line)["verdict"] == "FAIL"
    assert json.loads(line)["exit_code"] == 3
    told = json.loads((tmp_path / "told").read_text())
    assert told["exit_code"] == 3
    logs = served.until("logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}}, bool)
    assert any("exited with 3" in log["message"] for log in logs)


@pytest.mark.slow
def test_a_build_reports_to_the_running_server_and_its_cancelled_run_leaves_nothing(served: Served) -> None:
    mark = str(300_000 + os.getpid())
    dvc = (served.root / "dvc.yaml").read_text()
    (served.root / "dvc.yaml").write_text(dvc + f"  slow:\n    cmd: sleep {mark}\n    outs: [slow.txt]\n")
    nightly = served.until("deployments/name/build/nightly", None, lambda answer: answer.get("id"))
    content = {"state": {"type": "SCHEDULED"}, "parameters": {"targets": ["slow"]}}
    run = served.ask(f"deployments/{nightly['id']}/create_flow_run", content)
    deadline = time.monotonic() + 120
    while not (found := _sleeping(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found
    served.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    served.until(f"flow_runs/{run['id']}", None, lambda answer: answer["state_type"] == "CANCELLED")
    deadline = time.monotonic() + 5
    while _sleeping(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _sleeping(mark)
    done = graphs.bardlet(served.root, "build", "a")
    assert done.returncode == 0
    names = [one["name"] for one in served.ask("flow_runs/filter", {"sort": "START_TIME_DESC"})]
    assert len(names) >= 2


def _sleeping(mark: str) -> list[str]:
    done = subprocess.run(["pgrep", "-f", f"^sleep {mark}$"], capture_output=True, text=True)
    return done.stdout.split()
