"""The matrices of a decoder as its TensorFlow Lite graph multiplies by them: fewer and larger than PyTorch's.

Queries, keys and values are one product, and so are the two halves of the feed-forward part. The rows of queries and
keys stand so that the first halves of all heads lie together, and the second halves: rotary positions turn one against
the other. Queries are divided by the root of their size here.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.students.decoder import Attention, Decoder, DecoderConfig, Layer

Weights = dict[str, NDArray[np.float32]]

TABLE, HEAD, NORM = "table", "head", "norm"


def weights_of(model: Decoder) -> Weights:
    """Every array of the graph by name: matrices `[out, in]`, and vectors.

    Layer `i` has `i.attention_norm`, `i.qkv` with `i.qkv_bias`, `i.first_norm` and `i.second_norm` (of the halves of
    queries and keys, `[heads + kv_heads, head_dim / 2]`), `i.output`, `i.ffn_norm`, `i.gate_up` and `i.down`.
    """
    found = {TABLE: _array(model.embedding.weight), NORM: _array(model.norm.weight)}
    if model.head is not None:
        found[HEAD] = _array(model.head.weight)
    layers: list[Layer] = list(model.layers)  # type: ignore[arg-type]  # ModuleList does not know of what
    for index, layer in enumerate(layers):
        assert layer.gate is not None  # engines run no other kind of feed-forward part
        attention = _attention(layer.attention, model.config)
        rest = {
            "attention_norm": _array(layer.attention_norm.weight),
            "output": _array(layer.attention.output.weight),
            "ffn_norm": _array(layer.ffn_norm.weight),
            "gate_up": np.concatenate([_array(layer.gate.weight), _array(layer.up.weight)]),
            "down": _array(layer.down.weight),
        }
        found |= {f"{index}.{name}": array for name, array in (attention | rest).items()}
    return found


def _attention(attention: Attention, config: DecoderConfig) -> Weights:
    size, heads = config.head_dim, config.heads
    scale = np.float32(size**-0.5)
    # With norms of queries, their weight is what scales them.
    query_scale = scale if attention.query_norm is None else np.float32(1)
    layers = (attention.query, attention.key, attention.value)

    def fuse(query: Tensor, key: Tensor, value: Tensor) -> NDArray[np.float32]:
        first, second = [], []
        for part, one in ((_array(query) * query_scale, heads), (_array(key), config.kv_heads)):
            halves = part.reshape(one, 2, size // 2, -1)
            first.append(halves[:, 0].reshape(one * size // 2, -1))
            second.append(halves[:, 1].reshape(one * size // 2, -1))
        return np.concatenate([*first, *second, _array(value).reshape(config.kv_heads * size, -1)])

    found = {"qkv": fuse(*(layer.weight for layer in layers))}
    if config.qkv_bias:
        found["qkv_bias"] = fuse(*(layer.bias for layer in layers)).ravel()
    if attention.query_norm is not None and attention.key_norm is not None:
        norms = np.concatenate(
            [
                np.tile(_array(attention.query_norm.weight) * scale, (heads, 1)),
                np.tile(_array(attention.key_norm.weight), (config.kv_heads, 1)),
            ]
        )
        found["first_norm"], found["second_norm"] = norms[:, : size // 2].copy(), norms[:, size // 2 :].copy()
    return found


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().float().numpy()
    return array
