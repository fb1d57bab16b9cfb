"""What is missed for certain before the benchmark, with the messages that the gate has for it later."""

from typing import Any

import pytest

from pipeline.gate import certain
from pipeline.layout import Engine
from pipeline.records.export import Export
from pipeline.records.step import StepReport
from tests.gate.fleet_of_one import MEGABYTE, PRECISION, SIZES, FleetOfOne, missed, model_params


def line(key: str) -> int:
    return 41


def pruned(**changes: Any) -> StepReport:
    found = {"params": 2_900_000, "macs": 19_400_000, "size_bytes": 11 * MEGABYTE, "quality": {}} | changes
    return StepReport.model_validate(found)


def export(**sizes: int) -> Export:
    variants = {
        name: {"path": name, "files": {}, "size_bytes": size, "precision": PRECISION}
        for name, size in ({"teacher": SIZES["teacher"]} | sizes).items()
    }
    return Export.model_validate({"engine": "openvino", "toolchain": {}, "variants": variants})


def test_a_pruned_model_within_its_budgets_has_nothing_to_say() -> None:
    assert certain.after_prune("m", model_params(), line, pruned()) == certain.Foreseen()


@pytest.mark.parametrize(("key", "unit"), [("params", "parameters"), ("macs", "MACs")])
def test_a_pruned_model_above_a_budget_is_refused_with_the_words_of_the_gate(key: str, unit: str) -> None:
    fleet = FleetOfOne()
    fleet.student[key] = 20_000_001
    found = certain.after_prune("m", model_params(), line, pruned(**{key: 20_000_001}))
    assert list(found.misses) == missed(fleet.judge())
    [said] = found.lines()
    assert said.startswith(f"the gate will refuse this: student 20,000,001 {unit} > budget ")
    assert said.endswith(f"(params.yaml:41, models.m.budgets.{key})")


def test_bytes_are_certain_to_miss_only_where_no_variant_fits() -> None:
    params = model_params(openvino={"size_bytes": 2 * MEGABYTE})
    one = certain.after_export("m", params, line, export(fp32=11 * MEGABYTE, int8=MEGABYTE))
    assert one.misses == ()
    assert one.lines() == [
        "fp32 will not ship: openvino fp32 size 11,000,000 bytes > budget 2,000,000 bytes "
        "(params.yaml:41, models.m.budgets.openvino.size_bytes)"
    ]
    both = certain.after_export("m", params, line, export(fp32=11 * MEGABYTE, int8=3 * MEGABYTE))
    assert [check.variant for check in both.misses] == ["fp32", "int8"]
    assert both.rejected == ()


def test_the_size_of_the_teacher_has_no_budget() -> None:
    assert certain.after_export("m", model_params(), line, export(int8=MEGABYTE)) == certain.Foreseen()


def test_verify_foresees_what_the_gate_says_of_quality_and_tolerances() -> None:
    fleet = FleetOfOne()
    for name in ("fp32", "int8"):
        fleet.variants["tflite", name]["quality"] = {"fidelity_spearman": 0.7, "recall_at_1": 0.55}
    fleet.variants["openvino", "int8"]["problems"] = ["mean cosine 0.9 < tolerance 0.97"]
    found = certain.after_verify("m", model_params(), line, fleet.verification)
    verdict = fleet.judge()
    shown = [check for check in verdict.models["m"].checks if check.verdict != "PASS"]
    assert {check.engine for check in found.misses} == {Engine.TFLITE}
    assert set(check.message for check in shown) <= set(check.message for check in found.misses)
    assert [check.message for check in found.rejected] == [
        "openvino int8 is not verified: mean cosine 0.9 < tolerance 0.97 "
        "(params.yaml:41, models.m.verify.tolerances.int8)"
    ]


def test_verify_says_nothing_of_a_model_that_only_the_benchmark_can_refuse() -> None:
    fleet = FleetOfOne()
    assert certain.after_verify("m", model_params(tflite={"p95_ms": 0.1}), line, fleet.verification).lines() == []
