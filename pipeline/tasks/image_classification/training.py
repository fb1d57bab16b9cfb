"""Distillation, pruning and quantization of a classifier; each step is saved with what it measured."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import cost, files, weights
from pipeline.compress import fake_int8 as quantization
from pipeline.compress.ceilings import Ceilings
from pipeline.compress.channels.prune import PruningReport, prune_channels, prune_to_latency
from pipeline.compress.fast_convolutions import fast_convolutions
from pipeline.compress.logits import LogitsLoss, attention_loss
from pipeline.compress.training import Schedule, TrainReport, steps_of, train
from pipeline.images import storage
from pipeline.images.views import make_views
from pipeline.layout import CALIBRATION, PREPROCESSING, REPORT, WEIGHTS, ModelLayout
from pipeline.tasks.image_classification import students
from pipeline.tasks.image_classification.judging import LABELS, judge, torch_encode
from pipeline.tasks.image_classification.params import ModelParams
from pipeline.tasks.image_classification.serving import example
from pipeline.tasks.image_classification.teacher import load_teacher_module

# One small image takes PyTorch as long as it takes to call its operations, whatever their width.
_TIMED_BATCH = 32

Computing = Callable[[nn.Module], AbstractContextManager[object]]


def distill(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Learn the teacher's logits of every view of the training images, and the labels."""
    torch.manual_seed(seed)
    model = students.create(params.student, storage.load_info(paths.data))
    settings = params.distill
    trained = _train(model, params, paths, settings.epochs, settings.learning_rate, seed, "distill")
    return _save(model, params, paths, out, trained)


def prune(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Cut channels out until the ceilings are met, then recover on the same images."""
    torch.manual_seed(seed)
    before = weights.load_model(paths.student)
    model, cut = _cut(before, params, paths)
    settings = params.prune
    trained = _train(model, params, paths, settings.epochs, settings.learning_rate, seed + 1, "prune: recovery")
    report = _save(model, params, paths, out, trained)
    old = files.read_json(paths.student / REPORT)
    return {
        **report,
        **cost.gains(before, model, old, report, example(params, _TIMED_BATCH)),
        "sensitivity_ratio": cut.sensitivity_ratio,
        "sensitivity": [asdict(group) for group in cut.groups],
    }


def quantize(params: ModelParams, seed: int, paths: ModelLayout, out: Path) -> Mapping[str, Any]:
    """Fine-tune with rounded weights and leave real images to calibrate on."""
    torch.manual_seed(seed)
    model = weights.load_model(paths.pruned)
    settings = params.quantize
    trained = _train(
        model, params, paths, settings.epochs, settings.learning_rate, seed + 2, "quantize: fine-tuning",
        computing=quantization.int8_weights,
    )  # fmt: skip
    images = storage.load_split(paths.data / storage.TRAIN).images
    rows = np.random.default_rng(seed).permutation(len(images))[: settings.calibration_images]
    weights.save_tensors({"image": images[rows].astype(np.float32)}, out / CALIBRATION)
    files.write_json(out / PREPROCESSING, storage.load_info(paths.data).preprocessing())
    return _save(model, params, paths, out, trained)


def _train(
    model: nn.Module,
    params: ModelParams,
    paths: ModelLayout,
    epochs: float,
    learning_rate: float,
    seed: int,
    name: str,
    computing: Computing = nullcontext,
) -> TrainReport:
    """Train in place; teacher and student see the same views, whatever the order."""
    settings = params.distill
    labels = {name: torch.from_numpy(one) for name, one in weights.load_tensors(paths.teacher / LABELS).items()}
    targets = labels["train"].flatten(0, 1)
    views = make_views(storage.load_split(paths.data / storage.TRAIN), params.data.augment, labels["amounts"])
    loss = LogitsLoss(settings.temperature, settings.teacher_weight, settings.label_smoothing)
    teacher = load_teacher_module(paths.teacher) if settings.feature_weight else None

    def batch_loss(indices: NDArray[np.int64]) -> Tensor:
        images, labels = views.batch(indices)
        wanted = targets[torch.from_numpy(indices)]
        if teacher is None:
            return loss(model(images), wanted, labels)
        with torch.no_grad():
            theirs = teacher.maps(images)  # type: ignore[operator]
        mine = model.maps(images)  # type: ignore[operator]
        return loss(model.head(mine[-1]), wanted, labels) + settings.feature_weight * attention_loss(mine, theirs)  # type: ignore[operator]

    steps = steps_of(epochs, len(views.images), settings.batch_size)
    schedule = Schedule(steps, learning_rate, settings.warmup_fraction, settings.weight_decay)
    with fast_convolutions(model, example(params), settings.batch_size), computing(model):
        return train(model, batch_loss, views.batches(settings.batch_size, seed), schedule, name)


def _cut(model: nn.Module, params: ModelParams, paths: ModelLayout) -> tuple[nn.Module, PruningReport]:
    """Prune to the ceilings, weighing groups by what cutting them costs on the validation images."""
    validation = storage.load_split(paths.data / storage.VALIDATION)
    images = torch.from_numpy(validation.images).float()
    labels = torch.from_numpy(validation.labels)

    def validation_loss(candidate: nn.Module) -> float:
        with torch.inference_mode():
            return float(nn.functional.cross_entropy(candidate(images), labels))

    settings = params.prune
    ceilings = Ceilings.written(settings.max_params, settings.max_macs)
    if settings.latency_ratio == "none":
        return prune_channels(model, example(params), ceilings, evaluate=validation_loss)
    return prune_to_latency(model, example(params), settings.latency_ratio, ceilings, evaluate=validation_loss)


def _save(model: nn.Module, params: ModelParams, paths: ModelLayout, out: Path, trained: TrainReport) -> dict[str, Any]:
    weights.save_model(model, out)
    training = asdict(trained)
    losses = training.pop("losses")
    return {
        **cost.describe_size(model, out / WEIGHTS, example(params)),
        "quality": dict(judge(torch_encode(model), paths)),
        "training": training,
        "losses": list(losses),
    }
