import json
from datetime import UTC, datetime
from pathlib import Path

from pipeline.layout import Engine
from pipeline.records import history
from pipeline.report.history_plot import history_plot
from tests.report import made_up

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_an_entry_keeps_the_verdict_and_the_figures_of_what_ships() -> None:
    night = history.night(made_up.verdict_of("PASS"), 0, 12.34, "abc", NOON)
    assert (night.time, night.verdict, night.seconds) == ("2026-11-21T12:00:00+00:00", "PASS", 12.3)
    tflite = night.models[made_up.MODEL].engines[Engine.TFLITE]
    assert tflite["size_bytes"] == 3_720_000
    assert tflite["p95_ms"] > 0
    assert set(tflite) == {"p95_ms", "size_bytes", "memory_bytes", "fidelity_spearman", "recall_at_1_kept"}


def test_a_build_that_did_not_come_to_the_gate_is_kept_too() -> None:
    night = history.night(None, 5, 1, None, NOON)
    assert (night.exit_code, night.verdict, night.models) == (5, None, {})


def test_lines_are_appended_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "history.jsonl"
    assert history.read(path) == []
    history.append(path, history.night(made_up.verdict_of("PASS"), 0, 1, None, NOON))
    with path.open("a") as stream:
        stream.write('{"exit_co\n')
    history.append(path, history.night(None, 3, 1, None, NOON))
    assert [night.exit_code for night in history.read(path)] == [0, 3]
    assert history.read(path)[0] == history.night(made_up.verdict_of("PASS"), 0, 1, None, NOON)


def test_a_line_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    model = {"verdict": "PASS", "engines": {"tflite": {"p95_ms": 0.2, "accuracy_kept": 1}}}
    line = {
        "time": "2026-11-01T02:00:00+00:00", "commit": "abc", "exit_code": 0, "seconds": 12.3, "verdict": "PASS",
        "host": "0123", "models": {"m": model},
    }  # fmt: skip
    (tmp_path / "history.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    [night] = history.read(tmp_path / "history.jsonl")
    assert night.models["m"].engines[Engine.TFLITE]["p95_ms"] == 0.2


def test_of_several_cases_the_first_is_the_one_that_is_drawn() -> None:
    verdict = made_up.verdict_of("PASS")
    model = verdict.models[made_up.MODEL]
    [latency] = [one for one in model.checks if one.engine == "tflite" and one.kind == "latency"]
    cases = [
        latency.model_copy(update={"case": name, "observed": ms}) for name, ms in (("token", 2.0), ("first", 30.0))
    ]
    model = model.model_copy(update={"checks": tuple(cases)})
    night = history.night(verdict.model_copy(update={"models": {"m": model}}), 0, 1, None, NOON)
    assert night.models["m"].engines[Engine.TFLITE] == {"p95_ms": 2.0, "p95_ms token": 2.0, "p95_ms first": 30.0}


def test_two_nights_make_a_plot_and_one_does_not() -> None:
    night = history.night(made_up.verdict_of("PASS"), 0, 1, None, NOON)
    assert history_plot([night], made_up.MODEL) is None
    assert history_plot([night, night.model_copy(update={"models": {}})], made_up.MODEL) is None
    picture = history_plot([night, history.night(made_up.verdict_of("FAIL"), 1, 1, None, NOON)], made_up.MODEL)
    assert picture is not None
    assert picture.count("<circle") == 6
    assert picture.count("fp32") == 3
