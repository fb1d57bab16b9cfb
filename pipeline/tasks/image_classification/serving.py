"""The shape that a classifier is served with, and real inputs of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import students
from pipeline.engines.spec import Arrays, Case, ModelSpec, TensorSpec, signature_name
from pipeline.images import storage
from pipeline.images.storage import ImageInfo, examples
from pipeline.layout import WEIGHTS, ModelLayout
from pipeline.students.layers.images import ImageConfig
from pipeline.tasks.image_classification.params import ModelParams

_OUTPUT = TensorSpec("logits", "float32", ("batch", "classes"))


def example(params: ModelParams, batch: int = 1) -> dict[str, Tensor]:
    """Gray images of the model's size, float32 `[batch, channels, size, size]`, to count and to time a call with."""
    side = params.data.input_size
    return {"image": torch.full((batch, params.data.channels, side, side), 128.0)}


def image_config(info: ImageInfo) -> ImageConfig:
    """What a student must know of the images of a data set."""
    side = info.input_size
    return ImageConfig(len(info.names), info.channels, side, side, tuple(info.mean), tuple(info.std))


def load_teacher(paths: ModelLayout) -> nn.Module | None:
    """The teacher; None for a black box."""
    checkpoint = paths.teacher_checkpoint
    return students.load_model(checkpoint) if (checkpoint / WEIGHTS).exists() else None


def model_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """Raw pixels in, logits out; where shapes are fixed, a batch is run image by image."""
    side = params.data.input_size
    image = TensorSpec("image", "float32", ("batch", params.data.channels, side, side))
    return ModelSpec((image,), _OUTPUT, ({"batch": 1},))


def teacher_spec(params: ModelParams, paths: ModelLayout) -> ModelSpec:
    """The student's spec: the teacher takes the same images."""
    return model_spec(params, paths)


def comparison_inputs(params: ModelParams, paths: ModelLayout, count: int) -> Sequence[Arrays]:
    """Held-out images, float32 `[1, channels, size, size]` each, values 0..255."""
    return examples(storage.load_split(paths.data / storage.HELDOUT).images[:count])


def cases(params: ModelParams, paths: ModelLayout) -> Sequence[Case]:
    """One held-out image, and the batch of the throughput case."""
    images = storage.load_split(paths.data / storage.HELDOUT).images
    made = []
    for batch in dict.fromkeys((1, params.export.batch)):
        # Repeated where there are fewer than a batch.
        rows, shape = np.arange(batch) % len(images), {"batch": batch}
        made.append(Case(signature_name(shape), shape, {"image": images[rows].astype(np.float32)}))
    return made
