"""A workspace with made-up but realistic artifacts, as the stages write them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.layout import Engine, Variant
from pipeline.records.base import Record
from pipeline.records.results import Failure, Measurement, Results
from pipeline.records.verdict import Check, CheckKind, ModelVerdict, Outcome, Payoff, Verdict
from pipeline.records.verification import Verification

REPOSITORY = Path(__file__).parents[2]
MODEL = "docs-embed"
# engine, variant: size in bytes, p50 in ms, peak memory in bytes, fidelity, recall@1, recall@10
VARIANTS = {
    ("onnxruntime", "teacher"): (90_900_000, 9.5, 210_000_000, 1.0, 0.612, 0.842),
    ("onnxruntime", "fp32"): (11_300_000, 0.52, 96_000_000, 0.762, 0.559, 0.797),
    ("onnxruntime", "int8"): (2_930_000, 0.29, 84_000_000, 0.757, 0.556, 0.794),
    ("openvino", "teacher"): (90_800_000, 1.92, 340_000_000, 1.0, 0.611, 0.842),
    ("openvino", "fp32"): (11_400_000, 0.38, 231_000_000, 0.762, 0.559, 0.797),
    ("openvino", "int8"): (3_140_000, 0.58, 240_000_000, 0.754, 0.552, 0.791),
    ("tflite", "teacher"): (91_300_000, 12.4, 260_000_000, 1.0, 0.612, 0.842),
    ("tflite", "fp32"): (11_000_000, 0.37, 71_000_000, 0.762, 0.559, 0.797),
    ("tflite", "int8"): (3_720_000, 0.13, 62_000_000, 0.756, 0.557, 0.795),
}
SHAPE = {"batch": 1, "length": 32}
CHOSEN = {"onnxruntime": "int8", "openvino": "fp32", "tflite": "int8"}
HOST = {
    "cpu": "Intel(R) Xeon(R) Processor @ 2.80GHz",
    "architecture": "x86_64",
    "logical_cores": 2,
    "physical_cores": 1,
    "usable_cores": 2,
    "flags": ["avx2", "avx512_vnni", "amx_int8"],
    "memory_bytes": 25_200_000_000,
    "os": "Debian GNU/Linux 12",
    "kernel": "Linux 6.1",
    "fingerprint": "0123456789abcdef",
}


def write_workspace(root: Path, verdict: str = "PASS", failure: bool = False) -> None:
    """Write params.yaml and the artifacts below `root`; `failure` lets OpenVINO's int8 crash."""
    shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
    write(root / f"artifacts/fleet/{MODEL}/verify.json", verification())
    write(root / "artifacts/benchmark/results.json", results(root, failure))
    for name in ("verdict.json", f"models/{MODEL}.json"):
        write(root / "artifacts/gate" / name, verdict_of(verdict))


