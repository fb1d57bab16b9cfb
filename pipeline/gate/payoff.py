"""Whether compression paid on each engine: int8 must be smaller and faster than the same engine's fp32."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.gate.checks import Check
from pipeline.gate.evidence import Evidence, ModelEvidence
from pipeline.gate.statistics import Outcome, paired_speed_ratio
from pipeline.layout import STUDENT_VARIANTS, Engine, Variant


@dataclass(frozen=True)
class Payoff:
    """What int8 gained over fp32 on one engine.

    Attributes:
        size_ratio: fp32 bytes over int8 bytes.
        speed_ratio: fp32 latency over int8 latency, the median over interleaved blocks of their p50.
        pays: smaller and faster; `None`, as the others, where one of the two was not measured.
    """

    engine: Engine
    smaller: bool | None
    faster: bool | None
    size_ratio: float | None
    speed_ratio: float | None
    pays: bool | None
    message: str


def pays(evidence: ModelEvidence, engine: Engine) -> bool | None:
    """Whether int8 is smaller and faster than fp32 on `engine`; `None` where one was not measured."""
    ratios = _ratios(evidence, engine)
    return None if ratios is None else min(ratios) > 1


def judge_payoff(
    evidence: ModelEvidence, engine: Engine, chosen: Variant | None, fp32_checks: Sequence[Check]
) -> Payoff:
    """Describe what int8 gained, and say loudly where it ships without paying.

    Args:
        evidence: of the model.
        engine: whose variants are compared.
        chosen: what ships on it.
        fp32_checks: the checks of its fp32, to name the budgets that it misses.
    """
    ratios = _ratios(evidence, engine)
    if ratios is None:
        message = f"{engine} int8 cannot be compared with fp32: not both of them were measured"
        return Payoff(engine, None, None, None, None, None, message)
    size_ratio, speed_ratio = ratios
    smaller, faster = size_ratio > 1, speed_ratio > 1
    gains = f"{size_ratio:.2f} times smaller and {speed_ratio:.2f} times as fast as fp32"
    message = f"{engine} int8 pays: {gains}"
    if not (smaller and faster):
        faults = " and ".join(fault for fault, is_so in (("smaller", smaller), ("faster", faster)) if not is_so)
        message = f"{engine} int8 DOES NOT PAY: it is not {faults} ({gains}); {_consequence(chosen, fp32_checks)}"
    return Payoff(engine, smaller, faster, size_ratio, speed_ratio, smaller and faster, message)


def speedup_over_teacher(evidence: ModelEvidence) -> dict[Engine, float]:
    """For each engine, the teacher's p50 in ONNX Runtime over the fastest student variant's p50; empty without both."""
    teacher = evidence.variants.get((Engine.ONNXRUNTIME, Variant.TEACHER))
    if teacher is None or teacher.timing is None:
        return {}
    speedups = {}
    for engine in Engine:
        students = [_measured(evidence, engine, variant) for variant in STUDENT_VARIANTS]
        if times := [one.timing.p50_ms for one in students if one is not None and one.timing is not None]:
            speedups[engine] = teacher.timing.p50_ms / min(times)
    return speedups


def _consequence(chosen: Variant | None, fp32_checks: Sequence[Check]) -> str:
    if chosen is Variant.FP32:
        return "fp32 ships instead"
    if chosen is None:
        return "nothing ships on this engine"
    missed = [check.message for check in fp32_checks if check.verdict is not Outcome.PASS]
    return f"int8 ships all the same, because fp32 is not within its budgets: {'; '.join(missed)}"


def _measured(evidence: ModelEvidence, engine: Engine, variant: Variant) -> Evidence | None:
    one = evidence.variants.get((engine, variant))
    return one if one is not None and one.timing is not None and one.failure is None else None


def _ratios(evidence: ModelEvidence, engine: Engine) -> tuple[float, float] | None:
    """Bytes and latency of fp32 over those of int8."""
    fp32, int8 = (_measured(evidence, engine, variant) for variant in STUDENT_VARIANTS)
    if fp32 is None or int8 is None or fp32.timing is None or int8.timing is None:
        return None
    speed_ratio = paired_speed_ratio(fp32.timing.block_p50_ms, int8.timing.block_p50_ms)
    return fp32.size_bytes / int8.size_bytes, speed_ratio
