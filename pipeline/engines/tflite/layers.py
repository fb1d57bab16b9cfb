"""The layers of a TensorFlow Lite model: what a reduced precision concerns, by name."""

import re
from collections import defaultdict
from typing import Any

from ai_edge_litert import schema_py_generated as schema

_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "EMBEDDING_LOOKUP", "GATHER"}
_OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def operator_name(model: Any, operator: Any) -> str:
    """`CONV_2D` and so on."""
    code = model.operatorCodes[operator.opcodeIndex]
    name: str = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return name


def has_convolutions(model: Any) -> bool:
    """Whether this is a convolutional network."""
    names = {operator_name(model, operator) for subgraph in model.subgraphs for operator in subgraph.operators}
    return "CONV_2D" in names


def scope(subgraph: Any, operator: Any) -> str:
    """What recipes of ai-edge-quantizer call an operator: the names of its outputs."""
    return "".join(f"{subgraph.tensors[index].name.decode()};" for index in operator.outputs)


def layers(model: Any) -> dict[str, list[tuple[Any, Any]]]:
    """Subgraph and operator of each layer that can be reduced, in all signatures, by the module's name."""
    found: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator_name(model, operator) in _LAYERS:
                found[_name(subgraph, operator)].append((subgraph, operator))
    return found


def _name(subgraph: Any, operator: Any) -> str:
    """`features.0.0` of `...MobileNetV3/...Sequential_features/...Sequential_0/...Conv2d_0;`.

    litert-torch names a tensor after the modules that made it, by class and attribute; of several that were merged
    into one operator the last has the weights.
    """
    name = subgraph.tensors[operator.outputs[0]].name.decode()
    parts = [part for part in re.split(r";\d*", name) if part]
    steps = [step.rpartition("_")[2] for step in (parts[-1] if parts else name).split("/")[1:]]
    return ".".join(steps) or name
