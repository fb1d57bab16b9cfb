"""The gate on evidence made by hand: what passes, what fails, what ships, and what is said about it."""

import re
from pathlib import Path

import pytest

from pipeline.commands.gate import gate
from pipeline.errors import BudgetError, InconclusiveError, InputError, IntegrityError
from pipeline.files import read_json, write_json
from pipeline.layout import Engine, Layout, Variant
from pipeline.records.verdict import CheckKind, Outcome, Verdict
from stages.gate import run as run_stage
from tests.gate.fleet_of_one import (
    BLOCKS_MS,
    MEGABYTE,
    PARAMS_YAML,
    FleetOfOne,
    measurement,
    missed,
    model_params,
    payoff_message,
)


@pytest.fixture
def evidence() -> FleetOfOne:
    return FleetOfOne()


def test_all_budgets_met_passes_and_ships_int8(evidence: FleetOfOne) -> None:
    verdict = evidence.judge()
    model = verdict.models["m"]
    assert verdict.verdict is Outcome.PASS
    assert set(model.chosen.values()) == {Variant.INT8}
    for speedup in model.speedup.values():
        assert speedup.variant is Variant.INT8
        assert speedup.over_teacher_on_onnxruntime == pytest.approx(20)
        assert speedup.over_teacher_on_same_engine == pytest.approx(20)
    # parameters and MACs once; per engine: verified, p95, memory, size, fidelity, its drop, recall kept
    assert len(model.checks) == 2 + 3 * 7
    assert all(payoff.pays for payoff in model.payoff)


def test_passing_check_says_number_budget_margin_and_line(evidence: FleetOfOne) -> None:
    [check] = [c for c in evidence.judge().models["m"].checks if c.budget == "models.m.budgets.openvino.p95_ms"]
    assert (check.observed, check.allowed, check.unit, check.margin, check.line) == (1.0, 8, "ms", 7.0, 41)
    assert check.margin_fraction == pytest.approx(7 / 8)
    assert check.message == ("openvino int8 p95 1 ms <= budget 8 ms (params.yaml:41, models.m.budgets.openvino.p95_ms)")


def test_gate_rejects_p95_over_budget(evidence: FleetOfOne) -> None:
    verdict = evidence.judge(model_params(openvino={"p95_ms": 0.5}))
    assert verdict.verdict is Outcome.FAIL
    assert verdict.models["m"].chosen[Engine.OPENVINO] is None
    [check] = missed(verdict)
    # int8 is nearer to the budget than fp32 and is the one that is shown
    assert (check.variant, check.margin) == (Variant.INT8, -0.5)
    [message] = verdict.misses()
    assert message == (
        "m: openvino int8 p95 1 ms > budget 0.5 ms (params.yaml:41, models.m.budgets.openvino.p95_ms)"
        "; 3 of 3 blocks are over it (1 to 1 ms)"
    )


def test_one_quiet_block_within_budget_is_inconclusive(evidence: FleetOfOne) -> None:
    evidence.blocks("tflite", "int8", (0.9, 9.0, 30.0))
    evidence.blocks("tflite", "fp32", (10.0, 10.0, 30.0))
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert verdict.models["m"].chosen[Engine.TFLITE] is Variant.INT8
    [check] = missed(verdict)
    assert "2 of 3 blocks are over it (0.9 to 30 ms), too noisy for a verdict: measure again" in check.message


def test_noise_does_not_turn_a_pass_into_anything_else(evidence: FleetOfOne) -> None:
    evidence.blocks("tflite", "int8", (0.9, 1.0, 3000.0))
    assert evidence.judge().verdict is Outcome.PASS


def test_no_budget_gives_no_check(evidence: FleetOfOne) -> None:
    none = dict.fromkeys(("p95_ms", "size_bytes", "memory_bytes"), "none")
    quality = dict.fromkeys(("fidelity_spearman", "int8_fidelity_drop", "recall_at_1_kept"), "none")
    params = model_params(onnxruntime=none, openvino=none, tflite=none, quality=quality, params="none", macs="none")
    verdict = evidence.judge(params)
    assert verdict.verdict is Outcome.PASS
    assert {check.unit for check in verdict.models["m"].checks} == {"problems"}


