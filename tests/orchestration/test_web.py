"""Links on a run's page lead to report and releases, and to nothing else."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.orchestration.pages import web
from pipeline.orchestration.pages.prefect_server import ANY

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
        "artifacts/docs-embed/teacher/notes.md": "secret",
        "params.yaml": "seed: 1",
        ".dvc/config": "secret",
        ".dvc/cache/object": "<h1>linked</h1>",
        ".prefect/api-url": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "artifacts/report/out").symlink_to(root / "params.yaml")
    (root / "artifacts/report/cache").symlink_to(root / ".dvc/config")
    (root / "artifacts/report/linked.html").symlink_to(root / ".dvc/cache/object")
    return root


@pytest.fixture
def ask(workspace: Path) -> Iterator[http.client.HTTPConnection]:
    with web.serve(workspace, "127.0.0.1", 0, "127.0.0.1") as address:
        assert web.address(workspace) == address
        yield http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    assert web.address(workspace) is None


def get(ask: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    ask.request(method, path, headers=headers)
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


def test_a_file_in_a_cache_that_dvc_links_to_is_served(ask: http.client.HTTPConnection) -> None:
    assert get(ask, "/artifacts/report/linked.html")[::2] == (200, "<h1>linked</h1>")


@pytest.mark.parametrize("path", ["onnxruntime/int8.onnx", "README.md"])
def test_head_says_what_get_would_bring(ask: http.client.HTTPConnection, path: str) -> None:
    status, kind, body = get(ask, f"/artifacts/docs-embed/release/{path}")
    ask.request("HEAD", f"/artifacts/docs-embed/release/{path}")
    head = ask.getresponse()
    assert (head.status, head.headers["Content-Type"], head.read()) == (status, kind, b"")
    assert int(head.headers["Content-Length"]) == len(body.encode())


def test_a_part_of_a_file_can_be_fetched(ask: http.client.HTTPConnection) -> None:
    path = "/artifacts/docs-embed/release/onnxruntime/int8.onnx"
    assert get(ask, path, Range="bytes=1-3")[::2] == (206, "yte")
    assert get(ask, path, Range="bytes=3-")[::2] == (206, "es")
    assert get(ask, path, Range="bytes=99-")[0] == 416


@pytest.mark.parametrize("path", ["report/index.html", "docs-embed/release/README.md"])
def test_pages_may_run_and_fetch_nothing(ask: http.client.HTTPConnection, path: str) -> None:
    ask.request("GET", f"/artifacts/{path}")
    answer = ask.getresponse()
    answer.read()
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4201", "127.0.0.1:1"])
def test_the_loopback_interface_has_several_names(ask: http.client.HTTPConnection, host: str) -> None:
    assert get(ask, "/artifacts/report/index.html", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.example.org", "localhost.evil.org:4201", ""])
def test_a_request_by_a_foreign_name_is_refused(ask: http.client.HTTPConnection, host: str) -> None:
    status, _, text = get(ask, "/artifacts/report/index.html", Host=host)
    assert status == 400
    assert "report" not in text


def test_on_all_interfaces_the_machine_has_a_name_and_addresses(workspace: Path) -> None:
    with web.serve(workspace, ANY, 0, "board-1") as address:
        assert address.startswith("http://board-1:")
        ask = http.client.HTTPConnection("127.0.0.1", int(address.rpartition(":")[2]), timeout=30)
        own = [
            entry.address
            for entries in psutil.net_if_addrs().values()
            for entry in entries
            if entry.family == socket.AF_INET
        ]
        assert own
        answers = {host: get(ask, "/artifacts/report/index.html", Host=host)[0] for host in ["board-1", *own]}
        assert set(answers.values()) == {200}
        assert get(ask, "/artifacts/report/index.html", Host="board-2")[0] == 400


def test_a_port_that_is_taken_is_an_error(workspace: Path) -> None:
    with (
        web.serve(workspace, "127.0.0.1", 0, "127.0.0.1") as address,
        pytest.raises(OSError),
        web.serve(workspace, "127.0.0.1", int(address.rpartition(":")[2]), "127.0.0.1"),
    ):
        pass


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
        "/%00",
        "//..//",
        "//..//params.yaml",
        "//artifacts//..//params.yaml",
        "/artifacts/report/out/",
        "/artifacts/docs-embed/release",
        "/artifacts/report/" + "x" * 5000,
        "/artifacts/docs-embed/teacher/%2e%2e/%2e%2e/host.json",
        "/artifacts/docs-embed/release/%2e%2e/teacher/notes.md",
        "/artifacts/report/%ff.md",
        "/artifacts/report/cache",
    ],
)
def test_nothing_else_is_served(ask: http.client.HTTPConnection, path: str) -> None:
    assert get(ask, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(ask: http.client.HTTPConnection, method: str) -> None:
    assert get(ask, "/artifacts/report/index.html", method)[0] == 405
