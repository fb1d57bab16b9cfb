"""ONNX graphs of a few nodes, written by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_IR_VERSION, _OPSET = 10, 20


def mean_embedding(vocabulary: int = 50) -> onnx.ModelProto:
    """Embedding of `vocabulary` x 8, masked and averaged; ids and mask int32 [batch, length]."""
    table = np.random.default_rng(0).standard_normal((vocabulary, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["embedded", "mask3"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "middle"], ["output"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    constants = {"table": table, "last": np.array([-1]), "middle": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "mean_embedding",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def running_sum(capacity: int) -> onnx.ModelProto:
    """Adds the tokens of a call, int32 [batch, n], into a state float32 [batch, capacity] at `position` [batch].

    The output is the sum of the whole state, [batch, 1]. A position beyond the capacity is an error of the engine.
    """
    nodes = [
        helper.make_node("Cast", ["tokens"], ["added"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["position", "last"], ["at"]),
        helper.make_node("ScatterElements", ["past.sums", "at", "added"], ["present.sums"], axis=1),
        helper.make_node("ReduceSum", ["present.sums", "last"], ["sum"], keepdims=1),
    ]
    floats = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", capacity])
        for name in ("past.sums", "present.sums")
    ]
    graph = helper.make_graph(
        nodes,
        "running_sum",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT32, ["batch", 1]),
            helper.make_tensor_value_info("position", TensorProto.INT32, ["batch"]),
            floats[0],
        ],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 1]), floats[1]],
        [numpy_helper.from_array(np.array([-1]), "last")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
