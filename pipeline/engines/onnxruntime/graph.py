"""Small rewritings of ONNX graphs, and how to find one's way in them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_IMAGE_RANK = 4
_LAYERS = {"Conv", "Gemm", "MatMul", "Gather"}


@dataclass(frozen=True)
class Links:
    """Who makes and who uses each value of a graph, and the constants; as it was when this was made."""

    producer: Mapping[str, onnx.NodeProto]
    consumers: Mapping[str, list[onnx.NodeProto]]
    constants: Mapping[str, onnx.TensorProto]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> "Links":
        """Look the graph over once."""
        consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                consumers[name].append(node)
        producer = {name: node for node in graph.node for name in node.output}
        return cls(producer, consumers, {tensor.name: tensor for tensor in graph.initializer})

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The value of an initializer; None for what is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """The one node that uses a value; None if there are none or more."""
        nodes = self.consumers.get(name, [])
        return nodes[0] if len(nodes) == 1 else None


def pool_means(proto: onnx.ModelProto) -> bool:
    """Turn the mean over height and width into GlobalAveragePool, in place; whether there was any.

    The same numbers, but ONNX Runtime keeps its blocked layout through a pooling, and has it in int8.
    """
    graph, links = proto.graph, Links.of(proto.graph)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    changed = False
    for node in graph.node:
        if node.op_type != "ReduceMean" or ranks.get(node.input[0]) != _IMAGE_RANK or len(node.input) < 2:
            continue
        axes = links.constant(node.input[1])
        if axes is not None and sorted(int(axis) % _IMAGE_RANK for axis in axes) == [2, 3] and _keeps_axes(node):
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
            changed = True
    if changed:
        drop_unused_constants(graph)
    return changed


def _keeps_axes(node: onnx.NodeProto) -> bool:
    return all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")


def drop_unused_constants(graph: onnx.GraphProto) -> None:
    """Remove initializers that nothing reads any more."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def layers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that int8 concerns, by the layer's name: its weight's, or the node's where the weight has lost it."""
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if node.op_type in _LAYERS:
            weights = [name for name in node.input if name.endswith(".weight")]
            found[weights[0].removesuffix(".weight") if weights else node.name].append(node)
    return found


def ancestors(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Names of all nodes that `nodes` depend on."""
    producer = Links.of(graph).producer
    names: set[str] = set()
    open_values = [name for node in nodes for name in node.input]
    while open_values:
        node = producer.get(open_values.pop())
        if node is not None and node.name not in names:
            names.add(node.name)
            open_values.extend(node.input)
    return names


def with_outputs(proto: onnx.ModelProto, names: Collection[str]) -> bytes:
    """The model with these float32 values as its outputs, instead of its own."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    content: bytes = shown.SerializeToString()
    return content
