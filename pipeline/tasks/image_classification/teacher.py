"""A teacher of images: found and checked, or trained here; then it judges every view of the training images."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import weights
from pipeline.compress.fast_convolutions import fast_convolutions
from pipeline.compress.training import Schedule, steps_of, train
from pipeline.cost import describe_size
from pipeline.errors import InputError, StageError
from pipeline.images import storage
from pipeline.images.views import Views, draw_views
from pipeline.layout import CONFIG, WEIGHTS
from pipeline.tasks.image_classification import students
from pipeline.tasks.image_classification.black_box import open_black_box
from pipeline.tasks.image_classification.judging import LABELS, examples, quality, torch_encode
from pipeline.tasks.image_classification.params import ModelParams, TrainParams
from pipeline.tasks.image_classification.serving import example
from pipeline.teacher import sources

_BATCH = 64


def run_teacher(params: ModelParams, seed: int, root: Path, where: str, data: Path, out: Path) -> Mapping[str, Any]:
    """Write `checkpoint/` and `labels.safetensors`.

    The labels are logits, float32: `train` `[views, n, classes]`, `validation` and `heldout` `[n, classes]`; and the
    `amounts` of the views.

    Raises:
        InputError: the teacher is for other images or another number of classes than the data.
    """
    views = draw_views(storage.load_split(data / storage.TRAIN), params.data.augment, params.teacher.copies, seed)
    teacher, module, facts = _obtain(params, seed, root, where, data, out / "checkpoint", views)
    _require_fit(params, teacher, len(storage.load_info(data).names), where)
    encode = torch_encode(teacher)
    splits = {name: storage.load_split(data / f"{name}.safetensors") for name in ("validation", "heldout")}
    logits = {name: encode(examples(split.images)) for name, split in splits.items()}
    with nullcontext() if module is None else fast_convolutions(module, example(params), _BATCH):
        labels = {"train": _label(teacher, views), "amounts": views.amounts.numpy()}
    weights.save_tensors({**labels, **logits}, out / LABELS)
    for name, rows in logits.items():
        if not np.isfinite(rows).all():
            raise StageError(f"the teacher gives NaN or infinity on the {name} images")
    return {
        **facts,
        **describe_size(module, out / "checkpoint" / WEIGHTS, example(params)),
        "quality": quality(logits["heldout"], logits["heldout"], splits["heldout"].labels),
    }


def load_teacher_module(folder: Path) -> nn.Module | None:
    """The teacher; None for a black box."""
    checkpoint = folder / "checkpoint"
    return weights.load_model(checkpoint) if (checkpoint / WEIGHTS).exists() else None


def _obtain(
    params: ModelParams, seed: int, root: Path, where: str, data: Path, folder: Path, views: Views
) -> tuple[Callable[[Tensor], Tensor], nn.Module | None, dict[str, Any]]:
    """The teacher to call, the same as a module unless it is a black box, and where it is from; fills `folder`."""
    folder.mkdir()
    pinned = params.pinned_teacher()
    if params.teacher.train is not None or pinned is None:
        module, trained = _train(params, seed, data, views)
        weights.save_model(module, folder)
        return module, module, {"source": "trained here", "black_box": False, "training": trained}
    checkpoint = sources.find(pinned, root, where, params.teacher_files)
    facts = {"source": checkpoint.source, "sha256": checkpoint.sha256, "black_box": checkpoint.is_black_box}
    if checkpoint.is_black_box:
        if checkpoint.onnx is not None:
            shutil.copyfile(checkpoint.onnx, folder / "model.onnx")
        else:
            shutil.copytree(checkpoint.folder, folder, dirs_exist_ok=True)
        return open_black_box(checkpoint), None, facts
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(checkpoint.folder / name, folder / name)
    module = weights.load_model(folder)
    return module, module, facts


def _train(params: ModelParams, seed: int, data: Path, views: Views) -> tuple[nn.Module, dict[str, Any]]:
    recipe = params.teacher.train
    assert isinstance(recipe, TrainParams)
    torch.manual_seed(seed)
    model = students.create(recipe, storage.load_info(data))

    def loss(indices: "np.ndarray[Any, np.dtype[np.int64]]") -> Tensor:
        images, labels = views.batch(indices)
        return functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)

    steps = steps_of(recipe.epochs, len(views.images), recipe.batch_size)
    schedule = Schedule(steps, recipe.learning_rate, recipe.warmup_fraction, recipe.weight_decay)
    with fast_convolutions(model, example(params), recipe.batch_size):
        trained = train(model, loss, views.batches(recipe.batch_size, seed), schedule, "teacher: training")
    report = asdict(trained)
    del report["losses"]
    return model, report


def _require_fit(params: ModelParams, teacher: Callable[[Tensor], Tensor], classes: int, where: str) -> None:
    """Refuse a teacher of other images or classes before anything is trained."""
    side, channels = params.data.input_size, params.data.channels
    config = getattr(teacher, "config", None)
    problems = []
    if config is not None:
        has = (config.channels, config.height, config.width)
        if has != (channels, side, side):
            shape, wanted = ("x".join(map(str, axes)) for axes in (has, (channels, side, side)))
            problems.append(f"the teacher is for images of {shape}, the data has {wanted}")
        given = config.classes
    else:
        with torch.inference_mode():
            given = teacher(example(params)["image"]).shape[1]
    if given != classes:
        problems.append(f"the teacher knows {given} classes, the data has {classes}")
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}: choose another checkpoint, or train one on this data")


def _label(teacher: Callable[[Tensor], Tensor], views: Views) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Logits of every view of every training image, float32 `[views, n, classes]`."""
    indices = np.arange(len(views))
    with torch.inference_mode():
        rows = [
            teacher(views.batch(indices[start : start + _BATCH])[0]).numpy() for start in range(0, len(indices), _BATCH)
        ]
    logits: np.ndarray[Any, np.dtype[np.float32]] = np.concatenate(rows)
    return logits.reshape(len(views.amounts), len(views.images), -1)
