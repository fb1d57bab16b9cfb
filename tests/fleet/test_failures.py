"""Wrong input and sudden death: a clear error, and nothing lost."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.files import read_json, sha256
from pipeline.layout import Engine, Variant
from tests.fleet import workspace
from tests.fleet.workspace import MODEL, TEACHER, Fleet

WEIGHTS = f"{TEACHER}/model.safetensors"


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_another_checksum_than_the_pinned_one_is_refused_and_replaces_nothing(own: Fleet) -> None:
    before = workspace.snapshot(own.paths.teacher.parent)
    own.set("teacher.sha256", "0" * 64)
    done = own.stage("teacher", MODEL)
    assert done.code == 4
    assert WEIGHTS in done.error and sha256(own.root / WEIGHTS) in done.error and "0" * 64 in done.error
    assert "params.yaml:" in done.error
    assert workspace.snapshot(own.paths.teacher.parent) == before
    assert own.bardlet("validate").code == 4


def test_a_truncated_checkpoint_is_refused_and_replaces_nothing(own: Fleet) -> None:
    before = workspace.snapshot(own.paths.teacher.parent)
    truncate(own.root / WEIGHTS)
    done = own.stage("teacher", MODEL)
    assert done.code == 4
    assert WEIGHTS in done.error
    assert workspace.snapshot(own.paths.teacher.parent) == before
    assert own.bardlet("validate").code == 4


def test_a_truncated_checkpoint_is_named_even_where_its_checksum_is_pinned(own: Fleet) -> None:
    before = workspace.snapshot(own.paths.teacher.parent)
    truncate(own.root / WEIGHTS)
    own.set("teacher.sha256", sha256(own.root / WEIGHTS))
    done = own.stage("teacher", MODEL)
    assert done.code == 4
    assert f"{WEIGHTS} is truncated" in done.error
    assert workspace.snapshot(own.paths.teacher.parent) == before


def test_broken_lines_are_all_named_and_replace_nothing(own: Fleet) -> None:
    before = workspace.snapshot(own.paths.data)
    lines = ['{"text": "This line is as it should be."}', '{"text": ', "[1, 2]", '{"body": "without its summary"}']
    (own.root / "data/raw/broken.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (own.root / "data/raw/latin.txt").write_bytes("Fine.\nDie Größe der Datei.\n".encode("latin-1"))
    done = own.stage("data", MODEL)
    assert done.code == 2
    for where in ("broken.jsonl:2", "broken.jsonl:3", "broken.jsonl:4", "latin.txt:2"):
        assert f"data/raw/{where}: " in done.error
    assert "broken.jsonl:1" not in done.error
    assert workspace.snapshot(own.paths.data) == before


@pytest.mark.parametrize("moment", ["random", "saving"])
def test_a_stage_that_is_killed_leaves_nothing_half_written(moment: str, own: Fleet) -> None:
    folder = own.paths.student.parent
    before = workspace.snapshot(folder)
    own.set("distill.epochs", 5000 if moment == "random" else 2)
    with own.start("distill") as process:
        wait_for(folder, ".student.*/*" if moment == "saving" else ".student.*", process)
        if moment == "random":
            time.sleep(random.uniform(0, 5))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = workspace.snapshot(folder)
    assert {name: content for name, content in left.items() if not name.startswith(".student.")} == before


def wait_for(folder: Path, pattern: str, process: "subprocess.Popen[bytes]") -> None:
    while not list(folder.glob(pattern)):
        assert process.poll() is None, f"it ended before there was a {pattern}"
        time.sleep(0.0005)


def test_an_engine_that_cannot_load_fails_its_variant_alone(own: Fleet) -> None:
    broken = own.paths.variant(Engine.ONNXRUNTIME, Variant.INT8)
    truncate(broken)
    content = read_json(own.paths.verification)
    (entry,) = [v for v in content["variants"] if (v["engine"], v["variant"]) == ("onnxruntime", "int8")]
    entry["files"][broken.name] = {"sha256": sha256(broken), "size_bytes": broken.stat().st_size}
    own.paths.verification.write_text(json.dumps(content), encoding="utf-8")
    done = own.stage("benchmark")
    assert done.code == 0, done.said
    results = read_json(own.layout.results)
    assert [(f["model"], f["engine"], f["variant"]) for f in results["failures"]] == [(MODEL, "onnxruntime", "int8")]
    assert "failed while loading" in results["failures"][0]["error"]
    measured = {(m["engine"], m["variant"]) for m in results["measurements"]}
    assert measured == {(v["engine"], v["variant"]) for v in content["variants"]} - {("onnxruntime", "int8")}
    gate = own.stage("gate")
    assert gate.code == 0
    assert read_json(own.layout.verdict)["models"][MODEL]["chosen"]["onnxruntime"] == "fp32"
