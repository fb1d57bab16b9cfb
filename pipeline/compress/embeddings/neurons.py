"""Structured pruning of a text encoder: feed-forward neurons and vocabulary rows are cut out, not zeroed."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.students.text_encoder import Layer, TextEncoder

# A multiple of 8 keeps the matrix products on the fast path of every engine.
WIDTH_STEP = 8


def cut_encoder(model: TextEncoder, kept_rows: NDArray[np.int64], ffn_dims: Sequence[int]) -> TextEncoder:
    """A smaller copy of `model`.

    Args:
        kept_rows: int64 `[kept]`, rows of the token table that stay.
        ffn_dims: for each layer, how many feed-forward neurons stay; the least important go first.

    Returns:
        A new model; `model` is unchanged. With all rows and neurons kept it computes the same.
    """
    keeps = [_important_neurons(layer, width) for layer, width in zip(_layers(model), ffn_dims, strict=True)]
    config = model.config.with_changes(vocabulary=len(kept_rows), ffn_dims=tuple(len(keep) for keep in keeps))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["tokens.weight"] = state["tokens.weight"][torch.from_numpy(kept_rows)]
    for index, keep in enumerate(keeps):
        prefix = f"layers.{index}."
        state[prefix + "ffn_in.weight"] = state[prefix + "ffn_in.weight"][keep]
        state[prefix + "ffn_in.bias"] = state[prefix + "ffn_in.bias"][keep]
        state[prefix + "ffn_out.weight"] = state[prefix + "ffn_out.weight"][:, keep]
    pruned = TextEncoder(config)
    pruned.load_state_dict(state)
    return pruned


def width_without(neurons: int, ratio: float) -> int:
    """How many of a layer's `neurons` stay when `ratio` of them goes: a multiple of `WIDTH_STEP`, at least one."""
    return min(neurons, max(WIDTH_STEP, round(neurons * (1 - ratio) / WIDTH_STEP) * WIDTH_STEP))


def _important_neurons(layer: Layer, width: int) -> Tensor:
    """Ascending indices of the `width` neurons with the largest product of the norms of both weights.

    The product bounds what removing a neuron changes (the group magnitude criterion of DepGraph, arXiv:2301.12900,
    for the two matrices that a neuron couples).
    """
    incoming = torch.cat([layer.ffn_in.weight, layer.ffn_in.bias[:, None]], dim=1).norm(dim=1)
    importance = incoming * layer.ffn_out.weight.norm(dim=0)
    keep: Tensor = importance.topk(width).indices.sort().values
    return keep


def _layers(model: TextEncoder) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]
