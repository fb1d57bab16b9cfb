"""The layers of an ONNX graph: what a reduced precision concerns, by name."""

from collections import defaultdict

import onnx_ir as ir

_LAYERS = {"Conv", "Gemm", "MatMul", "Gather"}
_WEIGHT = ".weight"


def layers(graph: ir.Graph) -> dict[str, list[ir.Node]]:
    """Convolutions, products and tables by name.

    A layer is called like its weight. Where the exporter has transposed the weight, it has lost its name, and the layer
    is called like its node.
    """
    found: dict[str, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node.op_type in _LAYERS and not _picks_activations(node):
            found[_name(node)].append(node)
    return found


def _picks_activations(node: ir.Node) -> bool:
    """Whether a Gather reads no table, but what the model computes."""
    return node.op_type == "Gather" and node.inputs[0] is not None and node.inputs[0].producer() is not None


def _name(node: ir.Node) -> str:
    weights = [value.name for value in node.inputs if value is not None and (value.name or "").endswith(_WEIGHT)]
    return (weights[0] or "").removesuffix(_WEIGHT) if weights else node.name or ""


def has_convolutions(graph: ir.Graph) -> bool:
    """Whether this is a convolutional network."""
    return any(node.op_type == "Conv" for node in graph)


def only_reader(value: ir.Value | None) -> ir.Node | None:
    """The one node that reads a value; None where none or several do, or where it is an output of the model."""
    if value is None or value.is_graph_output():
        return None
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 else None
