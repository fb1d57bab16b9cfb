"""The plain commands of deploy/: Prefect on a real PostgreSQL, with several builds and workers that write at once."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.orchestration.pages import prefect_server
from tests.orchestration import graphs, several

DEPLOY = graphs.ROOT / "deploy"
PASSWORD = "of-a-test"
STAGES = 4
# Each build has stages here and in both pools, which report to the server at the same time.
GRAPH = "stages:\n" + "".join(
    f"  s{index}:\n    cmd: echo {index} > s{index}.txt; for i in 1 2 3 4 5; do echo line $i; done\n"
    f"    outs: [s{index}.txt]\n    always_changed: true\n" + (f"    meta: {{pool: {pool}}}\n" if pool else "")
    for index, pool in enumerate(["one", "two", "", ""])
)


@contextlib.contextmanager
def running(arguments: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as stream:
        process = subprocess.Popen(
            arguments, env={**os.environ, **environment}, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in graphs.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    port = prefect_server.free_port()
    return {"BARDLET_DB_PASSWORD": PASSWORD, "BARDLET_DB": f"127.0.0.1:{port}/prefect"}


@pytest.fixture
def database(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """`deploy/postgres.sh`; Debian's package is installed where it is missing."""
    installed = subprocess.run([str(Path(__file__).parent / "install_postgres.sh")], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no PostgreSQL: {installed.stderr.strip()}")
    # Its user must reach its folder, and pytest's own are closed to others.
    folder = Path("/tmp") / f"bardlet-postgres-{os.getpid()}"
    port = environment["BARDLET_DB"].partition(":")[2].partition("/")[0]
    log = tmp_path / "postgres.log"
    try:
        with running([str(DEPLOY / "postgres.sh"), str(folder), port], environment, log):
            assert several.until(lambda: "ready to accept connections" in log.read_text(), 60), log.read_text()
            yield environment
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def server(database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`deploy/server.sh`; yields its API address."""
    port = prefect_server.free_port()
    address = f"http://127.0.0.1:{port}/api"
    log = tmp_path / "server.log"
    with running([str(DEPLOY / "server.sh"), "127.0.0.1", str(port)], database, log):
        assert several.until(lambda: prefect_server.is_healthy(address), 90), log.read_text()
        monkeypatch.setenv("PREFECT_API_URL", address)
        yield address
    said = log.read_text()
    assert "locked" not in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_two_builds_and_two_workers_write_to_postgresql_at_once(
    server: str, database: dict[str, str], tmp_path: Path
) -> None:
    worlds = [several.World(tmp_path / f"world{index}", GRAPH, {}) for index in range(2)]
    # Pools are of one repository; what both builds share is the server.
    workers = [
        several.Worker(tmp_path / f"{pool}{index}", f"{pool}{index}", f"{pool}{index}", world.bare, server)
        for index, world in enumerate(worlds)
        for pool in ("one", "two")
    ]
    try:
        for index, world in enumerate(worlds):
            text = GRAPH.replace("pool: one", f"pool: one{index}").replace("pool: two", f"pool: two{index}")
            (world.workspace / "dvc.yaml").write_text(text)
            world.publish()
        for worker in workers:
            worker.ready()
        with ThreadPoolExecutor(len(worlds)) as pool:
            ended = list(pool.map(lambda world: graphs.bardlet(world.workspace, "build"), worlds))
        for done in ended:
            assert done.returncode == 0, done.stderr
            assert f"{STAGES} stages: {STAGES} built" in done.stdout
            assert done.stderr.count("] line 5") == STAGES
            assert "locked" not in done.stderr
        assert _flow_runs(database) == len(worlds) * 3
    finally:
        for worker in workers:
            worker.close()


def _flow_runs(database: Mapping[str, str]) -> int:
    """What PostgreSQL itself has: the builds, and a run for each stage in a pool."""
    script = (
        "import asyncio, asyncpg\n"
        "async def count():\n"
        f"    connection = await asyncpg.connect('postgresql://prefect:{PASSWORD}@{database['BARDLET_DB']}')\n"
        "    print(await connection.fetchval(\"select count(*) from flow_run where state_name = 'Completed'\"))\n"
        "asyncio.run(count())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)
