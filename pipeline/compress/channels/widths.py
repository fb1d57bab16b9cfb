"""How many channels each group keeps so that the multiply-accumulates fall to a target, and which."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.compress.channels.groups import Group
from pipeline.errors import InputError

_LEAST_SENSITIVITY = 0.05  # of the median group's


@dataclass(frozen=True)
class _Term:
    """Multiply-accumulates of a layer: `per_pair` for each pair of an input and an output channel.

    A width is a group's name, or a number where no group prunes it. A depthwise layer has `inputs` 1.
    """

    per_pair: int
    inputs: str | int
    outputs: str | int


@dataclass(frozen=True)
class MacsModel:
    """Multiply-accumulates of one call as a function of the groups' widths."""

    terms: tuple[_Term, ...]

    @classmethod
    def of(cls, model: nn.Module, example: Mapping[str, Tensor], groups: Sequence[Group]) -> Self:
        """Run `model` once on `example` to see how often each layer's kernel is applied."""
        places: dict[nn.Module, int] = {}

        def count(module: nn.Module, _: object, output: Tensor) -> None:
            places[module] = places.get(module, 0) + output.numel() // output.shape[1]

        layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        with torch.inference_mode():
            model(**example)
        for hook in hooks:
            hook.remove()
        writes = {layer: group.name for group in groups for layer in group.writers}
        reads = {layer: group.name for group in groups for layer in group.readers}
        terms: list[_Term] = []
        for layer in layers:
            kernel, inputs, outputs = _shape(layer)
            depthwise = inputs == 1 and isinstance(layer, nn.Conv2d) and layer.groups > 1
            read = 1 if depthwise else reads.get(layer, inputs)
            terms.append(_Term(places.get(layer, 0) * kernel, read, writes.get(layer, outputs)))
        return cls(tuple(terms))

    def macs(self, widths: Mapping[str, int]) -> int:
        """Multiply-accumulates with these widths of the groups."""

        def value(width: str | int) -> int:
            return widths[width] if isinstance(width, str) else width

        return sum(term.per_pair * value(term.inputs) * value(term.outputs) for term in self.terms)


def choose(
    groups: Sequence[Group],
    macs: MacsModel,
    ratio: float,
    sensitivities: Mapping[str, float] | None,
    *,
    round_to: int,
    max_pruned: float,
) -> dict[str, Tensor]:
    """Indices of the channels that stay, int64 ascending, by the group's name.

    Greedy: again and again those `round_to` channels go that cost the least importance for what they save.

    Raises:
        InputError: `ratio` of the multiply-accumulates is less than `max_pruned` and `round_to` allow.
    """
    widths = {group.name: group.width for group in groups}
    least = least_widths(groups, round_to, max_pruned)
    before, floor = macs.macs(widths), macs.macs(least)
    if not floor <= before * ratio:
        raise InputError(
            f"macs_ratio {ratio:g} cannot be reached: with every group at its least width {floor / before:.3f} is left "
            f"({floor} of {before} MACs; round_to {round_to}, max_pruned {max_pruned:g}). Raise prune.macs_ratio"
        )
    weights = _weights(groups, sensitivities)
    loss = {group.name: torch.cat([torch.zeros(1), group.importance.sort().values.cumsum(0)]) for group in groups}
    now = before
    while now > before * ratio:
        best: tuple[float, str, int, int] | None = None
        for group in groups:
            name, width = group.name, widths[group.name]
            narrower = _narrower(width, round_to)
            if narrower < least[name]:
                continue
            after = macs.macs({**widths, name: narrower})
            gone = float(loss[name][group.width - narrower] - loss[name][group.width - width])
            price = weights[name] * gone / max(now - after, 1)
            if best is None or price < best[0]:
                best = (price, name, narrower, after)
        assert best is not None, "the floor was checked above"
        _, name, widths[name], now = best
    order = {group.name: group.importance.argsort(descending=True, stable=True) for group in groups}
    return {name: order[name][:width].sort().values for name, width in widths.items()}


def _weights(groups: Sequence[Group], sensitivities: Mapping[str, float] | None) -> dict[str, float]:
    """What a channel of mean importance counts in each group: its share of the measured rise of the loss."""
    risen = sorted(value for value in (sensitivities or {}).values() if value > 0)
    if sensitivities is None or not risen:
        return {group.name: 1.0 for group in groups}
    # A group whose loss even falls is not free: the measurement is on few data, and half of it is still there.
    floor = _LEAST_SENSITIVITY * risen[len(risen) // 2]
    return {group.name: max(sensitivities[group.name], floor) / group.width for group in groups}


def least_widths(groups: Sequence[Group], round_to: int, max_pruned: float) -> dict[str, int]:
    """The smallest width that pruning may leave, by the group's name: a multiple of `round_to`, or what it has now."""
    rounded = {group.name: math.ceil(group.width * (1 - max_pruned) / round_to) * round_to for group in groups}
    return {group.name: min(group.width, max(rounded[group.name], round_to)) for group in groups}


def _narrower(width: int, round_to: int) -> int:
    return (width - 1) // round_to * round_to


def _shape(layer: nn.Module) -> tuple[int, int, int]:
    """Kernel positions, inputs of each output, outputs."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size[0] * layer.kernel_size[1], layer.in_channels // layer.groups, layer.out_channels
    assert isinstance(layer, nn.Linear)
    return 1, layer.in_features, layer.out_features
