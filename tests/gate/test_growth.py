"""Budgets of measures that are better when lower: the measure itself, and its growth over the same engine's fp32."""

from collections.abc import Mapping

import pytest
import yaml

from pipeline.gate.checks import quality_checks
from pipeline.gate.question import Judge
from pipeline.layout import Engine, Variant
from pipeline.params.quality import QualityCheck
from pipeline.records.verdict import Check, CheckKind, Outcome
from pipeline.records.verification import Verification, VerifiedVariant
from pipeline.tasks.causal_lm.params import ModelParams
from tests.gate.fleet_of_one import PARAMS_YAML, FleetOfOne, variant

FP32 = {"bits_per_byte": 2.0, "same_text": 1.0}


def model_params(**quality: float | str) -> ModelParams:
    """The bard-chat of params.yaml with no budget of quality but these."""
    tree = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))["models"]["bard-chat"]
    tree["budgets"]["quality"] = {"bits_per_byte": "none", **quality}
    return ModelParams.model_validate(tree)


def verification(variants: Mapping[str, Mapping[str, float]]) -> Verification:
    """Variants of OpenVINO with these measures."""
    made = [VerifiedVariant.model_validate(variant("openvino", name, quality=q)) for name, q in variants.items()]
    return FleetOfOne().verification.model_copy(update={"variants": tuple(made)})


def checks(
    params: ModelParams, reduced: Mapping[str, float], name: Variant = Variant.INT8, fp32: Mapping[str, float] = FP32
) -> list[Check]:
    """The checks of one reduced variant beside an fp32."""
    found = verification({"fp32": fp32, name.value: reduced})
    one = found.find(Engine.OPENVINO, name)
    assert one is not None
    return list(quality_checks(one, found, params, Judge("m", lambda key: 41)))


@pytest.mark.parametrize(("bits", "outcome"), [(2.5, Outcome.PASS), (2.25, Outcome.PASS), (2.5 + 1e-9, Outcome.FAIL)])
def test_growth_passes_up_to_its_budget(bits: float, outcome: Outcome) -> None:
    # A quarter has no rounding: 2.5 is the bound itself.
    [check] = checks(model_params(int8_bits_growth=0.25), {"bits_per_byte": bits})
    assert (check.verdict, check.kind, check.at_least) == (outcome, CheckKind.QUALITY, False)
    assert check.observed == pytest.approx(bits / 2 - 1)


def test_a_model_that_foretells_better_in_fewer_bits_passes() -> None:
    [check] = checks(model_params(int8_bits_growth=0.01), {"bits_per_byte": 1.5})
    assert (check.verdict, check.observed) == (Outcome.PASS, -0.25)


def test_growth_above_its_budget_names_both_numbers_the_reference_and_the_line() -> None:
    [check] = checks(model_params(int8_bits_growth=0.25), {"bits_per_byte": 3.0})
    assert check.margin == -0.25
    assert check.message == (
        "openvino int8 growth of bits per byte from openvino fp32 0.5 > budget 0.25 "
        "(params.yaml:41, models.m.budgets.quality.int8_bits_growth)"
    )


def test_each_precision_has_a_budget_of_growth_of_its_own() -> None:
    params = model_params(int8_bits_growth=0.25, int4_bits_growth=0.75)
    [check] = checks(params, {"bits_per_byte": 3.0}, Variant.INT4)
    assert (check.name, check.allowed, check.verdict) == ("int4_bits_growth", 0.75, Outcome.PASS)


@pytest.mark.parametrize("fp32", [{}, {"bits_per_byte": 0.0}], ids=["not measured", "nothing to grow from"])
def test_growth_without_bits_of_fp32_fails(fp32: Mapping[str, float]) -> None:
    [check] = checks(model_params(int8_bits_growth=0.25), {"bits_per_byte": 2.0}, fp32=fp32)
    assert (check.verdict, check.observed, check.margin) == (Outcome.FAIL, None, None)
    assert check.message == (
        "openvino int8 growth of bits per byte from openvino fp32 was not measured "
        "(params.yaml:41, models.m.budgets.quality.int8_bits_growth)"
    )


def test_growth_without_fp32_on_the_same_engine_fails() -> None:
    found = verification({"int8": {"bits_per_byte": 2.0}})
    other = VerifiedVariant.model_validate(variant("tflite", "fp32", quality=FP32))
    found = found.model_copy(update={"variants": (*found.variants, other)})
    [check] = quality_checks(
        found.variants[0], found, model_params(int8_bits_growth=0.25), Judge("m", lambda key: None)
    )
    assert (check.verdict, check.observed) == (Outcome.FAIL, None)


@pytest.mark.parametrize(
    ("bits", "outcome", "said"),
    [
        (1.5, Outcome.PASS, "openvino int8 bits per byte 1.5 <= budget 1.5 "),
        (1.75, Outcome.FAIL, "openvino int8 bits per byte 1.75 > budget 1.5 "),
    ],
)
def test_a_measure_that_is_better_when_lower_has_an_upper_budget(bits: float, outcome: Outcome, said: str) -> None:
    [check] = checks(model_params(bits_per_byte=1.5), {"bits_per_byte": bits})
    assert (check.verdict, check.margin, check.at_least) == (outcome, 1.5 - bits, False)
    assert check.message == said + "(params.yaml:41, models.m.budgets.quality.bits_per_byte)"


@pytest.mark.parametrize(("share", "outcome"), [(1.0, Outcome.PASS), (0.99, Outcome.FAIL)])
def test_the_same_text_is_asked_of_fp32_alone_and_at_least(share: float, outcome: Outcome) -> None:
    params = model_params(fp32_same_text=1.0)
    found = verification({"fp32": {"same_text": share}, "int8": {"same_text": 0.1}})
    fp32, int8 = found.variants
    [check] = quality_checks(fp32, found, params, Judge("m", lambda key: 41))
    assert (check.verdict, check.at_least) == (outcome, True)
    assert list(quality_checks(int8, found, params, Judge("m", lambda key: 41))) == []


@pytest.mark.parametrize(
    ("check", "at_least"),
    [
        (QualityCheck("k", "l", "t", "m"), True),
        (QualityCheck("k", "l", "t", "m", "teacher"), True),
        (QualityCheck("k", "l", "t", "m", "fp32"), False),
        (QualityCheck("k", "l", "t", "m", "fp32 growth"), False),
        (QualityCheck("k", "l", "t", "m", at_most=True), False),
    ],
)
def test_what_is_better_when_lower_has_no_lower_bound(check: QualityCheck, at_least: bool) -> None:
    assert check.at_least is at_least
