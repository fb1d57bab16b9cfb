"""Quantization-aware fine-tuning: every weight matrix sees its int8 rounding while it is trained.

Weights are rounded per output channel (symmetric, 8 bits) in the forward pass and updated in float (straight-through
estimator, arXiv:1308.3432; the scheme is arXiv:1712.05877). Activations stay in float here: the engines quantize them
on the fly, with scales from the real input.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.students.text_encoder import TextEncoder

_LEVELS = 127


class FakeInt8(nn.Module):
    """Round a matrix to 8 bits, with one scale a row, or one for all of it."""

    def __init__(self, per_row: bool) -> None:
        super().__init__()
        self.per_row = per_row

    def forward(self, weight: Tensor) -> Tensor:
        """Rounded `weight` of the same shape; its gradient passes unchanged."""
        peak = weight.detach().abs().amax(dim=1, keepdim=True) if self.per_row else weight.detach().abs().amax()
        scale = peak.clamp(min=1e-8) / _LEVELS
        rounded = (weight / scale).round().clamp(-_LEVELS, _LEVELS) * scale
        return weight + (rounded - weight).detach()


@contextmanager
def int8_weights(model: TextEncoder) -> Iterator[TextEncoder]:
    """While the block runs, `model` computes with rounded weights; after it the trained float weights are back."""
    modules: list[tuple[nn.Module, bool]] = [
        (module, True) for module in model.modules() if isinstance(module, nn.Linear)
    ]
    # The engines quantize the gather's table with one scale: docs/decisions/0003-engines.md.
    modules.append((model.tokens, False))
    for module, per_row in modules:
        parametrize.register_parametrization(module, "weight", FakeInt8(per_row))
    try:
        yield model
    finally:
        for module, _ in modules:
            original = module.parametrizations["weight"].original.detach().clone()  # type: ignore[index, union-attr]
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
            with torch.no_grad():
                module.weight.copy_(original)  # type: ignore[operator]
