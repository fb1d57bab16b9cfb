"""Prepares a model before any converter sees it, so that all engines gain."""

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_PIXELS = 255.0
_RELATIVE_TOLERANCE = 1e-3


class Center(nn.Module):
    """The addition that a normalization leaves when the convolution's weights have taken its scale."""

    offset: Tensor

    def __init__(self, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels to pixels around zero, float32 `[batch, channels, height, width]`."""
        return image + self.offset


@runtime_checkable
class Normalization(Protocol):
    """A module that computes `image * scale + shift`, each `[1, channels, 1, 1]`."""

    scale: Tensor
    shift: Tensor


@runtime_checkable
class Rewritten(Protocol):
    """A model that has another form for the converters."""

    def for_export(self) -> nn.Module:
        """A copy that computes the same in evaluation mode, of operators that engines are fast at."""


def prepared(model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """The model as it is exported: in evaluation mode, and as its `for_export` gives it where it has one.

    A normalization's scale is folded into the first convolution. Its offset stays an addition, because the
    convolution adds its border of zeros after the offset. `model` itself is only put into evaluation mode.

    Args:
        model: any model; one that needs no change is returned as it is.
        example: inputs to call it with; nothing is folded if that changes the output for them.
    """
    model.eval()
    form = model.for_export().eval() if isinstance(model, Rewritten) else model
    folded = _fold_scale(form)
    if folded is None:
        return form
    inputs = tuple(tensor * _PIXELS if tensor.is_floating_point() else tensor for tensor in example)
    with torch.no_grad():
        before, after = form(*inputs), folded(*inputs)
    return folded if (before - after).norm() <= _RELATIVE_TOLERANCE * before.norm() else form


def _fold_scale(model: nn.Module) -> nn.Module | None:
    """A copy with the scale in the weights of the first convolution; None where there is nothing to fold."""
    names = [name for name, module in model.named_modules() if _is_normalization(module)]
    if len(names) != 1 or not names[0]:
        return None
    folded = copy.deepcopy(model)
    normalize = folded.get_submodule(names[0])
    assert isinstance(normalize, Normalization)
    first = next((module for module in folded.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.groups != 1 or normalize.scale.shape != (1, first.in_channels, 1, 1):
        return None
    first.weight.data = first.weight.data * normalize.scale
    folded.set_submodule(names[0], Center(normalize.shift / normalize.scale))
    return folded.eval()


def _is_normalization(module: nn.Module) -> bool:
    """Whether it holds a scale and a shift; by comparing outputs, `prepared` leaves out what computes otherwise."""
    return isinstance(module, Normalization) and isinstance(module.scale, Tensor) and isinstance(module.shift, Tensor)
