"""Distilling a sentence encoder: the start from the teacher's own vocabulary, then its embeddings as targets."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.compress.losses import EmbeddingLoss
from pipeline.compress.training import Schedule, TrainReport, train
from pipeline.corpus.tokens import Tokens, epoch
from pipeline.errors import StageError
from pipeline.students.text_encoder import TextEncoder

# The layers start small beside the linear path, which is already right for single tokens.
_OUTPUT_SCALE = 0.3


def start_from_teacher(model: TextEncoder, vocabulary: NDArray[np.float32], used: NDArray[np.int64]) -> float:
    """Set token table and linear path to the PCA of the teacher's output for each token.

    Args:
        vocabulary: the teacher's embedding of each token alone, float32 `[vocabulary, d]`.
        used: ids that occur in the training texts; the PCA is fitted on these, since the rest is mostly other scripts.

    Returns:
        Share of the variance of the used rows that the table holds.
    """
    centre = vocabulary[used].mean(axis=0)
    _, singular, axes = np.linalg.svd(vocabulary[used] - centre, full_matrices=False)
    width = model.config.embedding_dim
    basis = axes[:width]
    table = (vocabulary - centre) @ basis.T
    # Unit variance suits the layers' initialization; the linear path undoes it.
    scale = float(table[used].std())
    with torch.no_grad():
        model.tokens.weight.copy_(torch.from_numpy(table / scale))
        model.skip.weight.copy_(torch.from_numpy(basis.T * scale))
        model.output.weight.mul_(_OUTPUT_SCALE)
        model.output.bias.copy_(torch.from_numpy(centre))
        model.positions.weight.normal_(0.0, 0.02)
    return float((singular[:width] ** 2).sum() / (singular**2).sum())


def train_encoder(
    model: nn.Module,
    tokens: Tokens,
    targets: NDArray[np.float32],
    loss: EmbeddingLoss,
    schedule: Schedule,
    batch_size: int,
    seed: int,
    label: str,
) -> TrainReport:
    """Train `model` to give the teacher's embeddings.

    Args:
        model: ids and mask, int32 `[batch, length]`, to unit-length float32 `[batch, d]`; trained in place.
        tokens: the training texts.
        targets: the teacher's embeddings, unit length, float32 `[n, d]`.

    Raises:
        StageError: the loss became NaN or infinite.
    """

    def batch_loss(indices: NDArray[np.int64]) -> Tensor:
        ids, mask = tokens.batch(indices)
        return loss(model(torch.from_numpy(ids), torch.from_numpy(mask)), torch.from_numpy(targets[indices]))

    return train(model, batch_loss, _forever(tokens, batch_size, seed), schedule, label)


def steps_of(epochs: float, texts: int, batch_size: int) -> int:
    """Optimizer steps of a number of passes; at least one where `epochs` is above zero."""
    return math.ceil(epochs * (texts // batch_size)) if epochs > 0 else 0


def _forever(tokens: Tokens, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    if len(tokens) < batch_size:
        raise StageError(f"{len(tokens)} training texts do not fill one batch of {batch_size}: lower distill.batch_size")
    while True:
        yield from epoch(tokens, batch_size, rng)