@pytest.mark.parametrize(
    ("change", "budget", "margin"),
    [
        ({"fidelity_spearman": 0.71}, "quality.fidelity_spearman", -0.01),
        ({"fidelity_spearman": 0.74}, "quality.int8_fidelity_drop", -0.01),
        ({"recall_at_1": 0.48}, "quality.recall_at_1_kept", -0.05),
    ],
)
def test_lost_quality_of_int8_ships_fp32(
    evidence: FleetOfOne, change: dict[str, float], budget: str, margin: float
) -> None:
    quality = evidence.variants["onnxruntime", "int8"]["quality"]
    evidence.variants["onnxruntime", "int8"]["quality"] = quality | change
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].chosen[Engine.ONNXRUNTIME] is Variant.FP32
    assert any(budget in reason for reason in verdict.models["m"].rejected)
    both_small = evidence.judge(model_params(onnxruntime={"size_bytes": 4 * MEGABYTE}))
    assert both_small.verdict is Outcome.FAIL
    checks = {check.budget.removeprefix("models.m.budgets."): check for check in missed(both_small)}
    if budget in checks:
        assert checks[budget].margin == pytest.approx(margin)


def test_fidelity_below_budget_everywhere_fails(evidence: FleetOfOne) -> None:
    for name in ("fp32", "int8"):
        evidence.variants["tflite", name]["quality"] = {"fidelity_spearman": 0.7, "recall_at_1": 0.55}
    [check] = missed(evidence.judge())
    assert check.margin == pytest.approx(-0.02)
    assert check.message.startswith("tflite int8 fidelity 0.7 < budget 0.72 (params.yaml:41, ")


def test_quality_that_was_not_measured_fails_and_says_what_to_do(evidence: FleetOfOne) -> None:
    for entry in evidence.variants.values():
        entry["quality"] = {"fidelity_spearman": 0.76}
    checks = missed(evidence.judge())
    assert len(checks) == 3
    assert checks[0].observed is None
    assert "recall@1 kept of the teacher's was not measured: it needs data.retrieval_pairs" in checks[0].message


def test_too_many_parameters_fail(evidence: FleetOfOne) -> None:
    evidence.student["params"] = 3_000_001
    [check] = missed(evidence.judge())
    assert (check.engine, check.margin) == (None, -1)
    assert check.message.startswith("student 3,000,001 parameters > budget 3,000,000 parameters (params.yaml:41, ")


def test_crashed_variant_leaves_the_other_to_ship(evidence: FleetOfOne) -> None:
    evidence.crash("openvino", "int8", "killed by SIGFPE while loading")
    verdict = evidence.judge()
    model = verdict.models["m"]
    assert verdict.verdict is Outcome.PASS
    assert model.chosen[Engine.OPENVINO] is Variant.FP32
    assert model.rejected == ("openvino int8 killed by SIGFPE while loading (params.yaml:41, models.m.budgets.case)",)
    assert "cannot be compared" in payoff_message(verdict, Engine.OPENVINO)


def test_crash_of_both_variants_fails_and_names_it(evidence: FleetOfOne) -> None:
    evidence.crash("openvino", "int8", "killed by SIGSEGV while loading")
    evidence.crash("openvino", "fp32", "killed by SIGKILL while loading")
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.models["m"].chosen[Engine.OPENVINO] is None
    assert "openvino int8 killed by SIGSEGV while loading" in verdict.misses()[0]
    assert any("openvino fp32 killed by SIGKILL" in reason for reason in verdict.models["m"].rejected)


def test_crash_outside_the_judged_case_fails_the_variant_too(evidence: FleetOfOne) -> None:
    error = "killed by SIGSEGV while measuring b8_l32, block 1 of 5"
    evidence.failures = [{"model": "m", "engine": "tflite", "variant": "int8", "error": error, "signal": "SIGSEGV"}]
    assert evidence.judge().models["m"].chosen[Engine.TFLITE] is Variant.FP32


def test_nothing_measured_at_all_fails(evidence: FleetOfOne) -> None:
    evidence.measured.clear()
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.models["m"].speedup == {}


def test_unverified_variant_does_not_ship(evidence: FleetOfOne) -> None:
    evidence.variants["tflite", "int8"] |= {"problems": ["mean_cosine 0.9 < 0.97"]}
    model = evidence.judge().models["m"]
    assert model.chosen[Engine.TFLITE] is Variant.FP32
    assert model.rejected[0].startswith("tflite int8 is not verified: mean_cosine 0.9 < 0.97 (params.yaml:41")


def test_engine_without_variants_fails(evidence: FleetOfOne) -> None:
    for name in BLOCKS_MS:
        del evidence.variants["tflite", name]
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert "is not in verify.json" in verdict.misses()[0]


