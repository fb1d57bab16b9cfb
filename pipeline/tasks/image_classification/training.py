"""Distillation, pruning and quantization of a classifier; each step is saved with what it measured."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import cost, files, students, weights
from pipeline.compress import fake_int8
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.prune import PruningReport, prune_channels, prune_to_latency
from pipeline.compress.fast_convolutions import fast_convolutions
from pipeline.compress.logits import LogitsLoss, attention_loss
from pipeline.compress.training import Schedule, TrainReport, steps_of, train
from pipeline.engines.torch_session import TorchSession
from pipeline.errors import InputError
from pipeline.images import storage
from pipeline.images.augment import Augmentation
from pipeline.images.views import make_views
from pipeline.layout import CALIBRATION, PREPROCESSING, REPORT, WEIGHTS
from pipeline.records.step import Sensitivity, StepReport
from pipeline.tasks.base import Step, Work, training_of
from pipeline.tasks.image_classification.judging import LABELS, evaluate
from pipeline.tasks.image_classification.params import ModelParams
from pipeline.tasks.image_classification.serving import example, image_config, load_teacher, model_spec

# With one small image, PyTorch's time is spent on calling operations, whatever their width.
_TIMED_BATCH = 32
# Where there is no block `quantize`, which sets their number.
_CALIBRATION_IMAGES = 128

Computing = Callable[[nn.Module], AbstractContextManager[object]]


def distill(work: Work[ModelParams]) -> Step:
    """Learn the teacher's logits of every view of the training images, and the labels."""
    settings, student = work.params.distill, work.params.student
    if settings == "none" or student is None:
        return _take_teacher(work)
    torch.manual_seed(work.seed)
    model = students.create(student.architecture, image_config(storage.load_info(work.paths.data)), student.options)
    trained = _train(work, model, settings.epochs, settings.learning_rate, work.seed, "distill")
    return _save(work, model, trained)


def prune(work: Work[ModelParams]) -> Step:
    """Cut channels out until the ceilings are met, then recover on the same images."""
    settings = work.params.prune
    if settings == "none":
        return _hand_on(work, work.paths.student)
    torch.manual_seed(work.seed)
    before = students.load_model(work.paths.student)
    model, cut = _cut(work, before)
    trained = _train(work, model, settings.epochs, settings.learning_rate, work.seed + 1, "prune: recovery")
    step = _save(work, model, trained)
    old = StepReport.read(work.paths.student / REPORT)
    gained = cost.gains(before, model, old, step.report, example(work.params, _TIMED_BATCH))
    found = {
        "sensitivity_ratio": cut.sensitivity_ratio,
        "sensitivity": tuple(Sensitivity(**asdict(group)) for group in cut.groups),
    }
    return Step(step.report.model_copy(update={**gained, **found}), step.losses)


def quantize(work: Work[ModelParams]) -> Step:
    """Fine-tune with rounded weights and leave real images to calibrate on."""
    settings = work.params.quantize
    info = storage.load_info(work.paths.data)
    files.write_json(work.out / PREPROCESSING, info.preprocessing())
    _save_calibration(work, _CALIBRATION_IMAGES if settings == "none" else settings.calibration_images)
    if settings == "none":
        return _hand_on(work, work.paths.pruned)
    torch.manual_seed(work.seed)
    model = students.load_model(work.paths.pruned)
    name, rate = "quantize: fine-tuning", settings.learning_rate
    trained = _train(work, model, settings.epochs, rate, work.seed + 2, name, fake_int8.int8_weights)
    return _save(work, model, trained)


def _take_teacher(work: Work[ModelParams]) -> Step:
    """The teacher itself as the student.

    Raises:
        InputError: it is a black box, of which no export can be made.
    """
    model = load_teacher(work.paths)
    if model is None:
        raise InputError(
            f"{work.where('distill')} is none, but the teacher is a black box, which cannot be exported: "
            "distil it into a student"
        )
    return _save(work, model, None)


