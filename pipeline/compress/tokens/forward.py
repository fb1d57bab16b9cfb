"""A decoder's forward pass for training on CPU: `Decoder.features` in fewer and larger operations.

Queries, keys and values are one product, and so are gate and up. Attention is written out: for heads of 64 and windows
of a few hundred tokens, PyTorch's fused kernel takes three times as long in bf16 on CPU.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.students.decoder import Attention, Decoder, Layer, RmsNorm, rotate, rotation_at


def training_features(model: Decoder, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """The normalized features of each token of whole windows, float32 `[batch, n, hidden]`.

    Args:
        tokens: int64 `[batch, n]`, from position 0 on.
        dtype: of matrix products and of what lies between them within a layer; what layers pass on is float32.
    """
    count = tokens.shape[1]
    x = functional.embedding(tokens, model.embedding.weight)
    # For tensors [batch, n, heads, head_dim].
    cosines, sines = (one.to(dtype)[:, None] for one in rotation_at(0, count, model.config))
    hidden = torch.full((count, count), -torch.inf).triu(1)
    for layer in cast(list[Layer], model.layers):
        x = _layer(layer, x, (cosines, sines), hidden, dtype)
    return model.norm(x)  # type: ignore[no-any-return]


def _layer(layer: Layer, x: Tensor, rotation: tuple[Tensor, Tensor], hidden: Tensor, dtype: torch.dtype) -> Tensor:
    mixed = _attend(layer.attention, layer.attention_norm(x).to(dtype), rotation, hidden)
    x = x + functional.linear(mixed, layer.attention.output.weight.to(dtype))
    inner = layer.ffn_norm(x).to(dtype)
    assert layer.gate is not None  # students have one
    both = torch.cat([layer.gate.weight, layer.up.weight]).to(dtype)
    gate, up = functional.linear(inner, both).chunk(2, dim=-1)
    return x + functional.linear(functional.silu(gate) * up, layer.down.weight.to(dtype))


def _attend(attention: Attention, x: Tensor, rotation: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """Mix `[batch, n, hidden_dim]` to `[batch, n, heads * head_dim]`."""
    config = attention.config
    heads, kv_heads, size = config.heads, config.kv_heads, config.head_dim
    batch, count = x.shape[:2]
    layers = (attention.query, attention.key, attention.value)
    weights = torch.cat([layer.weight for layer in layers]).to(x.dtype)
    biases = torch.cat([layer.bias for layer in layers]).to(x.dtype) if config.qkv_bias else None
    projected = functional.linear(x, weights, biases).view(batch, count, heads + 2 * kv_heads, size)
    query, key, value = torch.split(projected, [heads, kv_heads, kv_heads], dim=2)
    query, key = _norm(attention.query_norm, query), _norm(attention.key_norm, key)
    query, key = rotate(query, *rotation), rotate(key, *rotation)
    # The query heads of one key head lie behind each other, as rows of one product.
    groups, shared = batch * kv_heads, heads // kv_heads
    rows = query.transpose(1, 2).reshape(groups, shared * count, size)
    keys, values = (one.transpose(1, 2).reshape(groups, count, size) for one in (key, value))
    scores = torch.bmm(rows * size**-0.5, keys.transpose(1, 2)).view(groups, shared, count, count)
    shares = torch.softmax(scores.float() + hidden, dim=-1).to(x.dtype)
    mixed = torch.bmm(shares.view(groups, shared * count, count), values)
    return mixed.view(batch, heads, count, size).transpose(1, 2).flatten(2)


def _norm(norm: RmsNorm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x.float()).to(x.dtype)
