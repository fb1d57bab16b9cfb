"""Builds over several machines: real workers in folders of their own, and a Git repository and a DVC remote for all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestration import graphs, several

ENDED_SECONDS = 5
# A worker is asked for work every 2 s and starts Python and Prefect for it; a lost one is noticed after its lease.
START_SECONDS, NOTICED_SECONDS = 60, 60
GRAPH = """stages:
  a:
    cmd: (echo a; cat params.yaml) | cksum > a.txt
    params: [a]
    outs: [a.txt]
  host:
    cmd: echo a board > host.json
    always_changed: true
    outs:
      - host.json:
          cache: false
    meta: {pool: arm}
  bench:
    cmd: cat host.json source.py; cat a.txt host.json > bench.txt; echo '{}' > metrics.json
    deps: [a.txt, host.json, source.py]
    outs: [bench.txt]
    metrics:
      - metrics.json:
          cache: false
    meta: {pool: arm}
  other:
    cmd: mkdir -p other && cat a.txt > other/one && cat params.yaml > other/two
    deps: [a.txt]
    params: [a]
    outs: [other]
    meta: {pool: x86}
  last:
    cmd: cat bench.txt other/one > last.txt
    deps: [bench.txt, other/one]
    outs: [last.txt]
"""
# Its first run takes for ever, with a child, and a grandchild in a session of its own.
SLOW = """stages:
  slow:
    cmd: >-
      if test -e {hurry}; then echo done > slow.txt;
      else touch {started}; (setsid sleep 4321 &); sleep 4321 & wait; fi
    outs: [slow.txt]
    meta: {{pool: arm}}
