from datetime import UTC, datetime
from pathlib import Path

from pipeline.records import history
from pipeline.report.history_plot import history_plot
from tests.report import made_up

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_an_entry_keeps_the_verdict_and_the_figures_of_what_ships() -> None:
    entry = history.entry(made_up.verdict_of("PASS"), 0, 12.34, "abc", NOON)
    assert (entry["time"], entry["verdict"], entry["seconds"]) == ("2026-11-21T12:00:00+00:00", "PASS", 12.3)
    tflite = entry["models"][made_up.MODEL]["engines"]["tflite"]
    assert tflite["size_bytes"] == 3_720_000
    assert tflite["p95_ms"] > 0


def test_a_build_that_did_not_come_to_the_gate_is_kept_too() -> None:
    entry = history.entry(None, 5, 1, None, NOON)
    assert (entry["exit_code"], entry["verdict"], entry["models"]) == (5, None, {})


def test_lines_are_appended_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "history.jsonl"
    assert history.read(path) == []
    history.append(path, {"exit_code": 0})
    with path.open("a") as stream:
        stream.write('{"exit_co\n')
    history.append(path, {"exit_code": 3})
    assert [line["exit_code"] for line in history.read(path)] == [0, 3]


def test_two_nights_make_a_plot_and_one_does_not() -> None:
    night = history.entry(made_up.verdict_of("PASS"), 0, 1, None, NOON)
    assert history_plot([night], made_up.MODEL) is None
    assert history_plot([night, {**night, "models": {}}], made_up.MODEL) is None
    picture = history_plot([night, history.entry(made_up.verdict_of("FAIL"), 1, 1, None, NOON)], made_up.MODEL)
    assert picture is not None
    assert picture.count("<circle") == 6
    assert picture.count("fp32") == 3
