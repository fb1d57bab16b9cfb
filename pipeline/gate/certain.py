"""Budgets that are missed for certain before the benchmark: what the gate will say, said where it becomes known.

Each function gives the checks that are missed, with the message and the line of params.yaml that the gate has for them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.gate.checks import model_checks, quality_checks, size_checks, verified_checks
from pipeline.gate.question import Judge, Line
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import ModelParams
from pipeline.records.export import Export
from pipeline.records.step import StepReport
from pipeline.records.verdict import Check, Outcome
from pipeline.records.verification import Verification


@dataclass(frozen=True)
class Foreseen:
    """What is known before the benchmark.

    Attributes:
        misses: budgets for which no variant is left, so that the gate will not pass.
        rejected: what one variant misses while another of its engine may still ship.
    """

    misses: tuple[Check, ...] = ()
    rejected: tuple[Check, ...] = ()

    def lines(self) -> list[str]:
        """What a stage prints."""
        certain = [f"the gate will refuse this: {check.message}" for check in self.misses]
        return certain + [f"{check.variant} will not ship: {check.message}" for check in self.rejected]


def after_prune(model: str, params: ModelParams, line: Line, report: StepReport) -> Foreseen:
    """Parameters and multiply-accumulates of the model that every later step keeps.

    Args:
        model: its name.
        params: its block of params.yaml.
        line: the line of a dotted key in params.yaml.
        report: of the pruned model.
    """
    checks = model_checks(report.params, report.macs, params.budgets, Judge(model, line))
    return Foreseen(misses=_missed(checks))


def after_export(model: str, params: ModelParams, line: Line, export: Export) -> Foreseen:
    """Bytes of each of the student's variants on one engine; see `after_prune` for the arguments."""
    judge = Judge(model, line)
    checks = {
        variant: list(size_checks(export.engine, variant, made.size_bytes, params.budgets, judge))
        for variant, made in export.variants.items()
        if variant.is_student
    }
    return _of_engine(list(checks.values()))


def after_verify(model: str, params: ModelParams, line: Line, verification: Verification) -> Foreseen:
    """Everything but latency and memory, on all engines; see `after_prune` for the arguments."""
    judge = Judge(model, line)
    student = verification.student
    found = [Foreseen(misses=_missed(model_checks(student.params, student.macs, params.budgets, judge)))]
    for engine in Engine:
        found.append(
            _of_engine(
                [
                    [
                        *verified_checks(one, judge),
                        *size_checks(engine, one.variant, one.size_bytes, params.budgets, judge),
                        *quality_checks(one, verification, params, judge),
                    ]
                    for one in verification.variants
                    if one.engine is engine and one.variant is not Variant.TEACHER
                ]
            )
        )
    return Foreseen(
        misses=tuple(check for one in found for check in one.misses),
        rejected=tuple(check for one in found for check in one.rejected),
    )


def _of_engine(variants: Sequence[Sequence[Check]]) -> Foreseen:
    """Misses are certain where every variant of the engine has one."""
    missed = [_missed(checks) for checks in variants]
    together = tuple(check for checks in missed for check in checks)
    return Foreseen(misses=together) if missed and all(missed) else Foreseen(rejected=together)


def _missed(checks: Iterable[Check]) -> tuple[Check, ...]:
    return tuple(check for check in checks if check.verdict is not Outcome.PASS)
