"""What follows a build: history and notification, without Prefect."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, StageError
from pipeline.layout import Layout
from pipeline.orchestration.pages.aftermath import conclude
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from tests.report import made_up

GATE = StageResult("gate", StageOutcome.BUILT)
REFUSED = StageResult("release@docs-embed", StageOutcome.FAILED, message="exited with 1", exit_code=1)
BROKEN = StageResult("data@docs-embed", StageOutcome.FAILED, message="exited with 5", exit_code=5)
CANCELLED = StageResult("data@docs-embed", StageOutcome.CANCELLED, message="ended")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARDLET_NOTIFY", f"cat > {tmp_path}/told")
    return tmp_path / "told"


def layout(root: Path, verdict: str) -> Layout:
    made_up.write(root / "artifacts/gate/verdict.json", made_up.verdict_of(verdict))
    return Layout(root)


def message(told: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(told.read_text())
    return read


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_gate_that_is_no_pass_is_told_even_where_no_release_was_asked_for(
    tmp_path: Path, told: Path, verdict: str
) -> None:
    ended = conclude(layout(tmp_path, verdict), [GATE], None, 1, keep=True)
    assert ended.exit_code == 0
    assert message(told)["verdict"] == verdict
    assert (
        message(told)["text"]
        == {
            "FAIL": "bardlet: a budget is missed",
            "INCONCLUSIVE": "bardlet: the measurement is inconclusive",
        }[verdict]
    )
    assert json.loads((tmp_path / "artifacts/history.jsonl").read_text())["verdict"] == verdict


def test_a_refused_release_is_told_with_what_misses(tmp_path: Path, told: Path) -> None:
    assert conclude(layout(tmp_path, "FAIL"), [GATE, REFUSED], None, 1, keep=False).exit_code == 1
    assert any("onnxruntime int8 p95_ms" in line for line in message(told)["lines"])
    assert not (tmp_path / "artifacts/history.jsonl").exists()


def test_a_pass_is_not_told(tmp_path: Path, told: Path) -> None:
    ended = conclude(layout(tmp_path, "PASS"), [GATE], None, 1, keep=False)
    assert ended.verdict is not None
    assert not told.exists()


def test_a_verdict_of_an_earlier_build_is_not_taken_for_this_one(tmp_path: Path, told: Path) -> None:
    ended = conclude(layout(tmp_path, "PASS"), [BROKEN, StageResult("gate", StageOutcome.SKIPPED)], None, 1, keep=True)
    assert (ended.verdict, ended.exit_code) == (None, 5)
    assert message(told)["lines"] == ["data@docs-embed: exited with 5", "gate: "]
    assert json.loads((tmp_path / "artifacts/history.jsonl").read_text())["verdict"] is None


def test_a_build_that_could_not_start_is_kept_and_told(tmp_path: Path, told: Path) -> None:
    ended = conclude(Layout(tmp_path), [], InputError("no stage 'aa' in dvc.yaml"), 1, keep=True)
    assert (ended.text, ended.exit_code) == ("build: error: no stage 'aa' in dvc.yaml", 2)
    assert ended.headline == "error: no stage 'aa' in dvc.yaml"
    assert message(told)["lines"] == ["no stage 'aa' in dvc.yaml"]
    assert json.loads((tmp_path / "artifacts/history.jsonl").read_text())["exit_code"] == 2


def test_a_build_that_could_not_be_shared_has_failed_and_says_what_it_built(tmp_path: Path, told: Path) -> None:
    problem = StageError("not everything was pushed: disk full")
    ended = conclude(layout(tmp_path, "PASS"), [GATE], problem, 1, keep=False)
    assert ended.exit_code == 5
    assert ended.headline == "error: not everything was pushed: disk full; the gate says PASS"
    assert "1 built" in ended.text
    assert message(told)["lines"] == ["not everything was pushed: disk full"]


def test_a_cancelled_build_is_neither_kept_nor_told(tmp_path: Path, told: Path) -> None:
    assert conclude(Layout(tmp_path), [CANCELLED], None, 1, keep=True).exit_code == 130
    assert not told.exists()
    assert not (tmp_path / "artifacts/history.jsonl").exists()


def test_a_command_that_fails_is_part_of_what_the_build_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARDLET_NOTIFY", "exit 7")
    assert "BARDLET_NOTIFY ended with 7" in conclude(Layout(tmp_path), [BROKEN], None, 1, keep=False).text
