"""The model card: README.md of a release, written from what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2

from pipeline.files import read_json
from pipeline.gate.checks import format_number
from pipeline.layout import REPORT, Engine, Layout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.sources import HubSource, OnnxSource, PackageSource, PathSource, Weights
from pipeline.release.evidence import describe_case, describe_host, measurement, variant_entry

CARD = "README.md"
ENGINE_NAMES = {
    Engine.ONNXRUNTIME: "ONNX Runtime",
    Engine.OPENVINO: "OpenVINO",
    Engine.TFLITE: "TensorFlow Lite (LiteRT)",
}


@dataclass(frozen=True)
class Origin:
    """Where a teacher comes from; `licence` is an SPDX identifier in small letters, or `other`."""

    name: str
    licence: str
    url: str | None = None


# By the SHA-256 of the weights, which is what params.yaml pins: names can lie, checksums cannot.
KNOWN_TEACHERS = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": Origin(
        "sentence-transformers/all-MiniLM-L6-v2",
        "apache-2.0",
        "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
}


def model_card(
    layout: Layout,
    model: str,
    params: ModelParams,
    *,
    verdict: Mapping[str, Any],
    variants: Mapping[str, Any],
    results: Mapping[str, Any],
) -> str:
    """Write the card as Markdown with the YAML front matter of the Hugging Face Hub.

    Args:
        layout: of the workspace, to count the data.
        model: name of the model.
        params: its block of params.yaml.
        verdict: the model's part of verdict.json.
        variants: the content of variants.json.
        results: the content of results.json.
    """
    case = params.budgets.case
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader(f"pipeline.tasks.{params.task.replace('-', '_')}", "."),
                jinja2.PackageLoader("pipeline.release", "."),
            ]
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=_percent, number=_number, whole=_whole, megabytes=_megabytes)
    engines = [
        _engine(engine, variant, params, model, variants, results)
        for engine in Engine
        if (variant := verdict["chosen"].get(engine))
    ]
    return environment.get_template("card.md.jinja").render(
        model=model,
        params=params,
        origin=teacher_origin(params.pinned_teacher()),
        pinned=params.pinned_teacher(),
        teacher=variants.get("teacher") or {},
        student=variants["student"],
        engines=engines,
        reference=measurement(results, model, Engine.ONNXRUNTIME, Variant.TEACHER, case),
        reference_entry=variant_entry(variants, Engine.ONNXRUNTIME, Variant.TEACHER),
        steps=variants.get("steps", []),
        checks=[{**check, "shown": _shown(check)} for check in verdict["checks"] if check["observed"] is not None],
        payoff=verdict["payoff"],
        counts=_counts(layout, model),
        case=describe_case(case),
        host=describe_host(results["host"]),
    )


def teacher_origin(teacher: Weights | None) -> Origin:
    """Name and licence of a teacher; for one that is not in `KNOWN_TEACHERS` the licence is `other`.

    One that was trained in the build has the licence of this repository, as far as its data allows.
    """
    if teacher is None:
        return Origin("a teacher trained in the same build", "apache-2.0")
    if known := KNOWN_TEACHERS.get(teacher.sha256):
        return known
    source = teacher.sources[0]
    if isinstance(source, HubSource):
        return Origin(source.hf, "other", f"https://huggingface.co/{source.hf}")
    if isinstance(source, PackageSource):
        return Origin(f"the package {source.package}", "other")
    if isinstance(source, PathSource):
        return Origin(source.path, "other")
    return Origin(source.onnx if isinstance(source, OnnxSource) else source.saved_model, "other")


def _engine(
    engine: Engine,
    variant: str,
    params: ModelParams,
    model: str,
    variants: Mapping[str, Any],
    results: Mapping[str, Any],
) -> dict[str, Any]:
    entry = variant_entry(variants, engine, variant) or {}
    tool = {Engine.ONNXRUNTIME: "onnxruntime", Engine.OPENVINO: "openvino", Engine.TFLITE: "ai-edge-litert"}[engine]
    return {
        "key": str(engine),
        "name": ENGINE_NAMES[engine],
        "package": tool,
        "variant": variant,
        "size_bytes": entry["size_bytes"],
        "quality": entry["quality"],
        "kept_float": entry.get("accuracy", {}).get("kept_float", []) if variant == Variant.INT8 else [],
        "timing": measurement(results, model, engine, variant, params.budgets.case) or {},
        "budget_ms": params.budgets.of(engine).p95_ms,
    }


def _counts(layout: Layout, model: str) -> dict[str, int]:
    """The figures of the data stage's report."""
    report = read_json(layout.model(model).data / REPORT)
    return {name: count for name, count in report.items() if isinstance(count, int)}


def _shown(check: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: "-" if check[name] is None else format_number(check[name], check["unit"])
        for name in ("observed", "allowed", "margin")
    }


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _megabytes(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.2f} MB"
