"""Gates in integers, checked on every value that eight bits have."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines.onnxruntime.gates import IntegerGates

LOW, HIGH = -6.0, 8.0
VALUES = np.linspace(LOW, HIGH, 2001, dtype=np.float32)[None]


def _gate_between_int8(kind: str, *, alpha: float = 1 / 6, uses: int = 1) -> ir.Model:
    """Quantize, dequantize, the gate, quantize, dequantize; ranges as a calibration would find them."""
    step, out_step = np.float32((HIGH - LOW) / 255), np.float32(1 / 255 if kind == "HardSigmoid" else 8.5 / 255)
    constants = {
        "step": step,
        "zero": np.uint8(round(-LOW / step)),
        "out_step": out_step,
        "out_zero": np.uint8(0 if kind == "HardSigmoid" else 12),
    }
    settings = {"alpha": alpha, "beta": 0.5} if kind == "HardSigmoid" else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x_int8"], "q"),
        helper.make_node("DequantizeLinear", ["x_int8", "step", "zero"], ["x_float"], "dq"),
        helper.make_node(kind, ["x_float"], ["gated"], "gate", **settings),
        helper.make_node("QuantizeLinear", ["gated", "out_step", "out_zero"], ["y_int8"], "oq"),
        helper.make_node("DequantizeLinear", ["y_int8", "out_step", "out_zero"], ["y"], "odq"),
    ]
    outputs = ["y"]
    if uses == 2:
        nodes.append(helper.make_node("Neg", ["x_float"], ["other"], "neg"))
        outputs.append("other")
    shape = [1, VALUES.size]
    graph = helper.make_graph(
        nodes,
        "gate",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def _run(model: ir.Model) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(["y"], {"x": VALUES})[0]
    return output


def _exact(kind: str) -> NDArray[np.float32]:
    gate = np.clip(VALUES + 3, 0, 6) / 6
    return gate if kind == "HardSigmoid" else VALUES * gate


@pytest.mark.parametrize(("kind", "allowed"), [("HardSigmoid", 1.01 / 255), ("HardSwish", 0.08)])
def test_gate_in_integers_is_the_gate_to_the_resolution_of_its_input(kind: str, allowed: float) -> None:
    model = _gate_between_int8(kind)
    before = np.abs(_run(model) - _exact(kind)).max()
    result = IntegerGates()(model)
    assert result.modified
    onnx.checker.check_model(ir.to_proto(result.model))
    after = np.abs(_run(result.model) - _exact(kind)).max()
    assert after <= allowed
    assert after <= 1.5 * before
    assert kind not in {node.op_type for node in result.model.graph}


def test_saturated_gates_are_exact() -> None:
    given = _run(IntegerGates()(_gate_between_int8("HardSigmoid")).model)
    assert given[VALUES <= -3].max() == 0.0
    assert given[VALUES >= 3].min() == pytest.approx(1.0)


def test_steps_are_not_spent_on_what_hard_swish_maps_to_zero() -> None:
    constants = IntegerGates()(_gate_between_int8("HardSwish")).model.graph.initializers
    step, zero = (constants[name].const_value for name in ("gate.step", "gate.zero"))
    assert step is not None
    assert zero is not None
    assert float(step.numpy()) == pytest.approx((HIGH + 3) / 255, rel=2e-3)
    assert int(zero.numpy()) == round(3 / float(step.numpy()))


def test_a_second_pass_finds_no_gate() -> None:
    model = IntegerGates()(_gate_between_int8("HardSwish")).model
    assert not IntegerGates()(model).modified


@pytest.mark.parametrize(
    "model",
    [_gate_between_int8("HardSigmoid", alpha=0.2), _gate_between_int8("HardSwish", uses=2)],
    ids=["of another slope", "of a value that is read twice"],
)
def test_a_gate_stays_as_it_is(model: ir.Model) -> None:
    before = ir.to_proto(model).SerializeToString()
    assert not IntegerGates()(model).modified
    assert ir.to_proto(model).SerializeToString() == before
