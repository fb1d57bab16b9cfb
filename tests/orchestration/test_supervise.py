"""A supervisor and its worker, with a job that needs no DVC."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.orchestration.graphs import ROOT, environment

SUPERVISE = """
import os, socket, sys, time
from pipeline.orchestration.run.supervise import supervise

def work(job, say):
    print("begins", flush=True)
    if "long" in job:
        say({"why": ["x" * job["long"]]})
        print("between", flush=True)
    if "sleep" in job:
        time.sleep(job["sleep"])
    if "signal" in job:
        os.kill(os.getpid(), job["signal"])
    if "error" in job:
        raise ValueError(job["error"])
    say({"answer": {"pid": os.getpid()}})

supervise(socket.socket(fileno=int(sys.argv[1])), work)
"""


class Supervised:
    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(theirs.fileno())],
            cwd=ROOT,
            env=environment(),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def does(self, **job: Any) -> list[dict[str, Any]]:
        self.ours.sendall(json.dumps(job).encode() + b"\n")
        with self.ours.makefile() as lines:
            return [json.loads(line) for line in lines]


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    supervised = Supervised()
    yield supervised
    supervised.ours.close()
    supervised.process.wait(10)


def test_a_job_is_done_in_another_process_and_said_line_by_line(supervised: Supervised) -> None:
    begins, answer, done = sorted(supervised.does(), key=list)
    assert {"log": "begins"} in (begins, answer, done)
    answers = [message["answer"] for message in (begins, answer, done) if "answer" in message]
    assert answers
    assert answers[0]["pid"] not in (os.getpid(), supervised.process.pid)
    assert {"done": 0, "stopped": None} in (begins, answer, done)


def test_long_answers_are_not_mixed_with_logs(supervised: Supervised) -> None:
    messages = supervised.does(long=1_000_000)
    assert {"why": ["x" * 1_000_000]} in messages
    assert {"log": "between"} in messages


def test_the_time_limit_ends_the_worker(supervised: Supervised) -> None:
    messages = supervised.does(sleep=1000, time_limit_s=0.3)
    assert messages[-1]["stopped"] == "time limit"


def test_an_error_of_the_worker_is_logged(supervised: Supervised) -> None:
    messages = supervised.does(error="what it was")
    assert messages[-1] == {"done": 1, "stopped": None}
    assert any("what it was" in message.get("log", "") for message in messages)


def test_a_killed_worker_is_said(supervised: Supervised) -> None:
    assert supervised.does(signal=9)[-1] == {"done": -9, "stopped": None}


def test_a_build_that_wants_no_more_is_obeyed(supervised: Supervised) -> None:
    supervised.ours.sendall(json.dumps({"sleep": 1000}).encode() + b"\n")
    with supervised.ours.makefile() as lines:
        assert json.loads(lines.readline()) == {"log": "begins"}
        supervised.ours.shutdown(socket.SHUT_WR)
        *_, done = [json.loads(line) for line in lines]
    assert done["stopped"] == "cancelled"


def test_a_build_that_is_gone_ends_everything(supervised: Supervised) -> None:
    supervised.ours.sendall(json.dumps({"sleep": 1000}).encode() + b"\n")
    assert supervised.ours.recv(100)
    supervised.ours.close()
    supervised.process.wait(5)


def test_no_job_is_no_error(supervised: Supervised) -> None:
    supervised.ours.shutdown(socket.SHUT_WR)
    assert supervised.process.wait(10) == 0
