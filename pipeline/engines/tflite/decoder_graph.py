"""The graph of a decoder in TensorFlow Lite's operators, laid out for XNNPACK.

XNNPACK takes all layers in one piece. Only the look-ups before them and what writes the cache behind them is left to
other kernels: each layer attends to the cache as it was and to its new keys and values apart. Keys lie as `[kv_heads,
head_dim, cache]` and values as `[kv_heads, cache, head_dim]`, so both products of attention read them as they are. A
caller binds one buffer to `past.keys.0` and `present.keys.0`, and nothing is copied. A call must end within the cache:
DYNAMIC_UPDATE_SLICE moves a write past the end to where it fits, over earlier positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.decoders import LOGITS, POSITION, ROWS, TOKENS
from pipeline.engines.tflite.decoder_products import Product
from pipeline.engines.tflite.decoder_weights import HEAD, NORM
from pipeline.engines.tflite.graph import Graph, Tensor
from pipeline.engines.tflite.graph_file import Constant, File
from pipeline.runtime.session import PAST, PRESENT
from pipeline.students.decoder import DecoderConfig, rotation_at

# Added to the scores of positions that are not seen: their weights become 0 exactly.
_HIDDEN = np.float32(1e9)


@dataclass(frozen=True)
class Store:
    """What all signatures share.

    Attributes:
        table: of embeddings.
        vectors: norms and biases by the names of `decoder_weights`.
        products: by the names of their matrices, and the head.
        rotation: cosines and sines of each position, `[positions, head_dim / 2]`.
    """

    config: DecoderConfig
    table: Constant
    vectors: Mapping[str, Constant]
    products: Mapping[str, Product]
    rotation: tuple[Constant, Constant]


def rotation_tables(file: File, config: DecoderConfig, positions: int) -> tuple[Constant, Constant]:
    """The tables of `Store.rotation`, the same numbers as PyTorch's."""
    cosines, sines = rotation_at(0, positions, config)
    return file.shared(cosines.numpy()), file.shared(sines.numpy())


def add_signature(file: File, key: str, store: Store, shape: Mapping[str, int]) -> None:
    """Add the graph for `tokens` new tokens, `rows` rows of logits and a cache of `cache` positions.

    With `start` 1 it begins a text: it has no input `position`, and does not read the cache. That saves a fifth of a
    prompt of 128 tokens with a cache of 256, and more with a larger one.
    """
    _Signature(Graph(file, key), store, shape).write()


