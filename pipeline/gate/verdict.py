"""Numbers and budgets in, verdict out.

For each engine the gate checks both precisions of the student against every budget, chooses what would ship, and
says whether compression paid. A verdict is the worst of its checks: FAIL, then INCONCLUSIVE, then PASS.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from pipeline.errors import ExitCode
from pipeline.files import read_json
from pipeline.gate.checks import Check, Judge, params_check, variant_checks
from pipeline.gate.evidence import ModelEvidence, gather
from pipeline.gate.payoff import Payoff, judge_payoff, pays, speedup_over_teacher
from pipeline.gate.statistics import Outcome
from pipeline.layout import STUDENT_VARIANTS, Engine, Layout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.file import load_params

EXIT_CODES = {
    Outcome.PASS: ExitCode.PASS,
    Outcome.FAIL: ExitCode.BUDGET_MISSED,
    Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


@dataclass(frozen=True)
class ModelVerdict:
    """The verdict on one model.

    Attributes:
        chosen: for each engine the variant that ships, or `None` when neither may.
        checks: those of the chosen variants; of the nearest one where none is chosen.
        rejected: checks that variants which are not chosen miss, one line each.
        speedup_over_teacher: for each engine, the teacher's p50 in ONNX Runtime over the fastest student's p50.
    """

    verdict: Outcome
    chosen: Mapping[Engine, Variant | None]
    checks: tuple[Check, ...]
    payoff: tuple[Payoff, ...]
    rejected: tuple[str, ...]
    speedup_over_teacher: Mapping[Engine, float]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a fleet, on one machine."""

    verdict: Outcome
    host: Mapping[str, Any]
    models: Mapping[str, ModelVerdict]

    def to_json(self) -> dict[str, Any]:
        """The content of verdict.json."""
        return {
            "verdict": self.verdict.value,
            "host": dict(self.host),
            "models": {name: asdict(model) for name, model in self.models.items()},
        }

    def of(self, model: str) -> "Verdict":
        """The verdict on a fleet of this model alone."""
        mine = self.models[model]
        return Verdict(mine.verdict, self.host, {model: mine})

    def misses(self) -> list[str]:
        """Messages of the checks that are not PASS, each after its model's name."""
        return [f"{name}: {message}" for name, model in self.models.items() for message in misses(model.checks)]


def judge_workspace(layout: Layout) -> Verdict:
    """Judge what the artifacts of a workspace say.

    Raises:
        InputError: params.yaml is wrong, or the case of a model's budgets was not measured.
        IntegrityError: an artifact is missing or lacks a field.
    """
    loaded = load_params(layout.params)
    fleet = loaded.params.fleet
    return judge(
        {name: loaded.params.models[name] for name in fleet},
        {name: read_json(layout.model(name).fleet_variants) for name in fleet},
        read_json(layout.results),
        loaded.line,
    )


def judge(
    models: Mapping[str, ModelParams],
    variants: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Any],
    line: Callable[[str], int | None],
) -> Verdict:
    """Judge a fleet.

    Args:
        models: the parameters of each model of the fleet.
        variants: the content of each model's variants.json.
        results: the content of results.json.
        line: the line of a dotted key in params.yaml; it appears in messages and decides nothing.

    Raises:
        InputError: the case of a model's budgets was not measured.
        IntegrityError: variants or results lack a field.
    """
    verdicts = {}
    for name, params in models.items():
        evidence = gather(params.budgets.case, variants[name], results)
        verdicts[name] = judge_model(evidence, params, Judge(name, line))
    return Verdict(worst(model.verdict for model in verdicts.values()), results["host"], verdicts)


def judge_model(evidence: ModelEvidence, params: ModelParams, judge_of: Judge) -> ModelVerdict:
    """Judge one model: its parameters, then each engine; an engine without a variant fails."""
    checks = params_check(evidence, params.budgets, judge_of)
    chosen: dict[Engine, Variant | None] = {}
    payoffs: list[Payoff] = []
    rejected: list[str] = []
    for engine in Engine:
        candidates = {
            variant: variant_checks(evidence, engine, variant, params, judge_of) for variant in STUDENT_VARIANTS
        }
        outcomes = {variant: worst(check.verdict for check in mine) for variant, mine in candidates.items()}
        pick = choose(outcomes, pays(evidence, engine))
        chosen[engine] = pick
        checks += candidates[pick or nearest(candidates)]
        payoffs.append(judge_payoff(evidence, engine, pick, candidates[Variant.FP32]))
        rejected += [reason for variant, mine in candidates.items() if variant != pick for reason in misses(mine)]
    return ModelVerdict(
        verdict=worst(check.verdict for check in checks),
        chosen=chosen,
        checks=tuple(checks),
        payoff=tuple(payoffs),
        rejected=tuple(rejected),
        speedup_over_teacher=speedup_over_teacher(evidence),
    )


def choose(outcomes: Mapping[Variant, Outcome], int8_pays: bool | None) -> Variant | None:
    """Choose what ships: int8 if it pays, else fp32, else int8 all the same, because only it keeps the budgets.

    Variants within all budgets come before inconclusive ones; one that fails is never chosen.

    Args:
        outcomes: the worst check of each student variant.
        int8_pays: smaller and faster than fp32 on this engine; `None` when that is not known.
    """
    for wanted in (Outcome.PASS, Outcome.INCONCLUSIVE):
        within = {variant for variant, outcome in outcomes.items() if outcome is wanted}
        if Variant.INT8 in within and (int8_pays or Variant.FP32 not in within):
            return Variant.INT8
        if Variant.FP32 in within:
            return Variant.FP32
    return None


def nearest(candidates: Mapping[Variant, Sequence[Check]]) -> Variant:
    """The variant with the fewest failing checks; among equals the one that misses by less, and then int8."""

    def distance(variant: Variant) -> tuple[int, float]:
        failed = [check for check in candidates[variant] if check.verdict is Outcome.FAIL]
        fractions = [inf if check.margin_fraction is None else -check.margin_fraction for check in failed]
        return len(failed), max(fractions, default=0.0)

    measured = {v: cs for v, cs in candidates.items() if not any(check.observed is None for check in cs)}
    return min((v for v in (Variant.INT8, Variant.FP32) if v in (measured or candidates)), key=distance)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """FAIL before INCONCLUSIVE before PASS; PASS when there are none."""
    found = set(outcomes)
    return next((one for one in (Outcome.FAIL, Outcome.INCONCLUSIVE) if one in found), Outcome.PASS)


def misses(checks: Iterable[Check]) -> list[str]:
    """Messages of the checks that are not PASS."""
    return [check.message for check in checks if check.verdict is not Outcome.PASS]
