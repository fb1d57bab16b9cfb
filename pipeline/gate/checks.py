"""The checks of the gate: one budget, one observed number, one margin, one message each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.gate.evidence import Evidence, ModelEvidence
from pipeline.gate.statistics import Outcome, judge_upper_bound
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import Budgets, ModelParams

Limit = float | Literal["none"]
_WHOLE_UNITS = ("bytes", "parameters", "problems")


@dataclass(frozen=True)
class Check:
    """One number against one budget.

    Attributes:
        budget: dotted key in params.yaml.
        line: its line there, `None` when unknown; for people, it decides nothing.
        observed: `None` when it was not measured, which fails.
        allowed: the budget; `None` where the check is that there is a measurement at all.
        unit: of observed, allowed and margin; empty for a bare ratio.
        margin: room that is left; negative when the budget is missed.
        margin_fraction: the margin as a fraction of what is allowed.
    """

    budget: str
    line: int | None
    engine: Engine | None
    variant: Variant | None
    observed: float | None
    allowed: float | None
    unit: str
    margin: float | None
    margin_fraction: float | None
    verdict: Outcome
    message: str


@dataclass(frozen=True)
class Judge:
    """The model that is judged and where its keys are; `line` gives the line of a dotted key."""

    model: str
    line: Callable[[str], int | None]


@dataclass(frozen=True)
class Question:
    """What is compared: a key below the model, and a label for people.

    Attributes:
        at_least: the budget is a lower bound.
        missing: what to say when there is no number.
    """

    key: str
    label: str
    unit: str
    engine: Engine | None = None
    variant: Variant | None = None
    at_least: bool = False
    missing: str = "was not measured"


def params_check(evidence: ModelEvidence, budgets: Budgets, judge: Judge) -> list[Check]:
    """Check the student's number of parameters."""
    question = Question("budgets.params", "student", "parameters")
    return list(_compare(question, evidence.student_params, budgets.params, judge))


def variant_checks(
    evidence: ModelEvidence, engine: Engine, variant: Variant, params: ModelParams, judge: Judge
) -> list[Check]:
    """Check one variant against every budget; one that was not exported, verified or measured fails."""
    one = evidence.variants.get((engine, variant))
    if one is None:
        question = Question(
            f"budgets.{engine}", f"{engine} {variant}", "", engine, variant, missing="is not in variants.json"
        )
        return [_check(question, None, None, judge, Outcome.FAIL)]
    checks = list(_verified(one, judge))
    checks += _measured(one, params.budgets, judge)
    checks += _size(one, params.budgets, judge)
    checks += _quality(one, evidence, params, judge)
    return checks


def _verified(one: Evidence, judge: Judge) -> Iterator[Check]:
    key = f"verify.tolerances.{one.variant}"
    problems = len(one.problems)
    said = f"{one.name} is not verified: {'; '.join(one.problems)}" if problems else f"{one.name} is verified"
    outcome = Outcome.FAIL if problems else Outcome.PASS
    question = Question(key, said, "problems", one.engine, one.variant)
    yield replace(_check(question, problems, 0, judge, outcome), message=f"{said} {_where(key, judge)}")


def _measured(one: Evidence, budgets: Budgets, judge: Judge) -> Iterator[Check]:
    """Latency and memory; without them the variant fails even where neither has a budget."""
    if one.timing is None or one.failure is not None:
        missing = one.failure or "was not measured in this case: `dvc repro benchmark` measures it"
        question = Question("budgets.case", one.name, "", one.engine, one.variant, missing=missing)
        yield _check(question, None, None, judge, Outcome.FAIL)
        return
    limits = budgets.of(one.engine)
    yield from _latency(one, one.timing.block_p95_ms, limits.p95_ms, judge)
    key = f"budgets.{one.engine}.memory_bytes"
    question = Question(key, f"{one.name} peak memory", "bytes", one.engine, one.variant)
    yield from _compare(question, one.timing.peak_memory_bytes, limits.memory_bytes, judge)


