"""`bardlet serve` as a user has it: Prefect's server, its scheduler, its runner, and a build that it starts."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from pipeline.orchestration.pages import prefect_server
from tests.flow.served import Served, sleeping, until, write
from tests.orchestration import graphs

MARK = str(300_000 + os.getpid())
SECONDS = 5


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("told") / "told.json"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, told: Path) -> Iterator[Served]:
    root = write(tmp_path_factory.mktemp("served") / "workspace", "FAIL", MARK)
    served = Served(root, "release", "x", "--cron", "30 1 * * *", BARDLET_NOTIFY=f"cat > {told}")
    yield served
    served.close()
    for pid in sleeping(MARK):
        os.kill(pid, 9)


def test_the_scheduler_creates_runs_and_one_that_starts_builds_and_leaves_its_traces(
    served: Served, told: Path
) -> None:
    planned = {
        "deployments": {"id": {"any_": [served.nightly]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = served.until("flow_runs/filter", planned, lambda answer: len(answer) > 1)
    assert {run["expected_start_time"][11:16] for run in runs} == {"01:30"}

    run = served.start()
    ended = served.ended(run)
    assert (ended["name"], ended["state_type"]) == ("release, x", "FAILED")
    mine = {"flow_runs": {"id": {"any_": [run]}}}
    tasks = served.until("task_runs/filter", mine, lambda answer: len(answer) == 4)
    states = {task["name"]: task["state_name"] for task in tasks}
    assert states == {"a": "Completed", "x": "Completed", "gate": "Completed", "release": "Failed"}
    logs = served.until("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}}, lambda answer: len(answer) > 5)
    assert any(log["message"] == "runs: never built" for log in logs)
    assert not any("Traceback" in log["message"] for log in logs)

    shown = {artifact["key"]: artifact["data"] for artifact in served.ask("artifacts/filter", mine)}
    assert set(shown) == {"stages", "latency", "sizes", "quality", "verdict"}
    assert shown["verdict"].startswith("# FAIL\n")
    [link] = re.findall(r"\[report\]\((.*?)\)", shown["verdict"])
    with urlopen(link, timeout=30) as page:
        assert page.read() == b"<h1>report</h1>"

    [line] = (served.root / "artifacts/history.jsonl").read_text().splitlines()
    assert (json.loads(line)["verdict"], json.loads(line)["exit_code"]) == ("FAIL", 1)
    message = json.loads(told.read_text())
    assert (message["verdict"], message["text"]) == ("FAIL", "bardlet: a budget is missed")


def test_a_second_serve_of_the_workspace_says_who_runs(served: Served) -> None:
    again = graphs.bardlet(served.root, "serve")
    assert again.returncode == 2
    who = rf"PID {served.process.pid} since \d\d:\d\d:\d\d \(bardlet serve .*\)"
    assert re.fullmatch(f"bardlet: error: `bardlet serve` of this workspace runs already: {who}\n", again.stderr)


@pytest.mark.slow
def test_cancelling_a_nightly_run_ends_its_stages(served: Served) -> None:
    run = served.start(targets=["slow"])
    assert until(lambda: len(sleeping(MARK)) == 2, 120)
    served.cancel(run)
    assert until(lambda: not sleeping(MARK), SECONDS)
    assert served.ended(run)["state_type"] == "CANCELLED"


@pytest.mark.slow
def test_cancelling_the_run_of_a_build_in_a_terminal_ends_it(served: Served) -> None:
    build = subprocess.Popen(
        [sys.executable, "-c", graphs.CLI, "build", "slow"],
        cwd=served.root, env=graphs.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert until(lambda: len(sleeping(MARK)) == 2, 120)
    running = {"flow_runs": {"name": {"any_": ["slow"]}, "state": {"type": {"any_": ["RUNNING"]}}}}
    [run] = served.until("flow_runs/filter", running)
    served.cancel(run["id"])
    assert until(lambda: not sleeping(MARK), SECONDS)
    out, _ = build.communicate(timeout=60)
    assert build.returncode == 130
    assert out.startswith("  cancelled slow in ")
    assert served.ended(run["id"])["state_type"] == "CANCELLED"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_a_serve_that_ends_while_it_builds(tmp_path: Path, how: str) -> None:
    mark = str(400_000 + os.getpid())
    served = Served(write(tmp_path / "workspace", "PASS", mark), "--cron", "off")
    served.start(targets=["slow"])
    assert until(lambda: len(sleeping(mark)) == 2, 120)
    tree = psutil.Process(served.process.pid).children(recursive=True)
    served.process.send_signal(signal.Signals[how])
    assert until(lambda: not sleeping(mark), SECONDS)
    served.process.wait(30)
    # Killed with -9, the process of the flow is left for some seconds: it tries to tell a server that is gone too.
    assert psutil.wait_procs(tree, 30)[1] == []
    assert not prefect_server.note_of(served.root).exists() or how == "SIGKILL"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timezone", "Mars/Olympus"], "--timezone 'Mars/Olympus': no such time zone"),
        (["--cron", "at night"], "--cron 'at night': "),
    ],
)
def test_a_wrong_schedule_is_said_before_anything_starts(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = graphs.bardlet(graphs.write(tmp_path / "workspace", {"a": ()}), "serve", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
