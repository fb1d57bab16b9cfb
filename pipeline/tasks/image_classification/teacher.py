"""Finds and checks a teacher of images, or trains it; then runs it on every view of the training images."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline import students, weights
from pipeline.compress.fast_convolutions import fast_convolutions
from pipeline.compress.training import Schedule, steps_of, train
from pipeline.cost import describe_size
from pipeline.engines.rows import rows
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import InputError, StageError
from pipeline.images import storage
from pipeline.images.augment import Augmentation
from pipeline.images.storage import examples
from pipeline.images.views import Views, draw_views
from pipeline.layout import CHECKPOINT, CONFIG, WEIGHTS
from pipeline.records.step import StepReport, TrainingRun
from pipeline.tasks.base import Step, Work, training_of
from pipeline.tasks.image_classification.judging import LABELS, quality
from pipeline.tasks.image_classification.params import ModelParams, TrainParams
from pipeline.tasks.image_classification.serving import example, image_config, model_spec
from pipeline.teacher import sources
from pipeline.teacher.black_box import SavedModel, open_black_box

_BATCH = 64

Call = Callable[[Tensor], Tensor]


def run_teacher(work: Work[ModelParams]) -> Step:
    """Write `checkpoint/` and `labels.safetensors`.

    The labels are logits, float32: `train` `[views, n, classes]`, `validation` and `heldout` `[n, classes]`; and the
    `amounts` of the views.

    Raises:
        InputError: the teacher is for other images or another number of classes than the data.
    """
    params, data = work.params, work.paths.data
    how = Augmentation(**params.data.augment.model_dump())
    views = draw_views(storage.load_split(data / storage.TRAIN), how, params.teacher.copies, work.seed)
    found = _obtain(work, views)
    _require_fit(params, found, len(storage.load_info(data).names), work.where("teacher"))
    splits = {name: storage.load_split(data / f"{name}.safetensors") for name in ("validation", "heldout")}
    session = TorchSession(found.call, model_spec(params, work.paths))
    logits = {name: rows(session, examples(split.images), f"teacher: {name}") for name, split in splits.items()}
    fast = nullcontext() if found.module is None else fast_convolutions(found.module, example(params), _BATCH)
    with fast:
        labels = {"train": _label(found.call, views), "amounts": views.amounts.numpy()}
    weights.save_tensors({**labels, **logits}, work.out / LABELS)
    for name, given in logits.items():
        if not np.isfinite(given).all():
            raise StageError(f"the teacher gives NaN or infinity on the {name} images")
    size = describe_size(found.module, work.out / CHECKPOINT / WEIGHTS, example(params))
    measured = quality(logits["heldout"], logits["heldout"], splits["heldout"].labels)
    return Step(StepReport(**size, quality=measured, training=found.training, facts=found.facts))


class _Found:
    """A teacher as a call and as a module (`None` for a black box), with facts about its origin and its training."""

    def __init__(self, call: Call, facts: dict[str, Any], training: TrainingRun | None = None) -> None:
        self.call, self.facts, self.training = call, facts, training
        self.module = call if isinstance(call, nn.Module) else None


def _obtain(work: Work[ModelParams], views: Views) -> _Found:
    """Find the teacher, or train it; fill `checkpoint/`."""
    params, folder = work.params, work.out / CHECKPOINT
    folder.mkdir()
    pinned = params.pinned_teacher()
    if params.teacher.train is not None or pinned is None:
        module, training = _train(work, views)
        students.save_model(module, folder)
        return _Found(module, {"source": "trained here", "black_box": False}, training)
    checkpoint = sources.find(pinned, work.root, work.where("teacher"), params.teacher_files)
    facts = {"source": checkpoint.source, "sha256": checkpoint.sha256, "black_box": checkpoint.is_black_box}
    if checkpoint.is_black_box:
        if checkpoint.onnx is not None:
            shutil.copyfile(checkpoint.onnx, folder / "model.onnx")
        else:
            shutil.copytree(checkpoint.folder, folder, dirs_exist_ok=True)
        return _Found(_open_black_box(checkpoint), facts)
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(checkpoint.folder / name, folder / name)
    return _Found(students.load_model(folder), facts)


def _open_black_box(checkpoint: sources.Checkpoint) -> Call:
    """Raw pixels, float32 `[batch, channels, height, width]` of 0..255, to logits; a SavedModel may take NHWC."""
    model = open_black_box(checkpoint, ("image",))
    channels_last = isinstance(model, SavedModel) and model.shapes["image"][-1] in (1, 3)

    def call(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1) if channels_last else images
        return torch.from_numpy(model({"image": pixels.numpy()}))

    return call


def _train(work: Work[ModelParams], views: Views) -> tuple[nn.Module, TrainingRun]:
    params, recipe = work.params, work.params.teacher.train
    assert isinstance(recipe, TrainParams)
    torch.manual_seed(work.seed)
    model = students.create(recipe.architecture, image_config(storage.load_info(work.paths.data)), recipe.options)

    def loss(indices: NDArray[np.int64]) -> Tensor:
        images, labels = views.batch(indices)
        return functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)

    steps = steps_of(recipe.epochs, len(views.images), recipe.batch_size)
    schedule = Schedule(steps, recipe.learning_rate, recipe.warmup_fraction, recipe.weight_decay)
    with fast_convolutions(model, example(params), recipe.batch_size):
        trained = train(model, loss, views.batches(recipe.batch_size, work.seed), schedule, "teacher: training")
    return model, training_of(trained)


def _require_fit(params: ModelParams, found: _Found, classes: int, where: str) -> None:
    """Refuse a teacher of other images or classes before anything is trained."""
    side, channels = params.data.input_size, params.data.channels
    config = getattr(found.module, "config", None)
    problems = []
    if config is not None:
        has = (config.channels, config.height, config.width)
        if has != (channels, side, side):
            shape, wanted = ("x".join(map(str, axes)) for axes in (has, (channels, side, side)))
            problems.append(f"the teacher is for images of {shape}, the data has {wanted}")
        given = config.classes
    else:
        with torch.inference_mode():
            given = found.call(example(params)["image"]).shape[1]
    if given != classes:
        problems.append(f"the teacher knows {given} classes, the data has {classes}")
    if problems:
        raise InputError(f"{where}: {'; '.join(problems)}: choose another checkpoint, or train one on this data")


def _label(teacher: Call, views: Views) -> NDArray[np.float32]:
    """Logits of every view of every training image, float32 `[views, n, classes]`."""
    indices = np.arange(len(views))
    with torch.inference_mode():
        batches = [
            teacher(views.batch(indices[start : start + _BATCH])[0]).numpy() for start in range(0, len(indices), _BATCH)
        ]
    logits: NDArray[np.float32] = np.concatenate(batches)
    return logits.reshape(len(views.amounts), len(views.images), -1)
