"""Losses of a text student against its teacher's embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Low enough for a probability of zero, and finite: infinity times zero is NaN.
_NEVER = -1e4


@dataclass(frozen=True)
class EmbeddingLoss:
    """Distance to the teacher's embedding, plus divergence of the similarities within the batch.

    The first term is one minus the cosine. The second is the KL divergence of softmax(similarity / temperature) over
    the batch, teacher to student (similarity-preserving distillation in the form of RKD and SimReg; temperature as in
    arXiv:1503.02531): retrieval needs the order of similarities more than the direction of each embedding.

    Attributes:
        similarity_weight: weight of the second term.
        temperature: of its softmax, in units of cosine.
    """

    similarity_weight: float
    temperature: float

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Loss of unit-length rows, float32 `[batch, d]` each; a scalar."""
        distance = (1.0 - (student * teacher).sum(dim=1)).mean()
        if not self.similarity_weight:
            return distance
        # A text's similarity to itself is 1 for any model and would drown the rest of its row.
        itself = torch.eye(len(student), dtype=torch.bool)
        wanted, given = (
            functional.log_softmax((rows @ rows.T / self.temperature).masked_fill(itself, _NEVER), dim=1)
            for rows in (teacher, student)
        )
        divergence = functional.kl_div(given, wanted, log_target=True, reduction="batchmean")
        return distance + self.similarity_weight * divergence


def contrastive_loss(queries: Tensor, documents: Tensor, temperature: float) -> Tensor:
    """InfoNCE (arXiv:1807.03748): each query must find its own document among the batch's; a scalar.

    Args:
        queries: unit-length rows, float32 `[batch, d]`; row i belongs to row i of `documents`.
        documents: unit-length rows, float32 `[batch, d]`.
        temperature: of the softmax, in units of cosine.
    """
    return functional.cross_entropy(queries @ documents.T / temperature, torch.arange(len(queries)))
