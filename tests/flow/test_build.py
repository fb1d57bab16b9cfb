"""`bardlet build` as a user calls it: with Prefect and its own server. Each call takes seconds of CPU."""

from pathlib import Path

import pytest

from tests.orchestration import graphs

GRAPH = {"a": (), "b": ("a",), "c": ("b",), "x": ()}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return graphs.write(tmp_path / "workspace", GRAPH, {"b": "exit 3"})


def test_wrong_input_is_said_before_prefect_starts(workspace: Path) -> None:
    done = graphs.bardlet(workspace, "build", "aa")
    assert done.returncode == 2
    assert "bardlet: error: no stage 'aa' in dvc.yaml; did you mean 'a'?" in done.stderr


def test_outside_of_a_workspace_it_says_what_is_missing(tmp_path: Path) -> None:
    done = graphs.bardlet(tmp_path, "build")
    assert done.returncode == 2
    assert "dvc.yaml is missing: run this in its folder" in done.stderr


@pytest.mark.slow
def test_a_build_keeps_going_and_ends_with_the_code_of_the_stage_that_failed(workspace: Path) -> None:
    done = graphs.bardlet(workspace, "build", "--jobs", "2")
    assert done.returncode == 3
    assert "[a] runs: never built" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("build: 4 stages: 2 built, 1 failed, 1 skipped in ")
    assert any(line.startswith("  failed    b in ") and "exited with 3" in line for line in lines)
    assert "  skipped   c: b failed" in lines
    assert "Traceback" not in done.stderr
    repaired = (workspace / "dvc.yaml").read_text().replace("exit 3", graphs.command("b", ["a"]))
    (workspace / "dvc.yaml").write_text(repaired)
    again = graphs.bardlet(workspace, "build")
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].startswith("build: 4 stages: 2 built, 2 cached in ")
    assert again.stderr.splitlines()[0] == "build: 4 stages, 2 up to date"
