"""ShuffleNetV2 with its shuffles moved into the weights: the same function for inference, kinder to converters.

A shuffle decides which channels the next unit transforms and which pass it. That is known before the export. So each
branch orders its output channels by the unit that takes them, and cuts its output into a few contiguous pieces. Each
unit's first convolution reads its input channels in the order in which the pieces arrive. Only cuts and concatenations
are left of the shuffles. Engines without a fast gather along channels gain: TensorFlow Lite needed two transpositions
around each shuffle.
"""

import copy
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Branches(nn.Module):
    """A unit's branches, each cut into the pieces that `cuts` gives the sizes of."""

    def __init__(self, branches: dict[str, nn.Module], cuts: list[list[int]]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)
        self._cuts = cuts

    def forward(self, features: Tensor) -> list[Tensor]:
        """All pieces, in order."""
        pieces: list[Tensor] = []
        for branch, sizes in zip(self.children(), self._cuts, strict=True):
            made = branch(features)
            # litert-torch refuses to cut one piece.
            pieces += torch.split(made, sizes, dim=1) if len(sizes) > 1 else (made,)
        return pieces


class ShuffleFreeStage(nn.Module):
    """The units of a stage, called as the stage is; `order` says which channel of the stage each output channel is."""

    def __init__(self, stage: nn.Sequential, order: Sequence[int]) -> None:
        """Copy a stage.

        Args:
            stage: units with `branch1`, `branch2` and, in all but the first, a left half that passes.
            order: for each channel that comes in, its number in `stage`.
        """
        super().__init__()
        self._takers: list[list[int]] = []
        arrivals: dict[int, list[int]] = defaultdict(list, {0: list(order)})
        for index, unit in enumerate(copy.deepcopy(stage)):
            names = ("branch1", "branch2") if index == 0 else ("branch2",)
            branches = {name: unit.get_submodule(name) for name in names}
            cuts = []
            for name, branch in branches.items():
                _reorder_inputs(branch, arrivals[index])
                cuts.append(_sort_outputs(branch, index, name == "branch2", len(stage), arrivals))
            self.add_module(str(index), Branches(branches, [[size for _, size in cut] for cut in cuts]))
            self._takers.append([taker for cut in cuts for taker, _ in cut])
        self.order = tuple(arrivals[len(stage)])

    def forward(self, features: Tensor) -> Tensor:
        """Float32 `[batch, channels, height, width]` to half the height and width."""
        waiting: dict[int, list[Tensor]] = defaultdict(list)
        for index, (unit, takers) in enumerate(zip(self.children(), self._takers, strict=True)):
            given = torch.cat(waiting[index], dim=1) if index else features
            for taker, piece in zip(takers, unit(given), strict=True):
                waiting[taker].append(piece)
        return torch.cat(waiting[len(self._takers)], dim=1)


def _sort_outputs(
    branch: nn.Module, index: int, second: bool, units: int, arrivals: dict[int, list[int]]
) -> list[tuple[int, int]]:
    """Order a branch's output by the units that take it, note the channels there; (unit, channels) of each piece."""
    convolution, norm = _convolutions(branch)[-1], _norms(branch)[-1]
    half = convolution.out_channels
    takers = [_taker(2 * channel + second, index, half, units) for channel in range(half)]
    order = sorted(range(half), key=lambda channel: takers[channel])
    _take_outputs(convolution, norm, order)
    sizes: dict[int, int] = defaultdict(int)
    for channel in order:
        taker, place = takers[channel]
        arrivals[taker].append(place)
        sizes[taker] += 1
    return list(sizes.items())


def _taker(place: int, index: int, half: int, units: int) -> tuple[int, int]:
    """The unit that transforms a channel which unit `index` leaves at `place`, and its number among that unit's inputs.

    The upper half is transformed. The lower half passes, and the shuffle after it doubles the place. What no unit
    takes leaves the stage: `units` and its place there.
    """
    for unit in range(index + 1, units):
        if place >= half:
            return unit, place - half
        place *= 2
    return units, place


def _reorder_inputs(branch: nn.Module, order: Sequence[int]) -> None:
    """Let a branch take its input channels in another order."""
    convolutions = _convolutions(branch)
    if convolutions[0].groups > 1:
        # Depthwise: its channels stay apart, so the order goes through it to the convolution behind.
        _take_outputs(convolutions[0], _norms(branch)[0], order)
        convolutions = convolutions[1:]
    convolutions[0].weight.data = convolutions[0].weight.data[:, list(order)]


def _take_outputs(convolution: nn.Conv2d, norm: nn.BatchNorm2d, order: Sequence[int]) -> None:
    index = list(order)
    convolution.weight.data = convolution.weight.data[index]
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        if tensor is not None:
            tensor.data = tensor.data[index]


def _convolutions(branch: nn.Module) -> list[nn.Conv2d]:
    return [module for module in branch.modules() if isinstance(module, nn.Conv2d)]


def _norms(branch: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in branch.modules() if isinstance(module, nn.BatchNorm2d)]


def replace_stages(model: nn.Module, stages: Sequence[str], after: str) -> nn.Module:
    """A copy that computes the same without shuffles.

    Args:
        model: in evaluation mode.
        stages: names of its stages in the order of the call; the first gets its channels as they are.
        after: name of what follows the last stage, a convolution first.
    """
    free = copy.deepcopy(model)
    order: Sequence[int] = range(_convolutions(free.get_submodule(stages[0]))[0].in_channels)
    for name in stages:
        stage = free.get_submodule(name)
        assert isinstance(stage, nn.Sequential)
        made = ShuffleFreeStage(stage, order)
        free.set_submodule(name, made)
        order = made.order
    _reorder_inputs(free.get_submodule(after), order)
    return free
