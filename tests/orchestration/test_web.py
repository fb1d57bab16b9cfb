"""Links on a run's page lead to report and releases, and to nothing else."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.orchestration.pages import web

CARD = """---
license: apache-2.0
---

# docs-embed

| Engine | p95 |
|---|---:|
| OpenVINO | 0.5 ms |

<script>alert(1)</script> and [manifest](manifest.json)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    for name, content in {
        "artifacts/report/index.html": "<h1>report</h1>",
        "artifacts/docs-embed/release/README.md": CARD,
        "artifacts/docs-embed/release/onnxruntime/int8.onnx": "bytes",
        "artifacts/docs-embed/teacher/secret.json": "{}",
        "artifacts/host.json": "{}",
        "params.yaml": "seed: 1",
        ".prefect/api-url": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "artifacts/report/out").symlink_to(root / "params.yaml")
    return root


@pytest.fixture
def ask(workspace: Path) -> Iterator[http.client.HTTPConnection]:
    with web.serve(workspace, "127.0.0.1", 0, "127.0.0.1") as address:
        assert web.address(workspace) == address
        yield http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    assert web.address(workspace) is None


def get(ask: http.client.HTTPConnection, path: str, method: str = "GET") -> tuple[int, str, str]:
    ask.request(method, path)
    answer = ask.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read().decode()


def test_the_report_is_served_as_it_is(ask: http.client.HTTPConnection) -> None:
    assert get(ask, "/artifacts/report/index.html") == (200, "text/html; charset=utf-8", "<h1>report</h1>")


def test_a_model_card_is_readable_and_runs_nothing(ask: http.client.HTTPConnection) -> None:
    status, kind, text = get(ask, "/artifacts/docs-embed/release/README.md")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert "<td>OpenVINO</td>" in text
    assert '<a href="manifest.json">manifest</a>' in text
    assert "license" not in text
    assert "<script>" not in text


def test_files_of_a_release_can_be_fetched(ask: http.client.HTTPConnection) -> None:
    found = get(ask, "/artifacts/docs-embed/release/onnxruntime/int8.onnx")
    assert found == (200, "application/octet-stream", "bytes")
    assert get(ask, "/artifacts/docs-embed/release/onnxruntime/int8.onnx", "HEAD")[::2] == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/params.yaml",
        "/artifacts/host.json",
        "/artifacts/report",
        "/artifacts/report/",
        "/artifacts/report/nothing.html",
        "/artifacts/docs-embed/teacher/secret.json",
        "/artifacts/report/../host.json",
        "/artifacts/report/%2e%2e/host.json",
        "/artifacts/report/..%2fhost.json",
        "/artifacts/report/..%2f..%2fparams.yaml",
        "/artifacts/docs-embed/release/%2e%2e/teacher/secret.json",
        "/artifacts/report/%00",
        "/artifacts/report/out",
        "/.prefect/api-url",
    ],
)
def test_nothing_else_is_served(ask: http.client.HTTPConnection, path: str) -> None:
    assert get(ask, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(ask: http.client.HTTPConnection, method: str) -> None:
    assert get(ask, "/artifacts/report/index.html", method)[0] == 501
