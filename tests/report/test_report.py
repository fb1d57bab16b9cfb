"""The page must say what a person decides from, and nothing outside of it may be needed."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.layout import Layout, Variant
from pipeline.params.file import load_params
from pipeline.records.export import KeptLayer, Reduction
from pipeline.records.verification import StepSummary
from pipeline.report import rows
from pipeline.report.artifacts import read_artifacts
from pipeline.report.numbers import format_quantity
from pipeline.report.page import render
from tests.report import made_up

VOID = {"meta"}


class Nesting(HTMLParser):
    """Collects tags that are not closed in order, and everything that loads from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.problems += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> on line {self.getpos()[0]}")


def _page(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(root)
    assert cli.main(["report"]) == 0
    html = (root / "artifacts/report/index.html").read_text(encoding="utf-8")
    nesting = Nesting()
    nesting.feed(html)
    assert (nesting.open, nesting.problems) == ([], [])
    assert "url(" not in html
    assert "@import" not in html
    return html


def _text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html.partition("</style>")[2]).split())


def test_a_pass_names_what_ships_and_the_closest_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.write_workspace(tmp_path)
    html = _page(tmp_path, monkeypatch)
    text = _text(html)
    assert "docs-embed ✓ PASS All 16 checks are within their budgets." in text
    assert "The closest is OpenVINO fp32: size 11.4 MB of at most 12.0 MB." in text
    assert html.count('class="yes"') == 3
    assert html.count("<svg") == 2
    assert html.count('class="bubble') == 9
    assert html.count('class="violin') == 9
    assert "openvino int8 DOES NOT PAY" in text
    assert "Failures" not in text
    assert "2.93 MB · 33 times as fast as the teacher in ONNX Runtime" in text
    assert "5 times as fast as the teacher in OpenVINO · 25 times as fast as the teacher in ONNX Runtime" in text


def test_a_fail_gives_the_number_and_lists_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.write_workspace(tmp_path, "FAIL", failure=True)
    text = _text(_page(tmp_path, monkeypatch))
    assert "✕ FAIL Not released: onnxruntime int8 p95_ms 0.377 ms &gt; budget 0.2 ms (params.yaml:109" in text
    assert "Failures OpenVINO int8 SIGFPE : killed by SIGFPE while compiling the model" in text
    assert "would ship" in text


