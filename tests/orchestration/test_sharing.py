"""Two clones and a shared cache in a folder, by real DVC."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import StageError
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from tests.orchestration import graphs

CHAIN = {"a": (), "b": ("a",), "c": ("b",), "x": ()}


def outcomes(results: dict[str, StageResult]) -> dict[str, str]:
    return {name: str(result.outcome) for name, result in results.items()}


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def clone(tmp_path: Path, remote: Path) -> Callable[[str], Path]:
    return lambda name: graphs.add_remote(graphs.write(tmp_path / name, CHAIN), remote)


@pytest.fixture
def first(clone: Callable[[str], Path]) -> Path:
    """A clone that has built and pushed."""
    root = clone("first")
    results, told = graphs.build(root, push=True)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    assert told[-1].startswith("pushed 4 files, 0.1 kB and 4 entries of the run-cache to")
    return root


def objects(remote: Path) -> list[Path]:
    return sorted(path for path in (remote / "files").rglob("*") if path.is_file())


def tamper(path: Path) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1] + b"!")
    path.chmod(mode)


@pytest.mark.parametrize("with_lock", [False, True])
def test_another_clone_restores_everything_and_records_the_same(
    with_lock: bool, first: Path, clone: Callable[[str], Path]
) -> None:
    second = clone("second")
    if with_lock:
        shutil.copy(first / "dvc.lock", second)
    results, _ = graphs.build(second)
    assert set(outcomes(results).values()) == {StageOutcome.RESTORED}
    assert results["a"].message == "from shared, 1 file, 0.0 kB"
    assert results["a"].reasons == (("a.txt is missing",) if with_lock else ("never built",))
    for name in ("dvc.lock", *(f"{stage}.txt" for stage in CHAIN)):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert set(outcomes(graphs.build(second)[0]).values()) == {StageOutcome.CACHED}


def test_dvc_repro_pull_restores_what_bardlet_pushed(first: Path, clone: Callable[[str], Path]) -> None:
    second = clone("second")
    said = dvc(second, "repro", "--pull").stdout
    assert "Running stage" not in said
    assert (second / "dvc.lock").read_bytes() == (first / "dvc.lock").read_bytes()


@pytest.mark.slow
def test_a_build_restores_what_dvc_push_sent(clone: Callable[[str], Path]) -> None:
    first, second = clone("first"), clone("second")
    graphs.repro(first)
    dvc(first, "push", "--run-cache")
    assert set(outcomes(graphs.build(second)[0]).values()) == {StageOutcome.RESTORED}


def test_dvc_pull_brings_the_outputs_of_a_commit(first: Path, clone: Callable[[str], Path]) -> None:
    second = clone("second")
    shutil.copy(first / "dvc.lock", second)
    dvc(second, "pull", "c")
    assert [path.name for path in second.glob("*.txt")] == ["c.txt"]


@pytest.mark.slow
def test_what_was_recorded_without_being_built_is_pushed_with_its_entry(clone: Callable[[str], Path]) -> None:
    first, second = clone("first"), clone("second")
    graphs.repro(first)
    shutil.rmtree(first / ".dvc/cache/runs")
    _, told = graphs.build(first, push=True)
    assert "4 entries of the run-cache" in told[-1]
    assert set(outcomes(graphs.build(second)[0]).values()) == {StageOutcome.RESTORED}


def test_only_what_the_target_needs_is_fetched(first: Path, clone: Callable[[str], Path]) -> None:
    second = clone("second")
    graphs.build(second, ["a"])
    assert [path.name for path in second.glob("*.txt")] == ["a.txt"]
    assert len(objects(second / ".dvc/cache")) == 1


def test_what_differs_is_built_and_the_rest_restored(first: Path, clone: Callable[[str], Path]) -> None:
    second = clone("second")
    text = (second / "dvc.yaml").read_text()
    (second / "dvc.yaml").write_text(text.replace("echo b ", "echo other "))
    results, _ = graphs.build(second)
    assert outcomes(results) == {"a": "restored", "b": "built", "c": "built", "x": "restored"}


@pytest.mark.slow
def test_no_pull_and_force_build(first: Path, clone: Callable[[str], Path]) -> None:
    assert set(outcomes(graphs.build(clone("second"), pull=False)[0]).values()) == {StageOutcome.BUILT}
    assert set(outcomes(graphs.build(clone("third"), force=True)[0]).values()) == {StageOutcome.BUILT}


def test_an_empty_cache_is_mentioned_once_and_not_made(clone: Callable[[str], Path], remote: Path) -> None:
    results, told = graphs.build(clone("first"))
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    assert [line for line in told if "shared cache" in line] == [
        f"the shared cache {remote} is empty or not there; `bardlet build --push` fills it"
    ]
    assert not remote.exists()


def test_a_cache_that_refuses_us_costs_one_line(first: Path, tmp_path: Path) -> None:
    # A file where the folder should be refuses root too.
    (tmp_path / "file").touch()
    root = graphs.add_remote(graphs.write(tmp_path / "second", CHAIN), tmp_path / "file" / "remote")
    results, told = graphs.build(root)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    [line] = [line for line in told if "shared cache" in line]
    assert "is not used from here on" in line
    with pytest.raises(StageError, match=r"not everything was pushed: .*file/remote.*--push` sends what is missing"):
        graphs.build(root, push=True)


@pytest.mark.slow
def test_a_remote_that_is_named_and_not_declared_is_said(tmp_path: Path) -> None:
    root = graphs.write(tmp_path / "first", CHAIN)
    with (root / ".dvc/config").open("a") as config:
        config.write("    remote = nowhere\n")
    results, told = graphs.build(root)
    assert set(outcomes(results).values()) == {StageOutcome.BUILT}
    assert any("core.remote names 'nowhere', which .dvc/config does not declare" in line for line in told)


def test_a_tampered_object_is_refused_by_name_and_its_stage_built(
    first: Path, clone: Callable[[str], Path], remote: Path
) -> None:
    recorded = (first / "b.txt").read_bytes()
    [victim] = [path for path in objects(remote) if path.read_bytes() == recorded]
    tamper(victim)
    second = clone("second")
    results, told = graphs.build(second)
    assert outcomes(results) == {"a": "restored", "b": "built", "c": "restored", "x": "restored"}
    assert (second / "b.txt").read_bytes() == recorded
    [line] = [line for line in told if "refused" in line]
    assert str(victim) in line
    assert "(of b.txt)" in line
    # As the line says: removed there and pushed from here it is whole again.
    victim.unlink()
    graphs.build(second, push=True)
    assert victim.read_bytes() == recorded
    assert set(outcomes(graphs.build(clone("third"))[0]).values()) == {StageOutcome.RESTORED}


def test_a_tampered_entry_of_the_run_cache_is_no_answer(
    first: Path, clone: Callable[[str], Path], remote: Path
) -> None:
    for path in (remote / "runs").rglob("*"):
        if path.is_file() and "cmd: (echo b" in path.read_text():
            path.chmod(0o644)
            path.write_text(path.read_text().replace("size: ", "size: 1").replace("md5: ", "md5: 0", 1))
    results, _ = graphs.build(clone("second"))
    assert outcomes(results)["b"] == "built"


def test_a_push_that_was_killed_leaves_a_cache_that_restores_what_arrived(
    first: Path, clone: Callable[[str], Path], remote: Path
) -> None:
    for path in objects(remote)[:2]:
        path.unlink()
    second = clone("second")
    results, told = graphs.build(second, push=True)
    assert sorted(outcomes(results).values()) == ["built", "built", "restored", "restored"]
    assert sum(f"not restored: {remote} lacks 1 of 1 objects of" in line for line in told) == 2
    assert len(objects(remote)) == 4
    assert set(outcomes(graphs.build(clone("third"))[0]).values()) == {StageOutcome.RESTORED}


def test_a_folder_of_which_a_file_is_lost_is_built(clone: Callable[[str], Path], remote: Path) -> None:
    first, second = clone("first"), clone("second")
    for root in (first, second):
        text = (root / "dvc.yaml").read_text()
        (root / "dvc.yaml").write_text(
            text
            + "  folder:\n    cmd: mkdir f && echo 1 > f/1 && echo 2 > f/2\n    deps: [params.yaml]\n    outs: [f]\n"
        )
    graphs.build(first, ["folder"], push=True)
    [lost] = [path for path in objects(remote) if path.read_text() == "2\n"]
    lost.unlink()
    results, told = graphs.build(second, ["folder"], push=True)
    assert outcomes(results) == {"folder": "built"}
    assert any(f"not restored: {remote} lacks 1 of 3 objects of f/2" in line for line in told)
    assert lost.exists()


@pytest.mark.slow
def test_an_entry_whose_objects_are_gone_does_not_hide_another(clone: Callable[[str], Path], remote: Path) -> None:
    """A stage that is not deterministic has two results for one question; one of them was pushed in part."""
    first, second = clone("first"), clone("second")
    for root in (first, second):
        text = (root / "dvc.yaml").read_text()
        (root / "dvc.yaml").write_text(text.replace("(echo x", "(cat /proc/sys/kernel/random/uuid"))
        graphs.build(root, ["x"], pull=False, push=True)
    gone = [path for path in objects(remote) if path.read_bytes() == (first / "x.txt").read_bytes()]
    gone[0].unlink()
    third = clone("third")
    shutil.copy(second / "dvc.yaml", third)
    assert outcomes(graphs.build(third, ["x"])[0]) == {"x": "restored"}
    assert (third / "x.txt").read_bytes() == (second / "x.txt").read_bytes()


@pytest.mark.slow
def test_two_pushes_at_once_leave_a_whole_cache(clone: Callable[[str], Path], remote: Path) -> None:
    roots = [clone(name) for name in ("first", "second")]
    for root in roots:
        graphs.repro(root)
    pushes = [
        subprocess.Popen([sys.executable, "-m", "tests.orchestration.push", str(root)], env=graphs.environment())
        for root in roots
    ]
    assert [push.wait(120) for push in pushes] == [0, 0]
    assert len(objects(remote)) == 4
    assert set(outcomes(graphs.build(clone("third"))[0]).values()) == {StageOutcome.RESTORED}


@pytest.mark.slow
def test_a_push_that_is_interrupted_is_completed_by_the_next(clone: Callable[[str], Path], remote: Path) -> None:
    first = clone("first")
    graphs.repro(first)
    push = subprocess.Popen(
        [sys.executable, "-m", "tests.orchestration.push", str(first)],
        env=graphs.environment(),
        preexec_fn=graphs.heed_interrupts,
        stderr=subprocess.DEVNULL,
    )
    while not objects(remote) and push.poll() is None:
        pass
    push.send_signal(signal.SIGKILL)
    push.wait(60)
    graphs.build(first, push=True)
    assert set(outcomes(graphs.build(clone("second"))[0]).values()) == {StageOutcome.RESTORED}


@pytest.mark.parametrize("with_lock", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_measurement_is_restored_on_its_own_machine_alone(with_lock: bool, tmp_path: Path, remote: Path) -> None:
    def clone(name: str, machine: str) -> Path:
        root = graphs.write(tmp_path / name, {"export": ()})
        return graphs.add_remote(graphs.add_measurement(root, ["export"], machine), remote)

    first = clone("first", "machine 1")
    graphs.build(first, push=True)
    for machine, ended in {"machine 2": "built", "machine 1": "restored"}.items():
        root = clone(f"second on {machine}", machine)
        if with_lock:
            shutil.copy(first / "dvc.lock", root)
        results, _ = graphs.build(root)
        assert outcomes(results) == {"host": "built", "export": "restored", "benchmark": ended, "gate": ended}
        assert (root / "results").read_text().startswith(machine)


@pytest.mark.slow
def test_the_command_pushes_restores_and_ends_with_5_where_a_push_fails(
    clone: Callable[[str], Path], remote: Path, prefect_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
    done = graphs.bardlet(clone("first"), "build", "--push")
    assert (done.returncode, "4 built" in done.stdout) == (0, True)
    second = clone("second")
    done = graphs.bardlet(second, "build")
    assert (done.returncode, "4 restored" in done.stdout) == (0, True)
    assert "restored  a in " in done.stdout
    assert "4 built" in graphs.bardlet(clone("third"), "build", "--no-pull").stdout
    shutil.rmtree(remote)
    remote.touch()
    done = graphs.bardlet(second, "build", "--push")
    assert (done.returncode, "4 cached" in done.stdout) == (5, True)
    assert "bardlet: error: not everything was pushed: " in done.stderr


@pytest.mark.slow
def test_data_that_dvc_add_tracks_is_fetched(clone: Callable[[str], Path]) -> None:
    first, second = clone("first"), clone("second")
    (first / "raw.txt").write_text("data")
    dvc(first, "add", "raw.txt")
    dvc(first, "push")
    for root in (first, second):
        text = (root / "dvc.yaml").read_text()
        (root / "dvc.yaml").write_text(text.replace("    deps: []\n", "    deps: [raw.txt]\n", 1))
    shutil.copy(first / "raw.txt.dvc", second)
    results, _ = graphs.build(second, ["a"])
    assert outcomes(results) == {"raw.txt.dvc": "restored", "a": "built"}
    assert (second / "raw.txt").read_text() == "data"


def dvc(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**os.environ, **graphs.environment()},
        check=True,
        capture_output=True,
        text=True,
    )
