from pathlib import Path

from pipeline.orchestration.plan.lockfile import UnfinishedBuild, entries, in_order

LOCK = """schema: '2.0'
stages:
  b@x:
    cmd: python b.py
    outs:
    - path: b
      md5: 1
  'true':
    cmd: a
"""


def test_entries_are_the_stages_in_their_order() -> None:
    assert entries(LOCK) == ["b@x", "true"]
    assert entries("schema: '2.0'\n") == []
    assert entries(LOCK + "datasets:\n  x:\n    a: 1\n") == ["b@x", "true"]


def test_what_the_order_does_not_know_stays_behind() -> None:
    assert in_order(["z", "b", "a"], ["a", "b", "c"]) == ["a", "b", "z"]


def test_a_build_that_did_not_end_is_continued(tmp_path: Path) -> None:
    lock, unfinished = tmp_path / "dvc.lock", UnfinishedBuild(tmp_path / "state" / "unfinished.json")
    assert unfinished.base(lock) == []
    lock.write_text(LOCK)
    unfinished.note(lock, ["b@x"])
    assert unfinished.base(lock) == ["b@x"]


def test_another_dvc_lock_is_no_continuation(tmp_path: Path) -> None:
    lock, unfinished = tmp_path / "dvc.lock", UnfinishedBuild(tmp_path / "unfinished.json")
    lock.write_text(LOCK)
    unfinished.note(lock, [])
    lock.write_text(LOCK + "  c:\n    cmd: c\n")
    assert unfinished.base(lock) == ["b@x", "true", "c"]


def test_a_build_that_ended_leaves_no_trace(tmp_path: Path) -> None:
    lock, unfinished = tmp_path / "dvc.lock", UnfinishedBuild(tmp_path / "unfinished.json")
    lock.write_text(LOCK)
    unfinished.note(lock, [])
    unfinished.forget()
    assert unfinished.base(lock) == ["b@x", "true"]
    unfinished.forget()


def test_a_torn_note_is_ignored(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_text(LOCK)
    (tmp_path / "unfinished.json").write_text('{"')
    assert UnfinishedBuild(tmp_path / "unfinished.json").base(lock) == ["b@x", "true"]
