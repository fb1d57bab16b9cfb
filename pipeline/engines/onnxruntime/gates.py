"""Hard-swish and hard-sigmoid between int8 values as integer arithmetic.

The quantizer leaves both in float. Between two int8 convolutions each then costs a conversion to float and back, and
MobileNetV3 gets slower than in fp32. `x * clip(x + 3, 0, 6) / 6` is an int8 addition whose output range does the
clipping, and an int8 product.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from pipeline.engines.onnxruntime.layers import only_reader

_STEPS = 255
# Hard-sigmoid rises from 0 to 1 between -3 and 3 (arXiv:1905.02244, section 5.2).
_HALF, _RANGE = 3.0, 6.0
_GATE_STEP, _GATE_ZERO = "hard_sigmoid.int8.step", "hard_sigmoid.int8.zero"


class IntegerGates(ir.passes.InPlacePass):
    """Computes every hard-swish and hard-sigmoid that stands between int8 values in integers."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """See the class; `modified` says whether there was such a gate."""
        graph = model.graph
        gates = [node for node in graph if _is_gate(node) and _stands_between_int8(node)]
        if not gates:
            return ir.passes.PassResult(model, False)
        # A gate's output from 0 to 1 in 255 steps.
        gate_scale = [
            _constant(graph, _GATE_STEP, np.array(1 / _STEPS, np.float32)),
            _constant(graph, _GATE_ZERO, np.array(0, np.uint8)),
        ]
        for gate in gates:
            _requantize(graph, gate)
            if gate.op_type == "HardSigmoid":
                _read_input_as_gate(gate, gate_scale)
            else:
                _multiply_by_gate(graph, gate, gate_scale)
        RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, True)


def _is_gate(node: ir.Node) -> bool:
    """Whether a node is a hard-swish, or a hard-sigmoid of slope 1/6; the operator's default slope is 0.2."""
    if node.op_type == "HardSigmoid":
        alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        return abs(alpha - 1 / _RANGE) < 1e-4 and beta == 0.5
    return node.op_type == "HardSwish"


def _stands_between_int8(gate: ir.Node) -> bool:
    """Whether a gate alone reads an int8 value, and what alone reads the gate makes it int8."""
    value = gate.inputs[0]
    dequantize = value.producer() if value is not None else None
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or only_reader(value) is None:
        return False
    integer = dequantize.inputs[0]
    if integer is None or integer.producer() is None or only_reader(integer) is None:
        return False
    after = only_reader(gate.outputs[0])
    return after is not None and after.op_type == "QuantizeLinear"


def _requantize(graph: ir.Graph, gate: ir.Node) -> None:
    """Give the gate's input a range without the steps that the gate maps to a constant.

    The range of a hard-sigmoid's input becomes -3 to 3. A hard-swish keeps its upper end, and -3 replaces a lower one.
    """
    dequantize = _producer(gate.inputs[0])
    quantize = _producer(dequantize.inputs[0])
    bottom, top = -_HALF, _HALF
    if gate.op_type == "HardSwish":
        step, zero = (_number(value) for value in quantize.inputs[1:3])
        bottom, top = max(-zero * step, -_HALF), (_STEPS - zero) * step
    step = max(top - bottom, 1e-6) / _STEPS
    # Rounded half up, so that the range of a hard-sigmoid still has its upper end.
    zero = np.clip(np.floor(-bottom / step + 0.5), 0, _STEPS)
    scale = [
        _constant(graph, f"{gate.name}.step", np.array(step, np.float32)),
        _constant(graph, f"{gate.name}.zero", np.array(zero, np.uint8)),
    ]
    for node in (quantize, dequantize):
        _set_inputs(node, [node.inputs[0], *scale])


def _read_input_as_gate(gate: ir.Node, gate_scale: list[ir.Value]) -> None:
    """Let the readers of a hard-sigmoid read its input: -3 to 3 in 255 steps are the gate's 0 to 1 in 255 steps."""
    integer = _producer(gate.inputs[0]).inputs[0]
    after = only_reader(gate.outputs[0])
    assert after is not None  # see _stands_between_int8
    for reader in after.outputs[0].consumers():
        _set_inputs(reader, [integer, *gate_scale])


def _multiply_by_gate(graph: ir.Graph, gate: ir.Node, gate_scale: list[ir.Value]) -> None:
    """Replace a hard-swish by `x` times its gate: `x + 3`, clipped by its range of 0 to 6 and read as 0 to 1."""
    value, name = gate.inputs[0], gate.name
    three, three_step, sum_step = (
        _constant(graph, f"{name}.{part}", np.array(number))
        for part, number in (
            ("three", np.uint8(_STEPS)),
            ("three_step", np.float32(_HALF / _STEPS)),
            ("sum_step", np.float32(_RANGE / _STEPS)),
        )
    )
    zero = gate_scale[1]
    half = _node("DequantizeLinear", [three, three_step, zero], f"{name}.half")
    total = _node("Add", [value, half.outputs[0]], f"{name}.sum")
    integer = _node("QuantizeLinear", [total.outputs[0], sum_step, zero], f"{name}.int8")
    read = _node("DequantizeLinear", [integer.outputs[0], *gate_scale], f"{name}.gate")
    product = _node("Mul", [value, read.outputs[0]], f"{name}.product", gate.outputs[0].name)
    graph.insert_before(gate, [half, total, integer, read, product])
    gate.outputs[0].replace_all_uses_with(product.outputs[0])
    graph.remove(gate, safe=True)


def _node(operator: str, inputs: list[ir.Value | None], name: str, output: str | None = None) -> ir.Node:
    """A node with one output, which is called like the node unless `output` says otherwise."""
    return ir.node(operator, inputs, outputs=[ir.Value(name=output or name)], name=name)


def _constant(graph: ir.Graph, name: str, content: np.ndarray) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(content, name=name))
    graph.register_initializer(value)
    return value


def _set_inputs(node: ir.Node, values: list[ir.Value | None]) -> None:
    for index, value in enumerate(values):
        node.replace_input_with(index, value)


def _producer(value: ir.Value | None) -> ir.Node:
    node = value.producer() if value is not None else None
    assert node is not None  # see _stands_between_int8
    return node


def _number(value: ir.Value | None) -> float:
    assert value is not None
    assert value.const_value is not None  # the quantizer writes scales and zero points as constants
    return float(value.const_value.numpy().item())
