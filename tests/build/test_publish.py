from pipeline.build.publish import markdown, misses, tables
from tests.report import made_up


def test_tables_show_figures_against_budgets() -> None:
    found = tables(made_up.verdict_of("PASS"))
    assert set(found) == {"latency", "sizes", "quality"}
    [row] = [row for row in found["sizes"] if row["variant"] == "tflite int8" and row["budget"] == "size_bytes"]
    assert (row["observed"], row["allowed"], row["verdict"]) == ("3,720,000 bytes", "4,500,000 bytes", "PASS")


def test_the_verdict_names_what_misses_and_links_what_there_is() -> None:
    verdict = made_up.verdict_of("FAIL")
    text = markdown(verdict, [("report", "file:///r.html")])
    assert text.startswith("# FAIL\n")
    assert misses(verdict)
    assert all(message in text for message in misses(verdict))
    assert "[report](file:///r.html)" in text


def test_a_pass_says_so() -> None:
    assert "All budgets are kept." in markdown(made_up.verdict_of("PASS"), [])
