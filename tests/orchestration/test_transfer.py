"""Outputs that go between machines by the DVC remote, with real DVC and a folder as the remote."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.orchestration.dvc_inside import graph, run_cache
from pipeline.orchestration.dvc_inside.repository import locked_repo
from pipeline.orchestration.pools.transfer import Carrier, check_out, inputs, read_files, write_files
from tests.orchestration import graphs

FOLDER = """  folder:
    cmd: mkdir -p out/deep && echo 1 > out/one && echo 2 > out/deep/two
    deps: [params.yaml]
    outs: [out]
  reader:
    cmd: cat a.txt out/deep > reader.txt
    deps: [a.txt, out/deep]
    outs: [reader.txt]
"""


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def root(tmp_path: Path, remote: Path) -> Path:
    root = graphs.write(tmp_path / "workspace", {"a": ()})
    with (root / "dvc.yaml").open("a") as stream:
        stream.write(FOLDER)
    graphs.build(root, ["a", "folder"], pull=False)
    return graphs.add_remote(root, remote)


@pytest.fixture
def opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Opens the repository anew, as each job does."""
    monkeypatch.chdir(root)
    with ExitStack() as stack:

        def reopen() -> Any:
            stack.close()
            return stack.enter_context(locked_repo())

        yield reopen


def objects(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "files").rglob("*") if path.is_file())


def lose(root: Path) -> None:
    """As on another machine, which has dvc.lock and nothing else."""
    shutil.rmtree(root / ".dvc/cache")
    shutil.rmtree(root / "out", ignore_errors=True)
    (root / "a.txt").unlink(missing_ok=True)


def only_out(repo: Any, stage: str) -> Any:
    [out] = graph.load_stage(repo, stage).outs
    return out


def test_a_folder_comes_back_whole(root: Path, opened: Callable[[], Any], remote: Path) -> None:
    repo = opened()
    Carrier(repo).send(only_out(repo, "folder"))
    assert len(objects(remote)) == 3
    lose(root)
    repo = opened()
    out = only_out(repo, "folder")
    Carrier(repo).bring(out)
    check_out(out)
    assert (root / "out/one").read_text() + (root / "out/deep/two").read_text() == "1\n2\n"


def test_of_a_folder_only_what_a_stage_reads_is_sent_and_placed(
    root: Path, opened: Callable[[], Any], remote: Path
) -> None:
    repo = opened()
    read = inputs(repo, graph.find_stage(repo, "reader"))
    assert {(out.def_path, part and Path(part).name) for out, part in read} == {("a.txt", None), ("out", "deep")}
    for out, part in read:
        Carrier(repo).send(out, part)
    sent = objects(remote)
    assert b"2\n" in sent
    assert b"1\n" not in sent
    lose(root)
    repo = opened()
    carrier = Carrier(repo)
    for out, part in inputs(repo, graph.find_stage(repo, "reader")):
        carrier.bring(out, part)
        check_out(out, part)
    assert (root / "out/deep/two").read_text() == "2\n"
    assert (root / "a.txt").exists()
    assert not (root / "out/one").exists()


def test_what_is_not_what_its_name_says_is_refused_by_name(root: Path, opened: Callable[[], Any], remote: Path) -> None:
    repo = opened()
    Carrier(repo).send(only_out(repo, "a"))
    [victim] = [path for path in (remote / "files").rglob("*") if path.is_file()]
    victim.chmod(0o644)
    victim.write_text("something else")
    lose(root)
    repo = opened()
    with pytest.raises(InputError, match=rf"a\.txt is not whole in the DVC remote.*refused: {victim}"):
        Carrier(repo).bring(only_out(repo, "a"))
    assert not (root / "a.txt").exists()


def test_what_the_remote_lacks_is_said(root: Path, opened: Callable[[], Any], remote: Path) -> None:
    lose(root)
    repo = opened()
    with pytest.raises(InputError, match=rf"out is not whole in the DVC remote.*{remote} lacks 1 of 1 objects of out"):
        Carrier(repo).bring(only_out(repo, "folder"))
    with pytest.raises(InputError, match=r"a\.txt did not get to the DVC remote"):
        Carrier(repo).send(only_out(repo, "a"))


def test_without_a_remote_nothing_can_be_sent(root: Path, opened: Callable[[], Any]) -> None:
    config = root / ".dvc/config"
    config.write_text(config.read_text().replace("    remote = shared\n", ""))
    repo = opened()
    with pytest.raises(InputError, match="no remote is configured: `dvc remote default` names one"):
        Carrier(repo).send(only_out(repo, "a"))


def test_an_output_that_was_never_recorded_cannot_be_sent(root: Path, opened: Callable[[], Any]) -> None:
    repo = opened()
    with pytest.raises(InputError, match=r"reader\.txt has no md5 hash in dvc\.lock"):
        Carrier(repo).send(only_out(repo, "reader"))


def test_the_entry_of_the_run_cache_is_sent_too(root: Path, opened: Callable[[], Any], remote: Path) -> None:
    repo = opened()
    stage = graph.load_stage(repo, "a")
    carrier = Carrier(repo)
    carrier.send(stage.outs[0])
    carrier.send_entry(stage)
    [sent] = [path for path in (remote / "runs").rglob("*") if path.is_file()]
    assert sent.parent.name == run_cache.key_of(stage)
    assert sent.read_bytes() == run_cache.path_of(repo, sent.parent.name, sent.name).read_bytes()


def test_files_outside_the_cache_travel_as_contents(root: Path, opened: Callable[[], Any], tmp_path: Path) -> None:
    (root / "a.txt").chmod(0o755)
    repo = opened()
    files = read_files([only_out(repo, "a")], most=1000)
    write_files(tmp_path / "there", files)
    copy = tmp_path / "there" / "a.txt"
    assert copy.read_bytes() == (root / "a.txt").read_bytes()
    assert copy.stat().st_mode & 0o111
    with pytest.raises(InputError, match=r"a\.txt has \d+ bytes > 1 that a file outside the cache may have"):
        read_files([only_out(repo, "a")], most=1)
    with pytest.raises(InputError, match=r"out is a folder outside the cache"):
        read_files([only_out(repo, "folder")], most=1000)
