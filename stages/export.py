"""Export a model to one engine: the teacher as reference, and the student in every precision of its ladder.

python -m stages.export docs-embed onnxruntime
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pipeline import students, tasks
from pipeline.engines.accuracy_aware import ReductionReport, quantize_within
from pipeline.engines.exporter import Calibration, Exporter, exporter
from pipeline.errors import InputError, IntegrityError
from pipeline.files import new_folder, sha256
from pipeline.layout import CALIBRATION, SUFFIX, Engine, ModelLayout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.records.export import Export, ExportedVariant, FileFacts, Precision
from pipeline.runtime import session
from pipeline.runtime.session import open_session
from pipeline.stage import main
from stages import misses
from stages.model_work import load_model

Reductions = Mapping[Variant, ReductionReport]


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
    target, params = exporter(Engine(engine)), loaded.params.models[model]
    toolchain = loaded.params.toolchain[target.name.value]
    final = paths.export(target.name)
    with new_folder(final) as folder:
        reductions = export_variants(target, params, paths, toolchain, folder)
        export = describe(target, params, toolchain, folder, final.relative_to(paths.root), reductions)
        export.write(folder / paths.export_manifest(target.name).name)
    misses.after_export(loaded, model, target.name, export)


def export_variants(
    target: Exporter, params: ModelParams, paths: ModelLayout, toolchain: Mapping[str, str | int], folder: Path
) -> Reductions:
    """Write the teacher, fp32 and each reduced precision that the engine has into `folder`.

    A teacher that is a black box has no export, and one that is only compressed is the student's own fp32.

    Returns:
        What each reduced precision loses, and the layers that were kept in float so that it loses no more.
    """
    serving = tasks.serving(params.task)
    teacher = None if params.distill == "none" else serving.load_teacher(paths)
    if teacher is None:
        why = "is what is compressed" if params.distill == "none" else "is a black box"
        print(f"{target.name}: the teacher {why}, no teacher variant", flush=True)
    else:
        with _timed(target.name, Variant.TEACHER):
            target.export(
                teacher, serving.teacher_spec(params), _file(target, Variant.TEACHER, folder), toolchain=toolchain
            )
    del teacher
    spec, fp32 = serving.model_spec(params), _file(target, Variant.FP32, folder)
    with _timed(target.name, Variant.FP32):
        target.export(students.load_model(paths.quantized), spec, fp32, toolchain=toolchain)
    loss = loss_against(target, fp32, params, paths)
    calibration = load_calibration(paths.quantized / CALIBRATION)
    reductions = {}
    for variant, step in params.export.ladder.reduced().items():
        if variant not in target.precisions:
            continue
        with _timed(target.name, variant):
            reductions[variant] = quantize_within(
                target,
                fp32,
                spec,
                calibration,
                _file(target, variant, folder),
                precision=variant,
                loss=loss(variant),
                tolerance=step.tolerance,
                max_float_layers=step.max_float_layers,
            )
        print(f"{target.name}: {variant} {reductions[variant].describe()}", flush=True)
    return reductions


def loss_against(
    target: Exporter, fp32: Path, params: ModelParams, paths: ModelLayout
) -> Callable[[Variant], Callable[[Path], float]]:
    """How much lower another file scores than `fp32`, in the task's measure on validation data; by its variant."""
    judging = tasks.judging(params.task)
    whole: list[float] = []

    def score(file: Path, variant: Variant) -> float:
        precision = target.precision(variant, params.export.ladder.inference(variant))
        return judging.score(open_session(target.name.value, file, precision=precision), params, paths)

    def of(variant: Variant) -> Callable[[Path], float]:
        def loss(file: Path) -> float:
            whole[:] = whole or [score(fp32, Variant.FP32)]
            return whole[0] - score(file, variant)

        return loss

    return of


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


def describe(
    target: Exporter,
    params: ModelParams,
    toolchain: Mapping[str, str | int],
    folder: Path,
    final: Path,
    reductions: Reductions,
) -> Export:
    """What export.json says of the variants in `folder`, which will be called `final`."""
    variants = {}
    for variant in Variant:
        opened = _file(target, variant, folder)
        if not opened.exists():
            continue
        files = {
            path.name: FileFacts(sha256=sha256(path), size_bytes=path.stat().st_size)
            for path in sorted(folder.glob(f"{variant}.*"))
        }
        precision: session.Precision = target.precision(variant, params.export.ladder.inference(variant))
        report = reductions.get(variant)
        variants[variant] = ExportedVariant(
            path=(final / opened.name).as_posix(),
            files=files,
            size_bytes=sum(file.size_bytes for file in files.values()),
            precision=Precision(**asdict(precision)),
            reduction=None if report is None else report.as_record(),
        )
    skipped = {
        variant: f"{target.name} has no {variant}"
        for variant in params.export.ladder.reduced()
        if variant not in target.precisions
    }
    return Export(engine=target.name, toolchain=toolchain, variants=variants, skipped=skipped)


def _file(target: Exporter, variant: Variant, folder: Path) -> Path:
    return folder / f"{variant}{SUFFIX[target.name]}"


@contextmanager
def _timed(engine: Engine, variant: Variant) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{engine}: {variant} exported in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(run, ["MODEL", "ENGINE"])
