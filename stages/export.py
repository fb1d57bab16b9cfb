"""Export a model to one engine: the teacher and the student in fp32, the student in int8.

python -m stages.export docs-embed onnxruntime
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import tasks, weights
from pipeline.engines.accuracy_aware import Int8Report, quantize_within
from pipeline.engines.exporter import Calibration, Exporter, exporter
from pipeline.errors import InputError, IntegrityError
from pipeline.files import new_folder, sha256, write_json
from pipeline.layout import CALIBRATION, SUFFIX, Engine, Layout, ModelLayout, Variant
from pipeline.params.blocks import ModelParams
from pipeline.params.file import load_params
from pipeline.runtime.session import open_session
from pipeline.stage import main
from pipeline.verify.model import session_encode


def run(model: str, engine: str, root: Path = Path()) -> None:
    """Write `artifacts/<model>/export/<engine>/`: every variant, and export.json that lists their files.

    Raises:
        InputError: no such model or engine.
        IntegrityError: the student, the teacher or the calibration set is damaged.
        StageError: the converter refused a model. What was there before stays.
    """
    layout = Layout(root)
    if engine not in list(Engine):
        raise InputError(f"unknown engine {engine!r}: choose one of {', '.join(Engine)}")
    params = load_params(layout.params).params
    if model not in params.models:
        raise InputError(f"{layout.params} has no model {model!r}: choose one of {', '.join(params.models)}")
    target = Engine(engine)
    toolchain = params.toolchain[target.value]
    paths = layout.model(model)
    with new_folder(paths.export(target)) as folder:
        report = export_variants(exporter(target), params.models[model], paths, toolchain, folder)
        variants = describe_variants(folder, target, paths.export(target).relative_to(layout.root))
        variants[Variant.INT8.value]["accuracy"] = report.as_json()
        manifest = {"engine": target.value, "toolchain": dict(toolchain), "variants": variants}
        write_json(folder / paths.export_manifest(target).name, manifest)


def export_variants(
    target: Exporter, params: ModelParams, paths: ModelLayout, toolchain: Mapping[str, str | int], folder: Path
) -> Int8Report:
    """Write teacher, fp32 and int8 into `folder`; a black-box teacher has no export.

    Returns:
        What int8 loses, and the layers that were kept in float so that it loses no more.
    """
    task = tasks.task(params.task)
    spec = task.model_spec(params)
    files = {variant: folder / f"{variant}{SUFFIX[target.name]}" for variant in Variant}
    teacher = task.load_teacher_module(paths.teacher)
    if teacher is None:
        print(f"{target.name}: the teacher is a black box, no teacher variant", flush=True)
    else:
        with _timed(target.name, Variant.TEACHER):
            target.export(teacher, task.teacher_spec(params), files[Variant.TEACHER], toolchain=toolchain)
    del teacher
    with _timed(target.name, Variant.FP32):
        target.export(weights.load_model(paths.quantized), spec, files[Variant.FP32], toolchain=toolchain)
    with _timed(target.name, Variant.INT8):
        report = quantize_within(
            target,
            files[Variant.FP32],
            spec,
            load_calibration(paths.quantized / CALIBRATION),
            files[Variant.INT8],
            loss=loss_against(target.name, files[Variant.FP32], params, paths),
            tolerance=params.export.int8.tolerance,
            max_float_layers=params.export.int8.max_float_layers,
        )
    kept = ", ".join(layer.name for layer in report.kept_float) or "no layer"
    found = f"int8 loses {report.loss:.4g}, {report.tolerance:g} allowed; {kept} kept in float"
    print(f"{target.name}: {found}", flush=True)
    return report


def loss_against(engine: Engine, fp32: Path, params: ModelParams, paths: ModelLayout) -> Callable[[Path], float]:
    """How much lower another file scores than `fp32`, in the task's measure on validation data."""
    task = tasks.task(params.task)

    def score(file: Path) -> float:
        encode = session_encode(open_session(engine.value, file), f"{engine}: score of {file.name}")
        return task.score(encode, params, paths)

    whole: list[float] = []

    def loss(file: Path) -> float:
        whole[:] = whole or [score(fp32)]
        return whole[0] - score(file)

    return loss


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


def describe_variants(folder: Path, engine: Engine, final: Path) -> dict[str, Any]:
    """What export.json says of each variant in `folder`: its path under `final`, checksums and sizes in bytes."""
    variants = {}
    for variant in Variant:
        opened = folder / f"{variant}{SUFFIX[engine]}"
        if not opened.exists():
            continue
        files: dict[str, dict[str, Any]] = {
            path.name: {"sha256": sha256(path), "size_bytes": path.stat().st_size}
            for path in sorted(folder.glob(f"{variant}.*"))
        }
        size = sum(file["size_bytes"] for file in files.values())
        variants[variant.value] = {"path": (final / opened.name).as_posix(), "files": files, "size_bytes": size}
    return variants


@contextmanager
def _timed(engine: Engine, variant: Variant) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{engine}: {variant} exported in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(run, ["MODEL", "ENGINE"])