class _Signature:
    def __init__(self, graph: Graph, store: Store, shape: Mapping[str, int]) -> None:
        self.graph, self.store, self.config = graph, store, store.config
        self.count, self.rows, self.cache = shape["tokens"], shape["rows"], shape["cache"]
        self.starts = bool(shape["start"])
        self.position = self._constant(np.zeros(1, np.int32))

    def write(self) -> None:
        g, config, kv = self.graph, self.config, self.config.kv_heads
        tokens = g.input(TOKENS, (1, self.count), np.int32)
        if not self.starts:
            self.position = g.input(POSITION, (1,), np.int32)
        rows = g.input(ROWS, (self.rows,), np.int32)
        keys = [g.input(f"{PAST}keys.{i}", (kv, config.head_dim, self.cache)) for i in range(config.layers)]
        values = [g.input(f"{PAST}values.{i}", (kv, self.cache, config.head_dim)) for i in range(config.layers)]
        x = g.look_up(self.store.table, g.reshape(tokens, (self.count,)))
        rotation, mask = self._rotation(), None if self.starts else self._mask()
        new = []
        for index, held in enumerate(zip(keys, values, strict=True)):
            mixed, *made = self._attention(index, x, rotation, mask, held)
            x = g.add(x, mixed)
            x = g.add(x, self._feed_forward(index, x))
            new.append(made)
        # One token is its own only row; leaving XNNPACK to gather it would cost more than it does.
        chosen = x if self.count == 1 else g.gather(x, rows)
        logits = self.store.products[HEAD](g, self._norm(chosen, NORM))
        g.finish({LOGITS: logits} | self._put(keys, values, new))

    def _put(self, keys: list[Tensor], values: list[Tensor], new: list[list[Tensor]]) -> dict[str, Tensor]:
        """The caches with the new keys and values in them, by the names of the outputs."""
        g, zero = self.graph, self._constant(np.zeros(1, np.int32))
        at_key, at_value = g.concatenate([zero, zero, self.position]), g.concatenate([zero, self.position, zero])
        kept = {f"{PRESENT}keys.{i}": g.put(keys[i], key, at_key) for i, (key, _) in enumerate(new)}
        return kept | {f"{PRESENT}values.{i}": g.put(values[i], value, at_value) for i, (_, value) in enumerate(new)}

    def _rotation(self) -> tuple[Tensor, ...]:
        """Cosines and sines of the new positions, `[n, 1, head_dim / 2]`."""
        g, places = self.graph, self.position
        if self.count > 1:
            places = g.add(places, self._constant(np.arange(self.count, dtype=np.int32)))
        shape = (self.count, 1, self.config.head_dim // 2)
        return tuple(g.reshape(g.gather(g.of(table), places), shape) for table in self.store.rotation)

    def _mask(self) -> Tensor:
        """What is added to scores of the cache, `[cache]`: 0 before the position, and -1e9 or less from there on."""
        g, places = self.graph, np.arange(self.cache, dtype=np.float32) + np.float32(0.5)
        ahead = g.sub(g.as_float(self.position), self._constant(places))
        return g.minimum(g.mul(ahead, self._scalar(2 * _HIDDEN)), self._scalar(0))

    def _attention(
        self,
        index: int,
        x: Tensor,
        rotation: tuple[Tensor, ...],
        mask: Tensor | None,
        held: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What attention adds to `x`, and the new keys and values as the cache lays them out."""
        g, config, n = self.graph, self.config, self.count
        query, key, value = self._heads(index, self._norm(x, f"{index}.attention_norm"), rotation)
        now = g.matmul(query, key)
        if n > 1:
            # A row sees itself and the rows before it; `query` has `heads / kv_heads` times n rows.
            hidden = np.triu(np.full((n, n), -_HIDDEN, np.float32), 1)
            now = g.add(now, self._constant(np.tile(hidden, (config.heads // config.kv_heads, 1))))
        if mask is None:
            mixed = g.matmul(g.softmax(now), value)
        else:
            keys, values = held
            shares = g.softmax(g.concatenate([g.add(g.matmul(query, keys), mask), now]))
            before, after = g.part(shares, 2, 0, self.cache), g.part(shares, 2, self.cache, self.cache + n)
            mixed = g.add(g.matmul(before, values), g.matmul(after, value))
        if n > 1:
            mixed = g.transpose(g.reshape(mixed, (config.heads, n, config.head_dim)), (1, 0, 2))
        joined = g.reshape(mixed, (n, config.heads * config.head_dim))
        return self.store.products[f"{index}.output"](g, joined), key, value

    def _heads(self, index: int, x: Tensor, rotation: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `[kv, heads / kv * n, head_dim]`, keys `[kv, head_dim, n]` and values `[kv, n, head_dim]`."""
        g, config, n = self.graph, self.config, self.count
        kv, half, turned = config.kv_heads, config.head_dim // 2, config.heads + config.kv_heads
        fused = self.store.products[f"{index}.qkv"](g, x)
        bounds = (0, turned * half, turned * half * 2, fused.shape[1])
        first, second, value = (g.part(fused, 1, start, stop) for start, stop in pairwise(bounds))
        a, b = (g.reshape(one, (n, turned, half)) for one in (first, second))
        if config.qk_norm:
            a, b = self._norm_halves(index, a, b)
        cosines, sines = rotation
        both = g.concatenate([g.sub(g.mul(a, cosines), g.mul(b, sines)), g.add(g.mul(b, cosines), g.mul(a, sines))])
        query, key = g.part(both, 1, 0, config.heads), g.part(both, 1, config.heads, turned)
        value = g.reshape(value, (n, kv, config.head_dim))
        if n > 1:
            query = g.transpose(query, (1, 0, 2))
            key, value = g.transpose(key, (1, 2, 0)), g.transpose(value, (1, 0, 2))
        return (
            g.reshape(query, (kv, config.heads // kv * n, config.head_dim)),
            g.reshape(key, (kv, config.head_dim, n)),
            g.reshape(value, (kv, n, config.head_dim)),
        )

    def _norm_halves(self, index: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys divided by their root mean square, each head by its own."""
        g = self.graph
        squares = g.mul(g.add(g.mean(g.mul(a, a)), g.mean(g.mul(b, b))), self._scalar(0.5))
        factor = g.rsqrt(g.add(squares, self._scalar(self.config.norm_epsilon)))

        def scaled(half: Tensor, name: str) -> Tensor:
            return g.mul(g.mul(half, factor), g.of(self.store.vectors[f"{index}.{name}"]))

        return scaled(a, "first_norm"), scaled(b, "second_norm")

    def _feed_forward(self, index: int, x: Tensor) -> Tensor:
        g, size = self.graph, self.config.ffn_dim
        both = self.store.products[f"{index}.gate_up"](g, self._norm(x, f"{index}.ffn_norm"))
        gate, up = g.part(both, 1, 0, size), g.part(both, 1, size, 2 * size)
        return self.store.products[f"{index}.down"](g, g.mul(g.mul(gate, g.logistic(gate)), up))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm of `[n, hidden]`."""
        g = self.graph
        squares = g.add(g.mean(g.mul(x, x)), self._scalar(self.config.norm_epsilon))
        return g.mul(g.mul(x, g.rsqrt(squares)), g.of(self.store.vectors[name]))

    def _scalar(self, value: float | np.float32) -> Tensor:
        return self._constant(np.array([value], np.float32))

    def _constant(self, array: NDArray[Any]) -> Tensor:
        return self.graph.of(self.graph.file.shared(array))
