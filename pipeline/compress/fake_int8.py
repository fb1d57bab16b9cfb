"""Quantization-aware fine-tuning: every weight matrix and convolution sees its int8 rounding while it is trained.

Weights are rounded per output channel (symmetric, 8 bits) in the forward pass and updated in float (straight-through
estimator, arXiv:1308.3432; the scheme is arXiv:1712.05877). Activations stay in float here: the engines quantize them
on the fly, with scales from the real input, or with fixed ones from the calibration set.

Folding a batch norm multiplies each output channel of the convolution before it by a number, and the channel's scale by
the same number. So rounding and then folding gives what folding and then rounding gives: training needs no folding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_LEVELS = 127


@runtime_checkable
class Quantizable(Protocol):
    """A student that looks vectors up in tables which the engines quantize."""

    def tables(self) -> list[nn.Embedding]:
        """Tables that get one scale each."""


class FakeInt8(nn.Module):
    """Round weights to 8 bits, with one scale an output channel (row), or one for all of them."""

    def __init__(self, per_row: bool) -> None:
        super().__init__()
        self.per_row = per_row

    def forward(self, weight: Tensor) -> Tensor:
        """Rounded `weight` of the same shape; its gradient passes unchanged."""
        size = weight.detach().abs()
        peak = size.amax(dim=tuple(range(1, size.ndim)), keepdim=True) if self.per_row else size.amax()
        scale = peak.clamp(min=1e-8) / _LEVELS
        rounded = (weight / scale).round().clamp(-_LEVELS, _LEVELS) * scale
        return weight + (rounded - weight).detach()


@contextmanager
def int8_weights(model: nn.Module) -> Iterator[nn.Module]:
    """While the block runs, `model` computes with rounded weights; after it the trained float weights are back."""
    modules: list[tuple[nn.Module, bool]] = [
        (module, True) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    # The engines quantize the gather's table with one scale: docs/decisions/0003-engines.md.
    if isinstance(model, Quantizable):
        modules.extend((table, False) for table in model.tables())
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
