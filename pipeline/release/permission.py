"""Whether the gate allows a release."""

from pipeline.errors import BudgetError, InconclusiveError, IntegrityError
from pipeline.records.verdict import Check, ModelVerdict, Outcome, Verdict


def require_pass(model: str, verdict: Verdict) -> ModelVerdict:
    """Return the gate's verdict on `model` if it is PASS.

    Args:
        model: name of the model.
        verdict: on the model alone, or on the whole fleet.

    Raises:
        BudgetError: a budget is missed; with every offending number, its margin and its line in params.yaml.
        InconclusiveError: the measurement was too noisy for a verdict.
        IntegrityError: the verdict is not about this model.
    """
    mine = verdict.models.get(model)
    if mine is None:
        raise IntegrityError(f"the verdict says nothing about {model}: run `dvc repro gate`")
    if mine.verdict is Outcome.PASS:
        return mine
    missed = [_describe(check) for check in mine.checks if check.verdict is mine.verdict]
    if mine.verdict is Outcome.INCONCLUSIVE:
        advice = "Measure again on a quieter machine: `dvc repro --force --single-item benchmark`, then `dvc repro`."
        raise InconclusiveError("\n".join([f"{model} is not released, the verdict is INCONCLUSIVE:", *missed, advice]))
    advice = "Raise the budget or make the model cheaper; the evidence is in artifacts/ and in `bardlet report`."
    raise BudgetError("\n".join([f"{model} is not released, {len(missed)} of its budgets missed:", *missed, advice]))


def _describe(check: Check) -> str:
    if check.margin is None:
        return f"  {check.message}"
    share = f", {check.margin_fraction:+.1%}" if check.margin_fraction is not None else ""
    value = f"{check.margin:,.0f}" if abs(check.margin) >= 1000 else f"{check.margin:.4g}"
    return f"  {check.message}; margin {f'{value} {check.unit}'.strip()}{share}"
