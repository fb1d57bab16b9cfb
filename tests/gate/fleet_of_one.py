"""A fleet of one model in which everything is fine, until a test changes it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.gate.verdict import judge
from pipeline.layout import Engine, Variant
from pipeline.records.results import Failure, Measurement, Results
from pipeline.records.verdict import Check, Outcome, Verdict
from pipeline.records.verification import Verification, VerifiedVariant
from pipeline.tasks.sentence_embedding.params import Budgets, ModelParams

PARAMS_YAML = Path(__file__).parents[2] / "params.yaml"
ENGINES = ("onnxruntime", "openvino", "tflite")
MEGABYTE = 1_000_000
BLOCKS_MS = {"teacher": (20.0, 20.0, 20.0), "fp32": (2.0, 2.0, 2.0), "int8": (1.0, 1.0, 1.0)}
SIZES = {"teacher": 90 * MEGABYTE, "fp32": 11 * MEGABYTE, "int8": 3 * MEGABYTE, "int4": 2 * MEGABYTE}
PRECISION = {"weights": "fp32", "activations": "fp32", "inference": "f32", "cache": "none"}


def model_params(ladder: Mapping[str, Any] | None = None, **engine_budgets: Mapping[str, Any] | str) -> ModelParams:
    """The model of params.yaml with round budgets; `openvino={"p95_ms": 1}` changes one of them."""
    tree = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))["models"]["docs-embed"]
    if ladder is not None:
        tree["export"]["ladder"] |= ladder
        tree["verify"]["tolerances"] |= dict.fromkeys(ladder, tree["verify"]["tolerances"]["int8"])
    budgets: dict[str, Any] = {
        "case": {"batch": 1, "length": 32, "threads": 1},
        "params": 3 * MEGABYTE,
        "macs": 20 * MEGABYTE,
        "quality": {"fidelity_spearman": 0.72, "int8_fidelity_drop": 0.01, "recall_at_1_kept": 0.85},
    }
    for engine in ENGINES:
        budgets[engine] = {"p95_ms": 8, "size_bytes": 12 * MEGABYTE, "memory_bytes": 400 * MEGABYTE}
    for key, changed in engine_budgets.items():
        known = budgets.get(key)
        budgets[key] = {**known, **changed} if isinstance(changed, dict) and isinstance(known, dict) else changed
    if "cases" in budgets:
        del budgets["case"]
    model = ModelParams.model_validate(tree)
    return model.model_copy(update={"budgets": Budgets.model_validate(budgets)})


def variant(engine: str, name: str, **changes: Any) -> dict[str, Any]:
    """An entry of verify.json: fp32 of 11 MB, int8 of 3 MB, both good enough."""
    quality = {"fidelity_spearman": 0.76, "recall_at_1": 0.55, "recall_at_10": 0.8}
    entry = {
        "engine": engine,
        "variant": name,
        "path": f"artifacts/m/export/{engine}/{name}",
        "files": {},
        "size_bytes": SIZES[name],
        "precision": PRECISION,
        "reduction": None,
        "quality": quality,
        "mean_cosine": 0.999,
        "max_abs_error": 0.01,
        "problems": [],
    }
    return entry | changes


def measurement(engine: str, name: str, block_ms: tuple[float, ...], **changes: Any) -> dict[str, Any]:
    """An entry of results.json."""
    p50_ms = sorted(block_ms)[len(block_ms) // 2] / 2
    entry = {
        "model": "m",
        "engine": engine,
        "variant": name,
        "case": "b1_l32",
        "shape": {"batch": 1, "length": 32},
        "judged": [""],
        "threads": 1,
        "all_cores": False,
        "cores": [0],
        "runs": 3,
        **dict.fromkeys(("latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms"), p50_ms),
        "block_p50_ms": [value / 2 for value in block_ms],
        "block_p95_ms": list(block_ms),
        "throughput_per_s": 1000 / p50_ms,
        "block_runs": [1] * len(block_ms),
        "load_ms": 1.0,
        "peak_memory_bytes": 100 * MEGABYTE,
        "samples": "samples/one.npy",
    }
    return entry | changes


class FleetOfOne:
    """Verification and results of a model `m`, as the files have them."""

    def __init__(self) -> None:
        names = [(engine, name) for engine in ENGINES for name in BLOCKS_MS]
        self.variants = {key: variant(*key) for key in names}
        self.measured = {key: measurement(*key, BLOCKS_MS[key[1]]) for key in names}
        self.more_measured: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.skipped: dict[str, dict[str, str]] = {}
        self.student = {"params": 2_900_000, "macs": 19_400_000, "size_bytes": 11 * MEGABYTE, "quality": {}}

    def add(self, engine: str, name: str, block_ms: tuple[float, ...], **changes: Any) -> None:
        """Another variant, measured."""
        self.variants[engine, name] = variant(engine, name, **changes)
        self.blocks(engine, name, block_ms)

    def crash(self, engine: str, name: str, error: str) -> None:
        del self.measured[engine, name]
        self.failures.append({"model": "m", "engine": engine, "variant": name, "error": error, "signal": "SIGSEGV"})

    def blocks(self, engine: str, name: str, block_ms: tuple[float, ...]) -> None:
        self.measured[engine, name] = measurement(engine, name, block_ms)

    @property
    def verification(self) -> Verification:
        teacher = {"params": 22_713_216, "macs": 352_000_000, "size_bytes": 90 * MEGABYTE}
        return Verification(
            model="m",
            task="sentence_embedding",
            teacher={**teacher, "quality": {"recall_at_1": 0.6, "recall_at_10": 0.85}},
            student=self.student,
            steps=(),
            gains={},
            sensitivity_ratio=None,
            sensitivity=(),
            cases=({"name": "b1_l32", "shape": {"batch": 1, "length": 32}},),
            judged={"": {"shape": {"batch": 1, "length": 32}, "threads": 1}},
            variants=tuple(VerifiedVariant.model_validate(one) for one in self.variants.values()),
            skipped=self.skipped,
        )

    @property
    def results(self) -> Results:
        return Results(
            host={"cpu": "test"},
            settings={},
            measurements=tuple(
                Measurement.model_validate(one) for one in [*self.measured.values(), *self.more_measured]
            ),
            failures=tuple(Failure.model_validate(one) for one in self.failures),
        )

    def judge(self, params: ModelParams | None = None, line: Callable[[str], int | None] = lambda key: 41) -> Verdict:
        return judge({"m": params or model_params()}, {"m": self.verification}, self.results, line)


def missed(verdict: Verdict) -> list[Check]:
    return [check for check in verdict.models["m"].checks if check.verdict is not Outcome.PASS]


def payoff_message(verdict: Verdict, engine: Engine, name: Variant = Variant.INT8) -> str:
    payoffs = verdict.models["m"].payoff
    return next(payoff.message for payoff in payoffs if (payoff.engine, payoff.variant) == (engine, name))
