import math

import pytest
import torch
from torch.nn import functional

from pipeline.compress.logits import LogitsLoss, attention, attention_loss, pairs_of_one_size, softened_divergence


def test_the_divergence_is_zero_for_the_teachers_own_logits_and_their_shift() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert softened_divergence(logits, logits, 3.0).item() == pytest.approx(0.0, abs=1e-6)
    assert softened_divergence(logits + 7.0, logits, 3.0).item() == pytest.approx(0.0, abs=1e-6)


def test_the_divergence_is_the_papers_formula() -> None:
    student, teacher, temperature = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 2.0
    p = 1 / (1 + math.exp(-1.0))
    wanted = temperature**2 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert softened_divergence(student, teacher, temperature).item() == pytest.approx(wanted, rel=1e-5)


def test_at_high_temperature_gradients_become_those_of_matching_logits() -> None:
    # Section 2.1 of arXiv:1503.02531: (z - v) / classes for centred logits, once scaled by the squared temperature.
    student = torch.tensor([[1.0, -1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.5, 0.5, -1.0]])
    softened_divergence(student, teacher, 1000.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, atol=1e-3, rtol=0)


def test_the_weight_blends_teacher_and_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    divergence = softened_divergence(student, teacher, 4.0)
    hard = functional.cross_entropy(student, labels, label_smoothing=0.1)
    assert LogitsLoss(4.0, 1.0, 0.1)(student, teacher, labels).item() == pytest.approx(divergence.item())
    assert LogitsLoss(4.0, 0.0, 0.1)(student, teacher, labels).item() == pytest.approx(hard.item())
    blended = 0.7 * divergence.item() + 0.3 * hard.item()
    assert LogitsLoss(4.0, 0.7, 0.1)(student, teacher, labels).item() == pytest.approx(blended, rel=1e-5)


def test_maps_are_paired_by_size_and_a_single_place_has_no_attention() -> None:
    student = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4), torch.zeros(2, 7, 1, 1)]
    teacher = [torch.zeros(2, 9, 16, 16), torch.zeros(2, 11, 8, 8), torch.zeros(2, 13, 1, 1)]
    pairs = pairs_of_one_size(student, teacher)
    assert [(mine.shape[1], theirs.shape[1]) for mine, theirs in pairs] == [(3, 11)]


def test_attention_has_unit_length_and_ignores_the_number_and_scale_of_channels() -> None:
    features = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(attention(features).norm(dim=1), torch.ones(2))
    wide = torch.cat((features, features), dim=1) * 5
    assert attention_loss([features], [wide]).item() == pytest.approx(0.0, abs=1e-10)


def test_attention_in_different_places_costs_two() -> None:
    mine, theirs = torch.zeros(1, 2, 2, 2), torch.zeros(1, 4, 2, 2)
    mine[:, :, 0, 0] = 1.0
    theirs[:, :, 1, 1] = 3.0
    assert attention_loss([mine], [theirs]).item() == pytest.approx(2.0)
    assert attention_loss([mine, torch.ones(1, 2, 4, 4)], [theirs, torch.ones(1, 2, 4, 4)]).item() == pytest.approx(1.0)


def test_maps_of_no_common_size_cost_nothing() -> None:
    assert attention_loss([torch.ones(1, 2, 4, 4)], [torch.ones(1, 2, 8, 8)]).item() == 0.0
