"""The checks of the gate: which budgets a model and each of its variants must keep."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.gate.evidence import ModelEvidence, VariantEvidence
from pipeline.gate.question import Judge, Question, answer, compare, where
from pipeline.gate.statistics import judge_upper_bound
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import Budgets, ModelParams
from pipeline.records.verdict import Check, CheckKind, Outcome
from pipeline.records.verification import Verification, VerifiedVariant


def model_checks(params: int | None, macs: int | None, budgets: Budgets, judge: Judge) -> list[Check]:
    """Check the student's number of parameters and of multiply-accumulates."""
    parameters = Question(CheckKind.PARAMETERS, "budgets", "params", "student", "parameters")
    multiplies = Question(CheckKind.MACS, "budgets", "macs", "student", "MACs")
    return [
        *compare(parameters, params, budgets.params, judge),
        *compare(multiplies, macs, budgets.macs, judge),
    ]


def variant_checks(
    evidence: ModelEvidence, engine: Engine, variant: Variant, params: ModelParams, judge: Judge
) -> list[Check]:
    """Check one variant against every budget; one that was not exported, verified or measured fails."""
    one = evidence.find(engine, variant)
    if one is None:
        return [_not_exported(evidence.verification, engine, variant, judge)]
    return [
        *verified_checks(one.found, judge),
        *_measured(one, params.budgets, judge),
        *size_checks(engine, variant, one.found.size_bytes, params.budgets, judge),
        *quality_checks(one.found, evidence.verification, params, judge),
    ]


def verified_checks(one: VerifiedVariant, judge: Judge) -> Iterator[Check]:
    """Check that a variant agrees with the model that it came from."""
    said = f"{one.name} is verified" if one.verified else f"{one.name} is not verified: {'; '.join(one.problems)}"
    outcome = Outcome.PASS if one.verified else Outcome.FAIL
    question = Question(
        CheckKind.VERIFIED, "verify.tolerances", one.variant.value, said, "problems", one.engine, one.variant
    )
    check = answer(question, len(one.problems), 0, judge, outcome)
    yield check.model_copy(update={"message": f"{said} {where(question.key, judge)}"})


def size_checks(engine: Engine, variant: Variant, size_bytes: int, budgets: Budgets, judge: Judge) -> Iterator[Check]:
    """Check the bytes of a variant's files."""
    question = Question(
        CheckKind.SIZE, f"budgets.{engine}", "size_bytes", f"{engine} {variant} size", "bytes", engine, variant
    )
    yield from compare(question, size_bytes, budgets.of(engine).size_bytes, judge)


def quality_checks(
    one: VerifiedVariant, verification: Verification, params: ModelParams, judge: Judge
) -> Iterator[Check]:
    """Check what the task declares for this variant."""
    limits = params.budgets.quality.model_dump()
    for declared in params.quality_checks:
        if declared.variant not in (None, one.variant):
            continue
        observed = one.quality.get(declared.measure)
        label = f"{one.name} {declared.label}"
        if declared.against in ("fp32", "fp32 growth"):
            found = verification.find(one.engine, Variant.FP32)
            fp32 = found.quality.get(declared.measure) if found else None
            observed = _difference(fp32, observed) if declared.against == "fp32" else _growth(fp32, observed)
            label += f" from {one.engine} fp32"
        elif declared.against == "teacher":
            observed = _ratio(observed, verification.teacher.quality.get(declared.measure))
        question = Question(
            CheckKind.QUALITY,
            "budgets.quality",
            declared.key,
            label,
            engine=one.engine,
            variant=one.variant,
            at_least=declared.at_least,
            missing=declared.missing,
        )
        yield from compare(question, observed, limits[declared.key], judge)


def _not_exported(verification: Verification, engine: Engine, variant: Variant, judge: Judge) -> Check:
    reason = verification.skipped.get(engine, {}).get(variant)
    missing = f"was not exported: {reason}" if reason else "is not in verify.json"
    question = Question(
        CheckKind.EXPORTED, "budgets", engine.value, f"{engine} {variant}", "", engine, variant, missing=missing
    )
    return answer(question, None, None, judge, Outcome.FAIL)


def _measured(one: VariantEvidence, budgets: Budgets, judge: Judge) -> Iterator[Check]:
    """Latency and memory; a variant without them fails even where neither has a budget."""
    missing = [name for name in budgets.judged() if name not in one.timings]
    if one.failure is not None or missing:
        for case in missing if one.failure is None else [budgets.leading_case()]:
            yield _not_measured(one, case, judge)
        return
    for case, timing in one.timings.items():
        yield from _latency(one.found, case, timing.block_p95_ms, budgets, judge)
    found = one.found
    question = Question(
        CheckKind.MEMORY, f"budgets.{found.engine}", "memory_bytes", f"{found.name} peak memory", "bytes",
        found.engine, found.variant,
    )  # fmt: skip
    peak_bytes = max(timing.peak_memory_bytes for timing in one.timings.values())
    yield from compare(question, peak_bytes, budgets.of(found.engine).memory_bytes, judge)


def _not_measured(one: VariantEvidence, case: str, judge: Judge) -> Check:
    missing = one.failure or "was not measured in this case: `dvc repro benchmark` measures it"
    question = Question(
        CheckKind.MEASURED, "budgets", "cases" if case else "case", one.found.name, "", one.found.engine,
        one.found.variant, case, missing=missing,
    )  # fmt: skip
    return answer(question, None, None, judge, Outcome.FAIL)


def _latency(
    found: VerifiedVariant, case: str, blocks_ms: Sequence[float], budgets: Budgets, judge: Judge
) -> Iterator[Check]:
    """The observed number is the median of the blocks' p95; see `judge_upper_bound` for the verdict."""
    allowed = budgets.of(found.engine).p95_of(case)
    if allowed == "none":
        return
    outcome = judge_upper_bound(blocks_ms, allowed)
    note = ""
    if outcome is not Outcome.PASS:
        over = sum(block > allowed for block in blocks_ms)
        span = f"{min(blocks_ms):.4g} to {max(blocks_ms):.4g} ms"
        note = f"; {over} of {len(blocks_ms)} blocks are over it ({span})"
    if outcome is Outcome.INCONCLUSIVE:
        note += ", too noisy for a verdict: measure again with `dvc repro --force --single-item benchmark`"
    label = f"{found.name} {case} p95" if case else f"{found.name} p95"
    question = Question(
        CheckKind.LATENCY, f"budgets.{found.engine}", "p95_ms", label, "ms", found.engine, found.variant, case
    )
    yield answer(question, float(np.median(blocks_ms)), allowed, judge, outcome, note)


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _growth(first: float | None, second: float | None) -> float | None:
    return None if second is None or not first else second / first - 1


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
