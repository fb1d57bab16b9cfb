"""What is known of each variant of a model: its verification and its measurements, joined once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.layout import Engine, Variant
from pipeline.params.blocks import BudgetCase, Budgets
from pipeline.records.results import Measurement, Results
from pipeline.records.verification import Verification, VerifiedVariant


@dataclass(frozen=True)
class VariantEvidence:
    """One variant.

    Attributes:
        found: what verify found.
        timings: its measurements by the judged case; without the cases in which it was not measured.
        failure: how it crashed, hung or raised in the benchmark, if it did.
    """

    found: VerifiedVariant
    timings: Mapping[str, Measurement]
    failure: str | None


@dataclass(frozen=True)
class ModelEvidence:
    """All that is known about a model.

    Attributes:
        leading_case: the judged case in which variants are compared with each other.
    """

    verification: Verification
    leading_case: str
    variants: Mapping[tuple[Engine, Variant], VariantEvidence]

    def find(self, engine: Engine, variant: Variant) -> VariantEvidence | None:
        """What is known of a variant; `None` where it was not exported."""
        return self.variants.get((engine, variant))

    def timing(self, engine: Engine, variant: Variant) -> Measurement | None:
        """The measurement of a variant in the leading case; `None` where it was not measured, or failed in any case."""
        one = self.find(engine, variant)
        return None if one is None or one.failure is not None else one.timings.get(self.leading_case)


def gather(model: str, budgets: Budgets, verification: Verification, results: Results) -> ModelEvidence:
    """Put a model's verification and the benchmark's results together.

    Raises:
        InputError: the benchmark measured this model, but nothing of it in a case of the budgets.
    """
    measured = [one for one in results.measurements if one.model == model]
    cases = budgets.judged()
    for name, case in cases.items():
        if measured and not any(_answers(one, name, case) for one in measured):
            raise InputError(_not_measured(model, name, case, measured))
    failures = {(one.engine, one.variant): one.error for one in results.failures if one.model == model}
    variants = {}
    for found in verification.variants:
        key = (found.engine, found.variant)
        given = {name: results.judged(model, *key, name) for name in cases}
        timings = {name: one for name, one in given.items() if one is not None and _answers(one, name, cases[name])}
        variants[key] = VariantEvidence(found, timings, failures.get(key))
    return ModelEvidence(verification, budgets.leading_case(), variants)


def _answers(one: Measurement, name: str, case: BudgetCase) -> bool:
    """Whether a measurement was made for this case, and the case is still what it was."""
    threads = one.all_cores if case.threads == "all" else one.threads == case.threads and not one.all_cores
    return name in one.judged and threads and all(one.shape.get(axis) == size for axis, size in case.shape().items())


def _not_measured(model: str, name: str, case: BudgetCase, measured: Sequence[Measurement]) -> str:
    key = f"budgets.cases.{name}" if name else "budgets.case"
    known = sorted({f"{one.case} with {'all' if one.all_cores else one.threads} threads" for one in measured})
    return (
        f"models.{model}.{key} asks for {case.describe_shape()}, {case.threads} threads, "
        f"which was not measured; measured: {', '.join(known)}. Choose one of these, or add it to models.{model}.export"
    )
