"""The layers of an OpenVINO model: what a reduced precision concerns, by name."""

from collections import defaultdict
from typing import Any

import openvino

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_LAYERS = {*_CONVOLUTIONS, "MatMul"}
_MODULE = "__module."


def layers(model: openvino.Model) -> dict[str, list[Any]]:
    """Convolutions and products by name: their module's, or that of what follows them (a batch norm once)."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in layer_nodes(model):
        found[layer_name(node)].append(node)
    return found


def layer_nodes(model: openvino.Model) -> list[Any]:
    """Convolutions and products in the order of computation, which quantization does not change."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() in _LAYERS]


def layer_name(node: Any) -> str:
    """The module of a node, or of what follows it; the node's own name where neither has kept a module."""
    following = [target.get_node() for target in node.output(0).get_target_inputs()]
    for candidate in (node, *following):
        name: str = candidate.get_friendly_name()
        if name.startswith(_MODULE):
            return name.removeprefix(_MODULE).partition("/")[0]
    return str(node.get_friendly_name())


def has_convolutions(model: openvino.Model) -> bool:
    """Whether this is a convolutional network."""
    return any(node.get_type_name() in _CONVOLUTIONS for node in layer_nodes(model))
