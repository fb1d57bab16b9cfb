"""What `bardlet build` costs and keeps, on made-up graphs.

    python -m benchmarks.orchestration [lock] [sleep] [noop] [kill] [repro] [two] [share] [--rounds N]

lock   dvc.lock after `bardlet build --jobs 4` and after `dvc repro`, for random graphs of up to 40 stages
sleep  25 independent stages that sleep 1 s: `bardlet build --jobs 8` against `dvc repro`
noop   nothing to do: `bardlet build` against `dvc repro`, with a new database of Prefect and with an old one
kill   processes that are left 5 s after an end at a random moment: kill -9 of the flow or of DVC's process, Ctrl-C,
       and a cancelled run, by the request that the UI's button sends
repro  the same after a kill -9 of a plain `dvc repro`, whose stages are this project's: `pipeline.stage.main`
two    two builds of one workspace at once
share  a second clone with the shared cache, on the same machine and on another: what is built and what restored

Everything runs in a folder for temporary files, by the commands that a user types. `lock`, `kill` and `two` report to
one Prefect server and run four rounds at once. `sleep` and `noop` start a server a build, as a user without one does.
Prints JSON lines.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

import psutil

from pipeline.orchestration.pages import prefect_server
from tests.orchestration import graphs

MARK = "BARDLET_BENCHMARK_MARK"
KILL_SECONDS = 5
CANCELLED = "cancelled in the UI"
KINDS = ("kill -9 of the flow", "Ctrl-C", "kill -9 of DVC's process", CANCELLED)
AT_ONCE = 4
T = TypeVar("T")


def show(row: str, **figures: object) -> None:
    print(json.dumps({"row": row, **figures}), flush=True)


def timed(arguments: list[str], root: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    begin = time.perf_counter()
    done = subprocess.run(arguments, cwd=root, env=dict(environment), capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} in {root} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout + done.stderr


def bardlet(*arguments: str) -> list[str]:
    return [sys.executable, "-c", graphs.CLI, *arguments]


DVC = [sys.executable, "-m", "dvc", "repro"]


@contextlib.contextmanager
def one_server(folder: Path) -> Iterator[dict[str, str]]:
    environment = {**graphs.environment(), "PREFECT_HOME": str(folder / "prefect")}
    prefect_server.set_defaults(folder, environment)
    os.environ.update(environment)
    with prefect_server.server(folder) as server:
        server.wait()
        yield {**environment, "PREFECT_API_URL": server.api}


def side_by_side(rounds: int, once: Callable[[int], T]) -> list[T]:
    """Rounds that measure no time, several at once: more disorder, and less waiting."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(once, range(rounds)))


def lock(folder: Path, rounds: int) -> None:
    with one_server(folder) as environment:

        def once(seed: int) -> tuple[int, bool]:
            graph = graphs.random_graph(seed, most=40)
            serial, parallel = (graphs.write(folder / f"{seed}-{kind}", graph) for kind in ("serial", "parallel"))
            timed(DVC, serial, environment)
            timed(bardlet("build", "--jobs", "4"), parallel, environment)
            return len(graph), (serial / "dvc.lock").read_bytes() == (parallel / "dvc.lock").read_bytes()

        stages, same = zip(*side_by_side(rounds, once), strict=True)
    show("lock", graphs=rounds, stages_total=sum(stages), stages_most=max(stages), byte_identical=sum(same))


def sleep(folder: Path, _: int) -> None:
    graph: dict[str, list[str]] = {f"s{index}": [] for index in range(25)}
    commands = {name: graphs.command(name, [], sleep=1) for name in graph}
    serial, parallel, idle = (graphs.write(folder / name, graph, commands) for name in ("serial", "parallel", "idle"))
    environment = {**graphs.environment(), "PREFECT_HOME": str(folder / "prefect")}
    # A build of nothing makes the database and shows what Prefect's start-up costs.
    timed(DVC, idle, environment)
    timed(bardlet("build"), idle, environment)
    started, _said = timed(bardlet("build", "--jobs", "8"), idle, environment)
    repro, _said = timed(DVC, serial, environment)
    build, _said = timed(bardlet("build", "--jobs", "8"), parallel, environment)
    same = (serial / "dvc.lock").read_bytes() == (parallel / "dvc.lock").read_bytes()
    apart = build - started
    show(
        "sleep",
        repro_s=round(repro, 1),
        build_s=round(build, 1),
        of_it_startup_s=round(started, 1),
        ratio=round(build / repro, 2),
        ratio_startup_apart=round(apart / repro, 2),
        byte_identical=same,
    )


