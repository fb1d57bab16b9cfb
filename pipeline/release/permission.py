"""Whether the gate allows a release."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import BudgetError, InconclusiveError, IntegrityError


def require_pass(model: str, verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the gate's verdict on `model` if it is PASS.

    Args:
        model: name of the model.
        verdict: the content of the model's own verdict file, or of verdict.json.

    Raises:
        BudgetError: a budget is missed; with every offending number, its margin and its line in params.yaml.
        InconclusiveError: the measurement was too noisy for a verdict.
        IntegrityError: the verdict is not about this model.
    """
    mine: Mapping[str, Any] | None = verdict["models"].get(model)
    if mine is None:
        raise IntegrityError(f"the verdict says nothing about {model}: run `dvc repro gate`")
    if mine["verdict"] == "PASS":
        return mine
    misses = [_describe(check) for check in mine["checks"] if check["verdict"] == mine["verdict"]]
    if mine["verdict"] == "INCONCLUSIVE":
        advice = "Measure again on a quieter machine: `dvc repro --force --single-item benchmark`, then `dvc repro`."
        raise InconclusiveError("\n".join([f"{model} is not released, the verdict is INCONCLUSIVE:", *misses, advice]))
    advice = "Raise the budget or make the model cheaper; the evidence is in artifacts/ and in `bardlet report`."
    raise BudgetError("\n".join([f"{model} is not released, {len(misses)} of its budgets missed:", *misses, advice]))


def _describe(check: Mapping[str, Any]) -> str:
    margin = check["margin"]
    if margin is None:
        return f"  {check['message']}"
    fraction = check["margin_fraction"]
    share = f", {fraction:+.1%}" if fraction is not None else ""
    return f"  {check['message']}; margin {_number(check)}{share}"


def _number(check: Mapping[str, Any]) -> str:
    value = f"{check['margin']:,.0f}" if abs(check["margin"]) >= 1000 else f"{check['margin']:.4g}"
    return f"{value} {check['unit']}".strip()