def test_int8_that_is_slower_does_not_ship(evidence: FleetOfOne) -> None:
    evidence.blocks("openvino", "int8", (3.0, 3.0, 3.0))
    verdict = evidence.judge()
    [payoff] = [p for p in verdict.models["m"].payoff if p.engine is Engine.OPENVINO]
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].chosen[Engine.OPENVINO] is Variant.FP32
    assert (payoff.smaller, payoff.faster, payoff.pays) == (True, False, False)
    assert payoff.speed_ratio == pytest.approx(2 / 3)
    assert "DOES NOT PAY: it is not faster" in payoff.message
    assert payoff.message.endswith("fp32 ships instead")


def test_slower_int8_ships_loudly_when_fp32_is_too_large(evidence: FleetOfOne) -> None:
    evidence.blocks("openvino", "int8", (3.0, 3.0, 3.0))
    verdict = evidence.judge(model_params(openvino={"size_bytes": 3_700_000}))
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].chosen[Engine.OPENVINO] is Variant.INT8
    assert payoff_message(verdict, Engine.OPENVINO).endswith(
        "int8 ships all the same, because fp32 is not within its budgets: openvino fp32 size 11,000,000 bytes > "
        "budget 3,700,000 bytes (params.yaml:41, models.m.budgets.openvino.size_bytes)"
    )


def test_case_that_was_not_measured_is_an_input_error(evidence: FleetOfOne) -> None:
    params = model_params(case={"length": 48})
    with pytest.raises(InputError, match=r"48 tokens, 1 threads, which was not measured; measured: b1_l32 with 1"):
        evidence.judge(params)


def test_a_case_that_changed_since_it_was_measured_is_an_input_error(evidence: FleetOfOne) -> None:
    params = model_params(case={"threads": 2})
    with pytest.raises(InputError, match=r"32 tokens, 2 threads, which was not measured; measured: b1_l32 with 1"):
        evidence.judge(params)


def test_a_verification_without_a_field_is_an_integrity_error(tmp_path: Path, evidence: FleetOfOne) -> None:
    layout = workspace(tmp_path, evidence)
    path = layout.model("docs-embed").verification
    content = read_json(path)
    del content["variants"][8]["size_bytes"]
    write_json(path, content)
    with pytest.raises(IntegrityError, match=r"verify\.json: variants\.8\.size_bytes: Field required"):
        gate(tmp_path)


def test_lines_decide_nothing(evidence: FleetOfOne) -> None:
    first, second = (evidence.judge(line=line).models["m"] for line in (lambda key: 1, lambda key: None))
    assert (first.verdict, first.chosen) == (second.verdict, second.chosen)


def workspace(root: Path, evidence: FleetOfOne, p95_ms: str = "8") -> Layout:
    """The real params.yaml with one model in its fleet, and the evidence as files."""
    layout = Layout(root)
    text = PARAMS_YAML.read_text(encoding="utf-8")
    assert "openvino: {p95_ms: 8," in text
    text, blocks = re.subn(r"(?<=^fleet:\n)(  .*\n)+", "  docs-embed: sentence_embedding\n", text, flags=re.MULTILINE)
    assert blocks == 1
    layout.params.write_text(text.replace("openvino: {p95_ms: 8,", f"openvino: {{p95_ms: {p95_ms},"), encoding="utf-8")
    name = "docs-embed"
    # Its MACs are not what this is about.
    student = evidence.verification.student.model_copy(update={"macs": 1})
    verification = evidence.verification.model_copy(update={"model": name, "student": student})
    verification.write(layout.model(name).verification)
    results = evidence.results
    measurements = tuple(one.model_copy(update={"model": name}) for one in results.measurements)
    results.model_copy(update={"measurements": measurements}).write(layout.results)
    return layout