def noop(folder: Path, rounds: int) -> None:
    graph = graphs.random_graph(0, most=40)
    root = graphs.write(folder / "workspace", graph)
    environment = graphs.environment()
    timed(DVC, root, environment)
    first, _ = timed(bardlet("build"), root, environment)
    repeats = min(rounds, 5)
    builds = [timed(bardlet("build"), root, environment)[0] for _ in range(repeats)]
    repros = [timed(DVC, root, environment)[0] for _ in range(repeats)]
    repro = statistics.median(repros)
    show(
        "noop",
        stages=len(graph),
        repro_s=round(repro, 1),
        overhead_first_s=round(first - repro, 1),
        overhead_s=round(statistics.median(builds) - repro, 1),
        overhead_most_s=round(max(builds) - repro, 1),
    )


def marked(mark: str) -> list[psutil.Process]:
    """Everything that was started with this mark in its environment, whatever has become of its parents."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def workers(build: int) -> list[int]:
    """Processes of a build that lead a session and are no supervisor's: they do DVC's work."""
    found = []
    for process in psutil.Process(build).children(recursive=True):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            forked = "pipeline.orchestration.run.server" in " ".join(process.cmdline())
            if forked and os.getsid(process.pid) == process.pid and process.ppid() != build:
                found.append(process.pid)
    return found


def kill(folder: Path, rounds: int) -> None:
    graph: dict[str, list[str]] = {f"s{index}": [] for index in range(6)}
    forks = {name: f"(setsid sleep 3 &) ; sleep 1 & wait; {graphs.command(name, [])}" for name in graph}
    with one_server(folder) as environment:
        for kind in KINDS:

            def once(index: int, kind: str = kind) -> tuple[bool, int, bool]:
                root = graphs.write(folder / f"{kind}-{index}".replace(" ", "-"), graph, forks)
                return _kill_once(root, kind, index, environment)

            killed, left, resumed = zip(*side_by_side(rounds, once), strict=True)
            show(
                "kill",
                kind=kind,
                kills=rounds,
                while_running=sum(killed),
                orphans=sum(left),
                next_build_complete=sum(resumed),
            )


def _kill_once(root: Path, kind: str, index: int, environment: dict[str, str]) -> tuple[bool, int, bool]:
    """Whether the build still ran, how many of its processes were left, and whether the next one completed it."""
    mark, chosen = uuid.uuid4().hex, random.Random(index)
    # A number of jobs of its own tells its run from those of other rounds.
    jobs = 100 + index if kind == CANCELLED else 3
    process = subprocess.Popen(
        bardlet("build", "--jobs", str(jobs)),
        cwd=root,
        env={**environment, MARK: mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=graphs.heed_interrupts,
    )
    while process.poll() is None and not workers(process.pid):
        time.sleep(0.05)
    time.sleep(chosen.uniform(0, 4))
    running = process.poll() is None
    if running and kind == CANCELLED:
        cancel(environment["PREFECT_API_URL"], jobs)
    elif running:
        _strike(kind, process, chosen)
    if kind == "kill -9 of DVC's process":
        # The build goes on with the other stages; what belonged to the killed one must be gone when it ends.
        process.wait(120)
    time.sleep(KILL_SECONDS)
    # A build that was interrupted may still be reporting how it ended: its own process is no stage.
    left = len([one for one in marked(mark) if one.pid != process.pid or kind not in ("Ctrl-C", CANCELLED)])
    process.wait(60)
    timed(bardlet("build", "--jobs", "3"), root, environment)
    return running, left, "Data and pipelines are up to date" in timed(DVC, root, environment)[1]


def cancel(api: str, jobs: int) -> None:
    """Ask Prefect's server to cancel the run that was started with this number of jobs, as its UI does."""
    # A build plans before its run exists.
    while not (found := [run for run in ask(api, "flow_runs/filter", {}) if run["parameters"].get("jobs") == jobs]):
        time.sleep(0.2)
    ask(api, f"flow_runs/{found[0]['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})


def ask(api: str, path: str, content: object) -> Any:
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{api}/{path}", json.dumps(content).encode(), headers), timeout=30) as answer:
        return json.load(answer)


def _strike(kind: str, process: "subprocess.Popen[bytes]", chosen: random.Random) -> None:
    with contextlib.suppress(ProcessLookupError, psutil.Error):
        if kind == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        elif kind == "kill -9 of the flow":
            process.kill()
        elif found := workers(process.pid):
            os.kill(chosen.choice(found), signal.SIGKILL)


OWN_STAGE = """
import sys, time
from pathlib import Path
from pipeline import stage

def run(name: str) -> None:
    time.sleep(1)
    Path(f"{name}.txt").write_text(name)

stage.main(run, ("NAME",))
"""


def repro(folder: Path, rounds: int) -> None:
    graph: dict[str, list[str]] = {f"s{index}": [] for index in range(4)}
    environment = {**graphs.environment(), "DVC_NO_ANALYTICS": "1"}

    def once(index: int) -> tuple[bool, int, bool]:
        root = graphs.write(folder / str(index), graph, {name: f"python own.py {name}" for name in graph})
        (root / "own.py").write_text(OWN_STAGE)
        mark = uuid.uuid4().hex
        process = subprocess.Popen([*DVC, "-q"], cwd=root, env={**environment, MARK: mark})
        while process.poll() is None and len(marked(mark)) < 2:
            time.sleep(0.05)
        time.sleep(random.Random(index).uniform(0, 4))
        running = process.poll() is None
        process.kill()
        process.wait()
        time.sleep(KILL_SECONDS)
        left = len(marked(mark))
        timed(DVC, root, environment)
        return running, left, "Data and pipelines are up to date" in timed(DVC, root, environment)[1]

    killed, left, resumed = zip(*side_by_side(rounds, once), strict=True)
    figures = {"while_running": sum(killed), "orphans": sum(left), "next_repro_complete": sum(resumed)}
    show("repro", kind="kill -9 of dvc repro", kills=rounds, **figures)


def two(folder: Path, rounds: int) -> None:
    with one_server(folder) as environment:

        def once(seed: int) -> tuple[bool, bool]:
            graph = graphs.random_graph(seed, most=8)
            serial, shared = (graphs.write(folder / f"{seed}-{kind}", graph) for kind in ("serial", "shared"))
            timed(DVC, serial, environment)
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            pair = [
                subprocess.Popen(bardlet("build"), cwd=shared, env=environment, text=True, **streams)  # type: ignore
                for _ in range(2)
            ]
            said = [process.communicate()[0] for process in pair]
            waited = sum("waiting: this workspace is being built by PID" in text for text in said)
            built = sorted(f"{len(graph)} built" in text for text in said)
            same = (serial / "dvc.lock").read_bytes() == (shared / "dvc.lock").read_bytes()
            return waited == 1, same and built == [False, True] and not any(process.returncode for process in pair)

        waited, good = zip(*side_by_side(rounds, once), strict=True)
    show("two", pairs=rounds, one_waited=sum(waited), both_right_and_dvc_lock_the_same=sum(good))


def share(folder: Path, _: int) -> None:
    graph = graphs.random_graph(7, most=40)
    commands = {name: graphs.command(name, deps, sleep=1) for name, deps in graph.items()}
    environment = {**graphs.environment(), "PREFECT_HOME": str(folder / "prefect")}

    def clone(name: str, machine: str) -> Path:
        root = graphs.add_measurement(graphs.write(folder / name, graph, commands), list(graph), machine)
        return graphs.add_remote(root, folder / "remote")

    first = clone("first", "machine 1")
    built, _said = timed(bardlet("build", "--push"), first, environment)
    for name, machine, lock in (
        ("same machine", "machine 1", False),
        ("other machine", "machine 2", False),
        ("other machine, dvc.lock", "machine 2", True),
    ):
        root = clone(name, machine)
        if lock:
            (root / "dvc.lock").write_bytes((first / "dvc.lock").read_bytes())
        seconds, said = timed(bardlet("build"), root, environment)
        ended = {
            word: [line.split()[1] for line in said.splitlines() if line.startswith(f"  {word} ")]
            for word in ("built", "restored")
        }
        show(
            "share",
            clone=name,
            stages=len(graph) + 3,
            first_build_and_push_s=round(built, 1),
            seconds=round(seconds, 1),
            restored=len(ended["restored"]),
            built=ended["built"],
        )


ROWS = {"lock": lock, "sleep": sleep, "noop": noop, "kill": kill, "repro": repro, "two": two, "share": share}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args()
    for row in chosen.rows or ROWS:
        with tempfile.TemporaryDirectory(prefix=f"bardlet-{row}-") as folder:
            ROWS[row](Path(folder), chosen.rounds)


if __name__ == "__main__":
    main()
