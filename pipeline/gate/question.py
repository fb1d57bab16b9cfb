"""One budget, one observed number: how they are compared, and what is said about them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.layout import Engine, Variant
from pipeline.records.verdict import Check, CheckKind, Outcome, format_number

Limit = float | Literal["none"]
Line = Callable[[str], int | None]


@dataclass(frozen=True)
class Judge:
    """The model that is judged, and where its keys are: `line` gives the line of a dotted key in params.yaml."""

    model: str
    line: Line


@dataclass(frozen=True)
class Question:
    """What is compared.

    Attributes:
        block: where the budget stands below the model, such as `budgets.openvino`.
        name: of the budget in its block.
        label: what people read before the number.
        case: the case of `budgets.cases`, if the budget has a number for each.
        missing: what to say when there is no number.
    """

    kind: CheckKind
    block: str
    name: str
    label: str
    unit: str = ""
    engine: Engine | None = None
    variant: Variant | None = None
    case: str = ""
    at_least: bool = False
    missing: str = "was not measured"

    @property
    def key(self) -> str:
        """The budget's dotted key below the model."""
        return ".".join(part for part in (self.block, self.name, self.case) if part)


def compare(question: Question, observed: float | None, allowed: Limit, judge: Judge) -> Iterator[Check]:
    """One check, or none for a budget of `none`."""
    if allowed == "none":
        return
    missed = observed is None or (observed < allowed if question.at_least else observed > allowed)
    yield answer(question, observed, allowed, judge, Outcome.FAIL if missed else Outcome.PASS)


def answer(
    question: Question, observed: float | None, allowed: float | None, judge: Judge, verdict: Outcome, note: str = ""
) -> Check:
    """The check that has this verdict; its message says number, budget and line, and `note` at the end."""
    dotted = f"models.{judge.model}.{question.key}"
    margin = None
    said = f"{question.label} {question.missing}"
    if observed is not None and allowed is not None:
        margin = observed - allowed if question.at_least else allowed - observed
        sign = {(False, True): "<=", (False, False): ">", (True, True): ">=", (True, False): "<"}
        seen, limit = _pair(observed, allowed, question.unit)
        said = f"{question.label} {seen} {sign[question.at_least, margin >= 0]} budget {limit}"
    return Check(
        kind=question.kind,
        name=question.name,
        case=question.case,
        budget=dotted,
        line=judge.line(dotted),
        engine=question.engine,
        variant=question.variant,
        observed=observed,
        allowed=allowed,
        unit=question.unit,
        at_least=question.at_least,
        margin=margin,
        margin_fraction=margin / allowed if margin is not None and allowed else None,
        verdict=verdict,
        message=f"{said} {where(question.key, judge)}{note}",
    )


def where(key: str, judge: Judge) -> str:
    """Where a key below the model stands, in brackets."""
    dotted = f"models.{judge.model}.{key}"
    line = judge.line(dotted)
    return f"(params.yaml:{line}, {dotted})" if line else f"(params.yaml, {dotted})"


def _pair(observed: float, allowed: float, unit: str) -> tuple[str, str]:
    """Both numbers with their unit; with all their digits where rounding would hide the difference."""
    texts = [format_number(value, unit) for value in (observed, allowed)]
    if texts[0] == texts[1] and observed != allowed:
        texts = [f"{value!r} {unit}".strip() for value in (observed, allowed)]
    return texts[0], texts[1]
