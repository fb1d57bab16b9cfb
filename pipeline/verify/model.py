"""Every exported variant against the PyTorch model it came from, and on the task: one table for benchmark and gate.

The table holds no timing, so that it is the same wherever it is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline import files, weights
from pipeline.engines.spec import Arrays
from pipeline.errors import StageError
from pipeline.layout import REPORT, Engine, ModelLayout, Variant
from pipeline.params.blocks import ModelParams, Tolerance
from pipeline.progress import note, track
from pipeline.runtime.session import Session, open_session
from pipeline.tasks import task
from pipeline.tasks.base import Encode
from pipeline.text.quality import cosine_similarities

_STEPS = ("distill", "prune", "quantize")
# A row of zeros has no direction to compare; its differences count as they are.
_SHORTEST = 1e-6


@dataclass(frozen=True)
class Reference:
    """Examples, and what PyTorch gives for them, float32 `[n, d]`."""

    examples: Sequence[Arrays]
    outputs: NDArray[np.float32]


def _reference(source: nn.Module, examples: Sequence[Arrays]) -> Reference:
    return Reference(examples, module_encode(source)(examples))


def verify_model(model: str, params: ModelParams, paths: ModelLayout) -> Mapping[str, Any]:
    """Judge every variant of every engine.

    Returns:
        The content of verify.json: sizes, steps of compression, cases, and one entry a variant with its problems.
    """
    kind = task(params.task)
    examples = kind.comparison_inputs(params, paths, params.verify.examples)
    student = _reference(weights.load_model(paths.quantized), examples)
    references = {Variant.FP32: student, Variant.INT8: student}
    teacher = kind.load_teacher_module(paths.teacher)
    if teacher is not None:
        references[Variant.TEACHER] = _reference(teacher, examples[: params.verify.teacher_examples])
    variants = []
    for engine in Engine:
        manifest = files.read_json(paths.export_manifest(engine))
        for name in manifest["variants"]:
            variant = Variant(name)
            variants.append(_judge(engine, variant, references[variant], manifest["variants"][name], params, paths))
    reports = {
        step: files.read_json(folder / REPORT)
        for step, folder in zip(_STEPS, (paths.student, paths.pruned, paths.quantized), strict=True)
    }
    teacher_report = files.read_json(paths.teacher / REPORT)
    return {
        "model": model,
        "task": params.task,
        "teacher": _summary(teacher_report),
        "student": _summary(reports["quantize"]),
        "steps": [
            {"step": step, **_summary(report)} for step, report in {"teacher": teacher_report, **reports}.items()
        ],
        "gains": reports["prune"].get("gains", {}),
        **{key: reports["prune"][key] for key in ("sensitivity_ratio", "sensitivity") if key in reports["prune"]},
        "cases": [{"name": case.name, **case.shape} for case in kind.cases(params, paths)],
        "budget_case": {**params.budgets.case.shape(), "threads": params.budgets.case.threads},
        "variants": variants,
    }


def figures(report: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of verify.json by engine and variant, since `dvc metrics show` leaves lists out."""
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in report["variants"]:
        shown = {key: entry[key] for key in ("size_bytes", "mean_cosine", "max_abs_error")}
        nested.setdefault(entry["engine"], {})[entry["variant"]] = {**shown, **entry["quality"]}
    return nested


def compare(given: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: Tolerance) -> dict[str, Any]:
    """Differences of two runs over the same inputs, and what is out of tolerance.

    The largest absolute error is relative to the length (L2 norm) of the wanted row, so that one scale serves logits
    and embeddings; those of unit length are compared as they are.

    Args:
        given: the export's outputs, float32 `[n, d]`.
        wanted: PyTorch's for the same inputs, float32 `[n, d]`.
        tolerance: of both measures.
    """
    if not np.isfinite(given).all():
        return {"mean_cosine": None, "max_abs_error": None, "problems": ["the output holds NaN or infinity"]}
    cosine = float(cosine_similarities(given, wanted).mean())
    lengths = np.linalg.norm(wanted, axis=1, keepdims=True)
    error = float((np.abs(given - wanted) / np.maximum(lengths, _SHORTEST)).max())
    problems = []
    if cosine < tolerance.mean_cosine:
        problems.append(f"mean cosine {cosine:.5f} < tolerance {tolerance.mean_cosine}")
    if error > tolerance.max_abs_error:
        problems.append(f"largest absolute error {error:.4f} > tolerance {tolerance.max_abs_error}")
    return {"mean_cosine": cosine, "max_abs_error": error, "problems": problems}


def session_encode(session: Session, label: str) -> Encode:
    """Run an engine over examples one by one, as a device does."""

    def encode(examples: Sequence[Arrays]) -> NDArray[np.float32]:
        return np.concatenate(
            [session.run(example) for example in track(examples, total=len(examples), label=label, unit="examples")]
        )

    return encode


def module_encode(module: nn.Module) -> Encode:
    """Run a PyTorch model over examples one by one."""

    def encode(examples: Sequence[Arrays]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.concatenate(
                [module(*(torch.from_numpy(a) for a in example.values())).numpy() for example in examples]
            )

    return encode


def _judge(
    engine: Engine,
    variant: Variant,
    reference: Reference,
    exported: Mapping[str, Any],
    params: ModelParams,
    paths: ModelLayout,
) -> dict[str, Any]:
    kind = task(params.task)
    path = paths.variant(engine, variant)
    label = f"verify: {engine} {variant}"
    for name, facts in exported["files"].items():
        if files.sha256(path.parent / name) != facts["sha256"]:
            raise StageError(f"{path.parent / name} is not the file that the export wrote: run `dvc repro` again")
    # One thread: what is judged depends on no number of cores, and threads that wait for each other burn one.
    encode = session_encode(open_session(engine.value, path, 1), label)
    is_teacher = variant is Variant.TEACHER
    differences = compare(encode(reference.examples), reference.outputs, params.verify.tolerances[variant])
    # The teacher's own quality was measured in PyTorch; its export only has to agree with that.
    quality = kind.teacher_quality(paths) if is_teacher else kind.evaluate(encode, params, paths)
    for problem in differences["problems"]:
        note(f"{label}: {problem}")
    return {
        "engine": engine.value,
        "variant": variant.value,
        "path": path.as_posix(),
        "files": exported["files"],
        "size_bytes": exported["size_bytes"],
        **({"accuracy": exported["accuracy"]} if "accuracy" in exported else {}),
        "quality": dict(quality),
        **differences,
        "verified": not differences["problems"],
    }


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report.get(key) for key in ("params", "macs", "size_bytes", "quality")}
