"""The model card: README.md of a release, written from what was measured."""

from dataclasses import dataclass

import jinja2

from pipeline.files import read_json
from pipeline.layout import REPORT, Engine, Layout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.sources import GgufSource, HubSource, OnnxSource, PackageSource, PathSource, Weights
from pipeline.records.export import KeptLayer
from pipeline.records.results import Measurement, Results, describe_host
from pipeline.records.verdict import Check, ModelVerdict
from pipeline.records.verification import Verification, VerifiedVariant
from pipeline.runtime.session import ENGINES


@dataclass(frozen=True)
class ShippedEngine:
    """What ships for one engine; `budget` is that of p95 in words."""

    engine: Engine
    package: str
    found: VerifiedVariant
    kept_float: tuple[KeptLayer, ...]
    timing: Measurement | None
    budget: str


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
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": Origin(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "apache-2.0",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


def model_card(
    layout: Layout,
    model: str,
    params: ModelParams,
    verdict: ModelVerdict,
    verification: Verification,
    results: Results,
) -> str:
    """Write the card as Markdown with the YAML front matter of the Hugging Face Hub.

    Args:
        layout: of the workspace, to count the data.
        model: name of the model.
        params: its block of params.yaml.
        verdict: the gate's verdict on the model.
        verification: what verify found of it.
        results: what the benchmark measured.
    """
    case = params.budgets.leading_case()
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(f"pipeline.tasks.{params.task}", "."), jinja2.PackageLoader("pipeline.release", ".")]
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=_percent, number=_number, whole=_whole, megabytes=_megabytes)
    return environment.get_template("card.md.jinja").render(
        model=model,
        params=params,
        origin=teacher_origin(params.pinned_teacher()),
        pinned=params.pinned_teacher(),
        teacher=verification.teacher,
        student=verification.student,
        engines=_shipped(model, params, verdict, verification, results),
        teacher_timing=results.judged(model, Engine.ONNXRUNTIME, Variant.TEACHER, case),
        teacher_entry=verification.find(Engine.ONNXRUNTIME, Variant.TEACHER),
        steps=verification.steps,
        checks=[(check, _shown(check)) for check in verdict.checks if check.observed is not None],
        payoff=verdict.payoff,
        counts=_counts(layout, model),
        case=params.budgets.judged()[case].describe(),
        host=describe_host(results.host),
    )


def teacher_origin(teacher: Weights | None) -> Origin:
    """Name and licence of a teacher; for one that is not in `KNOWN_TEACHERS` the licence is `other`.

    A teacher that was trained in the build has the licence of this repository, as far as its data allows.
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
    if isinstance(source, GgufSource):
        return Origin(source.gguf, "other")
    return Origin(source.onnx if isinstance(source, OnnxSource) else source.saved_model, "other")


def _shipped(
    model: str, params: ModelParams, verdict: ModelVerdict, verification: Verification, results: Results
) -> list[ShippedEngine]:
    case = params.budgets.leading_case()
    shipped = []
    for engine in Engine:
        variant = verdict.chosen.get(engine)
        found = verification.find(engine, variant) if variant else None
        if variant is None or found is None:
            continue
        budget = params.budgets.of(engine).p95_of(case)
        shipped.append(
            ShippedEngine(
                engine=engine,
                package=ENGINES[engine],
                found=found,
                kept_float=found.reduction.kept_float if found.reduction else (),
                timing=results.judged(model, engine, variant, case),
                budget="none" if budget == "none" else f"{budget:g} ms",
            )
        )
    return shipped


def _counts(layout: Layout, model: str) -> dict[str, int]:
    """The figures of the data stage's report."""
    report = read_json(layout.model(model).data / REPORT)
    return {name: count for name, count in report.items() if isinstance(count, int)}


def _shown(check: Check) -> dict[str, str]:
    return {
        "observed": check.text(check.observed),
        "allowed": check.text(check.allowed),
        "margin": check.text(check.margin),
    }


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _megabytes(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.2f} MB"
