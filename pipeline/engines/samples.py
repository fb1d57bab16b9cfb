"""Example inputs that converters trace a model with."""

from collections.abc import Mapping

import torch

from pipeline.engines.spec import ModelSpec, TensorSpec

_SEED = 0


def sample_inputs(spec: ModelSpec, sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    """One tensor an input of `spec`: ones for int32 (a valid id, an open mask), seeded noise in [0, 1) for float32.

    Args:
        spec: the inputs.
        sizes: size of every named axis.
    """
    generator = torch.Generator().manual_seed(_SEED)
    return tuple(_sample(tensor, sizes, generator) for tensor in spec.inputs)


def _sample(tensor: TensorSpec, sizes: Mapping[str, int], generator: torch.Generator) -> torch.Tensor:
    shape = tensor.shape(sizes)
    if tensor.dtype == "int32":
        return torch.ones(shape, dtype=torch.int32)
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def open_sizes(spec: ModelSpec) -> dict[str, int]:
    """Sizes to trace with when the named axes must stay open.

    Tracers fix an axis whose sample is 1, or as long as a table that it slices, and may take two axes of one
    size for the same axis. So each size is one below the smallest that is served, but at least 2, and all sizes differ.
    """
    sizes: dict[str, int] = {}
    for axis in spec.axis_names():
        size = max(2, min(shape[axis] for shape in spec.shapes) - 1)
        while size in sizes.values():
            size += 1
        sizes[axis] = size
    return sizes
