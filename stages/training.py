"""What the stages that train have in common: load, call the task, save model, report and loss curve together."""

import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import new_file, new_folder, write_json
from pipeline.layout import REPORT, Layout, ModelLayout
from pipeline.params.blocks import ModelParams
from pipeline.params.file import load_params
from pipeline.progress import note
from pipeline.tasks import task
from pipeline.tasks.base import Task

Step = Callable[[ModelParams, int, ModelLayout, Path], Mapping[str, Any]]


def run_step(
    model: str, name: str, step_of: Callable[[Task[Any]], Step], folder_of: Callable[[ModelLayout], Path]
) -> None:
    """Run one training step of a model.

    Args:
        model: a model of params.yaml.
        name: the step's verb; names its loss curve.
        step_of: which method of the task it is. What it returns is the report; `losses` go to the curve.
        folder_of: where its outputs go.

    Raises:
        InputError: params.yaml is wrong or does not have the model.
    """
    layout = Layout()
    loaded = load_params(layout.params).params
    if model not in loaded.models:
        raise InputError(f"{layout.params} has no model {model!r}: choose one of {', '.join(loaded.models)}")
    params, paths = loaded.models[model], layout.model(model)
    started = time.monotonic()
    with new_folder(folder_of(paths)) as out:
        report = dict(step_of(task(params.task))(params, loaded.seed, paths, out))
        losses = report.pop("losses")
        write_json(out / REPORT, {**report, "seconds": time.monotonic() - started})
    write_curve(paths.loss_curve(name), losses)
    for warning in report.get("warnings", ()):
        note(f"warning: {warning}")


def write_curve(path: Path, losses: list[float]) -> None:
    """Write the loss of each step, for `dvc plots`."""
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("step", "loss"))
        writer.writerows((step + 1, f"{loss:.6g}") for step, loss in enumerate(losses))
