"""The graph of a decoder with a cache, written in the operators that ONNX Runtime's CPU kernels are fast at.

A converter would write attention as a dozen operators and copy the cache in each call. Here one GroupQueryAttention a
layer turns queries and keys, writes the new keys and values into the cache in place, and attends. A file that may be
run this way says so in its metadata; see `pipeline.runtime.onnxruntime_state`.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.tape import Tape
from torch import Tensor

from pipeline.engines.decoders import POSITION, ROWS, TOKENS
from pipeline.engines.spec import ModelSpec, TensorSpec
from pipeline.engines.state import call_inputs, call_outputs
from pipeline.runtime.onnxruntime_state import MOST_POSITIONS
from pipeline.runtime.session import PAST, PRESENT
from pipeline.students.decoder import Attention, Decoder, Layer, RmsNorm, rotation_at

# ONNX Runtime's own operators.
CONTRIB = "com.microsoft"
ATTENTION = "GroupQueryAttention"
# The first opset with RMSNormalization, and the version of the file's format that belongs to it.
_LEAST_OPSET, _IR_VERSION = 23, 11
_DTYPES = {"int32": ir.DataType.INT32, "float32": ir.DataType.FLOAT}


def is_decoder(graph: ir.Graph) -> bool:
    """Whether a graph is one that `decoder_model` wrote, in any precision."""
    return any(node.op_type == ATTENTION for node in graph)


def decoder_model(model: Decoder, spec: ModelSpec, opset: int) -> ir.Model:
    """The fp32 graph of `model`.

    Its products are called like the module's layers, but for queries, keys and values, which are one product `qkv`.

    Args:
        model: the decoder, in evaluation mode.
        spec: from `decoder_spec`; its largest `cache` is how many positions a text may have.
        opset: of the standard operators; at least 23 is written.
    """
    most = max(shape["cache"] for shape in spec.shapes)
    inputs = {one.name: _value(one) for one in call_inputs(spec)}
    writer = _Writer(model, inputs, most)
    present = {PRESENT + one.name: writer.present[one.name] for one in spec.state}
    outputs = []
    for one, value in zip(call_outputs(spec), (writer.logits, *present.values()), strict=True):
        value.name, value.shape, value.type = one.name, ir.Shape(_axes(one)), ir.TensorType(_DTYPES[one.dtype])
        outputs.append(value)
    graph = ir.Graph(
        list(inputs.values()),
        outputs,
        nodes=writer.tape.nodes,
        initializers=writer.tape.initializers,
        opset_imports={"": max(opset, _LEAST_OPSET), CONTRIB: 1},
        name="decoder",
    )
    return ir.Model(graph, ir_version=_IR_VERSION, metadata_props={MOST_POSITIONS: str(most)})


class _Writer:
    """Writes the nodes of a decoder; values between layers are `[1, n, hidden]`.

    Attributes:
        tape: the nodes and the constants.
        logits: the output.
        present: the state behind a call, by the names of the spec.
    """

    def __init__(self, model: Decoder, inputs: dict[str, ir.Value], most: int) -> None:
        self.tape = Tape()
        self.present: dict[str, ir.Value] = {}
        self._shared: dict[str, ir.Value] = {}
        self._config, self._inputs = model.config, inputs
        self._rotation = [
            self._constant(name, table)
            for name, table in zip(("cosines", "sines"), rotation_at(0, most, model.config), strict=True)
        ]
        self._lengths = self._write_lengths()
        table = self._constant("embedding.weight", model.embedding.weight)
        x = self.tape.op("Gather", [table, inputs[TOKENS]], name="embedding")
        layers = cast(Sequence[Layer], model.layers)
        norms = [(f"layers.{index}.attention_norm", layer.attention_norm) for index, layer in enumerate(layers)]
        norms.append(("norm", model.norm))
        h = self._norm(x, *norms[0])
        for index, layer in enumerate(layers):
            x, h = self._layer(x, h, index, layer, norms[index + 1])
        chosen = self.tape.op("Squeeze", [h, self._integers("axis_0", [0])])
        head = table if model.head is None else self._constant("head.weight", model.head.weight)
        self.logits = self.tape.op("Gemm", [chosen, head], {"transB": 1}, name="head")

    def _write_lengths(self) -> list[ir.Value]:
        """What the attention asks for: the last position, and how many there are with the new ones, int32 `[1]`."""
        count = self.tape.op("Shape", [self._inputs[TOKENS]], {"start": 1})
        new = self.tape.op("Cast", [count], {"to": ir.DataType.INT32})
        total = self.tape.op("Add", [self._inputs[POSITION], new])
        last = self.tape.op("Sub", [total, self._constant("one", torch.ones(1, dtype=torch.int32))])
        return [last, total]

    def _layer(
        self, x: ir.Value, h: ir.Value, index: int, layer: Layer, following: tuple[str, RmsNorm]
    ) -> tuple[ir.Value, ir.Value]:
        """Features behind a layer, and the same normalized for what follows; `h` is `x` normalized."""
        name = f"layers.{index}"
        mixed = self._attend(h, index, layer.attention)
        if index == self._config.layers - 1:
            # Nothing behind the last attention mixes tokens: from here on only the rows that are asked for are needed.
            x, mixed = (self.tape.op("Gather", [value, self._inputs[ROWS]], {"axis": 1}) for value in (x, mixed))
        mixed = self._product(mixed, f"{name}.attention.output", layer.attention.output.weight)
        x, h = self._add_and_norm(x, mixed, f"{name}.ffn_norm", layer.ffn_norm)
        gate, up = (self._product(h, f"{name}.{part}", getattr(layer, part).weight) for part in ("gate", "up"))
        # x * sigmoid(alpha * x), which is SiLU for 1.
        gate = self.tape.op("QuickGelu", [gate], {"alpha": 1.0}, domain=CONTRIB)
        down = self._product(self.tape.op("Mul", [gate, up]), f"{name}.down", layer.down.weight)
        return self._add_and_norm(x, down, *following)

    def _attend(self, h: ir.Value, index: int, layer: Attention) -> ir.Value:
        config, name = self._config, f"layers.{index}.attention"
        parts = (layer.query, layer.key, layer.value)
        qkv = self._product(h, f"{name}.qkv", torch.cat([part.weight for part in parts]))
        if config.qkv_bias:
            bias = self._constant(f"{name}.qkv.bias", torch.cat([part.bias for part in parts]))
            qkv = self.tape.op("Add", [qkv, bias])
        queries = [qkv, None, None] if layer.query_norm is None else self._norm_heads(qkv, name, layer)
        state = [f"{kind}.{index}" for kind in ("keys", "values")]
        mixed, *present = self.tape.op_multi_out(
            ATTENTION,
            [*queries, *(self._inputs[PAST + one] for one in state), *self._lengths, *self._rotation],
            {"num_heads": config.heads, "kv_num_heads": config.kv_heads, "do_rotary": 1},
            num_outputs=3,
            domain=CONTRIB,
            name=name,
        )
        self.present.update(zip(state, present, strict=True))
        return mixed

    def _norm_heads(self, qkv: ir.Value, name: str, layer: Attention) -> list[ir.Value]:
        """Queries, keys and values apart, the first two normalized a head."""
        config, size = self._config, self._config.head_dim
        sizes = [config.heads * size, config.kv_heads * size, config.kv_heads * size]
        splits = self._integers("qkv_sizes", sizes)
        *turned, value = self.tape.op_multi_out("Split", [qkv, splits], {"axis": 2}, num_outputs=3)
        apart, together = self._integers("heads_apart", [0, 0, -1, size]), self._integers("heads_together", [0, 0, -1])
        assert layer.query_norm is not None
        assert layer.key_norm is not None
        found = []
        for part, one, norm in zip(turned, ("query", "key"), (layer.query_norm, layer.key_norm), strict=True):
            heads = self._norm(self.tape.op("Reshape", [part, apart]), f"{name}.{one}_norm", norm)
            found.append(self.tape.op("Reshape", [heads, together]))
        return [*found, value]

    def _product(self, x: ir.Value, name: str, weight: Tensor) -> ir.Value:
        """`x` times a weight `[out, in]` of the module."""
        return self.tape.op("MatMul", [x, self._constant(f"{name}.weight", weight.T)], name=name)

    def _norm(self, x: ir.Value, name: str, norm: RmsNorm) -> ir.Value:
        scale = self._constant(f"{name}.weight", norm.weight)
        return self.tape.op("RMSNormalization", [x, scale], {"axis": -1, "epsilon": norm.epsilon}, name=name)

    def _add_and_norm(self, x: ir.Value, more: ir.Value, name: str, norm: RmsNorm) -> tuple[ir.Value, ir.Value]:
        """The sum, and the sum normalized."""
        outputs = self.tape.op_multi_out(
            "SkipSimplifiedLayerNormalization",
            [x, more, self._constant(f"{name}.weight", norm.weight)],
            {"epsilon": norm.epsilon},
            num_outputs=4,
            domain=CONTRIB,
            name=name,
        )
        for unused in outputs[1:3]:
            unused.name = ""  # how a file leaves an output out
        return outputs[3], outputs[0]

    def _integers(self, name: str, numbers: Sequence[int]) -> ir.Value:
        """An int64 constant that every layer shares."""
        if name not in self._shared:
            self._shared[name] = self._constant(name, torch.tensor(numbers))
        return self._shared[name]

    def _constant(self, name: str, tensor: Tensor) -> ir.Value:
        array: NDArray[np.generic] = tensor.detach().contiguous().numpy()
        return self.tape.initializer(ir.tensor(array), name)


def _axes(tensor: TensorSpec) -> tuple[str | int, ...]:
    """Axes in the file: a call is one text."""
    return tuple(1 if axis == "batch" else axis for axis in tensor.axes)


def _value(tensor: TensorSpec) -> ir.Value:
    return ir.val(tensor.name, _DTYPES[tensor.dtype], _axes(tensor))