"""


class Site(several.World):
    """A workspace, a Prefect server, and workers that start when they are asked for."""

    def __init__(self, root: Path, api: str) -> None:
        super().__init__(root, GRAPH, {"params.yaml": "a: 1\n", "source.py": "x = 1\n"})
        self.api = api
        self.workers: dict[str, several.Worker] = {}
        self.hurry, self.started = root / "hurry", root / "started"

    def declare(self, dvc_yaml: str) -> None:
        (self.workspace / "dvc.yaml").write_text(dvc_yaml)
        (self.workspace / "dvc.lock").unlink(missing_ok=True)
        self.publish()

    def worker(self, pool: str, name: str | None = None) -> several.Worker:
        name = name or f"board-{pool}"
        found = self.workers.get(name)
        if found is None or found.process.poll() is not None:
            found = several.Worker(self.root / "machines" / name, pool, name, self.bare, self.api)
            self.workers[name] = found
        return found

    def ready(self, *pools: str) -> None:
        for started in [self.worker(pool) for pool in pools]:
            started.ready()

    def build(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return graphs.bardlet(self.workspace, "build", *arguments, timeout=200)

    def begin(self) -> "subprocess.Popen[str]":
        """Build in the background until its slow stage runs on the worker."""
        self.started.unlink(missing_ok=True)
        self.hurry.unlink(missing_ok=True)
        self.declare(SLOW.format(hurry=self.hurry, started=self.started))
        build = subprocess.Popen(
            [sys.executable, "-c", graphs.CLI, "build"],
            cwd=self.workspace,
            env=graphs.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=graphs.heed_interrupts,
        )
        assert several.until(self.started.exists, START_SECONDS), (build.kill(), build.communicate())
        return build

    def sleeps(self) -> bool:
        return any("sleep 4321" in line for one in self.workers.values() for line in one.left())

    def resumes(self) -> bool:
        self.hurry.touch()
        self.ready("arm")
        done = self.build()
        return done.returncode == 0 and "built     slow" in done.stdout

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with several.lasting_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def shared_site(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site") / "root", api)
    yield site
    site.close()


@pytest.fixture
def site(shared_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("PREFECT_API_URL", shared_site.api)
    return shared_site


def test_stages_run_where_their_pool_says_and_dvc_lock_is_that_of_dvc_repro(site: Site) -> None:
    site.ready("arm", "x86")
    done = site.build()
    assert done.returncode == 0, done.stderr
    assert "5 stages: 5 built" in done.stdout
    assert "[bench] a board\n[bench] x = 1" in done.stderr
    serial = site.clone("serial")
    graphs.repro(serial)
    assert (site.workspace / "dvc.lock").read_bytes() == (serial / "dvc.lock").read_bytes()
    assert (site.workspace / "metrics.json").read_text() == "{}\n"


@pytest.mark.slow
def test_what_ran_in_a_pool_is_up_to_date_afterwards(site: Site) -> None:
    site.declare(GRAPH.replace("always_changed: true", "always_changed: false"))
    site.ready("arm", "x86")
    assert site.build().returncode == 0
    assert "up to date" in _dvc(site.workspace, "repro")
    assert "5 stages: 5 cached" in site.build().stdout


@pytest.mark.slow
def test_another_clone_gets_from_the_remote_what_a_worker_made(site: Site) -> None:
    site.declare(GRAPH)
    site.ready("arm", "x86")
    assert site.build("--force", "other").returncode == 0
    clone = site.clone("second")
    (clone / "dvc.lock").write_bytes((site.workspace / "dvc.lock").read_bytes())
    _dvc(clone, "pull", "other")
    assert (clone / "other/two").read_text() == "a: 1\n"
    (clone / "dvc.lock").unlink()
    _dvc(clone, "fetch", "--run-cache")
    assert "Stage 'other' is cached" in _dvc(clone, "repro", "other")


@pytest.mark.slow
def test_a_failure_has_the_exit_code_of_the_stage_and_other_branches_go_on(site: Site) -> None:
    site.declare(GRAPH.replace("cat host.json source.py;", "echo broken; exit 3;"))
    site.ready("arm", "x86")
    done = site.build()
    assert done.returncode == 3
    assert "on board-arm of pool arm: failed to run" in done.stdout
    assert "[bench] broken" in done.stderr
    assert "skipped   last" in done.stdout


@pytest.mark.slow
def test_the_time_limit_of_a_stage_holds_on_its_worker(site: Site) -> None:
    site.declare(SLOW.format(hurry=site.hurry, started=site.started).replace("arm}", "arm, time_limit_s: 2}"))
    site.hurry.unlink(missing_ok=True)
    site.ready("arm")
    done = site.build()
    assert done.returncode == 5
    assert "ended after its time limit of 2 s" in done.stdout
    assert not site.sleeps()


@pytest.mark.slow
def test_what_describes_a_machine_is_read_on_the_same_machine(site: Site) -> None:
    mine = "echo $BARDLET_TEST_WORKER > host.json"
    graph = GRAPH.replace("echo a board > host.json", mine).replace(
        "cat host.json source.py", "echo $BARDLET_TEST_WORKER"
    )
    site.declare(graph)
    site.ready("arm", "x86")
    site.worker("arm", "board-2").ready()
    for _ in range(2):
        done = site.build("--force", "bench")
        assert done.returncode == 0, done.stderr
        maker = (site.workspace / "host.json").read_text().strip()
        assert f"[bench] {maker}\n" in done.stderr
    site.workers["board-2"].close()


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_nothing_and_the_next_build_resumes(site: Site) -> None:
    site.ready("arm")
    build = site.begin()
    site.workers["board-arm"].process.kill()
    assert several.until(lambda: not site.workers["board-arm"].left(), ENDED_SECONDS), site.workers["board-arm"].left()
    said, _ = build.communicate(timeout=NOTICED_SECONDS)
    assert build.returncode == 5, said
    assert "pool arm" in said
    assert site.resumes()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_end_ends_its_stage(site: Site, how: signal.Signals) -> None:
    site.ready("arm")
    build = site.begin()
    site.workers["board-arm"].process.send_signal(how)
    assert several.until(lambda: not site.sleeps(), ENDED_SECONDS)
    said, _ = build.communicate(timeout=NOTICED_SECONDS)
    assert build.returncode != 0, said
    assert several.until(lambda: not site.workers["board-arm"].left(), 20)
    assert site.resumes()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_killed_ends_its_stage_on_the_worker(site: Site, how: signal.Signals) -> None:
    site.ready("arm")
    build = site.begin()
    build.send_signal(how)
    assert several.until(lambda: not site.sleeps(), ENDED_SECONDS)
    build.communicate(timeout=20)
    assert site.resumes()


@pytest.mark.slow
def test_dvc_that_is_killed_ends_its_stage_on_the_worker(site: Site) -> None:
    site.ready("arm")
    build = site.begin()
    for worker in _workers_of(build.pid):
        os.kill(worker, signal.SIGKILL)
    assert several.until(lambda: not site.sleeps(), ENDED_SECONDS)
    assert build.wait(20) == 5
    assert site.resumes()


@pytest.mark.slow
def test_a_run_that_is_cancelled_in_prefect_ends_its_stage(site: Site) -> None:
    site.ready("arm")
    build = site.begin()
    script = (
        "from prefect.client.orchestration import get_client\n"
        "from prefect.states import Cancelling\n"
        "client = get_client(sync_client=True)\n"
        "[run] = [r for r in client.read_flow_runs() if r.state.is_running() and r.name.startswith('slow at')]\n"
        "client.set_flow_run_state(run.id, Cancelling())\n"
    )
    subprocess.run([sys.executable, "-c", script], env=graphs.environment(), check=True, capture_output=True)
    assert several.until(lambda: not site.sleeps(), ENDED_SECONDS)
    said, _ = build.communicate(timeout=20)
    assert build.returncode == 130, said
    assert "cancelled slow" in said
    assert site.resumes()


def _workers_of(build: int) -> list[int]:
    """The processes of a build that do DVC's work: they lead their sessions, and a supervisor is their parent."""
    import psutil

    below = psutil.Process(build).children(recursive=True)
    servers = {one.pid for one in below if one.ppid() == build}
    return [one.pid for one in below if os.getsid(one.pid) == one.pid and one.pid not in servers]


def _dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=graphs.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
