"""Static int8 of convolutional networks for ONNX Runtime, as quantize and dequantize nodes around each operator.

The quantizer leaves hard-swish and hard-sigmoid in float: between two int8 convolutions each then costs a
conversion to float and back, and MobileNetV3 gets slower than in fp32. Here they become integer arithmetic:
`x * clip(x + 3, 0, 6) / 6` is an int8 addition whose output range does the clipping, and an int8 product.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from pipeline.engines.exporter import Calibration
from pipeline.engines.layer_errors import examples
from pipeline.engines.onnxruntime.graph import Links, ancestors, drop_unused_constants
from pipeline.engines.spec import ModelSpec

_STEM_CHANNELS = 4
_STEPS = 255
# Hard-sigmoid rises from 0 to 1 between -3 and 3 (arXiv:1905.02244, section 5.2).
_HALF, _RANGE = 3.0, 6.0
_GATE_STEP = "hard_sigmoid.int8.step"
_GATE_ZERO = "hard_sigmoid.int8.zero"


def quantize(
    proto: onnx.ModelProto, spec: ModelSpec, calibration: Calibration, folder: Path, float_nodes: Collection[str]
) -> onnx.ModelProto:
    """The int8 model: weights with a scale a channel, activations with fixed scales from the calibration set.

    Args:
        proto: the fp32 model without shapes of intermediate values; its names of nodes are kept.
        spec: its inputs.
        calibration: examples by input name.
        folder: an empty one to work in.
        float_nodes: names of nodes to leave in fp32.
    """
    path = folder / "static.onnx"
    quantize_static(
        proto,
        path,
        _Rows(spec, calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Unsigned activations with signed weights of 7 bits: CPUs without VNNI add the products in 16 bits, which
        # 8 bits would overflow; on those with VNNI it is the pair that one instruction multiplies.
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=True,
        nodes_to_exclude=sorted({*float_nodes, *_stem(proto.graph)}),
    )
    quantized = onnx.load(path)
    integer_gates(quantized.graph)
    return quantized


def _stem(graph: onnx.GraphProto) -> set[str]:
    """Convolutions of the image itself and what is before them: for so few channels the float kernel is faster."""
    links = Links.of(graph)
    stem = []
    for node in graph.node:
        weight = links.constant(node.input[1]) if node.op_type == "Conv" else None
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if weight is not None and groups == 1 and weight.shape[1] <= _STEM_CHANNELS:
            stem.append(node)
    return {node.name for node in stem} | ancestors(graph, stem)


def integer_gates(graph: onnx.GraphProto) -> int:
    """Compute hard-swish and hard-sigmoid between int8 values in integers, in place; how many there were."""
    links = Links.of(graph)
    gates = [node for node in graph.node if _is_gate(node) and _between_int8(node, links)]
    if not gates:
        return 0
    graph.initializer.append(numpy_helper.from_array(np.array(1 / _STEPS, np.float32), _GATE_STEP))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), _GATE_ZERO))
    # By their outputs; the list is rebuilt at the end, because changing it would leave `links` pointing at copies.
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in gates:
        _requantize(graph, links, node)
        if node.op_type == "HardSigmoid":
            replaced.update({name: [] for name in _read_as_gate(links, node)})
        else:
            replaced[node.output[0]] = _multiply_by_gate(graph, node)
    nodes = [new for node in graph.node for new in replaced.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_constants(graph)
    return len(gates)


def _is_gate(node: onnx.NodeProto) -> bool:
    """Hard-swish, or a hard-sigmoid of its slope; the operator's default slope is another."""
    attributes = {attribute.name: attribute.f for attribute in node.attribute}
    slope = abs(attributes.get("alpha", 0.2) - 1 / _RANGE) < 1e-4 and attributes.get("beta", 0.5) == 0.5
    return bool(node.op_type == "HardSwish" or (node.op_type == "HardSigmoid" and slope))