def test_stage_leaves_a_failing_verdict_with_the_line(
    tmp_path: Path, evidence: FleetOfOne, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = workspace(tmp_path, evidence, p95_ms="0.5")
    run_stage(tmp_path)
    verdict = read_json(layout.verdict)
    line = next(
        number
        for number, text in enumerate(layout.params.read_text(encoding="utf-8").splitlines(), start=1)
        if "p95_ms: 0.5" in text
    )
    model = verdict["models"]["docs-embed"]
    [check] = [check for check in model["checks"] if check["verdict"] == "FAIL" and check["unit"] == "ms"]
    assert verdict["verdict"] == "FAIL"
    assert (check["line"], check["engine"], check["margin"]) == (line, "openvino", -0.5)
    assert model["chosen"] == {"onnxruntime": "int8", "openvino": None, "tflite": "int8"}
    assert f"> budget 0.5 ms (params.yaml:{line}," in capsys.readouterr().out


def test_command_shows_checks_and_raises_by_verdict(
    tmp_path: Path, evidence: FleetOfOne, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace(tmp_path, evidence)
    gate(tmp_path)
    shown = capsys.readouterr().out
    assert "openvino int8" in shown
    assert "verdict: PASS" in shown
    workspace(tmp_path, evidence, p95_ms="0.5")
    with pytest.raises(BudgetError, match=r"openvino int8 p95 1 ms > budget 0\.5 ms") as failing:
        gate(tmp_path)
    assert failing.value.exit_code == 1
    evidence.blocks("openvino", "int8", (0.4, 0.6, 0.6))
    workspace(tmp_path, evidence, p95_ms="0.5")
    with pytest.raises(InconclusiveError, match="too noisy for a verdict") as unclear:
        gate(tmp_path)
    assert unclear.value.exit_code == 3


def test_the_verdict_of_a_model_does_not_change_with_those_of_others(evidence: FleetOfOne) -> None:
    alone = evidence.judge()
    [name] = alone.models
    failed = alone.models[name].model_copy(update={"verdict": Outcome.FAIL})
    fleet = Verdict(verdict=Outcome.FAIL, host=alone.host, models={**alone.models, "other": failed})
    assert fleet.of(name) == alone
    assert fleet.of("other").verdict is Outcome.FAIL


def test_too_many_multiply_accumulates_fail(evidence: FleetOfOne) -> None:
    evidence.student["macs"] = 20_000_001
    [check] = missed(evidence.judge())
    assert (check.kind, check.engine, check.margin) == (CheckKind.MACS, None, -1)
    assert check.message.startswith("student 20,000,001 MACs > budget 20,000,000 MACs (params.yaml:41, ")


def test_each_judged_case_has_its_own_latency_budget(evidence: FleetOfOne) -> None:
    cases = {
        "token": {"batch": 1, "length": 1, "threads": 1},
        "first_token": {"batch": 1, "length": 32, "threads": 1},
    }
    p95_ms = {"p95_ms": {"token": 0.5, "first_token": 8}}
    params = model_params(cases=cases, onnxruntime=p95_ms, openvino=p95_ms, tflite=p95_ms)
    token = {"case": "b1_l1", "shape": {"batch": 1, "length": 1}, "judged": ["token"]}
    for key, one in evidence.measured.items():
        one["judged"] = ["first_token"]
        blocks_ms = (0.6, 0.6, 0.6) if key == ("tflite", "int8") else (0.1, 0.1, 0.1)
        evidence.more_measured.append(measurement(*key, blocks_ms, **token, peak_memory_bytes=MEGABYTE))
    verdict = evidence.judge(params)
    model = verdict.models["m"]
    assert model.chosen[Engine.TFLITE] is Variant.FP32
    [reason] = [one for one in model.rejected if one.startswith("tflite")]
    assert reason.startswith("tflite int8 token p95 0.6 ms > budget 0.5 ms")
    assert "models.m.budgets.tflite.p95_ms.token)" in reason
    latencies = [(c.case, c.observed) for c in model.checks if c.kind is CheckKind.LATENCY and c.engine == "tflite"]
    assert latencies == [("token", 0.1), ("first_token", 2.0)]
    [memory] = [c for c in model.checks if c.kind is CheckKind.MEMORY and c.engine == "tflite"]
    assert memory.observed == 100 * MEGABYTE
    evidence.more_measured.clear()
    with pytest.raises(InputError, match=r"models\.m\.budgets\.cases\.token asks for batch 1, 1 tokens, 1 threads"):
        evidence.judge(params)


def test_a_model_that_is_its_own_teacher_has_no_speed_up(evidence: FleetOfOne) -> None:
    for engine in Engine:
        del evidence.variants[engine.value, "teacher"], evidence.measured[engine.value, "teacher"]
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].speedup == {}


def test_the_speed_up_is_against_the_teacher_on_the_same_engine_and_on_onnxruntime(evidence: FleetOfOne) -> None:
    evidence.blocks("openvino", "teacher", (5.0, 5.0, 5.0))
    evidence.blocks("openvino", "int8", (4.0, 4.0, 4.0))
    openvino = evidence.judge().models["m"].speedup[Engine.OPENVINO]
    assert openvino.variant is Variant.FP32
    assert openvino.over_teacher_on_same_engine == pytest.approx(2.5)
    assert openvino.over_teacher_on_onnxruntime == pytest.approx(10)


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path, evidence: FleetOfOne) -> None:
    verdict = evidence.judge(model_params(openvino={"p95_ms": 0.5}))
    verdict.write(tmp_path / "verdict.json")
    assert Verdict.read(tmp_path / "verdict.json") == verdict