def _latency(one: Evidence, blocks_ms: tuple[float, ...], allowed: Limit, judge: Judge) -> Iterator[Check]:
    """The observed number is the median of the blocks' p95; see `judge_upper_bound` for the verdict."""
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
    question = Question(f"budgets.{one.engine}.p95_ms", f"{one.name} p95", "ms", one.engine, one.variant)
    yield _check(question, float(np.median(blocks_ms)), allowed, judge, outcome, note)


def _size(one: Evidence, budgets: Budgets, judge: Judge) -> Iterator[Check]:
    key = f"budgets.{one.engine}.size_bytes"
    question = Question(key, f"{one.name} size", "bytes", one.engine, one.variant)
    yield from _compare(question, one.size_bytes, budgets.of(one.engine).size_bytes, judge)


def _quality(one: Evidence, evidence: ModelEvidence, params: ModelParams, judge: Judge) -> Iterator[Check]:
    """What the task declares; a drop from fp32 is int8's alone."""
    limits = params.budgets.quality.model_dump()
    for check in params.quality_checks:
        observed = one.quality.get(check.measure)
        label = f"{one.name} {check.label}"
        if check.against == "fp32":
            if one.variant is not Variant.INT8:
                continue
            fp32 = evidence.variants.get((one.engine, Variant.FP32))
            observed = _difference(fp32.quality.get(check.measure) if fp32 else None, observed)
            label += f" from {one.engine} fp32"
        elif check.against == "teacher":
            observed = _ratio(observed, evidence.teacher_quality.get(check.measure))
        question = Question(
            f"budgets.quality.{check.key}", label, "", one.engine, one.variant, check.at_least, check.missing
        )
        yield from _compare(question, observed, limits[check.key], judge)


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _ratio(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _compare(question: Question, observed: float | None, allowed: Limit, judge: Judge) -> Iterator[Check]:
    """One check, or none for a budget of `none`."""
    if allowed == "none":
        return
    missed = observed is None or (observed < allowed if question.at_least else observed > allowed)
    yield _check(question, observed, allowed, judge, Outcome.FAIL if missed else Outcome.PASS)


def _check(
    question: Question, observed: float | None, allowed: float | None, judge: Judge, verdict: Outcome, note: str = ""
) -> Check:
    dotted = f"models.{judge.model}.{question.key}"
    margin = None
    said = f"{question.label} {question.missing}"
    if observed is not None and allowed is not None:
        margin = observed - allowed if question.at_least else allowed - observed
        sign = {(False, True): "<=", (False, False): ">", (True, True): ">=", (True, False): "<"}
        seen, limit = _pair(observed, allowed, question.unit)
        said = f"{question.label} {seen} {sign[question.at_least, margin >= 0]} budget {limit}"
    return Check(
        budget=dotted,
        line=judge.line(dotted),
        engine=question.engine,
        variant=question.variant,
        observed=observed,
        allowed=allowed,
        unit=question.unit,
        margin=margin,
        margin_fraction=margin / allowed if margin is not None and allowed else None,
        verdict=verdict,
        message=f"{said} {_where(question.key, judge)}{note}",
    )


def _where(key: str, judge: Judge) -> str:
    dotted = f"models.{judge.model}.{key}"
    line = judge.line(dotted)
    return f"(params.yaml:{line}, {dotted})" if line else f"(params.yaml, {dotted})"


def _pair(observed: float, allowed: float, unit: str) -> tuple[str, str]:
    """Both numbers with their unit; with all their digits where rounding would hide the difference."""
    texts = [format_number(value, unit) for value in (observed, allowed)]
    if texts[0] == texts[1] and observed != allowed:
        texts = [f"{value!r} {unit}".strip() for value in (observed, allowed)]
    return texts[0], texts[1]


def format_number(value: float, unit: str) -> str:
    """A number for people, with its unit: whole for bytes and counts, else four digits."""
    text = f"{value:,.0f}" if unit in _WHOLE_UNITS else f"{value:.4g}"
    return f"{text} {unit}".strip()
