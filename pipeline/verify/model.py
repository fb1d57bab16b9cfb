"""Judges every exported variant against its PyTorch model and on the task: one record for benchmark and gate.

The record holds no timing, so that it is the same wherever it is made.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pipeline import files, students, tasks
from pipeline.engines.rows import rows
from pipeline.engines.spec import Arrays, Case, ModelSpec
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import StageError
from pipeline.layout import REPORT, Engine, ModelLayout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.progress import note
from pipeline.records.export import Export, ExportedVariant
from pipeline.records.step import StepReport
from pipeline.records.verification import CaseEntry, JudgedCase, StepSummary, Summary, Verification, VerifiedVariant
from pipeline.runtime.session import Precision, open_session
from pipeline.verify.compare import compare


@dataclass(frozen=True)
class Reference:
    """Examples, and what PyTorch gives for them one by one, float32 `[n, d]`."""

    examples: Sequence[Arrays]
    outputs: NDArray[np.float32]


def verify_model(model: str, params: ModelParams, paths: ModelLayout, cases: Sequence[Case]) -> Verification:
    """Judge every variant of every engine.

    Args:
        model: its name.
        params: its block of params.yaml.
        paths: where its artifacts lie.
        cases: what the benchmark will measure.

    Raises:
        IntegrityError: an artifact is missing or damaged.
        StageError: an export is not the file that the export stage wrote.
    """
    references = _references(params, paths)
    exports = [Export.read(paths.export_manifest(engine)) for engine in Engine]
    variants = [
        _judge(export.engine, variant, references[variant], entry, params, paths)
        for export in exports
        for variant, entry in export.variants.items()
    ]
    reports = dict(_reports(params, paths))
    last = list(reports.values())[-1]
    pruned = reports.get("prune")
    return Verification(
        model=model,
        task=params.task,
        teacher=_summary(reports["teacher"]),
        student=_summary(last),
        steps=tuple(StepSummary(step=step, **_size(report)) for step, report in reports.items()),
        gains={} if pruned is None else pruned.gains,
        sensitivity_ratio=None if pruned is None else pruned.sensitivity_ratio,
        sensitivity=() if pruned is None else pruned.sensitivity,
        cases=tuple(CaseEntry(name=one.name, shape=one.shape, before=one.before is not None) for one in cases),
        judged={
            name: JudgedCase(shape=case.shape(), threads=case.threads) for name, case in params.budgets.judged().items()
        },
        variants=tuple(variants),
        skipped={export.engine: export.skipped for export in exports if export.skipped},
    )


def figures(verification: Verification) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures by engine and variant, since `dvc metrics show` leaves lists out."""
    nested: dict[str, dict[str, dict[str, Any]]] = {}
    for one in verification.variants:
        shown = one.model_dump(include={"size_bytes", "mean_cosine", "max_abs_error"})
        nested.setdefault(one.engine.value, {})[one.variant.value] = {**shown, **one.quality}
    return nested


def _references(params: ModelParams, paths: ModelLayout) -> Mapping[Variant, Reference]:
    serving = tasks.serving(params.task)
    examples = serving.comparison_inputs(params, paths, params.verify.examples)
    student = _reference(students.load_model(paths.quantized), serving.model_spec(params, paths), examples)
    references = {variant: student for variant in params.export.ladder.variants()}
    teacher = serving.load_teacher(paths)
    if teacher is not None:
        few = examples[: params.verify.teacher_examples]
        references[Variant.TEACHER] = _reference(teacher, serving.teacher_spec(params, paths), few)
    return references


def _reference(source: nn.Module, spec: ModelSpec, examples: Sequence[Arrays]) -> Reference:
    session = TorchSession(source, spec)
    return Reference(examples, rows(session, examples, "verify: PyTorch", one_by_one=True))


def _judge(
    engine: Engine,
    variant: Variant,
    reference: Reference,
    exported: ExportedVariant,
    params: ModelParams,
    paths: ModelLayout,
) -> VerifiedVariant:
    path = paths.variant(engine, variant)
    label = f"verify: {engine} {variant}"
    for name, facts in exported.files.items():
        if files.sha256(path.parent / name) != facts.sha256:
            raise StageError(f"{path.parent / name} is not the file that the export wrote: run `dvc repro` again")
    # One thread: the result must not depend on the number of cores, and threads that wait for each other burn a core.
    session = open_session(engine.value, path, 1, Precision(**exported.precision.model_dump()))
    given = rows(session, reference.examples, label)
    differences = compare(given, reference.outputs, params.verify.tolerances[variant])
    judging = tasks.judging(params.task)
    # The teacher's own quality was measured in PyTorch; its export only has to agree with that.
    quality = judging.evaluate(session, params, paths) if variant.is_student else judging.teacher_quality(paths)
    for problem in differences.problems:
        note(f"{label}: {problem}")
    return VerifiedVariant(
        engine=engine,
        variant=variant,
        path=path.relative_to(paths.root).as_posix(),
        files=exported.files,
        size_bytes=exported.size_bytes,
        precision=exported.precision,
        reduction=exported.reduction,
        quality=quality,
        mean_cosine=differences.mean_cosine,
        max_abs_error=differences.max_abs_error,
        problems=differences.problems,
    )


def _reports(params: ModelParams, paths: ModelLayout) -> Iterator[tuple[str, StepReport]]:
    """The teacher's report, and those of the steps that are taken; a student that is the teacher needs no other."""
    yield "teacher", StepReport.read(paths.teacher / REPORT)
    steps = (("distill", params.distill, paths.student), ("prune", params.prune, paths.pruned))
    for step, settings, folder in (*steps, ("quantize", params.quantize, paths.quantized)):
        if settings != "none":
            yield step, StepReport.read(folder / REPORT)


def _size(report: StepReport) -> dict[str, Any]:
    return report.model_dump(include={"params", "macs", "size_bytes", "quality"})


def _summary(report: StepReport) -> Summary:
    return Summary(**_size(report))