def write(path: Path, content: object) -> None:
    """Write a record, or anything else, as JSON."""
    if isinstance(content, Record):
        content.write(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def verification() -> Verification:
    quality = [("teacher", 1.0, 0.612), ("distill", 0.771, 0.566), ("prune", 0.764, 0.561), ("quantize", 0.762, 0.559)]
    sizes = [22_713_216, 2_951_000, 2_702_000, 2_702_000]
    macs = [352_000_000, 19_400_000, 15_100_000, 15_100_000]
    size_bytes = [90_852_864, 11_804_000, 10_808_000, 10_808_000]
    steps = [
        {"step": step, "params": p, "macs": m, "size_bytes": b, "quality": _quality(fidelity, recall, recall + 0.24)}
        for (step, fidelity, recall), p, m, b in zip(quality, sizes, macs, size_bytes, strict=True)
    ]
    teacher, *_, student = ({key: value for key, value in one.items() if key != "step"} for one in steps)
    return Verification.model_validate(
        {
            "model": MODEL,
            "task": "sentence_embedding",
            "teacher": teacher,
            "student": student,
            "steps": steps,
            "gains": {},
            "sensitivity_ratio": None,
            "sensitivity": [],
            "cases": [{"name": "b1_l32", "shape": SHAPE}],
            "judged": {"": {"shape": SHAPE, "threads": 1}},
            "variants": [
                {
                    "engine": engine,
                    "variant": variant,
                    "path": f"artifacts/{MODEL}/export/{engine}/{variant}",
                    "files": {},
                    "size_bytes": size,
                    "precision": {"weights": "fp32", "activations": "fp32", "inference": "f32", "cache": "none"},
                    "reduction": None,
                    "quality": _quality(fidelity, recall, recall_10),
                    "mean_cosine": 0.999,
                    "max_abs_error": 0.001,
                    "problems": [],
                }
                for (engine, variant), (size, _, _, fidelity, recall, recall_10) in VARIANTS.items()
            ],
        }
    )


def results(root: Path, failure: bool) -> Results:
    measurements = []
    folder = root / "artifacts/benchmark/samples"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, ((engine, variant), (_, p50_ms, memory, *_)) in enumerate(VARIANTS.items()):
        if failure and (engine, variant) == ("openvino", "int8"):
            continue
        samples = _samples(p50_ms, seed)
        name = f"{MODEL}.{engine}.{variant}.b1_l32.t1.npy"
        np.save(folder / name, samples)
        measurements.append(_measurement(engine, variant, samples, memory, name))
    error = "killed by SIGFPE while compiling the model"
    crash = Failure(model=MODEL, engine=Engine.OPENVINO, variant=Variant.INT8, error=error, signal="SIGFPE")
    settings = {"blocks": 5, "warmup_runs": 20, "block_seconds": 0.5, "max_block_runs": 2000}
    return Results(host=HOST, settings=settings, measurements=tuple(measurements), failures=(crash,) if failure else ())


def verdict_of(verdict: str) -> Verdict:
    checks = [
        _check(CheckKind.PARAMETERS, "budgets.params", None, 2_702_000, 3_000_000, "parameters"),
    ]
    budgets = {"onnxruntime": (8, 3.7e6, 4e8), "openvino": (8, 12e6, 6e8), "tflite": (10, 4.5e6, 3e8)}
    for engine, variant in CHOSEN.items():
        size, p50_ms, memory, fidelity, recall, _ = VARIANTS[engine, variant]
        p95, size_bytes, memory_bytes = budgets[engine]
        quality = "budgets.quality"
        checks += [
            _check(CheckKind.LATENCY, f"budgets.{engine}.p95_ms", engine, p50_ms * 1.3, p95, "ms"),
            _check(CheckKind.MEMORY, f"budgets.{engine}.memory_bytes", engine, memory, memory_bytes, "bytes"),
            _check(CheckKind.SIZE, f"budgets.{engine}.size_bytes", engine, size, size_bytes, "bytes"),
            _check(CheckKind.QUALITY, f"{quality}.fidelity_spearman", engine, fidelity, 0.72, "", at_least=True),
            _check(CheckKind.QUALITY, f"{quality}.recall_at_1_kept", engine, recall / 0.612, 0.85, "", at_least=True),
        ]
    latency = "budgets.onnxruntime.p95_ms"
    if verdict == "FAIL":
        checks[1] = _check(CheckKind.LATENCY, latency, "onnxruntime", 0.377, 0.2, "ms")
    if verdict == "INCONCLUSIVE":
        unclear = _check(CheckKind.LATENCY, latency, "onnxruntime", 0.377, 0.35, "ms")
        checks[1] = unclear.model_copy(update={"verdict": Outcome.INCONCLUSIVE})
    payoff = (
        _payoff("onnxruntime", 3.86, 1.79, "onnxruntime int8 pays: 3.86 times smaller and 1.79 times as fast as fp32"),
        _payoff("openvino", 3.63, 0.66, "openvino int8 DOES NOT PAY: it is not faster (3.63 times smaller and 0.66 "
                "times as fast as fp32); fp32 ships instead"),
        _payoff("tflite", 2.96, 2.85, "tflite int8 pays: 2.96 times smaller and 2.85 times as fast as fp32"),
    )  # fmt: skip
    speedup = {
        engine: {"variant": CHOSEN[engine], "over_teacher_on_same_engine": own, "over_teacher_on_onnxruntime": times}
        for engine, own, times in (("onnxruntime", 32.8, 32.8), ("openvino", 5.05, 25.0), ("tflite", 95.4, 73.1))
    }
    model = ModelVerdict.model_validate(
        {
            "verdict": verdict,
            "chosen": CHOSEN,
            "checks": checks,
            "payoff": payoff,
            "rejected": ["openvino int8 fidelity drop from openvino fp32 0.008 is close"],
            "speedup": speedup,
        }
    )
    return Verdict(verdict=Outcome(verdict), host=HOST, models={MODEL: model})


def _quality(fidelity: float, recall_at_1: float, recall_at_10: float) -> dict[str, float]:
    return {"fidelity_spearman": fidelity, "recall_at_1": recall_at_1, "recall_at_10": recall_at_10}


def _samples(p50_ms: float, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    random = np.random.default_rng(seed)
    samples = p50_ms * (0.96 + random.gamma(1.3, 0.05, 4000))
    slow = random.random(4000) < 0.03
    samples[slow] *= 1 + random.exponential(0.6, int(slow.sum()))
    return samples


def _measurement(
    engine: str, variant: str, samples: np.ndarray[Any, np.dtype[np.float64]], memory: int, name: str
) -> Measurement:
    blocks = samples.reshape(5, -1)
    return Measurement.model_validate({
        "model": MODEL, "engine": engine, "variant": variant,
        "case": "b1_l32", "shape": SHAPE, "judged": [""], "threads": 1, "all_cores": False, "cores": [0],
        "runs": samples.size,
        **{f"latency_p{q}_ms": float(np.percentile(samples, q)) for q in (50, 90, 95, 99)},
        "block_p50_ms": np.percentile(blocks, 50, axis=1).tolist(),
        "block_p95_ms": np.percentile(blocks, 95, axis=1).tolist(),
        "throughput_per_s": float(1000 / samples.mean()), "block_runs": [blocks.shape[1]] * 5,
        "load_ms": 41.0, "peak_memory_bytes": memory, "samples": f"samples/{name}",
    })  # fmt: skip


def _check(
    kind: CheckKind, key: str, engine: str | None, observed: float, allowed: float, unit: str, at_least: bool = False
) -> Check:
    margin = observed - allowed if at_least else allowed - observed
    sign = (">=" if at_least else "<=") if margin >= 0 else ("<" if at_least else ">")
    budget, name = f"models.{MODEL}.{key}", key.rpartition(".")[2]
    label = f"{engine} {CHOSEN[engine]} {name}" if engine else "student"
    return Check.model_validate({
        "kind": kind, "name": name, "budget": budget, "line": 109, "engine": engine,
        "variant": CHOSEN[engine] if engine else None, "observed": observed, "allowed": allowed, "unit": unit,
        "at_least": at_least, "margin": margin, "margin_fraction": margin / allowed,
        "verdict": "PASS" if margin >= 0 else "FAIL",
        "message": f"{label} {observed:.4g} {unit} {sign} budget {allowed:.4g} {unit} (params.yaml:109, {budget})",
    })  # fmt: skip


def _payoff(engine: str, size_ratio: float, speed_ratio: float, message: str) -> Payoff:
    smaller, faster = size_ratio > 1, speed_ratio > 1
    return Payoff.model_validate({
        "engine": engine, "variant": "int8", "against": "fp32", "smaller": smaller, "faster": faster,
        "size_ratio": size_ratio, "speed_ratio": speed_ratio, "pays": smaller and faster, "message": message,
    })  # fmt: skip
