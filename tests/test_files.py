"""Atomic writing: errors and kills leave nothing half-written under a final name."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline import files
from pipeline.errors import IntegrityError

ROOT = Path(__file__).parents[1]


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def start(code: str, folder: Path) -> "subprocess.Popen[str]":
    """Start a writer in its own process and return when it has said that it is in the middle of its work."""
    script = "import sys, time\nfrom pathlib import Path\nfrom pipeline import files\n" + textwrap.dedent(code)
    writer = subprocess.Popen([sys.executable, "-c", script, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def kill(writer: "subprocess.Popen[str]") -> None:
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    assert writer.stdout is not None
    writer.stdout.close()


WRITE_FILE = """
    with files.new_file(Path(sys.argv[1]) / "model.onnx") as path, path.open("wb") as stream:
        stream.write(b"half")
        stream.flush()
        print("writing", flush=True)
        time.sleep(60)
"""
WRITE_FOLDER = """
    with files.new_folder(Path(sys.argv[1]) / "student") as folder:
        (folder / "config.json").write_text("half")
        print("writing", flush=True)
        time.sleep(60)
"""
REPLACE_FOREVER = """
    number = 0
    while True:
        with files.new_folder(Path(sys.argv[1]) / "student") as folder:
            for name in ("a", "b", "c"):
                (folder / name).write_text(str(number))
        files.write_json(Path(sys.argv[1]) / "report.json", {"number": number, "padding": "x" * 100_000})
        if number == 0:
            print("writing", flush=True)
        number += 1
"""


@pytest.mark.parametrize("code", [WRITE_FILE, WRITE_FOLDER])
def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path, code: str) -> None:
    kill(start(code, tmp_path))
    assert visible(tmp_path) == []


def test_a_killed_writer_leaves_the_earlier_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    kill(start(WRITE_FILE, tmp_path))
    assert (tmp_path / "model.onnx").read_bytes() == b"earlier"


def test_a_killed_writer_leaves_the_earlier_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.json").write_text("earlier")
    kill(start(WRITE_FOLDER, tmp_path))
    assert (tmp_path / "student" / "config.json").read_text() == "earlier"


@pytest.mark.parametrize("seed", range(8))
def test_a_replacer_killed_at_any_moment_leaves_whole_results(tmp_path: Path, seed: int) -> None:
    writer = start(REPLACE_FOREVER, tmp_path)
    time.sleep(random.Random(seed).uniform(0, 0.05))
    kill(writer)
    assert len(json.loads((tmp_path / "report.json").read_text())["padding"]) == 100_000
    student = tmp_path / "student"
    # A folder cannot be exchanged in one step, so it may be missing; it is never incomplete.
    if student.exists():
        assert visible(student) == ["a", "b", "c"]
        assert len({path.read_text() for path in student.iterdir()}) == 1


def test_an_error_leaves_no_trace_beside_the_earlier_folder(tmp_path: Path) -> None:
    final = tmp_path / "student"
    with files.new_folder(final) as folder:
        (folder / "config.json").write_text("earlier")
    with pytest.raises(RuntimeError, match="diverged"), files.new_folder(final) as folder:
        (folder / "config.json").write_text("half")
        raise RuntimeError("diverged")
    assert (final / "config.json").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_new_folder_takes_the_place_of_the_earlier_one_whole(tmp_path: Path) -> None:
    final = tmp_path / "artifacts" / "student"
    with files.new_folder(final) as folder:
        (folder / "old.json").write_text("1")
    with files.new_folder(final) as folder:
        (folder / "new.json").write_text("2")
    assert visible(final) == ["new.json"]
    assert [path.name for path in final.parent.iterdir()] == ["student"]


def test_an_error_leaves_no_trace_beside_the_earlier_file(tmp_path: Path) -> None:
    files.write_json(tmp_path / "report.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "report.json", {"a": float("nan")})
    assert files.read_json(tmp_path / "report.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_json_that_is_missing_or_broken_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is missing: run `dvc repro`"):
        files.read_json(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(IntegrityError, match="is not valid JSON"):
        files.read_json(tmp_path / "report.json")


def test_sha256_is_the_one_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


HOLD = """
    with files.hold(Path(sys.argv[1]) / "new" / "lock", print):
        print("writing", flush=True)
        time.sleep(60)
"""


def test_a_held_file_says_who_holds_it_and_a_refusal_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    def refuse(who: str) -> None:
        raise RuntimeError(who)

    with files.hold(path, refuse):
        held = path.read_text(encoding="utf-8")
        assert re.fullmatch(rf"PID {os.getpid()} since \d\d:\d\d:\d\d \(.+\)\n", held)
        with pytest.raises(RuntimeError, match=re.escape(held.strip())):
            files.hold(path, refuse)
        assert path.read_text(encoding="utf-8") == held
    files.hold(path, refuse).close()


def test_who_does_not_refuse_waits_until_the_holder_is_killed(tmp_path: Path) -> None:
    holder = start(HOLD, tmp_path)
    said: list[str] = []

    def kill(who: str) -> None:
        said.append(who)
        holder.kill()

    with files.hold(tmp_path / "new" / "lock", kill):
        assert said[0].startswith(f"PID {holder.pid} since ")
        assert (tmp_path / "new" / "lock").read_text(encoding="utf-8").startswith(f"PID {os.getpid()} since ")
    holder.wait()
