"""Size of a sentence encoder, as every report states it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import cost

_TOKENS = 32


def example() -> dict[str, Tensor]:
    """One text of 32 tokens."""
    ones = torch.ones(1, _TOKENS, dtype=torch.int32)
    return {"input_ids": ones, "attention_mask": ones}


def describe_size(model: nn.Module | None, weights: Path) -> dict[str, Any]:
    """Parameters, multiply-accumulates of one text of 32 tokens, and bytes; a black box tells none of them."""
    return cost.describe_size(model, weights, example())
