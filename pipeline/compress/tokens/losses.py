"""Cross entropy against sparse distributions, with the head inside, so that the logits of a batch are never kept."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Rows whose logits are worked on at once: few enough that they stay in a core's cache.
_ROWS = 256
# The logarithm of a probability that float32 rounds to zero; for the loss that is shown, not for its gradient.
_SMALLEST = 1e-30


@dataclass(frozen=True)
class Targets:
    """Sparse distributions of what follows n positions, as entries ordered by position; each sums to 1.

    Attributes:
        rows: the position of each entry, int64 `[entries]`, ascending.
        ids: its token, int64 `[entries]`; entries of one token at one position add up.
        weights: its probability, float32 `[entries]`.
    """

    rows: Tensor
    ids: Tensor
    weights: Tensor


def sparse_cross_entropy(features: Tensor, head: Tensor, targets: Targets, dtype: torch.dtype) -> Tensor:
    """Mean over n positions of the cross entropy of what follows, a float32 scalar.

    Args:
        features: of each position, floats `[n, d]`.
        head: float32 `[vocabulary, d]`.
        dtype: of the three matrix products; the softmax is in float32.
    """
    loss: Tensor = _SparseCrossEntropy.apply(features, head, targets, dtype)  # type: ignore[no-untyped-call]
    return loss


class _SparseCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, where the probabilities are at hand."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, head: Tensor, targets: Targets, dtype: torch.dtype) -> Tensor:
        count, vocabulary = features.shape[0], head.shape[0]
        inputs, matrix = features.detach().to(dtype), head.detach().to(dtype)
        of_features, of_head = torch.empty_like(inputs), torch.zeros_like(head)
        loss = torch.zeros(())
        starts = list(range(0, count, _ROWS))
        edges = torch.searchsorted(targets.rows, torch.tensor([*starts, count])).tolist()
        for start, first, last in zip(starts, edges, edges[1:], strict=False):
            chunk = inputs[start : start + _ROWS]
            errors = torch.softmax((chunk @ matrix.T).float(), dim=1)
            places = (targets.rows[first:last] - start) * vocabulary + targets.ids[first:last]
            wanted = targets.weights[first:last]
            flat = errors.view(-1)
            loss -= (flat[places].clamp_min(_SMALLEST).log() * wanted).sum()
            flat.index_add_(0, places, wanted, alpha=-1)
            reduced = errors.to(dtype)
            torch.mm(reduced, matrix, out=of_features[start : start + _ROWS])
            of_head += reduced.T @ chunk
        ctx.save_for_backward(of_features, of_head)
        ctx.count, ctx.dtype = count, features.dtype
        return loss / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_features, of_head = ctx.saved_tensors
        scale = gradient / ctx.count
        return of_features.to(ctx.dtype) * scale, of_head * scale, None, None
