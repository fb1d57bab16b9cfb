import json
from pathlib import Path

import pytest

from pipeline.orchestration.pages.notify import message, notify


def test_without_a_command_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARDLET_NOTIFY", raising=False)
    assert notify(message(1, "FAIL", [])) is None


def test_the_command_gets_the_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BARDLET_NOTIFY", f"cat > {tmp_path}/told")
    assert notify(message(3, "INCONCLUSIVE", ["p95 is noisy"])) is None
    told = json.loads((tmp_path / "told").read_text())
    assert told == {
        "text": "bardlet: the measurement is inconclusive",
        "exit_code": 3,
        "verdict": "INCONCLUSIVE",
        "lines": ["p95 is noisy"],
    }


def test_a_command_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARDLET_NOTIFY", "echo no mail >&2; exit 3")
    assert notify(message(1, "FAIL", [])) == "BARDLET_NOTIFY ended with 3: no mail"
