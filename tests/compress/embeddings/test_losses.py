import math

import pytest
import torch
from torch.nn import functional

from pipeline.compress.embeddings.losses import EmbeddingLoss, contrastive_loss


def _unit(rows: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_teachers_own_embeddings_cost_nothing() -> None:
    teacher = _unit(5, 0)
    assert float(EmbeddingLoss(0.3, 0.05)(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_without_similarities_it_is_one_minus_the_cosine() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    teacher = torch.tensor([[0.6, 0.8], [0.0, -1.0]])
    assert float(EmbeddingLoss(0.0, 0.05)(student, teacher)) == pytest.approx((0.4 + 2.0) / 2)


def test_the_divergence_is_that_of_hand_computed_rows() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    teacher = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])

    def rows(vectors: torch.Tensor) -> list[list[float]]:
        similar = (vectors @ vectors.T).tolist()
        made = []
        for i in range(3):
            powers = [math.exp(similar[i][j] / 0.5) for j in range(3) if j != i]
            made.append([power / sum(powers) for power in powers])
        return made

    pairs = zip(rows(teacher), rows(student), strict=True)
    divergence = sum(p * math.log(p / q) for wanted, given in pairs for p, q in zip(wanted, given, strict=True)) / 3
    distance = float((1 - (student * teacher).sum(dim=1)).mean())
    assert float(EmbeddingLoss(0.3, 0.5)(student, teacher)) == pytest.approx(distance + 0.3 * divergence, rel=1e-5)


def test_a_rotation_keeps_similarities_and_costs_distance_alone() -> None:
    teacher = _unit(5, 0)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1))).Q
    student = teacher @ rotation
    with_similarities, without = (float(EmbeddingLoss(w, 0.05)(student, teacher)) for w in (1.0, 0.0))
    assert with_similarities == pytest.approx(without, abs=1e-4)


def test_the_gradient_is_finite_at_a_low_temperature() -> None:
    student = _unit(8, 1).requires_grad_()
    EmbeddingLoss(1.0, 0.001)(student, _unit(8, 0)).backward()
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())
    assert float(student.grad.abs().sum()) > 0


def test_contrastive_loss_is_cross_entropy_of_finding_the_own_document() -> None:
    rows = torch.eye(3)
    assert float(contrastive_loss(rows, rows, 1.0)) == pytest.approx(math.log(math.e + 2) - 1, abs=1e-6)
    assert float(contrastive_loss(rows, rows.roll(1, dims=0), 1.0)) == pytest.approx(math.log(math.e + 2), abs=1e-6)