def _between_int8(node: onnx.NodeProto, links: Links) -> bool:
    """Whether a node reads an int8 value that it alone reads, and all that use its output make it int8."""
    before = links.producer.get(node.input[0])
    if before is None or before.op_type != "DequantizeLinear" or links.only_consumer(node.input[0]) is None:
        return False
    quantize = links.producer.get(before.input[0])
    after = links.only_consumer(node.output[0])
    alone = quantize is not None and links.only_consumer(before.input[0]) is not None
    return alone and after is not None and after.op_type == "QuantizeLinear"


def _requantize(graph: onnx.GraphProto, links: Links, gate: onnx.NodeProto) -> None:
    """Spend no steps of the gate's input on what it maps to a constant; a hard-sigmoid gets all of -3 to 3."""
    dequantize = links.producer[gate.input[0]]
    quantize = links.producer[dequantize.input[0]]
    bottom, top = -_HALF, _HALF
    if gate.op_type == "HardSwish":
        step, zero = (_scalar(links, name) for name in quantize.input[1:3])
        bottom, top = max(-zero * step, -_HALF), (_STEPS - zero) * step
    step = max(top - bottom, 1e-6) / _STEPS
    # Half up, so that the range of a hard-sigmoid still has its upper end.
    zero = np.clip(np.floor(-bottom / step + 0.5), 0, _STEPS)
    names = [f"{gate.name}.step", f"{gate.name}.zero"]
    values = (np.array(step, np.float32), np.array(zero, np.uint8))
    graph.initializer.extend(numpy_helper.from_array(v, name) for v, name in zip(values, names, strict=True))
    for node in (quantize, dequantize):
        node.input[1:] = names


def _scalar(links: Links, name: str) -> float:
    value = links.constant(name)
    assert value is not None  # the quantizer writes scales and zero points as constants
    return float(value.item())


def _read_as_gate(links: Links, gate: onnx.NodeProto) -> list[str]:
    """Values from -3 to 3 in 255 steps are the gate's from 0 to 1: outputs of the nodes with nothing left to do."""
    dequantize = links.producer[gate.input[0]]
    after = links.only_consumer(gate.output[0])
    assert after is not None  # see _between_int8
    for node in links.consumers[after.output[0]]:
        node.input[:] = [dequantize.input[0], _GATE_STEP, _GATE_ZERO]
    return [node.output[0] for node in (dequantize, gate, after)]


def _multiply_by_gate(graph: onnx.GraphProto, gate: onnx.NodeProto) -> list[onnx.NodeProto]:
    """`x + 3`, clipped by its range of 0 to 6 and read as 0 to 1, times `x`."""
    value, name = gate.input[0], gate.name
    tensors = {
        "three": np.uint8(_STEPS),
        "three_step": np.float32(_HALF / _STEPS),
        "sum_step": np.float32(_RANGE / _STEPS),
    }
    graph.initializer.extend(numpy_helper.from_array(np.array(v), f"{name}.{part}") for part, v in tensors.items())
    three = [f"{name}.three", f"{name}.three_step", _GATE_ZERO]
    return [
        helper.make_node("DequantizeLinear", three, [f"{name}.half"], f"{name}.half"),
        helper.make_node("Add", [value, f"{name}.half"], [f"{name}.sum"], f"{name}.sum"),
        helper.make_node(
            "QuantizeLinear", [f"{name}.sum", f"{name}.sum_step", _GATE_ZERO], [f"{name}.int8"], f"{name}.int8"
        ),
        helper.make_node(
            "DequantizeLinear", [f"{name}.int8", _GATE_STEP, _GATE_ZERO], [f"{name}.gate"], f"{name}.gate"
        ),
        helper.make_node("Mul", [value, f"{name}.gate"], list(gate.output), f"{name}.product"),
    ]


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # untyped base class
    """Calibration examples one at a time."""

    def __init__(self, spec: ModelSpec, calibration: Calibration) -> None:
        self._rows = iter(examples(spec, calibration))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._rows, None)