def _hand_on(work: Work[ModelParams], source: Path) -> Step:
    """The model of the step before, unchanged; it was measured there."""
    students.copy_model(source, work.out)
    before = StepReport.read(source / REPORT)
    cleared: dict[str, Any] = {"training": None, "gains": {}, "warnings": ()}
    return Step(before.model_copy(update={**cleared, "sensitivity_ratio": None, "sensitivity": ()}))


def _train(
    work: Work[ModelParams],
    model: nn.Module,
    epochs: float,
    learning_rate: float,
    seed: int,
    name: str,
    computing: Computing = nullcontext,
) -> TrainReport | None:
    """Train in place by the recipe of `distill`; without one nothing is trained.

    Teacher and student see the same views, whatever the order.
    """
    params, paths, recipe = work.params, work.paths, work.params.distill
    if recipe == "none":
        return None
    labels = {name: torch.from_numpy(one) for name, one in weights.load_tensors(paths.teacher / LABELS).items()}
    targets = labels["train"].flatten(0, 1)
    how = Augmentation(**params.data.augment.model_dump())
    views = make_views(storage.load_split(paths.data / storage.TRAIN), how, labels["amounts"])
    loss = LogitsLoss(recipe.temperature, recipe.teacher_weight, recipe.label_smoothing)
    teacher = load_teacher(paths) if recipe.feature_weight else None

    def batch_loss(indices: NDArray[np.int64]) -> Tensor:
        images, labels = views.batch(indices)
        wanted = targets[torch.from_numpy(indices)]
        if teacher is None:
            return loss(model(images), wanted, labels)
        with torch.no_grad():
            theirs = teacher.maps(images)  # type: ignore[operator]
        mine = model.maps(images)  # type: ignore[operator]
        return loss(model.head(mine[-1]), wanted, labels) + recipe.feature_weight * attention_loss(mine, theirs)  # type: ignore[operator]

    steps = steps_of(epochs, len(views.images), recipe.batch_size)
    schedule = Schedule(steps, learning_rate, recipe.warmup_fraction, recipe.weight_decay)
    with fast_convolutions(model, example(params), recipe.batch_size), computing(model):
        return train(model, batch_loss, views.batches(recipe.batch_size, seed), schedule, name)


def _cut(work: Work[ModelParams], model: nn.Module) -> tuple[nn.Module, PruningReport]:
    """Prune to the ceilings, weighing groups by what cutting them costs on the validation images."""
    validation = storage.load_split(work.paths.data / storage.VALIDATION)
    images = torch.from_numpy(validation.images).float()
    labels = torch.from_numpy(validation.labels)

    def validation_loss(candidate: nn.Module) -> float:
        with torch.inference_mode():
            return float(nn.functional.cross_entropy(candidate(images), labels))

    settings = work.params.prune
    assert settings != "none"  # the caller asked
    one, ceilings = example(work.params), Ceilings.written(settings.max_params, settings.max_macs)
    if settings.latency_ratio == "none":
        return prune_channels(model, one, ceilings, evaluate=validation_loss)
    return prune_to_latency(model, one, settings.latency_ratio, ceilings, evaluate=validation_loss)


def _save(work: Work[ModelParams], model: nn.Module, trained: TrainReport | None) -> Step:
    """Write the model, and measure it."""
    students.save_model(model, work.out)
    measured = evaluate(TorchSession(model, model_spec(work.params, work.paths)), work.params, work.paths)
    size = cost.describe_size(model, work.out / WEIGHTS, example(work.params))
    training = None if trained is None else training_of(trained)
    return Step(StepReport(**size, quality=measured, training=training), () if trained is None else trained.losses)


def _save_calibration(work: Work[ModelParams], count: int) -> None:
    images = storage.load_split(work.paths.data / storage.TRAIN).images
    rows = np.random.default_rng(work.seed).permutation(len(images))[:count]
    weights.save_tensors({"image": images[rows].astype(np.float32)}, work.out / CALIBRATION)
