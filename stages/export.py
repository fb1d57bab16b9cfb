"""Export a model to one engine: the teacher as reference, and the student in every precision of its ladder.

python -m stages.export docs-embed onnxruntime
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import students, tasks
from pipeline.engines.accuracy_aware import ReductionReport, quantize_within
from pipeline.engines.exporter import Calibration, Exporter, NotAvailableError, exporter
from pipeline.engines.spec import ModelSpec
from pipeline.errors import InputError, IntegrityError
from pipeline.files import new_folder, sha256
from pipeline.layout import CALIBRATION, SUFFIX, Engine, ModelLayout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.progress import note
from pipeline.records.export import Export, ExportedVariant, FileFacts, Precision
from pipeline.runtime import session
from pipeline.runtime.session import open_session
from pipeline.stage import main
from stages import misses
from stages.model_work import load_model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Made:
    """The variants that were written.

    Attributes:
        precisions: what each computes in; the teacher first where there is one, then the ladder.
        reductions: what each reduced variant loses, and the layers that stay in float so that it loses no more.
        skipped: reduced variants that the engine does not have, with the reason.
    """

    precisions: Mapping[Variant, session.Precision]
    reductions: Mapping[Variant, ReductionReport]
    skipped: Mapping[Variant, str]


def run(model: str, engine: str, root: Path = Path()) -> None:
    """Write `artifacts/<model>/export/<engine>/`: every variant, and export.json that lists their files.

    Raises:
        InputError: no such model or engine.
        IntegrityError: the student, the teacher or the calibration set is damaged.
        StageError: the converter refused a model. What was there before stays.
    """
    if engine not in list(Engine):
        raise InputError(f"unknown engine {engine!r}: choose one of {', '.join(Engine)}")
    loaded, paths = load_model(model, root)
    target = exporter(Engine(engine))
    toolchain = loaded.params.toolchain[target.name.value]
    final = paths.export(target.name)
    with new_folder(final) as folder:
        made = export_variants(target, loaded.params.models[model], paths, toolchain, folder)
        export = describe(target, made, toolchain, folder, final.relative_to(paths.root))
        export.write(folder / paths.export_manifest(target.name).name)
    misses.after_export(loaded, model, target.name, export)


def export_variants(
    target: Exporter, params: ModelParams, paths: ModelLayout, toolchain: Mapping[str, str | int], folder: Path
) -> Made:
    """Write the teacher, fp32 and each reduced precision that the engine has into `folder`.

    A teacher that is a black box has no export, and one that is only compressed is the student's own fp32.
    """
    serving, ladder = tasks.serving(params.task), params.export.ladder
    precisions: dict[Variant, session.Precision] = {}

    def write(variant: Variant, source: "nn.Module", spec: ModelSpec) -> None:
        out = _file(target, variant, folder)
        with _timed(target.name, variant):
            target.export(source, spec, out, toolchain=toolchain)
        precisions[variant] = target.precision_of(out, variant, spec, ladder.inference(variant))

    teacher = None if params.distill == "none" else serving.load_teacher(paths)
    if teacher is not None:
        write(Variant.TEACHER, teacher, serving.teacher_spec(params, paths))
    else:
        why = "is what is compressed" if params.distill == "none" else "is a black box"
        print(f"{target.name}: the teacher {why}, no teacher variant", flush=True)
    del teacher
    spec = serving.model_spec(params, paths)
    write(Variant.FP32, students.load_model(paths.quantized), spec)
    calibration = load_calibration(paths.quantized / CALIBRATION)
    score = score_on(target, params, paths)
    reductions: dict[Variant, ReductionReport] = {}
    skipped: dict[Variant, str] = {}
    for variant, step in ladder.reduced().items():
        out = _file(target, variant, folder)
        try:
            with _timed(target.name, variant):
                reductions[variant] = quantize_within(
                    target,
                    _file(target, Variant.FP32, folder),
                    spec,
                    calibration,
                    out,
                    precision=variant,
                    loss=loss_against(_file(target, Variant.FP32, folder), variant, score),
                    tolerance=step.tolerance,
                    max_float_layers=step.max_float_layers,
                )
        except NotAvailableError as error:
            skipped[variant] = str(error)
            note(f"{target.name}: no {variant}: {error}")
            continue
        precisions[variant] = target.precision_of(out, variant, spec, ladder.inference(variant))
        print(f"{target.name}: {describe_reduction(variant, reductions[variant])}", flush=True)
    return Made(precisions, reductions, skipped)


Score = Callable[[Path, Variant], float]


def score_on(target: Exporter, params: ModelParams, paths: ModelLayout) -> Score:
    """A function that scores a file of a variant in the task's measure on validation data; it runs each file once."""
    spec = tasks.serving(params.task).model_spec(params, paths)
    known: dict[Path, float] = {}

    def score(file: Path, variant: Variant) -> float:
        if variant is Variant.FP32 and file in known:
            return known[file]
        precision = target.precision_of(file, variant, spec, params.export.ladder.inference(variant))
        opened = open_session(target.name.value, file, precision=precision)
        value = tasks.judging(params.task).score(opened, params, paths)
        if variant is Variant.FP32:
            known[file] = value
        return value

    return score


def loss_against(fp32: Path, variant: Variant, score: Score) -> Callable[[Path], float]:
    """A function that says how much lower a file of `variant` scores than `fp32`."""
    return lambda file: score(fp32, Variant.FP32) - score(file, variant)


def describe_reduction(variant: Variant, report: ReductionReport) -> str:
    """What a variant loses, in a line."""
    kept = ", ".join(layer.name for layer in report.kept_float) or "no layer"
    return f"{variant} loses {report.loss:.4g}, {report.tolerance:g} allowed; {kept} kept in float"


def load_calibration(path: Path) -> Calibration:
    """Read the calibration set: by input name, arrays [n, ...].

    Raises:
        IntegrityError: missing, damaged or empty.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{path} cannot be read ({error}): the quantize stage makes it anew") from error
    if not arrays or any(len(array) == 0 for array in arrays.values()):
        raise IntegrityError(f"{path} holds no calibration examples: the quantize stage makes it anew")
    return arrays


def describe(target: Exporter, made: Made, toolchain: Mapping[str, str | int], folder: Path, final: Path) -> Export:
    """The content of export.json for the variants in `folder`, which will be called `final`."""
    variants = {}
    for variant, precision in made.precisions.items():
        files = {
            path.name: FileFacts(sha256=sha256(path), size_bytes=path.stat().st_size)
            for path in sorted(folder.glob(f"{variant}.*"))
        }
        reduction = made.reductions.get(variant)
        variants[variant] = ExportedVariant(
            path=(final / _file(target, variant, folder).name).as_posix(),
            files=files,
            size_bytes=sum(file.size_bytes for file in files.values()),
            precision=Precision(**asdict(precision)),
            reduction=None if reduction is None else reduction.as_record(),
        )
    return Export(engine=target.name, toolchain=toolchain, variants=variants, skipped=made.skipped)


def _file(target: Exporter, variant: Variant, folder: Path) -> Path:
    return folder / f"{variant}{SUFFIX[target.name]}"


@contextmanager
def _timed(engine: Engine, variant: Variant) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{engine}: {variant} exported in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(run, ["MODEL", "ENGINE"])
