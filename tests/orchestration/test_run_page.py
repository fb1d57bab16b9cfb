from pathlib import Path

from pipeline.layout import Layout
from pipeline.orchestration.pages.run_page import links, markdown, stage_rows, tables
from pipeline.orchestration.plan.schedule import StageOutcome, StageResult
from tests.report import made_up


def test_tables_show_figures_against_budgets() -> None:
    found = tables(made_up.verdict_of("PASS"))
    assert set(found) == {"latency", "sizes", "quality"}
    [row] = [row for row in found["sizes"] if row["variant"] == "tflite int8" and row["budget"] == "size_bytes"]
    assert (row["observed"], row["allowed"], row["verdict"]) == ("3,720,000 bytes", "4,500,000 bytes", "PASS")


def test_quality_is_what_the_task_of_a_model_calls_so() -> None:
    verdict = made_up.verdict_of("PASS")
    model = verdict.models[made_up.MODEL]
    check = model.checks[-1].model_copy(update={"name": "accuracy_kept"})
    digits = model.model_copy(update={"checks": (check,)})
    found = tables(verdict.model_copy(update={"models": {"digits": digits}}))
    assert [(row["model"], row["budget"]) for row in found["quality"]] == [("digits", "accuracy_kept")]


def test_the_verdict_names_what_misses_and_links_what_there_is() -> None:
    verdict = made_up.verdict_of("FAIL")
    text = markdown(verdict, [("report", "http://127.0.0.1/r.html"), ("model card: somewhere", None)])
    assert text.startswith("# FAIL\n")
    assert verdict.misses()
    assert all(message in text for message in verdict.misses())
    assert "- [report](http://127.0.0.1/r.html)" in text
    assert "- model card: somewhere" in text


def test_a_pass_says_so() -> None:
    assert "All budgets are kept." in markdown(made_up.verdict_of("PASS"), [])


def test_links_lead_to_what_is_there_and_are_paths_where_nobody_serves_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    verdict = made_up.verdict_of("PASS")
    assert links(layout, verdict, "http://here") == []
    card = layout.model(made_up.MODEL).release / "README.md"
    card.parent.mkdir(parents=True)
    card.touch()
    address = f"http://here/artifacts/{made_up.MODEL}/release/README.md"
    assert links(layout, verdict, "http://here") == [(f"model card of {made_up.MODEL}", address)]
    assert links(layout, verdict, None) == [(f"model card of {made_up.MODEL}: {card}", None)]


def test_stages_that_ran_say_why() -> None:
    results = [
        StageResult("a", StageOutcome.CACHED),
        StageResult("b", StageOutcome.BUILT, ("params.yaml: b.epochs 4 → 6",), seconds=1.23),
        StageResult("c", StageOutcome.FAILED, ("never built",), "exited with 3", 3, 0.5),
    ]
    assert stage_rows(results) == [
        {"stage": "b", "outcome": "built", "seconds": "1.2", "why": "params.yaml: b.epochs 4 → 6"},
        {"stage": "c", "outcome": "failed", "seconds": "0.5", "why": "exited with 3"},
    ]
