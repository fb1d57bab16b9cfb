"""The shared cache in S3, against a server that speaks its protocol and checks signatures."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.orchestration.pages.prefect_server import free_port
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from tests.orchestration import graphs

boto3 = pytest.importorskip("boto3", reason="`make setup-tests` installs the S3 server")
pytest.importorskip("moto.server", reason="`make setup-tests` installs the S3 server")

CHAIN = {"a": (), "b": ("a",), "x": ()}
BUCKET = "team"
USER = {"AWS_ACCESS_KEY_ID": "first", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True)
class S3:
    """A server with an empty bucket."""

    url: str
    client: Any

    def keys(self, prefix: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [item["Key"] for item in found]

    def body(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """A server's address and PID."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "Running on" in line:
            break
    else:
        pytest.fail("the S3 server did not start")
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as (url, _):
        yield url


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "empty").touch()
    files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), str(tmp_path / "empty"))
    for name, value in {**USER, **files}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    yield S3(server, client)
    for key in S3(server, client).keys(""):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


def clone(root: Path, url: str, bucket: str = BUCKET, **settings: str) -> Path:
    graphs.write(root, CHAIN)
    return graphs.add_remote(root, f"s3://{bucket}/bardlet", endpointurl=url, region="us-east-1", **settings)


def outcomes(results: dict[str, StageResult]) -> dict[str, str]:
    return {name: str(result.outcome) for name, result in results.items()}


def test_s3_shares_what_was_built_and_refuses_what_was_tampered_with(s3: S3, tmp_path: Path) -> None:
    first = clone(tmp_path / "first", s3.url)
    results, told = graphs.build(first, push=True)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    assert "the shared cache s3://team/bardlet is empty or not there; `bardlet build --push` fills it" in told
    assert told[-1] == "pushed 3 files, 0.0 kB and 3 entries of the run-cache to s3://team/bardlet"

    second = clone(tmp_path / "second", s3.url)
    results, _ = graphs.build(second)
    assert set(outcomes(results).values()) == {StageOutcome.RESTORED}
    assert (second / "dvc.lock").read_bytes() == (first / "dvc.lock").read_bytes()

    recorded = (first / "b.txt").read_bytes()
    [victim] = [key for key in s3.keys("bardlet/files/") if s3.body(key) == recorded]
    s3.client.put_object(Bucket=BUCKET, Key=victim, Body=recorded[::-1])
    third = clone(tmp_path / "third", s3.url)
    results, told = graphs.build(third)
    assert outcomes(results) == {"a": "restored", "b": "built", "x": "restored"}
    assert any(f"refused: s3://team/{victim} (of b.txt)" in line for line in told)
    assert (third / "b.txt").read_bytes() == recorded


@pytest.mark.slow
def test_s3_that_never_answers_is_given_up(s3: S3, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root = clone(tmp_path / "first", f"http://127.0.0.1:{silent.getsockname()[1]}")
        results, told = graphs.build(root)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    assert "the shared cache is not used from here on: no answer within 10 s" in told


@pytest.mark.slow
def test_s3_that_goes_away_during_a_build_costs_one_line(s3: S3, tmp_path: Path) -> None:
    with s3_server() as (url, pid):
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="bardlet/files/something", Body=b"")
        root = clone(tmp_path / "first", url)
        text = (root / "dvc.yaml").read_text()
        (root / "dvc.yaml").write_text(text.replace("(echo a", f"kill -9 {pid} && (echo a"))
        results, told = graphs.build(root, jobs=1)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    [line] = [line for line in told if "shared cache" in line]
    assert "is not used from here on: s3://team/bardlet: Could not connect" in line


@pytest.mark.slow
def test_dvc_itself_pulls_from_s3_what_bardlet_pushed(s3: S3, tmp_path: Path) -> None:
    graphs.build(clone(tmp_path / "first", s3.url), push=True)
    second = clone(tmp_path / "second", s3.url)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--pull"], cwd=second, check=True, capture_output=True, text=True
    )
    assert "Running stage" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("no credentials", "Unable to locate credentials"),
        ("no bucket", "empty or not there"),
        ("no server", "Could not connect"),
    ],
)
def test_s3_that_cannot_be_used_costs_one_line(
    problem: str, said: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, bucket = s3.url, BUCKET
    if problem == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    elif problem == "no bucket":
        bucket = "nobody"
    else:
        url = f"http://127.0.0.1:{free_port()}"
    root = clone(tmp_path / "first", url, bucket)
    results, told = graphs.build(root)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    [line] = [line for line in told if "shared cache" in line]
    assert said in line
    with pytest.raises(StageError, match="not everything was pushed: "):
        graphs.build(root, push=True)
