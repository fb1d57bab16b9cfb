"""Quality of a classifier on images that it never saw."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline import weights
from pipeline.engines.rows import rows
from pipeline.images import storage
from pipeline.images.storage import examples
from pipeline.layout import REPORT, ModelLayout
from pipeline.records.step import StepReport
from pipeline.runtime.session import Session
from pipeline.tasks.image_classification.params import ModelParams

LABELS = "labels.safetensors"
# int8 is judged against fp32 on these too, although the student was trained on them: with the few validation images
# alone, one changed answer would count as half a point.
_SCORED_TRAINING_IMAGES = 1000

Logits = NDArray[np.float32]


def evaluate(session: Session, params: ModelParams, paths: ModelLayout) -> Mapping[str, float]:
    """`quality` on the held-out images."""
    heldout = storage.load_split(paths.data / storage.HELDOUT)
    teacher = weights.load_tensors(paths.teacher / LABELS)["heldout"]
    return quality(rows(session, examples(heldout.images), "evaluate"), teacher, heldout.labels)


def score(session: Session, params: ModelParams, paths: ModelLayout) -> float:
    """Accuracy on the validation images and the first of the training images."""
    validation = storage.load_split(paths.data / storage.VALIDATION)
    train = storage.load_split(paths.data / storage.TRAIN)
    images = np.concatenate([validation.images, train.images[:_SCORED_TRAINING_IMAGES]])
    labels = np.concatenate([validation.labels, train.labels[:_SCORED_TRAINING_IMAGES]])
    return accuracy(rows(session, examples(images), "score"), labels)


def teacher_quality(paths: ModelLayout) -> Mapping[str, float]:
    """The teacher's quality as the teacher stage measured it."""
    return StepReport.read(paths.teacher / REPORT).quality


def quality(logits: Logits, teacher: Logits, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy of logits float32 `[n, classes]` on labels int64 `[n]`, and how often the teacher agrees."""
    return {"accuracy": accuracy(logits, labels), "agreement": accuracy(logits, teacher.argmax(axis=1))}


def accuracy(logits: Logits, labels: NDArray[np.int64]) -> float:
    """Share of the rows of `[n, classes]` whose largest logit is the label's."""
    return float((logits.argmax(axis=1) == labels).mean())
