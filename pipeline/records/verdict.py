"""`verdict.json`: every budget against what was observed, and what ships; the gate writes it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pipeline.layout import Engine, Variant
from pipeline.records.base import Part, Record

_WHOLE_UNITS = ("bytes", "parameters", "MACs", "problems")


class Outcome(StrEnum):
    """The result of a comparison with a budget."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class CheckKind(StrEnum):
    """What a check is about."""

    PARAMETERS = "parameters"
    MACS = "macs"
    EXPORTED = "exported"
    VERIFIED = "verified"
    MEASURED = "measured"
    LATENCY = "latency"
    MEMORY = "memory"
    SIZE = "size"
    QUALITY = "quality"


class Check(Part):
    """One number against one budget.

    Attributes:
        name: of the budget in its block, such as `p95_ms` or `accuracy_kept`.
        case: the case of `budgets.cases` that was measured; "" for a single `budgets.case`, and where no case matters.
        budget: dotted key in params.yaml.
        line: its line there, `None` when unknown. It informs people and decides nothing.
        observed: `None` when it was not measured, which fails.
        allowed: the budget; `None` where the check is that there is a number at all.
        unit: of observed, allowed and margin; empty for a bare ratio.
        at_least: whether the budget is a lower bound.
        margin: room that is left; negative when the budget is missed.
        margin_fraction: the margin as a fraction of what is allowed.
    """

    kind: CheckKind
    name: str
    case: str = ""
    budget: str
    line: int | None
    engine: Engine | None
    variant: Variant | None
    observed: int | float | None
    allowed: int | float | None
    unit: str
    at_least: bool
    margin: int | float | None
    margin_fraction: float | None
    verdict: Outcome
    message: str

    @property
    def label(self) -> str:
        """The budget's name, and its case where it has one."""
        return f"{self.name} {self.case}" if self.case else self.name

    def text(self, number: float | None) -> str:
        """A number of this check for people, with its unit; `-` where there is none."""
        return "-" if number is None else format_number(number, self.unit)


class Payoff(Part):
    """What a step down the ladder of precisions gained on one engine.

    Attributes:
        against: the step that it is compared with: the last one that was taken, else the one before it.
        size_ratio: bytes of `against` over those of `variant`.
        speed_ratio: latency of `against` over that of `variant`, the median over interleaved blocks of their p50.
        pays: smaller and faster; `None`, as the others, where one of the two was not measured.
    """

    engine: Engine
    variant: Variant
    against: Variant
    smaller: bool | None
    faster: bool | None
    size_ratio: float | None
    speed_ratio: float | None
    pays: bool | None
    message: str


class SpeedUp(Part):
    """How many times as fast as the teacher the fastest of the student's variants is on an engine, by their p50.

    Attributes:
        variant: the fastest one.
        over_teacher_on_same_engine: against the teacher's export to this engine.
        over_teacher_on_onnxruntime: against the teacher's export to ONNX Runtime, one yardstick for all engines.
    """

    variant: Variant
    over_teacher_on_same_engine: float | None
    over_teacher_on_onnxruntime: float | None


class ModelVerdict(Part):
    """The verdict on one model.

    Attributes:
        chosen: for each engine the variant that ships, or `None` when none may.
        checks: those of the model itself and of the chosen variants; of the nearest one where none is chosen.
        payoff: one for each reduced variant of each engine.
        rejected: checks that variants which are not chosen miss, one line each.
        speedup: by engine; without those where the teacher was not measured.
    """

    verdict: Outcome
    chosen: Mapping[Engine, Variant | None]
    checks: tuple[Check, ...]
    payoff: tuple[Payoff, ...]
    rejected: tuple[str, ...]
    speedup: Mapping[Engine, SpeedUp]

    def missed(self) -> tuple[Check, ...]:
        """The checks that are not PASS."""
        return tuple(check for check in self.checks if check.verdict is not Outcome.PASS)

    def ships(self) -> str:
        """What ships on each engine, in one line."""
        return ", ".join(f"{engine} {variant or 'nothing'}" for engine, variant in self.chosen.items())


class Verdict(Record):
    """The verdict on a fleet, on one machine."""

    verdict: Outcome
    host: Mapping[str, Any]
    models: Mapping[str, ModelVerdict]

    def of(self, model: str) -> "Verdict":
        """The verdict on a fleet of this model alone."""
        mine = self.models[model]
        return Verdict(verdict=mine.verdict, host=self.host, models={model: mine})

    def misses(self) -> list[str]:
        """Messages of the checks that are not PASS, each after its model's name."""
        return [f"{name}: {check.message}" for name, model in self.models.items() for check in model.missed()]


def format_number(value: float, unit: str) -> str:
    """A number for people, with its unit: whole for bytes and counts, else four digits."""
    text = f"{value:,.0f}" if unit in _WHOLE_UNITS else f"{value:.4g}"
    return f"{text} {unit}".strip()
