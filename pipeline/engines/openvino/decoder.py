"""The graph of `pipeline.students.decoder.Decoder` in OpenVINO's own operators.

Each part is written in the pattern that the CPU plugin of OpenVINO 2026.4 fuses to one kernel: RMS, RoPE, and
ScaledDotProductAttention with the cache inside. Products that read the same features are one product.

The cache of a layer is two variables, `[batch, kv_heads, held, head_dim]`, to which a call appends. What of it a new
token sees is said by a mask from the session, `pipeline.runtime.openvino_state`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as operators

from pipeline.engines.decoders import LOGITS, POSITION, ROWS, TOKENS
from pipeline.engines.spec import ModelSpec
from pipeline.runtime.openvino_state import MASK
from pipeline.students.decoder import Decoder, DecoderConfig, rotation_at

_FIRST, _LAST = np.int64(0), np.int64(-1)
_HEADS_FIRST = np.array([0, 2, 1, 3])
# `pipeline.engines.openvino.layers` finds layers by this prefix.
_MODULE = "__module."


def decoder_graph(model: Decoder, spec: ModelSpec) -> openvino.Model:
    """The graph in fp32, with the inputs of `spec` and `MASK`, which a session fills.

    Args:
        model: on the CPU.
        spec: from `decoder_spec`; its largest cache is how many positions the rotary table has.
    """
    return _Writer(model, max(shape["cache"] for shape in spec.shapes)).write()


class _Writer:
    """Writes one graph; `x` is always `[batch, n, hidden]`."""

    def __init__(self, model: Decoder, capacity: int) -> None:
        self._config: DecoderConfig = model.config
        self._weights: Mapping[str, NDArray[Any]] = {
            name: value.detach().float().numpy() for name, value in model.state_dict().items()
        }
        self._tokens = _input(TOKENS, [-1, -1], openvino.Type.i32)
        self._position = _input(POSITION, [-1], openvino.Type.i32)
        self._rows = _input(ROWS, [-1], openvino.Type.i32)
        self._mask = _input(MASK, [1, 1, -1, -1], openvino.Type.f32)
        self._rotation = [self._rotary(table.numpy()) for table in rotation_at(0, capacity, model.config)]
        self._nothing = self._empty_cache()
        # All rows of the batch in their order. The fusion wants one node for keys and values.
        self._same_rows = _constant(np.zeros(1, np.int32))
        self._sinks: list[Any] = []

    def write(self) -> openvino.Model:
        table = _constant(self._weights["embedding.weight"])
        x = operators.gather(table, self._tokens, _constant(_FIRST))
        for index in range(self._config.layers):
            x = self._layer(x, index, last=index == self._config.layers - 1)
        chosen = self._norm(operators.squeeze(x, _constant(np.array([0]))), "norm")
        head = table if self._config.tied else _constant(self._weights["head.weight"])
        logits = _product(chosen, head, "head")
        inputs = [self._tokens, self._position, self._rows, self._mask]
        written = openvino.Model([operators.result(logits)], self._sinks, inputs, "model")
        for port, name in zip((*written.inputs, *written.outputs), (*map(_name, inputs), LOGITS), strict=True):
            port.get_tensor().set_names({name})
        return written

    def _layer(self, x: Any, index: int, last: bool) -> Any:
        """A layer; the last one goes on with the chosen rows alone behind its attention."""
        place = f"layers.{index}"
        mixed = self._attention(self._norm(x, f"{place}.attention_norm"), index)
        if last:
            x, mixed = self._chosen(x), self._chosen(mixed)
        x = operators.add(x, self._linear(mixed, f"{place}.attention", "output"))
        inner = self._linear(self._norm(x, f"{place}.ffn_norm"), place, "gate", "up")
        gate, up = _split(inner, [self._config.ffn_dim, self._config.ffn_dim])
        return operators.add(x, self._linear(operators.multiply(operators.swish(gate), up), place, "down"))

    def _attention(self, x: Any, index: int) -> Any:
        """What the heads mixed, `[batch, n, heads * head_dim]`."""
        size, heads, kv_heads = self._config.head_dim, self._config.heads, self._config.kv_heads
        place = f"layers.{index}.attention"
        joined = self._linear(x, place, "query", "key", "value")
        query, key, value = _split(joined, [heads * size, kv_heads * size, kv_heads * size])
        query = self._turned(self._heads(query, heads, f"{place}.query_norm"))
        key = self._turned(self._heads(key, kv_heads, f"{place}.key_norm"))
        keys = self._cached(key, f"keys.{index}")
        values = self._cached(self._heads(value, kv_heads), f"values.{index}")
        mixed = operators.scaled_dot_product_attention(query, keys, values, self._mask)
        return _reshape(operators.transpose(mixed, _constant(_HEADS_FIRST)), [0, 0, heads * size])

    def _heads(self, x: Any, heads: int, norm: str = "") -> Any:
        """`[batch, n, heads * head_dim]` to `[batch, heads, n, head_dim]`, normalized where the model has `norm`."""
        split = _reshape(x, [0, 0, heads, self._config.head_dim])
        if f"{norm}.weight" in self._weights:
            split = self._norm(split, norm)
        return operators.transpose(split, _constant(_HEADS_FIRST))

    def _turned(self, x: Any) -> Any:
        """Rotary positions, in the pattern that is fused to RoPE."""
        cosines, sines = self._rotation
        first, second = _split(x, [self._config.head_dim // 2, -1], axis=3)
        swapped = operators.concat(
            [operators.multiply(second, _constant(np.full((1, 1, 1, 1), -1, np.float32))), first], -1
        )
        return operators.add(operators.multiply(x, cosines), operators.multiply(swapped, sines))

    def _cached(self, new: Any, name: str) -> Any:
        """Append to a variable; gives all that it holds then, once for each head of queries.

        The fusion wants a Gather by rows of the batch behind the variable, where beam search would put its choice.
        """
        size, kv_heads = self._config.head_dim, self._config.kv_heads
        shape = openvino.PartialShape([-1, kv_heads, -1, size])
        held = operators.read_value(self._nothing, name, openvino.Type.f32, shape)
        same_rows = operators.gather(held, self._same_rows, _constant(_FIRST))
        joined = operators.concat([same_rows, new], 2)
        self._sinks.append(operators.assign(joined, name))
        if kv_heads == self._config.heads:
            return joined
        sizes = operators.shape_of(joined, "i64")
        group = _constant(np.array([self._config.heads // kv_heads]))
        wanted = operators.concat([_take(sizes, [0, 1]), group, _take(sizes, [2, 3])], 0)
        spread = operators.broadcast(
            operators.unsqueeze(joined, _constant(np.array([2]))), wanted, broadcast_spec="BIDIRECTIONAL"
        )
        return _reshape(spread, [0, self._config.heads, -1, size])

    def _norm(self, x: Any, place: str) -> Any:
        """Root mean square normalization, in the pattern that is fused to RMS."""
        squares = operators.reduce_mean(
            operators.power(x, _constant(np.float32(2))), _constant(np.array([_LAST])), True
        )
        root = operators.sqrt(operators.add(squares, _constant(np.float32(self._config.norm_epsilon))))
        scaled = operators.multiply(x, operators.divide(_constant(np.float32(1)), root))
        return operators.multiply(scaled, _constant(self._weights[f"{place}.weight"]))

    def _linear(self, x: Any, place: str, *names: str) -> Any:
        """Linear layers that read the same features, as one product whose outputs lie side by side."""
        whole = [f"{place}.{name}" for name in names]
        weight = np.concatenate([self._weights[f"{name}.weight"] for name in whole])
        product = _product(x, _constant(weight), f"{place}.{'_'.join(names)}")
        if f"{whole[0]}.bias" not in self._weights:
            return product
        return operators.add(product, _constant(np.concatenate([self._weights[f"{name}.bias"] for name in whole])))

    def _chosen(self, x: Any) -> Any:
        return operators.gather(x, self._rows, _constant(np.int64(1)))

    def _rotary(self, halves: NDArray[Any]) -> Any:
        """Cosines or sines at the positions of this call, `[1, 1, n, head_dim]`."""
        count = operators.squeeze(_take(operators.shape_of(self._tokens, "i32"), [1]), _constant(np.array([0])))
        zero, one = _constant(np.int32(0)), _constant(np.int32(1))
        places = operators.add(self._position, operators.range(zero, count, one, output_type=openvino.Type.i32))
        table = np.concatenate([halves, halves], -1)[None, None]
        return operators.gather(_constant(table), places, _constant(np.int64(2)))

    def _empty_cache(self) -> Any:
        """The initial value of each variable; its batch must be open for the fusion."""
        batch = _take(operators.shape_of(self._tokens, "i64"), [0])
        rest = _constant(np.array([self._config.kv_heads, 0, self._config.head_dim]))
        return operators.broadcast(_constant(np.float32(0)), operators.concat([batch, rest], 0))


def _input(name: str, shape: list[int], dtype: openvino.Type) -> Any:
    node = operators.parameter(shape, dtype)
    node.set_friendly_name(name)
    return node


def _name(node: Any) -> str:
    name: str = node.get_friendly_name()
    return name


def _constant(value: NDArray[Any] | np.generic) -> Any:
    return operators.constant(value)


def _product(x: Any, weight: Any, place: str) -> Any:
    product = operators.matmul(x, weight, False, True)
    product.set_friendly_name(_MODULE + place)
    return product


def _split(x: Any, sizes: list[int], axis: int = 2) -> list[Any]:
    parts = operators.variadic_split(x, _constant(np.int64(axis)), _constant(np.array(sizes)))
    return [parts.output(index) for index in range(len(sizes))]


def _reshape(x: Any, shape: list[int]) -> Any:
    """0 keeps an axis."""
    return operators.reshape(x, _constant(np.array(shape)), True)


def _take(x: Any, places: list[int]) -> Any:
    return operators.gather(x, _constant(np.array(places)), _constant(_FIRST))
