"""What the stages of one model have in common: its work, its report, its loss curve."""

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import new_file, new_folder
from pipeline.layout import REPORT, Layout, ModelLayout
from pipeline.params.file import LoadedParams, load_params
from pipeline.progress import note
from pipeline.tasks.base import Step, Work


def load_model(model: str, root: Path = Path()) -> tuple[LoadedParams, ModelLayout]:
    """Read params.yaml, which must have `model`.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
    """
    layout = Layout(root)
    loaded = load_params(layout.params)
    if model not in loaded.params.models:
        raise InputError(f"{layout.params} has no model {model!r}: choose one of {', '.join(loaded.params.models)}")
    return loaded, layout.model(model)


@contextmanager
def work_of(loaded: LoadedParams, paths: ModelLayout, final: Path) -> Iterator[Work[Any]]:
    """The work of one verb; what it writes gets the name `final` when the block ends without an error."""
    model = paths.model

    def where(key: str) -> str:
        dotted = f"models.{model}.{key}"
        return f"{loaded.path}:{loaded.line(dotted)}: {dotted}"

    with new_folder(final) as out:
        yield Work(loaded.params.models[model], loaded.params.seed, paths, out, where, time.monotonic())


def save_report(step: Step, work: Work[Any]) -> None:
    """Write report.json into the folder of `work`, and show its warnings."""
    step.report.model_copy(update={"seconds": time.monotonic() - work.started}).write(work.out / REPORT)
    for warning in step.report.warnings:
        note(f"warning: {warning}")


def write_curve(path: Path, losses: Sequence[float]) -> None:
    """Write the loss of each optimizer step, for `dvc plots`; without any, the header alone."""
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("step", "loss"))
        writer.writerows((step + 1, f"{loss:.6g}") for step, loss in enumerate(losses))
