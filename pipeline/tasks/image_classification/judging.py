"""Quality of a classifier on images that it never saw."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import weights
from pipeline.engines.spec import Arrays
from pipeline.images import storage
from pipeline.layout import ModelLayout
from pipeline.tasks.base import Encode

LABELS = "labels.safetensors"
_BATCH = 64
# int8 against fp32 is judged on these too, though they were trained on: the few validation images alone would count
# one changed answer as half a point.
_SCORED_TRAINING_IMAGES = 1000

Logits = NDArray[np.float32]


def accuracy(logits: Logits, labels: NDArray[np.int64]) -> float:
    """Share of the rows of `[n, classes]` whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())


def quality(logits: Logits, teacher: Logits, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, and how often the teacher gives the same class."""
    return {"accuracy": accuracy(logits, labels), "agreement": accuracy(logits, teacher.argmax(axis=1))}


def judge(encode: Encode, paths: ModelLayout) -> Mapping[str, float]:
    """`quality` on the held-out images."""
    heldout = storage.load_split(paths.data / storage.HELDOUT)
    teacher = weights.load_tensors(paths.teacher / LABELS)["heldout"]
    return quality(encode(examples(heldout.images)), teacher, heldout.labels)


def score(encode: Encode, paths: ModelLayout) -> float:
    """Accuracy on the validation images and the first of the training images."""
    validation = storage.load_split(paths.data / storage.VALIDATION)
    train = storage.load_split(paths.data / storage.TRAIN)
    images = np.concatenate([validation.images, train.images[:_SCORED_TRAINING_IMAGES]])
    labels = np.concatenate([validation.labels, train.labels[:_SCORED_TRAINING_IMAGES]])
    return accuracy(encode(examples(images)), labels)


def examples(images: NDArray[np.uint8]) -> list[Arrays]:
    """Each image as the input of one call, float32 `[1, channels, height, width]`, values 0..255."""
    return [{"image": image[None].astype(np.float32)} for image in images]


def torch_encode(model: Callable[[Tensor], Tensor]) -> Encode:
    """Run a PyTorch model, or what is called like one, over examples in batches."""

    def encode(examples: Sequence[Arrays]) -> Logits:
        with torch.inference_mode():
            images = [torch.from_numpy(one["image"]) for one in examples]
            batches = (images[start : start + _BATCH] for start in range(0, len(images), _BATCH))
            pieces = [model(torch.cat(batch)).numpy() for batch in batches]
        return np.concatenate(pieces)

    return encode
