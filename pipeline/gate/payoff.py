"""Whether compression paid: each step down the ladder of precisions must be smaller and faster on its engine."""

from collections.abc import Sequence

from pipeline.gate.evidence import ModelEvidence
from pipeline.gate.ladder import Candidate, steps_taken
from pipeline.layout import LADDER, Engine, Variant
from pipeline.records.results import Measurement
from pipeline.records.verdict import Payoff, SpeedUp


def judge_payoffs(engine: Engine, ladder: Sequence[Candidate]) -> list[Payoff]:
    """Describe what each step after the first gained, and say loudly where one ships without paying.

    Args:
        engine: whose variants are compared.
        ladder: from the widest precision to the narrowest.
    """
    taken = steps_taken(ladder)
    payoffs = []
    for index, step in enumerate(ladder[1:], start=1):
        above = [one for one in ladder[:index] if one in taken]
        against = above[-1] if above else ladder[index - 1]
        payoffs.append(_judge_payoff(engine, step, against, taken[-1].variant if taken else None))
    return payoffs


def _judge_payoff(engine: Engine, step: Candidate, against: Candidate, chosen: Variant | None) -> Payoff:
    name, other = f"{engine} {step.variant}", against.variant
    gains = step.gains_over(against)
    if gains is None:
        return Payoff(
            engine=engine, variant=step.variant, against=other, smaller=None, faster=None, size_ratio=None,
            speed_ratio=None, pays=None,
            message=f"{name} cannot be compared with {other}: not both of them were measured",
        )  # fmt: skip
    size_ratio, speed_ratio = gains
    smaller, faster = size_ratio > 1, speed_ratio > 1
    said = f"{size_ratio:.2f} times smaller and {speed_ratio:.2f} times as fast as {other}"
    message = f"{name} pays: {said}"
    if not (smaller and faster):
        faults = " and ".join(fault for fault, is_so in (("smaller", smaller), ("faster", faster)) if not is_so)
        message = f"{name} DOES NOT PAY: it is not {faults} ({said}); {_consequence(step, against, chosen)}"
    return Payoff(
        engine=engine, variant=step.variant, against=other, smaller=smaller, faster=faster, size_ratio=size_ratio,
        speed_ratio=speed_ratio, pays=smaller and faster, message=message,
    )  # fmt: skip


def _consequence(step: Candidate, against: Candidate, chosen: Variant | None) -> str:
    if chosen is None:
        return "nothing ships on this engine"
    if chosen is not step.variant:
        return f"{chosen} ships instead"
    missed = "; ".join(check.message for check in against.missed())
    return f"{chosen} ships all the same, because {against.variant} is not within its budgets: {missed}"


def speedups(evidence: ModelEvidence) -> dict[Engine, SpeedUp]:
    """How fast the fastest of the student's variants is against the teacher, engine by engine, by their p50.

    Empty where the teacher was not measured at all; a teacher that is a black box, and one that is itself what is
    compressed, are not exported.
    """
    yardstick = evidence.timing(Engine.ONNXRUNTIME, Variant.TEACHER)
    found = {}
    for engine in Engine:
        own = evidence.timing(engine, Variant.TEACHER)
        timings = [timing for variant in LADDER if (timing := evidence.timing(engine, variant)) is not None]
        if timings and (own or yardstick):
            fastest = min(timings, key=lambda timing: timing.latency_p50_ms)
            found[engine] = SpeedUp(
                variant=fastest.variant,
                over_teacher_on_same_engine=_times(own, fastest),
                over_teacher_on_onnxruntime=_times(yardstick, fastest),
            )
    return found


def _times(teacher: Measurement | None, student: Measurement) -> float | None:
    return None if teacher is None else teacher.latency_p50_ms / student.latency_p50_ms
