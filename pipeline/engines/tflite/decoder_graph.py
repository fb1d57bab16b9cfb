"""The graph of a decoder in TensorFlow Lite's operators, laid out so that XNNPACK takes all of it but the look-ups.

A call reads the cache and does not write it: it gives the new keys and values, and the session puts them behind the
others (`pipeline.runtime.tflite_decoder`). With DYNAMIC_UPDATE_SLICE inside, each layer would leave XNNPACK, and a
write past the end would silently overwrite the last positions. Keys lie as `[1, kv_heads, head_dim, cache]` and values
as `[1, kv_heads, cache, head_dim]`: both products of attention read them as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.engines.decoders import LOGITS, POSITION, ROWS, TOKENS
from pipeline.engines.tflite.decoder_weights import NORM, TABLE
from pipeline.engines.tflite.graph import Constant, File, Graph, Tensor
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
        products: by the names of their matrices: adds the operators of `x [n, in]` times it.
        rotation: cosines and sines of each position, `[positions, head_dim / 2]`.
    """

    config: DecoderConfig
    table: Constant
    vectors: Mapping[str, Constant]
    products: Mapping[str, Callable[[Graph, Tensor], Tensor]]
    rotation: tuple[Constant, Constant]


def rotation_tables(file: File, config: DecoderConfig, positions: int) -> tuple[Constant, Constant]:
    """The tables of `Store.rotation`, the same numbers as PyTorch's."""
    cosines, sines = rotation_at(0, positions, config)
    return file.constant(cosines.numpy()), file.constant(sines.numpy())


def add_signature(file: File, key: str, store: Store, shape: Mapping[str, int]) -> None:
    """Add the graph for `tokens` new tokens, `rows` rows of logits and a cache of `cache` positions."""
    _Signature(Graph(file, key), store, shape).write()


class _Signature:
    def __init__(self, graph: Graph, store: Store, shape: Mapping[str, int]) -> None:
        self.graph, self.store, self.config = graph, store, store.config
        self.count, self.rows, self.cache = shape["tokens"], shape["rows"], shape["cache"]

    def write(self) -> None:
        g, config, size = self.graph, self.config, self.config.kv_heads
        tokens, position, rows = (
            g.input(name, shape, np.int32)
            for name, shape in ((TOKENS, (1, self.count)), (POSITION, (1,)), (ROWS, (self.rows,)))
        )
        keys = [g.input(f"{PAST}keys.{i}", (size, config.head_dim, self.cache)) for i in range(config.layers)]
        values = [g.input(f"{PAST}values.{i}", (size, self.cache, config.head_dim)) for i in range(config.layers)]
        x = g.look_up(self.store.table, g.reshape(tokens, (self.count,)))
        rotation, mask = self._rotation(position), self._mask(position)
        zero=self.graph.of(self.graph.file.shared(np.zeros(2,np.int32))); z1=self.graph.of(self.graph.file.shared(np.zeros(1,np.int32)))
        at_key=g.concatenate([zero,position]); at_value=g.concatenate([z1,position,z1])
        new: dict[str, Tensor] = {}
        for index, held in enumerate(zip(keys, values, strict=True)):
            mixed, key, value = self._attention(index, x, rotation, mask, held)
            x = g.add(x, mixed)
            x = g.add(x, self._feed_forward(index, x))
            new |= {f"{PRESENT}keys.{index}": g.put(held[0], key, at_key), f"{PRESENT}values.{index}": g.put(held[1], value, at_value)}
        # One token is its own only row; leaving XNNPACK to gather it would cost more than it does.
        chosen = x if self.count == 1 else g.gather(x, rows)
        logits = self.store.products["head"](g, self._norm(chosen, NORM))
        g.finish({LOGITS: logits} | dict(sorted(new.items(), key=_place)))

    def _rotation(self, position: Tensor) -> tuple[Tensor, ...]:
        """Cosines and sines of the new positions, `[n, 1, head_dim / 2]`."""
        g = self.graph
        places = position
        if self.count > 1:
            places = g.add(position, g.of(g.file.shared(np.arange(self.count, dtype=np.int32))))
        shape = (self.count, 1, self.config.head_dim // 2)
        return tuple(g.reshape(g.gather(g.of(table), places), shape) for table in self.store.rotation)

    def _mask(self, position: Tensor) -> Tensor:
        """What is added to the scores of the cache: 0 before the position, and -1e9 or less from there on, `[cache]`."""
        g = self.graph
        places = np.arange(self.cache, dtype=np.float32) + np.float32(0.5)
        ahead = g.sub(g.as_float(position), g.of(g.file.shared(places)))
        far = g.mul(ahead, self._scalar(2 * _HIDDEN))
        return g.minimum(far, self._scalar(np.float32(0)))

    def _attention(
        self,
        index: int,
        x: Tensor,
        rotation: tuple[Tensor, ...],
        mask: Tensor,
        held: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What attention adds to `x`, and the new keys and values as the cache lays them out, without its first axis."""
        g, config, n = self.graph, self.config, self.count
        query, key, value = self._heads(index, self._norm(x, f"{index}.attention_norm"), rotation)
        keys, values = held
        before = g.add(g.matmul(query, keys), mask)
        now = g.matmul(query, key)
        if n > 1:
            # A row sees itself and the rows before it; `query` has `heads / kv_heads` times n rows.
            hidden = np.triu(np.full((n, n), -_HIDDEN, np.float32), 1)
            tiled = np.tile(hidden, (config.heads // config.kv_heads, 1))
            now = g.add(now, g.of(g.file.shared(tiled)))
        share = g.softmax(g.concatenate([before, now]))
        share_before, share_now = g.part(share, 2, 0, self.cache), g.part(share, 2, self.cache, self.cache + n)
        mixed = g.add(g.matmul(share_before, values), g.matmul(share_now, value))
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
        both = g.concatenate(
            [g.sub(g.mul(a, cosines), g.mul(b, sines)), g.add(g.mul(b, cosines), g.mul(a, sines))]
        )
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
        squares = g.mul(g.add(g.mean(g.mul(a, a)), g.mean(g.mul(b, b))), self._scalar(np.float32(0.5)))
        factor = g.rsqrt(g.add(squares, self._scalar(np.float32(self.config.norm_epsilon))))
        return tuple(  # type: ignore[return-value]  # two halves
            g.mul(g.mul(one, factor), g.of(self.store.vectors[f"{index}.{name}"]))
            for one, name in ((a, "first_norm"), (b, "second_norm"))
        )

    def _feed_forward(self, index: int, x: Tensor) -> Tensor:
        g, size = self.graph, self.config.ffn_dim
        both = self.store.products[f"{index}.gate_up"](g, self._norm(x, f"{index}.ffn_norm"))
        gate, up = g.part(both, 1, 0, size), g.part(both, 1, size, 2 * size)
        return self.store.products[f"{index}.down"](g, g.mul(g.mul(gate, g.logistic(gate)), up))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """RMSNorm of `[n, hidden]`."""
        g = self.graph
        squares = g.add(g.mean(g.mul(x, x)), self._scalar(np.float32(self.config.norm_epsilon)))
        return g.mul(g.mul(x, g.rsqrt(squares)), g.of(self.store.vectors[name]))

    def _scalar(self, value: np.float32) -> Tensor:
        return self.graph.of(self.graph.file.shared(np.array([value], np.float32)))


def _place(named: tuple[str, Tensor]) -> tuple[str, int]:
    """Keys of all layers, then values of all layers."""
    kind, _, layer = named[0].rpartition(".")
    return kind, int(layer)
