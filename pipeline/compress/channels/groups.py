"""Groups of channels that can only be removed together, found by Torch-Pruning (arXiv:2301.12900)."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear
Norm = nn.BatchNorm2d


@dataclass(frozen=True)
class Group:
    """Coupled channels of one width.

    Attributes:
        name: of the first layer that gives these channels.
        layers: names of all convolutions and linear layers that give them, depthwise ones too.
        width: number of channels.
        importance: of each channel, mean 1 over the group, float32 `[width]`.
        writers: the layers of `layers`.
        readers: dense layers that take the channels as inputs.
        norms: batch norms of the channels.
    """

    name: str
    layers: tuple[str, ...]
    width: int
    importance: Tensor
    writers: tuple[Layer, ...]
    readers: tuple[Layer, ...]
    norms: tuple[Norm, ...]
    _graph: Any

    def cut(self, kept: Tensor) -> None:
        """Remove all channels but `kept` (int64, indices) from every layer of the group."""
        stay = torch.zeros(self.width, dtype=torch.bool)
        stay[kept] = True
        gone = torch.nonzero(~stay).flatten().tolist()
        if gone:
            root = self.writers[0]
            self._graph.get_pruning_group(root, _prune_outputs(root), gone).prune()


def find_groups(model: nn.Module, example: Mapping[str, Tensor], fixed: Sequence[nn.Module]) -> list[Group]:
    """All groups that do not touch the outputs of a `fixed` layer, in the order of the model's modules.

    Args:
        model: in evaluation mode; groups belong to this very object.
        example: one call's inputs.
        fixed: layers whose outputs must all stay. All that feed a module with `reorders_channels` must be among them.
    """
    names = {module: name for name, module in model.named_modules()}
    with warnings.catch_warnings(), _in_order(model):
        warnings.simplefilter("ignore")  # it warns about operations that it takes for elementwise: they are
        graph = torch_pruning.DependencyGraph().build_dependency(model, dict(example), verbose=False)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    seen: set[nn.Module] = set(fixed)
    groups: list[Group] = []
    for module in names:
        # The channels of a depthwise convolution belong to the layer that feeds it.
        if not isinstance(module, Layer) or module in seen or getattr(module, "groups", 1) > 1:
            continue
        found = graph.get_pruning_group(module, _prune_outputs(module), list(range(_width(module))))
        pruned = _modules(found, graph.is_out_channel_pruning_fn)
        writers = [one for one in pruned if isinstance(one, Layer)]
        seen.update(writers)
        if any(writer in set(fixed) for writer in writers):
            continue
        read = [one for one in _modules(found, graph.is_in_channel_pruning_fn) if isinstance(one, Layer)]
        groups.append(
            Group(
                name=names[writers[0]],
                layers=tuple(names[writer] for writer in writers),
                width=_width(module),
                importance=importance(found).detach(),
                writers=tuple(writers),
                readers=tuple(reader for reader in read if reader not in writers),
                norms=tuple(one for one in pruned if isinstance(one, Norm)),
                _graph=graph,
            )
        )
    return groups


@contextmanager
def without(group: Group, gone: Tensor) -> Iterator[None]:
    """While the block runs, nothing reads the channels `gone` (int64, indices)."""
    before = [reader.weight.detach().clone() for reader in group.readers]
    try:
        with torch.no_grad():
            for reader in group.readers:
                reader.weight[:, gone] = 0.0
        yield
    finally:
        with torch.no_grad():
            for reader, weight in zip(group.readers, before, strict=True):
                reader.weight.copy_(weight)


@contextmanager
def _in_order(model: nn.Module) -> Iterator[None]:
    """While the block runs, modules with `reorders_channels` pass them on as they are.

    Torch-Pruning cannot follow a shuffle (IndexError), and need not: what is shuffled is fixed.
    """
    shuffles = [module for module in model.modules() if getattr(module, "reorders_channels", False)]
    try:
        for shuffle in shuffles:
            shuffle.forward = lambda features: features
        yield
    finally:
        for shuffle in shuffles:
            del shuffle.forward


def _modules(found: Any, wanted: Any) -> list[nn.Module]:
    """Modules of a group that it prunes in the `wanted` way, each once."""
    return list(dict.fromkeys(dep.target.module for dep, _ in found if wanted(dep.handler)))


def _width(module: Layer) -> int:
    return module.out_channels if isinstance(module, nn.Conv2d) else module.out_features


def _prune_outputs(module: Layer) -> Any:
    if isinstance(module, nn.Conv2d):
        return torch_pruning.prune_conv_out_channels
    return torch_pruning.prune_linear_out_channels
