"""Parameters and multiply-accumulates of a convolutional student as functions of the widths of its groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from pipeline import cost
from pipeline.compress.channels.groups import Group, Layer
from pipeline.cost import Cost

# A group's name, or a number where no group prunes it.
Width = str | int


class _Term(NamedTuple):
    """A product: `factor` for each element that two widths span."""

    factor: int
    inputs: Width
    outputs: Width

    def at(self, widths: Mapping[str, int]) -> int:
        inputs, outputs = (widths[one] if isinstance(one, str) else one for one in (self.inputs, self.outputs))
        return self.factor * inputs * outputs


@dataclass(frozen=True)
class CostModel:
    """Exact cost of one call; `params` and `macs` hold the terms of its two sums."""

    params: tuple[_Term, ...]
    macs: tuple[_Term, ...]

    @classmethod
    def of(cls, model: nn.Module, example: Mapping[str, Tensor], groups: Sequence[Group]) -> Self:
        """Run `model` once on `example` to see how often each layer's kernel is applied."""
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        places = _places(model, example, layers)
        writes: dict[nn.Module, str] = {
            module: group.name for group in groups for module in (*group.writers, *group.norms)
        }
        reads = {layer: group.name for group in groups for layer in group.readers}
        params, macs = list(_norm_terms(model, writes)), []
        for layer in layers:
            kernel, inputs, outputs = _shape(layer)
            # Each output of a depthwise convolution has one input, however many channels there are.
            read = inputs if _is_depthwise(layer) else reads.get(layer, inputs)
            written = writes.get(layer, outputs)
            macs.append(_Term(places.get(layer, 0) * kernel, read, written))
            params.append(_Term(kernel, read, written))
            if layer.bias is not None:
                params.append(_Term(1, 1, written))
        full = {group.name: group.width for group in groups}
        rest = cost.count_params(model) - sum(term.at(full) for term in params)
        return cls((*params, _Term(rest, 1, 1)), tuple(macs))

    def at(self, widths: Mapping[str, int]) -> Cost:
        """Cost with these widths of the groups."""
        return Cost(*(sum(term.at(widths) for term in terms) for terms in (self.params, self.macs)))


def _places(model: nn.Module, example: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[nn.Module, int]:
    """How often one call applies each layer's kernel."""
    places: dict[nn.Module, int] = {}

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        places[module] = places.get(module, 0) + output.numel() // output.shape[1]

    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model(**example)
    for hook in hooks:
        hook.remove()
    return places


def _norm_terms(model: nn.Module, writes: Mapping[nn.Module, str]) -> Iterator[_Term]:
    """Scales and shifts of the batch norms whose channels a group holds."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module in writes:
            yield _Term(len(list(module.parameters())), 1, writes[module])


def _is_depthwise(layer: Layer) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.in_channels == layer.groups


def _shape(layer: Layer) -> tuple[int, int, int]:
    """Kernel positions, inputs of each output, outputs."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size[0] * layer.kernel_size[1], layer.in_channels // layer.groups, layer.out_channels
    return 1, layer.in_features, layer.out_features
