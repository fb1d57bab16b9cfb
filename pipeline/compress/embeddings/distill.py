"""Distilling a sentence encoder: the start from the teacher's own vocabulary, then its embeddings as targets."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.compress.embeddings.losses import EmbeddingLoss, contrastive_loss
from pipeline.compress.replicas import Replicas
from pipeline.compress.training import Schedule, TrainReport, train
from pipeline.errors import StageError
from pipeline.students.text_encoder import TextEncoder
from pipeline.text.pairs import Pairs
from pipeline.text.tokens import Tokens, epoch

# The PCA counts a token as often as it occurs up to this: beyond it, function words would take all axes.
_MAX_PCA_COUNT = 100


@dataclass(frozen=True)
class Contrast:
    """Pairs whose halves must find each other, and the weight of that beside the teacher."""

    pairs: Pairs
    weight: float
    temperature: float


def start_from_teacher(model: TextEncoder, vocabulary: NDArray[np.float32], counts: NDArray[np.int64]) -> float:
    """Set token table and linear path to the PCA of the teacher's output for each token, and silence the layers.

    The student then starts as the best table without context, and its layers learn what context adds.

    Args:
        model: changed in place.
        vocabulary: the teacher's output for each token, float32 `[vocabulary, d]`.
        counts: how often each token occurs in the training texts, int64 `[vocabulary]`; the PCA is weighted by it.

    Returns:
        Share of the weighted variance that the table holds.
    """
    weights = np.minimum(counts, _MAX_PCA_COUNT)[:, None].astype(np.float32)
    centre = (vocabulary * weights).sum(axis=0) / weights.sum()
    _, singular, axes = np.linalg.svd((vocabulary - centre) * np.sqrt(weights), full_matrices=False)
    width = model.config.embedding_dim
    basis = axes[:width]
    table = (vocabulary - centre) @ basis.T
    # Unit variance suits the layers' initialization; the linear path undoes it.
    scale = float(table.std())
    with torch.no_grad():
        model.tokens.weight.copy_(torch.from_numpy(table / scale))
        model.output.weight[:, : model.config.hidden_dim] = 0.0
        model.output.weight[:, model.config.hidden_dim :] = torch.from_numpy(basis.T * scale)
        model.output.bias.copy_(torch.from_numpy(centre))
        model.positions.weight.normal_(0.0, 0.02)
    return float((singular[:width] ** 2).sum() / (singular**2).sum())


@dataclass(frozen=True)
class Lesson:
    """What an encoder is taught, and for how long.

    Attributes:
        tokens: the training texts.
        targets: the teacher's embeddings of them, unit length, float32 `[n, d]`.
        batch_size: texts of a step.
        seed: of the order of the texts, and of the pairs that are drawn.
        label: names the training in the progress bar and in errors.
        computing: how the model computes while it is trained, such as `int8_weights`.
        contrast: pairs to tell apart beside the teacher's embeddings.
    """

    tokens: Tokens
    targets: NDArray[np.float32]
    loss: EmbeddingLoss
    schedule: Schedule
    batch_size: int
    seed: int
    label: str
    computing: Callable[[TextEncoder], AbstractContextManager[object]] = nullcontext
    contrast: Contrast | None = None


def train_encoder(model: TextEncoder, lesson: Lesson) -> TrainReport:
    """Train `model` in place to give the teacher's embeddings.

    Args:
        model: ids and mask, int32 `[batch, length]`, to unit-length float32 `[batch, d]`.

    Raises:
        StageError: the loss became NaN or infinite, or the texts do not fill a batch.
    """
    tokens, contrast = lesson.tokens, lesson.contrast
    parts = [tokens] if contrast is None else [tokens, contrast.pairs.queries, contrast.pairs.documents]
    used = np.unique(np.concatenate([part.ids for part in parts]))
    position = np.zeros(model.config.vocabulary, np.int32)
    position[used] = np.arange(len(used))
    compact, *pair = (Tokens(position[part.ids], part.offsets) for part in parts)
    rng = np.random.default_rng(lesson.seed)

    with _only_rows(model, torch.from_numpy(used)), lesson.computing(model), Replicas(model) as embed:

        def batch_loss(indices: NDArray[np.int64]) -> Tensor:
            value = lesson.loss(embed(*compact.batch(indices)), torch.from_numpy(lesson.targets[indices]))
            if contrast is None:
                return value
            drawn = rng.choice(len(contrast.pairs), min(lesson.batch_size, len(contrast.pairs)), replace=False)
            queries, documents = (embed(*part.batch(drawn)) for part in pair)
            return value + contrast.weight * contrastive_loss(queries, documents, contrast.temperature)

        batches = _forever(tokens, lesson.batch_size, lesson.seed)
        return train(model, batch_loss, batches, lesson.schedule, lesson.label)


@contextmanager
def _only_rows(model: TextEncoder, rows: Tensor) -> Iterator[None]:
    """While the block runs, the token table has only these rows.

    The other rows get no gradient, but the optimizer would update all of them at each step: a third of its time.
    """
    table = model.tokens.weight.detach().clone()
    with torch.no_grad():
        model.tokens.weight = nn.Parameter(table[rows].clone())
    try:
        yield
    finally:
        table[rows] = model.tokens.weight.detach()
        model.tokens.weight = nn.Parameter(table)


def _forever(tokens: Tokens, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    if len(tokens) < batch_size:
        raise StageError(
            f"{len(tokens)} training texts do not fill one batch of {batch_size}: lower distill.batch_size"
        )
    while True:
        yield from epoch(tokens, batch_size, rng)
