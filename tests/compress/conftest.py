"""A student of a few hundred weights, with random ones everywhere so that no path is silent."""

from collections.abc import Callable

import pytest
import torch

from pipeline.students.text_encoder import TextEncoder, TextEncoderConfig


def _tiny_student(vocabulary: int = 20, ffn_dims: tuple[int, ...] = (16, 32)) -> TextEncoder:
    torch.manual_seed(0)
    model = TextEncoder(TextEncoderConfig(vocabulary, 6, 8, 2, ffn_dims, 12, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@pytest.fixture
def tiny_student() -> Callable[..., TextEncoder]:
    """`tiny_student(vocabulary=20, ffn_dims=(16, 32)) -> TextEncoder`, always with the same weights."""
    return _tiny_student


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids below 10 and mask of three texts, int32 `[3, 5]`."""
    ids = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0], [9, 0, 0, 0, 0]], dtype=torch.int32)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.int32)
    return ids, mask
