"""The gate on evidence made by hand: what passes, what fails, what ships, and what is said about it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.gate import gate
from pipeline.errors import BudgetError, InconclusiveError, InputError, IntegrityError
from pipeline.files import read_json, write_json
from pipeline.gate.checks import Check
from pipeline.gate.statistics import Outcome
from pipeline.gate.verdict import Verdict, judge
from pipeline.layout import Engine, Layout, Variant
from pipeline.tasks.sentence_embedding.params import Budgets, ModelParams
from stages.gate import run as run_stage

PARAMS_YAML = Path(__file__).parents[2] / "params.yaml"
ENGINES = ("onnxruntime", "openvino", "tflite")
MEGABYTE = 1_000_000


def model_params(**engine_budgets: Mapping[str, Any] | str) -> ModelParams:
    """The model of params.yaml with round budgets; `openvino={"p95_ms": 1}` changes one of them."""
    tree = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))["models"]["docs-embed"]
    budgets: dict[str, Any] = {
        "case": {"batch": 1, "length": 32, "threads": 1},
        "params": 3 * MEGABYTE,
        "quality": {"fidelity_spearman": 0.72, "int8_fidelity_drop": 0.01, "recall_at_1_kept": 0.85},
    }
    for engine in ENGINES:
        budgets[engine] = {"p95_ms": 8, "size_bytes": 12 * MEGABYTE, "memory_bytes": 400 * MEGABYTE}
    for key, changed in engine_budgets.items():
        budgets[key] = {**budgets[key], **changed} if isinstance(changed, dict) else changed
    model = ModelParams.model_validate(tree)
    return model.model_copy(update={"budgets": Budgets.model_validate(budgets)})


def variant(engine: str, name: str, **changes: Any) -> dict[str, Any]:
    """An entry of variants.json: fp32 of 11 MB, int8 of 3 MB, both good enough."""
    quality = {"fidelity_spearman": 0.76, "recall_at_1": 0.55, "recall_at_10": 0.8}
    entry = {
        "engine": engine,
        "variant": name,
        "size_bytes": {"teacher": 90, "fp32": 11, "int8": 3}[name] * MEGABYTE,
        "quality": quality,
        "verified": True,
        "problems": [],
    }
    return entry | changes


def measurement(engine: str, name: str, block_ms: tuple[float, ...], **changes: Any) -> dict[str, Any]:
    """An entry of results.json."""
    entry = {
        "model": "m",
        "engine": engine,
        "variant": name,
        "case": "b1_l32",
        "batch": 1,
        "length": 32,
        "threads": 1,
        "all_cores": False,
        "latency_p50_ms": sorted(block_ms)[len(block_ms) // 2] / 2,
        "block_p50_ms": [value / 2 for value in block_ms],
        "block_p95_ms": list(block_ms),
        "peak_memory_bytes": 100 * MEGABYTE,
    }
    return entry | changes


BLOCKS_MS = {"teacher": (20.0, 20.0, 20.0), "fp32": (2.0, 2.0, 2.0), "int8": (1.0, 1.0, 1.0)}


class Evidence:
    """A fleet of one model in which everything is fine, until a test changes it."""

    def __init__(self) -> None:
        names = [(engine, name) for engine in ENGINES for name in BLOCKS_MS]
        self.variants = {key: variant(*key) for key in names}
        self.measured = {key: measurement(*key, BLOCKS_MS[key[1]]) for key in names}
        self.failures: list[dict[str, Any]] = []
        self.student_params = 2_900_000

    def crash(self, engine: str, name: str, error: str) -> None:
        del self.measured[engine, name]
        self.failures.append({"model": "m", "engine": engine, "variant": name, "error": error, "signal": "SIGSEGV"})

    def blocks(self, engine: str, name: str, block_ms: tuple[float, ...]) -> None:
        self.measured[engine, name] = measurement(engine, name, block_ms)

    @property
    def variants_json(self) -> dict[str, Any]:
        return {
            "model": "m",
            "teacher": {"params": 22_713_216, "quality": {"recall_at_1": 0.6, "recall_at_10": 0.85}},
            "student": {"params": self.student_params},
            "variants": list(self.variants.values()),
        }

    @property
    def results_json(self) -> dict[str, Any]:
        return {"host": {"cpu": "test"}, "measurements": list(self.measured.values()), "failures": self.failures}

    def judge(self, params: ModelParams | None = None) -> Verdict:
        return judge({"m": params or model_params()}, {"m": self.variants_json}, self.results_json, lambda key: 41)


@pytest.fixture
def evidence() -> Evidence:
    return Evidence()


def missed(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.models["m"].checks if check.verdict is not Outcome.PASS]


def payoff_message(verdict: Verdict, engine: Engine) -> str:
    return next(payoff.message for payoff in verdict.models["m"].payoff if payoff.engine is engine)


def test_all_budgets_met_passes_and_ships_int8(evidence: Evidence) -> None:
    verdict = evidence.judge()
    model = verdict.models["m"]
    assert verdict.verdict is Outcome.PASS
    assert set(model.chosen.values()) == {Variant.INT8}
    assert model.speedup_over_teacher == pytest.approx(dict.fromkeys(Engine, 20.0))
    # parameters once; per engine: verified, p95, memory, size, fidelity, its drop, recall kept
    assert len(model.checks) == 1 + 3 * 7
    assert all(payoff.pays for payoff in model.payoff)


def test_passing_check_says_number_budget_margin_and_line(evidence: Evidence) -> None:
    [check] = [c for c in evidence.judge().models["m"].checks if c.budget == "models.m.budgets.openvino.p95_ms"]
    assert (check.observed, check.allowed, check.unit, check.margin, check.line) == (1.0, 8, "ms", 7.0, 41)
    assert check.margin_fraction == pytest.approx(7 / 8)
    assert check.message == ("openvino int8 p95 1 ms <= budget 8 ms (params.yaml:41, models.m.budgets.openvino.p95_ms)")


def test_gate_rejects_p95_over_budget(evidence: Evidence) -> None:
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


def test_one_quiet_block_within_budget_is_inconclusive(evidence: Evidence) -> None:
    evidence.blocks("tflite", "int8", (0.9, 9.0, 30.0))
    evidence.blocks("tflite", "fp32", (10.0, 10.0, 30.0))
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.INCONCLUSIVE
    assert verdict.models["m"].chosen[Engine.TFLITE] is Variant.INT8
    [check] = missed(verdict)
    assert "2 of 3 blocks are over it (0.9 to 30 ms), too noisy for a verdict: measure again" in check.message


def test_noise_does_not_turn_a_pass_into_anything_else(evidence: Evidence) -> None:
    evidence.blocks("tflite", "int8", (0.9, 1.0, 3000.0))
    assert evidence.judge().verdict is Outcome.PASS


def test_no_budget_gives_no_check(evidence: Evidence) -> None:
    none = dict.fromkeys(("p95_ms", "size_bytes", "memory_bytes"), "none")
    quality = dict.fromkeys(("fidelity_spearman", "int8_fidelity_drop", "recall_at_1_kept"), "none")
    params = model_params(onnxruntime=none, openvino=none, tflite=none, quality=quality, params="none")
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
    evidence: Evidence, change: dict[str, float], budget: str, margin: float
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


def test_fidelity_below_budget_everywhere_fails(evidence: Evidence) -> None:
    for name in ("fp32", "int8"):
        evidence.variants["tflite", name]["quality"] = {"fidelity_spearman": 0.7, "recall_at_1": 0.55}
    [check] = missed(evidence.judge())
    assert check.margin == pytest.approx(-0.02)
    assert check.message.startswith("tflite int8 fidelity 0.7 < budget 0.72 (params.yaml:41, ")


def test_quality_that_was_not_measured_fails_and_says_what_to_do(evidence: Evidence) -> None:
    for entry in evidence.variants.values():
        entry["quality"] = {"fidelity_spearman": 0.76, "recall_at_1": None}
    checks = missed(evidence.judge())
    assert len(checks) == 3
    assert checks[0].observed is None
    assert "recall@1 kept of the teacher's was not measured: it needs data.retrieval_pairs" in checks[0].message


def test_too_many_parameters_fail(evidence: Evidence) -> None:
    evidence.student_params = 3_000_001
    [check] = missed(evidence.judge())
    assert (check.engine, check.margin) == (None, -1)
    assert check.message.startswith("student 3,000,001 parameters > budget 3,000,000 parameters (params.yaml:41, ")


def test_crashed_variant_leaves_the_other_to_ship(evidence: Evidence) -> None:
    evidence.crash("openvino", "int8", "killed by SIGFPE while loading")
    verdict = evidence.judge()
    model = verdict.models["m"]
    assert verdict.verdict is Outcome.PASS
    assert model.chosen[Engine.OPENVINO] is Variant.FP32
    assert model.rejected == ("openvino int8 killed by SIGFPE while loading (params.yaml:41, models.m.budgets.case)",)
    assert "cannot be compared" in payoff_message(verdict, Engine.OPENVINO)


def test_crash_of_both_variants_fails_and_names_it(evidence: Evidence) -> None:
    evidence.crash("openvino", "int8", "killed by SIGSEGV while loading")
    evidence.crash("openvino", "fp32", "killed by SIGKILL while loading")
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.models["m"].chosen[Engine.OPENVINO] is None
    assert "openvino int8 killed by SIGSEGV while loading" in verdict.misses()[0]
    assert any("openvino fp32 killed by SIGKILL" in reason for reason in verdict.models["m"].rejected)


def test_crash_outside_the_judged_case_fails_the_variant_too(evidence: Evidence) -> None:
    error = "killed by SIGSEGV while measuring b8_l32, block 1 of 5"
    evidence.failures = [{"model": "m", "engine": "tflite", "variant": "int8", "error": error, "signal": "SIGSEGV"}]
    assert evidence.judge().models["m"].chosen[Engine.TFLITE] is Variant.FP32


def test_nothing_measured_at_all_fails(evidence: Evidence) -> None:
    evidence.measured.clear()
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert verdict.models["m"].speedup_over_teacher == {}


def test_unverified_variant_does_not_ship(evidence: Evidence) -> None:
    evidence.variants["tflite", "int8"] |= {"verified": False, "problems": ["mean_cosine 0.9 < 0.97"]}
    model = evidence.judge().models["m"]
    assert model.chosen[Engine.TFLITE] is Variant.FP32
    assert model.rejected[0].startswith("tflite int8 is not verified: mean_cosine 0.9 < 0.97 (params.yaml:41")


def test_engine_without_variants_fails(evidence: Evidence) -> None:
    for name in BLOCKS_MS:
        del evidence.variants["tflite", name]
    verdict = evidence.judge()
    assert verdict.verdict is Outcome.FAIL
    assert "is not in variants.json" in verdict.misses()[0]


def test_int8_that_is_slower_does_not_ship(evidence: Evidence) -> None:
    evidence.blocks("openvino", "int8", (3.0, 3.0, 3.0))
    verdict = evidence.judge()
    [payoff] = [p for p in verdict.models["m"].payoff if p.engine is Engine.OPENVINO]
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].chosen[Engine.OPENVINO] is Variant.FP32
    assert (payoff.smaller, payoff.faster, payoff.pays) == (True, False, False)
    assert payoff.speed_ratio == pytest.approx(2 / 3)
    assert "DOES NOT PAY: it is not faster" in payoff.message
    assert payoff.message.endswith("fp32 ships instead")


def test_slower_int8_ships_loudly_when_fp32_is_too_large(evidence: Evidence) -> None:
    evidence.blocks("openvino", "int8", (3.0, 3.0, 3.0))
    verdict = evidence.judge(model_params(openvino={"size_bytes": 3_700_000}))
    assert verdict.verdict is Outcome.PASS
    assert verdict.models["m"].chosen[Engine.OPENVINO] is Variant.INT8
    assert payoff_message(verdict, Engine.OPENVINO).endswith(
        "int8 ships all the same, because fp32 is not within its budgets: openvino fp32 size 11,000,000 bytes > "
        "budget 3,700,000 bytes (params.yaml:41, models.m.budgets.openvino.size_bytes)"
    )


def test_case_that_was_not_measured_is_an_input_error(evidence: Evidence) -> None:
    params = model_params(case={"length": 48})
    with pytest.raises(InputError, match=r"48 tokens, 1 threads, which was not measured; measured: b1_l32 with 1"):
        evidence.judge(params)


def test_variants_without_a_field_are_an_integrity_error(evidence: Evidence) -> None:
    del evidence.variants["tflite", "int8"]["size_bytes"]
    with pytest.raises(IntegrityError, match="has no 'size_bytes'"):
        evidence.judge()


def test_lines_decide_nothing(evidence: Evidence) -> None:
    arguments = {"m": model_params()}, {"m": evidence.variants_json}, evidence.results_json
    first, second = (judge(*arguments, line).models["m"] for line in (lambda key: 1, lambda key: None))
    assert (first.verdict, first.chosen) == (second.verdict, second.chosen)


def workspace(root: Path, evidence: Evidence, p95_ms: str = "8") -> Layout:
    """The real params.yaml with one model in its fleet, and the evidence as files."""
    layout = Layout(root)
    text = PARAMS_YAML.read_text(encoding="utf-8")
    assert "openvino: {p95_ms: 8," in text
    for other in ("digits-mobilenet", "digits-shufflenet"):
        text = text.replace(f"  - {other}\n", "")
    layout.params.write_text(text.replace("openvino: {p95_ms: 8,", f"openvino: {{p95_ms: {p95_ms},"), encoding="utf-8")
    write_json(layout.model("docs-embed").fleet_variants, evidence.variants_json | {"model": "docs-embed"})
    results = evidence.results_json
    results["measurements"] = [one | {"model": "docs-embed"} for one in results["measurements"]]
    write_json(layout.results, results)
    return layout


def test_stage_leaves_a_failing_verdict_with_the_line(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
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
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
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


def test_the_verdict_of_a_model_does_not_change_with_those_of_others(evidence: Evidence) -> None:
    alone = evidence.judge()
    [name] = alone.models
    failed = replace(alone.models[name], verdict=Outcome.FAIL)
    fleet = Verdict(Outcome.FAIL, alone.host, {**alone.models, "other": failed})
    assert fleet.of(name) == alone
    assert fleet.of("other").to_json()["verdict"] == "FAIL"
