"""deploy/compose.yaml, as far as one can check it without a container engine."""

import subprocess
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.orchestration.graphs import ROOT

COMPOSE = ROOT / "deploy/compose.yaml"
# Keys of the Compose specification that are used here; a misspelt one would be ignored silently by some versions.
SERVICE = {
    *("image", "build", "command", "entrypoint", "environment", "volumes", "ports", "depends_on"),
    *("healthcheck", "restart", "stop_signal"),
}


@pytest.fixture
def compose() -> dict[str, Any]:
    with COMPOSE.open() as stream:
        loaded: dict[str, Any] = YAML(typ="safe").load(stream)
    return loaded


def test_every_service_has_known_keys_and_what_it_depends_on(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service) <= SERVICE, name
        assert ("image" in service) != ("build" in service), name
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in compose["services"][needed]


def test_every_named_volume_is_declared(compose: dict[str, Any]) -> None:
    mounted = [
        volume.partition(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])
    ]
    assert {name for name in mounted if not name.startswith(".")} == set(compose["volumes"])


def test_prefect_is_the_version_of_the_lock_file(compose: dict[str, Any]) -> None:
    [pinned] = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("prefect==")]
    assert compose["services"]["prefect"]["image"].endswith(f":{pinned.partition('==')[2]}-python3.11")


def test_what_the_image_of_the_worker_copies_is_there(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]["build"]
    for line in (ROOT / worker["dockerfile"]).read_text().splitlines():
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists()


def test_docker_accepts_it() -> None:
    command = ["docker", "compose", "-f", str(COMPOSE), "config", "--quiet"]
    try:
        known = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    except FileNotFoundError:
        known = False
    if not known:
        pytest.skip("docker compose is not installed")
    environment = {"BARDLET_DB_PASSWORD": "x", "BARDLET_S3_PASSWORD": "x", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
