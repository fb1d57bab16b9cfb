"""Going down the ladder of precisions: which step is taken, and what it is compared with."""

import pytest

from pipeline.gate.ladder import Candidate, choose, nearest, steps_taken
from pipeline.layout import Engine, Variant
from pipeline.records.verdict import Check, CheckKind, Outcome
from tests.gate.fleet_of_one import FleetOfOne, missed, model_params, payoff_message

INT4 = {"int4": {"inference": "f32", "tolerance": 0.02, "max_float_layers": 8}}


def step(variant: Variant, outcome: Outcome, size_bytes: int = 100, p50_ms: float | None = 1.0) -> Candidate:
    check = Check(
        kind=CheckKind.SIZE, name="size_bytes", budget="b", line=None, engine=Engine.TFLITE, variant=variant,
        observed=size_bytes, allowed=50, unit="bytes", at_least=False, margin=50 - size_bytes,
        margin_fraction=(50 - size_bytes) / 50, verdict=outcome, message=f"{variant} {outcome}",
    )  # fmt: skip
    return Candidate(variant, (check,), size_bytes, None if p50_ms is None else (p50_ms, p50_ms))


FP32, INT8, INT4_STEP = Variant.FP32, Variant.INT8, Variant.INT4
PASS, FAIL, UNCLEAR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("ladder", "taken"),
    [
        ([step(FP32, PASS, 90, 3), step(INT8, PASS, 30, 2), step(INT4_STEP, PASS, 20, 1)], [FP32, INT8, INT4_STEP]),
        ([step(FP32, PASS, 90, 3), step(INT8, PASS, 30, 4), step(INT4_STEP, PASS, 20, 1)], [FP32, INT4_STEP]),
        ([step(FP32, PASS, 90, 3), step(INT8, PASS, 30, 2), step(INT4_STEP, PASS, 20, 2.5)], [FP32, INT8]),
        ([step(FP32, PASS, 90, 3), step(INT8, PASS, 30, 2), step(INT4_STEP, FAIL, 20, 1)], [FP32, INT8]),
        ([step(FP32, FAIL, 90, 3), step(INT8, PASS, 30, 4), step(INT4_STEP, PASS, 20, 3.5)], [INT8, INT4_STEP]),
        ([step(FP32, FAIL, 90, 3), step(INT8, UNCLEAR, 30, 2), step(INT4_STEP, PASS, 20, 9)], [INT4_STEP]),
        ([step(FP32, UNCLEAR, 90, 3), step(INT8, UNCLEAR, 30, 2), step(INT4_STEP, FAIL, 20, 1)], [FP32, INT8]),
        ([step(FP32, PASS, 90, 3), step(INT8, PASS, 30, None)], [FP32]),
        ([step(FP32, FAIL), step(INT8, FAIL)], []),
    ],
)
def test_a_step_is_taken_while_it_keeps_its_budgets_and_pays(ladder: list[Candidate], taken: list[Variant]) -> None:
    assert [one.variant for one in steps_taken(ladder)] == taken
    assert choose(ladder) == (taken[-1] if taken else None)


def test_the_nearest_step_misses_by_least_and_is_the_narrowest_among_equals() -> None:
    assert nearest([step(FP32, FAIL, 90), step(INT8, FAIL, 60), step(INT4_STEP, FAIL, 70)]).variant is INT8
    assert nearest([step(FP32, FAIL, 60), step(INT8, FAIL, 60)]).variant is INT8


def test_int4_ships_where_it_pays_against_int8() -> None:
    fleet = FleetOfOne()
    for engine in ("onnxruntime", "openvino", "tflite"):
        fleet.add(engine, "int4", (0.5, 0.5, 0.5))
    verdict = fleet.judge(model_params(INT4))
    assert set(verdict.models["m"].chosen.values()) == {INT4_STEP}
    payoffs = [(one.engine, one.variant, one.against) for one in verdict.models["m"].payoff]
    assert payoffs[:2] == [(Engine.ONNXRUNTIME, INT8, FP32), (Engine.ONNXRUNTIME, INT4_STEP, INT8)]
    assert "int4 pays: 1.50 times smaller and 2.00 times as fast as int8" in payoff_message(
        verdict, Engine.OPENVINO, INT4_STEP
    )


def test_int4_is_compared_with_fp32_where_int8_did_not_pay() -> None:
    fleet = FleetOfOne()
    fleet.blocks("onnxruntime", "int8", (3.0, 3.0, 3.0))
    fleet.add("onnxruntime", "int4", (2.5, 2.5, 2.5))
    verdict = fleet.judge(model_params(INT4))
    assert verdict.models["m"].chosen[Engine.ONNXRUNTIME] is FP32
    message = payoff_message(verdict, Engine.ONNXRUNTIME, INT4_STEP)
    assert "int4 DOES NOT PAY: it is not faster (5.50 times smaller and 0.80 times as fast as fp32)" in message
    assert message.endswith("fp32 ships instead")


def test_an_engine_without_int4_ships_int8_and_says_why() -> None:
    fleet = FleetOfOne()
    fleet.skipped = {"tflite": {"int4": "its converter knows no int4 of 32 in a block"}}
    for engine in ("onnxruntime", "openvino"):
        fleet.add(engine, "int4", (0.5, 0.5, 0.5))
    verdict = fleet.judge(model_params(INT4))
    model = verdict.models["m"]
    assert (model.chosen[Engine.TFLITE], model.chosen[Engine.OPENVINO]) == (INT8, INT4_STEP)
    assert any(
        one.startswith("tflite int4 was not exported: its converter knows no int4 of 32 in a block (params.yaml:41, ")
        for one in model.rejected
    )
    assert "int4 cannot be compared with int8" in payoff_message(verdict, Engine.TFLITE, INT4_STEP)


def test_a_drop_of_int4_is_judged_on_int4_alone() -> None:
    fleet = FleetOfOne()
    worse = {"fidelity_spearman": 0.73, "recall_at_1": 0.55}
    fleet.add("openvino", "int4", (0.5, 0.5, 0.5), quality=worse)
    verdict = fleet.judge(model_params(INT4, quality={"int4_fidelity_drop": 0.02}))
    assert verdict.models["m"].chosen[Engine.OPENVINO] is INT8
    [reason] = [one for one in verdict.models["m"].rejected if one.startswith("openvino int4")]
    assert reason.startswith("openvino int4 fidelity drop from openvino fp32 0.03 > budget 0.02")


def test_a_ladder_of_fp32_alone_has_no_payoff() -> None:
    params = model_params()
    ladder = params.export.ladder.model_copy(update={"int8": None})
    alone = params.model_copy(update={"export": params.export.model_copy(update={"ladder": ladder})})
    verdict = FleetOfOne().judge(alone)
    assert set(verdict.models["m"].chosen.values()) == {FP32}
    assert verdict.models["m"].payoff == ()
    assert missed(verdict) == []
