"""Gates in integers, checked on every value that eight bits have."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines.onnxruntime.graph import Links, ancestors, layers, pool_means
from pipeline.engines.onnxruntime.int8 import integer_gates

LOW, HIGH = -6.0, 8.0
VALUES = np.linspace(LOW, HIGH, 2001, dtype=np.float32)[None]


def _gate_between_int8(kind: str, *, alpha: float = 1 / 6, uses: int = 1) -> onnx.ModelProto:
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _run(proto: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(["y"], {"x": VALUES})[0]
    return output


def _exact(kind: str) -> NDArray[np.float32]:
    gate = np.clip(VALUES + 3, 0, 6) / 6
    return gate if kind == "HardSigmoid" else VALUES * gate


@pytest.mark.parametrize(("kind", "allowed"), [("HardSigmoid", 1.01 / 255), ("HardSwish", 0.08)])
def test_gate_in_integers_is_the_gate_to_the_resolution_of_its_input(kind: str, allowed: float) -> None:
    proto = _gate_between_int8(kind)
    before = np.abs(_run(proto) - _exact(kind)).max()
    assert integer_gates(proto.graph) == 1
    onnx.checker.check_model(proto)
    after = np.abs(_run(proto) - _exact(kind)).max()
    assert after <= allowed
    assert after <= 1.5 * before
    assert kind not in {node.op_type for node in proto.graph.node}


def test_saturated_gates_are_exact() -> None:
    proto = _gate_between_int8("HardSigmoid")
    integer_gates(proto.graph)
    given = _run(proto)
    assert given[VALUES <= -3].max() == 0.0
    assert given[VALUES >= 3].min() == pytest.approx(1.0)


def test_steps_are_not_spent_on_what_hard_swish_maps_to_zero() -> None:
    proto = _gate_between_int8("HardSwish")
    integer_gates(proto.graph)
    links = Links.of(proto.graph)
    step, zero = links.constant("gate.step"), links.constant("gate.zero")
    assert step is not None
    assert zero is not None
    assert float(step) == pytest.approx((HIGH + 3) / 255, rel=2e-3)
    assert int(zero) == round(3 / float(step))


@pytest.mark.parametrize(
    "proto",
    [_gate_between_int8("HardSigmoid", alpha=0.2), _gate_between_int8("HardSwish", uses=2)],
    ids=["of another slope", "of a value that is read twice"],
)
def test_a_gate_stays_as_it_is(proto: onnx.ModelProto) -> None:
    before = proto.SerializeToString()
    assert integer_gates(proto.graph) == 0
    assert proto.SerializeToString() == before


def _mean(axes: list[int], keepdims: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean", keepdims=keepdims)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_mean_of_an_image_becomes_a_pooling_of_the_same_numbers() -> None:
    proto = _mean([-1, -2], 1)
    assert pool_means(proto)
    assert [node.op_type for node in proto.graph.node] == ["GlobalAveragePool"]
    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0] == pytest.approx(x.mean((2, 3), keepdims=True), rel=1e-6)
    assert not pool_means(proto)


@pytest.mark.parametrize(("axes", "keepdims"), [([1, 2], 1), ([2, 3], 0)])
def test_other_means_stay(axes: list[int], keepdims: int) -> None:
    proto = _mean(axes, keepdims)
    assert not pool_means(proto)
    assert [node.op_type for node in proto.graph.node] == ["ReduceMean"]


def test_layers_are_named_by_their_weights_and_know_what_is_before_them() -> None:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], "first"),
        helper.make_node("Conv", ["a", "features.0.weight"], ["b"], "node_1"),
        helper.make_node("Neg", ["x"], ["c"], "aside"),
        helper.make_node("MatMul", ["b", "val_3"], ["d"], "node_2"),
    ]
    graph = helper.make_graph(nodes, "g", [], [])
    assert {name: [node.name for node in found] for name, found in layers(graph).items()} == {
        "features.0": ["node_1"],
        "node_2": ["node_2"],
    }
    assert ancestors(graph, [nodes[3]]) == {"first", "node_1"}
