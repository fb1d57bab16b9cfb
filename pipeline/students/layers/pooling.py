"""Pools one vector a token into one vector a text."""

from torch import Tensor


def mean(features: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean over the tokens that are no padding: `[batch, length, d]` to `[batch, d]`."""
    weights = attention_mask.to(features.dtype).unsqueeze(1)
    return (weights / weights.sum(dim=2, keepdim=True).clamp(min=1.0) @ features).squeeze(1)