def test_inconclusive_is_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.write_workspace(tmp_path, "INCONCLUSIVE")
    text = _text(_page(tmp_path, monkeypatch))
    assert "? INCONCLUSIVE No verdict is possible yet: onnxruntime int8" in text


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("artifacts/gate/verdict.json", "There is no verdict yet. Run dvc repro"),
        ("artifacts/benchmark/results.json", "Nothing was measured yet."),
        ("artifacts/fleet/docs-embed/verify.json", "No variants yet: dvc repro exports and verifies them."),
    ],
)
def test_what_is_missing_is_named_with_the_next_step(
    missing: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up.write_workspace(tmp_path)
    (tmp_path / missing).unlink()
    text = _text(_page(tmp_path, monkeypatch))
    assert said in text
    assert f"{missing} is missing: run dvc repro" in text
    assert f"{missing} is missing" in capsys.readouterr().out


def test_an_artifact_of_another_version_is_named_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up.write_workspace(tmp_path)
    made_up.write(tmp_path / "artifacts/gate/verdict.json", {"verdict": "PASS", "models": {}})
    text = _text(_page(tmp_path, monkeypatch))
    assert "verdict.json: host: Field required: dvc repro makes it anew" in text
    assert "There is no verdict yet." in text


def test_missing_samples_leave_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.write_workspace(tmp_path)
    for path in (tmp_path / "artifacts/benchmark/samples").iterdir():
        path.unlink()
    html = _page(tmp_path, monkeypatch)
    assert html.count("<svg") == 1
    assert "No raw samples: dvc repro benchmark" in _text(html)


def test_nothing_built_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_bytes((made_up.REPOSITORY / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report"]) == 4
    assert "nothing to report yet" in capsys.readouterr().err
    assert not (tmp_path / "artifacts").exists()


def test_names_from_outside_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up.write_workspace(tmp_path)
    results = made_up.results(tmp_path, failure=True)
    crash = results.failures[0].model_copy(update={"error": "<script>alert(1)</script>"})
    results.model_copy(update={"failures": (crash,)}).write(tmp_path / "artifacts/benchmark/results.json")
    html = _page(tmp_path, monkeypatch)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_a_step_that_does_not_shrink_is_warned_about() -> None:
    entries = [
        StepSummary(step="distill", params=100, macs=1000, size_bytes=400, quality={}),
        StepSummary(step="prune", params=90, macs=1000, size_bytes=410, quality={}),
    ]
    before, prune = rows.steps(entries)
    assert before.warnings == ()
    assert prune.warnings == ("prune did not lower the MACs", "prune did not lower the bytes")
    assert (prune.cells["params"].change, prune.cells["params"].warn) == ("-10.0%", False)
    assert prune.cells["size_bytes"].warn


def test_bars_put_the_limit_on_the_right_side() -> None:
    checks = made_up.verdict_of("FAIL").models["docs-embed"].checks
    params, latency, *_, recall = rows.budget_bars(checks)
    assert params.filled < params.limit < 1
    assert latency.limit < latency.filled < 1
    assert (latency.verdict, latency.left) == ("FAIL", "-88%")
    assert recall.at_least
    assert recall.limit < recall.filled


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(2_702_000, "parameters", "2.70 M"), (90.9e6, "bytes", "90.9 MB"), (512, "bytes", "512 B"),
     (0.52, "ms", "0.520 ms"), (210, "ms", "210 ms"), (0, "", "0"), (12_345, "ms", "12,345 ms")],
)  # fmt: skip
def test_quantities_have_three_digits(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


def test_a_product_without_teacher_export_and_pruning_has_a_whole_page(tmp_path: Path) -> None:
    made_up.write_workspace(tmp_path)
    loaded = load_params(tmp_path / "params.yaml").params
    models = {made_up.MODEL: loaded.models["minilm"]}
    params = loaded.model_copy(update={"fleet": {made_up.MODEL: "sentence_embedding"}, "models": models})
    found = read_artifacts(Layout(tmp_path), tuple(params.fleet))
    whole = found.verifications[made_up.MODEL]
    variants = tuple(one for one in whole.variants if one.variant.is_student)
    compressed = whole.model_copy(update={"variants": variants, "steps": whole.steps[:1]})
    verdict = made_up.verdict_of("PASS")
    alone = verdict.models[made_up.MODEL].model_copy(update={"speedup": {}})
    text = _text(
        render(
            params,
            replace(
                found,
                verifications={made_up.MODEL: compressed},
                verdict=verdict.model_copy(update={"models": {made_up.MODEL: alone}}),
            ),
        )
    )
    assert "docs-embed ✓ PASS" in text
    assert "as fast as the teacher" not in text
    assert "How sensitive" not in text


def test_each_reduced_precision_says_which_layers_it_keeps_in_float(tmp_path: Path) -> None:
    made_up.write_workspace(tmp_path)
    params = load_params(tmp_path / "params.yaml").params
    params = params.model_copy(update={"fleet": {made_up.MODEL: "sentence_embedding"}})
    found = read_artifacts(Layout(tmp_path), tuple(params.fleet))
    whole = found.verifications[made_up.MODEL]
    kept = Reduction(
        loss=0.002, tolerance=0.01, attempts=2, holds=True, kept_float=(KeptLayer(layer="head", error=0.3),)
    )
    variants = tuple(
        one.model_copy(update={"reduction": kept}) if one.variant is Variant.INT8 else one for one in whole.variants
    )
    changed = {made_up.MODEL: whole.model_copy(update={"variants": variants})}
    text = _text(render(params, replace(found, verifications=changed)))
    assert "Layers that int8 keeps in float" in text
    assert text.count("int8 loses 0.0020 on validation data, 0.0100 allowed; in float: head (error 0.3)") == 3
