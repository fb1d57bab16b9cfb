import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from pipeline.engines.onnxruntime.layers import has_convolutions, layers, only_reader


def _graph() -> ir.Graph:
    nodes = [
        helper.make_node("Neg", ["x"], ["a"], "first"),
        helper.make_node("Conv", ["a", "features.0.weight"], ["b"], "node_1"),
        helper.make_node("Neg", ["a"], ["c"], "aside"),
        helper.make_node("MatMul", ["b", "val_3"], ["d"], "node_2"),
    ]
    weights = {"features.0.weight": np.ones((3, 3, 1, 1), np.float32), "val_3": np.ones((5, 5), np.float32)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 5, 5])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "cd"],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return ir.from_proto(helper.make_model(graph)).graph


def test_layers_are_named_by_their_weights_and_else_by_their_nodes() -> None:
    assert {name: [node.name for node in found] for name, found in layers(_graph()).items()} == {
        "features.0": ["node_1"],
        "node_2": ["node_2"],
    }


def test_a_value_has_an_only_reader_unless_several_read_it_or_the_caller_does() -> None:
    values = {value.name: value for node in _graph() for value in node.outputs}
    reader = only_reader(values["b"])
    assert reader is not None
    assert reader.name == "node_2"
    assert only_reader(values["a"]) is None
    assert only_reader(values["d"]) is None
    assert only_reader(None) is None


def test_a_convolution_makes_a_convolutional_network() -> None:
    graph = _graph()
    assert has_convolutions(graph)
    graph.remove([node for node in graph if node.op_type != "Neg"], safe=False)
    assert not has_convolutions(graph)
