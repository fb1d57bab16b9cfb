"""int8 for ONNX Runtime, with onnxruntime.quantization.

Networks without convolutions are quantized dynamically: their weights are int8, and their kernels quantize activations
as they come. Networks with convolutions are quantized statically: the calibration set fixes the scales of activations.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from pipeline.engines.exporter import Calibration
from pipeline.engines.layer_errors import examples
from pipeline.engines.onnxruntime.gates import IntegerGates
from pipeline.engines.onnxruntime.layers import has_convolutions
from pipeline.engines.spec import ModelSpec

_STEM_CHANNELS = 4
_PRODUCTS, _TABLES = ["MatMul", "Gemm"], ["Gather"]
_QUANTIZED = re.compile("_quantized$")


def quantize(
    model: ir.Model, spec: ModelSpec, calibration: Calibration, folder: Path, float_nodes: Collection[str]
) -> ir.Model:
    """The int8 model, with a scale a channel for weights.

    Args:
        model: the fp32 model.
        spec: its inputs.
        calibration: examples by input name; a network without convolutions does not use them.
        folder: an empty one to work in.
        float_nodes: names of nodes to leave in fp32.
    """
    if has_convolutions(model.graph):
        return _quantize_static(model, spec, calibration, folder, float_nodes)
    # CPUs without VNNI add products of 8-bit activations and 8-bit weights in 16 bits, which overflows. Weights of
    # 7 bits do not overflow, so the same file is right on every device. A table is only looked up.
    tables = quantize_tables(model, folder, float_nodes)
    return _quantize_dynamic(tables, folder / "products.onnx", _PRODUCTS, float_nodes, ".int8_1", reduce_range=True)


def quantize_tables(model: ir.Model, folder: Path, float_nodes: Collection[str]) -> ir.Model:
    """The model with every embedding as an int8 table, which has one scale."""
    return _quantize_dynamic(model, folder / "tables.onnx", _TABLES, float_nodes, ".int8_0", reduce_range=False)


def _quantize_dynamic(
    model: ir.Model, path: Path, types: list[str], float_nodes: Collection[str], suffix: str, *, reduce_range: bool
) -> ir.Model:
    """Operators of these types with int8 weights; `suffix` is for the names that the quantizer makes."""
    quantize_dynamic(
        bare_proto(model),
        path,
        op_types_to_quantize=types,
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=list(float_nodes),
    )
    proto = onnx.load(path)
    _rename_quantized(proto.graph, suffix)
    quantized: ir.Model = ir.from_proto(proto)
    return quantized


def _rename_quantized(graph: onnx.GraphProto, suffix: str) -> None:
    """Free the quantizer's names: it calls both a looked-up row and a product's input `x_quantized`."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [_QUANTIZED.sub(suffix, name) for name in names]
    for initializer in graph.initializer:
        initializer.name = _QUANTIZED.sub(suffix, initializer.name)


def bare_proto(model: ir.Model) -> onnx.ModelProto:
    """The model for a quantizer: without shapes of intermediate values, because it trips over outdated ones."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    return proto


def _quantize_static(
    model: ir.Model, spec: ModelSpec, calibration: Calibration, folder: Path, float_nodes: Collection[str]
) -> ir.Model:
    path = folder / "static.onnx"
    quantize_static(
        bare_proto(model),
        path,
        _Rows(spec, calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Unsigned activations with signed weights of 7 bits: CPUs without VNNI add the products in 16 bits, which
        # 8 bits would overflow. On CPUs with VNNI one instruction multiplies exactly this pair.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        nodes_to_exclude=sorted({*float_nodes, *_stem(model.graph)}),
    )
    quantized = ir.load(path)
    IntegerGates()(quantized)
    return quantized


def _stem(graph: ir.Graph) -> set[str]:
    """Convolutions of the image itself and all before them: for so few channels the float kernel is faster."""
    stem = [node for node in graph if _reads_few_channels(node)]
    return {node.name or "" for node in (*stem, *_ancestors(stem))}


def _reads_few_channels(node: ir.Node) -> bool:
    if node.op_type != "Conv" or node.inputs[1] is None or node.attributes.get_int("group", 1) != 1:
        return False
    weight = node.inputs[1].const_value
    return weight is not None and weight.numpy().shape[1] <= _STEM_CHANNELS


def _ancestors(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """All nodes that `nodes` depend on."""
    found: set[ir.Node] = set()
    todo = list(nodes)
    while todo:
        new = set(todo.pop().predecessors()) - found
        found |= new
        todo.extend(new)
    return found


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # untyped base class
    """Calibration examples one at a time."""

    def __init__(self, spec: ModelSpec, calibration: Calibration) -> None:
        self._rows = iter(examples(spec, calibration))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._rows, None)
