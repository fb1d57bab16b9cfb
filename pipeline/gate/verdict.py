"""Numbers and budgets in, verdict out.

For each engine the gate checks every step of the student's ladder of precisions against every budget, chooses what
would ship, and says whether compression paid. A verdict is the worst of its checks: FAIL, then INCONCLUSIVE, then PASS.
"""

from collections.abc import Mapping

from pipeline.gate.checks import model_checks, variant_checks
from pipeline.gate.evidence import ModelEvidence, gather
from pipeline.gate.ladder import Candidate, choose, nearest, worst
from pipeline.gate.payoff import judge_payoffs, speedups
from pipeline.gate.question import Judge, Line
from pipeline.layout import Engine, Layout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.file import load_params
from pipeline.records.results import Results
from pipeline.records.verdict import ModelVerdict, Payoff, Verdict
from pipeline.records.verification import Verification


def judge_workspace(layout: Layout) -> Verdict:
    """Judge what the artifacts of a workspace say.

    Raises:
        InputError: params.yaml is wrong, or a case of a model's budgets was not measured.
        IntegrityError: an artifact is missing, or is not such a record.
    """
    loaded = load_params(layout.params)
    fleet = loaded.params.fleet
    return judge(
        {name: loaded.params.models[name] for name in fleet},
        {name: Verification.read(layout.model(name).verification) for name in fleet},
        Results.read(layout.results),
        loaded.line,
    )


def judge(
    models: Mapping[str, ModelParams],
    verifications: Mapping[str, Verification],
    results: Results,
    line: Line,
) -> Verdict:
    """Judge a fleet.

    Args:
        models: the parameters of each model of the fleet.
        verifications: what verify found of each model.
        results: what the benchmark measured.
        line: the line of a dotted key in params.yaml; it appears in messages and decides nothing.

    Raises:
        InputError: a case of a model's budgets was not measured.
    """
    verdicts = {}
    for name, params in models.items():
        evidence = gather(name, params.budgets, verifications[name], results)
        verdicts[name] = judge_model(evidence, params, Judge(name, line))
    overall = worst(model.verdict for model in verdicts.values())
    return Verdict(verdict=overall, host=results.host, models=verdicts)


def judge_model(evidence: ModelEvidence, params: ModelParams, judge_of: Judge) -> ModelVerdict:
    """Judge one model: its parameters and multiply-accumulates, then each engine; one without a variant fails."""
    student = evidence.verification.student
    checks = model_checks(student.params, student.macs, params.budgets, judge_of)
    chosen: dict[Engine, Variant | None] = {}
    payoffs: list[Payoff] = []
    rejected: list[str] = []
    for engine in Engine:
        ladder = [
            _candidate(evidence, engine, variant, params, judge_of) for variant in params.export.ladder.variants()
        ]
        pick = chosen[engine] = choose(ladder)
        checks += next((step for step in ladder if step.variant == pick), nearest(ladder)).checks
        payoffs += judge_payoffs(engine, ladder)
        rejected += [check.message for step in ladder if step.variant != pick for check in step.missed()]
    return ModelVerdict(
        verdict=worst(check.verdict for check in checks),
        chosen=chosen,
        checks=tuple(checks),
        payoff=tuple(payoffs),
        rejected=tuple(rejected),
        speedup=speedups(evidence),
    )


def _candidate(
    evidence: ModelEvidence, engine: Engine, variant: Variant, params: ModelParams, judge_of: Judge
) -> Candidate:
    found, timing = evidence.find(engine, variant), evidence.timing(engine, variant)
    return Candidate(
        variant=variant,
        checks=tuple(variant_checks(evidence, engine, variant, params, judge_of)),
        size_bytes=found.found.size_bytes if found else None,
        block_p50_ms=timing.block_p50_ms if timing else None,
    )
