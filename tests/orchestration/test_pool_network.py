"""Workers in network namespaces of their own: Prefect, Git and S3 reach them over the network alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.orchestration.pages import prefect_server
from tests.orchestration import graphs, network, several
from tests.orchestration.test_pool_builds import GRAPH, SLOW, START_SECONDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(network.refusal() is not None, reason=str(network.refusal())),
]
NAMES = ["arm", "x86"]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
# A board without its cable is gone after 30 s, and what runs on it too.
LEASE_SECONDS = 60


class Network:
    """A host with Prefect, a Git server and an S3 server, and machines that know nothing but its address."""

    def __init__(self, root: Path, before: dict[str, list[str]]) -> None:
        self.root = root
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: dict[str, several.Worker] = {}
        api, s3, git = (prefect_server.free_port() for _ in range(3))
        self.api = f"http://{network.HOST}:{api}/api"
        self._start(root, "prefect", "-m", "prefect", "server", "start", "--host", network.HOST, "--port", str(api))
        self._start(root, "s3", "-m", "moto.server", "-H", network.HOST, "-p", str(s3))
        self.endpoint = f"http://{network.HOST}:{s3}"
        self.world = several.World(root / "world", GRAPH, {"params.yaml": "a: 1\n", "source.py": "x = 1\n"})
        remote = f"url = s3://bardlet/cache\n    endpointurl = {self.endpoint}\n"
        config = self.world.workspace / ".dvc/config"
        config.write_text(config.read_text().replace(f"url = {self.world.remote}\n", remote))
        self.world.publish()
        daemon = ["git", "daemon", f"--listen={network.HOST}", f"--port={git}", "--export-all", f"--base-path={root}"]
        self.processes.append(subprocess.Popen([*daemon, str(root)], stderr=subprocess.DEVNULL))
        assert several.until(lambda: prefect_server.is_healthy(self.api), 90)
        assert several.until(self._make_bucket, 60)
        for name in NAMES:
            url = f"git://{network.HOST}:{git}/world/bare.git"
            machine = root / "machines" / name
            self.workers[name] = several.Worker(machine, name, f"board-{name}", url, self.api, before[name])
        for worker in self.workers.values():
            worker.ready()

    def _start(self, root: Path, name: str, *arguments: str) -> None:
        with (root / f"{name}.log").open("w") as log:
            self.processes.append(
                subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )

    def _make_bucket(self) -> bool:
        import boto3
        from botocore.exceptions import BotoCoreError

        try:
            boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket="bardlet")
        except BotoCoreError:
            return False
        return True

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    pytest.importorskip("moto", reason="moto, a server of the S3 protocol, is not installed")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    prefect_server.set_defaults(tmp_path, os.environ)
    with network.machines(NAMES) as before:
        made = Network(tmp_path, before)
        monkeypatch.setenv("PREFECT_API_URL", made.api)
        try:
            yield made
        finally:
            made.close()


def test_machines_that_share_nothing_but_a_network_build_the_same(hosts: Network) -> None:
    done = graphs.bardlet(hosts.world.workspace, "build")
    assert done.returncode == 0, done.stderr
    assert "5 stages: 5 built" in done.stdout
    assert "[bench] a board" in done.stderr
    serial = hosts.world.clone("serial")
    graphs.repro(serial)
    assert (hosts.world.workspace / "dvc.lock").read_bytes() == (serial / "dvc.lock").read_bytes()


def test_without_its_network_a_worker_is_given_up_and_ends_its_stage(hosts: Network, tmp_path: Path) -> None:
    started = tmp_path / "started"
    (hosts.world.workspace / "dvc.yaml").write_text(SLOW.format(hurry=tmp_path / "hurry", started=started))
    hosts.world.publish()
    build = subprocess.Popen(
        [sys.executable, "-c", graphs.CLI, "build"],
        cwd=hosts.world.workspace,
        env=graphs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert several.until(started.exists, START_SECONDS), (build.kill(), build.communicate())
    network.pull_cable(NAMES, "arm")
    said, _ = build.communicate(timeout=LEASE_SECONDS)
    assert build.returncode == 5
    assert "of pool arm has not answered for 30 s: it is gone" in said
    worker = hosts.workers["arm"]
    assert several.until(lambda: not any("sleep 4321" in line for line in worker.left()), LEASE_SECONDS)
